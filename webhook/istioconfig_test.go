// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	istiofake "istio.io/client-go/pkg/clientset/versioned/fake"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	metadatafake "k8s.io/client-go/metadata/fake"
	kubetesting "k8s.io/client-go/testing"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
)

// goodConfig is the smallest configuration: its proxy has the image given.
func goodConfig(image string) string {
	return fmt.Sprintf(`policy: enabled
defaultTemplates: [sidecar]
templates:
  sidecar: |
    spec:
      containers:
      - name: istio-proxy
        image: %s
`, image)
}

// brokenConfig has a template that does not parse.
const brokenConfig = "policy: enabled\ntemplates:\n  sidecar: \"{{ if }}\"\n"

// cluster is a fake API server with our own ConfigMap, and what it must not be read is forbidden.
type cluster struct {
	*fake.Clientset
	metadata *metadatafake.FakeMetadataClient
	istio    istioFake
	registry *prometheus.Registry

	mu        sync.Mutex
	forbidden map[string]bool // "list configmaps istio"
}

// istioFake tells the reflector that the fake cannot stream a list.
type istioFake struct{ *istiofake.Clientset }

func (istioFake) IsWatchListSemanticsUnSupported() bool { return true }

func newCluster(objects ...runtime.Object) *cluster {
	scheme := metadatafake.NewTestScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		panic(err)
	}
	c := &cluster{
		metadata:  metadatafake.NewSimpleMetadataClient(scheme),
		istio:     istioFake{istiofake.NewSimpleClientset()},
		forbidden: map[string]bool{},
	}
	c.Clientset = fake.NewClientset(append(objects, configMap("outrigger-system", "outrigger-last-good", nil))...)
	forbid := func(action kubetesting.Action, selector fields.Selector) error {
		name, _ := selector.RequiresExactMatch(metav1.ObjectNameField)
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.forbidden[action.GetResource().Resource+" "+name] {
			return apierrors.NewForbidden(schema.GroupResource{Resource: action.GetResource().Resource}, name, nil)
		}
		return nil
	}
	c.PrependReactor("list", "*", func(action kubetesting.Action) (bool, runtime.Object, error) {
		err := forbid(action, action.(kubetesting.ListAction).GetListRestrictions().Fields)
		return err != nil, nil, err
	})
	c.istio.PrependReactor("list", "*", func(action kubetesting.Action) (bool, runtime.Object, error) {
		err := forbid(action, fields.Everything())
		return err != nil, nil, err
	})
	return c
}

func (c *cluster) forbid(what string, is bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forbidden[what] = is
}

// told returns the Events that were written, by their object, reason and beginning.
func (c *cluster) told() string {
	list, err := c.EventsV1().Events(metav1.NamespaceAll).List(context.Background(), metav1.ListOptions{})
	if err != nil {
		return err.Error()
	}
	var lines []string
	for _, event := range list.Items {
		sentence, _, _ := strings.Cut(event.Note, ".")
		lines = append(lines, fmt.Sprintf("%s %s/%s %s: %s", event.Type, event.Regarding.Namespace, event.Regarding.Name, event.Reason, sentence))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func configMap(namespace, name string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: data}
}

func injectorMap(config string) *corev1.ConfigMap {
	return configMap("istio-system", "istio-sidecar-injector", map[string]string{"config": config, "values": `{"global":{"proxy":{},"proxy_init":{}}}`})
}

func meshMap() *corev1.ConfigMap {
	return configMap("istio-system", "istio", map[string]string{"mesh": "defaultConfig: {}\n"})
}

// started returns a running configuration of the cluster. Its end is waited for.
func (c *cluster) started(t *testing.T, change ...func(*IstioOptions)) *IstioConfiguration {
	t.Helper()
	c.registry = prometheus.NewRegistry()
	options := IstioOptions{
		Client: c.Clientset, Metadata: c.metadata, Istio: c.istio, Namespace: "istio-system",
		OwnNamespace: "outrigger-system", LastGoodName: "outrigger-last-good",
		Events: &Events{Client: c.Clientset, Instance: "outrigger-0"}, Metrics: NewMetrics(c.registry), Log: logr.Discard(),
	}
	for _, one := range change {
		one(&options)
	}
	configuration := NewIstioConfiguration(options)
	if _, err := configuration.Current(); err == nil {
		t.Error("a configuration is known before the start")
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- configuration.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return configuration
}

// set writes a ConfigMap.
func (c *cluster) set(t *testing.T, object *corev1.ConfigMap) {
	t.Helper()
	configMaps := c.CoreV1().ConfigMaps(object.Namespace)
	_, err := configMaps.Update(t.Context(), object, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		_, err = configMaps.Create(t.Context(), object, metav1.CreateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (c *cluster) remove(t *testing.T, name string) {
	t.Helper()
	if err := c.CoreV1().ConfigMaps("istio-system").Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// outcome is what becomes of a pod now: "injected IMAGE", the denial's message, or the error.
func outcome(configuration *IstioConfiguration) string {
	config, err := configuration.Current()
	if err != nil {
		return "error: " + err.Error()
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "demo"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}}}}
	after, report, err := inject.Pod(inject.Request{Pod: pod, Namespace: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "demo"}}}, config)
	if err != nil {
		return "error: " + err.Error()
	}
	if report.Result != inject.Injected {
		return string(report.Result) + " " + sentence(report)
	}
	for _, container := range append(after.Spec.InitContainers, after.Spec.Containers...) {
		if container.Name == "istio-proxy" {
			return "injected " + container.Image
		}
	}
	return "injected nothing"
}

// becomes waits until a pod would come out so. The fake API server loses what is written between a list and its watch,
// so what is expected is written again by again, if given.
func becomes(t *testing.T, configuration *IstioConfiguration, want string, again ...func()) {
	t.Helper()
	eventually(t, func() string { return outcome(configuration) }, want, again...)
}

func eventually(t *testing.T, what func() string, want string, again ...func()) {
	t.Helper()
	got := ""
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if got = what(); strings.Contains(got, want) {
			return
		}
		for _, one := range again {
			one()
		}
	}
	t.Fatalf("it does not become %q; it is %q", want, got)
}

func (c *cluster) valid(t *testing.T) func() string {
	return func() string {
		return strings.Join(counted(t, c.registry, "outrigger_istio_configuration_valid"), "")
	}
}

func TestTheConfigurationIsReadAndFollowed(t *testing.T) {
	c := newCluster(injectorMap(goodConfig("first")), meshMap())
	configuration := c.started(t)
	becomes(t, configuration, "injected first")
	eventually(t, c.valid(t), "1")
	becomes(t, configuration, "injected second", func() { c.set(t, injectorMap(goodConfig("second"))) })
}

func TestWithoutIstioPodsAreDeniedAndItIsPickedUpWhenItComes(t *testing.T) {
	c := newCluster()
	configuration := c.started(t)
	becomes(t, configuration, "denied NoIstioConfiguration: ConfigMap istio-system/istio-sidecar-injector")
	becomes(t, configuration, "denied NoIstioConfiguration: ConfigMap istio-system/istio:", func() { c.set(t, injectorMap(goodConfig("first"))) })
	eventually(t, c.valid(t), "0")
	becomes(t, configuration, "injected first", func() { c.set(t, meshMap()) })
	eventually(t, c.valid(t), "1")
}

func TestARevisionHasItsOwnConfigMaps(t *testing.T) {
	c := newCluster(injectorMap(goodConfig("first")), meshMap())
	configuration := c.started(t, func(o *IstioOptions) { o.Settings.Revision = "1-31" })
	becomes(t, configuration, "denied NoIstioConfiguration: ConfigMap istio-system/istio-sidecar-injector-1-31")
}

// A revisioned install has no ConfigMaps without a suffix: the default tag says which revision stands for it.
func TestTheDefaultTagIsFollowedWhereThereIsNoUnsuffixedConfigMap(t *testing.T) {
	tag := func(revision string) *admissionregistrationv1.MutatingWebhookConfiguration {
		return &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: defaultTag, Labels: map[string]string{api.LabelRevision: revision}}}
	}
	of := func(revision, image string) []runtime.Object {
		return []runtime.Object{
			configMap("istio-system", "istio-sidecar-injector-"+revision, injectorMap(goodConfig(image)).Data),
			configMap("istio-system", "istio-"+revision, meshMap().Data),
		}
	}
	c := newCluster(append(append(of("a", "first"), of("b", "second")...), tag("a"))...)
	configuration := c.started(t)
	becomes(t, configuration, "injected first")
	eventually(t, func() string {
		kept, err := c.CoreV1().ConfigMaps("outrigger-system").Get(t.Context(), "outrigger-last-good", metav1.GetOptions{})
		return fmt.Sprint(err, kept.Data[keyRevision])
	}, "<nil>a")
	retag := func(revision string) func() {
		return func() {
			if _, err := c.AdmissionregistrationV1().MutatingWebhookConfigurations().Update(t.Context(), tag(revision), metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	becomes(t, configuration, "injected second", retag("b"))
	c.forbid("configmaps istio-sidecar-injector-c", true)
	eventually(t, c.valid(t), "0", retag("c"))
	if got := outcome(configuration); got != "injected second" {
		t.Errorf("got %q", got)
	}
	becomes(t, c.started(t), "denied IstioConfigurationForbidden: ConfigMap istio-system/istio-sidecar-injector-c: Outrigger has no permission to read it. "+
		"Allow it: helm upgrade outrigger charts/outrigger -n outrigger-system --reset-then-reuse-values --set istio.revisions={c}")
	becomes(t, configuration, "injected third", func() { c.set(t, injectorMap(goodConfig("third"))); c.set(t, meshMap()) })
}

func TestAForbiddenConfigurationIsToldWithTheLineThatAllowsIt(t *testing.T) {
	c := newCluster(configMap("istio-system", "istio-sidecar-injector-1-31", injectorMap(goodConfig("first")).Data), configMap("istio-system", "istio-1-31", meshMap().Data))
	c.forbid("configmaps istio-sidecar-injector-1-31", true)
	configuration := c.started(t, func(o *IstioOptions) { o.Settings.Revision = "1-31" })
	becomes(t, configuration, "denied IstioConfigurationForbidden: ConfigMap istio-system/istio-sidecar-injector-1-31: Outrigger has no permission to read it. "+
		"Allow it: helm upgrade outrigger charts/outrigger -n outrigger-system --reset-then-reuse-values --set istio.revisions={1-31}")
	c.forbid("configmaps istio-sidecar-injector-1-31", false)
	becomes(t, configuration, "injected first")
}

func TestABadConfigurationNeverReplacesAGoodOne(t *testing.T) {
	c := newCluster(injectorMap(goodConfig("first")), meshMap())
	configuration := c.started(t)
	becomes(t, configuration, "injected first")
	eventually(t, c.kept(t), goodConfig("first"))

	eventually(t, c.valid(t), "0", func() { c.set(t, injectorMap(brokenConfig)) })
	if got := outcome(configuration); got != "injected first" {
		t.Errorf("got %q", got)
	}
	eventually(t, c.told, "Warning istio-system/istio-sidecar-injector "+string(reasonOfBroken(t))+": The last good one stays in use")

	// Also across a restart, in the middle of the bad one.
	restarted := c.started(t)
	becomes(t, restarted, "injected first")
	eventually(t, c.valid(t), "0")
	becomes(t, restarted, "injected second", func() { c.set(t, injectorMap(goodConfig("second"))) })
	eventually(t, c.kept(t), goodConfig("second"))
}

func (c *cluster) kept(t *testing.T) func() string {
	return func() string {
		kept, err := c.CoreV1().ConfigMaps("outrigger-system").Get(t.Context(), "outrigger-last-good", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return kept.Data["config"]
	}
}

func TestABadConfigurationWithoutAGoodOneDenies(t *testing.T) {
	c := newCluster(injectorMap(brokenConfig), meshMap())
	becomes(t, c.started(t), "denied "+string(reasonOfBroken(t)))
}

// reasonOfBroken is the word that inject itself has for it.
func reasonOfBroken(t *testing.T) api.InjectReason {
	t.Helper()
	config, problems, err := inject.Parse(inject.Source{Config: brokenConfig, Values: "{}"})
	if config != nil {
		t.Fatal("the broken configuration parses")
	}
	if err == nil && len(problems) > 0 {
		return problems[0].Reason
	}
	return api.InjectIstioConfigurationRefused
}

func TestADeletedConfigurationStaysInUse(t *testing.T) {
	c := newCluster(injectorMap(goodConfig("first")), meshMap())
	configuration := c.started(t)
	becomes(t, configuration, "injected first")
	c.remove(t, "istio-sidecar-injector")
	eventually(t, c.valid(t), "0", func() {
		// The fake loses a deletion between a list and its watch: once more.
		c.set(t, injectorMap(goodConfig("first")))
		c.remove(t, "istio-sidecar-injector")
	})
	if got := outcome(configuration); got != "injected first" {
		t.Errorf("got %q", got)
	}
}

func TestAGoodConfigurationIsKeptOnceByManyReplicas(t *testing.T) {
	c := newCluster(injectorMap(goodConfig("first")), meshMap())
	first := c.started(t)
	becomes(t, first, "injected first")
	eventually(t, c.kept(t), goodConfig("first"))
	c.ClearActions()
	second := c.started(t)
	becomes(t, second, "injected first")
	for _, action := range c.Actions() {
		if action.Matches("update", "configmaps") {
			t.Error("what is kept already was written again")
		}
	}
}

// While ProxyConfig resources are known to exist and not read, a pod would come out without them: no answer is given.
func TestProxyConfigsThatAreNotReadYetAreAnError(t *testing.T) {
	c := newCluster(injectorMap(goodConfig("first")), meshMap())
	c.forbid("proxyconfigs ", true)
	configuration := c.started(t)
	becomes(t, configuration, "injected first")
	crd := &metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition"},
		ObjectMeta: metav1.ObjectMeta{Name: proxyConfigCRD},
	}
	crds := schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	add := func() {
		if err := c.metadata.Tracker().Create(crds, crd, ""); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
		if err := c.metadata.Tracker().Update(crds, crd, ""); err != nil {
			t.Fatal(err)
		}
	}
	becomes(t, configuration, "error: reading ProxyConfig resources", add)
	c.forbid("proxyconfigs ", false)
	becomes(t, configuration, "injected first")
	if err := c.metadata.Tracker().Delete(crds, "", proxyConfigCRD); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		config, err := configuration.Current()
		return fmt.Sprint(config != nil, err)
	}, "true <nil>")
}

func TestFactsOfTheClusterReachTheConfiguration(t *testing.T) {
	node := func(name, kubelet string) *corev1.Node {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
		n.Status.NodeInfo.KubeletVersion = kubelet
		return n
	}
	c := newCluster(injectorMap(goodConfig("first")), meshMap(), node("b", "v1.37.2"), node("a", "v1.32.0"))
	configuration := c.started(t)
	becomes(t, configuration, "injected first")
	facts, err := configuration.facts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"a": "v1.32.0", "b": "v1.37.2"}, facts.Nodes); diff != "" {
		t.Error(diff)
	}

	// One more old node changes no pod, so what the configuration has worked out is kept; without old nodes it is not.
	current := func() *inject.Config {
		config, err := configuration.Current()
		if err != nil {
			t.Fatal(err)
		}
		return config
	}
	kept, answered := current(), configuration.current.Load()
	if _, err := c.CoreV1().Nodes().Create(t.Context(), node("c", "v1.31.0"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string { return fmt.Sprint(configuration.current.Load() != answered) }, "true") // it has looked again
	if current() != kept {
		t.Error("one more old node made the configuration forget what it knew")
	}
	for _, name := range []string{"a", "c"} {
		if err := c.CoreV1().Nodes().Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, func() string { return fmt.Sprint(current() != kept) }, "true")
}

func TestNodesAreNotReadWhereASettingDecides(t *testing.T) {
	c := newCluster(injectorMap(goodConfig("first")), meshMap())
	c.forbid("nodes ", true)
	becomes(t, c.started(t, func(o *IstioOptions) { o.Settings.NativeSidecars = "enabled" }), "injected first")
	becomes(t, c.started(t), "error: reading nodes")
}

// The certificate's record of CAs is in the same ConfigMap: a write of it that comes between costs one more try, and is
// kept.
func TestAConflictDoesNotCostTheLastGoodConfiguration(t *testing.T) {
	c := newCluster(injectorMap(goodConfig("first")), meshMap())
	const record = "outrigger.dev/certificate-authorities"
	var once sync.Once
	c.PrependReactor("update", "configmaps", func(kubetesting.Action) (refused bool, _ runtime.Object, err error) {
		once.Do(func() {
			refused, err = true, apierrors.NewConflict(corev1.Resource("configmaps"), "outrigger-last-good", nil)
			changed := configMap("outrigger-system", "outrigger-last-good", nil)
			changed.Annotations = map[string]string{record: "{}"}
			if err := c.Tracker().Update(corev1.SchemeGroupVersion.WithResource("configmaps"), changed, "outrigger-system"); err != nil {
				t.Error(err)
			}
		})
		return refused, nil, err
	})
	c.started(t)
	eventually(t, func() string {
		kept, err := c.CoreV1().ConfigMaps("outrigger-system").Get(t.Context(), "outrigger-last-good", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		return fmt.Sprintf("kept %t, record %q", kept.Data["config"] == goodConfig("first"), kept.Annotations[record])
	}, `kept true, record "{}"`)
}
