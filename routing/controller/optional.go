// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	networkingk8s "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/routing"
)

// optionalKind is a kind that the cluster may lack. It is watched while the cluster serves it and it may be listed.
type optionalKind struct {
	definition string // the name of its CustomResourceDefinition; of the resource for a kind of Kubernetes' own
	builtIn    bool   // has no CustomResourceDefinition
	gvk        schema.GroupVersionKind
	typed      client.Object        // nil = the caches hold it unstructured
	router     *routing.OtherRouter // nil if no Service belongs to objects of the kind
	routes     bool                 // it is a kind of Gateway API whose objects route to Services
}

// workloadEntryDefinition is the kind of machines outside of Kubernetes, which Services select as they select pods.
const workloadEntryDefinition = "workloadentries.networking.istio.io"

// ServiceEntries and Ingresses claim hosts that Services are not to be exposed for. IngressClasses decide which Ingresses
// are Istio's.
const (
	serviceEntryDefinition = "serviceentries.networking.istio.io"
	ingressResource        = "ingresses.networking.k8s.io"
	ingressClassResource   = "ingressclasses.networking.k8s.io"
)

func (k optionalKind) list() *unstructured.UnstructuredList {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(k.gvk.GroupVersion().WithKind(k.gvk.Kind + "List"))
	return list
}

// object returns the type by which the caches know the kind.
func (k optionalKind) object() client.Object {
	if k.typed != nil {
		return k.typed
	}
	out := &unstructured.Unstructured{}
	out.SetGroupVersionKind(k.gvk)
	return out
}

// optionalKinds returns the kinds that are served and may be listed, in a fixed order. The ones that are watched already are not
// tested again.
func (c *Controller) optionalKinds(ctx context.Context, definitions client.Reader, watched []optionalKind) []optionalKind {
	wanted := []optionalKind{
		{definition: workloadEntryDefinition, gvk: networkingv1.SchemeGroupVersion.WithKind("WorkloadEntry"), typed: &networkingv1.WorkloadEntry{}},
		{definition: serviceEntryDefinition, gvk: networkingv1.SchemeGroupVersion.WithKind("ServiceEntry"), typed: &networkingv1.ServiceEntry{}},
		{definition: ingressResource, builtIn: true, gvk: networkingk8s.SchemeGroupVersion.WithKind("Ingress"), typed: &networkingk8s.Ingress{}},
		{definition: ingressClassResource, builtIn: true, gvk: networkingk8s.SchemeGroupVersion.WithKind("IngressClass"), typed: &networkingk8s.IngressClass{}},
		{definition: routing.GrantKind().Definition, gvk: routing.GrantKind().WithVersion("")},
	}
	for _, router := range routing.OtherRouters() {
		wanted = append(wanted, optionalKind{definition: router.Definition, gvk: router.WithVersion(""), router: &router})
	}
	for _, kind := range routing.RouteKinds() {
		if at := slices.IndexFunc(wanted, func(k optionalKind) bool { return k.definition == kind.Definition }); at >= 0 {
			wanted[at].routes = true
			continue
		}
		wanted = append(wanted, optionalKind{definition: kind.Definition, gvk: kind.WithVersion(""), routes: true})
	}
	var out []optionalKind
	for _, kind := range wanted {
		if !kind.builtIn && !defined(ctx, definitions, kind.definition) {
			continue
		}
		if at := slices.IndexFunc(watched, func(k optionalKind) bool { return k.definition == kind.definition }); at >= 0 {
			out = append(out, watched[at])
			continue
		}
		var versions []string
		if kind.gvk.Version != "" {
			versions = append(versions, kind.gvk.Version)
		}
		mapping, err := c.mappingOf(kind.gvk.GroupKind(), versions)
		if err != nil {
			continue // not served yet: its definition changes when it is
		}
		kind.gvk = mapping.GroupVersionKind
		if c.mayList(ctx, kind) {
			out = append(out, kind)
		}
	}
	return out
}

// gatewayVersions are those in which kinds of Gateway API are served, the newest first.
var gatewayVersions = []string{"v1", "v1beta1", "v1alpha3", "v1alpha2"}

// mappingOf finds the version in which a kind is served. Versions of Gateway API are tried by name: the mapper does not refresh the
// versions of a known group, and each kind of this group may be served in another one.
func (c *Controller) mappingOf(kind schema.GroupKind, versions []string) (*meta.RESTMapping, error) {
	mapper := c.cluster.GetRESTMapper()
	if len(versions) > 0 || kind.Group != routing.GrantKind().Group {
		return mapper.RESTMapping(kind, versions...)
	}
	var mapping *meta.RESTMapping
	err := error(&meta.NoKindMatchError{GroupKind: kind, SearchedVersions: gatewayVersions})
	for _, version := range gatewayVersions {
		if mapping, err = mapper.RESTMapping(kind, version); err == nil {
			break
		}
	}
	return mapping, err
}

// mayList lists one object, because a forbidden watch would block all others. A refusal is logged once.
func (c *Controller) mayList(ctx context.Context, kind optionalKind) bool {
	ctx, cancel := context.WithTimeout(ctx, lookForIstio)
	defer cancel()
	err := c.cluster.GetAPIReader().List(ctx, kind.list(), client.Limit(1))
	if apierrors.IsForbidden(err) && !c.refused[kind.definition] {
		c.refused[kind.definition] = true
		c.log.Info("may not be listed, so what it says about Services is not known", "kind", kind.gvk.GroupKind().String(), "reason", err.Error())
	}
	return err == nil
}

// sameKinds reports whether two lists of kinds, in the fixed order, are of the same.
func sameKinds(a, b []optionalKind) bool {
	return slices.EqualFunc(a, b, func(x, y optionalKind) bool { return x.definition == y.definition && x.gvk == y.gvk })
}

// isWatched reports whether a kind is among those that are watched.
func isWatched(kinds []optionalKind, definition string) bool {
	return slices.ContainsFunc(kinds, func(k optionalKind) bool { return k.definition == definition })
}
