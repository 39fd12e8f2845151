// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/routing"
)

const (
	labelNetwork    = "topology.istio.io/network"
	eastWestGateway = "eastwestgateway"
)

// readEntries adds the WorkloadEntries that the Service selects to its pods.
func (r *reconciler) readEntries(ctx context.Context, observed *routing.Observed) error {
	if !r.entries {
		return nil
	}
	var list networkingv1.WorkloadEntryList
	err := r.reader.List(ctx, &list, client.InNamespace(observed.Service.Namespace), client.UnsafeDisableDeepCopy)
	if meta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
		return nil // no such kind: those who look once do not know before
	}
	if err != nil {
		return err
	}
	observed.Pods = append(observed.Pods, routing.GroupEntries(list.Items, observed.Service.Spec.Selector, observed.Intent.VersionLabel)...)
	return nil
}

// ofEntry returns the Services that select a WorkloadEntry.
func (w *watches) ofEntry(ctx context.Context, object client.Object) ([]client.ObjectKey, error) {
	entry, is := object.(*networkingv1.WorkloadEntry)
	if !is {
		return nil, nil
	}
	services, err := servicesSelecting(ctx, w.reader, entry.Namespace, routing.EntryLabels(entry))
	if err != nil {
		return nil, err
	}
	var out []client.ObjectKey
	for _, service := range services {
		out = append(out, client.ObjectKeyFromObject(service))
	}
	return out, nil
}

// entryDiffers compares what a plan depends on: labels, and readiness in the status.
func entryDiffers(before, after client.Object) bool {
	a, isA := before.(*networkingv1.WorkloadEntry)
	b, isB := after.(*networkingv1.WorkloadEntry)
	return !isA || !isB || !maps.Equal(routing.EntryLabels(a), routing.EntryLabels(b)) || !proto.Equal(&a.Status, &b.Status) ||
		(a.DeletionTimestamp == nil) != (b.DeletionTimestamp == nil)
}

// readMesh finds the signs of a mesh of several clusters: a network on Istio's namespace, an east-west gateway.
func (r *reconciler) readMesh(ctx context.Context, observed *routing.Observed) error {
	spans, err := namesNetwork(ctx, r.reader, r.options.RootNamespace)
	observed.MultiCluster = spans || r.pods.HasIstio(eastWestGateway)
	return err
}

func namesNetwork(ctx context.Context, reader client.Reader, rootNamespace string) (bool, error) {
	root := &corev1.Namespace{}
	if err := reader.Get(ctx, client.ObjectKey{Name: rootNamespace}, root); err != nil {
		return false, client.IgnoreNotFound(err)
	}
	return root.Labels[labelNetwork] != "", nil
}

// withoutEntries leaves out WorkloadEntries, which are not in the index of pods. Each change of them is followed.
func withoutEntries(on routing.Dependencies) routing.Dependencies {
	on.Pods = slices.DeleteFunc(on.Pods, func(d routing.PodDependency) bool { return d.Workload.IsEntry() })
	return on
}
