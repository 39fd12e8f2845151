// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// serviceNames keeps the names of the Services of each Namespace until one of them changes: otherwise each reconciliation would go
// through all Services of its Namespace. Returned maps are shared and must not be changed.
type serviceNames struct {
	mutex       sync.Mutex
	drops       uint64
	byNamespace map[string]map[string]bool
}

func newServiceNames() *serviceNames { return &serviceNames{byNamespace: map[string]map[string]bool{}} }

// inNamespace returns the names of a Namespace. It keeps what it reads unless a Service changed meanwhile: that may be missing in it.
func (s *serviceNames) inNamespace(ctx context.Context, namespace string, read func(context.Context, string) (map[string]bool, error)) (map[string]bool, error) {
	s.mutex.Lock()
	kept, is := s.byNamespace[namespace]
	drops := s.drops
	s.mutex.Unlock()
	if is {
		return kept, nil
	}
	names, err := read(ctx, namespace)
	if err != nil {
		return nil, err
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.drops == drops {
		s.byNamespace[namespace] = names
	}
	return names, nil
}

func listServiceNames(ctx context.Context, reader client.Reader, namespace string) (map[string]bool, error) {
	var list corev1.ServiceList
	if err := reader.List(ctx, &list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for i := range list.Items {
		out[list.Items[i].Name] = true
	}
	return out, nil
}

// drop forgets the names of a Namespace. It is called for each Service that is added or deleted, before a reconciliation that
// depends on it.
func (s *serviceNames) drop(namespace string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.drops++
	delete(s.byNamespace, namespace)
}
