// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"outrigger.dev/outrigger/api"
)

// namesOnly knows of each Namespace only its name.
type namesOnly struct{}

func (namesOnly) Namespace(_ context.Context, name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

// adviceOn sends a request to a handler and returns the HTTP status, whether it is allowed, and the warnings.
func adviceOn(t *testing.T, handler http.Handler, request admissionv1.AdmissionRequest) (int, bool, []string) {
	t.Helper()
	request.UID = "1"
	body, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Request: &request,
	})
	if err != nil {
		t.Fatal(err)
	}
	call := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
	call.Header.Set("Content-Type", "application/json")
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, call)
	if answer.Code != http.StatusOK {
		return answer.Code, false, nil
	}
	var out admissionv1.AdmissionReview
	if err := json.Unmarshal(answer.Body.Bytes(), &out); err != nil {
		t.Fatal(err)
	}
	return answer.Code, out.Response.Allowed, out.Response.Warnings
}

func raw(text string) runtime.RawExtension { return runtime.RawExtension{Raw: []byte(text)} }

func serviceWith(metadata string) runtime.RawExtension {
	return raw(`{"apiVersion":"v1","kind":"Service","metadata":{"name":"app",` + metadata + `}}`)
}

func TestServiceAdvice(t *testing.T) {
	const slip = `UnknownAnnotation: Service demo/app: metadata.annotations[outrigger.dev/wegihts] = "v1=1": Outrigger does not read this annotation. Did you mean outrigger.dev/weights?`
	bad := func(value string) string {
		return `InvalidAnnotation: Service demo/app: metadata.annotations[outrigger.dev/weights] = "` + value + `": Invalid value: the weight of v1, "` + strings.TrimPrefix(value, "v1=") + `", is not a whole number`
	}
	for name, c := range map[string]struct {
		operation admissionv1.Operation
		user      string
		old, new  runtime.RawExtension
		want      []string // beginnings
	}{
		"right words": {operation: admissionv1.Create, new: serviceWith(`"annotations":{"outrigger.dev/weights":"v1=90,v2=10"},"labels":{"outrigger.dev/routing":"enabled","app":"app"}`)},
		"bad value":   {operation: admissionv1.Create, new: serviceWith(`"annotations":{"outrigger.dev/weights":"v1=ninety"}`), want: []string{bad("v1=ninety")}},
		"misspelt key": {operation: admissionv1.Create, new: serviceWith(`"annotations":{"outrigger.dev/wegihts":"v1=1"}`),
			want: []string{slip}},
		"misspelt domain": {operation: admissionv1.Create, new: serviceWith(`"annotations":{"outriger.dev/expose":"true"}`),
			want: []string{`UnknownAnnotation: annotation outriger.dev/expose = "true" is not read. Did you mean the annotation outrigger.dev/expose?`}},
		"annotation as a label": {operation: admissionv1.Create, new: serviceWith(`"labels":{"outrigger.dev/expose":"true"}`),
			want: []string{`UnknownAnnotation: label outrigger.dev/expose = "true" is not read. Did you mean the annotation outrigger.dev/expose?`}},
		"label as an annotation": {operation: admissionv1.Create, new: serviceWith(`"annotations":{"outrigger.dev/routing":"enabled"}`),
			want: []string{`UnknownAnnotation: Service demo/app: metadata.annotations[outrigger.dev/routing] = "enabled": This is a label, not an annotation. Instead: kubectl label service -n demo app outrigger.dev/routing=enabled.`}},
		"near miss of a value": {operation: admissionv1.Create, new: serviceWith(`"labels":{"outrigger.dev/routing":"enable"}`),
			want: []string{`InvalidAnnotation: Service demo/app: metadata.labels[outrigger.dev/routing] = "enable"`}},
		"other people's keys": {operation: admissionv1.Create, new: serviceWith(`"annotations":{"example.com/weights":"x","weights":"y"},"labels":{"example.com/routing":"on"}`)},
		"old faults are not told again": {operation: admissionv1.Update,
			old: serviceWith(`"annotations":{"outrigger.dev/wegihts":"v1=1","outrigger.dev/weights":"v1=ninety"},"labels":{"outriger.dev/routing":"x"}`),
			new: serviceWith(`"annotations":{"outrigger.dev/wegihts":"v1=1","outrigger.dev/weights":"v1=eighty"},"labels":{"outriger.dev/routing":"x"}`), want: []string{bad("v1=eighty")}},
		"nobody reads what a controller is told": {operation: admissionv1.Update, user: "system:serviceaccount:kube-system:service-controller",
			old: serviceWith(`"labels":{}`), new: serviceWith(`"annotations":{"outrigger.dev/wegihts":"v1=1"}`)},
	} {
		t.Run(name, func(t *testing.T) {
			status, allowed, warnings := adviceOn(t, ServiceAdvice(namesOnly{}, api.DefaultRouteLimits(), nil), admissionv1.AdmissionRequest{
				Operation: c.operation, Namespace: "demo", Name: "app", Object: c.new, OldObject: c.old,
				Kind: metav1.GroupVersionKind{Version: "v1", Kind: "Service"}, UserInfo: authenticationv1.UserInfo{Username: c.user},
			})
			if status != http.StatusOK || !allowed {
				t.Errorf("HTTP %d, allowed: %v", status, allowed)
			}
			if len(warnings) != len(c.want) {
				t.Fatalf("warnings:\n%s\nwant:\n%s", strings.Join(warnings, "\n"), strings.Join(c.want, "\n"))
			}
			for i, want := range c.want {
				if !strings.HasPrefix(warnings[i], strings.TrimSuffix(want, "...")) && warnings[i] != want {
					t.Errorf("warning:\n%s\nwant:\n%s", warnings[i], want)
				}
			}
		})
	}
}

// removals is a TrafficReader that records the removals that it is called with.
type removals struct {
	received []WorkloadRemoval
	lost     []LostTraffic
	err      error
}

func (r *removals) LostTraffic(_ context.Context, removal WorkloadRemoval) ([]LostTraffic, error) {
	r.received = append(r.received, removal)
	return r.lost, r.err
}

func TestTrafficAdvice(t *testing.T) {
	const one, none, unsaid = `{"spec":{"replicas":1}}`, `{"spec":{"replicas":0}}`, `{"spec":{}}`
	deletion := WorkloadRemoval{Namespace: "demo", Kind: "Deployment", Name: "app-v1", Deleted: true}
	scale := WorkloadRemoval{Namespace: "demo", Kind: "Deployment", Name: "app-v1"}
	for name, c := range map[string]struct {
		operation             admissionv1.Operation
		resource, subresource string
		old, new              string
		user                  string
		want                  []WorkloadRemoval
	}{
		"delete":                      {operation: admissionv1.Delete, resource: "deployments", old: one, want: []WorkloadRemoval{deletion}},
		"delete of a daemon set":      {operation: admissionv1.Delete, resource: "daemonsets", old: unsaid, want: []WorkloadRemoval{{"demo", "DaemonSet", "app-v1", true}}},
		"scale to 0":                  {operation: admissionv1.Update, resource: "deployments", subresource: "scale", old: one, new: unsaid, want: []WorkloadRemoval{scale}},
		"edit to 0":                   {operation: admissionv1.Update, resource: "deployments", old: unsaid, new: none, want: []WorkloadRemoval{scale}},
		"stateful set to 0":           {operation: admissionv1.Update, resource: "statefulsets", subresource: "scale", old: one, new: none, want: []WorkloadRemoval{{"demo", "StatefulSet", "app-v1", false}}},
		"scale up":                    {operation: admissionv1.Update, resource: "deployments", subresource: "scale", old: unsaid, new: one},
		"stays at 0":                  {operation: admissionv1.Update, resource: "deployments", old: none, new: none},
		"an edit of something else":   {operation: admissionv1.Update, resource: "deployments", old: unsaid, new: unsaid},
		"status":                      {operation: admissionv1.Update, resource: "deployments", subresource: "status", old: one, new: none},
		"another kind":                {operation: admissionv1.Delete, resource: "replicasets", old: one},
		"the cluster's own collector": {operation: admissionv1.Delete, resource: "deployments", old: one, user: "system:serviceaccount:kube-system:generic-garbage-collector"},
	} {
		t.Run(name, func(t *testing.T) {
			reader := &removals{}
			request := admissionv1.AdmissionRequest{
				Operation: c.operation, Namespace: "demo", Name: "app-v1", SubResource: c.subresource, OldObject: raw(c.old),
				Resource: metav1.GroupVersionResource{Group: "apps", Version: "v1", Resource: c.resource},
				UserInfo: authenticationv1.UserInfo{Username: c.user},
			}
			if c.new != "" {
				request.Object = raw(c.new)
			}
			status, allowed, warnings := adviceOn(t, TrafficAdvice(reader), request)
			if status != http.StatusOK || !allowed || len(warnings) > 0 {
				t.Errorf("HTTP %d, allowed: %v, warnings: %v", status, allowed, warnings)
			}
			if diff := cmp.Diff(c.want, reader.received); diff != "" {
				t.Errorf("-want +received:\n%s", diff)
			}
		})
	}
}

func TestTrafficAdviceNamesTheCommand(t *testing.T) {
	request := admissionv1.AdmissionRequest{
		Operation: admissionv1.Delete, Namespace: "demo", Name: "app-v1", OldObject: raw(`{"spec":{}}`),
		Resource: metav1.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"},
	}
	lost := []LostTraffic{{Service: "app", Versions: []string{"v1"}, Now: "v1=100", Others: []string{"v2", "v3"}}}
	status, allowed, warnings := adviceOn(t, TrafficAdvice(&removals{lost: lost}), request)
	want := []string{"Deployment app-v1 is deleted, and holds traffic of Service app (v1=100, to v1); nothing else will receive it: outrigger promote app v3 -n demo"}
	if status != http.StatusOK || !allowed || !cmp.Equal(warnings, want) {
		t.Errorf("HTTP %d, allowed: %v, warnings: %v", status, allowed, warnings)
	}
	lost = []LostTraffic{{Service: "app", Now: "v1=100", Others: []string{"v2"}, To: []string{"v2"}}}
	_, _, warnings = adviceOn(t, TrafficAdvice(&removals{lost: lost}), request)
	want = []string{"Deployment app-v1 is deleted and serves traffic of Service app (v1=100). While it is gone, v2 receives that traffic. To keep the route instead: kubectl annotate service -n demo app outrigger.dev/default-deleted=hold"}
	if !cmp.Equal(warnings, want) {
		t.Errorf("warnings: %v", warnings)
	}
	// What a match sends there is not helped by promoting another version.
	for match, fix := range map[string]string{"": "outrigger.dev/match-", "v3=header:a:b": "outrigger.dev/match=v3=header:a:b --overwrite", "v3=header:a:b's; c": `'outrigger.dev/match=v3=header:a:b'\''s; c' --overwrite`} {
		lost = []LostTraffic{{Service: "app", Versions: []string{"v1"}, Now: "v2=100", Others: []string{"v2"}, Matches: []string{"end-user=jason"}, Match: match}}
		_, _, warnings = adviceOn(t, TrafficAdvice(&removals{lost: lost}), request)
		want = []string{"Deployment app-v1 is deleted, and receives the requests of Service app with end-user=jason; they will fail. To route them as all others: kubectl annotate service -n demo app " + fix}
		if !cmp.Equal(warnings, want) {
			t.Errorf("warnings: %v", warnings)
		}
	}
	// What cannot be found out is the failurePolicy's to judge, and neither is a panic an answer.
	if status, _, _ := adviceOn(t, TrafficAdvice(&removals{err: errors.New("no API server")}), request); status != http.StatusInternalServerError {
		t.Errorf("HTTP %d after an error", status)
	}
	if status, _, _ := adviceOn(t, TrafficAdvice(nil), request); status != http.StatusInternalServerError {
		t.Errorf("HTTP %d after a panic", status)
	}
	answer := httptest.NewRecorder()
	TrafficAdvice(&removals{}).ServeHTTP(answer, httptest.NewRequest(http.MethodPost, "/", strings.NewReader("junk")))
	if answer.Code != http.StatusBadRequest {
		t.Errorf("HTTP %d after a body that is no review", answer.Code)
	}
}

// Whatever a user may write on a Service for routing: a bad value and a slip in the key are answered.
func TestServiceAdviceKnowsEveryKey(t *testing.T) {
	for _, key := range api.RoutingKeys() {
		if !slices.Contains(key.On, "Service") {
			continue
		}
		warned := func(key string, label bool) string {
			service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "app"}}
			if label {
				service.Labels = map[string]string{key: "?"}
			} else {
				service.Annotations = map[string]string{key: "?"}
			}
			return strings.Join(ServiceWarnings(service, &corev1.Service{}, &corev1.Namespace{}, api.DefaultRouteLimits(), func(string) []string { return nil }), "\n")
		}
		if got := warned(key.Key, key.Label); !strings.HasPrefix(got, "InvalidAnnotation: ") || !strings.Contains(got, key.Key) {
			t.Errorf("%s=?: %q", key.Key, got)
		}
		if got := warned(key.Key+"x", key.Label); !strings.HasPrefix(got, "UnknownAnnotation: ") || !strings.Contains(got, key.Key+"?") {
			t.Errorf("%sx: %q", key.Key, got)
		}
	}
}
