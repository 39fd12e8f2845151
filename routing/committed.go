// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
)

// With outrigger.dev/routing=observe, users commit what "outrigger routes" prints, and apply it themselves. Such objects have our
// labels and names, and neither an owner nor a record. They count as Outrigger's, so that the dry run reports how they differ from
// what it would write. In every other mode they are another author's.

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
	objects := o.Existing.all()
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
