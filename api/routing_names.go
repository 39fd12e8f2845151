// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// namingKeys are the annotations that name versions.
var namingKeys = []string{AnnotationDefaultVersion, AnnotationWeights, AnnotationMatch, AnnotationMirror}

// NamesIn returns the versions that an annotation names, as written.
func (intent RouteIntent) NamesIn(key string) []string {
	var out []string
	intent.Renamed(key, func(name string) string {
		out = append(out, name)
		return name
	})
	return out
}

// Renamed returns the value of an annotation with other names for its versions; "" if it names none.
func (intent RouteIntent) Renamed(key string, to func(name string) string) string {
	var items []string
	separator := ","
	switch key {
	case AnnotationDefaultVersion:
		if intent.Default.Policy == DefaultLiteral && intent.Default.Version != "" {
			items = append(items, to(intent.Default.Version))
		}
	case AnnotationWeights:
		for _, w := range intent.Weights {
			items = append(items, fmt.Sprintf("%s=%d", to(w.Version), w.Weight))
		}
	case AnnotationMirror:
		for _, w := range intent.Mirror {
			items = append(items, fmt.Sprintf("%s=%d", to(w.Version), w.Weight))
		}
	case AnnotationMatch:
		separator = ";"
		for _, m := range intent.Match {
			m.Version = to(m.Version)
			items = append(items, m.String())
		}
	}
	return strings.Join(items, separator)
}

// UnknownVersion returns the message for a name that is not one of the versions, with the version that it probably stands for.
func UnknownVersion(name string, versions []string) string {
	if candidate, near := NearestVersion(name, versions); near {
		return fmt.Sprintf("unknown version %q; did you mean %q?", name, candidate)
	}
	return fmt.Sprintf("no workload behind the Service has version %q", name)
}

// UnknownVersions reports annotations of the Service that name versions that none of its workloads has. It reports nothing for a Service
// without versions.
func UnknownVersions(service ObjectRef, intent RouteIntent, versions []string) []RouteProblem {
	var out []RouteProblem
	for _, key := range namingKeys {
		var unknown []string
		for _, name := range intent.NamesIn(key) {
			if !slices.Contains(versions, name) {
				unknown = append(unknown, UnknownVersion(name, versions))
			}
		}
		if len(unknown) == 0 || len(versions) == 0 {
			continue
		}
		slices.Sort(unknown)
		message := strings.Join(slices.Compact(unknown), ", ")
		if !strings.HasSuffix(message, "?") {
			message += "."
		}
		out = append(out, RouteProblem{
			Object: service, Field: AnnotationField(key), Value: intent.Texts[key], Reason: RoutePendingVersions,
			Message: message + " Until there is one, the current route is unchanged.",
			Advice:  "Example: kubectl annotate service -n " + service.Namespace + " " + service.Name + " " + key + "=" + intent.example(key, versions) + " --overwrite.",
		})
	}
	return out
}

// example returns a value of an annotation with the Service's own versions.
func (intent RouteIntent) example(key string, versions []string) string {
	next := 0
	seen := map[string]string{}
	text := intent.Renamed(key, func(name string) string {
		if seen[name] != "" {
			return seen[name]
		}
		seen[name] = name
		if candidate, near := NearestVersion(name, versions); near {
			seen[name] = candidate
		} else if !slices.Contains(versions, name) {
			seen[name] = versions[min(next, len(versions)-1)]
		}
		next++
		return seen[name]
	})
	if key == AnnotationWeights && CheckWeights(text) != nil {
		return WeightsExample(versions)
	}
	return text
}

// WeightsExample returns weights for the first two of a Service's versions: "v1=90,v2=10".
func WeightsExample(versions []string) string {
	switch len(versions) {
	case 0:
		return "VERSION=100"
	case 1:
		return versions[0] + "=100"
	}
	return versions[0] + "=90," + versions[1] + "=10"
}

// idleCompanions reports annotations about exposure on a Service without expose.
func (r *reading) idleCompanions(intent *RouteIntent) {
	if _, written := r.service.Annotations[AnnotationExpose]; written {
		return
	}
	for _, key := range []string{AnnotationGateway, AnnotationGatewayPort, AnnotationGatewaySelector, AnnotationHosts, AnnotationHTTPSRedirect, AnnotationPath, AnnotationPathRewrite, AnnotationServicePort, AnnotationTLSCredential} {
		text, written := r.service.Annotations[key]
		if !written || intent.Bad[key] {
			continue
		}
		r.problems = append(r.problems, RouteProblem{
			Object: r.serviceRef(), Field: AnnotationField(key), Value: text, Reason: RouteWithoutEffect,
			Message: "The Service is not exposed, so this has no effect.",
			Advice:  fmt.Sprintf("Example: kubectl annotate service -n %s %s %s=true.", r.service.Namespace, r.service.Name, AnnotationExpose),
		})
	}
}

// NamespaceProblems returns the Problems of a Namespace's labels and annotations for routing.
func (limits RouteLimits) NamespaceProblems(namespace *corev1.Namespace) []RouteProblem {
	service := &corev1.Service{}
	service.Namespace = namespace.Name
	_, problems := limits.IntentOf(service, namespace, nil)
	return slices.DeleteFunc(problems, func(p RouteProblem) bool { return p.Object.Kind != "Namespace" })
}
