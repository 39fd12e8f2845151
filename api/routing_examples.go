// SPDX-License-Identifier: Apache-2.0

package api

import "slices"

// WithExamples replaces the advice about an invalid annotation that names versions by a command with the Service's own versions, in
// natural order. Without versions, the advice stays general.
func WithExamples(problems []RouteProblem, versions []string) []RouteProblem {
	if len(versions) == 0 {
		return problems
	}
	out := slices.Clone(problems)
	for i, p := range out {
		if p.Reason != RouteInvalidAnnotation || p.Object.Kind != "Service" {
			continue
		}
		for _, key := range namingKeys {
			if p.Field == AnnotationField(key) {
				out[i].Advice = "Example: kubectl annotate service -n " + p.Object.Namespace + " " + p.Object.Name + " " + key + "=" + exampleOf(key, versions) + " --overwrite."
			}
		}
	}
	return out
}

// exampleOf returns a valid value of an annotation that names versions.
func exampleOf(key string, versions []string) string {
	last := versions[len(versions)-1]
	switch key {
	case AnnotationWeights:
		return WeightsExample(versions)
	case AnnotationMatch:
		return last + "=header:end-user:jason"
	case AnnotationMirror:
		return last + "=10"
	}
	return last
}
