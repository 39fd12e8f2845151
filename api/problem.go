// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"strings"
)

// ObjectRef names a Kubernetes object the way kubectl prints it.
type ObjectRef struct {
	Kind      string // "Service"
	Namespace string // empty for a cluster-scoped object
	Name      string
}

// String returns "Service demo/reviews", or "Namespace demo" for a cluster-scoped object.
func (r ObjectRef) String() string {
	if r.Namespace == "" {
		return r.Kind + " " + r.Name
	}
	return r.Kind + " " + r.Namespace + "/" + r.Name
}

// Problem is a mistake that a user made and can fix. It is reported and never retried. R is the set of its reasons, InjectReason
// or RouteReason.
type Problem[R ~string] struct {
	Object ObjectRef // the object with the mistake
	Field  string    // e.g. "metadata.annotations[outrigger.dev/weights]"; empty for the whole object
	Value  string    // its value; empty if there is none
	Reason R         // shown in metrics, Events, and messages
	// Message says in one sentence what is wrong, and what happens now.
	Message string
	// Advice says in one sentence what is valid, with a command or a value if there is one.
	Advice string
}

// String returns one line: object, field and value, message, advice. Long values are shortened.
func (p Problem[R]) String() string {
	var b strings.Builder
	b.WriteString(p.Object.String())
	if p.Field != "" {
		b.WriteString(": " + p.Field)
		if p.Value != "" {
			fmt.Fprintf(&b, " = %q", Shorten(p.Value, 120))
		}
	}
	b.WriteString(": " + p.Message)
	if p.Advice != "" {
		b.WriteString(" " + p.Advice)
	}
	return b.String()
}

// InjectProblem is a Problem of sidecar injection.
type InjectProblem = Problem[InjectReason]

// RouteProblem is a Problem of routing.
type RouteProblem = Problem[RouteReason]

// AnnotationField returns the Field of a Problem for an annotation, LabelField the one for a label.
func AnnotationField(key string) string { return "metadata.annotations[" + key + "]" }

// LabelField returns the Field of a Problem for a label.
func LabelField(key string) string { return "metadata.labels[" + key + "]" }
