// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
)

// A pod with more containers or volumes than the settings allow is denied by every way in, whatever their kind and however
// little each says; a pod that is not to be injected is none of our business.
func TestAbsurdPodsAreDenied(t *testing.T) {
	config := parsed(t, func(s *Source) { s.Settings.MaxContainers, s.Settings.MaxVolumes = 5, 3 })
	list := func(many int) string {
		return "[" + strings.TrimSuffix(strings.Repeat(`{"name":"x"},`, many), ",") + "]"
	}
	for _, c := range []struct {
		name, spec, labels string
		result             Result
		says               string
	}{
		{"as many containers as are allowed", `"containers":[{"name":"a"},{"name":"b"},{"name":"c"}],"initContainers":[{"name":"d"},{"name":"e"}]`, "", Injected, ""},
		{"one more", `"containers":[{"name":"a"},{"name":"b"},{"name":"c"}],"initContainers":[{"name":"d"},{"name":"e"},{"name":"f"}]`, "", Denied, "6 containers; at most 5"},
		{"ephemeral ones", `"containers":[{"name":"a"}],"ephemeralContainers":` + list(5), "", Denied, "6 containers; at most 5"},
		{"volumes", `"containers":[{"name":"a"}],"volumes":` + list(4), "", Denied, "4 volumes; at most 3"},
		{"in other letters", `"CONTAINERS":` + list(6), "", Denied, "6 containers; at most 5"},
		{"opted out", `"containers":` + list(6), `"sidecar.istio.io/inject":"false"`, Skipped, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			raw := fmt.Sprintf(`{"metadata":{"name":"app","labels":{%s}},"spec":{%s},"status":{"message":%q}}`, c.labels, c.spec, strings.Repeat("x", largeStatus))
			answer, err := Review(Received{JSON: []byte(raw), NamespaceName: "demo", Namespace: &corev1.Namespace{}}, config)
			if err != nil {
				t.Fatal(err)
			}
			decoded := &corev1.Pod{}
			if err := json.Unmarshal([]byte(raw), decoded); err != nil {
				t.Fatal(err)
			}
			_, report, err := Pod(Request{Pod: decoded, Namespace: &corev1.Namespace{}}, config)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range []Report{answer.Report, report} {
				if r.Result != c.result || !strings.Contains(r.Message, c.says) || c.result == Denied && r.Reason != api.InjectTooLarge {
					t.Errorf("%+v, want %s %q", r, c.result, c.says)
				}
			}
			if c.result == Injected {
				got, want := &corev1.Pod{}, mustPod(t, decoded, config)
				if err := json.Unmarshal(patchedBy(t, []byte(raw), answer.Patch), got); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("the patch makes another pod than Pod: -want +got\n%s", diff)
				}
			}
		})
	}
}

func mustPod(t *testing.T, p *corev1.Pod, config *Config) *corev1.Pod {
	t.Helper()
	after, _, err := Pod(Request{Pod: p, Namespace: &corev1.Namespace{}}, config)
	if err != nil {
		t.Fatal(err)
	}
	return after
}

// A denied pod is not decoded: a few bytes of JSON would become a struct of a kilobyte.
func TestAbsurdPodsAreNotDecoded(t *testing.T) {
	config := parsed(t, nil)
	many := "[" + strings.TrimSuffix(strings.Repeat("{},", 2_000_000), ",") + "]"
	for name, raw := range map[string]string{
		"containers":  `{"spec":{"containers":` + many + `}}`,
		"tolerations": `{"spec":{"tolerations":` + many + `}}`,
		"sources":     `{"spec":{"volumes":[{"projected":{"sources":` + many + `}}]}}`,
		"nulls":       `{"spec":{"tolerations":` + strings.ReplaceAll(many, "{}", "null") + `}}`,
		"managers":    `{"metadata":{"managedFields":` + many + `}}`,
		"quantities":  `{"spec":{"overhead":{` + strings.TrimSuffix(strings.Repeat(`"a":"1",`, 2_000_000), ",") + `}}}`,
	} {
		t.Run(name, func(t *testing.T) { wantNotDecoded(t, config, []byte(raw)) })
	}
}

// As many variables as etcd stores are not denied.
func TestVariablesAreNotDenied(t *testing.T) {
	raw := `{"metadata":{"name":"app"},"spec":{"containers":[{"name":"app","env":[` + strings.TrimSuffix(strings.Repeat(`{"name":"VARIABLE","value":"value"},`, 200_000), ",") + `]}]}}`
	answer, err := Review(Received{JSON: []byte(raw), NamespaceName: "demo", Namespace: &corev1.Namespace{}}, parsed(t, nil))
	if err != nil || answer.Report.Result != Injected {
		t.Errorf("%v %+v", err, answer.Report)
	}
}

// The bound on elements applies to all lists of a pod together, and to the element.
func TestElementsAtTheLimit(t *testing.T) {
	config := parsed(t, nil)
	for elements, want := range map[int]Result{maxElements: Injected, maxElements + 1: Denied} {
		const others = 3 // the container and two finalizers
		raw := `{"metadata":{"name":"app","finalizers":["a","b"]},"spec":{"containers":[{"name":"app"}],"tolerations":[` +
			strings.TrimSuffix(strings.Repeat("{},", elements-others), ",") + `]}}`
		answer, err := Review(Received{JSON: []byte(raw), NamespaceName: "demo", Namespace: &corev1.Namespace{}}, config)
		if err != nil {
			t.Fatal(err)
		}
		if r := answer.Report; r.Result != want || want == Denied && r.Reason != api.InjectTooLarge {
			t.Errorf("%d elements: %s %s %s", elements, r.Result, r.Reason, r.Message)
		}
	}
}

func TestCountEntries(t *testing.T) {
	for text, want := range map[string]int{
		`[]`: 0, `[ ]`: 0, `{}`: 0, `[{}]`: 1, `[1,2,[3,"],[",null]]`: 6, `{"a":[{"b":[{},{}]}],"c":1}`: 3,
		`{` + strings.Repeat(`"a":1,`, mapMembers) + `"a":[]}`: mapMembers + 1,
		``: 0, `]`: 0, `"`: 0, `["\""`: 0,
	} {
		if got := countEntries(text); got != want {
			t.Errorf("%s: %d, want %d", text, got, want)
		}
	}
}

func wantNotDecoded(t *testing.T, config *Config, raw []byte) {
	t.Helper()
	var answer Answer
	bytes := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			var err error
			if answer, err = Review(Received{JSON: raw, Namespace: &corev1.Namespace{}}, config); err != nil {
				b.Fatal(err)
			}
		}
	}).AllocedBytesPerOp()
	if answer.Report.Reason != api.InjectTooLarge {
		t.Fatalf("%+v", answer.Report)
	}
	if limit := int64(4 * len(raw)); bytes > limit {
		t.Errorf("%d bytes were allocated for a body of %d, want at most %d", bytes, len(raw), limit)
	}
}

// An injection ends between two steps when nobody waits for it.
func TestAbandonedInjectionEnds(t *testing.T) {
	config := parsed(t, nil)
	raw, err := json.Marshal(pod(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	steps := 0
	review := func(last int) error {
		steps = 0
		_, err := Review(Received{JSON: raw, Namespace: &corev1.Namespace{}, Abandoned: func() bool { steps++; return steps > last }}, config)
		return err
	}
	if err := review(1000); err != nil {
		t.Fatal(err)
	}
	all := steps
	if all < 5 {
		t.Fatalf("only %d steps were asked before", all)
	}
	for last := range all {
		if err := review(last); !errors.Is(err, ErrAbandoned) || steps != last+1 {
			t.Errorf("after %d steps: %v at step %d", last, err, steps)
		}
	}
}

// Which of many unusual values shapes the structure is found by halves, so that few renderings are made of it.
func TestUnsafeValueAmongMany(t *testing.T) {
	p := pod(t, `metadata: {annotations: {sidecar.istio.io/logLevel: "a\", \"b"}}`)
	for i := range 5000 {
		p.Annotations[fmt.Sprint("example.com/", i)] = `"`
		p.Annotations[fmt.Sprint("zzz.example.com/", i)] = `"`
	}
	config := parsed(t, func(s *Source) {
		s.Config = strings.Replace(s.Config, "--log={{ annotation .ObjectMeta \"sidecar.istio.io/logLevel\" \"warning\" }}", "\"--log={{ annotation .ObjectMeta `sidecar.istio.io/logLevel` `warning` }}\"", 1)
	})
	_, report := inject(t, p, config)
	if report.Reason != api.InjectUnsafeValue || report.Problems[0].Field != api.AnnotationField("sidecar.istio.io/logLevel") {
		t.Errorf("%+v", report)
	}
}

// A template that is named very often is rendered once and laid a bounded number of times.
func TestTemplatesNamedOften(t *testing.T) {
	for many, want := range map[int]Result{maxTemplates: Injected, maxTemplates + 1: Denied} {
		p := pod(t, "")
		p.Annotations = map[string]string{annotationTemplates: strings.TrimSuffix(strings.Repeat("sidecar,", many), ",")}
		if _, report := inject(t, p, parsed(t, nil)); report.Result != want {
			t.Errorf("%d times: %+v", many, report)
		}
	}
}

// A pod's own container that could not be recorded in an annotation is denied before it is merged, from the first byte over
// the bound.
func TestOwnProxyOfAbsurdSize(t *testing.T) {
	sized := func(bytes int) corev1.Container {
		proxy := corev1.Container{Name: proxyName, Image: "auto", Env: []corev1.EnvVar{{Name: "LONG", Value: "x"}}}
		text, err := json.Marshal(&proxy)
		if err != nil {
			t.Fatal(err)
		}
		proxy.Env[0].Value += strings.Repeat("x", bytes-len(text))
		return proxy
	}
	for bytes, want := range map[int]Result{100 << 10: Injected, maxAnnotations: Injected, maxAnnotations + 1: Denied, 1 << 20: Denied} {
		p := pod(t, "")
		p.Spec.Containers = append(p.Spec.Containers, sized(bytes))
		if _, report := inject(t, p, parsed(t, nil)); report.Result != want || want == Denied && report.Reason != api.InjectTooLarge {
			t.Errorf("%d bytes: %s %s", bytes, report.Result, report.Message)
		}
	}
	other := sized(1 << 20) // that no template gives
	other.Name = "other"
	p := pod(t, "")
	p.Spec.Containers = append(p.Spec.Containers, other)
	if _, report := inject(t, p, parsed(t, nil)); report.Result != Injected {
		t.Errorf("another container: %s %s", report.Result, report.Message)
	}
}
