// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
)

// An object is ours by three marks: our labels, the owner reference to its Service, and the seal on our annotations. Another client
// that removes or edits one of them does not make the object its own: two are enough, and the third is written back. An object that
// lost two of them is foreign.

// ServiceOf returns the name of the Service, in the object's namespace, that two of its marks agree on.
func ServiceOf(object Object) (string, bool) {
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

// ownerEdited reports whether another client edited the owner reference of one of our objects. An owner with another UID is a
// Service that was deleted, unless the object was created after the present one, or by a plan for it.
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

// isStranger reports whether an object has another owner than the Service while our other objects have the Service: another client
// edited the owner, or the object is left over from a Service that was deleted. Nothing that it records applies.
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
	for _, object := range s.Existing.All() {
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

// With outrigger.dev/routing=observe, users commit what "outrigger routes" prints, and apply it themselves. Such objects have our
// labels and names, and neither an owner nor a record. They count as Outrigger's, so that the dry run reports how they differ from
// what it would write. In every other mode they are foreign.

// isPrinted reports whether an object is one that "outrigger routes" printed for the Service.
func isPrinted(object Object, service *corev1.Service) bool {
	return object.GetNamespace() == service.Namespace && isCopy(object.GetLabels()) && object.GetLabels()[api.LabelService] == service.Name &&
		slices.Contains(derivedNames(service.Name), object.GetName()) && controllerOf(object) == nil && trustOf(object) == blank
}

// CopyOf returns the Service of an object that Outrigger wrote, or that "outrigger routes" printed. It is false for an object that a
// user applied over one of Outrigger's.
func CopyOf(object Object) (string, bool) {
	if name, ours := ServiceOf(object); ours && !IsApplied(object) {
		return name, true
	}
	name := object.GetLabels()[api.LabelService]
	return name, isCopy(object.GetLabels()) && controllerOf(object) == nil && trustOf(object) == blank && slices.Contains(derivedNames(name), object.GetName())
}

// asOurs returns a copy of a printed object with the owner reference that Outrigger's own objects have.
func asOurs[T Object](object T, service *corev1.Service) T {
	out := object.DeepCopyObject().(T)
	out.SetOwnerReferences(append(out.GetOwnerReferences(), ownerReference(service)))
	return out
}

// isCommitted reports whether the existing objects carry no record, as those that a user applies from files.
func (o Observed) isCommitted() bool {
	objects := o.Existing.All()
	return len(objects) > 0 && !slices.ContainsFunc(objects, func(object Object) bool { return trustOf(object) != blank })
}

// committedDefault returns the default that applies without a record: the explicit one, or else the version to which the existing
// route sends most of the requests that no match claims.
func (o Observed) committedDefault() api.DefaultIntent {
	if o.Intent.Default.Policy == api.DefaultLiteral || o.Intent.Default.Policy == api.DefaultAll {
		return o.Intent.Default
	}
	shares := slices.DeleteFunc(Read(o.Existing, o.Service, o.Intent, o.Settings).Shares(), func(share ReadShare) bool { return share.Version == "" })
	if len(shares) == 0 {
		return o.Intent.Default
	}
	most := slices.MaxFunc(shares, func(a, b ReadShare) int { return cmp.Compare(a.Weight, b.Weight) })
	return api.DefaultIntent{Policy: api.DefaultLiteral, Version: most.Version, OnService: true}
}
