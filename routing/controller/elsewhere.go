// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"strings"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/routing"
)

// taking finds what takes a Service, as "Rollout demo/reviews", or nothing.
type taking interface {
	managerOf(ctx context.Context, service *corev1.Service) (string, error)
}

// watchedTakers looks into the caches of those kinds that are there.
type watchedTakers struct {
	reader client.Reader
	kinds  []optionalKind
}

// indexTakes finds objects of other controllers by the Services that they take, "namespace/name".
const indexTakes = "outrigger.takes"

func (w watchedTakers) managerOf(ctx context.Context, service *corev1.Service) (string, error) {
	for _, kind := range w.kinds {
		if kind.taker == nil {
			continue
		}
		list := kind.list()
		if err := w.reader.List(ctx, list, client.MatchingFields{indexTakes: client.ObjectKeyFromObject(service).String()}); err != nil {
			return "", fmt.Errorf("list %s: %w", kind.gvk.Kind, err)
		}
		if name := first(*kind.taker, list.Items); name != "" {
			return name, nil
		}
	}
	return "", nil
}

// first is the name of the first object by namespace and name; empty if there is none.
func first(taker routing.OtherRouter, items []unstructured.Unstructured) string {
	name := ""
	for i := range items {
		if other := taker.Name(&items[i]); name == "" || other < name {
			name = other
		}
	}
	return name
}

const fieldTakes = "takes"

func addTakerIndexes(ctx context.Context, indexer fieldIndexer, kinds []optionalKind) error {
	for _, kind := range kinds {
		if kind.taker == nil {
			continue
		}
		if err := indexer.IndexField(ctx, kind.object(), indexTakes, takenBy); err != nil {
			return fmt.Errorf("index %s: %w", kind.gvk.Kind, err)
		}
	}
	return nil
}

// takenBy reads what a bare object takes.
func takenBy(object client.Object) []string {
	bare, is := object.(*unstructured.Unstructured)
	if !is {
		return nil
	}
	out, _, _ := unstructured.NestedStringSlice(bare.Object, fieldTakes)
	return out
}

// ofTaker returns the Services that an object of another controller takes.
func ofTaker(_ context.Context, object client.Object) ([]client.ObjectKey, error) {
	var out []client.ObjectKey
	for _, text := range takenBy(object) {
		namespace, name, _ := strings.Cut(text, "/")
		out = append(out, client.ObjectKey{Namespace: namespace, Name: name})
	}
	return out, nil
}

// askedTakers asks the API server, each thing once, for one who looks once.
type askedTakers struct {
	reader client.Reader
	mapper meta.RESTMapper
	lists  map[listKey][]unstructured.Unstructured
	log    logr.Logger

	forbidden map[listKey]bool
}

func newAskedTakers(reader client.Reader, mapper meta.RESTMapper, log logr.Logger) *askedTakers {
	return &askedTakers{reader: reader, mapper: mapper, log: log, lists: map[listKey][]unstructured.Unstructured{}, forbidden: map[listKey]bool{}}
}

type listKey struct {
	kind      schema.GroupKind
	namespace string
}

func (a *askedTakers) managerOf(ctx context.Context, service *corev1.Service) (string, error) {
	key := client.ObjectKeyFromObject(service)
	for _, taker := range routing.OtherRouters() {
		items, err := a.list(ctx, taker.GroupKind, service.Namespace)
		if err != nil {
			return "", err
		}
		var taking []unstructured.Unstructured
		for i := range items {
			for _, taken := range taker.ServicesOf(&items[i]) {
				if taken == key {
					taking = append(taking, items[i])
				}
			}
		}
		if name := first(taker, taking); name != "" {
			return name, nil
		}
	}
	return "", nil
}

// list returns the objects of a kind in a namespace. One that we may not read, or that is not served, has none.
func (a *askedTakers) list(ctx context.Context, kind schema.GroupKind, namespace string) ([]unstructured.Unstructured, error) {
	items, _, err := a.look(ctx, listKey{kind, namespace})
	return items, err
}

// everywhere returns the objects of a kind in all namespaces; where those may not be listed, in one.
func (a *askedTakers) everywhere(ctx context.Context, kind schema.GroupKind, namespace string) ([]unstructured.Unstructured, error) {
	items, permitted, err := a.look(ctx, listKey{kind, ""})
	if err != nil || permitted {
		return items, err
	}
	return a.list(ctx, kind, namespace)
}

func (a *askedTakers) look(ctx context.Context, key listKey) (items []unstructured.Unstructured, permitted bool, err error) {
	if items, held := a.lists[key]; held {
		return items, !a.forbidden[key], nil
	}
	items, err = a.read(ctx, key)
	switch {
	case apierrors.IsForbidden(err):
		a.log.V(1).Info("may not be listed, so what its objects say about Services is not known", "kind", key.kind.String(), "namespace", key.namespace, "reason", err.Error())
		a.forbidden[key] = true
	case meta.IsNoMatchError(err) || apierrors.IsNotFound(err):
	case err != nil:
		return nil, false, fmt.Errorf("list %s: %w", key.kind, err)
	}
	a.lists[key] = items
	return items, !a.forbidden[key], nil
}

func (a *askedTakers) read(ctx context.Context, key listKey) ([]unstructured.Unstructured, error) {
	mapping, err := a.mapper.RESTMapping(key.kind)
	if err != nil {
		return nil, err
	}
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(mapping.GroupVersionKind.GroupVersion().WithKind(key.kind.Kind + "List"))
	if err := a.reader.List(ctx, list, client.InNamespace(key.namespace)); err != nil {
		return nil, err
	}
	return list.Items, nil
}
