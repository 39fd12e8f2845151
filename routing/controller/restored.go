// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"sync"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/routing"
)

// restoredFor is how long a restored object is remembered after the garbage collector has deleted it: a backup may
// restore it minutes before its Service.
const restoredFor = 10 * time.Minute

// restoredDestinationRules remembers our deleted DestinationRules with their record of decisions. Some came from a backup: their
// owner is the Service of the backup, so the garbage collector may delete them before the controller can make the present Service
// their owner. Others were replaced together with their annotations.
type restoredDestinationRules struct {
	now func() time.Time

	mutex     sync.Mutex
	byService map[client.ObjectKey]restoredDestinationRule
}

type restoredDestinationRule struct {
	rule *networkingv1.DestinationRule
	seen time.Time
}

func newRestoredDestinationRules(now func() time.Time) *restoredDestinationRules {
	return &restoredDestinationRules{now: now, byService: map[client.ObjectKey]restoredDestinationRule{}}
}

// note remembers one of our DestinationRules if it was restored from a backup.
func (r *restoredDestinationRules) note(object client.Object) {
	rule, is := object.(*networkingv1.DestinationRule)
	if !is || !routing.IsRestored(rule) {
		return
	}
	name, ours := routing.ServiceOf(rule)
	if !ours {
		return
	}
	r.remember(name, rule)
}

// noteReplaced remembers one of our DestinationRules that another client replaced with its labels and annotations, as kubectl
// replace does: the record went with them.
func (r *restoredDestinationRules) noteReplaced(before, after client.Object) {
	was, isRule := before.(*networkingv1.DestinationRule)
	is, isRoute := after.(routing.Object)
	if !isRule || !isRoute {
		return
	}
	name, ours := routing.ServiceOf(was)
	if _, still := routing.ServiceOf(is); !ours || still || !routing.HasRecord(was) || routing.HasRecord(is) {
		return
	}
	r.remember(name, was.DeepCopy())
}

func (r *restoredDestinationRules) remember(service string, rule *networkingv1.DestinationRule) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.prune()
	r.byService[client.ObjectKey{Namespace: rule.Namespace, Name: service}] = restoredDestinationRule{rule: rule, seen: r.now()}
}

// forService returns the remembered DestinationRule of a Service; nil if there is none.
func (r *restoredDestinationRules) forService(service client.ObjectKey) *networkingv1.DestinationRule {
	if r == nil {
		return nil
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.prune()
	return r.byService[service].rule.DeepCopy()
}

func (r *restoredDestinationRules) prune() {
	for key, restored := range r.byService {
		if r.now().Sub(restored.seen) > restoredFor {
			delete(r.byService, key)
		}
	}
}
