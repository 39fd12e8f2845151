// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// exportTo reads Istio's annotation in the form of a DestinationRule's exportTo, which does not support "~": routes of a Service that is
// visible to no Namespace are visible in its own. Like Istio, it ignores items that are not namespaces, and an empty annotation is
// the default. An annotation that exceeds the limit or has no valid item is invalid: the mesh's default, which may be broader, does
// not replace it.
func (r *reading) exportTo(intent *RouteIntent) {
	text := r.service.Annotations[AnnotationExportTo]
	if text == "" {
		return
	}
	if most := r.limits.AnnotationBytes; most > 0 && len(text) > most {
		intent.Bad[AnnotationExportTo] = true
		r.badExport(Shorten(text, maxReasonBytes), fmt.Sprintf("The annotation has %d bytes, more than the %d of routing.maxAnnotationBytes. %s", len(text), most, r.exportHeld()),
			"Write a shorter list of namespaces, or * for all.")
		return
	}
	valid, invalid := r.exportItems(text)
	if len(invalid) == 0 {
		intent.ExportTo = valid
		return
	}
	effect := "It is ignored for routes."
	if len(valid) == 0 {
		intent.Bad[AnnotationExportTo] = true
		effect = r.exportHeld()
	}
	r.badExport(Shorten(text, maxReasonBytes), "Not a namespace: "+Shorten(strings.Join(invalid, ", "), maxReasonBytes)+". "+effect,
		fmt.Sprintf("Write namespaces separated by commas, . for this one, or * for all. Example: kubectl annotate service -n %s %s %s=. --overwrite", r.service.Namespace, r.service.Name, AnnotationExportTo))
	intent.ExportTo = valid
}

func (r *reading) exportHeld() string {
	return fmt.Sprintf("Existing routes stay visible where they are; new ones are visible in namespace %s only.", r.service.Namespace)
}

func (r *reading) badExport(value, message, advice string) {
	r.problems = append(r.problems, RouteProblem{
		Object: r.serviceRef(), Field: AnnotationField(AnnotationExportTo), Value: value, Reason: RouteInvalidAnnotation, Message: message, Advice: advice,
	})
}

// exportItems returns the valid items of the annotation, sorted, and the invalid ones, quoted.
func (r *reading) exportItems(text string) (valid, invalid []string) {
	for _, item := range strings.Split(text, ",") {
		switch item = strings.TrimSpace(item); {
		case item == "*":
			return []string{"*"}, nil
		case item == "~" || item == "." || item == r.service.Namespace:
			valid = append(valid, ".")
		case len(validation.IsDNS1123Label(item)) > 0:
			invalid = append(invalid, fmt.Sprintf("%q", item))
		default:
			valid = append(valid, item)
		}
	}
	slices.Sort(valid)
	return slices.Compact(valid), invalid
}
