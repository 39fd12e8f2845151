// SPDX-License-Identifier: Apache-2.0

// Package controller keeps the routes of a cluster as package routing plans them: it reads the cluster, plans, writes what differs,
// and records Events. Call New, then Controller.Prepare, and start the Controller on the leader. Gather reads what a plan depends on,
// for the controller and for commands.
package controller

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/contest"
	"outrigger.dev/outrigger/routing"
	"outrigger.dev/outrigger/routing/podindex"
)

const (
	controllerName = "routing"
	workers        = 4
	// conflictRetry is how soon a Service is reconciled again after a conflict with a stale cache.
	conflictRetry        = 500 * time.Millisecond
	defaultRootNamespace = "istio-system"
)

// Options are the settings of a Controller or Live.
type Options struct {
	Settings      api.RoutingSettings
	RootNamespace string                             // the mesh's root namespace; istio-system if empty
	Mesh          func(context.Context) routing.Mesh // Istio's configuration; may be nil
	Registerer    prometheus.Registerer              // nil = no metrics
	Canaries      *CanaryMetrics                     // nil without a metrics server
	Freeze        *Freeze                            // nil = Settings.Freeze applies
	Instance      string                             // the reporting instance of Events about canaries: the name of this pod
}

// Controller keeps the routes of every Service, on the replica that leads and while Istio's kinds are in the cluster.
type Controller struct {
	options  Options
	cluster  cluster.Cluster
	log      logr.Logger
	reporter *reporter
	paced    *pacedRecorder
	contests *contest.Metric
	refused  map[string]bool                // definitions of kinds that may not be listed, logged already
	pods     atomic.Pointer[podindex.Index] // of the reconciler that runs; nil if none does
}

// New returns a Controller; Prepare makes it ready to start.
func New(options Options) *Controller {
	options.RootNamespace = cmp.Or(options.RootNamespace, defaultRootNamespace)
	return &Controller{options: options, reporter: newReporter(), refused: map[string]bool{}}
}

// Prepare connects the Controller to the clients and the Event recorder of the process, and registers its metrics. It sends no
// request. Start the Controller on the leader only.
func (c *Controller) Prepare(shared cluster.Cluster, logger logr.Logger) error {
	c.cluster = shared
	c.log = logger.WithName(controllerName)
	c.options.Canaries.logTo(c.log.WithName("canary"))
	c.paced = newPacedRecorder(shared.GetEventRecorder(api.ManagedBy), shared.GetScheme())
	c.reporter.recorder = c.paced
	for _, metric := range []prometheus.Collector{c.reporter.writes, c.reporter.problems, c.reporter.canarySteps, c.reporter.evaluations, c.paced.counts} {
		if c.options.Registerer == nil {
			break
		}
		if err := c.options.Registerer.Register(metric); err != nil {
			return fmt.Errorf("metrics of routing: %w", err)
		}
	}
	if c.options.Registerer != nil && c.options.Canaries != nil {
		if err := c.options.Canaries.register(c.options.Registerer); err != nil {
			return fmt.Errorf("metrics of canaries: %w", err)
		}
	}
	var err error
	if c.contests, err = contest.Register(c.options.Registerer); err != nil {
		return fmt.Errorf("metric of contested objects: %w", err)
	}
	return nil
}

// reconciler reconciles one Service at a time.
type reconciler struct {
	options      Options
	sources      *cachedSources
	writer       client.Client // the API server
	uidOf        func(namespace string, ref routing.WorkloadRef) types.UID
	dependencies *planDependencies
	written      *ownWrites
	contests     *contest.Ledger
	reporter     *reporter
	now          func() time.Time
}

// Reconcile writes the objects of one Service as they must be now.
func (r *reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	behind, err := r.written.cachesLag(ctx, r.sources.reader, request.NamespacedName, r.now())
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("read what was written for Service %s: %w", request, err)
	}
	if behind {
		return reconcile.Result{RequeueAfter: conflictRetry}, nil // or sooner, when the cache receives it
	}
	settings := r.options.Settings
	settings.Freeze = r.options.Freeze.isOn(settings.Freeze)
	observed, problems, err := Gather(ctx, r.sources, request.NamespacedName, GatherOptions{Settings: settings, RootNamespace: r.options.RootNamespace})
	if err != nil {
		return reconcile.Result{}, err
	}
	if observed == nil {
		r.dependencies.forget(request.NamespacedName)
		r.dependencies.noteGateway(request.NamespacedName, nil)
		r.written.forget(request.NamespacedName)
		r.contests.Forget(request.String())
		r.reporter.forget(request.NamespacedName)
		r.options.Canaries.forget(request.NamespacedName)
		return reconcile.Result{}, nil
	}
	r.dependencies.noteGateway(request.NamespacedName, gatewaySelectorOf(observed))
	now := r.now()
	r.addSamples(ctx, observed, now)
	plan := routing.Plan(*observed, now)
	r.reporter.noteCanary(observed, plan.Canary)
	admitted, err := r.admit(ctx, observed, observed.Changes(plan))
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("compare the routes of Service %s: %w", request, err)
	}
	done, err := r.apply(ctx, observed, admitted.changes)
	found := r.reportCanary(ctx, observed.Service, plan, len(done.written) > 0, done.hasRoutesLeft(admitted))
	r.reporter.reportProblems(observed.Service, slices.Concat(problems, found, admitted.problems, done.problems))
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("write the routes of Service %s: %w", request, err)
	}
	if done.again {
		return reconcile.Result{RequeueAfter: conflictRetry}, nil
	}
	if r.noteDependencies(observed, plan.DependsOn) {
		return reconcile.Result{RequeueAfter: time.Millisecond}, nil
	}
	next := earlier(plan.Next, admitted.next)
	if len(done.problems) > 0 {
		return requeueAt(earlier(next, now.Add(refusedAgain)), now), nil
	}
	if len(admitted.changes) > 0 && len(admitted.delayed) == 0 {
		return afterWrites(*observed, plan, now), nil
	}
	return requeueAt(next, now), nil
}

// afterWrites returns when the Service must be reconciled again after the planned writes. The writes come back as events and cause
// a reconciliation, but with the lowest priority, and a step must not wait for that.
func afterWrites(observed routing.Observed, plan routing.Result, now time.Time) reconcile.Result {
	observed.Existing = plan.Objects
	then := routing.Plan(observed, now)
	if len(routing.Diff(observed.Existing, then.Objects)) > 0 {
		then.Next = now.Add(echoAfter)
	}
	out := requeueAt(earlier(plan.Next, then.Next), now)
	out.Priority = ptr.To(0)
	return out
}

// earlier returns the time that comes first; zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// requeueAt returns a Result that reconciles a Service again at a time; zero is never.
func requeueAt(next, now time.Time) reconcile.Result {
	if next.IsZero() {
		return reconcile.Result{}
	}
	return reconcile.Result{RequeueAfter: max(time.Millisecond, next.Sub(now))} // zero would mean never
}

// noteDependencies records what the plan depends on, and reports whether that has changed since it was read: until now, events were
// compared with the dependencies of the plan before.
func (r *reconciler) noteDependencies(observed *routing.Observed, on routing.Dependencies) bool {
	service := client.ObjectKeyFromObject(observed.Service)
	groups := func(versionLabel string) []routing.PodGroup {
		return r.sources.index.Groups(service.Namespace, observed.Service.Spec.Selector, versionLabel)
	}
	seen := seenPods{Dependencies: withoutEntries(on), pendingLabel: observed.LabelChange.NotFollowed}
	if seen.pendingLabel != "" {
		seen.pendingGroups = groups(seen.pendingLabel)
	}
	r.dependencies.note(service, seen)
	current := func(ref routing.WorkloadRef) (routing.Workload, bool) {
		return r.sources.workload(service.Namespace, ref)
	}
	if workloadsDiffer(on, observed.Workloads, current) {
		return true
	}
	return r.dependencies.differs(service, groups)
}

// withoutEntries leaves out WorkloadEntries, which are not in the index of pods. Each of their changes causes a reconciliation.
func withoutEntries(on routing.Dependencies) routing.Dependencies {
	on.Pods = slices.DeleteFunc(on.Pods, func(d routing.PodDependency) bool { return d.Workload.IsEntry() })
	return on
}

// PodKinds returns the kinds of all unfinished pods of the cluster. It returns false on a replica that keeps no routes now.
func (c *Controller) PodKinds() ([]api.PodKind, bool) {
	index := c.pods.Load()
	if index == nil {
		return nil, false
	}
	return index.Kinds()
}
