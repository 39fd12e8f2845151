// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"

	"google.golang.org/protobuf/proto"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

// Fingerprint returns a digest of what Outrigger writes of an object: two objects have the same one if applying one over
// the other would change nothing. Fields that belong to others, for example the trafficPolicy of a DestinationRule, do not
// count. It returns the empty text for nil.
func Fingerprint(object Object) string {
	if object == nil {
		return ""
	}
	spec := ""
	switch o := object.(type) {
	case *networkingv1.DestinationRule:
		is := o.Spec.DeepCopy()
		if o.Annotations[api.AnnotationInherited] == "" {
			is.TrafficPolicy = nil
		}
		spec = canonical(is)
	case *networkingv1.VirtualService:
		spec = canonical(withoutSingleWeight(o.Spec.DeepCopy()))
	case *networkingv1.Gateway:
		spec = canonical(&o.Spec)
	}
	marks := ownMarks(object.GetAnnotations())
	for _, key := range []string{api.LabelManagedBy, api.LabelService} {
		marks = withMark(marks, "label:"+key, object.GetLabels()[key])
	}
	if owner := controllerOf(object); owner != nil {
		marks = withMark(marks, "owner", string(owner.UID))
	}
	return api.ShortHash(spec + "\n" + pairsText(marks))
}

func withMark(marks map[string]string, key, value string) map[string]string {
	if marks == nil {
		marks = map[string]string{}
	}
	marks[key] = value
	return marks
}

// RepairsRoute reports whether a change gives back a subset that a current route names: it is missing, or means other
// pods, so requests fail or reach the wrong version until the change is written.
func RepairsRoute(observed Observed, change Change) bool {
	want, is := change.Object.(*networkingv1.DestinationRule)
	if !is || change.Action == Delete || change.Action == Release {
		return false
	}
	current := existingDestinationRule(observed.Existing, want)
	for _, name := range namedSubsets(observed) {
		must := findSubset(want, name)
		if must == nil {
			continue
		}
		if current == nil || current.Spec.Host != want.Spec.Host || !slices.Equal(current.Spec.ExportTo, want.Spec.ExportTo) ||
			!proto.Equal(findSubset(current, name), must) {
			return true
		}
	}
	return false
}

// MustWait reports whether a change must not be written before the changes that are delayed: a route would name a subset that is
// not there, or something would go that a current route still needs.
func MustWait(observed Observed, change Change, delayed []Change) bool {
	holds := func(kind string) bool {
		return slices.ContainsFunc(delayed, func(c Change) bool { return KindOf(c.Object) == kind })
	}
	if change.Action == Release {
		return len(delayed) > 0
	}
	switch object := change.Object.(type) {
	case *networkingv1.VirtualService:
		if change.Action == Delete || !holds("DestinationRule") {
			return false
		}
		return slices.ContainsFunc(subsetsNamed(object, hostOf(observed.Service, observed.Settings.ClusterDomain), observed.Settings.ClusterDomain), func(name string) bool {
			return name != "" && !slices.ContainsFunc(observed.Existing.DestinationRules, func(rule *networkingv1.DestinationRule) bool {
				return findSubset(rule, name) != nil
			})
		})
	case *networkingv1.DestinationRule:
		if !holds("VirtualService") {
			return false
		}
		current := existingDestinationRule(observed.Existing, object)
		return slices.ContainsFunc(namedSubsets(observed), func(name string) bool {
			return findSubset(current, name) != nil && (change.Action == Delete || findSubset(object, name) == nil)
		})
	case *networkingv1.Gateway:
		return holds("VirtualService") && (change.Action == Delete || takesAway(observed.Existing.All(), object))
	}
	return false
}

func existingDestinationRule(existing Objects, like *networkingv1.DestinationRule) *networkingv1.DestinationRule {
	for _, rule := range existing.DestinationRules {
		if sameName(rule, like) {
			return rule
		}
	}
	return nil
}

// namedSubsets returns the subsets of the Service that current routes name, ours and foreign ones, sorted.
func namedSubsets(observed Observed) []string {
	var out []string
	for _, vs := range slices.Concat(observed.Existing.VirtualServices, observed.Foreign.VirtualServices) {
		out = append(out, subsetsNamed(vs, hostOf(observed.Service, observed.Settings.ClusterDomain), observed.Settings.ClusterDomain)...)
	}
	slices.Sort(out)
	return slices.DeleteFunc(slices.Compact(out), func(name string) bool { return name == "" })
}
