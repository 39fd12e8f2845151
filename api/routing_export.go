package api

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// exportTo reads Istio's annotation as DestinationRules and VirtualServices may have it. Those know no "~": what is to be
// visible to nobody is visible to its own Namespace there. An item that Istio would not take in them is told and left out.
// A text over the limit is bad as a whole.
func (r *reading) exportTo(intent *RouteIntent) {
	text, written := r.service.Annotations[AnnotationExportTo]
	if !written {
		return
	}
	if most := r.limits.AnnotationBytes; most > 0 && len(text) > most {
		intent.Bad[AnnotationExportTo] = true
		r.problems = append(r.problems, RouteProblem{
			Object: r.serviceRef(), Field: AnnotationField(AnnotationExportTo), Value: Shorten(text, maxReasonBytes), Reason: RouteInvalidAnnotation,
			Message: fmt.Sprintf("The annotation has %d bytes, more than the %d of routing.maxAnnotationBytes. Existing routes stay visible where they are; new ones are visible in namespace %s only.", len(text), most, r.service.Namespace),
			Advice:  "Write a shorter list of namespaces, or * for all.",
		})
		return
	}
	intent.ExportTo = r.exportItems(text)
}

// exportItems returns the valid items of the annotation, sorted.
func (r *reading) exportItems(text string) []string {
	var out, bad []string
	for _, item := range strings.Split(text, ",") {
		switch item = strings.TrimSpace(item); {
		case item == "*":
			return []string{"*"}
		case item == "~" || item == "." || item == r.service.Namespace:
			out = append(out, ".")
		case len(validation.IsDNS1123Label(item)) > 0:
			bad = append(bad, fmt.Sprintf("%q", item))
		default:
			out = append(out, item)
		}
	}
	if len(bad) > 0 {
		r.problems = append(r.problems, RouteProblem{
			Object: r.serviceRef(), Field: AnnotationField(AnnotationExportTo), Value: text, Reason: RouteInvalidAnnotation,
			Message: Shorten(strings.Join(bad, ", "), maxReasonBytes) + " is no Namespace; for routes it is left out.",
			Advice:  "Write a comma list of Namespaces, . for this one, or * for all.",
		})
	}
	slices.Sort(out)
	return slices.Compact(out)
}
