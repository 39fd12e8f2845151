// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"outrigger.dev/outrigger/api"
)

// Action is what a Change does.
type Action string

// The actions. Create fails if the object exists, Apply is a server-side apply over the object that was looked at.
const (
	Create Action = "Create"
	Apply  Action = "Apply"
	Delete Action = "Delete"
	// Release removes our marks from an object that the user replaced, and nothing else: see Released.
	Release Action = "Release"
)

// Object is an object of Istio's as the cluster keeps it.
type Object interface {
	metav1.Object
	runtime.Object
}

// Change is one write. Object has everything to apply, with kind and apiVersion; for Delete it is the existing object.
// ResourceVersion is that of the object that Diff compared, empty for Create: the write must fail if the object has changed.
type Change struct {
	Action          Action
	Object          Object
	ResourceVersion string
	// Removes is true for an Apply that removes a subset or a host: it is written after its replacement.
	Removes bool
	// KeepsSpec is true for an Apply that changes labels, annotations, or the owner only, for example Outrigger's record.
	KeepsSpec bool
}

// Diff returns what must be written so that current becomes want, in the order in which it must be written: what a
// route needs comes before the route, and the route goes before what it needs. It is empty if nothing differs. Only
// what we apply is compared: specs field by field (the trafficPolicy of a DestinationRule is its user's), our labels,
// our annotations and the owner.
func Diff(current, want Objects) []Change {
	before, after := current.All(), want.All()
	var out []Change
	for _, object := range after {
		at := slices.IndexFunc(before, func(o Object) bool { return sameName(o, object) })
		switch {
		case at < 0:
			out = append(out, Change{Action: Create, Object: object})
		case !upToDate(before[at], object):
			out = append(out, Change{
				Action: Apply, Object: object, ResourceVersion: before[at].GetResourceVersion(),
				Removes: takesAway(before, object), KeepsSpec: sameSpec(before[at], object),
			})
		}
	}
	for _, object := range before {
		if !slices.ContainsFunc(after, func(o Object) bool { return sameName(o, object) }) {
			out = append(out, Change{Action: Delete, Object: object, ResourceVersion: object.GetResourceVersion()})
		}
	}
	slices.SortStableFunc(out, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.step(), b.step()), cmp.Compare(a.Object.GetName(), b.Object.GetName()))
	})
	return out
}

// Changes returns what must be written for a plan: what Diff returns, and then the objects to release.
func (o Observed) Changes(plan Result) []Change {
	out := Diff(o.Existing, plan.Objects)
	for _, object := range plan.Release {
		out = append(out, Change{Action: Release, Object: object, ResourceVersion: object.GetResourceVersion()})
	}
	return out
}

// All returns the objects in the order DestinationRules, Gateways, VirtualServices.
func (o Objects) All() []Object {
	var out []Object
	for _, rule := range o.DestinationRules {
		out = append(out, rule)
	}
	for _, gateway := range o.Gateways {
		out = append(out, gateway)
	}
	for _, service := range o.VirtualServices {
		out = append(out, service)
	}
	return out
}

// sorted returns the same objects with each list in the order of namespaces and names.
func (o Objects) sorted() Objects {
	return Objects{DestinationRules: sortedByName(o.DestinationRules), VirtualServices: sortedByName(o.VirtualServices), Gateways: sortedByName(o.Gateways)}
}

func sortedByName[T Object](list []T) []T {
	return slices.SortedFunc(slices.Values(list), func(a, b T) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
}

// IsEmpty reports whether there is no object at all.
func (o Objects) IsEmpty() bool { return len(o.All()) == 0 }

// KindOf returns the kind of an object; empty if it is none of the three.
func KindOf(object Object) string {
	switch object.(type) {
	case *networkingv1.DestinationRule:
		return "DestinationRule"
	case *networkingv1.VirtualService:
		return "VirtualService"
	case *networkingv1.Gateway:
		return "Gateway"
	}
	return ""
}

func sameName(a, b Object) bool {
	return KindOf(a) == KindOf(b) && a.GetNamespace() == b.GetNamespace() && a.GetName() == b.GetName()
}

// step returns when a change is written. A write that only adds to a DestinationRule or Gateway comes before the routes,
// one that removes something after them. A route that loses hosts is written after the one that receives them.
func (c Change) step() int {
	isRoute := KindOf(c.Object) == "VirtualService"
	switch {
	case c.Action == Delete && isRoute:
		return 4
	case c.Action == Delete:
		return 6
	case isRoute && c.Removes:
		return 4
	case isRoute:
		return 3
	case c.Removes:
		return 5
	case KindOf(c.Object) == "DestinationRule":
		return 1
	}
	return 2
}

func takesAway(before []Object, after Object) bool {
	at := slices.IndexFunc(before, func(o Object) bool { return sameName(o, after) })
	if at < 0 {
		return false
	}
	switch was := before[at].(type) {
	case *networkingv1.DestinationRule:
		for _, subset := range was.Spec.Subsets {
			if findSubset(after.(*networkingv1.DestinationRule), subset.Name) == nil {
				return true
			}
		}
	case *networkingv1.VirtualService:
		return slices.ContainsFunc(was.Spec.Hosts, func(host string) bool {
			return !slices.Contains(after.(*networkingv1.VirtualService).Spec.Hosts, host)
		})
	case *networkingv1.Gateway:
		for _, server := range was.Spec.Servers {
			for _, host := range server.Hosts {
				if !serves(after.(*networkingv1.Gateway), server.GetPort().GetNumber(), host) {
					return true
				}
			}
		}
	}
	return false
}

func serves(gateway *networkingv1.Gateway, port uint32, host string) bool {
	return slices.ContainsFunc(gateway.Spec.Servers, func(server *server) bool {
		return server.GetPort().GetNumber() == port && slices.Contains(server.Hosts, host)
	})
}

// upToDate reports whether applying want over current would change nothing.
func upToDate(current, want Object) bool {
	return sameSpec(current, want) && sameMarks(current, want)
}

func sameSpec(current, want Object) bool {
	switch want := want.(type) {
	case *networkingv1.DestinationRule:
		is, must := current.(*networkingv1.DestinationRule).Spec.DeepCopy(), want.Spec.DeepCopy()
		if must.TrafficPolicy == nil {
			is.TrafficPolicy = nil
		}
		if isShortOf(is.Host, must.Host, current.GetNamespace()) {
			is.Host = must.Host
		}
		return proto.Equal(is, must)
	case *networkingv1.VirtualService:
		is := current.(*networkingv1.VirtualService).DeepCopy()
		must := want.DeepCopy()
		lengthenHosts(is, want)
		lengthenHosts(must, want)
		return proto.Equal(withoutSingleWeight(&is.Spec), withoutSingleWeight(&must.Spec))
	case *networkingv1.Gateway:
		return proto.Equal(&current.(*networkingv1.Gateway).Spec, &want.Spec)
	}
	return false
}

// isShortOf reports whether a host is the short name of a Service of the object's namespace whose full name the other is.
func isShortOf(short, full, namespace string) bool {
	return short != "" && !strings.ContainsAny(short, ".*") && strings.HasPrefix(full, short+"."+namespace+".svc.")
}

// lengthenHosts puts the full names that want has in the place of the short ones that mean the same.
func lengthenHosts(is, want *networkingv1.VirtualService) {
	full := slices.Clone(want.Spec.Hosts)
	for _, d := range DestinationsOf(want) {
		full = append(full, d.GetHost())
	}
	lengthen := func(host string) string {
		if at := slices.IndexFunc(full, func(f string) bool { return isShortOf(host, f, want.Namespace) }); at >= 0 {
			return full[at]
		}
		return host
	}
	for i, host := range is.Spec.Hosts {
		is.Spec.Hosts[i] = lengthen(host)
	}
	for _, d := range DestinationsOf(is) {
		d.Host = lengthen(d.Host)
	}
}

// sameMarks compares what we write into the metadata, and what we wrote before and no longer do. Other metadata belongs to other
// clients, and a server-side apply keeps it.
func sameMarks(current, want Object) bool {
	return sameKeys(current.GetLabels(), want.GetLabels()) && sameKeys(current.GetAnnotations(), asEarlier(current, want)) &&
		reflect.DeepEqual(controllerOf(current), controllerOf(want))
}

func sameKeys(current, want map[string]string) bool {
	for key, value := range want {
		if current[key] != value {
			return false
		}
	}
	return !slices.ContainsFunc(writtenKeys, func(key string) bool {
		_, is := current[key]
		_, must := want[key]
		return is && !must
	})
}

// writtenKeys are the annotations that come and go on our objects.
var writtenKeys = []string{
	api.AnnotationRecord, api.AnnotationDefault, api.AnnotationSubsetAdded, api.AnnotationUnusedSince, api.AnnotationLastRan,
	api.AnnotationWaiting, api.AnnotationWithdrawn, api.AnnotationDefaultGone, api.AnnotationWords, api.AnnotationAway, api.AnnotationExposedAt, api.AnnotationClaimedAt, api.AnnotationKeptHosts, api.AnnotationExportedAt,
	api.AnnotationUnready, api.AnnotationWritten, api.AnnotationAdopted, api.AnnotationInherited, api.AnnotationSubsets, api.AnnotationSeal,
}

func ownMarks(annotations map[string]string) map[string]string {
	out := maps.Clone(annotations)
	maps.DeleteFunc(out, func(key, _ string) bool { return !slices.Contains(writtenKeys, key) })
	return out
}

func controllerOf(object Object) *metav1.OwnerReference {
	for _, reference := range object.GetOwnerReferences() {
		if reference.Controller != nil && *reference.Controller {
			return &metav1.OwnerReference{APIVersion: reference.APIVersion, Kind: reference.Kind, Name: reference.Name, UID: reference.UID}
		}
	}
	return nil
}

// withoutSingleWeight takes the weight off lone destinations: 100 and none mean the same.
func withoutSingleWeight(spec *networkingapi.VirtualService) *networkingapi.VirtualService {
	for _, http := range spec.Http {
		if len(http.Route) == 1 && http.Route[0].Weight == 100 {
			http.Route[0].Weight = 0
		}
	}
	for _, tcp := range spec.Tcp {
		if len(tcp.Route) == 1 && tcp.Route[0].Weight == 100 {
			tcp.Route[0].Weight = 0
		}
	}
	return spec
}
