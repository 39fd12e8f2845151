// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/routing"
)

// The indexes of the caches, by which a Service finds the objects that concern it, and an object of Istio the Services.
const (
	indexConcerns = "outrigger.concerns" // of Istio's objects: the terms below
	indexSelector = "outrigger.selector" // of Services: one label of the selector
	indexExposed  = "outrigger.exposed"  // of Services: where they request exposure, see exposedTerms
)

const (
	anyExposed = "any"
	wildcards  = "*" // stands for every host with a wildcard
)

// The terms by which Istio's objects are indexed. A Service looks up its own term, under which are the objects that it owns, that
// have its name, and that are for its host: one term for all of them, because each costs half a kilobyte for each object. It also
// looks up the hosts that it is exposed on. routing.MayConcern decides about the objects found.

func termService(namespace, name string) string { return "service/" + namespace + "/" + name }
func termHost(host string) string               { return "host/" + hostClass(host) }
func termServed(host string) string             { return "served/" + hostClass(host) }
func termBound(gateway string) string           { return "bound/" + gateway } // VirtualServices at this Gateway
func termDelegating(to string) string           { return "delegating/" + to } // VirtualServices that delegate to this one

// termPort finds the Gateways that serve a port with a protocol.
func termPort(port routing.ServerPort) string {
	return fmt.Sprintf("port/%d/%s", port.Number, port.Speaks)
}

func hostClass(host string) string {
	if strings.Contains(host, "*") {
		return wildcards
	}
	return host
}

// fieldIndex is one of the indexes of the caches.
type fieldIndex struct {
	object  client.Object
	field   string
	extract client.IndexerFunc
}

// indexes returns the indexes of the kinds that are always watched, and of optional ones.
func indexes(clusterDomain string, optional ...optionalKind) []fieldIndex {
	concerns := func(object client.Object) []string { return termsOf(object, clusterDomain) }
	out := []fieldIndex{
		{&networkingv1.DestinationRule{}, indexConcerns, concerns},
		{&networkingv1.VirtualService{}, indexConcerns, concerns},
		{&networkingv1.Gateway{}, indexConcerns, concerns},
		{&corev1.Service{}, indexSelector, func(object client.Object) []string { return selectorTerm(object.(*corev1.Service)) }},
		{&corev1.Service{}, indexExposed, func(object client.Object) []string { return exposedTerms(object.(*corev1.Service)) }},
	}
	for _, kind := range optional {
		if kind.router != nil {
			out = append(out, fieldIndex{kind.object(), indexRouted, reducedServices})
		}
		if kind.routes || kind.definition == ingressResource {
			out = append(out, fieldIndex{kind.object(), indexBackends, backendsOf})
		}
	}
	return out
}

// termsOf returns the terms by which an object of Istio's is found, each once.
func termsOf(object client.Object, clusterDomain string) []string {
	terms := map[string]bool{}
	// Our names are a Service's with something after a dash, and so is that of a delegate.
	for name := object.GetName(); ; {
		terms[termService(object.GetNamespace(), name)] = true
		at := strings.LastIndexByte(name, '-')
		if at <= 0 {
			break
		}
		name = name[:at]
	}
	if route, is := object.(routing.Object); is {
		if service, ours := routing.ServiceOf(route); ours {
			terms[termService(object.GetNamespace(), service)] = true
		}
	}
	for _, host := range hostsOf(object, clusterDomain) {
		if service, is := serviceOfHost(host, clusterDomain); is && hostClass(host) != wildcards {
			terms[termService(service.Namespace, service.Name)] = true
		} else {
			terms[termHost(host)] = true
		}
	}
	for _, host := range servedHosts(object) {
		terms[termServed(host)] = true
	}
	if gateway, is := object.(*networkingv1.Gateway); is {
		for _, port := range routing.ServerPorts(gateway) {
			terms[termPort(port)] = true
		}
	}
	if vs, is := object.(*networkingv1.VirtualService); is {
		for _, gateway := range vs.Spec.Gateways {
			switch {
			case gateway == "mesh":
			case strings.Contains(gateway, "/"):
				terms[termBound(gateway)] = true
			default:
				terms[termBound(vs.Namespace+"/"+gateway)] = true
			}
		}
		for _, delegate := range routing.DelegatesOf(vs) {
			terms[termDelegating(delegate)] = true
		}
	}
	return slices.Sorted(maps.Keys(terms))
}

// hostsOf returns the hosts in the mesh that an object is for or routes to, as Istio resolves them.
func hostsOf(object client.Object, clusterDomain string) []string {
	full := func(host string) string { return routing.ResolveHost(host, object.GetNamespace(), clusterDomain) }
	var out []string
	switch o := object.(type) {
	case *networkingv1.DestinationRule:
		out = append(out, full(o.Spec.Host))
	case *networkingv1.VirtualService:
		for _, host := range o.Spec.Hosts {
			out = append(out, full(host))
		}
		for _, destination := range routing.DestinationsOf(o) {
			out = append(out, full(destination.GetHost()))
		}
	}
	return out
}

// servedHosts returns the hosts that an object serves at a gateway.
func servedHosts(object client.Object) []string {
	var out []string
	switch o := object.(type) {
	case *networkingv1.VirtualService:
		if slices.ContainsFunc(o.Spec.Gateways, func(g string) bool { return g != "mesh" }) {
			out = slices.Clone(o.Spec.Hosts)
		}
	case *networkingv1.Gateway:
		for _, server := range o.Spec.Servers {
			for _, host := range server.Hosts {
				out = append(out, bareHost(host))
			}
		}
	}
	return out
}

// bareHost returns a host of a Gateway without the namespace that may precede it.
func bareHost(host string) string { return host[strings.IndexByte(host, '/')+1:] }

// selectorTerm returns one label of a Service's selector, by which it is found.
func selectorTerm(service *corev1.Service) []string {
	for _, key := range slices.Sorted(maps.Keys(service.Spec.Selector)) {
		return []string{key + "=" + service.Spec.Selector[key]}
	}
	return nil
}

// concerning returns Istio's objects that may matter to a Service: a few of all there are. Of observed it reads the Service, the
// intent, the settings, and the gateway's Services.
func concerning(ctx context.Context, read readObjects, observed *routing.Observed) (routing.Objects, error) {
	s := &routeSearch{ctx: ctx, read: read}
	service, exposure := observed.Service, observed.Intent.Expose
	terms := []string{termService(service.Namespace, service.Name), termHost(wildcards)}
	if exposure != nil {
		for _, host := range append(slices.Clone(exposure.Hosts), wildcards) {
			terms = append(terms, termServed(host))
		}
	}
	for _, port := range observed.ExcludedPorts() {
		terms = append(terms, termPort(port))
	}
	s.find(terms)
	if exposure != nil {
		s.findSharing(exposure.Hosts, service)
	}
	var delegating []string // VirtualServices that take over the rules of those without hosts
	for _, vs := range s.found.VirtualServices {
		if len(vs.Spec.Hosts) == 0 {
			delegating = append(delegating, termDelegating(vs.Namespace+"/"+vs.Name))
		}
	}
	s.find(delegating)
	if exposure == nil {
		return s.found, s.err
	}
	// The Gateways of the routes that serve our hosts say whether they do so at the same ingress.
	var gateways []string
	if namespace, name, ok := strings.Cut(exposure.Gateway, "/"); ok {
		gateways = append(gateways, termService(namespace, name))
	}
	for _, vs := range s.found.VirtualServices {
		for _, gateway := range vs.Spec.Gateways {
			namespace, name, ok := strings.Cut(gateway, "/")
			if !ok {
				namespace, name = vs.Namespace, gateway
			}
			gateways = append(gateways, termService(namespace, name))
		}
	}
	s.find(gateways)
	return s.found, s.err
}

// readObjects is Sources.Objects.
type readObjects func(ctx context.Context, term string) (routing.Objects, error)

// routeSearch collects Istio's objects. After an error it does nothing.
type routeSearch struct {
	ctx   context.Context //nolint:containedctx // of one search
	read  readObjects
	found routing.Objects
	err   error
}

// find adds the objects with any of the terms, each once.
func (s *routeSearch) find(terms []string) {
	slices.Sort(terms)
	for _, term := range slices.Compact(terms) {
		more := s.objects(term)
		s.found.DestinationRules = merged(s.found.DestinationRules, more.DestinationRules)
		s.found.VirtualServices = merged(s.found.VirtualServices, more.VirtualServices)
		s.found.Gateways = merged(s.found.Gateways, more.Gateways)
	}
}

func (s *routeSearch) objects(term string) (out routing.Objects) {
	if s.err == nil {
		out, s.err = s.read(s.ctx, term)
	}
	return out
}

// findSharing adds the objects that serve a host below a wanted wildcard, or share a host with the existing exposure, which stays
// if the wanted one is refused.
func (s *routeSearch) findSharing(wanted []string, service *corev1.Service) {
	served := map[string]bool{}
	for _, vs := range s.found.VirtualServices {
		if routing.IsOwn(vs, service) {
			for _, host := range servedHosts(vs) {
				served[host] = true
			}
		}
	}
	var terms, below []string
	for host := range served {
		terms = append(terms, termServed(host))
	}
	s.find(terms)
	for _, host := range slices.Concat(wanted, slices.Collect(maps.Keys(served))) {
		if host != "*" && hostClass(host) == wildcards {
			below = append(below, host)
		}
	}
	if len(below) == 0 {
		return
	}
	// A term for each domain above each host would cost memory for each object; wildcards are rare.
	all := s.objects("")
	serves := func(object client.Object) bool {
		return slices.ContainsFunc(servedHosts(object), func(host string) bool {
			return slices.ContainsFunc(below, func(wildcard string) bool { return isBelow(host, wildcard) })
		})
	}
	for i, vs := range all.VirtualServices {
		if serves(vs) {
			s.found.VirtualServices = merged(s.found.VirtualServices, all.VirtualServices[i:i+1])
		}
	}
	for i, gateway := range all.Gateways {
		if serves(gateway) {
			s.found.Gateways = merged(s.found.Gateways, all.Gateways[i:i+1])
		}
	}
}

func merged[O client.Object](have, more []O) []O {
	for _, object := range more {
		if !slices.ContainsFunc(have, func(o O) bool {
			return o.GetNamespace() == object.GetNamespace() && o.GetName() == object.GetName()
		}) {
			have = append(have, object)
		}
	}
	return have
}

// servicesSelecting returns the Services of a Namespace that select pods with these labels, as the cache holds them.
func servicesSelecting(ctx context.Context, reader client.Reader, namespace string, podLabels map[string]string) ([]*corev1.Service, error) {
	var out []*corev1.Service
	for key, value := range podLabels {
		var list corev1.ServiceList
		if err := reader.List(ctx, &list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy,
			client.MatchingFields{indexSelector: key + "=" + value}); err != nil {
			return nil, err
		}
		for i := range list.Items {
			if labels.SelectorFromSet(list.Items[i].Spec.Selector).Matches(labels.Set(podLabels)) {
				out = append(out, &list.Items[i])
			}
		}
	}
	return out, nil
}

// exposedOn returns the Services with any of the terms of exposedTerms: with anyExposed, all that request exposure.
func exposedOn(ctx context.Context, reader client.Reader, terms ...string) ([]client.ObjectKey, error) {
	var keys []client.ObjectKey
	for _, term := range terms {
		var list corev1.ServiceList
		if err := reader.List(ctx, &list, client.UnsafeDisableDeepCopy, client.MatchingFields{indexExposed: term}); err != nil {
			return nil, err
		}
		for i := range list.Items {
			keys = append(keys, client.ObjectKeyFromObject(&list.Items[i]))
		}
	}
	return keys, nil
}
