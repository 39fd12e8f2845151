// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlcluster "sigs.k8s.io/controller-runtime/pkg/cluster"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/routing"
	"outrigger.dev/outrigger/routing/controller"
	"outrigger.dev/outrigger/webhook"
)

// traffic reads which traffic the removal of a workload would lose, for webhook.TrafficAdvice, and which versions exist, for
// webhook.ServiceAdvice. It requests the objects of one namespace each time: such requests are rare, and replicas that do not lead
// keep no pods.
type traffic struct {
	client     client.Client
	namespaces webhook.NamespaceReader // a cache, since the chart grants no get of Namespaces
	options    controller.Options
}

var (
	_ webhook.TrafficReader = traffic{}
	_ webhook.VersionReader = traffic{}
)

// RoutingAdvice returns the handlers that advise about routing, by path, or none if this installation manages no routes, because
// it then has fewer permissions.
func RoutingAdvice(shared ctrlcluster.Cluster, namespaces webhook.NamespaceReader, config api.Config) (map[string]http.Handler, error) {
	if !config.Routing.Enabled {
		return map[string]http.Handler{}, nil
	}
	direct, err := client.New(shared.GetConfig(), client.Options{HTTPClient: shared.GetHTTPClient(), Scheme: shared.GetScheme(), Mapper: shared.GetRESTMapper()})
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	return routingAdviceFrom(direct, namespaces, config), nil
}

// routingAdviceFrom returns the handlers. The client must read from the API server; the namespaces come from a cache.
func routingAdviceFrom(direct client.Client, namespaces webhook.NamespaceReader, config api.Config) map[string]http.Handler {
	options := controller.Options{Settings: config.RoutingSettings(), RootNamespace: config.Istio.Namespace}
	return map[string]http.Handler{
		webhook.ServicesPath: webhook.ServiceAdvice(namespaces, config.RoutingSettings().Limits, traffic{direct, namespaces, options}),
		webhook.TrafficPath:  webhook.TrafficAdvice(traffic{direct, namespaces, options}),
	}
}

// Versions returns the versions of the pods that a Service selects and of the workloads behind it, also of those that are scaled
// to 0. It returns none if they cannot be read, because a missing warning is better than a failure.
func (t traffic) Versions(ctx context.Context, service *corev1.Service, label string) []string {
	reads := t.reads(ctx, service.Namespace)
	var pods corev1.PodList
	if len(service.Spec.Selector) == 0 || reads.List(ctx, &pods, client.MatchingLabels(service.Spec.Selector)) != nil {
		return nil
	}
	labeled := make([]map[string]string, 0, len(pods.Items))
	for i := range pods.Items {
		labeled = append(labeled, pods.Items[i].Labels)
	}
	sources := controller.NewLive(reads, t.client.RESTMapper(), t.options)
	if observed, _, err := sources.Gather(ctx, client.ObjectKeyFromObject(service)); err == nil && observed != nil {
		for _, workload := range observed.Workloads {
			labeled = append(labeled, workload.Labels)
		}
	}
	var out []string
	for _, labels := range labeled {
		if version := labels[label]; version != "" {
			out = append(out, version)
		}
	}
	slices.SortFunc(out, routing.CompareVersions)
	return slices.Compact(out)
}

// reads returns a reader of one namespace that lists each kind once, for one warning.
func (t traffic) reads(ctx context.Context, namespace string) *oneNamespace {
	return &oneNamespace{
		snapshot:  snapshot{client: t.client, home: namespace, lists: map[snapshotKey]*heldList{}, sentences: map[string]bool{}, gaps: diagnose.Gaps{}, strict: true},
		namespace: t.namespaces.Namespace(ctx, namespace),
	}
}

// LostTraffic returns the traffic of each Service that would reach no pod after the removal of a workload.
func (t traffic) LostTraffic(ctx context.Context, removal webhook.WorkloadRemoval) ([]webhook.LostTraffic, error) {
	reads := t.reads(ctx, removal.Namespace)
	var routes networkingv1.VirtualServiceList
	if err := reads.List(ctx, &routes); err != nil {
		return nil, err
	}
	var out []webhook.LostTraffic
	sources := controller.NewLive(reads, t.client.RESTMapper(), t.options)
	ref := routing.WorkloadRef{Kind: removal.Kind, Name: removal.Name}
	for _, key := range owned(routing.Objects{VirtualServices: routes.Items}) {
		observed, _, err := sources.Gather(ctx, key)
		if err != nil {
			return nil, err
		}
		if observed == nil {
			continue
		}
		if loss, lost := routing.PredictStrandedTraffic(*observed, ref, removal.Deleted, time.Now()); lost {
			out = append(out, webhook.LostTraffic{Service: key.Name, Versions: loss.Versions, Now: loss.Now, Others: loss.Others, To: loss.To, Matches: loss.Matches, Match: loss.Match})
		}
	}
	return out, nil
}

// oneNamespace reads as if the cluster had only one namespace: objects elsewhere do not matter for the traffic that is lost here.
type oneNamespace struct {
	snapshot
	namespace *corev1.Namespace
}

// Get knows the Namespace already.
func (o *oneNamespace) Get(ctx context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	if namespace, is := object.(*corev1.Namespace); is {
		o.namespace.DeepCopyInto(namespace)
		return nil
	}
	return o.snapshot.Get(ctx, key, object, options...)
}

// List lists the one namespace if all are meant, and nothing for another one.
func (o *oneNamespace) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	wanted := client.ListOptions{}
	if wanted.ApplyOptions(options); wanted.Namespace != "" && wanted.Namespace != o.home {
		return nil
	}
	return o.snapshot.List(ctx, list, append(options, client.InNamespace(o.home))...)
}
