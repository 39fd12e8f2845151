// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// Freeze is routing.freeze, which can change while the process runs. Create it with NewFreeze.
type Freeze struct {
	on      atomic.Bool
	changed chan event.GenericEvent
}

// NewFreeze returns a Freeze with its first value.
func NewFreeze(on bool) *Freeze {
	f := &Freeze{changed: make(chan event.GenericEvent, 1)}
	f.on.Store(on)
	return f
}

// Set changes the value. All Services are reconciled if it differs.
func (f *Freeze) Set(on bool) {
	if f.on.Swap(on) == on {
		return
	}
	select {
	case f.changed <- event.GenericEvent{Object: &corev1.Service{}}:
	default: // the Services are about to be reconciled
	}
}

func (f *Freeze) isOn(otherwise bool) bool {
	if f == nil {
		return otherwise
	}
	return f.on.Load()
}

// source reconciles all Services when the value changes.
func (f *Freeze) source(services func(context.Context) ([]client.ObjectKey, error), failed func(error, string)) source.Source {
	return source.Channel(f.changed, handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, _ client.Object) []reconcile.Request {
		keys, err := services(ctx)
		if err != nil {
			failed(err, "reconcile all Services after a change of routing.freeze")
		}
		var out []reconcile.Request
		for _, key := range keys {
			out = append(out, reconcile.Request{NamespacedName: key})
		}
		return out
	}))
}
