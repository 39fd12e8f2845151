// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"crypto/sha256"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
	"outrigger.dev/outrigger/routing/controller"
)

// gather returns what the controller observes of a Service.
func (r reading) gather(ctx context.Context, key client.ObjectKey) (*routing.Observed, []api.RouteProblem, error) {
	sources := r.sources(r.from)
	if r.from.kept == nil {
		return sources.Gather(ctx, key)
	}
	return sources.GatherFrom(ctx, incrementalSources{sources, r}, key)
}

// incrementalSources are the sources of one reading in a stream. They keep what many Services share, and the results of searches in all
// objects of the cluster, so that a change to other objects recomputes nothing.
type incrementalSources struct {
	*controller.Live
	reading reading
}

// Objects notes only the objects with the term.
func (i incrementalSources) Objects(ctx context.Context, term string) (routing.Objects, error) {
	if _, err := valueIn(ctx, i.reading, termRead{term}, func(ctx context.Context, r reading) ([sha256.Size]byte, time.Time, error) {
		found, err := r.indexed(ctx, term)
		objects := found.All()
		slices.SortFunc(objects, func(a, b routing.Object) int {
			return cmp.Or(cmp.Compare(routing.KindOf(a), routing.KindOf(b)), cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
		})
		return versionsOf(objects), time.Time{}, err
	}); err != nil {
		return routing.Objects{}, err
	}
	return i.reading.from.kept.index.Objects(ctx, term)
}

// indexed returns the objects with a term from an index that is up to date.
func (r reading) indexed(ctx context.Context, term string) (routing.Objects, error) {
	_, err := valueIn(ctx, r, indexRead{}, func(ctx context.Context, r reading) (int, time.Time, error) {
		all, err := controller.ListObjects(ctx, r.from)
		if err != nil {
			return 0, time.Time{}, err
		}
		r.from.kept.index.Set(all)
		return r.from.kept.number, time.Time{}, nil
	})
	if err != nil {
		return routing.Objects{}, err
	}
	return r.from.kept.index.Objects(ctx, term)
}

func (i incrementalSources) Workloads(ctx context.Context, service *corev1.Service) ([]routing.Workload, error) {
	namespace := service.Namespace
	return valueIn(ctx, i.reading, workloadsRead{namespace}, func(ctx context.Context, r reading) ([]routing.Workload, time.Time, error) {
		workloads, err := r.sources(r.from).Workloads(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace}})
		return workloads, time.Time{}, err
	})
}

func (i incrementalSources) ServiceNames(ctx context.Context, namespace string) (map[string]bool, error) {
	return valueIn(ctx, i.reading, namesRead{namespace}, func(ctx context.Context, r reading) (map[string]bool, time.Time, error) {
		names, err := r.sources(r.from).ServiceNames(ctx, namespace)
		return names, time.Time{}, err
	})
}

// Mesh is read once for each reading, from ConfigMaps that no list holds.
func (i incrementalSources) Mesh(ctx context.Context) routing.Mesh {
	mesh, _ := valueIn(ctx, i.reading, meshRead{}, func(ctx context.Context, r reading) (routing.Mesh, time.Time, error) {
		return r.sources(r.from).Mesh(ctx), time.Time{}, nil
	})
	return mesh
}
