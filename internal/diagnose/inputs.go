// SPDX-License-Identifier: Apache-2.0

package diagnose

import "fmt"

// Inputs are how messages call what a user enters: by the label of a form's field, by the name of the flag that does the same, or by the
// title of a form, by the name of the command. Without an entry, messages are about the command line.
type Inputs map[string]string

// name returns "--pending", or the label in quotes.
func (i Inputs) name(flag string) string {
	if label := i[flag]; label != "" {
		return fmt.Sprintf("%q", label)
	}
	return "--" + flag
}

// Value returns "--to=2", or the label in quotes with the value.
func (i Inputs) Value(flag, text string) string {
	if label := i[flag]; label != "" {
		return fmt.Sprintf("%q = %s", label, text)
	}
	return "--" + flag + "=" + text
}

// set says how to set a flag, or a checkbox: "add --pending".
func (i Inputs) set(flag string) string {
	if i[flag] != "" {
		return "select " + i.name(flag)
	}
	return "add " + i.name(flag)
}

// omit says how not to set a flag, or a checkbox: "leave out --pending".
func (i Inputs) omit(flag string) string {
	if i[flag] != "" {
		return "clear " + i.name(flag)
	}
	return "leave out " + i.name(flag)
}

// form returns how to choose a form, or for command lines the other text.
func (i Inputs) form(command, otherwise string) string {
	if title := i[command]; title != "" {
		return fmt.Sprintf("choose %q", title)
	}
	return otherwise
}
