// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	typev1beta1 "istio.io/api/type/v1beta1"
	networkingv1beta1 "istio.io/client-go/pkg/apis/networking/v1beta1"
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

func reviewed(t testing.TB, raw []byte, config *Config) Answer {
	t.Helper()
	answer, err := Review(Received{JSON: raw, NamespaceName: "demo", Namespace: &corev1.Namespace{}}, config)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// Replicas get the answer of the first two, and it is the one that each would have got alone.
func TestReplicasShareAnAnswer(t *testing.T) {
	config := parsed(t, nil)
	for n := range 6 {
		raw := replica(t, n, "")
		got, want := reviewed(t, raw, config), reviewed(t, raw, config.Uncached())
		if diff := cmp.Diff(string(want.Patch), string(got.Patch)); diff != "" || want.Report.Result != Injected {
			t.Fatalf("replica %d: %+v (-alone +shared):\n%s", n, want.Report, diff)
		}
		if shared := got.Pod == nil; shared != (n >= 2) {
			t.Errorf("replica %d: answered from the cache: %v, want it from the third on", n, shared)
		}
	}
}

// The same pod twice is no second replica: that its name does not matter is not seen by it.
func TestSamePodTwiceIsNoReplica(t *testing.T) {
	config := parsed(t, nil)
	for range 4 {
		if got := reviewed(t, replica(t, 1, ""), config); got.Pod == nil {
			t.Fatal("a pod that was sent again got an answer from the cache")
		}
	}
}

// Nobody gets an answer from the cache who could get another one without it.
func TestPodsThatShareNoAnswer(t *testing.T) {
	template := func(old, replacement string) func(*Source) {
		return func(s *Source) {
			s.Config = strings.Replace(s.Config, old, replacement, 1)
			if !strings.Contains(s.Config, replacement) {
				t.Fatalf("the test's template does not hold %q", old)
			}
		}
	}
	owner := `value: "{{ .TypeMeta.Kind }}/{{ .DeploymentMeta.Name }}"`
	for behaviour, test := range map[string]struct {
		source  func(*Source)
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
			config := parsed(t, test.source)
			for n := range 5 {
				if got := reviewed(t, replica(t, n*7, test.overlay), config); got.Pod == nil {
					t.Fatalf("the %dth pod got an answer from the cache", n+1)
				}
			}
		})
	}
}

// Whatever an answer depends on is part of its key, or drops the cache: each input is changed in turn.
func TestEveryInputChangesTheAnswer(t *testing.T) {
	warm := func(t *testing.T, config *Config, change func(*Received)) Answer {
		t.Helper()
		var last Answer
		for n := range 4 {
			received := Received{JSON: replica(t, n, ""), NamespaceName: "demo", Namespace: &corev1.Namespace{}}
			change(&received)
			var err error
			if last, err = Review(received, config); err != nil {
				t.Fatal(err)
			}
		}
		return last
	}
	none := func(*Received) {}
	openShift := parsed(t, func(s *Source) {
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
	for input, change := range map[string]func(*Received){
		"the path of the call":   func(r *Received) { r.Path = "/inject/cluster/c1" },
		"the namespace's users":  func(r *Received) { r.Namespace = ranges("1000/10", "") },
		"the namespace's groups": func(r *Received) { r.Namespace = ranges("", "1000/10") },
		"an annotation of the pod": func(r *Received) {
			r.JSON = replica(t, 1, "metadata: {annotations: {sidecar.istio.io/logLevel: debug}}")
		},
		"a ProxyConfig annotation": func(r *Received) {
			r.JSON = replica(t, 1, "metadata: {annotations: {proxy.istio.io/config: 'concurrency: 3'}}")
		},
		"a label of the pod": func(r *Received) { r.JSON = replica(t, 1, `metadata: {labels: {topology.istio.io/network: n}}`) },
		"a probe of the application": func(r *Received) {
			r.JSON = replica(t, 1, "spec: {containers: [{name: app, readinessProbe: {httpGet: {port: 80}}}]}")
		},
		"the owner": func(r *Received) {
			r.JSON = replica(t, 1, "metadata: {ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: other-7c9d, uid: u, controller: true}]}")
		},
		"how the name is generated": func(r *Received) { r.JSON = replica(t, 1, "metadata: {generateName: '', ownerReferences: []}") },
		"the request's namespace, where the pod has none": func(r *Received) {
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
	for fact, facts := range map[string]Facts{
		"an old node":      {Nodes: map[string]string{"old": "v1.30.0"}},
		"a ProxyConfig":    {ProxyConfigs: []*networkingv1beta1.ProxyConfig{resource}},
		"one that selects": {ProxyConfigs: []*networkingv1beta1.ProxyConfig{selecting}},
	} {
		t.Run(fact, func(t *testing.T) {
			auto := parsed(t, func(s *Source) { s.Settings.NativeSidecars = "auto" })
			before := warm(t, auto, none)
			if after := warm(t, auto.With(facts), none); string(after.Patch) == string(before.Patch) {
				t.Errorf("it does not change the answer: %s", after.Patch)
			}
		})
	}
}

// A word may be one for another pod only where YAML takes both for a string.
func TestWordsOfAnotherPodKeepTheirType(t *testing.T) {
	config := parsed(t, func(s *Source) {
		s.Config = strings.Replace(s.Config, `        volumeMounts: [{name: istio-data`, `        - {name: BARE, value: {{ annotation .ObjectMeta "bare" "word" }}}
        - {name: QUOTED, value: "{{ annotation .ObjectMeta "quoted" "word" }}"}
        - {name: BESIDE, value: 1{{ annotation .ObjectMeta "beside" "word" }}}
        # {{ annotation .ObjectMeta "comment" "word" }}
        volumeMounts: [{name: istio-data`, 1)
	})
	for _, word := range []string{"word", "other", "e3", "1", "true", "on", "null", "0x1f", "1e3", "x.y/z-1_2", "12_3", "Off", "~", "word"} {
		for _, place := range []string{"bare", "quoted", "beside", "comment"} {
			raw := replica(t, 1, fmt.Sprintf("metadata: {annotations: {%s: %q}}", place, word))
			got, gotErr := Review(Received{JSON: raw, NamespaceName: "demo"}, config)
			want, wantErr := Review(Received{JSON: raw, NamespaceName: "demo"}, config.Uncached())
			if fmt.Sprint(gotErr) != fmt.Sprint(wantErr) || string(got.Patch) != string(want.Patch) || !cmp.Equal(got.Report, want.Report) {
				t.Errorf("%s=%q: %v %v\n%s", place, word, gotErr, wantErr, cmp.Diff(string(want.Patch), string(got.Patch)))
			}
		}
	}
}

func TestCacheIsBounded(t *testing.T) {
	const limit = 100_000
	c := newCache(limit)
	for n := range 1000 {
		key := fmt.Appendf(nil, "a%d", n)
		c.put(key, n, n%900)
		c.put(fmt.Appendf(nil, "a%d", n/2), n, 100)
		if c.bytes > limit {
			t.Fatalf("it holds %d bytes, limit %d", c.bytes, limit)
		}
		if got, has := c.get(key); !has || got != n {
			t.Fatalf("what was put last is gone: %v", got)
		}
	}
	held := 0
	for _, e := range c.entries {
		held += e.Value.(*entry).cost
	}
	if held != c.bytes || len(c.entries) != c.recent.Len() || held < limit/2 {
		t.Errorf("%d entries of %d bytes in a list of %d and a count of %d", len(c.entries), held, c.recent.Len(), c.bytes)
	}
	c.put([]byte("a-giant"), 1, largestEntry)
	if _, has := c.get([]byte("a-giant")); has {
		t.Error("an entry over the limit of one was kept")
	}
}

// Distinct pods without end do not make the cache grow over its limit.
func TestDistinctPodsStayBounded(t *testing.T) {
	config := parsed(t, nil)
	config.cache.limit = 200_000
	for n := range 2000 {
		reviewed(t, replica(t, n, fmt.Sprintf("metadata: {annotations: {n: '%d', sidecar.istio.io/logLevel: '%d'}}", n, n)), config)
	}
	if config.cache.bytes > config.cache.limit || config.cache.bytes < config.cache.limit/2 {
		t.Errorf("it holds %d bytes, limit %d", config.cache.bytes, config.cache.limit)
	}
}

// The scanner finds what encoding/json finds.
func TestScannerAgreesWithJSON(t *testing.T) {
	for _, text := range []string{
		`{}`, ` { } `, `{"a":1}`, `{"a": "}\"{" , "b":[1,[2,{"c":"]"}],null,true,-1.5e3],"a":{"d":{}}}`, "{\n\t\"k\" :\r\n \"\\\\\" }",
	} {
		var want map[string]json.RawMessage
		if err := json.Unmarshal([]byte(text), &want); err != nil {
			t.Fatal(err)
		}
		got, err := fieldsOf([]byte(text))
		if err != nil || len(got) != len(want) {
			t.Fatalf("%s: %v %v", text, got, err)
		}
		for key := range want {
			if string(got[key]) != string(want[key]) {
				t.Errorf("%s: %s is %s, want %s", text, key, got[key], want[key])
			}
		}
	}
	for _, text := range []string{``, `{`, `[`, `{"a"`, `{"a":`, `{"a":}`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{"a":"`, `{"a":"\`, `[]`, `{} {}`, `{"a":[1}`} {
		if got, err := fieldsOf([]byte(text)); err == nil && json.Valid([]byte(text)) {
			t.Errorf("%q: %v", text, got)
		}
	}
	list, err := elements([]byte(` [ {"a":[1]} , "x,]" ,3 ] `))
	if want := []string{`{"a":[1]}`, `"x,]"`, `3`}; err != nil || fmt.Sprintf("%s", list) != fmt.Sprint(want) {
		t.Errorf("elements: %s %v", list, err)
	}
}

func FuzzScanner(f *testing.F) {
	f.Add([]byte(`{"metadata":{"name":"a","uid":"b"},"spec":{"volumes":[{"name":"kube-api-access-abcde"}]}}`))
	f.Add([]byte(`{"a":"\`))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := fieldsOf(text)
		var want map[string]json.RawMessage
		valid := json.Unmarshal(text, &want) == nil && want != nil
		if valid && err == nil {
			for key := range want {
				if !strings.ContainsAny(key, "\\\ufffd") && string(got[key]) != string(want[key]) {
					t.Errorf("%s: %s is %s, want %s", text, key, got[key], want[key])
				}
			}
		}
		spans, err := replicaSpans(text)
		if err != nil {
			return
		}
		last := 0
		for _, s := range spans {
			if s.from < last || s.to < s.from || s.to > len(text) {
				t.Fatalf("%s: spans %v", text, spans)
			}
			last = s.to
		}
	})
}
