// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"outrigger.dev/outrigger/internal/diagnose"
)

// permissionError is the error for something that the user has no permission to do and that a command cannot continue without.
type permissionError struct {
	missing string // "list Services in namespace demo"
	fix     string
	err     error // of the API server
}

func (e *permissionError) Error() string { return "no permission to " + e.missing + "; " + e.fix }

func (e *permissionError) Unwrap() error { return e.err }

// notThereError is the error for an object that does not exist.
type notThereError struct{ message string }

func (e *notThereError) Error() string { return e.message }

func notThere(format string, args ...any) error { return &notThereError{fmt.Sprintf(format, args...)} }

// mayNotList returns the error for a list that the API server refused, in a namespace or in the whole cluster if it is empty.
func mayNotList(kind, namespace string, err error) error {
	e := &permissionError{missing: "list " + diagnose.Plural(kind), fix: "docs/understand/security.md lists the permissions of users", err: err}
	switch {
	case namespace != "":
		e.missing += " in namespace " + namespace
		e.fix = "the ClusterRole view, bound there, grants it"
	case !slices.Contains(diagnose.ClusterKinds, kind):
		e.missing += " in all namespaces"
		e.fix = "-n NAMESPACE selects one namespace"
	}
	return e
}

// mayNotGet returns the error for a Namespace that the API server does not show.
func mayNotGet(namespace string, err error) error {
	return &permissionError{"get Namespace " + namespace, "the ClusterRole view, bound there, grants it", err}
}

// withAllNamespaces returns the error for a command with -A that is not permitted in the namespace that it is left with. It returns
// other errors unchanged.
func withAllNamespaces(err error, gaps diagnose.Gaps) error {
	missing := &permissionError{}
	if !errors.As(err, &missing) {
		return err
	}
	out := &permissionError{missing.missing, "-n NAMESPACE in place of -A selects a namespace", missing}
	if gaps.HidesClusterWide("Namespace") {
		out.missing = "list Namespaces, which -A needs, and none to " + missing.missing
	}
	return out
}

// mayNotAnnotate returns the error for a Service that the user may not annotate. A denial by admission is not about permissions, and
// is returned with its own message.
func mayNotAnnotate(namespace, name string, err error) error {
	if isForbidden(err) && strings.Contains(err.Error(), "cannot patch resource") {
		return mayNotPatch(namespace, name, err)
	}
	return fmt.Errorf("annotate service %s/%s: %w", namespace, name, err)
}

// mayNotPatch returns the error for a Service that the user may not change.
func mayNotPatch(namespace, name string, err error) error {
	return &permissionError{"patch Service " + namespace + "/" + name, "the ClusterRole edit, bound in namespace " + namespace + ", grants it", err}
}

// mayNotLabel returns the error for a Namespace that the user may not label. A denial by admission is not about permissions, and is
// returned with its own message.
func mayNotLabel(namespace string, err error) error {
	if isForbidden(err) && strings.Contains(err.Error(), "cannot patch resource") {
		return &permissionError{"patch Namespace " + namespace, "a role of administrators grants it; edit and admin, bound in the namespace, do not", err}
	}
	return fmt.Errorf("label namespace %s: %w", namespace, err)
}
