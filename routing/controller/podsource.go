// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/wait"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"outrigger.dev/outrigger/routing"
	"outrigger.dev/outrigger/routing/podindex"
)

// podSource fills the index of pods while the controller runs, and enqueues the Services that a change of a pod concerns.
type podSource struct {
	pods     corev1client.PodInterface
	watching *watches // which has the index
	failed   func(err error, what string)
}

// Start lists and watches pods until ctx is done.
func (p *podSource) Start(ctx context.Context, q queue) error {
	p.watching.pods.Changed = func(before, after *podindex.Shape) {
		for _, key := range p.servicesFor(ctx, before, after) {
			q.Add(reconcile.Request{NamespacedName: key})
		}
	}
	go podindex.NewReflector(p.pods, p.watching.pods).RunWithContext(ctx)
	return nil
}

// WaitForSync waits until the first list is complete.
func (p *podSource) WaitForSync(ctx context.Context) error {
	err := wait.PollUntilContextCancel(ctx, 20*time.Millisecond, true, func(context.Context) (bool, error) { return p.watching.pods.HasSynced(), nil })
	if err != nil {
		return fmt.Errorf("list of pods: %w", err)
	}
	return nil
}

// servicesFor returns the Services to which a change of one pod matters.
func (p *podSource) servicesFor(ctx context.Context, before, after *podindex.Shape) []client.ObjectKey {
	var keys []client.ObjectKey
	shapes := []*podindex.Shape{before, after}
	if before == after {
		shapes = shapes[:1]
	}
	for _, shape := range shapes {
		if shape == nil {
			continue
		}
		services, err := servicesSelecting(ctx, p.watching.reader, shape.Namespace(), shape.Labels())
		if err != nil {
			p.failed(err, "find the Services of a pod")
		}
		for _, service := range services {
			key := client.ObjectKeyFromObject(service)
			if p.watching.dependencies.differs(key, func(versionLabel string) []routing.PodGroup {
				return p.watching.pods.Groups(service.Namespace, service.Spec.Selector, versionLabel)
			}) {
				keys = append(keys, key)
			}
		}
		if before != after {
			keys = append(keys, p.servicesForGatewayPod(ctx, shape)...)
		}
	}
	slices.SortFunc(keys, compareKeys)
	return slices.Compact(keys)
}

// servicesForGatewayPod returns the Services to which the creation or deletion of a pod matters because it may be a gateway's.
func (p *podSource) servicesForGatewayPod(ctx context.Context, shape *podindex.Shape) []client.ObjectKey {
	keys := p.watching.dependencies.atGateways(shape.Matches)
	value, labeled := shape.Label(labelIstio)
	if !labeled {
		return keys
	}
	exposed, err := exposedOn(ctx, p.watching.reader, anyExposed)
	if err != nil {
		p.failed(err, "find the Services that are exposed")
	}
	keys = append(keys, exposed...)
	if value == eastWestGateway && p.watching.dependencies.noteEastWest(p.watching.pods.HasIstio(eastWestGateway)) {
		all, err := p.watching.services(ctx, "", func(*corev1.Service) bool { return true })
		if err != nil {
			p.failed(err, "find all Services")
		}
		keys = append(keys, all...)
	}
	return keys
}

func compareKeys(a, b client.ObjectKey) int { return strings.Compare(a.String(), b.String()) }

// planDependencies remembers what the last plan for each Service depends on, so that an event that changes none of that costs nothing.
type planDependencies struct {
	mutex     sync.Mutex
	seen      map[client.ObjectKey]seenPods
	gateways  map[string]*gateway         // the ingress gateways that Services request exposure at, by their labels
	gatewayOf map[client.ObjectKey]string // which of them, by Service
	eastWest  bool                        // there was an east-west gateway
}

type seenPods struct {
	routing.Dependencies
	// pendingLabel is a version label that is set but not followed yet; its groups decide when it can be.
	pendingLabel  string
	pendingGroups []routing.PodGroup
}

func newPlanDependencies() *planDependencies {
	return &planDependencies{seen: map[client.ObjectKey]seenPods{}, gateways: map[string]*gateway{}, gatewayOf: map[client.ObjectKey]string{}}
}

// gateway is an ingress gateway, known by its labels, with the Services that request exposure there.
type gateway struct {
	selector map[string]string
	services map[client.ObjectKey]bool
}

// noteGateway remembers the selector of the gateway that a Service requests exposure at; nil = none.
func (a *planDependencies) noteGateway(service client.ObjectKey, selector map[string]string) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	text := labels.FormatLabels(selector)
	was, is := a.gatewayOf[service]
	if is && selector != nil && was == text {
		return
	}
	if is {
		delete(a.gatewayOf, service)
		if delete(a.gateways[was].services, service); len(a.gateways[was].services) == 0 {
			delete(a.gateways, was)
		}
	}
	if selector == nil {
		return
	}
	a.gatewayOf[service] = text
	if a.gateways[text] == nil {
		a.gateways[text] = &gateway{selector: selector, services: map[client.ObjectKey]bool{}}
	}
	a.gateways[text].services[service] = true
}

// atGateways returns the Services that request exposure at one of the chosen gateways, of which there are few.
func (a *planDependencies) atGateways(chosen func(selector map[string]string) bool) []client.ObjectKey {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	var out []client.ObjectKey
	for _, gateway := range a.gateways {
		if chosen(gateway.selector) {
			out = slices.AppendSeq(out, maps.Keys(gateway.services))
		}
	}
	return out
}

// noteEastWest remembers whether there is an east-west gateway, and reports whether that is new.
func (a *planDependencies) noteEastWest(is bool) bool {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	was := a.eastWest
	a.eastWest = is
	return was != is
}

// note remembers what the last plan for a Service depends on.
func (a *planDependencies) note(service client.ObjectKey, seen seenPods) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.seen[service] = seen
}

func (a *planDependencies) forget(service client.ObjectKey) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	delete(a.seen, service)
}

// differs reports whether the pods of a Service differ in something that its last plan depends on. It is true for a Service that
// has not been planned.
func (a *planDependencies) differs(service client.ObjectKey, now func(versionLabel string) []routing.PodGroup) bool {
	a.mutex.Lock()
	seen, is := a.seen[service]
	a.mutex.Unlock()
	if !is {
		return true
	}
	if seen.pendingLabel != "" && !slices.Equal(seen.pendingGroups, now(seen.pendingLabel)) {
		return true
	}
	return seen.OnPods && seen.PodsDiffer(now(seen.VersionLabel))
}

// onWorkload reports whether the last plan for a Service depends on a workload by its name. It is true for a Service that has not
// been planned.
func (a *planDependencies) onWorkload(service client.ObjectKey, ref routing.WorkloadRef) bool {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	seen, is := a.seen[service]
	return !is || seen.OnWorkload(ref)
}
