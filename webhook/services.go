// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"outrigger.dev/outrigger/api"
)

// ServicesPath is where ServiceAdvice is served.
const ServicesPath = "/validate/services"

// ServiceAdvice answers CREATE and UPDATE of Services with a warning for each invalid or misspelled annotation or label of routing.
// An update is warned only about what it changes.
func ServiceAdvice(namespaces NamespaceReader, limits api.RouteLimits, versions VersionReader) http.Handler {
	return advice(func(ctx context.Context, request admission.Request) ([]string, error) {
		service, before, err := decoded[corev1.Service](request)
		if err != nil {
			return nil, err
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
		return append(warnings, unknownVersionWarnings(ctx, service, before, namespace, limits, versions)...), nil
	})
}

// VersionReader knows the versions of the pods that a Service selects.
type VersionReader interface {
	// Versions returns the values of the version label in natural order, or none if they cannot be read.
	Versions(ctx context.Context, service *corev1.Service, label string) []string
}

// unknownVersionWarnings returns warnings about versions that no pod of the Service has, in annotations that the request changes.
func unknownVersionWarnings(ctx context.Context, service, before *corev1.Service, namespace *corev1.Namespace, limits api.RouteLimits, versions VersionReader) []string {
	intent, _ := limits.IntentOf(service, namespace, nil)
	if warning := versionLabelWarning(ctx, service, before, intent, versions); warning != "" {
		return []string{warning} // no version is known by that label
	}
	changed := func(p api.RouteProblem) bool { return !isUnchanged(p, before) }
	ref := api.ObjectRef{Kind: "Service", Namespace: service.Namespace, Name: service.Name}
	if versions == nil || !slices.ContainsFunc(api.UnknownVersions(ref, intent, []string{""}), changed) {
		return nil // the request names no other versions than before
	}
	var out []string
	for _, p := range api.UnknownVersions(ref, intent, versions.Versions(ctx, service, intent.VersionLabel)) {
		if changed(p) {
			out = append(out, string(p.Reason)+": "+p.String())
		}
	}
	return out
}

// versionLabelWarning returns a warning about a version label that the request sets and that does not distinguish the Service's pods;
// otherwise "".
func versionLabelWarning(ctx context.Context, service, before *corev1.Service, intent api.RouteIntent, versions VersionReader) string {
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

// ServiceWarnings returns what is wrong with the annotations and labels of routing on a Service, sorted, each with the fix. Values
// that before already had are left out; before is empty for a new Service. The versions of the Service's pods by a label are
// read only if an example needs them.
func ServiceWarnings(service, before *corev1.Service, namespace *corev1.Namespace, limits api.RouteLimits, versions func(label string) []string) []string {
	intent, problems := limits.IntentOf(service, namespace, nil)
	problems = slices.DeleteFunc(problems, func(p api.RouteProblem) bool { return p.Object.Kind != "Service" || isUnchanged(p, before) })
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

// isUnchanged reports whether the label or annotation that a Problem is about had the same value before.
func isUnchanged(p api.RouteProblem, before metav1.Object) bool {
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

// nearMisses returns warnings about changed keys that are probably a misspelled key of Outrigger, or one of Outrigger's annotations
// written as a label.
func nearMisses(what string, marks, before map[string]string) []string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(marks)) {
		if was, had := before[key]; had && was == marks[key] {
			continue
		}
		if right, advice := nearestKey(what, key); right != "" {
			out = append(out, fmt.Sprintf("%s: %s %s = %q is not read. %s", api.RouteUnknownAnnotation, what, key, api.Shorten(marks[key], 60), advice))
		}
	}
	return out
}

// nearestKey returns the key of Outrigger that a key probably misspells, or "". RouteLimits.IntentOf checks annotations of
// Outrigger's domain.
func nearestKey(what, key string) (right, advice string) {
	isOutriggers := strings.HasPrefix(key, api.Domain+"/")
	if isOutriggers && what == "annotation" {
		return "", ""
	}
	known, found := api.NearestRoutingKey(key)
	switch {
	case isOutriggers && known.Label && known.Key == key:
		return "", "" // a correct label
	case found && known.Label:
		return known.Key, "Did you mean the label " + known.Key + "?"
	case found:
		return known.Key, "Did you mean the annotation " + known.Key + "?"
	case isOutriggers:
		return api.LabelRouting, "The only label that Outrigger reads here is " + api.LabelRouting + "."
	}
	return "", ""
}
