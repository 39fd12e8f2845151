// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	typev1beta1 "istio.io/api/type/v1beta1"
	networkingv1beta1 "istio.io/client-go/pkg/apis/networking/v1beta1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"outrigger.dev/outrigger/inject"
)

// replica returns the JSON of the n-th pod of a Deployment as the API server sends it, changed by an overlay.
func replica(t testing.TB, n int, overlay string) []byte {
	t.Helper()
	suffix := string(rune('b'+n%7)) + string(rune('k'+n/7%7)) + "2x9"
	text := fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata:
  name: shop-7c9d-%[1]s
  generateName: shop-7c9d-
  namespace: demo
  uid: 0b0c1de4-91cb-4b0e-8b6a-%012[2]d
  creationTimestamp: "2026-11-24T08:00:%02[3]dZ"
  labels: {app: shop, pod-template-hash: 7c9d}
  managedFields: [{manager: kube-controller-manager, operation: Update, time: "2026-11-24T08:00:%02[3]dZ"}]
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: shop-7c9d, uid: 5a1d9f5e-7f67-4a39-8c07-3a7f0c6b7f11, controller: true}]
spec:
  containers:
  - name: app
    image: registry.example/shop:1
    volumeMounts: [{name: kube-api-access-%[1]s, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}]
  volumes: [{name: kube-api-access-%[1]s, projected: {sources: [{serviceAccountToken: {path: token}}]}}]
`, suffix, n, n%60)
	pod := &corev1.Pod{}
	if err := yaml.Unmarshal([]byte(text), pod); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal([]byte(overlay), pod); err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// smallConfig is the configuration of inject/testdata/small.yaml, changed.
func smallConfig(t testing.TB, change func(*inject.Source)) *inject.Config {
	t.Helper()
	text, err := os.ReadFile("../inject/testdata/small.yaml")
	if err != nil {
		t.Fatal(err)
	}
	source := inject.Source{Config: string(text), Values: `{"global": {"hub": "registry.example/istio", "tag": "1.31.1", "proxy": {"image": "proxyv2"}}, "sidecarInjectorWebhook": {"rewriteAppHTTPProbe": true}}`}
	if change != nil {
		change(&source)
	}
	config, problems, err := inject.Parse(source)
	if err != nil || len(problems) > 0 {
		t.Fatalf("Parse: %v %v", problems, err)
	}
	return config
}

type reviewer func(inject.Received, *inject.Config) (inject.Answer, error)

// of returns the answer for a pod of namespace demo.
func (review reviewer) of(t testing.TB, raw []byte, config *inject.Config) inject.Answer {
	t.Helper()
	answer, err := review(inject.Received{JSON: raw, NamespaceName: "demo", Namespace: &corev1.Namespace{}}, config)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// Replicas get the answer of the first two, and it is the one that each would have got alone.
func TestReplicasShareAnAnswer(t *testing.T) {
	config, cached := smallConfig(t, nil), reviewer(new(answers).review)
	for n := range 6 {
		raw := replica(t, n, "")
		got, want := cached.of(t, raw, config), reviewer(inject.Review).of(t, raw, config)
		if diff := cmp.Diff(string(want.Patch), string(got.Patch)); diff != "" || want.Report.Result != inject.Injected {
			t.Fatalf("replica %d: %+v (-alone +shared):\n%s", n, want.Report, diff)
		}
		if shared := got.Pod == nil; shared != (n >= 2) {
			t.Errorf("replica %d: answered from the cache: %v, want it from the third on", n, shared)
		}
	}
}

// The same pod twice is no second replica: that its name does not matter is not seen by it.
func TestSamePodTwiceIsNoReplica(t *testing.T) {
	config, cached := smallConfig(t, nil), reviewer(new(answers).review)
	for range 4 {
		if got := cached.of(t, replica(t, 1, ""), config); got.Pod == nil {
			t.Fatal("a pod that was sent again got an answer from the cache")
		}
	}
}

// Nobody gets an answer from the cache who could get another one without it.
func TestPodsThatShareNoAnswer(t *testing.T) {
	template := func(old, replacement string) func(*inject.Source) {
		return func(s *inject.Source) {
			s.Config = strings.Replace(s.Config, old, replacement, 1)
			if !strings.Contains(s.Config, replacement) {
				t.Fatalf("the test's template does not hold %q", old)
			}
		}
	}
	owner := `value: "{{ .TypeMeta.Kind }}/{{ .DeploymentMeta.Name }}"`
	for behaviour, test := range map[string]struct {
		source  func(*inject.Source)
		overlay string
	}{
		"a template that prints the pod's name":   {template(owner, `value: "{{ .ObjectMeta.Name }}"`), ""},
		"a template that looks at the pod's name": {template(owner, `value: "{{ if hasPrefix .ObjectMeta.Name "shop" }}a{{ end }}"`), ""},
		"a template that looks at the pod's UID":  {template(owner, `value: "{{ len $.ObjectMeta.UID }}"`), ""},
		"a template that passes the metadata on":  {template(owner, `value: "{{ with $m := .ObjectMeta }}{{ len $m.Name }}{{ end }}"`), ""},
		"a template that looks at the volumes":    {template(owner, `value: "{{ len .Spec.Volumes }}"`), ""},
		"a template that tells the time":          {template(owner, `value: "{{ now | date "2006" }}"`), ""},
		"a template that draws lots":              {template(owner, `value: "{{ randAlpha 3 | len }}"`), ""},
		"a pod that no controller made":           {nil, "metadata: {ownerReferences: []}"},
		"a pod with a name of its own":            {nil, "metadata: {generateName: ''}"},
		"a pod that names its node":               {nil, "spec: {nodeName: one}"},
		"a pod that is worth a warning":           {nil, `metadata: {labels: {sidecar.istio.io/inject: "yes"}}`},
		"a pod whose own proxy mounts the token":  {nil, "spec: {containers: [{name: istio-proxy, image: auto, volumeMounts: [{name: kube-api-access-bk2x9, mountPath: /t}]}]}"},
	} {
		t.Run(behaviour, func(t *testing.T) {
			config, cached := smallConfig(t, test.source), reviewer(new(answers).review)
			for n := range 5 {
				if got := cached.of(t, replica(t, n*7, test.overlay), config); got.Pod == nil {
					t.Fatalf("the %dth pod got an answer from the cache", n+1)
				}
			}
		})
	}
}

// Whatever an answer depends on is part of its key, or drops the cache: each input is changed in turn.
func TestEveryInputChangesTheAnswer(t *testing.T) {
	cached := new(answers)
	warm := func(t *testing.T, config *inject.Config, change func(*inject.Received)) inject.Answer {
		t.Helper()
		var last inject.Answer
		for n := range 4 {
			received := inject.Received{JSON: replica(t, n, ""), NamespaceName: "demo", Namespace: &corev1.Namespace{}}
			change(&received)
			var err error
			if last, err = cached.review(received, config); err != nil {
				t.Fatal(err)
			}
		}
		return last
	}
	none := func(*inject.Received) {}
	openShift := smallConfig(t, func(s *inject.Source) {
		s.Settings.Platform = "openshift"
		s.Config = strings.Replace(s.Config, "image: {{ .ProxyImage }}", "image: {{ .ProxyImage }}\n        securityContext: {runAsUser: {{ .ProxyUID }}, runAsGroup: {{ .ProxyGID }}}", 1)
	})
	ranges := func(user, group string) *corev1.Namespace {
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{
			"openshift.io/sa.scc.uid-range": user, "openshift.io/sa.scc.supplemental-groups": group,
		}}}
	}
	base := warm(t, openShift, none)
	if base.Pod != nil {
		t.Fatal("the fourth replica did not get an answer from the cache, so this test shows nothing")
	}
	for input, change := range map[string]func(*inject.Received){
		"the path of the call":   func(r *inject.Received) { r.Path = "/inject/cluster/c1" },
		"the namespace's users":  func(r *inject.Received) { r.Namespace = ranges("1000/10", "") },
		"the namespace's groups": func(r *inject.Received) { r.Namespace = ranges("", "1000/10") },
		"an annotation of the pod": func(r *inject.Received) {
			r.JSON = replica(t, 1, "metadata: {annotations: {sidecar.istio.io/logLevel: debug}}")
		},
		"a ProxyConfig annotation": func(r *inject.Received) {
			r.JSON = replica(t, 1, "metadata: {annotations: {proxy.istio.io/config: 'concurrency: 3'}}")
		},
		"a label of the pod": func(r *inject.Received) { r.JSON = replica(t, 1, `metadata: {labels: {topology.istio.io/network: n}}`) },
		"a probe of the application": func(r *inject.Received) {
			r.JSON = replica(t, 1, "spec: {containers: [{name: app, readinessProbe: {httpGet: {port: 80}}}]}")
		},
		"the owner": func(r *inject.Received) {
			r.JSON = replica(t, 1, "metadata: {ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: other-7c9d, uid: u, controller: true}]}")
		},
		"how the name is generated": func(r *inject.Received) { r.JSON = replica(t, 1, "metadata: {generateName: '', ownerReferences: []}") },
		"the request's namespace, where the pod has none": func(r *inject.Received) {
			r.JSON, r.NamespaceName = replica(t, 1, "metadata: {namespace: '', labels: {sidecar.istio.io/inject: 'true'}}"), "kube-system"
		},
	} {
		t.Run(input, func(t *testing.T) {
			if got := warm(t, openShift, change); string(got.Patch) == string(base.Patch) {
				t.Errorf("it does not change the answer: %s", got.Patch)
			}
		})
	}
	resource := &networkingv1beta1.ProxyConfig{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "demo"}}
	resource.Spec.EnvironmentVariables = map[string]string{"OF": "the-resource"}
	selecting := resource.DeepCopy()
	selecting.Spec.Selector = &typev1beta1.WorkloadSelector{MatchLabels: map[string]string{"app": "shop"}}
	for fact, facts := range map[string]inject.Facts{
		"an old node":      {Nodes: map[string]string{"old": "v1.30.0"}},
		"a ProxyConfig":    {ProxyConfigs: []*networkingv1beta1.ProxyConfig{resource}},
		"one that selects": {ProxyConfigs: []*networkingv1beta1.ProxyConfig{selecting}},
	} {
		t.Run(fact, func(t *testing.T) {
			auto := smallConfig(t, func(s *inject.Source) { s.Settings.NativeSidecars = "auto" })
			before := warm(t, auto, none)
			if after := warm(t, auto.With(facts), none); string(after.Patch) == string(before.Patch) {
				t.Errorf("it does not change the answer: %s", after.Patch)
			}
		})
	}
}

// Facts that change no decision keep the answers; facts that change one drop them.
func TestUnrelatedFactsKeepAnswers(t *testing.T) {
	config, cached := smallConfig(t, func(s *inject.Source) { s.Settings.NativeSidecars = "auto" }), reviewer(new(answers).review)
	config = config.With(inject.Facts{Nodes: map[string]string{"a": "v1.34.1"}})
	for n := range 3 {
		cached.of(t, replica(t, n, ""), config)
	}
	more := config.With(inject.Facts{Nodes: map[string]string{"a": "v1.34.1", "b": "v1.35.0"}})
	if got := cached.of(t, replica(t, 4, ""), more); got.Pod != nil {
		t.Error("one more node dropped the answers")
	}
	old := more.With(inject.Facts{Nodes: map[string]string{"a": "v1.34.1", "old": "v1.30.0"}})
	if got := cached.of(t, replica(t, 5, ""), old); got.Pod == nil {
		t.Error("a node without native sidecars did not drop the answers")
	}
}

// Answers for workloads without end do not exceed the limit, and the latest one is there.
func TestAnswersAreBounded(t *testing.T) {
	config, kept := smallConfig(t, nil), &answers{cache: boundedCache{limit: 200_000}}
	cached := reviewer(kept.review)
	for n := range 500 {
		overlay := fmt.Sprintf("metadata: {annotations: {n: '%d'}}", n)
		for i := range 3 {
			got := cached.of(t, replica(t, i, overlay), config)
			if shared := got.Pod == nil; shared != (i == 2) {
				t.Fatalf("workload %d, replica %d: shared %v", n, i, shared)
			}
		}
		if kept.cache.bytes > kept.cache.limit {
			t.Fatalf("%d bytes, limit %d", kept.cache.bytes, kept.cache.limit)
		}
	}
	entries, held := kept.cache.entries.Len(), kept.cache.bytes
	for kept.cache.entries.Len() > 0 {
		kept.cache.entries.RemoveOldest()
	}
	if kept.cache.bytes != 0 || held < kept.cache.limit/2 {
		t.Errorf("%d entries had %d bytes; without them, %d are counted", entries, held, kept.cache.bytes)
	}
	huge := "metadata: {annotations: {n: '" + strings.Repeat("x", kept.cache.limit/16) + "'}}"
	for n := range 4 {
		if got := cached.of(t, replica(t, n, huge), config); got.Pod == nil {
			t.Error("an answer larger than a sixteenth of the limit was kept")
		}
	}
}

// A name of another pod fills a hole only if YAML reads both as strings.
func TestNamesOfAnotherPodKeepTheirType(t *testing.T) {
	config := smallConfig(t, func(s *inject.Source) {
		s.Config = strings.Replace(s.Config, `        volumeMounts: [{name: istio-data`, `        - {name: BARE, value: {{ annotation .ObjectMeta "bare" "word" }}}
        - {name: QUOTED, value: "{{ annotation .ObjectMeta "quoted" "word" }}"}
        - {name: BESIDE, value: 1{{ annotation .ObjectMeta "beside" "word" }}}
        # {{ annotation .ObjectMeta "comment" "word" }}
        volumeMounts: [{name: istio-data`, 1)
	})
	cached := new(answers)
	for _, word := range []string{"word", "other", "e3", "1", "true", "on", "null", "0x1f", "1e3", "x.y/z-1_2", "12_3", "Off", "~", "word"} {
		for _, place := range []string{"bare", "quoted", "beside", "comment"} {
			received := inject.Received{JSON: replica(t, 1, fmt.Sprintf("metadata: {annotations: {%s: %q}}", place, word)), NamespaceName: "demo"}
			got, gotErr := cached.review(received, config)
			want, wantErr := inject.Review(received, config)
			if fmt.Sprint(gotErr) != fmt.Sprint(wantErr) || string(got.Patch) != string(want.Patch) || !cmp.Equal(got.Report, want.Report) {
				t.Errorf("%s=%q: %v %v\n%s", place, word, gotErr, wantErr, cmp.Diff(string(want.Patch), string(got.Patch)))
			}
		}
	}
}
