// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
)

// alike makes a kind of pods in a namespace, with the image of their proxy, or none.
func alike(id string, pods int, namespace, image string) api.PodKind {
	return api.PodKind{ID: id, Pods: pods, Pod: func() *corev1.Pod {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Labels: map[string]string{"app": id}}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}}}}
		if image != "" {
			pod.Annotations = map[string]string{"sidecar.istio.io/status": `{"containers":["istio-proxy"],"revision":"default"}`}
			pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: "istio-proxy", Image: image})
		}
		return pod
	}}
}

// counting is what a Coverage sees.
type counting struct {
	pods   []api.PodKind
	absent bool // of the pods nothing is known
	config *inject.Config
	err    error
	asked  chan bool // hears of each count; nil if nobody listens
}

func (c *counting) Current() (*inject.Config, error) {
	if c.asked != nil {
		c.asked <- true
	}
	return c.config, c.err
}

func (c *counting) Namespace(_ context.Context, name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

func (c *counting) Selects(_ context.Context, namespace *corev1.Namespace, _ map[string]string) (bool, error) {
	return namespace.Name == "mesh", nil
}

const imageTemplate = `
policy: enabled
templates:
  sidecar: |
    spec:
      containers: [{name: istio-proxy, image: "{{ .Values.global.hub }}/proxyv2:1"}]
`

func imageConfig(t *testing.T, hub string) *inject.Config {
	t.Helper()
	config, _, err := inject.Parse(inject.Source{Config: imageTemplate, Values: `{"global": {"hub": "` + hub + `"}}`})
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func TestCoverageCountsPods(t *testing.T) {
	var log []string
	sees := &counting{config: imageConfig(t, "hub1"), pods: []api.PodKind{
		alike("a", 3, "mesh", "hub1/proxyv2:1"), alike("b", 2, "mesh", "hub0/proxyv2:1"), alike("c", 5, "mesh", ""), alike("d", 100, "other", ""), alike("e", 0, "mesh", ""),
	}}
	registry := prometheus.NewRegistry()
	coverage := NewCoverage(CoverageOptions{
		Pods:       func() ([]api.PodKind, bool) { return sees.pods, !sees.absent },
		Namespaces: sees, Config: sees, Entries: sees, Registerer: registry,
		Log: funcr.New(func(_, args string) { log = append(log, args) }, funcr.Options{}),
	})
	shows := func(what string, want ...string) {
		t.Helper()
		if err := coverage.count(t.Context()); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if diff := cmp.Diff(want, counted(t, registry, "outrigger_coverage_pods")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	before := []string{"reason=DifferentImage state=outdated 2", "reason=NoSidecar state=missing 5", "reason=UpToDate state=covered 3"}
	shows("at first", before...)
	sees.pods[0].Pods = 4
	before[2] = "reason=UpToDate state=covered 4"
	shows("one more", before...)
	sees.config = imageConfig(t, "hub0")
	after := []string{"reason=DifferentImage state=outdated 4", "reason=NoSidecar state=missing 5", "reason=UpToDate state=covered 2"}
	shows("another configuration", after...)
	sees.absent = true
	shows("nothing is known of pods", after...)
	sees.absent, sees.pods = false, nil
	shows("no pods at all")

	sees.err, sees.asked = errors.New("not known yet"), make(chan bool)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- coverage.Start(ctx) }()
	for range 3 {
		<-sees.asked // it goes on
	}
	stop()
	for running := true; running; {
		select {
		case <-sees.asked:
		case err := <-ended:
			if running = false; err != nil {
				t.Error(err)
			}
		}
	}
	if len(log) != 1 || !strings.Contains(log[0], "not known yet") {
		t.Errorf("the same error is logged once, not %q", log)
	}
}
