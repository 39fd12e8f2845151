// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	istioclient "istio.io/client-go/pkg/clientset/versioned"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/hack/controlplane"
	"outrigger.dev/outrigger/hack/istio"
)

const (
	perNamespace = 50 // Services
	creators     = 16 // requests at a time where it does not matter
	workers      = 4  // as many as the controller has; the floor has no more
	quotaBytes   = "8589934592"
	node         = "node-1"
	ownNamespace = "outrigger-system"
)

// world is an API server with Services, Deployments and pods in it.
type world struct {
	size
	environment *envtest.Environment
	dir         string
	kubeconfig  string
	rounds      int
	profiles    string               // folder for the profiles of controllers; empty = none
	kube        kubernetes.Interface // speaks protobuf
	istio       istioclient.Interface
	controller  *process
}

func newWorld(ctx context.Context, s size) (_ *world, err error) {
	assets, err := controlplane.Build(ctx, os.Stderr)
	if err != nil {
		return nil, err
	}
	w := &world{size: s}
	if w.dir, err = os.MkdirTemp("", "outrigger-scale-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.stop())
		}
	}()
	crds := filepath.Join(w.dir, "crds.yaml")
	text, err := istio.CRDs()
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(crds, text, 0o600); err != nil {
		return nil, err
	}
	no := false
	w.environment = &envtest.Environment{
		UseExistingCluster: &no,
		CRDInstallOptions:  envtest.CRDInstallOptions{Paths: []string{crds}, ErrorIfPathMissing: true},
		ControlPlane: envtest.ControlPlane{
			Etcd:      &envtest.Etcd{Path: assets["etcd"], DataDir: filepath.Join(w.dir, "etcd")},
			APIServer: &envtest.APIServer{Path: assets["kube-apiserver"]},
		},
		ControlPlaneStartTimeout: time.Minute, ControlPlaneStopTimeout: time.Minute,
	}
	w.environment.ControlPlane.Etcd.Configure().Set("quota-backend-bytes", quotaBytes)
	w.environment.ControlPlane.APIServer.Configure().Set("service-cluster-ip-range", "10.96.0.0/16")
	config, err := w.startServer()
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	w.kubeconfig = filepath.Join(w.dir, "kubeconfig")
	if err := os.WriteFile(w.kubeconfig, w.environment.KubeConfig, 0o600); err != nil {
		return nil, err
	}
	if w.istio, err = istioclient.NewForConfig(config); err != nil {
		return nil, err
	}
	binary := rest.CopyConfig(config)
	binary.ContentType = "application/vnd.kubernetes.protobuf"
	w.kube, err = kubernetes.NewForConfig(binary)
	return w, err
}

// startServer starts etcd and the API server. That keeps whole pods in memory, and as much again as garbage, which for a
// hundred thousand pods is more than a small machine has: there it collects sooner. Both programs meet the same server,
// and neither inherits this.
func (w *world) startServer() (*rest.Config, error) {
	if _, is := os.LookupEnv("GOGC"); !is && w.services*w.versions*w.pods > 50000 {
		_ = os.Setenv("GOGC", "40") // it is a name like any other
		defer func() { _ = os.Unsetenv("GOGC") }()
	}
	return w.environment.Start()
}

func (w *world) stop() error {
	errs := []error{w.controller.stop()}
	if w.environment != nil {
		errs = append(errs, w.environment.Stop())
	}
	return errors.Join(append(errs, os.RemoveAll(w.dir))...)
}

// each does something for every number below count, some at a time.
func each(ctx context.Context, count, atATime int, do func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atATime)
	for i := range count {
		group.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return do(ctx, i)
		})
	}
	return group.Wait()
}

func namespaceOf(service int) string { return fmt.Sprintf("scale-%03d", service/perNamespace) }
func nameOf(service int) string      { return fmt.Sprintf("service-%05d", service) }

func (w *world) namespaces() int { return (w.services + perNamespace - 1) / perNamespace }

// populate creates all that the controller reads.
func (w *world) populate(ctx context.Context) error {
	if _, err := w.kube.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}, metav1.CreateOptions{}); err != nil {
		return err
	}
	if err := w.createIstio(ctx); err != nil {
		return err
	}
	names := []string{rollingNamespace}
	for i := range w.namespaces() {
		names = append(names, namespaceOf(i*perNamespace))
	}
	for _, name := range names {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{api.LabelInjection: "enabled"}}}
		if _, err := w.kube.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	return each(ctx, w.services, creators, func(ctx context.Context, i int) error {
		if err := w.createService(ctx, namespaceOf(i), nameOf(i)); err != nil {
			return err
		}
		for v := range w.versions {
			if err := w.createVersion(ctx, i, v); err != nil {
				return err
			}
		}
		return nil
	})
}

// createIstio creates what the sidecars of pods are judged by: Istio's ConfigMaps and our webhook object. That has no rules,
// so that nobody is asked about the pods which are made here.
func (w *world) createIstio(ctx context.Context) error {
	config := api.DefaultConfig()
	for _, name := range []string{config.Istio.Namespace, ownNamespace} {
		if _, err := w.kube.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	manifests, err := istio.ConfigMaps(nil)
	if err != nil {
		return err
	}
	configMaps := []*corev1.ConfigMap{{ObjectMeta: metav1.ObjectMeta{Namespace: ownNamespace, Name: config.LastGoodName()}}}
	for _, manifest := range manifests {
		configMap := &corev1.ConfigMap{}
		if err := yaml.Unmarshal(manifest.YAML, configMap); err != nil {
			return err
		}
		configMaps = append(configMaps, configMap)
	}
	for _, configMap := range configMaps {
		if _, err := w.kube.CoreV1().ConfigMaps(configMap.Namespace).Create(ctx, configMap, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	url, none := "https://127.0.0.1:1/inject", admissionregistrationv1.SideEffectClassNone
	webhook := &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: config.WebhookConfigurationName()},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: "namespace.sidecar-injector.outrigger.dev", ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: &url},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{api.LabelInjection: "enabled"}},
			SideEffects:       &none, AdmissionReviewVersions: []string{"v1"},
		}},
	}
	_, err = w.kube.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(ctx, webhook, metav1.CreateOptions{})
	return err
}

func (w *world) createService(ctx context.Context, namespace, name string) error {
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": name}, Ports: []corev1.ServicePort{{Name: "http", Port: 80}},
	}}
	_, err := w.kube.CoreV1().Services(namespace).Create(ctx, service, metav1.CreateOptions{})
	return err
}

func (w *world) createVersion(ctx context.Context, service, version int) error {
	labels := map[string]string{"app": nameOf(service), "version": fmt.Sprintf("v%d", version+1)}
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: deploymentOf(service, version)}, Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: podSpec()},
	}}
	if _, err := w.kube.AppsV1().Deployments(namespaceOf(service)).Create(ctx, deployment, metav1.CreateOptions{}); err != nil {
		return err
	}
	for p := range w.pods {
		if err := w.createPod(ctx, service, version, fmt.Sprintf("abcdef-%d", p)); err != nil {
			return err
		}
	}
	return nil
}

func deploymentOf(service, version int) string {
	return fmt.Sprintf("%s-v%d", nameOf(service), version+1)
}

// podSpec has what an injected pod has in size: 6 KB of environment and volumes.
func podSpec() corev1.PodSpec {
	var variables []corev1.EnvVar
	for i := range 60 {
		variables = append(variables, corev1.EnvVar{Name: fmt.Sprintf("A_VARIABLE_OF_THE_SIDECAR_%02d", i), Value: "a value of about the usual length, as sidecars have many"})
	}
	return corev1.PodSpec{
		Containers: []corev1.Container{
			{Name: "app", Image: "registry.example/app:1", Ports: []corev1.ContainerPort{{ContainerPort: 8080}}},
			{Name: "istio-proxy", Image: istio.Hub + "/proxyv2:" + istio.Tag, Env: variables},
		},
	}
}

// createPod makes a pod of a version.
func (w *world) createPod(ctx context.Context, service, version int, suffix string) error {
	deployment := deploymentOf(service, version)
	return w.createBound(ctx, namespaceOf(service), deployment, deployment+"-"+suffix, "abcdef",
		map[string]string{"app": nameOf(service), "version": fmt.Sprintf("v%d", version+1)})
}

func podOf(deployment, version string, number int) string {
	return fmt.Sprintf("%s-%s-%d", deployment, version, number)
}

// createReadyPod makes a pod of a Deployment whose template hash is the version.
func (w *world) createReadyPod(ctx context.Context, namespace, deployment, version string, number int, labels map[string]string) error {
	return w.createBound(ctx, namespace, deployment, podOf(deployment, version, number), version, labels)
}

// injected is what injection says in the annotation of a pod.
const injected = `{"initContainers":["istio-init"],"containers":["istio-proxy"],"volumes":["istio-envoy","istio-data","istio-podinfo","istio-token","istiod-ca-cert"],"imagePullSecrets":null,"revision":"default"}`

// createBound makes a pod that is bound to the node and ready, and has its sidecar. Its ReplicaSet is not there: nobody collects garbage here.
func (w *world) createBound(ctx context.Context, namespace, deployment, name, hash string, labels map[string]string) error {
	controls := true
	labels["pod-template-hash"] = hash
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: labels, Annotations: map[string]string{api.AnnotationStatus: injected},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "apps/v1", Kind: "ReplicaSet", Name: deployment + "-" + hash, UID: types.UID(deployment), Controller: &controls,
			}},
		},
		Spec: podSpec(),
	}
	pod.Spec.NodeName = node
	pods := w.kube.CoreV1().Pods(namespace)
	created, err := pods.Create(ctx, pod, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	created.Status = corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
	_, err = pods.UpdateStatus(ctx, created, metav1.UpdateOptions{})
	return err
}

// replacePods makes one pod more and deletes one, as a rolling restart does, for 10,000 events or as many as there are
// versions to do it in, and returns the number of events: created, ready, deleted.
func (w *world) replacePods(ctx context.Context) (events int, err error) {
	rounds := min(10000/3, w.services*w.versions*w.pods)
	err = each(ctx, min(rounds, w.services*w.versions), workers, func(ctx context.Context, i int) error {
		for n := 0; i+n*w.services*w.versions < rounds; n++ {
			service, version := i/w.versions, i%w.versions
			if err := w.createPod(ctx, service, version, fmt.Sprintf("abcdef-again-%d", n)); err != nil {
				return err
			}
			if err := w.deletePod(ctx, namespaceOf(service), fmt.Sprintf("%s-abcdef-%d", deploymentOf(service, version), n)); err != nil {
				return err
			}
		}
		return nil
	})
	return 3 * rounds, err
}

// bodies are the objects of all Services.
type bodies struct {
	rules  []*networkingv1.DestinationRule
	routes []*networkingv1.VirtualService
}

// takeRoutes deletes all objects and returns what they were, as they would be created.
func (w *world) takeRoutes(ctx context.Context) (*bodies, error) {
	out := &bodies{}
	bare := func(m *metav1.ObjectMeta) {
		*m = metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name, Labels: m.Labels, Annotations: m.Annotations, OwnerReferences: m.OwnerReferences}
	}
	for i := range w.namespaces() {
		namespace := namespaceOf(i * perNamespace)
		rules, err := w.istio.NetworkingV1().DestinationRules(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, err
		}
		routes, err := w.istio.NetworkingV1().VirtualServices(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, err
		}
		for _, rule := range rules.Items {
			bare(&rule.ObjectMeta)
		}
		for _, vs := range routes.Items {
			bare(&vs.ObjectMeta)
		}
		out.rules, out.routes = append(out.rules, rules.Items...), append(out.routes, routes.Items...)
		if err := w.deleteRoutes(ctx, namespace); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (w *world) deleteRoutes(ctx context.Context, namespace string) error {
	client, all, every := w.istio.NetworkingV1(), metav1.DeleteOptions{}, metav1.ListOptions{}
	if err := client.VirtualServices(namespace).DeleteCollection(ctx, all, every); err != nil {
		return err
	}
	if err := client.Gateways(namespace).DeleteCollection(ctx, all, every); err != nil {
		return err
	}
	return client.DestinationRules(namespace).DeleteCollection(ctx, all, every)
}

// createAll is the floor: the same objects with as many workers and nothing to decide.
func (w *world) createAll(ctx context.Context, all *bodies) (time.Duration, error) {
	arrivals, err := w.watchRoutes(ctx)
	if err != nil {
		return 0, err
	}
	defer arrivals.stop()
	options := metav1.CreateOptions{FieldManager: api.FieldManager}
	err = each(ctx, len(all.rules), workers, func(ctx context.Context, i int) error {
		rule, vs := all.rules[i], all.routes[i]
		if _, err := w.istio.NetworkingV1().DestinationRules(rule.Namespace).Create(ctx, rule, options); err != nil {
			return err
		}
		_, err := w.istio.NetworkingV1().VirtualServices(vs.Namespace).Create(ctx, vs, options)
		return err
	})
	if err == nil {
		err = arrivals.wait(ctx, 2*w.services)
	}
	return arrivals.last.Sub(arrivals.first), err
}

// shift annotates a Service and returns how long its route took.
func (w *world) shift(ctx context.Context, service int) (time.Duration, error) {
	namespace, name := namespaceOf(service), nameOf(service)
	changes, err := w.istio.NetworkingV1().VirtualServices(namespace).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		return 0, err
	}
	defer changes.Stop()
	began := time.Now()
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:"v1=90,v2=10"}}}`, api.AnnotationWeights)
	if _, err := w.kube.CoreV1().Services(namespace).Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		return 0, err
	}
	for event := range changes.ResultChan() {
		if vs, is := event.Object.(*networkingv1.VirtualService); is && len(vs.Spec.Http) > 0 && len(vs.Spec.Http[0].Route) == 2 {
			return time.Since(began), nil
		}
	}
	return 0, fmt.Errorf("the watch of VirtualService %s/%s ended", namespace, name)
}

// arrivals notes when objects come to be.
type arrivals struct {
	watches []watch.Interface
	mutex   sync.Mutex
	count   int
	first   time.Time
	last    time.Time
	changed chan struct{}
}

func (w *world) watchRoutes(ctx context.Context) (*arrivals, error) {
	a := &arrivals{changed: make(chan struct{}, 1)}
	one := metav1.ListOptions{Limit: 1}
	rules, err := w.istio.NetworkingV1().DestinationRules("").List(ctx, one)
	if err != nil {
		return nil, err
	}
	routes, err := w.istio.NetworkingV1().VirtualServices("").List(ctx, one)
	if err != nil {
		return nil, err
	}
	for _, from := range []struct {
		version string
		watch   func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error)
	}{
		{rules.ResourceVersion, w.istio.NetworkingV1().DestinationRules("").Watch},
		{routes.ResourceVersion, w.istio.NetworkingV1().VirtualServices("").Watch},
	} {
		// A busy API server ends watches that it finds slow.
		source, err := watchtools.NewRetryWatcherWithContext(ctx, from.version, &cache.ListWatch{WatchFuncWithContext: from.watch})
		if err != nil {
			a.stop()
			return nil, err
		}
		a.watches = append(a.watches, source)
	}
	for _, source := range a.watches {
		go func() {
			for event := range source.ResultChan() {
				if event.Type == watch.Added {
					a.note()
				}
			}
		}()
	}
	return a, nil
}

func (a *arrivals) note() {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.last = time.Now()
	if a.count++; a.count == 1 {
		a.first = a.last
	}
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// wait returns when this many have come.
func (a *arrivals) wait(ctx context.Context, count int) error {
	for {
		a.mutex.Lock()
		have := a.count
		a.mutex.Unlock()
		if have >= count {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-a.changed:
		case <-time.After(2 * time.Minute):
			return fmt.Errorf("%d of %d objects came, and no more for two minutes", have, count)
		}
	}
}

func (a *arrivals) stop() {
	for _, source := range a.watches {
		source.Stop()
	}
}
