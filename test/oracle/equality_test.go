// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	gocmp "github.com/google/go-cmp/cmp"
	networkingv1beta1 "istio.io/client-go/pkg/apis/networking/v1beta1"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/yaml"

	"outrigger.dev/outrigger/inject"
	"outrigger.dev/outrigger/webhook"
)

// deviation is a pod of which Outrigger deliberately makes something else than Istio, wherever Istio injects it.
type deviation struct {
	where  func(installation, string) bool // with this mode of native sidecars; nil: everywhere
	want   inject.Result                   // what Outrigger decides; the pod then stays as it was received
	reason string
}

const (
	structure = "a value that becomes structure of the rendered template is denied"
	invalid   = "a fault that the merge itself makes is denied: the API server would refuse the pod with a riddle"
)

// deviations is the closed list of them, by sample.name.
var deviations = map[string]deviation{
	"decision.yaml/windows": {want: inject.Skipped, reason: "the proxy does not run on Windows"},

	"own-proxy.yaml/other-readiness-handler": {want: inject.Denied, reason: invalid},
	"own-proxy.yaml/proxy-as-init":           {want: inject.Denied, reason: invalid, where: ordinarySidecar},
	"own-proxy.yaml/only-a-proxy": {want: inject.Denied, reason: invalid, where: func(i installation, native string) bool {
		return !ordinarySidecar(i, native) && i.name != "custom-templates" // whose template brings a container
	}},
	"own-proxy.yaml/status-of-container-as-init": {want: inject.Denied, reason: invalid, where: ordinarySidecar},
	"own-proxy.yaml/image-auto":                  {want: inject.Denied, reason: invalid},

	"hostile.yaml/metadata-adds-env":           {want: inject.Denied, reason: structure},
	"hostile.yaml/metadata-key-adds-env":       {want: inject.Denied, reason: structure},
	"hostile.yaml/log-level-adds-argument":     {want: inject.Denied, reason: structure},
	"hostile.yaml/ports-add-argument":          {want: inject.Denied, reason: structure},
	"hostile.yaml/image-adds-command":          {want: inject.Denied, reason: structure},
	"hostile.yaml/workload-name-adds-env":      {want: inject.Denied, reason: structure},
	"hostile.yaml/user-volume-key-adds-volume": {want: inject.Denied, reason: structure},
	"hostile.yaml/datadog-adds-env": {want: inject.Denied, reason: structure,
		where: func(i installation, _ string) bool { return i.name == "datadog" }},
}

// ordinarySidecar is true where the proxy is one of the containers, not an init container.
func ordinarySidecar(i installation, native string) bool {
	return native == "disabled" || native == "auto" && i.settings.Nodes["old"] != ""
}

// The product's promise: the pod that comes out is the pod that istiod would have made.
func TestPodsEqualIstios(t *testing.T) {
	samples := corpus(t)
	for name := range deviations {
		if !slices.ContainsFunc(samples, func(s sample) bool { return s.name == name }) {
			t.Errorf("the deviation of %s is about no pod of the corpus; take it out of the list", name)
		}
	}
	for _, state := range []State{April, August} {
		t.Run(state.Folder, func(t *testing.T) { state.compareAll(t, samples) })
	}
}

// compareAll sends every pod through every installation.
func (s State) compareAll(t *testing.T, samples []sample) {
	istio := s.Start(t)
	for _, i := range installations {
		if i.name == asTheDemo && s != August {
			continue // its charts are those of the newest state
		}
		t.Run(i.String(), func(t *testing.T) {
			texts := i.configMaps(t, istio)
			for _, native := range i.natives {
				t.Run(native, func(t *testing.T) {
					config := s.parse(t, i, texts, native)
					ctrllog.SetLogger(logr.Discard())
					handler := (&webhook.Handler{Namespaces: theNamespace{i}, Config: parsedOnce{config}, Log: logr.Discard()}).HTTP()
					for _, sample := range samples {
						t.Run(sample.name, func(t *testing.T) { i.compare(t, istio, config, native, texts, sample) })
						if s == August { // what is kept does not depend on the release
							t.Run(sample.name+" by the webhook", func(t *testing.T) { compareWithWebhook(t, handler, i, sample, config) })
						}
					}
				})
			}
		})
	}
}

// compare sends one pod to both.
func (i installation) compare(t *testing.T, istio *Oracle, config *inject.Config, native string, texts ConfigMaps, s sample) {
	verdict, err := istio.Inject(i.review(texts, native, s, s.raw(t)))
	if err != nil {
		t.Fatalf("the oracle: %v", err)
	}
	d, deviates := deviations[s.name]
	if deviates && resultOf(verdict) == inject.Injected && (d.where == nil || d.where(i, native)) {
		compareWithDeviation(t, i, s, config, d)
	} else {
		compareWithVerdict(t, i, s, config, verdict)
	}
}

// parse reads the same three texts as Istio did, with the same facts of the cluster.
func (s State) parse(t testing.TB, i installation, texts ConfigMaps, native string) *inject.Config {
	t.Helper()
	config, problems, err := inject.Parse(inject.Source{
		Config: texts.Config, Values: texts.Values, Mesh: texts.Mesh, Release: s.Release,
		Settings: inject.Settings{
			Revision:         i.settings.Revision,
			NativeSidecars:   native,
			Platform:         i.settings.Platform,
			CompliancePolicy: i.settings.CompliancePolicy,
		},
	})
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	for _, p := range problems {
		if s == April && i.name == "custom-templates" && strings.Contains(p.Message, `"ProxyInitImage", which Istio defines since 1.31`) {
			continue // its template "functions" asks for it; both deny the pod that asks for the template
		}
		t.Errorf("Parse: %s", p)
	}
	return config.With(facts(t, i.settings))
}

// compareWithVerdict injects the pod and holds it against Istio's.
func compareWithVerdict(t *testing.T, i installation, s sample, config *inject.Config, verdict Verdict) {
	t.Helper()
	ours, report, err := inject.Pod(request(i, s), config)
	if err != nil {
		t.Fatalf("Pod: %v", err)
	}
	if want := resultOf(verdict); report.Result != want {
		t.Fatalf("result %s (%s: %s), want %s; Istio says %q", report.Result, report.Reason, report.Message, want, verdict.Message)
	}
	istios := fields(t, decode(t, verdict.Pod))
	if ours := fields(t, ours); !reflect.DeepEqual(istios, ours) { // cmp is slower, and asked to explain only
		t.Errorf("the pod is not Istio's (-Istio +ours):\n%s", gocmp.Diff(istios, ours))
	}
}

// compareWithWebhook sees that what the webhook keeps from earlier pods, this one among them, changes no answer.
func compareWithWebhook(t *testing.T, handler http.Handler, i installation, s sample, config *inject.Config) {
	t.Helper()
	r := request(i, s)
	want, err := inject.Review(inject.Received{JSON: s.raw(t), NamespaceName: r.Namespace.Name, Namespace: r.Namespace, Path: r.Path}, config)
	if err != nil {
		t.Fatalf("Review: %v", err)
	}
	body, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request: &admissionv1.AdmissionRequest{
			UID: "u", Kind: metav1.GroupVersionKind{Version: "v1", Kind: "Pod"}, Namespace: r.Namespace.Name,
			Operation: admissionv1.Create, Object: runtime.RawExtension{Raw: s.raw(t)},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, state := range []string{"known shape", "known pod"} {
		posted := httptest.NewRequest(http.MethodPost, "/inject", bytes.NewReader(body))
		posted.URL.Path = cmp.Or(r.Path, posted.URL.Path) // it may have spaces
		posted.Header.Set("Content-Type", "application/json")
		recorder, answer := httptest.NewRecorder(), admissionv1.AdmissionReview{}
		handler.ServeHTTP(recorder, posted)
		if err := json.Unmarshal(recorder.Body.Bytes(), &answer); err != nil || answer.Response == nil {
			t.Fatalf("the webhook answers a %s with HTTP %d: %s", state, recorder.Code, recorder.Body)
		}
		if got := answer.Response; !bytes.Equal(want.Patch, got.Patch) || got.Allowed == (want.Report.Result == inject.Denied) {
			t.Errorf("a %s got another answer than without a cache:\n%s", state, gocmp.Diff(string(want.Patch), string(got.Patch)))
		}
	}
}

// compareWithDeviation sees that Outrigger does the other thing that the list says, and leaves the pod alone.
func compareWithDeviation(t *testing.T, i installation, s sample, config *inject.Config, d deviation) {
	t.Helper()
	ours, report, err := inject.Pod(request(i, s), config)
	if err != nil {
		t.Fatalf("Pod: %v", err)
	}
	if report.Result != d.want {
		t.Errorf("result %s (%s: %s), want %s: %s", report.Result, report.Reason, report.Message, d.want, d.reason)
	}
	if diff := gocmp.Diff(fields(t, s.pod), fields(t, ours)); diff != "" {
		t.Errorf("the pod was changed (-received +ours):\n%s", diff)
	}
}

// resultOf is the word for Istio's verdict.
func resultOf(v Verdict) inject.Result {
	switch {
	case !v.Allowed:
		return inject.Denied
	case len(v.Patch) == 0:
		return inject.Skipped
	default:
		return inject.Injected
	}
}

// theNamespace knows every Namespace as an installation describes it.
type theNamespace struct{ i installation }

func (n theNamespace) Namespace(_ context.Context, name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: n.i.settings.NamespaceLabels, Annotations: n.i.settings.NamespaceAnnotations,
	}}
}

// parsedOnce is a configuration that does not change.
type parsedOnce struct{ config *inject.Config }

func (p parsedOnce) Current() (*inject.Config, error) { return p.config, nil }

// request is what the webhook would hand to inject.
func request(i installation, s sample) inject.Request {
	return inject.Request{
		Pod: s.pod,
		Namespace: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: s.pod.Namespace, Labels: i.settings.NamespaceLabels, Annotations: i.settings.NamespaceAnnotations,
		}},
		Path: i.settings.Path,
	}
}

// facts are those of the cluster that Istio was shown, too.
func facts(t testing.TB, settings Review) inject.Facts {
	t.Helper()
	known := inject.Facts{Nodes: settings.Nodes}
	for _, document := range strings.Split(settings.ProxyConfigs, "---\n") {
		if strings.TrimSpace(document) == "" {
			continue
		}
		resource := &networkingv1beta1.ProxyConfig{}
		if err := yaml.Unmarshal([]byte(document), resource); err != nil {
			t.Fatal(err)
		}
		known.ProxyConfigs = append(known.ProxyConfigs, resource)
	}
	return known
}
