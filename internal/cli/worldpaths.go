// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	networkingk8s "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/manifest"
	"outrigger.dev/outrigger/routing"
)

// worldPaths are the objects of the input that claim hosts of Services, or route to them, beside Istio's routes. Of Istio's own
// configuration the defaults are assumed.
type worldPaths struct {
	entries   []*networkingv1.ServiceEntry
	ingresses []*networkingk8s.Ingress
	classes   map[string]*networkingk8s.IngressClass
	routes    []*unstructured.Unstructured
	grants    []*unstructured.Unstructured
}

// add takes an object of one of these kinds, and reports whether it is one.
func (p *worldPaths) add(object *manifest.Object, group, namespace string) (bool, error) {
	switch group + "/" + object.Kind {
	case "networking.istio.io/ServiceEntry":
		entry := &networkingv1.ServiceEntry{}
		if err := decodeObject(object, entry); err != nil {
			return true, err
		}
		entry.Namespace = namespace
		p.entries = append(p.entries, entry)
		return true, nil
	case "networking.k8s.io/Ingress":
		ingress := &networkingk8s.Ingress{}
		if err := decodeObject(object, ingress); err != nil {
			return true, err
		}
		ingress.Namespace = namespace
		p.ingresses = append(p.ingresses, ingress)
		return true, nil
	case "networking.k8s.io/IngressClass":
		class := &networkingk8s.IngressClass{}
		if err := decodeObject(object, class); err != nil {
			return true, err
		}
		if p.classes == nil {
			p.classes = map[string]*networkingk8s.IngressClass{}
		}
		p.classes[class.Name] = class
		return true, nil
	}
	kinds := append(routing.RouteKinds(), routing.GrantKind())
	at := slices.IndexFunc(kinds, func(kind routing.RouteKind) bool { return kind.Group == group && kind.Kind == object.Kind })
	if at < 0 {
		return false, nil
	}
	whole, err := wholeObject(object, namespace)
	if err != nil {
		return true, err
	}
	if kinds[at] == routing.GrantKind() {
		p.grants = append(p.grants, whole)
	} else {
		p.routes = append(p.routes, whole)
	}
	return true, nil
}

// wholeObject reads an object of a kind that has no type here.
func wholeObject(object *manifest.Object, namespace string) (*unstructured.Unstructured, error) {
	raw, err := object.JSON()
	if err != nil {
		return nil, err
	}
	fields := map[string]any{}
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, err
	}
	whole := &unstructured.Unstructured{Object: fields}
	whole.SetNamespace(namespace)
	return whole, nil
}

// into adds what matters to a Service.
func (p *worldPaths) into(observed *routing.Observed, index *worldIndex) {
	name := types.NamespacedName{Namespace: observed.Service.Namespace, Name: observed.Service.Name}
	observed.Bypasses = routing.Bypasses(name, index.routes[name], p.grants)
	observed.Ingresses = observed.IngressController.ServedIngresses(p.ingresses, p.classes)
	if observed.Intent.Expose == nil {
		return
	}
	observed.HostOwners = hostOwners(observed.Intent.Expose, p.entries, index)
}

func hostOwners(wish *api.Exposure, entries []*networkingv1.ServiceEntry, index *worldIndex) map[string]string {
	out := map[string]string{}
	for _, host := range wish.Hosts {
		owner := routing.EntryWithHost(host, entries)
		if named, is := routing.ServiceWithShortHost(host); owner == "" && is && index.hasService(named) {
			owner = "Service " + named.String()
		}
		if owner != "" {
			out[host] = owner
		}
	}
	return out
}
