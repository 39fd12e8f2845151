package api

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// exportTo reads Istio's annotation as DestinationRules and VirtualServices may have it. Those know no "~": what is to be
// visible to nobody is visible to its own Namespace there. An item that Istio would not take in them is told and left out.
func (r *reading) exportTo() []string {
	text, written := r.service.Annotations[AnnotationExportTo]
	if !written {
		return nil
	}
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
