// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"slices"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// Looker reads the cluster for one plan at a time, for those who want to know what the controller knows. It needs no
// cache, no index and no store of pods, and writes nothing.
type Looker struct{ reconciler }

// NewLooker returns a Looker that reads through reader. The mapper knows which kinds of other controllers the cluster
// has.
func NewLooker(reader client.Reader, mapper meta.RESTMapper, options Options) *Looker {
	if options.RootNamespace == "" {
		options.RootNamespace = defaultRootNamespace
	}
	others := newAskedTakers(reader, mapper, logr.Discard())
	return &Looker{reconciler{
		options: options, reader: reader, others: others, entries: true, serviceEntries: true,
		paths: askedPaths{reader: reader, taken: others, domain: options.Settings.ClusterDomain},
	}}
}

// Look returns what the plan for a Service depends on, and what is wrong with its annotations; nil if the Service is not
// there or goes. Other than the controller it reads pods and workloads also if no routes are wanted.
func (l *Looker) Look(ctx context.Context, key client.ObjectKey) (*routing.Observed, []api.RouteProblem, error) {
	observed, problems, err := l.look(ctx, key)
	if err != nil {
		return nil, nil, fmt.Errorf("read the cluster for Service %s: %w", key, err)
	}
	return observed, problems, nil
}

func (l *Looker) look(ctx context.Context, key client.ObjectKey) (*routing.Observed, []api.RouteProblem, error) {
	service, namespace := &corev1.Service{}, &corev1.Namespace{}
	if err := l.reader.Get(ctx, key, service); err != nil {
		return nil, nil, client.IgnoreNotFound(err)
	}
	if err := l.reader.Get(ctx, client.ObjectKey{Name: key.Namespace}, namespace); err != nil {
		return nil, nil, err
	}
	if service.DeletionTimestamp != nil || namespace.DeletionTimestamp != nil {
		return nil, nil, nil
	}
	intent, problems := l.options.Settings.Limits.IntentOf(service, namespace, nil)
	observed := &routing.Observed{
		Service: service, Namespace: namespace, Intent: intent,
		Ambient:       namespace.Labels[labelDataplane] == dataplaneAmbient,
		RootNamespace: l.options.RootNamespace,
		Settings:      l.options.Settings,
		BetweenWrites: true,
	}
	for _, read := range []func(context.Context, *routing.Observed) error{
		l.listObjects, l.listPods, l.readEntries, l.listMesh, l.readWorkloads, l.readServices, l.listIngress, l.readHostOwners, l.readElsewhere, l.readPaths,
		func(ctx context.Context, observed *routing.Observed) error {
			return followVersionLabel(ctx, observed, l.listPods, l.readEntries)
		},
	} {
		if err := read(ctx, observed); err != nil {
			return nil, nil, err
		}
	}
	if !intent.Wanted && !intent.Disabled && observed.Existing.IsEmpty() {
		// Nobody asked for routes, so what a Namespace says about all its Services does not matter.
		problems = slices.DeleteFunc(problems, func(p api.RouteProblem) bool { return p.Object.Kind != "Service" })
	}
	return observed, api.WithExamples(problems, routing.KnownVersions(*observed)), nil
}

// listObjects goes through all of Istio's objects.
func (l *Looker) listObjects(ctx context.Context, observed *routing.Observed) error {
	var all istioObjects
	if err := all.list(ctx, l.reader); err != nil {
		return err
	}
	service, domain := observed.Service, l.options.Settings.ClusterDomain
	all.divide(observed, service, domain)
	return nil
}

func (l *Looker) listPods(ctx context.Context, observed *routing.Observed) error {
	if len(observed.Service.Spec.Selector) == 0 {
		return nil
	}
	var list corev1.PodList
	if err := l.reader.List(ctx, &list, client.InNamespace(observed.Service.Namespace), client.MatchingLabels(observed.Service.Spec.Selector)); err != nil {
		return err
	}
	observed.Pods = routing.GroupPods(pointers(list.Items), observed.Intent.VersionLabel)
	return nil
}

// listMesh finds the signs of a mesh of several clusters, where they matter.
func (l *Looker) listMesh(ctx context.Context, observed *routing.Observed) error {
	set := observed.Settings.MultiCluster
	if set == api.MultiClusterEnabled || set == api.MultiClusterDisabled || len(observed.Existing.VirtualServices) > 0 {
		return nil // it does not matter: a route that stands stays
	}
	spans, err := namesNetwork(ctx, l.reader, l.options.RootNamespace)
	if err != nil || spans {
		observed.MultiCluster = spans
		return err
	}
	var labeled corev1.PodList
	if err := l.reader.List(ctx, &labeled, client.HasLabels{labelIstio}); err != nil {
		return err
	}
	observed.MultiCluster = slices.ContainsFunc(labeled.Items, func(pod corev1.Pod) bool { return pod.Labels[labelIstio] == eastWestGateway })
	return nil
}

// listIngress finds the Services of the wanted ingress gateway, for a Service that is to be exposed.
func (l *Looker) listIngress(ctx context.Context, observed *routing.Observed) (err error) {
	wish := observed.Intent.Expose
	if wish == nil || wish.Gateway != "" {
		return nil
	}
	var labeled, gateways corev1.PodList
	if err := l.reader.List(ctx, &labeled, client.HasLabels{labelIstio}); err != nil {
		return err
	}
	for i := range labeled.Items {
		// The control plane bears the label too.
		if value := labeled.Items[i].Labels[labelIstio]; value != "" && value != "pilot" {
			observed.IngressSelectors = append(observed.IngressSelectors, value)
		}
	}
	slices.Sort(observed.IngressSelectors)
	observed.IngressSelectors = slices.Compact(observed.IngressSelectors)

	if err := l.reader.List(ctx, &gateways, client.MatchingLabels(wish.GatewaySelector)); err != nil {
		return err
	}
	podLabels := map[string][]map[string]string{} // by Namespace
	for i := range gateways.Items {
		pod := &gateways.Items[i]
		if pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
			podLabels[pod.Namespace] = append(podLabels[pod.Namespace], pod.Labels)
		}
	}
	observed.IngressServices, err = ingressServices(ctx, l.reader, podLabels)
	return err
}
