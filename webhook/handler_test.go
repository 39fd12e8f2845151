// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	patching "github.com/evanphx/json-patch/v5"
	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
	"outrigger.dev/outrigger/inject/jsonpatch"
)

const rawPod = `{"metadata":{"generateName":"app-"},"spec":{"containers":[{"name":"app","tomorrow":1}]}}`

// fixed is a ConfigSource that does not change.
type fixed struct{ err error }

func (f fixed) Current() (*inject.Config, error) { return nil, f.err }

// named is a NamespaceReader that knows only names.
type named struct{}

func (named) Namespace(_ context.Context, name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

// deciding makes of a decision about a pod what inject.Review does with its own.
func deciding(decide func(inject.Request) (*corev1.Pod, inject.Report, error)) func(inject.Received, *inject.Config) (inject.Answer, error) {
	return func(received inject.Received, _ *inject.Config) (inject.Answer, error) {
		pod := &corev1.Pod{}
		if err := json.Unmarshal(received.JSON, pod); err != nil {
			return inject.Answer{}, fmt.Errorf("decoding the pod of the request: %w", err)
		}
		if pod.Namespace == "" {
			pod.Namespace = received.NamespaceName
		}
		after, report, err := decide(inject.Request{Pod: pod, Namespace: received.Namespace, Path: received.Path})
		if err != nil || report.Result != inject.Injected {
			return inject.Answer{Report: report, Pod: pod}, err
		}
		operations, err := jsonpatch.Diff(received.JSON, pod, after)
		if err != nil {
			return inject.Answer{}, err
		}
		return inject.Answer{Report: report, Pod: pod, Patch: jsonpatch.Encode(operations)}, nil
	}
}

// decided returns a handler whose decision is given, and its log.
func decided(decide func(inject.Request) (*corev1.Pod, inject.Report, error)) (*Handler, *prometheus.Registry, *bytes.Buffer) {
	registry, log := prometheus.NewRegistry(), &bytes.Buffer{}
	return &Handler{
		Namespaces: named{}, Config: fixed{}, Metrics: NewMetrics(registry),
		Log:    funcr.New(func(prefix, args string) { fmt.Fprintln(log, prefix, args) }, funcr.Options{}),
		decide: deciding(decide),
	}, registry, log
}

// review posts a review as the API server does and returns status code and body.
func review(t *testing.T, h *Handler, path, pod string, change func(*admissionv1.AdmissionRequest)) (int, string) {
	t.Helper()
	request := &admissionv1.AdmissionRequest{
		UID: "u1", Namespace: "demo", Operation: admissionv1.Create,
		Kind:   metav1.GroupVersionKind{Version: "v1", Kind: "Pod"},
		Object: runtime.RawExtension{Raw: []byte(pod)},
	}
	if change != nil {
		change(request)
	}
	body, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Request: request,
	})
	if err != nil {
		t.Fatal(err)
	}
	return post(t, h, path, body)
}

func post(t *testing.T, h *Handler, path string, body []byte) (int, string) {
	t.Helper()
	request := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body))
	if len(body) == 0 {
		request.Body = http.NoBody // as a real server says it
	}
	request.Header.Set("Content-Type", "application/json")
	recorder := httptest.NewRecorder()
	h.HTTP().ServeHTTP(recorder, request)
	text, err := io.ReadAll(recorder.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return recorder.Code, string(text)
}

func responseIn(t *testing.T, body string) *admissionv1.AdmissionResponse {
	t.Helper()
	answer := admissionv1.AdmissionReview{}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Response == nil {
		t.Fatalf("no review: %v in %q", err, body)
	}
	if answer.APIVersion != "admission.k8s.io/v1" || answer.Kind != "AdmissionReview" || answer.Response.UID != "u1" {
		t.Errorf("the review is of another kind or request: %s", body)
	}
	return answer.Response
}

func report(result inject.Result, reason api.InjectReason, problems ...api.InjectProblem) inject.Report {
	return inject.Report{Result: result, Reason: reason, Message: "the message", Problems: problems}
}

var aProblem = api.InjectProblem{
	Object: api.ObjectRef{Kind: "Pod", Namespace: "demo", Name: "app-"}, Field: "metadata.labels[x]", Value: "yes",
	Reason: "Unreadable", Message: "is not read.", Advice: "Write true.",
}

func TestInjectedIsAllowedWithAPatchThatKeepsUnknownFields(t *testing.T) {
	var got inject.Request
	h, registry, log := decided(func(r inject.Request) (*corev1.Pod, inject.Report, error) {
		got = r
		after := r.Pod.DeepCopy()
		after.Spec.Containers = append([]corev1.Container{{Name: "istio-proxy"}}, after.Spec.Containers...)
		return after, report(inject.Injected, "Policy"), nil
	})
	code, body := review(t, h, "/inject/cluster/c1/net/n1", rawPod, nil)
	response := responseIn(t, body)
	if code != http.StatusOK || !response.Allowed || response.PatchType == nil || *response.PatchType != admissionv1.PatchTypeJSONPatch {
		t.Fatalf("code %d, %s", code, body)
	}
	patch, err := patching.DecodePatch(response.Patch)
	if err != nil {
		t.Fatal(err)
	}
	result, err := patch.Apply([]byte(rawPod))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"metadata":{"generateName":"app-"},"spec":{"containers":[{"name":"istio-proxy"},{"name":"app","tomorrow":1}]}}`
	if string(result) != want {
		t.Errorf("got  %s\nwant %s", result, want)
	}
	if diff := cmp.Diff(map[string]string{"result": "injected", "reason": "Policy"}, response.AuditAnnotations); diff != "" {
		t.Error(diff)
	}
	if got.Path != "/inject/cluster/c1/net/n1" || got.Namespace.Name != "demo" || got.Pod.Namespace != "demo" {
		t.Errorf("the decision was asked with path %q, namespace %q, pod in %q", got.Path, got.Namespace.Name, got.Pod.Namespace)
	}
	wantCount(t, registry, "injected", "Policy")
	if text := log.String(); !strings.Contains(text, `"reason"="Policy"`) || strings.Contains(text, "tomorrow") {
		t.Errorf("log: %s", text)
	}
}

func TestSkippedIsAllowedUnchanged(t *testing.T) {
	h, registry, _ := decided(func(r inject.Request) (*corev1.Pod, inject.Report, error) {
		return r.Pod, report(inject.Skipped, "HostNetwork"), nil
	})
	_, body := review(t, h, "/inject", rawPod, nil)
	response := responseIn(t, body)
	if !response.Allowed || response.Patch != nil || response.PatchType != nil {
		t.Errorf("got %s", body)
	}
	want := []string{"HostNetwork: Pod demo/app-*: no sidecar: the message. Remove hostNetwork from the pod's spec, or do without a sidecar."}
	if diff := cmp.Diff(want, response.Warnings); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"result": "skipped", "reason": "HostNetwork"}, response.AuditAnnotations); diff != "" {
		t.Error(diff)
	}
	wantCount(t, registry, "skipped", "HostNetwork")
}

func TestAProblemIsAReviewThatSaysNo(t *testing.T) {
	h, registry, _ := decided(func(r inject.Request) (*corev1.Pod, inject.Report, error) {
		return nil, report(inject.Denied, "Unreadable", aProblem), nil
	})
	code, body := review(t, h, "/inject", rawPod, nil)
	response := responseIn(t, body)
	if code != http.StatusOK || response.Allowed || response.Result.Code != http.StatusForbidden || response.Result.Reason != metav1.StatusReasonForbidden {
		t.Errorf("code %d: %s", code, body)
	}
	if want := `Unreadable: Pod demo/app-: metadata.labels[x] = "yes": is not read. Write true.`; response.Result.Message != want {
		t.Errorf("message %q, want %q", response.Result.Message, want)
	}
	wantCount(t, registry, "denied", "Unreadable")
}

func TestWarningsAreForPodsWithoutAController(t *testing.T) {
	for name, test := range map[string]struct {
		owners string
		want   []string
	}{
		"a bare pod":          {`[]`, []string{`Unreadable: Pod demo/app-: metadata.labels[x] = "yes": is not read. Write true.`}},
		"one with an owner":   {`[{"kind":"X","name":"x"}]`, []string{`Unreadable: Pod demo/app-: metadata.labels[x] = "yes": is not read. Write true.`}},
		"one of a ReplicaSet": {`[{"kind":"ReplicaSet","name":"x","controller":true}]`, nil},
	} {
		for _, result := range []inject.Result{inject.Injected, inject.Skipped} {
			t.Run(name+" "+string(result), func(t *testing.T) {
				h, _, _ := decided(func(r inject.Request) (*corev1.Pod, inject.Report, error) {
					return r.Pod, report(result, "Policy", aProblem), nil
				})
				_, body := review(t, h, "/inject", `{"metadata":{"ownerReferences":`+test.owners+`}}`, nil)
				if diff := cmp.Diff(test.want, responseIn(t, body).Warnings); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

// What is broken is HTTP 500 and no review: neither allowed nor denied.
func TestErrorsAndPanicsAreNoReview(t *testing.T) {
	for name, test := range map[string]struct {
		handler func(*Handler)
		pod     string
		change  func(*admissionv1.AdmissionRequest)
		reason  string
		body    string
		log     string
	}{
		"an error of the decision": {
			func(h *Handler) {
				h.decide = func(inject.Received, *inject.Config) (inject.Answer, error) {
					return inject.Answer{}, errors.New("no luck")
				}
			}, rawPod, nil, "Error", "no luck", "no luck",
		},
		"a panic of the decision": {
			func(h *Handler) {
				h.decide = func(inject.Received, *inject.Config) (inject.Answer, error) { panic("inner secret") }
			}, rawPod, nil, "Panic", "its log says more", "inner secret",
		},
		"a configuration that is not known": {
			func(h *Handler) { h.Config = fixed{errors.New("ProxyConfig resources: not read yet")} }, rawPod, nil, "Error", "not read yet", "not read yet",
		},
		"a result that is none": {
			func(h *Handler) {
				h.decide = func(inject.Received, *inject.Config) (inject.Answer, error) {
					return inject.Answer{Report: report("perhaps", "X")}, nil
				}
			}, rawPod, nil, "Error", "perhaps", "perhaps",
		},
		"a pod that does not decode":   {nil, `{"spec":[]}`, nil, "Error", "decoding the pod", "decoding the pod"},
		"another kind":                 {nil, rawPod, func(r *admissionv1.AdmissionRequest) { r.Kind.Kind = "Service" }, "Error", "about a Service", "about a Service"},
		"a creation without an object": {nil, rawPod, func(r *admissionv1.AdmissionRequest) { r.Object.Raw = nil }, "Error", "has no pod", "has no pod"},
		"a creation of null":           {nil, " null ", nil, "Error", "has no pod", "has no pod"},
	} {
		t.Run(name, func(t *testing.T) {
			h, registry, log := decided(func(r inject.Request) (*corev1.Pod, inject.Report, error) {
				return r.Pod, report(inject.Skipped, "X"), nil
			})
			if test.handler != nil {
				test.handler(h)
			}
			code, body := review(t, h, "/inject", test.pod, test.change)
			if code != http.StatusInternalServerError || !strings.Contains(body, test.body) || strings.Contains(body, "allowed") || strings.Contains(body, "inner secret") {
				t.Errorf("code %d, body %q, want 500 with %q and no review", code, body, test.body)
			}
			if !strings.Contains(log.String(), test.log) {
				t.Errorf("log %q, want %q", log, test.log)
			}
			wantCount(t, registry, "failed", test.reason)
		})
	}
}

func TestWhatIsNoReviewIsAnsweredAndCounted(t *testing.T) {
	for name, test := range map[string]struct {
		body string
		code int32
	}{
		"empty":     {"", http.StatusBadRequest},
		"not JSON":  {"x", http.StatusBadRequest},
		"too large": {`{"x":"` + strings.Repeat("a", 7<<20) + `"}`, http.StatusRequestEntityTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			h, registry, _ := decided(nil)
			_, body := post(t, h, "/inject", []byte(test.body))
			answer := admissionv1.AdmissionReview{}
			if err := json.Unmarshal([]byte(body), &answer); err != nil {
				t.Fatal(err)
			}
			if answer.Response.Allowed || answer.Response.Result.Code != test.code {
				t.Errorf("got %s", body)
			}
			wantCount(t, registry, "failed", "BadRequest")
		})
	}
}

func TestPaths(t *testing.T) {
	for path, want := range map[string]int{
		"/inject": http.StatusOK, "/inject/": http.StatusOK, "/inject/a//b": http.StatusOK,
		"/": http.StatusNotFound, "/injector": http.StatusNotFound, "/metrics": http.StatusNotFound,
	} {
		h, _, _ := decided(func(r inject.Request) (*corev1.Pod, inject.Report, error) {
			return r.Pod, report(inject.Skipped, "X"), nil
		})
		if code, _ := review(t, h, path, rawPod, nil); code != want {
			t.Errorf("%s: code %d, want %d", path, code, want)
		}
	}
}

func TestADryRunIsAnsweredAndNotCounted(t *testing.T) {
	h, registry, log := decided(func(r inject.Request) (*corev1.Pod, inject.Report, error) {
		return r.Pod, report(inject.Skipped, "X"), nil
	})
	yes := true
	_, body := review(t, h, "/inject", rawPod, func(r *admissionv1.AdmissionRequest) { r.DryRun = &yes })
	if !responseIn(t, body).Allowed || !strings.Contains(log.String(), `"dryRun"=true`) {
		t.Errorf("got %s, log %s", body, log)
	}
	if got := counted(t, registry, "outrigger_injection_total"); got != nil {
		t.Errorf("counted: %v", got)
	}
}

// wantCount requires that one request was counted in all, with this result and reason.
func wantCount(t *testing.T, registry *prometheus.Registry, result, reason string) {
	t.Helper()
	if diff := cmp.Diff([]string{fmt.Sprintf("reason=%s result=%s 1", reason, result)}, counted(t, registry, "outrigger_injection_total")); diff != "" {
		t.Errorf("metric: -want +got\n%s", diff)
	}
}

// counted returns the series of a metric, "label=value … number".
func counted(t *testing.T, registry *prometheus.Registry, name string) []string {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, metric := range family.GetMetric() {
			line := ""
			for _, label := range metric.GetLabel() {
				line += label.GetName() + "=" + label.GetValue() + " "
			}
			value := metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
			if value == 0 && line != "" {
				continue // one that is there before there is something to count
			}
			out = append(out, line+fmt.Sprint(value))
		}
	}
	return out
}

func TestNamespacesFromACache(t *testing.T) {
	known := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "demo", Labels: map[string]string{"a": "b"}}}
	reader := NamespacesFrom(fake.NewClientBuilder().WithObjects(known).Build())
	if got := reader.Namespace(t.Context(), "demo"); got.Labels["a"] != "b" {
		t.Errorf("got %v", got)
	}
	if got := reader.Namespace(t.Context(), "other"); got == nil || got.Name != "other" {
		t.Errorf("got %v for a namespace that is not there", got)
	}
}
