// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"outrigger.dev/outrigger/api"
)

// ServicesPath is where ServiceAdvice is served.
const ServicesPath = "/validate/services"

// ServiceAdvice answers CREATE and UPDATE of Services with a warning for each annotation or label of routing that does
// not say what was meant. On an update only what it changes is warned of.
func ServiceAdvice(namespaces NamespaceReader, limits api.RouteLimits, versions VersionReader) http.Handler {
	return advice(func(ctx context.Context, request admission.Request) ([]string, error) {
		if len(request.Object.Raw) == 0 {
			return nil, errNoObject(request)
		}
		service, before := &corev1.Service{}, &corev1.Service{}
		if err := json.Unmarshal(request.Object.Raw, service); err != nil {
			return nil, fmt.Errorf("decoding the Service of the request: %w", err)
		}
		if request.Operation == admissionv1.Update && len(request.OldObject.Raw) > 0 {
			if err := json.Unmarshal(request.OldObject.Raw, before); err != nil {
				return nil, fmt.Errorf("decoding the old Service of the request: %w", err)
			}
		}
		if service.DeletionTimestamp != nil || byCluster(request) {
			return nil, nil
		}
		service.Namespace = request.Namespace
		namespace := namespaces.Namespace(ctx, request.Namespace)
		known := func(label string) []string {
			if versions == nil {
				return nil
			}
			return versions.Versions(ctx, service, label)
		}
		warnings := ServiceWarnings(service, before, namespace, limits, known)
		return append(warnings, nameWarnings(ctx, service, before, namespace, limits, versions)...), nil
	})
}

// VersionReader knows the versions of the pods that a Service selects.
type VersionReader interface {
	// Versions returns the values of the version label in natural order; none where they cannot be read.
	Versions(ctx context.Context, service *corev1.Service, label string) []string
}

// nameWarnings is about names of versions that nothing behind the Service carries, in annotations that the request changes.
func nameWarnings(ctx context.Context, service, before *corev1.Service, namespace *corev1.Namespace, limits api.RouteLimits, versions VersionReader) []string {
	intent, _ := limits.IntentOf(service, namespace, nil)
	if warning := labelWarning(ctx, service, before, intent, versions); warning != "" {
		return []string{warning} // by that label no name is known
	}
	changed := func(p api.RouteProblem) bool { return !stood(p, before) }
	ref := api.ObjectRef{Kind: "Service", Namespace: service.Namespace, Name: service.Name}
	if versions == nil || !slices.ContainsFunc(api.UnknownVersions(ref, intent, []string{""}), changed) {
		return nil // no name in it is new
	}
	var out []string
	for _, p := range api.UnknownVersions(ref, intent, versions.Versions(ctx, service, intent.VersionLabel)) {
		if changed(p) {
			out = append(out, string(p.Reason)+": "+p.String())
		}
	}
	return out
}

// labelWarning is about a version label that the request writes and that tells no pods of the Service apart; empty if it does.
func labelWarning(ctx context.Context, service, before *corev1.Service, intent api.RouteIntent, versions VersionReader) string {
	key, label := api.AnnotationVersionLabel, intent.VersionLabel
	text, written := service.Annotations[key]
	if !written || intent.Bad[key] || text == before.Annotations[key] {
		return ""
	}
	example := fmt.Sprintf(" An existing route is unchanged. To use the label version: kubectl annotate service -n %s %s %s-.", service.Namespace, service.Name, key)
	if value, selected := service.Spec.Selector[label]; selected {
		return fmt.Sprintf("%s: annotation %s = %q: the Service selects its pods by %s=%s, so all of them have the same version.%s", api.RouteVersionLabelHeld, key, text, label, value, example)
	}
	if versions != nil && len(versions.Versions(ctx, service, label)) == 0 && len(versions.Versions(ctx, service, "version")) > 0 {
		return fmt.Sprintf("%s: annotation %s = %q: no pod of the Service has this label.%s", api.RouteVersionLabelHeld, key, text, example)
	}
	return ""
}

// ServiceWarnings says what is wrong with the words about routing on a Service, sorted, each with what would be right.
// What stood there before is not told again; before is empty for a new Service. The versions of the Service's pods by a label are
// read only where an example needs them.
func ServiceWarnings(service, before *corev1.Service, namespace *corev1.Namespace, limits api.RouteLimits, versions func(label string) []string) []string {
	intent, problems := limits.IntentOf(service, namespace, nil)
	problems = slices.DeleteFunc(problems, func(p api.RouteProblem) bool { return p.Object.Kind != "Service" || stood(p, before) })
	if slices.ContainsFunc(problems, func(p api.RouteProblem) bool { return p.Reason == api.RouteInvalidAnnotation }) {
		problems = api.WithExamples(problems, versions(intent.VersionLabel))
	}
	var out []string
	for _, p := range problems {
		out = append(out, string(p.Reason)+": "+p.String())
	}
	out = append(out, nearMisses("annotation", service.Annotations, before.Annotations)...)
	out = append(out, nearMisses("label", service.Labels, before.Labels)...)
	return out
}

// stood reports whether the label or annotation that a Problem is about was there before and said the same.
func stood(p api.RouteProblem, before metav1.Object) bool {
	for key, value := range before.GetAnnotations() {
		if p.Field == api.AnnotationField(key) && p.Value == value {
			return true
		}
	}
	for key, value := range before.GetLabels() {
		if p.Field == api.LabelField(key) && p.Value == value {
			return true
		}
	}
	return false
}

// nearMisses finds keys that look like one of ours but are in no domain of ours, and, among labels, keys of ours that
// nobody reads there.
func nearMisses(what string, marks, before map[string]string) []string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(marks)) {
		if was, had := before[key]; had && was == marks[key] {
			continue
		}
		if right, advice := meant(what, key); right != "" {
			out = append(out, fmt.Sprintf("%s: %s %s = %q is not read. %s", api.RouteUnknownAnnotation, what, key, api.Shorten(marks[key], 60), advice))
		}
	}
	return out
}

// meant returns the key of ours that a key was probably meant to be; empty if it has nothing to do with us. Keys under
// our own domain that are annotations are api.RouteIntentOf's to judge.
func meant(what, key string) (right, advice string) {
	ours := strings.HasPrefix(key, api.Domain+"/")
	if ours && what == "annotation" {
		return "", ""
	}
	known, found := api.NearestRoutingKey(key)
	switch {
	case ours && known.Label && known.Key == key:
		return "", "" // a label of ours where it belongs
	case found && known.Label:
		return known.Key, "Did you mean the label " + known.Key + "?"
	case found:
		return known.Key, "Did you mean the annotation " + known.Key + "?"
	case ours:
		return api.LabelRouting, "The only label of Outrigger's own here is " + api.LabelRouting + "."
	}
	return "", ""
}
