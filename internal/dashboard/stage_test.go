// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/routing"
)

const address = "127.0.0.1:4000"

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// stage is a Server with the data of a test, and a browser that has opened it.
type stage struct {
	*Server
	t         *testing.T
	now       time.Time
	services  map[string]*Service
	coverage  *diagnose.CoverageReport
	explained *Explanation
	pending   diagnose.Text // what a written change waits for
	failure   error         // of all reads
	denied    string        // why there are no actions
	acted     int           // how often an action was passed on
	unlimited int           // how many calls had no deadline
	during    func()        // is called in each write that is not a dry run
	refused   error         // of all writes
	refusing  string        // the Service whose writes are refused; empty for all
	others    []string      // Services that select the same pods
	written   []string      // annotations of Services, followed by "(dry run)" if they were not written

	cookie    *http.Cookie
	formToken string
}

func newStage(t *testing.T, change ...func(*Options)) *stage {
	t.Helper()
	s := &stage{t: t, now: noon, services: map[string]*Service{}, coverage: &diagnose.CoverageReport{}}
	options := Options{Address: address, Scope: "all namespaces", Cluster: "kind", Data: s, Actions: s, Now: func() time.Time { return s.now }}
	for _, one := range change {
		one(&options)
	}
	server, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	s.Server = server
	return s
}

// Service implements Data.
func (s *stage) Service(_ context.Context, namespace, name string) (*Service, error) {
	if one := s.services[namespace+"/"+name]; one != nil && s.failure == nil {
		return one, nil
	}
	if s.failure != nil {
		return nil, s.failure
	}
	return nil, &Error{http.StatusNotFound, errors.New("namespace " + namespace + " has no Service " + name)}
}

// Injection implements Data.
func (s *stage) Injection(context.Context) (*diagnose.CoverageReport, error) {
	return s.coverage, s.failure
}

// Explain implements Data.
func (s *stage) Explain(context.Context, string, string, string) (*Explanation, error) {
	return s.explained, s.failure
}

// Denied implements Actions.
func (s *stage) Denied(ctx context.Context, _, _ string) (string, error) {
	s.limits(ctx)
	s.acted++
	return s.denied, s.failure
}

// Facts implements Actions.
func (s *stage) Facts(ctx context.Context, namespace, name string) (diagnose.ActionFacts, []string, error) {
	s.limits(ctx)
	if _, err := s.Service(s.t.Context(), namespace, name); err != nil {
		return diagnose.ActionFacts{}, nil, err
	}
	var others []routing.Observed
	for _, other := range s.others {
		others = append(others, routed(namespace, other))
	}
	return diagnose.ActionFacts{Main: routed(namespace, name), Others: others, Gaps: diagnose.Gaps{}, SystemNamespace: "outrigger-system", Now: s.now}, nil, nil
}

// Write implements Actions.
func (s *stage) Write(ctx context.Context, service diagnose.Forecast, isDryRun bool) error {
	s.limits(ctx)
	line := service.Command
	if s.during != nil && !isDryRun {
		s.during()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if isDryRun {
		line += " (dry run)"
	}
	if s.refused != nil && (s.refusing == "" || s.refusing == service.Observed.Service.Name) {
		return s.refused
	}
	s.written = append(s.written, line)
	return s.failure
}

// Pending implements Actions.
func (s *stage) Pending(ctx context.Context, _ diagnose.Change) (diagnose.Text, error) {
	s.limits(ctx)
	return s.pending, s.failure
}

func (s *stage) limits(ctx context.Context) {
	if _, has := ctx.Deadline(); !has {
		s.unlimited++
	}
}

// routed returns a Service with a route to v1, and ready pods of v1 and v2.
func routed(namespace, name string) routing.Observed {
	old := metav1.NewTime(noon.Add(-time.Minute))
	out := routing.Observed{
		Service: &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: "uid", ResourceVersion: "7", CreationTimestamp: old},
			Spec:       corev1.ServiceSpec{ClusterIP: "10.0.0.1", Selector: map[string]string{"app": name}, Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
		},
		Namespace: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace, Labels: map[string]string{api.LabelInjection: "enabled"}}},
		Settings:  api.DefaultConfig().RoutingSettings(),
	}
	for _, version := range []string{"v1", "v2"} {
		ref := routing.WorkloadRef{Kind: "Deployment", Name: name + "-" + version}
		labels := map[string]string{"app": name, "version": version}
		out.Pods = append(out.Pods, routing.PodGroup{Workload: ref, Version: version, Pods: 2, Ready: 2, Created: old.Time})
		out.Workloads = append(out.Workloads, routing.Workload{WorkloadRef: ref, Labels: labels, Selector: labels, Replicas: 2, Created: old.Time})
	}
	out.Intent, _ = out.Settings.Limits.IntentOf(out.Service, out.Namespace, nil)
	for range 3 {
		out.Existing = routing.Plan(diagnose.WithoutDelays(out), noon).Objects
	}
	return out
}

// request returns a request of the browser to a path of the dashboard, with its cookie if it has one.
func (s *stage) request(method, path string, form url.Values) *http.Request {
	r := httptest.NewRequest(method, path, strings.NewReader(form.Encode()))
	r.Host = address
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if s.cookie != nil {
		r.AddCookie(s.cookie)
	}
	return r
}

func (s *stage) do(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// open uses a new token.
func (s *stage) open() *stage {
	s.t.Helper()
	token, _ := s.NewToken()
	w := s.do(s.request(http.MethodGet, "/open?token="+token, nil))
	cookies := w.Result().Cookies()
	if w.Code != http.StatusOK || len(cookies) != 1 {
		s.t.Fatalf("/open: %d, %d cookies: %s", w.Code, len(cookies), w.Body)
	}
	s.cookie = cookies[0]
	one, _ := s.sessions.find(s.cookie.Value)
	s.formToken = one.formToken
	return s
}

// page returns a page that must have this status.
func (s *stage) page(path string, status int) string {
	s.t.Helper()
	w := s.do(s.request(http.MethodGet, path, nil))
	if w.Code != status {
		s.t.Fatalf("GET %s: %d, want %d:\n%s", path, w.Code, status, w.Body)
	}
	return w.Body.String()
}

var spaces = regexp.MustCompile(`\s+`)

// textOf returns the text of a page without tags.
func textOf(page string) string {
	return strings.TrimSpace(spaces.ReplaceAllString(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(page, " "), " "))
}

func (s *stage) has(page string, want ...string) {
	s.t.Helper()
	text := textOf(page)
	for _, w := range want {
		if !strings.Contains(text, w) {
			s.t.Errorf("the page does not contain %q: %.1500s", w, text)
		}
	}
}

func web() *Service {
	status := diagnose.ServiceStatus{
		Name: "web", State: diagnose.StateRouted, Default: "v1",
		Versions: []diagnose.VersionStatus{
			{Version: "v1", Ready: 2, Pods: 2, Weight: new(90), Workloads: []string{"Deployment/web-v1"}, Subset: "v1"},
			{Version: "v2", Ready: 1, Pods: 2, Weight: new(10), Workloads: []string{"Deployment/web-v2"}, Subset: "v2"},
		},
		Gateways: []diagnose.GatewayStatus{{Name: "demo/web", Hosts: []string{"web.example.com"}, URL: "http://web.example.com/"}},
		Canary:   &diagnose.CanaryStatus{Version: "v2", State: "progressing", Step: 2, Steps: 4, Percent: 10, Since: new(noon), Next: new(noon.Add(time.Minute)), Checks: []string{"error-rate 0.2% (<1%)"}},
		History:  []diagnose.PastDecision{{Default: "v1", Weights: "v1=100", Until: "2026-01-02T11:00:00Z"}},
		Problems: []diagnose.ProblemStatus{{
			Object: "Service demo/web", Field: "metadata.annotations[outrigger.dev/wegihts]", Value: "x", Reason: "UnknownAnnotation", Message: "Outrigger does not read this annotation.",
			Advice: "Example: kubectl annotate service -n demo web outrigger.dev/weights=v1=90,v2=10 --overwrite.",
		}},
	}
	return &Service{
		ServiceExplanation: diagnose.ServiceExplanation{
			Kind: "Service", Namespace: "demo", ServiceStatus: status, Routing: "on, by label outrigger.dev/routing on the Service", VersionLabel: "version",
			DefaultBecause: "it was the first version when the default was recorded", ChangesAt: new(noon.Add(time.Minute)),
			Rules: []diagnose.RuleStatus{
				{Match: "end-user=jason", To: []diagnose.ShareStatus{{Version: "v2", Weight: 100}}},
				{To: []diagnose.ShareStatus{{Version: "v1", Weight: 90}, {Version: "v2", Weight: 10}}, Mirror: []diagnose.MirrorStatus{{Version: "v2", Percent: 5}}},
			},
		},
		ResourceVersion: "7",
		Facts:           diagnose.ActionFacts{Main: routed("demo", "web"), Gaps: diagnose.Gaps{}, Now: noon},
		Explanation:     []diagnose.Paragraph{{Heading: "Service demo/web", Rows: [][]string{{"State", "routed"}}}},
		Workloads: []Workload{
			{WorkloadStatus: diagnose.WorkloadStatus{Workload: "Deployment/web-v1", Version: "v1", Ready: 2, Pods: 2, Fixed: true}, Images: []string{"web:1"}, Created: noon},
			{WorkloadStatus: diagnose.WorkloadStatus{Workload: "Deployment/web-v2", Version: "v2", Ready: 1, Pods: 2, Fixed: true}, Images: []string{"web:2"}, Created: noon},
		},
		Events:    []Event{{At: noon, Kind: "Normal", Object: "Service web", Reason: "CanaryStep", Message: "Canary v2 gets 10% of the requests.", Count: 1}},
		Manifests: []Manifest{{Kind: "VirtualService", Name: "web", YAML: "kind: VirtualService\n"}},
	}
}

func reportOf(services ...diagnose.ServiceStatus) *diagnose.StatusReport {
	return &diagnose.StatusReport{At: noon, Namespaces: []diagnose.NamespaceStatus{{Name: "demo", Injection: "enabled", Services: services}}}
}
