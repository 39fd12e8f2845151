// SPDX-License-Identifier: Apache-2.0

package canaries

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/hack/controlplane"
	"outrigger.dev/outrigger/routing/controller"
)

const (
	node             = "node-1"
	propagationDelay = 500 * time.Millisecond
)

var (
	cluster client.Client
	traffic *mesh
	toAPI   = &line{streams: map[*stream]bool{}} // the controller's way to the API server
)

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// run starts an API server, the requests, a Prometheus server that scrapes them, and Outrigger's routing controller.
func run(m *testing.M) (code int, err error) {
	log.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil { // they wait, mostly
		return 1, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	dir, err := os.MkdirTemp("", "outrigger-canaries-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	environment, err := startAPIServer(ctx, dir)
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, environment.Stop()) }()
	scheme, err := newScheme()
	if err != nil {
		return 1, err
	}
	if cluster, err = client.New(environment.Config, client.Options{Scheme: scheme}); err != nil {
		return 1, err
	}
	if err := cluster.Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}); err != nil {
		return 1, err
	}
	traffic = newMesh(cluster)
	defer traffic.Close()
	prometheus, err := startPrometheus(dir, traffic.target())
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, prometheus.stop()) }()
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { traffic.run(ctx) })
	jobs, err := newController(environment.Config, scheme, prometheus.URL)
	if err != nil {
		return 1, err
	}
	ended := make(chan error, 1)
	go func() { ended <- jobs.Start(ctx) }()
	defer func() {
		cancel()
		err = errors.Join(err, <-ended)
	}()
	return m.Run(), nil
}

func startAPIServer(ctx context.Context, dir string) (*envtest.Environment, error) {
	assets, err := controlplane.Build(ctx, os.Stderr)
	if err != nil {
		return nil, err
	}
	module, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "istio.io/api").Output()
	if err != nil {
		return nil, fmt.Errorf("find module istio.io/api: %w", err)
	}
	no := false
	environment := &envtest.Environment{
		UseExistingCluster: &no,
		CRDInstallOptions: envtest.CRDInstallOptions{
			Paths: []string{filepath.Join(strings.TrimSpace(string(module)), "kubernetes", "customresourcedefinitions.gen.yaml")}, ErrorIfPathMissing: true,
		},
		ControlPlane: envtest.ControlPlane{
			Etcd:      &envtest.Etcd{Path: assets["etcd"], DataDir: filepath.Join(dir, "etcd")},
			APIServer: &envtest.APIServer{Path: assets["kube-apiserver"]},
		},
		ControlPlaneStartTimeout: 2 * time.Minute, ControlPlaneStopTimeout: time.Minute,
	}
	_, err = environment.Start()
	return environment, err
}

func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, networkingv1.AddToScheme, apiextensionsv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	return scheme, nil
}

// newController returns the routing controller, with a metrics server.
func newController(config *rest.Config, scheme *runtime.Scheme, prometheusURL string) (manager.Manager, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1
	config.Wrap(toAPI.wrap)
	jobs, err := manager.New(config, manager.Options{Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"}, HealthProbeBindAddress: "0"})
	if err != nil {
		return nil, err
	}
	settings := api.DefaultConfig()
	settings.Routing.Metrics.PrometheusURL, settings.Routing.Metrics.ScrapeInterval = prometheusURL, scrapeEvery
	settings.Routing.Canary.EvaluationInterval = time.Second
	settings.Routing.Settle, settings.Routing.PropagationDelay = 0, propagationDelay
	metrics, err := controller.NewCanaryMetrics(settings.Routing)
	if err != nil {
		return nil, err
	}
	routes := controller.New(controller.Options{Settings: settings.RoutingSettings(), Canaries: metrics})
	return jobs, errors.Join(routes.Prepare(jobs, jobs.GetLogger()), jobs.Add(routes))
}

// line is a way to the API server that a test can cut.
type line struct {
	mutex    sync.Mutex
	isCut    bool
	streams  map[*stream]bool
	attempts []string // methods and paths of requests since it was cut
}

// stream is the body of a response, which a cut ends.
type stream struct {
	io.ReadCloser
	line *line
}

func (s *stream) Close() error {
	s.line.mutex.Lock()
	delete(s.line.streams, s)
	s.line.mutex.Unlock()
	return s.ReadCloser.Close()
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (l *line) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if l.refuses(r) {
			return nil, errors.New("the line is cut")
		}
		response, err := next.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		l.mutex.Lock()
		defer l.mutex.Unlock()
		body := &stream{response.Body, l}
		l.streams[body] = true
		response.Body = body
		return response, nil
	})
}

func (l *line) refuses(r *http.Request) bool {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.isCut {
		l.attempts = append(l.attempts, r.Method+" "+r.URL.Path)
	}
	return l.isCut
}

// cut ends all responses, and refuses requests until restore is called.
func (l *line) cut(t *testing.T) (restore func()) {
	t.Helper()
	restore = func() {
		l.mutex.Lock()
		defer l.mutex.Unlock()
		l.isCut = false
	}
	t.Cleanup(restore)
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.isCut, l.attempts = true, nil
	for body := range l.streams {
		_ = body.ReadCloser.Close()
	}
	clear(l.streams)
	return restore
}

// refused returns how many requests with a method were refused for an object of a namespace.
func (l *line) refused(method, namespace string) (count int) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	for _, attempt := range l.attempts {
		if strings.HasPrefix(attempt, method+" ") && strings.Contains(attempt, "/namespaces/"+namespace+"/") {
			count++
		}
	}
	return count
}

// newService creates a Service with ready pods of v1, which is the default version, and of v2, sends it requests, and waits for its route.
func newService(t *testing.T, perSecond float64, v1, v2 behavior) client.ObjectKey {
	t.Helper()
	key := client.ObjectKey{Name: "reviews", Namespace: strings.Trim(strings.ToLower(strings.NewReplacer("/", "-", "_", "-", ",", "", ".", "").Replace(strings.TrimPrefix(t.Name(), "TestCanaries"))), "-")}
	create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: key.Namespace, Labels: map[string]string{api.LabelInjection: "enabled"}}})
	create(t, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, Annotations: map[string]string{api.AnnotationDefaultVersion: "v1"}},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": key.Name}, Ports: []corev1.ServicePort{{Name: "http", Port: 9080}}},
	})
	for _, version := range []string{"v1", "v2"} {
		newVersion(t, key, version)
	}
	traffic.send(key, perSecond, map[string]behavior{"v1": v1, "v2": v2})
	wantRoute(t, key, "v1=100")
	return key
}

// newVersion creates a Deployment and two ready pods, as its controllers and a kubelet do.
func newVersion(t *testing.T, key client.ObjectKey, version string) {
	t.Helper()
	labels := map[string]string{"app": key.Name, "version": version}
	containers := []corev1.Container{{Name: "app", Image: "registry.example/app:1"}, {Name: "istio-proxy", Image: "registry.example/proxyv2:1"}}
	name := key.Name + "-" + version
	create(t, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: name}, Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: containers}},
	}})
	controls := true
	for i := range 2 {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: key.Namespace, Name: fmt.Sprintf("%s-abc-%d", name, i), Labels: map[string]string{"app": key.Name, "version": version, "pod-template-hash": "abc"},
				OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: name + "-abc", UID: types.UID(name), Controller: &controls}},
			},
			Spec: corev1.PodSpec{NodeName: node, Containers: containers},
		}
		create(t, pod)
		pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
		if err := cluster.Status().Update(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
	}
}

func create(t *testing.T, object client.Object) {
	t.Helper()
	if err := cluster.Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
}

// annotate adds annotations to a Service.
func annotate(t *testing.T, key client.ObjectKey, annotations map[string]string) {
	t.Helper()
	service := &corev1.Service{}
	if err := cluster.Get(t.Context(), key, service); err != nil {
		t.Fatal(err)
	}
	before := service.DeepCopy()
	for name, value := range annotations {
		service.Annotations[name] = value
	}
	if err := cluster.Patch(t.Context(), service, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}

// patience is how long a test waits for an effect. It is a bound for failure, never a pause.
const patience = 3 * time.Minute

// eventually asks again until the check has nothing to say.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, patience, err)
		}
	}
}

// routeOf returns the shares of the versions, "v1=50 v2=50"; empty if there is no route.
func routeOf(t *testing.T, key client.ObjectKey) string {
	t.Helper()
	vs := &networkingv1.VirtualService{}
	if err := client.IgnoreNotFound(cluster.Get(t.Context(), key, vs)); err != nil {
		t.Fatal(err)
	}
	return textOf(sharesOf(vs))
}

func wantRoute(t *testing.T, key client.ObjectKey, want string) {
	t.Helper()
	eventually(t, "the route is "+want, func() error {
		if got := routeOf(t, key); got != want {
			return fmt.Errorf("it is %q", got)
		}
		return nil
	})
}

// event waits for one of the Events of a Service with a reason, and returns its reason and message.
func event(t *testing.T, key client.ObjectKey, reasons ...string) (reason, message string) {
	t.Helper()
	eventually(t, fmt.Sprintf("an Event %v of Service %s", reasons, key), func() error {
		events := &corev1.EventList{}
		if err := cluster.List(t.Context(), events, client.InNamespace(key.Namespace)); err != nil {
			return err
		}
		var others []string
		for _, event := range events.Items {
			for _, wanted := range reasons {
				if event.InvolvedObject.Name == key.Name && event.Reason == wanted {
					reason, message = event.Reason, event.Message
					return nil
				}
			}
			others = append(others, event.InvolvedObject.Name+" "+event.Reason+": "+event.Message)
		}
		return fmt.Errorf("the Events are %q", others)
	})
	return reason, message
}

// recordOf returns the record of a route.
func recordOf(t *testing.T, key client.ObjectKey) string {
	t.Helper()
	vs := &networkingv1.VirtualService{}
	if err := cluster.Get(t.Context(), key, vs); err != nil {
		t.Fatal(err)
	}
	return vs.Annotations[api.AnnotationRecord]
}
