// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"slices"
	"strings"
)

// typeNames are the names of a type that kubectl accepts: singular, plural, and short name.
type typeNames []string

var (
	serviceTypes   = typeNames{"service", "services", "svc"}
	namespaceTypes = typeNames{"namespace", "namespaces", "ns"}
)

func (w typeNames) contains(word string) bool { return slices.Contains(w, strings.ToLower(word)) }

// parse parses an object of the type at the beginning of the arguments: NAME, TYPE/NAME, or, if separated is true, TYPE NAME. It
// returns the name and the remaining arguments.
func (w typeNames) parse(args []string, separated bool) (name string, rest []string, err error) {
	if len(args) == 0 {
		return "", nil, errNoArgument
	}
	kind, name, combined := strings.Cut(args[0], "/")
	switch {
	case slices.Contains(args, ""):
		return "", nil, usagef("an argument is empty: name one %s. Example: %s/web", w[0], w[len(w)-1])
	case combined && (kind == "" || name == "" || strings.Contains(name, "/")):
		return "", nil, usagef("%q is not of the form NAME or TYPE/NAME. Example: %s/web", args[0], w[len(w)-1])
	case combined && !w.contains(kind):
		return "", nil, usagef("%q is a %s; this command takes a %s. Example: %s/web", args[0], kind, w[0], w[len(w)-1])
	case combined:
		return name, args[1:], nil
	case separated && len(args) > 1 && w.contains(args[0]):
		return args[1], args[2:], nil
	}
	return args[0], args[1:], nil
}

// parseOne parses arguments that consist of one object.
func (w typeNames) parseOne(args []string) (string, error) {
	name, rest, err := w.parse(args, true)
	if err == nil && len(rest) > 0 {
		return "", usagef("name one %s: NAME, %s/NAME, or %s NAME; got %s", w[0], w[len(w)-1], w[len(w)-1], strings.Join(args, " "))
	}
	return name, err
}

// shiftedService parses the Service of a shift. The rest are weights.
func shiftedService(args []string) (string, []string, error) {
	return serviceTypes.parse(args, len(args) > 1 && !strings.Contains(args[1], "="))
}

// promotedService parses the Service of a promotion. The rest is one version.
func promotedService(args []string) (string, []string, error) {
	return serviceTypes.parse(args, len(args) > 2)
}

// errNoArgument means that there is no argument.
var errNoArgument = usagef("name an object")

// reasonOf appends what is wrong with an argument.
func reasonOf(err error) string {
	if err == nil || errors.Is(err, errNoArgument) {
		return ""
	}
	return "; " + err.Error()
}
