package controller

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// rememberFor is how long a list of other controllers' objects is good: they are read, not watched.
const rememberFor = 30 * time.Second

// elsewhere finds the objects of other controllers that take a Service. Their kinds need not be in the cluster.
type elsewhere struct {
	reader  client.Reader                              // the API server
	present func(ctx context.Context, crd string) bool // whether a CustomResourceDefinition is there
	mapper  meta.RESTMapper
	now     func() time.Time
	log     logr.Logger

	mutex     sync.Mutex
	lists     map[listKey]heldList
	forbidden map[schema.GroupKind]bool // said already
}

type listKey struct {
	kind      schema.GroupKind
	namespace string
}

type heldList struct {
	until time.Time
	items []unstructured.Unstructured
}

// takers are the kinds that take a Service, and how each names it.
var takers = []struct {
	crd   string
	kind  schema.GroupKind
	takes func(object *unstructured.Unstructured, service *corev1.Service) bool
}{
	{"rollouts.argoproj.io", schema.GroupKind{Group: "argoproj.io", Kind: "Rollout"}, rolloutTakes},
	{"canaries.flagger.app", schema.GroupKind{Group: "flagger.app", Kind: "Canary"}, canaryTakes},
	{"httproutes.gateway.networking.k8s.io", schema.GroupKind{Group: "gateway.networking.k8s.io", Kind: "HTTPRoute"}, httpRouteTakes},
}

// managerOf returns what takes the Service, as "Rollout demo/reviews", or nothing.
func (e *elsewhere) managerOf(ctx context.Context, service *corev1.Service) (string, error) {
	for _, taker := range takers {
		if !e.present(ctx, taker.crd) {
			continue
		}
		items, err := e.list(ctx, listKey{taker.kind, service.Namespace})
		if err != nil {
			return "", fmt.Errorf("list %s: %w", taker.kind, err)
		}
		for i := range items {
			if taker.takes(&items[i], service) {
				return fmt.Sprintf("%s %s/%s", taker.kind.Kind, items[i].GetNamespace(), items[i].GetName()), nil
			}
		}
	}
	return "", nil
}

// list returns the objects of a kind in a Namespace. One that we may not read, or that is not served, has none.
func (e *elsewhere) list(ctx context.Context, key listKey) ([]unstructured.Unstructured, error) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	if held, ok := e.lists[key]; ok && e.now().Before(held.until) {
		return held.items, nil
	}
	items, err := e.read(ctx, key)
	switch {
	case apierrors.IsForbidden(err):
		if !e.forbidden[key.kind] {
			e.forbidden[key.kind] = true
			e.log.Info("may not be listed, so a Service that one of them takes is not known", "kind", key.kind.String(), "reason", err.Error())
		}
	case meta.IsNoMatchError(err) || apierrors.IsNotFound(err):
	case err != nil:
		return nil, err
	}
	e.lists[key] = heldList{e.now().Add(rememberFor), items}
	return items, nil
}

func (e *elsewhere) read(ctx context.Context, key listKey) ([]unstructured.Unstructured, error) {
	mapping, err := e.mapper.RESTMapping(key.kind)
	if err != nil {
		return nil, err
	}
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(mapping.GroupVersionKind.GroupVersion().WithKind(key.kind.Kind + "List"))
	if err := e.reader.List(ctx, list, client.InNamespace(key.namespace)); err != nil {
		return nil, err
	}
	return list.Items, nil
}

func rolloutTakes(rollout *unstructured.Unstructured, service *corev1.Service) bool {
	for _, path := range [][]string{
		{"spec", "strategy", "canary", "stableService"},
		{"spec", "strategy", "canary", "canaryService"},
		{"spec", "strategy", "blueGreen", "activeService"},
		{"spec", "strategy", "blueGreen", "previewService"},
	} {
		if text(rollout.Object, path...) == service.Name {
			return true
		}
	}
	// With subset routing it names only Istio's objects; they bear the Service's name, or its host.
	return text(rollout.Object, "spec", "strategy", "canary", "trafficRouting", "istio", "destinationRule", "name") == service.Name ||
		text(rollout.Object, "spec", "strategy", "canary", "trafficRouting", "istio", "virtualService", "name") == service.Name
}

func canaryTakes(canary *unstructured.Unstructured, service *corev1.Service) bool {
	name := text(canary.Object, "spec", "service", "name")
	if name == "" {
		name = text(canary.Object, "spec", "targetRef", "name")
	}
	return name != "" && slices.Contains([]string{name, name + "-primary", name + "-canary"}, service.Name)
}

func httpRouteTakes(route *unstructured.Unstructured, service *corev1.Service) bool {
	parents, _, _ := unstructured.NestedSlice(route.Object, "spec", "parentRefs")
	return slices.ContainsFunc(parents, func(item any) bool {
		parent, _ := item.(map[string]any)
		namespace := text(parent, "namespace")
		return text(parent, "kind") == "Service" && text(parent, "name") == service.Name && (namespace == "" || namespace == service.Namespace)
	})
}

func text(object map[string]any, path ...string) string {
	out, _, _ := unstructured.NestedString(object, path...)
	return out
}

// managedByRollouts returns the Rollout that has marked a DestinationRule of the Service's host as its own.
func managedByRollouts(service *corev1.Service, rules []*networkingv1.DestinationRule, clusterDomain string) string {
	long := service.Name + "." + service.Namespace + ".svc." + clusterDomain
	for _, rule := range rules {
		name := rule.Annotations["argo-rollouts.argoproj.io/managed-by-rollouts"]
		if name != "" && (rule.Spec.Host == long || rule.Spec.Host == service.Name && rule.Namespace == service.Namespace) {
			return "Rollout " + rule.Namespace + "/" + name
		}
	}
	return ""
}

func newElsewhere(reader client.Reader, mapper meta.RESTMapper, log logr.Logger, present func(context.Context, string) bool) *elsewhere {
	return &elsewhere{
		reader: reader, mapper: mapper, present: present, log: log, now: time.Now,
		lists: map[listKey]heldList{}, forbidden: map[schema.GroupKind]bool{},
	}
}
