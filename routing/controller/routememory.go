// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/routing"
)

// Routes holds Istio's objects that are in no cluster, and finds those that may matter to a Service in the same way as the
// caches of the controller: without a look at all of them.
type Routes struct {
	clusterDomain string
	all           istioObjects
	byTerm        map[string]*istioObjects
}

// NewRoutes returns an empty one.
func NewRoutes(clusterDomain string) *Routes {
	return &Routes{clusterDomain: clusterDomain, byTerm: map[string]*istioObjects{}}
}

// Add adds objects, which must not change afterwards.
func (r *Routes) Add(objects routing.Objects) {
	at := func(object client.Object) []*istioObjects {
		out := []*istioObjects{&r.all}
		for _, term := range termsOf(object, r.clusterDomain) {
			if r.byTerm[term] == nil {
				r.byTerm[term] = &istioObjects{}
			}
			out = append(out, r.byTerm[term])
		}
		return out
	}
	for _, rule := range objects.DestinationRules {
		for _, l := range at(rule) {
			l.rules.Items = append(l.rules.Items, rule)
		}
	}
	for _, route := range objects.VirtualServices {
		for _, l := range at(route) {
			l.routes.Items = append(l.routes.Items, route)
		}
	}
	for _, gateway := range objects.Gateways {
		for _, l := range at(gateway) {
			l.gateways.Items = append(l.gateways.Items, gateway)
		}
	}
}

// Concerning returns the objects that may matter to a Service, in no particular order. They are those that were added, not
// copies. Of observed it reads the Service, the intent, the settings, and the gateway's Services.
func (r *Routes) Concerning(ctx context.Context, observed *routing.Observed) (routing.Objects, error) {
	found, err := routesFor(ctx, routeReader{routes: r}, observed, r.clusterDomain)
	if err != nil {
		return routing.Objects{}, err
	}
	var out routing.Objects
	for _, rule := range found.rules.Items {
		if routing.MayConcern(rule, observed.Service, r.clusterDomain) {
			out.DestinationRules = append(out.DestinationRules, rule)
		}
	}
	for _, route := range found.routes.Items {
		if routing.MayConcern(route, observed.Service, r.clusterDomain) {
			out.VirtualServices = append(out.VirtualServices, route)
		}
	}
	out.Gateways = found.gateways.Items
	return out, nil
}

// routeReader answers what routesFor asks of the caches.
type routeReader struct {
	client.Reader // answers nothing else
	routes        *Routes
}

// List fills a list with the objects that have the term of the field selector, or with all.
func (r routeReader) List(_ context.Context, list client.ObjectList, options ...client.ListOption) error {
	wanted := client.ListOptions{}
	wanted.ApplyOptions(options)
	found := &r.routes.all
	if wanted.FieldSelector != nil {
		term, one := wanted.FieldSelector.RequiresExactMatch(indexConcerns)
		if !one {
			return errors.New("the field selector names no term")
		}
		if found = r.routes.byTerm[term]; found == nil {
			found = &istioObjects{}
		}
	}
	return found.into(list)
}

// into fills a list of one of the kinds.
func (l *istioObjects) into(list client.ObjectList) error {
	switch list := list.(type) {
	case *networkingv1.DestinationRuleList:
		list.Items = l.rules.Items
	case *networkingv1.VirtualServiceList:
		list.Items = l.routes.Items
	case *networkingv1.GatewayList:
		list.Items = l.gateways.Items
	default:
		return fmt.Errorf("%T is not a list of routes", list)
	}
	return nil
}
