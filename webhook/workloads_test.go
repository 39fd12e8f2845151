// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/yaml"

	"outrigger.dev/outrigger/inject"
)

// configured is a ConfigSource with a configuration, or why there is none.
type configured struct {
	config *inject.Config
	err    error
}

func (c configured) Current() (*inject.Config, error) { return c.config, c.err }

// workloadsOf is the advice of a cluster whose namespaces are "in", "out" and "typo", by the entries that the chart has.
func workloadsOf(t testing.TB, config string) Workloads {
	t.Helper()
	parsed, problems, err := inject.Parse(inject.Source{Config: config, Values: `{"global":{"proxy":{},"proxy_init":{}}}`, Settings: inject.Settings{NativeSidecars: "disabled"}})
	if err != nil || parsed == nil {
		t.Fatalf("%v %v", problems, err)
	}
	expression := func(key string, operator metav1.LabelSelectorOperator, values ...string) metav1.LabelSelectorRequirement {
		return metav1.LabelSelectorRequirement{Key: key, Operator: operator, Values: values}
	}
	selector := func(all ...metav1.LabelSelectorRequirement) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchExpressions: all}
	}
	object := &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "outrigger-sidecar-injector"},
		Webhooks: []admissionregistrationv1.MutatingWebhook{
			{Name: "namespace.", NamespaceSelector: selector(expression("istio-injection", metav1.LabelSelectorOpIn, "enabled")), ObjectSelector: selector(expression("sidecar.istio.io/inject", metav1.LabelSelectorOpNotIn, "false"))},
			{Name: "object.", NamespaceSelector: selector(expression("istio-injection", metav1.LabelSelectorOpDoesNotExist)), ObjectSelector: selector(expression("sidecar.istio.io/inject", metav1.LabelSelectorOpIn, "true"))},
		},
	}
	namespace := func(name, injection string) *corev1.Namespace {
		n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if injection != "" {
			n.Labels = map[string]string{"istio-injection": injection}
		}
		return n
	}
	reader := fake.NewClientBuilder().WithObjects(object, namespace("in", "enabled"), namespace("out", ""), namespace("off", "disabled"), namespace("typo", "enable")).Build()
	return Workloads{Namespaces: NamespacesFrom(reader), Config: configured{config: parsed}, Entries: EntriesFrom(reader, object.Name)}
}

// askAbout posts a review about a workload, written as YAML, and returns code and answer.
func askAbout(t *testing.T, handler http.Handler, namespace, object, old string) (int, string) {
	t.Helper()
	asJSON := func(text string) []byte {
		if text == "" {
			return nil
		}
		raw, err := yaml.YAMLToJSON([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	request := &admissionv1.AdmissionRequest{
		UID: "u1", Namespace: namespace, Operation: admissionv1.Create,
		Object: runtime.RawExtension{Raw: asJSON(object)}, OldObject: runtime.RawExtension{Raw: asJSON(old)},
	}
	body, err := json.Marshal(admissionv1.AdmissionReview{TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Request: request})
	if err != nil {
		t.Fatal(err)
	}
	posted := httptest.NewRequest(http.MethodPost, WorkloadsPath, bytes.NewReader(body))
	posted.Header.Set("Content-Type", "application/json")
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, posted)
	return recorder.Code, recorder.Body.String()
}

// workloadText is a Deployment with these metadata and a template with these, and a pod spec.
func workloadText(metadata, template, spec string) string {
	return fmt.Sprintf("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, %s}\nspec: {template: {metadata: {%s}, spec: {containers: [{name: app}], %s}}}\n", metadata, template, spec)
}

const withValidation = `policy: enabled
defaultTemplates: [sidecar]
neverInjectSelector: [{matchLabels: {never: "true"}}]
templates:
  sidecar: |
    spec:
      containers:
      - name: istio-proxy
        image: proxy
`

func TestWorkloadsAreWarnedAboutTheirPods(t *testing.T) {
	const deployment = "Deployment %s/web: spec.template."
	for name, test := range map[string]struct {
		namespace, object, old string
		want                   []string // how the warnings begin
	}{
		"all is well":                       {"in", workloadText("", "", ""), "", nil},
		"not selected, and nobody meant it": {"out", workloadText("", "", "hostNetwork: true"), "", nil},
		"switched off":                      {"off", workloadText("", "labels: {sidecar.istio.io/inject: 'true'}", ""), "", nil},
		"opted out":                         {"in", workloadText("", "labels: {sidecar.istio.io/inject: 'false'}", ""), "", nil},
		"host network":                      {"in", workloadText("", "", "hostNetwork: true"), "", []string{"HostNetwork: Deployment in/web: no sidecar: the pod is on the host's network. Remove hostNetwork from the pod's spec, or do without a sidecar."}},
		"never selected":                    {"in", workloadText("", "labels: {never: 'true'}", ""), "", []string{"NeverInjectSelector: Deployment in/web: no sidecar: "}},
		"opted in":                          {"out", workloadText("", "labels: {sidecar.istio.io/inject: 'true'}", "hostNetwork: true"), "", []string{"HostNetwork: Deployment out/web: no sidecar: "}},
		"denied":                            {"in", workloadText("", "annotations: {status.sidecar.istio.io/port: many}", ""), "", []string{"InvalidAnnotation: " + fmt.Sprintf(deployment, "in") + "metadata.annotations[status.sidecar.istio.io/port] = \"many\": "}},
		"unreadable choice":                 {"in", workloadText("", "labels: {sidecar.istio.io/inject: 'True'}", ""), "", []string{"UnreadableChoice: " + fmt.Sprintf(deployment, "in") + "metadata.labels[sidecar.istio.io/inject] = \"True\": it is neither"}},
		"unreadable choice, not selected":   {"out", workloadText("", "labels: {sidecar.istio.io/inject: 'yes'}", ""), "", []string{"UnreadableChoice: " + fmt.Sprintf(deployment, "out") + "metadata.labels[sidecar.istio.io/inject] = \"yes\": it is neither"}},
		"misspelled, not selected":          {"out", workloadText("", "labels: {sidecar.istio.io/injct: 'true'}", ""), "", []string{"MisspelledKey: " + fmt.Sprintf(deployment, "out") + "metadata.labels[sidecar.istio.io/injct] = \"true\": nothing reads it; it looks like sidecar.istio.io/inject."}},
		"an annotation cannot opt in":       {"out", workloadText("", "annotations: {sidecar.istio.io/inject: 'true'}", ""), "", []string{"MisplacedKey: " + fmt.Sprintf(deployment, "out") + "metadata.annotations[sidecar.istio.io/inject] = \"true\": in a Namespace that is not labeled only a label"}},
		"the Namespace is misspelled":       {"typo", workloadText("", "", ""), "", []string{"MisspelledKey: Namespace typo: metadata.labels[istio-injection] = \"enable\": only enabled injects; with \"enable\", pods of this Namespace get no sidecar"}},
		"unknown key of ours":               {"in", workloadText("", "annotations: {outrigger.dev/x: 'y'}", ""), "", []string{"UnknownKey: " + fmt.Sprintf(deployment, "in") + "metadata.annotations[outrigger.dev/x]"}},
		"a word on the workload itself":     {"out", workloadText("labels: {sidecar.istio.io/inject: 'true'}", "", ""), "", []string{"MisplacedKey: Deployment out/web: metadata.labels[sidecar.istio.io/inject] = \"true\": it is read on pods, not on a Deployment."}},
		"a word on both":                    {"in", workloadText("labels: {sidecar.istio.io/inject: 'true'}", "labels: {sidecar.istio.io/inject: 'true'}", ""), "", nil},
		"a CronJob that never completes": {
			"in", "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: nightly}\nspec: {jobTemplate: {spec: {template: {spec: {restartPolicy: OnFailure, containers: [{name: app}]}}}}}\n", "",
			[]string{"JobWillNotComplete: CronJob in/nightly: spec.jobTemplate.spec.template.spec.restartPolicy = \"OnFailure\": the sidecar is not a native sidecar and outlives the application, so CronJob nightly never completes."},
		},
		"made by another object":              {"in", workloadText("ownerReferences: [{apiVersion: v1, kind: X, name: x, uid: u, controller: true}]", "", "hostNetwork: true"), "", nil},
		"an update that leaves the pods":      {"in", workloadText("labels: {a: b}", "", "hostNetwork: true"), workloadText("", "", "hostNetwork: true"), nil},
		"an update that changes them":         {"in", workloadText("", "labels: {a: b}", "hostNetwork: true"), workloadText("", "", "hostNetwork: true"), []string{"HostNetwork: "}},
		"an update that misplaces a word":     {"out", workloadText("annotations: {sidecar.istio.io/inject: 'true'}", "", ""), workloadText("", "", ""), []string{"MisplacedKey: Deployment out/web: metadata.annotations"}},
		"several, each once and in one order": {"in", workloadText("", "labels: {sidecar.istio.io/injct: 'true', sidecar.istio.io/inject: 'True'}", "hostNetwork: true"), "", []string{"MisspelledKey: ", "HostNetwork: "}},
	} {
		t.Run(name, func(t *testing.T) {
			code, body := askAbout(t, WorkloadAdvice(workloadsOf(t, withValidation)), test.namespace, test.object, test.old)
			response := responseIn(t, body)
			if code != http.StatusOK || !response.Allowed || response.Patch != nil {
				t.Errorf("code %d: %s", code, body)
			}
			begins := make([]string, 0, len(response.Warnings))
			for i, warning := range response.Warnings {
				if i < len(test.want) && strings.HasPrefix(warning, test.want[i]) {
					warning = test.want[i]
				}
				begins = append(begins, warning)
			}
			if diff := cmp.Diff(test.want, begins); diff != "" && len(test.want)+len(begins) > 0 {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// The pods of a workload and the workload hear the same word: it is the same decision.
func TestAWorkloadHearsWhatItsPodsHear(t *testing.T) {
	for name, change := range map[string]func(*corev1.PodTemplateSpec){
		"host network":       func(p *corev1.PodTemplateSpec) { p.Spec.HostNetwork = true },
		"Windows":            func(p *corev1.PodTemplateSpec) { p.Spec.OS = &corev1.PodOS{Name: corev1.Windows} },
		"never":              func(p *corev1.PodTemplateSpec) { p.Labels = map[string]string{"never": "true"} },
		"unknown template":   func(p *corev1.PodTemplateSpec) { p.Annotations = map[string]string{"inject.istio.io/templates": "x"} },
		"invalid annotation": func(p *corev1.PodTemplateSpec) { p.Annotations = map[string]string{"proxy.istio.io/config": "["} },
	} {
		t.Run(name, func(t *testing.T) {
			w := workloadsOf(t, withValidation)
			template := corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}}}}
			change(&template)
			raw, err := json.Marshal(map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": "web"}, "spec": map[string]any{"template": template}})
			if err != nil {
				t.Fatal(err)
			}
			_, body := askAbout(t, WorkloadAdvice(w), "in", string(raw), "")
			said := responseIn(t, body).Warnings

			config, err := w.Config.Current()
			if err != nil {
				t.Fatal(err)
			}
			pod := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
			pod.Namespace, pod.Name = "in", "web-1"
			_, report, err := inject.Pod(inject.Request{Pod: pod, Namespace: w.Namespaces.Namespace(t.Context(), "in")}, config)
			if err != nil {
				t.Fatal(err)
			}
			if report.Result == inject.Injected || len(said) != 1 || !strings.HasPrefix(said[0], string(report.Reason)+": ") {
				t.Errorf("the pod is %s for %s; the workload hears %q", report.Result, report.Reason, said)
			}
		})
	}
}

// What is broken is no review, and the entry's failurePolicy lets the workload pass.
func TestAdviceThatFailsIsNoReview(t *testing.T) {
	for name, test := range map[string]struct {
		object string
		change func(*Workloads)
		want   string
	}{
		"no object":             {"", nil, "without the object"},
		"no workload":           {"spec: []", nil, "decoding the"},
		"no template":           {"spec: {template: []}", nil, "decoding the pod template"},
		"unknown configuration": {workloadText("", "", ""), func(w *Workloads) { w.Config = configured{err: errors.New("not read yet")} }, "not read yet"},
		"a panic":               {workloadText("", "", ""), func(w *Workloads) { w.Namespaces = nil }, "its log says more"},
	} {
		t.Run(name, func(t *testing.T) {
			w := workloadsOf(t, withValidation)
			if test.change != nil {
				test.change(&w)
			}
			code, body := askAbout(t, WorkloadAdvice(w), "in", test.object, "")
			if code != http.StatusInternalServerError || !strings.Contains(body, test.want) || strings.Contains(body, "allowed") {
				t.Errorf("code %d, body %q", code, body)
			}
		})
	}
}

func TestPathsOfBothWebhooks(t *testing.T) {
	said := func(word string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(word)) })
	}
	served := Paths(said("pods"), map[string]http.Handler{WorkloadsPath: said("workloads")})
	for path, want := range map[string]string{WorkloadsPath: "workloads", "/inject": "pods", "/inject/a//b": "pods", "/": "pods", WorkloadsPath + "/x": "pods"} {
		recorder := httptest.NewRecorder()
		served.ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, path, nil))
		if got := recorder.Body.String(); got != want {
			t.Errorf("%s is served as %q, want %q", path, got, want)
		}
	}
}

func TestWhoIsSelected(t *testing.T) {
	w := workloadsOf(t, withValidation)
	for name, test := range map[string]struct {
		namespace string
		labels    map[string]string
		want      bool
	}{
		"namespace enabled":                {"in", nil, true},
		"namespace enabled, pod opted out": {"in", map[string]string{"sidecar.istio.io/inject": "false"}, false},
		"namespace says nothing":           {"out", nil, false},
		"pod opts in":                      {"out", map[string]string{"sidecar.istio.io/inject": "true"}, true},
		"namespace disabled beats the pod": {"off", map[string]string{"sidecar.istio.io/inject": "true"}, false},
		"a namespace that is not known":    {"new", map[string]string{"sidecar.istio.io/inject": "true"}, true},
	} {
		got, err := w.Entries.Selects(t.Context(), w.Namespaces.Namespace(t.Context(), test.namespace), test.labels)
		if err != nil || got != test.want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	gone := EntriesFrom(fake.NewClientBuilder().Build(), "outrigger-sidecar-injector")
	if got, err := gone.Selects(t.Context(), &corev1.Namespace{}, nil); got || err != nil {
		t.Errorf("without a webhook object: %v, %v", got, err)
	}
	// A selector that is left out selects everything, an empty one too.
	all := &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "x"}, Webhooks: []admissionregistrationv1.MutatingWebhook{{Name: "a", ObjectSelector: &metav1.LabelSelector{}}},
	}
	if got, err := EntriesFrom(fake.NewClientBuilder().WithObjects(all).Build(), "x").Selects(t.Context(), &corev1.Namespace{}, nil); !got || err != nil {
		t.Errorf("without selectors: %v, %v", got, err)
	}
}
