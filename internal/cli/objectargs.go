// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"slices"
	"strings"
)

// typeWords are the names of a type that kubectl accepts: singular, plural, and short name.
type typeWords []string

var (
	serviceWords   = typeWords{"service", "services", "svc"}
	namespaceWords = typeWords{"namespace", "namespaces", "ns"}
)

func (w typeWords) contain(word string) bool { return slices.Contains(w, strings.ToLower(word)) }

// take reads an object of the type at the beginning of arguments: NAME, TYPE/NAME, or, where separated is possible, TYPE
// NAME. It returns the name and the arguments behind it.
func (w typeWords) take(args []string, separated bool) (name string, rest []string, err error) {
	if len(args) == 0 {
		return "", nil, errNone
	}
	kind, name, combined := strings.Cut(args[0], "/")
	switch {
	case slices.Contains(args, ""):
		return "", nil, usagef("an argument is empty: name one %s. Example: %s/web", w[0], w[len(w)-1])
	case combined && (kind == "" || name == "" || strings.Contains(name, "/")):
		return "", nil, usagef("%q is not of the form NAME or TYPE/NAME. Example: %s/web", args[0], w[len(w)-1])
	case combined && !w.contain(kind):
		return "", nil, usagef("%q is a %s; this command takes a %s. Example: %s/web", args[0], kind, w[0], w[len(w)-1])
	case combined:
		return name, args[1:], nil
	case separated && len(args) > 1 && w.contain(args[0]):
		return args[1], args[2:], nil
	}
	return args[0], args[1:], nil
}

// takeOnly is take for arguments that consist of one object.
func (w typeWords) takeOnly(args []string) (string, error) {
	name, rest, err := w.take(args, true)
	if err == nil && len(rest) > 0 {
		return "", usagef("name one %s: NAME, %s/NAME, or %s NAME; got %s", w[0], w[len(w)-1], w[len(w)-1], strings.Join(args, " "))
	}
	return name, err
}

// shiftedService reads the Service of a shift; what follows it are weights.
func shiftedService(args []string) (string, []string, error) {
	return serviceWords.take(args, len(args) > 1 && !strings.Contains(args[1], "="))
}

// promotedService reads the Service of a promotion; one version follows it.
func promotedService(args []string) (string, []string, error) {
	return serviceWords.take(args, len(args) > 2)
}

// errNone means that there is no argument.
var errNone = usagef("name an object")

// andWhy appends what is wrong with an argument.
func andWhy(err error) string {
	if err == nil || errors.Is(err, errNone) {
		return ""
	}
	return "; " + err.Error()
}
