// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"sync"
)

// serviceNames keeps the names of the Services of each Namespace, made once and again after a change: otherwise each look
// at a Service would go through all of its Namespace. What it hands out is shared and not to be changed.
type serviceNames struct {
	mutex   sync.Mutex
	changes uint64 // how often anything was dropped
	held    map[string]map[string]bool
}

func newServiceNames() *serviceNames { return &serviceNames{held: map[string]map[string]bool{}} }

// of returns what is held, or else reads and holds it, unless something changed meanwhile: what was read may be older
// than that. A nil serviceNames holds nothing.
func (s *serviceNames) of(ctx context.Context, namespace string, read func(context.Context, string) (map[string]bool, error)) (map[string]bool, error) {
	if s == nil {
		return read(ctx, namespace)
	}
	s.mutex.Lock()
	held, is := s.held[namespace]
	changes := s.changes
	s.mutex.Unlock()
	if is {
		return held, nil
	}
	names, err := read(ctx, namespace)
	if err != nil {
		return nil, err
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.changes == changes {
		s.held[namespace] = names
	}
	return names, nil
}

// drop is told of every Service that comes or goes, before a Service is looked at for it.
func (s *serviceNames) drop(namespace string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.changes++
	delete(s.held, namespace)
}
