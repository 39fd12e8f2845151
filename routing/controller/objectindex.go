// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/routing"
)

// ObjectIndex holds Istio's objects in memory and finds them by the terms by which the controller's caches find theirs.
type ObjectIndex struct{ index toolscache.Indexer }

// NewObjectIndex returns an empty index.
func NewObjectIndex(clusterDomain string) *ObjectIndex {
	return &ObjectIndex{toolscache.NewIndexer(kindAndName, toolscache.Indexers{indexConcerns: func(object any) ([]string, error) {
		return termsOf(object.(client.Object), clusterDomain), nil
	}})}
}

func kindAndName(object any) (string, error) {
	return fmt.Sprintf("%T %s", object, client.ObjectKeyFromObject(object.(client.Object))), nil
}

// Add adds objects, which must not change afterwards.
func (r *ObjectIndex) Add(objects routing.Objects) {
	for _, object := range objects.All() {
		_ = r.index.Add(object) // fails only if there is no key
	}
}

func isSameVersion(a, b client.Object) bool {
	return a.GetUID() == b.GetUID() && a.GetResourceVersion() != "" && a.GetResourceVersion() == b.GetResourceVersion()
}

// Set replaces all objects. It indexes only those that are new or have another resourceVersion.
func (r *ObjectIndex) Set(objects routing.Objects) {
	gone := sets.New(r.index.ListKeys()...)
	for _, object := range objects.All() {
		key, _ := kindAndName(object)
		gone.Delete(key)
		held, is, _ := r.index.GetByKey(key)
		if !is || !isSameVersion(held.(client.Object), object) {
			_ = r.index.Update(object) // fails only if there is no key
		}
	}
	for key := range gone {
		held, _, _ := r.index.GetByKey(key)
		_ = r.index.Delete(held)
	}
}

// Objects returns the objects with a term, or all of them if it is empty, in no particular order. They must not be changed.
func (r *ObjectIndex) Objects(_ context.Context, term string) (routing.Objects, error) {
	var out routing.Objects
	found := r.index.List
	if term != "" {
		found = func() []any { some, _ := r.index.ByIndex(indexConcerns, term); return some } // fails only if there is no such index
	}
	for _, object := range found() {
		switch o := object.(type) {
		case *networkingv1.DestinationRule:
			out.DestinationRules = append(out.DestinationRules, o)
		case *networkingv1.VirtualService:
			out.VirtualServices = append(out.VirtualServices, o)
		case *networkingv1.Gateway:
			out.Gateways = append(out.Gateways, o)
		}
	}
	return out, nil
}
