// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"

	"outrigger.dev/outrigger/api"
)

// An object is ours by three marks: our labels, the owner reference to its Service, and the seal on our annotations.
// Another client that removes or edits one of them does not make the object its own: two are enough, and the third is
// written back. An object that lost two of them is another author's.

// markedFor returns the name of the Service, in the object's namespace, that two of its marks agree on.
func markedFor(object Object) (string, bool) {
	labeled, owned := "", ""
	if labels := object.GetLabels(); labels[api.LabelManagedBy] == api.ManagedBy {
		labeled = labels[api.LabelService]
	}
	if owner := controllerOf(object); owner != nil && owner.Kind == "Service" {
		owned = owner.Name
	}
	switch {
	case labeled != "" && labeled == owned:
		return labeled, true
	case labeled == "" && owned == "", trustOf(object) != sealed:
		return "", false
	}
	for _, name := range []string{labeled, owned} {
		if name != "" && slices.Contains(derivedNames(name), object.GetName()) {
			return name, true
		}
	}
	return "", false
}

// ownerEdited reports whether another client edited the owner reference of an object of ours. An owner with another UID is
// a Service that was deleted, unless the object was created after the present one, or by a plan for it.
func (s *facts) ownerEdited(object Object) bool {
	owner := controllerOf(object)
	if owner != nil && owner.Kind == "Service" && owner.Name == s.Service.Name && owner.UID == s.Service.UID {
		return false
	}
	if s.distrusted[object] != nil && s.isStranger(object) {
		return true
	}
	return !s.Service.CreationTimestamp.IsZero() && object.GetCreationTimestamp().After(s.Service.CreationTimestamp.Time)
}

// isStranger reports whether an object has another owner than the Service while others of ours have the Service: another
// client edited the owner, or the object is left over from a Service that was deleted. Nothing that it records applies.
func (s *facts) isStranger(object Object) bool {
	isOwned := func(o Object) bool {
		owner := controllerOf(o)
		return owner != nil && owner.UID == s.Service.UID
	}
	return !isOwned(object) && slices.ContainsFunc(s.observedObjects, func(o Object) bool { return isOwned(o) && !recordOf(o).isZero() })
}

// reportMarks reports labels and owner references that are written back.
func (s *reader) reportMarks() {
	if s.renewed {
		return
	}
	for _, object := range s.Existing.all() {
		labels, field := object.GetLabels(), ""
		switch {
		case labels[api.LabelManagedBy] != api.ManagedBy || labels[api.LabelService] != s.Service.Name:
			field = "metadata.labels"
		case s.ownerEdited(object) && !s.isRestored(object):
			field = "metadata.ownerReferences"
		default:
			continue
		}
		s.reportForeign(object, field, "", api.RouteEditReverted,
			"Another client edited the marks by which Outrigger knows its own object. They are written back, and the route is unchanged.",
			"For an object of your own, choose another name.")
	}
}
