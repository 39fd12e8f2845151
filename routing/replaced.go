// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
)

// One of our objects that the user replaces belongs to the user. It goes through these states:
//
//	ours ──replaced──▶ taken: foreign, with our marks ──our own objects exist for the propagation delay──▶ released: foreign
//
// Replaced means: a file that does not carry our labels was applied over it, or its hosts no longer include the Service's.
// Any other edit leaves the object ours, and outrigger.dev/drift decides about it.

// Divide sorts Istio's objects that concern the Service into those that Outrigger keeps and foreign ones. A replaced object is
// foreign, also while it still carries our marks.
func (o *Observed) Divide(all Objects) {
	o.Existing, o.Foreign = Objects{}, Objects{}
	o.Existing.DestinationRules, o.Foreign.DestinationRules = divided(o, all.DestinationRules)
	o.Existing.VirtualServices, o.Foreign.VirtualServices = divided(o, all.VirtualServices)
	o.Existing.Gateways, o.Foreign.Gateways = divided(o, all.Gateways)
}

func divided[T Object](o *Observed, list []T) (kept, foreign []T) {
	for _, object := range list {
		switch {
		case IsOwn(object, o.Service) && !o.isReplacedByUser(object):
			kept = append(kept, object)
		case o.Intent.Observe && isPrinted(object, o.Service):
			kept = append(kept, asOurs(object, o.Service))
		case MayConcern(object, o.Service, o.Settings.ClusterDomain):
			foreign = append(foreign, object)
		}
	}
	return kept, foreign
}

// isReplacedByUser reports whether the user replaced one of our objects. With outrigger.dev/drift=revert nothing is taken: it is
// written back. Neither is an object of an earlier release, which left it as it is, until the next decision.
func (o *Observed) isReplacedByUser(object Object) bool {
	if o.Intent.Drift == api.DriftRevert || o.Intent.Bad[api.AnnotationDrift] || o.isUndecidedSince(object) || o.redefines(object) {
		return false
	}
	vs, isRoute := object.(*networkingv1.VirtualService)
	return IsApplied(object) || isRoute && o.lostHost(vs)
}

// isUndecidedSince reports whether an earlier release wrote an object, and nothing was decided since: an upgrade moves no
// traffic.
func (o *Observed) isUndecidedSince(object Object) bool {
	if trustOf(object) != unsealed {
		return false
	}
	if _, isRoute := object.(*networkingv1.VirtualService); !isRoute {
		return true // it has no record of decisions
	}
	annotations := map[string]string{}
	if text := object.GetAnnotations()[api.AnnotationWords]; text != "" && json.Unmarshal([]byte(text), &annotations) != nil {
		return true
	}
	return maps.Equal(annotations, o.Intent.Texts)
}

// redefines reports whether a DestinationRule gives one of our subset names other labels. Routes name that subset, so this
// is an edit that is written back.
func (o *Observed) redefines(object Object) bool {
	rule, is := object.(*networkingv1.DestinationRule)
	if !is {
		return false
	}
	if ResolveHost(rule.Spec.Host, rule.Namespace, o.Settings.ClusterDomain) != hostOf(o.Service, o.Settings.ClusterDomain) {
		return true
	}
	meanings := parsePairs(rule.Annotations[api.AnnotationSubsets])
	return slices.ContainsFunc(rule.Spec.Subsets, func(subset *networkingapi.Subset) bool {
		version, ours := meanings[subset.GetName()]
		return ours && !maps.Equal(subset.GetLabels(), map[string]string{o.Intent.VersionLabel: version})
	})
}

// lostHost reports whether one of our VirtualServices for callers in the mesh is no longer for the Service's host.
func (o *Observed) lostHost(vs *networkingv1.VirtualService) bool {
	if name := vs.Name; name != o.Service.Name && name != o.Service.Name+autoSuffix {
		return false
	}
	host, domain := hostOf(o.Service, o.Settings.ClusterDomain), o.Settings.ClusterDomain
	return !slices.ContainsFunc(vs.Spec.Hosts, func(h string) bool { return ResolveHost(h, vs.Namespace, domain) == host })
}

// applied is what a client declared with kubectl apply.
type applied struct {
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     json.RawMessage   `json:"spec"`
}

func lastApplied(object Object) (applied, bool) {
	var out applied
	text := object.GetAnnotations()[corev1.LastAppliedConfigAnnotation]
	if text == "" || json.Unmarshal([]byte(text), &out) != nil {
		return applied{}, false
	}
	return out, true
}

// IsApplied reports whether a file of the user is in effect on an object, by client-side or server-side apply. A file that
// carries our labels is a copy of our object, for example an older one in git.
func IsApplied(object Object) bool {
	if file, is := lastApplied(object); is && !isCopy(file.Metadata.Labels) && isInEffect(object, file.Spec) {
		return true
	}
	return slices.ContainsFunc(object.GetManagedFields(), func(entry metav1.ManagedFieldsEntry) bool {
		fields := fieldsOwned(entry)
		labels := below(fields, "f:metadata", "f:labels")
		_, copied := labels["f:"+api.LabelService]
		return isServerSideApply(entry) && !copied && ownsAny(below(fields, "f:spec"), "f:http", "f:tcp", "f:tls", "f:hosts", "f:host", "f:subsets", "f:servers", "f:selector")
	})
}

func isCopy(labels map[string]string) bool {
	return labels[api.LabelManagedBy] == api.ManagedBy && labels[api.LabelService] != ""
}

func isServerSideApply(entry metav1.ManagedFieldsEntry) bool {
	return entry.Operation == metav1.ManagedFieldsOperationApply && entry.Manager != api.FieldManager
}

func fieldsOwned(entry metav1.ManagedFieldsEntry) map[string]any {
	fields := map[string]any{}
	if entry.FieldsV1 == nil || json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields) != nil {
		return nil
	}
	return fields
}

func ownsAny(fields map[string]any, names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { _, owns := fields[name]; return owns })
}

// isInEffect reports whether an object has every field of a declared spec. Where it was written over since, the file says
// nothing about the object as it is.
func isInEffect(object Object, spec json.RawMessage) bool {
	var declared, is json.Marshaler
	var err error
	switch o := object.(type) {
	case *networkingv1.DestinationRule:
		decoded := &networkingapi.DestinationRule{}
		err = json.Unmarshal(spec, decoded)
		declared, is = decoded, &o.Spec
	case *networkingv1.VirtualService:
		decoded := &networkingapi.VirtualService{}
		err = json.Unmarshal(spec, decoded)
		declared, is = decoded, &o.Spec
	case *networkingv1.Gateway:
		decoded := &networkingapi.Gateway{}
		err = json.Unmarshal(spec, decoded)
		declared, is = decoded, &o.Spec
	}
	return err == nil && declared != nil && includesTree(treeOf(is), treeOf(declared))
}

// includesTree reports whether a JSON value has all of another: a list is one value, as in a merge patch.
func includesTree(is, declared any) bool {
	fields, isObject := declared.(map[string]any)
	if !isObject {
		a, errA := json.Marshal(is)
		b, errB := json.Marshal(declared)
		return errA == nil && errB == nil && bytes.Equal(a, b)
	}
	have, _ := is.(map[string]any)
	for name, value := range fields {
		if !includesTree(have[name], value) {
			return false
		}
	}
	return true
}

// CompactManagedFields returns what IsApplied reads of managed fields: which fields others apply. The caches keep only that.
func CompactManagedFields(entries []metav1.ManagedFieldsEntry) []metav1.ManagedFieldsEntry {
	var out []metav1.ManagedFieldsEntry
	for _, entry := range entries {
		fields := fieldsOwned(entry)
		if !isServerSideApply(entry) || fields == nil {
			continue
		}
		spec := map[string]any{}
		for name := range below(fields, "f:spec") {
			spec[name] = map[string]any{}
		}
		raw, err := json.Marshal(map[string]any{"f:metadata": below(fields, "f:metadata"), "f:spec": spec})
		if err != nil {
			continue
		}
		kept := &metav1.FieldsV1{}
		kept.SetRawBytes(raw)
		out = append(out, metav1.ManagedFieldsEntry{Manager: entry.Manager, Operation: entry.Operation, FieldsV1: kept})
	}
	return out
}

// Released returns a copy of an object without what makes it Outrigger's: the owner reference, our labels, and our
// annotations. What the user's own file declares stays, so that a tool which applies it again has nothing to change.
func Released(object Object, service *corev1.Service) Object {
	out := object.DeepCopyObject().(Object)
	file, _ := lastApplied(object)
	declares := func(field, key string, inFile bool) bool {
		return inFile || slices.ContainsFunc(object.GetManagedFields(), func(entry metav1.ManagedFieldsEntry) bool {
			_, owns := below(fieldsOwned(entry), "f:metadata", "f:"+field)["f:"+key]
			return isServerSideApply(entry) && owns
		})
	}
	labels := maps.Clone(object.GetLabels())
	for _, key := range []string{api.LabelManagedBy, api.LabelService, api.LabelKialiWizard} {
		_, inFile := file.Metadata.Labels[key]
		if key == api.LabelManagedBy && labels[key] != api.ManagedBy || declares("labels", key, inFile) {
			continue
		}
		delete(labels, key)
	}
	annotations := maps.Clone(object.GetAnnotations())
	for _, key := range writtenKeys {
		if _, inFile := file.Metadata.Annotations[key]; !declares("annotations", key, inFile) {
			delete(annotations, key)
		}
	}
	out.SetLabels(labels)
	out.SetAnnotations(annotations)
	out.SetOwnerReferences(slices.DeleteFunc(slices.Clone(object.GetOwnerReferences()), func(owner metav1.OwnerReference) bool {
		return isOwner(owner, service) && !slices.ContainsFunc(file.Metadata.OwnerReferences, func(declared metav1.OwnerReference) bool { return declared.UID == owner.UID })
	}))
	return out
}

func isOwner(owner metav1.OwnerReference, service *corev1.Service) bool {
	return owner.Kind == "Service" && owner.Name == service.Name && owner.Controller != nil && *owner.Controller
}

// carriesMarks reports whether a foreign object still carries our marks for the Service that Released removes.
func carriesMarks(object Object, service *corev1.Service) bool {
	labels, name := object.GetLabels(), object.GetName()
	if object.GetNamespace() != service.Namespace || name == service.Name+extraSuffix || !slices.Contains(derivedNames(service.Name), name) {
		return false
	}
	of, labeled := labels[api.LabelService]
	owned := slices.ContainsFunc(object.GetOwnerReferences(), func(owner metav1.OwnerReference) bool { return isOwner(owner, service) })
	switch {
	case labeled && of != service.Name:
		return false
	case !owned && (!labeled || labels[api.LabelManagedBy] != api.ManagedBy),
		owned && !labeled && labels[api.LabelManagedBy] != api.ManagedBy && len(ownMarks(object.GetAnnotations())) == 0:
		return false
	}
	bare := Released(object, service)
	return !maps.Equal(bare.GetLabels(), labels) || !maps.Equal(bare.GetAnnotations(), object.GetAnnotations()) ||
		len(bare.GetOwnerReferences()) != len(object.GetOwnerReferences())
}

// HasReplaced reports whether the user replaced one of our objects that still carries our marks.
func (o *Observed) HasReplaced() bool { return len(o.Replaced()) > 0 }

// Replaced returns our objects that the user replaced and that still carry our marks.
func (o *Observed) Replaced() []Object {
	return slices.DeleteFunc(o.Foreign.All(), func(object Object) bool { return !carriesMarks(object, o.Service) })
}

// replacedObjects are foreign objects that still carry our marks, as they were observed.
type replacedObjects struct {
	destinationRule *networkingv1.DestinationRule
	meshRoute       *networkingv1.VirtualService // <service>
	all             []Object
}

// disown plans on replaced objects as they are once they are released.
func (s *reader) disown() {
	s.Foreign.DestinationRules = disowned(s, s.Foreign.DestinationRules)
	s.Foreign.VirtualServices = disowned(s, s.Foreign.VirtualServices)
	s.Foreign.Gateways = disowned(s, s.Foreign.Gateways)
	for _, object := range s.replaced.all {
		if trust := trustOf(object); trust != sealed && trust != unsealed {
			continue // nothing on it counts
		}
		switch o := object.(type) {
		case *networkingv1.DestinationRule:
			s.replaced.destinationRule = o
		case *networkingv1.VirtualService:
			if !strings.HasPrefix(o.Name, s.Service.Name+gatewaySuffix) {
				s.replaced.meshRoute = o
			}
		}
	}
	if s.replaced.destinationRule == nil && s.DeletedDestinationRule != nil && !IsRestored(s.DeletedDestinationRule) {
		s.replaced.destinationRule = s.DeletedDestinationRule
	}
}

func disowned[T Object](s *reader, list []T) []T {
	out := slices.Clone(list)
	for i, object := range out {
		if carriesMarks(object, s.Service) {
			s.replaced.all = append(s.replaced.all, object)
			out[i] = Released(object, s.Service).(T)
		}
	}
	return out
}

// replacedByUser reports which objects the user replaced.
func (s *facts) replacedByUser() (found []finding) {
	for _, object := range s.replaced.all {
		found = append(found, problemOf(object, "metadata.ownerReferences", "", api.RouteObjectReplaced,
			"You replaced this object of Outrigger, so Outrigger no longer writes it. Outrigger keeps separate objects and removes its owner reference, labels, and annotations from this one.",
			"To restore Outrigger's object: kubectl delete "+ResourceOf(KindOf(object))+" -n "+object.GetNamespace()+" "+object.GetName()+"."))
	}
	return found
}

// ResourceOf returns the resource by which kubectl finds objects of a kind.
func ResourceOf(kind string) string {
	return strings.ToLower(kind) + "s.networking.istio.io"
}

// releases are the replaced objects that may be released now: everything that is ours exists as planned, the record
// included, and has for the propagation delay.
func (s *facts) releases(objects Objects, isConcluded bool) []Object {
	if len(s.replaced.all) == 0 || !isConcluded || len(Diff(s.observedOurs, objects)) > 0 {
		return nil
	}
	for _, object := range objects.All() {
		at := slices.IndexFunc(s.observedObjects, func(o Object) bool { return sameName(o, object) })
		if created := s.observedObjects[at].GetCreationTimestamp(); !created.IsZero() && !s.waitElapsed(created.Add(time.Second), s.Settings.PropagationDelay) { // creation times are cut to the second
			return nil
		}
	}
	return s.replaced.all
}

// wasRouted reports whether callers in the mesh had one of our routes until the user replaced it.
func (s defaultDecision) wasRouted() bool {
	return s.isRecorded && s.record.State == "" && (s.replaced.meshRoute != nil || s.replaced.destinationRule != nil && s.replaced.destinationRule == s.DeletedDestinationRule)
}

// isNamedByReplaced reports whether the route that the user replaced named the subset of a version when Outrigger wrote it last:
// ours continues it next to the user's, and has nothing to wait for.
func (s *facts) isNamedByReplaced(version string) bool {
	return s.replaced.meshRoute != nil && parsePairs(s.replaced.meshRoute.Annotations[api.AnnotationSubsets])[s.subsets.names[version]] == version
}

// isInReplaced reports whether a DestinationRule that was ours still has the subset of a version, as proxies have known
// it for the propagation delay.
func (s *facts) isInReplaced(version string) bool {
	if s.replaced.destinationRule == nil {
		return false
	}
	name := s.subsets.names[version]
	added, stamped := parseStamps(s.replaced.destinationRule.Annotations[api.AnnotationSubsetAdded])[name]
	if !stamped || !s.waitElapsed(added, s.Settings.PropagationDelay) {
		return false
	}
	return slices.ContainsFunc(s.Foreign.DestinationRules, func(rule *networkingv1.DestinationRule) bool {
		subset := findSubset(rule, name)
		return sameName(rule, s.replaced.destinationRule) && subset != nil && maps.Equal(subset.Labels, map[string]string{s.Intent.VersionLabel: version}) &&
			ResolveHost(rule.Spec.Host, rule.Namespace, s.Settings.ClusterDomain) == s.host
	})
}
