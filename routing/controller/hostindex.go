// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// A Service that requests exposure is indexed by these terms: its hosts, the domains above its hosts, the Gateway that it names, and
// the ports that no other Gateway may serve together with the ports of its annotations.

func exposedAt(host string) string       { return "at/" + host }
func exposedUnder(domain string) string  { return "under/" + domain }
func exposedByGateway(ref string) string { return "gateway/" + ref }
func exposedExcluding(port routing.ServerPort) string {
	return fmt.Sprintf("excluding/%d/%s", port.Number, port.Speaks)
}

// exposedTerms returns the terms of a Service. Its annotations are not validated: too many terms do no harm.
func exposedTerms(service *corev1.Service) []string {
	if !requestsExposure(service) {
		return nil
	}
	terms := map[string]bool{anyExposed: true}
	for _, host := range wantedHosts(service) {
		terms[exposedAt(host)] = true
		for _, domain := range domainsAbove(host) {
			terms[exposedUnder(domain)] = true
		}
	}
	if gateway := strings.TrimSpace(service.Annotations[api.AnnotationGateway]); gateway != "" {
		terms[exposedByGateway(gateway)] = true
	} else {
		for _, port := range wantedPorts(service, nil) {
			for _, excluded := range port.Excludes() {
				terms[exposedExcluding(excluded)] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(terms))
}

// wantedHosts returns the hosts that a Service requests exposure for, "*" if it names none.
func wantedHosts(service *corev1.Service) []string {
	hosts := strings.FieldsFunc(service.Annotations[api.AnnotationHosts], func(r rune) bool { return r == ',' || r == ' ' })
	if len(hosts) == 0 {
		return []string{"*"}
	}
	return hosts
}

// wantedPorts returns the ports that a Service requests exposure on, with a Namespace's default.
func wantedPorts(service *corev1.Service, namespace *corev1.Namespace) []routing.ServerPort {
	first := routing.ServerPort{Number: api.HTTPPort, Speaks: "HTTP"}
	if service.Annotations[api.AnnotationTLSCredential] != "" {
		first = routing.ServerPort{Number: api.HTTPSPort, Speaks: "TLS"}
	}
	text, has := service.Annotations[api.AnnotationGatewayPort]
	if !has && namespace != nil {
		text = namespace.Annotations[api.AnnotationGatewayPort]
	}
	if number, err := strconv.ParseUint(strings.TrimSpace(text), 10, 16); err == nil {
		first.Number = uint32(number)
	}
	if _, redirects := service.Annotations[api.AnnotationHTTPSRedirect]; redirects {
		return []routing.ServerPort{first, {Number: api.HTTPPort, Speaks: "HTTP"}}
	}
	return []routing.ServerPort{first}
}

// domainsAbove returns the domains that a host is below: of a.b.c they are b.c and c, and of *.b.c as well.
func domainsAbove(host string) []string {
	var out []string
	for {
		_, above, is := strings.Cut(host, ".")
		if !is {
			return out
		}
		out = append(out, above)
		host = above
	}
}

// termsSharing returns the terms of the Services whose hosts may conflict with a host: the same, wildcards above it, and
// all below it if it is a wildcard. The host * conflicts only with itself.
func termsSharing(host string) []string {
	terms := []string{exposedAt(host)}
	for _, domain := range domainsAbove(host) {
		terms = append(terms, exposedAt("*."+domain))
	}
	if domain, wild := strings.CutPrefix(host, "*."); wild {
		terms = append(terms, exposedUnder(domain))
	}
	return terms
}

// claim is a host that an object serves, and where: two objects with the same claims mean the same to other Services.
type claim struct{ host, place string }

func claimsOf(object client.Object) sets.Set[claim] {
	out := sets.New[claim]()
	switch o := object.(type) {
	case *networkingv1.VirtualService:
		for _, host := range servedHosts(o) {
			out.Insert(claim{host, fmt.Sprint(o.Spec.Gateways)})
		}
	case *networkingv1.Gateway:
		for _, server := range o.Spec.Servers {
			for _, host := range server.Hosts {
				out.Insert(claim{bareHost(host), fmt.Sprint(host, server.GetPort(), o.Spec.Selector, server.GetTls().GetMode())})
			}
		}
	}
	return out
}

// servicesForClaims returns the Services that are concerned by hosts which only one of two states of an object serves; nil is the
// state of an absent object.
func (w *watches) servicesForClaims(ctx context.Context, before, after client.Object) ([]client.ObjectKey, error) {
	hosts := sets.New[string]()
	for changed := range claimsOf(before).SymmetricDifference(claimsOf(after)) {
		hosts.Insert(changed.host)
	}
	var keys []client.ObjectKey
	gateway, isGateway := after.(*networkingv1.Gateway)
	if !isGateway {
		gateway, isGateway = before.(*networkingv1.Gateway)
	}
	if isGateway {
		named, err := w.servicesForGateway(ctx, before, after, gateway, hosts)
		if err != nil {
			return nil, err
		}
		conflicting, err := w.servicesWithConflictingPort(ctx, before, after)
		if err != nil {
			return nil, err
		}
		keys = slices.Concat(keys, named, conflicting)
	}
	var terms []string
	for host := range hosts {
		terms = append(terms, termsSharing(host)...)
	}
	exposed, err := exposedOn(ctx, w.reader, terms...)
	return append(keys, exposed...), err
}

// servicesForGateway returns the Services that name a Gateway, if its changed hosts include one of theirs. If its selector or ports
// change, it adds the hosts of the VirtualServices that are bound to it, which are then served elsewhere.
func (w *watches) servicesForGateway(ctx context.Context, before, after client.Object, gateway *networkingv1.Gateway, hosts sets.Set[string]) ([]client.ObjectKey, error) {
	ref := gateway.Namespace + "/" + gateway.Name
	moved := before == nil || after == nil || placeOf(before) != placeOf(after)
	if moved {
		var bound networkingv1.VirtualServiceList
		if err := w.reader.List(ctx, &bound, client.UnsafeDisableDeepCopy, client.MatchingFields{indexConcerns: termBound(ref)}); err != nil {
			return nil, err
		}
		for _, vs := range bound.Items {
			hosts.Insert(servedHosts(vs)...)
		}
	}
	if !moved && len(hosts) == 0 {
		return nil, nil
	}
	naming, err := w.naming(ctx, ref)
	if err != nil {
		return nil, err
	}
	var keys []client.ObjectKey
	for _, service := range naming {
		if moved || hosts.Has("*") || slices.Contains(wantedHosts(service), "*") { // others are found by their hosts
			keys = append(keys, client.ObjectKeyFromObject(service))
		}
	}
	return keys, nil
}

// servicesWithConflictingPort returns the Services whose exposure cannot have a port together with one that only one of two states
// of a Gateway serves.
func (w *watches) servicesWithConflictingPort(ctx context.Context, before, after client.Object) ([]client.ObjectKey, error) {
	changed := sets.New(portsOf(before)...).SymmetricDifference(sets.New(portsOf(after)...))
	if len(changed) == 0 {
		return nil, nil
	}
	var terms []string
	for port := range changed {
		terms = append(terms, exposedExcluding(port))
	}
	keys, err := exposedOn(ctx, w.reader, terms...)
	if err != nil {
		return nil, err
	}
	inherits := func(namespace *corev1.Namespace) bool { return namespace.Annotations[api.AnnotationGatewayPort] != "" }
	err = w.exposedIn(ctx, inherits, func(service *corev1.Service, namespace *corev1.Namespace) {
		if slices.ContainsFunc(wantedPorts(service, namespace), func(p routing.ServerPort) bool {
			return slices.ContainsFunc(p.Excludes(), changed.Has)
		}) {
			keys = append(keys, client.ObjectKeyFromObject(service))
		}
	})
	return keys, err
}

// exposedIn visits the Services that request exposure in the chosen Namespaces.
func (w *watches) exposedIn(ctx context.Context, chosen func(*corev1.Namespace) bool, visit func(*corev1.Service, *corev1.Namespace)) error {
	var namespaces corev1.NamespaceList
	if err := w.reader.List(ctx, &namespaces, client.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	for _, namespace := range pointers(namespaces.Items) {
		if !chosen(namespace) {
			continue
		}
		var inside corev1.ServiceList
		if err := w.reader.List(ctx, &inside, client.UnsafeDisableDeepCopy, client.InNamespace(namespace.Name), client.MatchingFields{indexExposed: anyExposed}); err != nil {
			return err
		}
		for _, service := range pointers(inside.Items) {
			visit(service, namespace)
		}
	}
	return nil
}

func portsOf(object client.Object) []routing.ServerPort {
	if gateway, is := object.(*networkingv1.Gateway); is {
		return routing.ServerPorts(gateway)
	}
	return nil
}

// naming returns the Services that request exposure at a Gateway that they or their Namespaces name.
func (w *watches) naming(ctx context.Context, ref string) ([]*corev1.Service, error) {
	var out corev1.ServiceList
	if err := w.reader.List(ctx, &out, client.UnsafeDisableDeepCopy, client.MatchingFields{indexExposed: exposedByGateway(ref)}); err != nil {
		return nil, err
	}
	services := pointers(out.Items)
	inherits := func(namespace *corev1.Namespace) bool {
		return strings.TrimSpace(namespace.Annotations[api.AnnotationGateway]) == ref
	}
	err := w.exposedIn(ctx, inherits, func(service *corev1.Service, _ *corev1.Namespace) { services = append(services, service) })
	return services, err
}

// placeOf describes where a Gateway serves, without its hosts.
func placeOf(object client.Object) string {
	gateway, is := object.(*networkingv1.Gateway)
	if !is {
		return ""
	}
	places := map[string]bool{}
	for _, server := range gateway.Spec.Servers {
		places[fmt.Sprint(server.GetPort(), server.GetTls().GetMode())] = true
	}
	return fmt.Sprint(gateway.Spec.Selector, slices.Sorted(maps.Keys(places)))
}

func isBelow(host, wildcard string) bool {
	domain, wild := strings.CutPrefix(wildcard, "*")
	return wild && strings.HasSuffix(host, domain)
}

// servicesForRouteChange returns the Services that a change of an object concerns: its own if it is ours, those whose names or hosts it
// has or routes to, and those that request exposure for a host that only one of its states serves. Too many do no harm.
func (w *watches) servicesForRouteChange(ctx context.Context, before, after client.Object) ([]client.ObjectKey, error) {
	var keys []client.ObjectKey
	for _, object := range []client.Object{before, after} {
		route, is := object.(routing.Object)
		if !is {
			continue
		}
		if name, ours := routing.ServiceOf(route); ours {
			keys = append(keys, client.ObjectKey{Namespace: object.GetNamespace(), Name: name})
		}
		sharing, err := w.sharingHosts(ctx, route, nil)
		if err != nil {
			return nil, err
		}
		keys = append(keys, sharing...)
	}
	claiming, err := w.servicesForClaims(ctx, before, after)
	if err != nil {
		return nil, err
	}
	keys = append(keys, claiming...)
	slices.SortFunc(keys, compareKeys)
	return slices.Compact(keys), nil
}
