// SPDX-License-Identifier: Apache-2.0

package diagnose

import "fmt"

// Inputs maps flags to the labels of form fields, and commands to the titles of forms. Messages name what the user sees: the label or the
// title if there is an entry, otherwise the flag or the command line.
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

// set returns the advice to set a flag or a checkbox: "add --pending".
func (i Inputs) set(flag string) string {
	if i[flag] != "" {
		return "select " + i.name(flag)
	}
	return "add " + i.name(flag)
}

// omit returns the advice not to set a flag or a checkbox: "leave out --pending".
func (i Inputs) omit(flag string) string {
	if i[flag] != "" {
		return "clear " + i.name(flag)
	}
	return "leave out " + i.name(flag)
}

// form returns the advice to choose the form of a command, or otherwise if there is no form.
func (i Inputs) form(command, otherwise string) string {
	if title := i[command]; title != "" {
		return fmt.Sprintf("choose %q", title)
	}
	return otherwise
}
