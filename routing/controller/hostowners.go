// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	networkingk8s "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/routing"
)

// isUnavailable reports whether a kind is not served, or may not be listed: then what it says about hosts is not known.
func isUnavailable(err error) bool {
	return meta.IsNoMatchError(err) || apierrors.IsNotFound(err) || apierrors.IsForbidden(err)
}

// readHostOwners finds to whom the hosts belong that a Service is to be exposed for.
func (r *reconciler) readHostOwners(ctx context.Context, observed *routing.Observed) error {
	wish := observed.Intent.Expose
	if wish == nil {
		return nil
	}
	var entries networkingv1.ServiceEntryList
	if r.serviceEntries {
		if err := r.reader.List(ctx, &entries, client.UnsafeDisableDeepCopy); err != nil && !isUnavailable(err) {
			return err
		}
	}
	observed.HostOwners = map[string]string{}
	for _, host := range wish.Hosts {
		owner, err := r.ownerOf(ctx, host, entries.Items)
		if err != nil {
			return err
		}
		if owner != "" {
			observed.HostOwners[host] = owner
		}
	}
	return nil
}

// ownerOf names the ServiceEntry, or the Service with the short name, to which a host belongs; empty if there is none.
func (r *reconciler) ownerOf(ctx context.Context, host string, entries []*networkingv1.ServiceEntry) (string, error) {
	named, is := routing.ServiceWithShortHost(host)
	if owner := routing.EntryWithHost(host, entries); owner != "" || !is {
		return owner, nil
	}
	other := &corev1.Service{}
	err := r.reader.Get(ctx, named, other)
	switch {
	case isUnavailable(err):
		return "", nil
	case err != nil:
		return "", err
	}
	return "Service " + named.String(), nil
}

// hostsOfOthers are the hosts that an object of another kind than our own claims.
func hostsOfOthers(object client.Object) []string {
	switch o := object.(type) {
	case *networkingv1.ServiceEntry:
		return o.Spec.Hosts
	case *networkingk8s.Ingress:
		return routing.IngressHostsOf(o)
	}
	return nil
}

// ofHosts returns the Services that are to be exposed for a host that the object claims.
func (w *watches) ofHosts(ctx context.Context, object client.Object) ([]client.ObjectKey, error) {
	var out []client.ObjectKey
	for _, host := range hostsOfOthers(object) {
		for _, term := range append(termsSharing(host), exposedAt("*")) {
			keys, err := exposedOn(ctx, w.reader, term)
			if err != nil {
				return nil, err
			}
			out = append(out, keys...)
		}
	}
	slices.SortFunc(out, compareKeys)
	return slices.Compact(out), nil
}

// hostsDiffer compares what a plan depends on.
func hostsDiffer(before, after client.Object) bool {
	return !slices.Equal(hostsOfOthers(before), hostsOfOthers(after))
}
