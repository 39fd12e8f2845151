// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"outrigger.dev/outrigger/internal/contest"
	"outrigger.dev/outrigger/internal/pagedlist"
	"outrigger.dev/outrigger/routing"
	"outrigger.dev/outrigger/routing/podindex"
)

// lookForIstio is how often the kinds of the cluster are checked, in addition to each change of a CustomResourceDefinition.
const lookForIstio = 15 * time.Second

var crdKind = schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}

// istioKinds are the kinds without which there are no routes, by the names of their definitions.
var istioKinds = map[string]string{
	"destinationrules.networking.istio.io": "DestinationRule",
	"virtualservices.networking.istio.io":  "VirtualService",
	"gateways.networking.istio.io":         "Gateway",
}

// Start keeps routes while Istio's kinds exist and waits while they do not, until ctx is done. It may be called again after it has
// returned, when this replica leads again.
func (c *Controller) Start(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer c.reporter.clear() // the next leader reports what is wrong
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { c.paced.run(ctx) })
	definitions, err := c.newCache(cache.Options{DefaultTransform: dropUnread})
	if err != nil {
		return fmt.Errorf("cache of CustomResourceDefinitions: %w", err)
	}
	failed := make(chan error, 1)
	running.Go(func() { failed <- definitions.Start(ctx) })
	changed, err := signals(ctx, definitions)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("watch CustomResourceDefinitions: %w", err)
	}
	isLogged := false
	for {
		if c.istioIsThere(ctx, definitions) {
			isLogged = false
			if c.keepRoutes(ctx, definitions, changed) {
				continue
			}
		} else if !isLogged {
			isLogged = true
			c.log.Info("Istio's CustomResourceDefinitions do not exist; routes are kept as soon as they do")
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case <-changed:
		case <-time.After(lookForIstio):
		}
	}
}

// keepRoutes runs the controller until Istio's kinds are deleted, it fails, or ctx is done. A failure is logged. It returns true if
// the controller must restart immediately, because it must watch other kinds.
func (c *Controller) keepRoutes(ctx context.Context, definitions client.Reader, changed <-chan struct{}) (again bool) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	optional := c.optionalKinds(ctx, definitions, nil)
	go func() { done <- c.run(ctx, optional) }()
	look := time.NewTicker(lookForIstio)
	defer look.Stop()
	defer cancel()
	for {
		select {
		case err := <-done:
			if err != nil && ctx.Err() == nil {
				c.log.Error(err, "routing stopped and restarts")
			}
			return false
		case <-changed:
		case <-look.C:
		}
		if ctx.Err() != nil {
			continue // until done
		}
		there := c.istioIsThere(ctx, definitions)
		if there && sameKinds(optional, c.optionalKinds(ctx, definitions, optional)) {
			continue
		}
		if there {
			c.log.Info("kinds of other controllers were added or removed; routing restarts")
		} else {
			c.log.Info("Istio's CustomResourceDefinitions were deleted")
		}
		cancel()
		if err := <-done; err != nil {
			c.log.Error(err, "routing stopped late")
		}
		return there
	}
}

// run runs one controller on separate caches, which are smaller than the shared ones and are freed when it ends.
func (c *Controller) run(ctx context.Context, optional []optionalKind) error {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	kept := map[client.Object]cache.ByObject{
		// All annotations of these are compared. Of the managed fields only what others apply is kept.
		&networkingv1.DestinationRule{}: {Transform: compactManagedFields},
		&networkingv1.VirtualService{}:  {Transform: compactManagedFields},
		&networkingv1.Gateway{}:         {Transform: compactManagedFields},
	}
	for _, kind := range optional {
		if kind.router != nil || kind.routes {
			kept[kind.object()] = cache.ByObject{Transform: kind.reduce(c.options.Settings.ClusterDomain)}
		}
	}
	objects, err := c.newCache(cache.Options{DefaultTransform: dropUnread, ByObject: kept})
	if err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	for _, index := range indexes(c.options.Settings.ClusterDomain, optional...) {
		if err := objects.IndexField(ctx, index.object, index.field, index.extract); err != nil {
			return fmt.Errorf("index %T by %s: %w", index.object, index.field, err)
		}
	}
	kube, err := pagedlist.NewClient(c.cluster.GetConfig())
	if err != nil {
		return fmt.Errorf("client of pods and workloads: %w", err)
	}
	writer, err := client.New(c.cluster.GetConfig(), client.Options{
		HTTPClient: c.cluster.GetHTTPClient(), Scheme: c.cluster.GetScheme(), Mapper: c.cluster.GetRESTMapper(),
	})
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	workloads := newWorkloadCache(kube)
	sources := &cachedSources{
		reader: objects, kinds: optional, options: c.options, index: podindex.New(), workloads: workloads.inNamespace, workload: workloads.byRef, names: newServiceNames(), deletedRules: newRestoredDestinationRules(time.Now),
	}
	r := &reconciler{
		options: c.options, sources: sources, writer: writer, uidOf: workloads.uid, reporter: c.reporter, now: time.Now,
		dependencies: newPlanDependencies(), written: newOwnWrites(), contests: contest.NewLedger(),
	}
	defer c.contests.Watch(r.contests)()
	loop, err := controller.NewUnmanaged(controllerName, controller.Options{
		Reconciler: r, MaxConcurrentReconciles: workers, Logger: c.log,
		SkipNameValidation: ptr.To(true), // the same name again after Istio's kinds were gone
	})
	if err != nil {
		return err
	}
	watching := &watches{reader: objects, options: c.options, pods: sources.index, dependencies: r.dependencies, names: sources.names, restored: sources.deletedRules, written: r.written}
	if err := errors.Join(watching.start(loop, objects), watching.watchOptional(loop, objects, optional)); err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	failed := func(err error, what string) {
		c.log.Error(err, "a change of a pod or a workload could not be followed", "doing", what)
	}
	if err := loop.Watch(&workloadSource{cache: workloads, services: watching.servicesForWorkload, failed: failed}); err != nil {
		return fmt.Errorf("watch workloads: %w", err)
	}
	if c.options.Canaries != nil {
		if err := loop.Watch(source.Channel(c.options.Canaries.answered, &handler.EnqueueRequestForObject{})); err != nil {
			return fmt.Errorf("watch the answers of the metrics server: %w", err)
		}
	}
	every := func(ctx context.Context) ([]client.ObjectKey, error) {
		return watching.services(ctx, "", func(*corev1.Service) bool { return true })
	}
	if c.options.Freeze != nil {
		if err := loop.Watch(c.options.Freeze.source(every, failed)); err != nil {
			return fmt.Errorf("follow routing.freeze: %w", err)
		}
	}
	c.pods.Store(sources.index)
	defer c.pods.Store(nil)
	if err := loop.Watch(&podSource{pods: kube.CoreV1().Pods(metav1.NamespaceAll), watching: watching, failed: failed}); err != nil {
		return fmt.Errorf("watch pods: %w", err)
	}
	ended := make(chan error, 2) // room for both, since only the first is received for certain
	running.Go(func() { ended <- objects.Start(ctx) })
	running.Go(func() { ended <- loop.Start(ctx) })
	c.log.Info("keeping routes")
	select {
	case <-ctx.Done():
		return nil
	case err := <-ended:
		if err == nil && ctx.Err() == nil {
			err = errors.New("it ended unexpectedly")
		}
		return err
	}
}

func (c *Controller) newCache(options cache.Options) (cache.Cache, error) {
	options.HTTPClient, options.Scheme, options.Mapper = c.cluster.GetHTTPClient(), c.cluster.GetScheme(), c.cluster.GetRESTMapper()
	return cache.New(c.cluster.GetConfig(), options)
}

// istioIsThere reports whether all of Istio's kinds are defined and served.
func (c *Controller) istioIsThere(ctx context.Context, definitions client.Reader) bool {
	for name, kind := range istioKinds {
		if !defined(ctx, definitions, name) {
			return false
		}
		group := schema.GroupKind{Group: networkingv1.GroupName, Kind: kind}
		if _, err := c.cluster.GetRESTMapper().RESTMapping(group, networkingv1.SchemeGroupVersion.Version); err != nil {
			return false
		}
	}
	return true
}

func defined(ctx context.Context, definitions client.Reader, name string) bool {
	definition := &metav1.PartialObjectMetadata{}
	definition.SetGroupVersionKind(crdKind)
	return definitions.Get(ctx, client.ObjectKey{Name: name}, definition) == nil && definition.DeletionTimestamp == nil
}

// signals returns a channel that receives a value when a CustomResourceDefinition changed.
func signals(ctx context.Context, definitions cache.Cache) (<-chan struct{}, error) {
	definition := &metav1.PartialObjectMetadata{}
	definition.SetGroupVersionKind(crdKind)
	informer, err := definitions.GetInformer(ctx, definition)
	if err != nil {
		return nil, err
	}
	changed := make(chan struct{}, 1)
	signal := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { signal() },
		UpdateFunc: func(any, any) { signal() },
		DeleteFunc: func(any) { signal() },
	})
	return changed, err
}

// compactManagedFields keeps the managed fields by which an object that another client applied over ours is recognized.
func compactManagedFields(object any) (any, error) {
	if o, ok := object.(metav1.Object); ok {
		o.SetManagedFields(routing.CompactManagedFields(o.GetManagedFields()))
	}
	return object, nil
}

// dropUnread removes fields that are never read.
func dropUnread(object any) (any, error) {
	if o, ok := object.(metav1.Object); ok {
		o.SetManagedFields(nil)
		delete(o.GetAnnotations(), corev1.LastAppliedConfigAnnotation)
	}
	return object, nil
}
