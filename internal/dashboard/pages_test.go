// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"errors"
	"fmt"
	"html"
	"html/template"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/routing"
)

func TestOverviewShowsWhatStatusReports(t *testing.T) {
	t.Parallel()
	s := newStage(t).open()
	report := reportOf(web().ServiceStatus)
	report.Frozen = "Routes are frozen."
	report.NotRunning = "No controller of Outrigger runs."
	report.Notes = []string{"You have no permission to read Nodes."}
	report.Namespaces[0].Problems = []diagnose.ProblemStatus{{Object: "Namespace demo", Reason: "GatewayNotFound", Message: "There is no such Gateway."}}
	report.Namespaces[0].WithoutSidecar = []diagnose.RestartStatus{{Workload: "Deployment/old", Pods: 1}}
	report.Certificates = []diagnose.CertificateStatus{{Webhook: "outrigger", Problem: "it has expired"}}
	s.Update(report, nil)
	page := s.page("/", http.StatusOK)
	s.has(page, "all namespaces", "in kind", "Routes are frozen.", "No controller of Outrigger runs.", "You have no permission to read Nodes.", "1 Service, 2 problems",
		"demo", "injection enabled", "1 workload without a sidecar", "GatewayNotFound", "web routed", "v1 90% 2/2", "v2 10% 1/2",
		"http://web.example.com/", "v2 progressing step 2 of 4, 10%", "it has expired")
	for _, want := range []string{`href="/services/demo/web"`, `href="http://web.example.com/"`, `aria-label="Share of requests: v1 90%, v2 10%"`} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s in\n%s", want, page)
		}
	}
}

func TestOverviewBeforeTheFirstReading(t *testing.T) {
	t.Parallel()
	s := newStage(t).open()
	const refresh = `<noscript><meta http-equiv="refresh"`
	for reading, want := range []string{"Reading the cluster: 0 Services so far.", "Reading the cluster: 120 Services so far."} {
		page := s.page("/", http.StatusOK)
		if s.has(page, want); !strings.Contains(page, refresh) || strings.Contains(page, "To get started") || len(shown(page)) != reading*pageSize {
			t.Errorf("while the cluster is read, the page is\n%s", page)
		}
		part := services(3, 40)
		part.IsPart = true
		s.Update(part, nil)
	}
	s.Update(&diagnose.StatusReport{}, nil)
	page := s.page("/", http.StatusOK)
	if s.has(page, "To get started: outrigger enable NAMESPACE"); strings.Contains(page, refresh) || strings.Contains(page, "Reading the cluster") {
		t.Errorf("after the reading, the page is\n%s", page)
	}
}

// services are namespaces of so many Services, of which each tenth has a problem.
func services(namespaces, each int) *diagnose.StatusReport {
	report := &diagnose.StatusReport{At: noon}
	for n := range namespaces {
		status := diagnose.NamespaceStatus{Name: fmt.Sprintf("ns-%03d", n), Injection: "enabled"}
		for i := range each {
			one := web().ServiceStatus
			if one.Name = fmt.Sprintf("svc-%04d", i); i%10 != 0 {
				one.Problems = nil
			}
			status.Services = append(status.Services, one)
		}
		report.Namespaces = append(report.Namespaces, status)
	}
	return report
}

var rows = regexp.MustCompile(`<th scope="row"><a href="/services/([^"]*)">`)

func shown(page string) []string {
	var out []string
	for _, match := range rows.FindAllStringSubmatch(page, -1) {
		out = append(out, match[1])
	}
	return out
}

func TestOverviewIsPaged(t *testing.T) {
	t.Parallel()
	s := newStage(t).open()
	s.Update(services(3, 40), nil)
	var all []string
	for path := "/"; path != ""; {
		page := s.page(path, http.StatusOK)
		got := shown(page)
		if len(got) == 0 || len(got) > pageSize {
			t.Fatalf("%s shows %d Services", path, len(got))
		}
		all = append(all, got...)
		path = ""
		if next := regexp.MustCompile(`href="([^"]*)" rel="next"`).FindStringSubmatch(page); next != nil {
			path = next[1]
		}
	}
	if len(all) != 120 || all[0] != "ns-000/svc-0000" || all[119] != "ns-002/svc-0039" {
		t.Errorf("the pages show %d Services, from %s to %s", len(all), all[0], all[len(all)-1])
	}
	seen := map[string]bool{}
	for _, name := range all {
		if seen[name] {
			t.Errorf("%s is shown twice", name)
		}
		seen[name] = true
	}
	s.has(s.page("/?page=2", http.StatusOK), "Page 2 of 3", "ns-001 (continued)", "ns-002")
	for path, want := range map[string]string{"/?page=0": "Page 1 of 3", "/?page=-1": "Page 1 of 3", "/?page=99": "Page 3 of 3", "/?page=x": "Page 1 of 3"} {
		s.has(s.page(path, http.StatusOK), want)
	}
}

func TestOverviewFinds(t *testing.T) {
	t.Parallel()
	s := newStage(t).open()
	report := services(3, 40)
	report.Namespaces = append(report.Namespaces, diagnose.NamespaceStatus{Name: "zzz", Problems: []diagnose.ProblemStatus{{Object: "Namespace zzz", Reason: "InvalidAnnotation"}}})
	s.Update(report, nil)
	for path, c := range map[string]struct {
		count   int
		summary string
	}{
		"/?q=svc-0012":              {3, "3 of 120 Services"},
		"/?q=ns-001":                {40, "40 of 120 Services"},
		"/?q=ns-001/svc-0012":       {1, "1 of 120 Services"},
		"/?q=+0012+ns-002+":         {1, "1 of 120 Services"},
		"/?problems=1":              {12, "12 of 120 Services, 13 problems"},
		"/?problems=1&q=ns-002":     {4, "4 of 120 Services"},
		"/?q=none":                  {0, "0 of 120 Services, 0 problems"},
		"/?q=%3Cscript%3Ealert(1)":  {0, "0 of 120 Services"},
		"/?problems=1&q=zzz":        {0, "0 of 120 Services, 1 problem zzz"},
		"/?problems=1&q=zzz&page=7": {0, "InvalidAnnotation"},
	} {
		page := s.page(path, http.StatusOK)
		if got := len(shown(page)); got != c.count {
			t.Errorf("%s shows %d Services, want %d", path, got, c.count)
		}
		s.has(page, c.summary)
	}
	s.has(s.page("/?q=none", http.StatusOK), "No Service matches.")
	if page := s.page("/?q=ns-0&problems=", http.StatusOK); !strings.Contains(page, `href="/?page=2&amp;q=ns-0"`) {
		t.Errorf("the next page forgets the search:\n%s", page)
	}
}

// A namespace without Services is on one page, wherever the pages begin.
func TestPagesHaveEachNamespaceWithoutServicesOnce(t *testing.T) {
	t.Parallel()
	for _, each := range [][]int{{0}, {0, 0}, {50, 0}, {0, 50}, {25, 0, 25}, {50, 0, 50}, {49, 0, 1, 0}, {100, 0}, {0, 100, 0, 1}, {}} {
		var all []overviewNamespace
		total, empty := 0, 0
		for i, count := range each {
			all = append(all, overviewNamespace{NamespaceStatus: diagnose.NamespaceStatus{Name: fmt.Sprint(i), Services: make([]diagnose.ServiceStatus, count)}})
			if total += count; count == 0 {
				empty++
			}
		}
		services, without := 0, 0
		pages := max(1, (total+pageSize-1)/pageSize)
		for page := range pages {
			for _, n := range pageOf(all, page+1, pages) {
				if services += len(n.Services); len(n.Services) == 0 {
					without++
				}
			}
		}
		if services != total || without != empty {
			t.Errorf("%v: the pages show %d Services of %d, and %d namespaces without of %d", each, services, total, without, empty)
		}
	}
}

// The timeline says only until when a past decision was in effect: what replaced it can be a repetition of an earlier one, which is not listed.
func TestTimelineSaysOnlyWhatIsRecorded(t *testing.T) {
	t.Parallel()
	one := web()
	one.Canary, one.Events = nil, nil
	one.History = []diagnose.PastDecision{{Default: "v2", Until: "2026-01-02T11:00:00Z"}, {Default: "v1", Weights: "v1=90,v2=10", Until: "2026-01-02T10:00:00Z"}, {Default: "v1", TooLong: true, Until: "2026-01-02T09:00:00Z"}}
	var got []string
	for _, entry := range timelineOf(one) {
		got = append(got, entry.Message)
	}
	want := []string{"In effect until then: default v2", "In effect until then: default v1, weights v1=90,v2=10", "In effect until then: default v1, with weights too long to be recorded"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestServicePage(t *testing.T) {
	t.Parallel()
	s := newStage(t).open()
	s.services["demo/web"] = web()
	page := s.page("/services/demo/web", http.StatusOK)
	s.has(page, "Service demo/web", "routed", "on, by label outrigger.dev/routing on the Service", "v1, because it was the first version when the default was recorded",
		"Next step 2026-01-02 12:01:00 UTC", "UnknownAnnotation", "Outrigger does not read this annotation.",
		"end-user=jason v2 100%", "all other requests v1 90%, v2 10% v2 5%", "step 2 of 4", "error-rate 0.2% (&lt;1%)",
		"v1 default 90% Deployment/web-v1 fixed 2 of 2 web:1", "CanaryStep", "Decision 2026-01-02 11:00:00 UTC In effect until then: default v1, weights v1=100", "VirtualService web kind: VirtualService",
		"outrigger explain web -n demo")
	if want := `<code>kubectl annotate service -n demo web outrigger.dev/weights=v1=90,v2=10 --overwrite</code>`; !strings.Contains(page, want) {
		t.Errorf("the fix cannot be copied: no %s in\n%s", want, page)
	}
	s.has(s.page("/services/demo/none", http.StatusNotFound), "Namespace demo has no Service none")
}

// A Service with nothing but a name shows what is absent, not a blank page.
func TestServicePageWithoutAnything(t *testing.T) {
	t.Parallel()
	s := newStage(t).open()
	s.services["demo/web"] = &Service{
		ServiceExplanation: diagnose.ServiceExplanation{Namespace: "demo", ServiceStatus: diagnose.ServiceStatus{Name: "web", State: diagnose.StateUnknown}},
		Facts:              web().Facts,
	}
	s.has(s.page("/services/demo/web", http.StatusOK), "No problems.", "all requests unknown", "No pods.", "none is recorded", "No Events and no past decisions.", "Generated objects None.")
}

func TestMissingPermissionIsNamed(t *testing.T) {
	t.Parallel()
	s := newStage(t).open()
	s.denied = "no permission to patch Service demo/web"
	s.services["demo/web"] = web()
	s.services["demo/web"].Notes = []string{"You have no permission to read Events."}
	s.has(s.page("/services/demo/web", http.StatusOK), "No permission to patch Service demo/web", "You have no permission to read Events.")
	s.failure = &Error{http.StatusForbidden, errors.New("no permission to list Services in namespace demo")}
	s.has(s.page("/services/demo/other", http.StatusForbidden), "No permission to list Services in namespace demo")
}

func TestInjectionPages(t *testing.T) {
	t.Parallel()
	s := newStage(t).open()
	s.has(s.page("/injection", http.StatusOK), "Every pod that should have a sidecar has the current one.")
	s = newStage(t).open()
	s.coverage.Pods.Missing, s.coverage.Notes = 2, []string{"You have no permission to read Nodes."}
	s.coverage.Workloads = []diagnose.WorkloadCoverage{
		{Namespace: "demo", Workload: "Deployment/web-v1", State: "missing", Reason: "NoSidecar", Pods: []string{"a", "b"}, Of: 3, Command: "kubectl rollout restart deployment/web-v1 -n demo"},
		{Namespace: "demo", Workload: "Job/once", State: "outdated", Reason: "ImageDiffers", Details: []string{"istio-proxy: image"}, Pods: []string{"c"}, Of: 1},
	}
	page := s.page("/injection", http.StatusOK)
	s.has(page, "2 without a sidecar", "missing 2 of 3 NoSidecar", "outdated 1 of 1 ImageDiffers istio-proxy: image (Job/once in namespace demo: its next pod gets the sidecar)", "You have no permission to read Nodes.")
	if !strings.Contains(page, `href="/injection/demo/Deployment/web-v1"`) || !strings.Contains(page, "<code>kubectl rollout restart deployment/web-v1 -n demo</code>") {
		t.Errorf("no link or command:\n%s", page)
	}
	s.explained = &Explanation{
		InjectionExplanation: diagnose.InjectionExplanation{Kind: "Deployment", Namespace: "demo", Name: "web-v1", Sidecar: "A new pod gets no sidecar.", Change: []string{"Label the namespace: kubectl label namespace demo istio-injection=enabled"}},
		Paragraphs:           []diagnose.Paragraph{{Heading: "Webhooks", Rows: [][]string{{"Outrigger", "does not match"}}}},
	}
	for path, want := range map[string]string{
		"/injection/demo/Deployment/web-v1":             `<p class="crumbs"><a href="/injection">Injection</a></p>`,
		"/injection/demo/Deployment/web-v1?service=web": `<a href="/services/demo/web">web</a></p>`,
	} {
		if page := s.page(path, http.StatusOK); !strings.Contains(page, want) {
			t.Errorf("%s does not lead back: no %s in\n%s", path, want, page)
		}
	}
	s.has(s.page("/injection/demo/Deployment/web-v1", http.StatusOK), "A new pod gets no sidecar.", "kubectl label namespace demo istio-injection=enabled", "Webhooks Outrigger does not match", "outrigger explain Deployment/web-v1 -n demo")
}

func TestReadOnlyRefusesActions(t *testing.T) {
	t.Parallel()
	s := newStage(t).open()
	s.ReadOnly = true
	s.services["demo/web"] = web()
	if page := s.page("/services/demo/web", http.StatusOK); strings.Contains(page, `method="post"`) {
		t.Errorf("there are actions:\n%s", page)
	}
	s.has(s.page("/", http.StatusOK), "read-only")
	w := s.do(s.request(http.MethodPost, "/actions/demo/web/shift", map[string][]string{"form-token": {s.formToken}}))
	if w.Code != http.StatusForbidden || s.acted > 0 || len(s.written) > 0 {
		t.Errorf("%d: %d %v", w.Code, s.acted, s.written)
	}
}

// hostileText is what an attacker writes where the API server lets anybody write.
const hostileText = `"'><script>alert(1)</script><img src=x onerror=alert(1)>{{.}}</textarea></code></svg>javascript:alert(1)` + "\r\nevent: page\r\n\u2028"

// poison replaces each text of a value by a hostile one.
func poison(v reflect.Value) { poisonWith(hostileText, v) }

func poisonWith(text string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			poisonWith(text, v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				poisonWith(text, v.Field(i))
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			poisonWith(text, v.Index(i))
		}
	case reflect.String:
		v.SetString(text)
	}
}

// Every text from the cluster, in every field of everything that pages show, stays text.
func TestHostileTextsAreEscaped(t *testing.T) {
	t.Parallel()
	s := newStage(t).open()
	one := web()
	one.Routes = []diagnose.PathStatus{{Hosts: []string{""}}}
	one.Pending = []diagnose.PendingStatus{{Missing: []string{""}}}
	one.Superseded = []diagnose.SupersededStatus{{}}
	one.Due, one.Unwritten, one.Notes = []string{""}, []string{""}, []string{""}
	one.Canary.Failing = []string{""}
	one.Metrics = &Metrics{At: noon, Versions: []VersionMetrics{{ErrorRate: Measured{IsUnknown: true}}}}
	facts := one.Facts
	one.Facts = diagnose.ActionFacts{}
	poison(reflect.ValueOf(one).Elem())
	one.Facts = facts
	one.Canary.State = "progressing"
	report := reportOf(one.ServiceStatus)
	report.Certificates = []diagnose.CertificateStatus{{}}
	report.Namespaces[0].WithoutSidecar = []diagnose.RestartStatus{{}}
	report.Namespaces[0].Problems = []diagnose.ProblemStatus{{}}
	report.Notes = []string{""}
	poison(reflect.ValueOf(report).Elem())
	s.services["demo/web"] = one
	two, shown := *one, *one.Metrics
	two.Metrics, shown.Unavailable = &shown, "" // so that the table is shown
	s.services["demo/two"] = &two
	s.coverage.Workloads, s.coverage.Notes = []diagnose.WorkloadCoverage{{Details: []string{""}, Pods: []string{""}}, {}}, []string{""}
	poison(reflect.ValueOf(s.coverage).Elem())
	s.coverage.Workloads[1].Command = ""
	s.explained = &Explanation{Paragraphs: []diagnose.Paragraph{{Rows: [][]string{{""}}}}, Notes: []string{""}}
	s.explained.Change, s.explained.Decision = []string{""}, &diagnose.InjectionDecision{Problems: []diagnose.ProblemStatus{{}}}
	poison(reflect.ValueOf(s.explained).Elem())
	s.denied = hostileText
	s.Scope, s.Cluster = hostileText, hostileText
	s.Update(report, nil)
	s.Update(nil, errors.New(hostileText))
	check := func(name, page string) {
		t.Helper()
		for _, bad := range []string{"<script>alert", "<img src=x", "onerror=alert(1)>", `href="javascript:`, "</textarea>", "</svg>javascript"} {
			if strings.Contains(page, bad) {
				t.Errorf("%s contains %s", name, bad)
			}
		}
		if tags := regexp.MustCompile(`<[^>]*>`).FindAllString(page, -1); tags != nil {
			for _, tag := range tags {
				for _, bad := range []string{" onerror", " onclick", " onload", " style=", "javascript:alert"} {
					if strings.Contains(regexp.MustCompile(`"[^"]*"`).ReplaceAllString(tag, `""`), bad) {
						t.Errorf("%s has the tag %s", name, tag)
					}
				}
			}
		}
	}
	for _, path := range []string{"/", "/?problems=1", "/injection", "/injection/demo/Deployment/web", "/services/demo/web", "/services/demo/two", "/services/demo/%3Cscript%3Ealert(1)%3C%2Fscript%3E", "/%3Cscript%3Ealert(1)"} {
		w := s.do(s.request(http.MethodGet, path, nil))
		if !strings.Contains(w.Body.String(), "&lt;script&gt;") {
			t.Errorf("%s shows no hostile text", path)
		}
		check(path, w.Body.String())
	}
}

// inline is what the Content-Security-Policy does not allow.
var inline = regexp.MustCompile(`(?i)<style|\sstyle\s*=|\son[a-z]+\s*=|<script(?:\s[^>]*)?>\s*\S|javascript:`)

func TestPagesHaveNoInlineScriptOrStyle(t *testing.T) {
	t.Parallel()
	s := newStage(t).open()
	s.services["demo/web"] = web()
	s.explained = &Explanation{}
	s.Update(reportOf(web().ServiceStatus), nil)
	for _, path := range []string{"/", "/injection", "/injection/demo/Deployment/web", "/services/demo/web", "/none"} {
		page := strings.ReplaceAll(s.do(s.request(http.MethodGet, path, nil)).Body.String(), "</script>", "")
		page = regexp.MustCompile(`<script src="[^"]*" defer>\s*`).ReplaceAllString(page, "")
		if found := inline.FindString(page); found != "" {
			t.Errorf("%s has %q", path, found)
		}
	}
	for _, bad := range []string{`<p style="x">`, `<rect STYLE = "x">`, `<style>`, `<a onclick="x">`, `<script>x`} {
		if !inline.MatchString(bad) {
			t.Errorf("%s is not found", bad)
		}
	}
}

// An error or a reason begins with a capital letter on a page, unless it begins with a name or a command.
func TestSentencesBeginWithACapitalLetter(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "",
		"no permission to patch Service demo/web": "No permission to patch Service demo/web",
		"warning: canary v2 was aborted":          "Warning: canary v2 was aborted",
		"cannot":                                  "Cannot",
		"service/web returns to v1":               "service/web returns to v1",
		"v2 has a problem":                        "v2 has a problem",
		"error-rate 5% (<1%)":                     "error-rate 5% (<1%)",
		"outrigger.dev/canary was removed":        "outrigger.dev/canary was removed",
		"routing.freeze is true":                  "routing.freeze is true",
		"metadata.annotations[x] is invalid":      "metadata.annotations[x] is invalid",
		"forbidden: no":                           "Forbidden: no",
		"kubectl get pods -n demo":                "kubectl get pods -n demo",
		`"v2=1" names a weight`:                   `"v2=1" names a weight`,
		"Service web has no canary":               "Service web has no canary",
		"été":                                     "été",
	} {
		if got := sentence(text); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// aCommand is how a command begins in texts of the pages.
var aCommand = regexp.MustCompile(`(?:kubectl|outrigger) (?:annotate|canary|cluster-info|dashboard|describe|enable|explain|get|label|promote|rollout|shift|status|undo)\b`)

// A command that is copied from a page acts on the cluster that the page shows.
func TestCommandsOnPagesHaveTheFlagsOfTheCluster(t *testing.T) {
	t.Parallel()
	s := newStage(t, func(o *Options) { o.Flags = diagnose.ClusterFlags{{Name: "context", Value: "my cluster"}} }).open()
	const flag = "'--context=my cluster'"
	one := web()
	s.failure = diagnose.WithCommand("this dashboard shows only namespace demo. For namespace shop: ", "outrigger dashboard -n shop")
	elsewhere := s.do(s.request(http.MethodGet, "/services/shop/web", nil)).Body.String()
	s.failure = nil
	one.Routing = "off: namespace demo has no label that requests routes. To change that: outrigger enable demo"
	one.Skipped = "It is headless. Example: kubectl get service web -n demo."
	one.Superseded = []diagnose.SupersededStatus{{Annotation: "outrigger.dev/weights", Value: "v1=1", By: "v2", Advice: "To update the annotations: kubectl annotate service -n demo web outrigger.dev/weights- --overwrite."}}
	s.services["demo/web"] = one
	report := reportOf(one.ServiceStatus)
	report.Frozen = "Routes are frozen. To see it: outrigger status"
	report.NotRunning = "No controller runs. To see why: kubectl get pods -n outrigger-system"
	report.Certificates = []diagnose.CertificateStatus{{Webhook: "outrigger", Problem: "it has expired"}}
	report.Namespaces[0].Problems = one.Problems
	s.coverage.Workloads = []diagnose.WorkloadCoverage{{Namespace: "demo", Workload: "Deployment/web-v1", State: "missing", Pods: []string{"a"}, Of: 1, Command: "kubectl rollout restart deployment/web-v1 -n demo"}}
	s.explained = &Explanation{InjectionExplanation: diagnose.InjectionExplanation{Kind: "Deployment", Namespace: "demo", Name: "web", Change: []string{"kubectl label namespace demo istio-injection=enabled"}}}
	s.Update(report, nil)
	s.Update(nil, diagnose.WithCommand("the cluster is unreachable. To test the connection: ", "kubectl cluster-info "+flag))
	preview := s.previewed(diagnose.ActionShift, url.Values{"version": {"v1", "v2"}, "weight": {"90", "10"}})
	refused := s.act("/actions/demo/web/canary-pause", nil).Body.String()
	s.pending = diagnose.Sentences("service/web: VirtualService web is not written yet. If this does not change, Outrigger is not running: ")
	s.pending = append(s.pending, diagnose.TextPart{Text: "kubectl get pods -A", IsCommand: true})
	written := s.previewed(diagnose.ActionPromote, url.Values{"version": {"v2"}})
	s.act(written, nil)
	shown := map[string]string{"a refused action": refused, "another namespace": elsewhere}
	expected := map[string]int{"/": 5, "/services/demo/web": 9, "/injection": 4, "/injection/demo/Deployment/web": 5, preview: 5, written: 6, "/services/demo/none": 3, "a refused action": 4, "another namespace": 1}
	for path, commands := range expected {
		page := shown[path]
		if page == "" {
			page = s.do(s.request(http.MethodGet, path, nil)).Body.String()
		}
		got := commandCode.FindAllStringSubmatch(page, -1)
		if len(got) < commands {
			t.Errorf("%s has %d commands, want at least %d:\n%s", path, len(got), commands, page)
		}
		if text := textOf(commandCode.ReplaceAllString(page, "")); aCommand.MatchString(text) {
			t.Errorf("%s has the command %q only as text: %s", path, aCommand.FindString(text), text)
		}
		for _, command := range got {
			if text := html.UnescapeString(command[1]); !aCommand.MatchString(text) || strings.Count(text, flag) != 1 || !strings.Contains(command[2], "Copy") {
				t.Errorf("%s has the command %s", path, command[0])
			}
		}
	}
}

// The layout reads the fields of view. A field of a page with the same name would hide one of them.
func TestPagesHideNoFieldOfTheLayout(t *testing.T) {
	t.Parallel()
	fields := reflect.VisibleFields(reflect.TypeFor[view]())
	for _, page := range []any{overviewPage{}, servicePage{}, actionPage{}, changePage{}, injectionPage{}, explainPage{}, failedPage{}, refusedPage{}} {
		for _, field := range fields {
			if found, _ := reflect.TypeOf(page).FieldByName(field.Name); len(found.Index) != 2 {
				t.Errorf("%T has its own field %s", page, field.Name)
			}
		}
	}
}

// A change whose time has come is due: no page shows the past as the future.
func TestNextChangeIsNotInThePast(t *testing.T) {
	t.Parallel()
	s := newStage(t).open()
	s.services["demo/web"] = web()
	page := s.page("/services/demo/web", http.StatusOK)
	s.has(page, "Next step 2026-01-02 12:01:00 UTC at the earliest")
	if !strings.Contains(page, `<time datetime="2026-01-02T12:01:00Z" data-due>`) {
		t.Errorf("the script does not know that it is a time to come:\n%s", page)
	}
	s.now = noon.Add(time.Minute)
	s.has(s.page("/services/demo/web", http.StatusOK), "Next step when its checks pass")
	s.services["demo/web"].Canary.Paused = true
	if text := textOf(s.page("/services/demo/web", http.StatusOK)); strings.Contains(text, "Next step") {
		t.Errorf("a paused canary has a next step: %s", text)
	}
	s.services["demo/web"].Canary = nil
	s.has(s.page("/services/demo/web", http.StatusOK), "Next change now")
	s.now = noon
	s.has(s.page("/services/demo/web", http.StatusOK), "Next change 2026-01-02 12:01:00 UTC")
}

// While a canary progresses, its checks are evaluated every few seconds. That does not change the route, and the page shows the next step of
// the canary.
func TestNextChangeIgnoresEvaluationsOfACanary(t *testing.T) {
	t.Parallel()
	s := newStage(t).open()
	one := web()
	one.ChangesAt, one.Canary.Next = new(noon.Add(10*time.Second)), new(noon.Add(30*time.Minute))
	s.services["demo/web"] = one
	page := s.page("/services/demo/web", http.StatusOK)
	s.has(page, "Next step 2026-01-02 12:30:00 UTC at the earliest")
	if text := textOf(page); strings.Contains(text, "Next change") {
		t.Errorf("there is another next change: %s", text)
	}
	one.Canary.State = "waiting"
	s.has(s.page("/services/demo/web", http.StatusOK), "Next change 2026-01-02 12:00:10 UTC")
}

// During a freeze, a canary is shown like one that is paused, on all pages.
func TestFrozenCanary(t *testing.T) {
	t.Parallel()
	s := newStage(t).open()
	one := web()
	one.Canary.IsFrozen, one.Canary.Reason, one.Canary.StepPercents = true, "blue waits", []int32{5, 10, 50, 100}
	s.services["demo/web"] = one
	s.Update(reportOf(one.ServiceStatus), nil)
	page := s.page("/services/demo/web", http.StatusOK)
	s.has(page, "v2 progressing, frozen", "canary, step 2 of 4, frozen", "Reason blue waits", "Steps 5%, 10%, 50%, 100%")
	if strings.Contains(textOf(page), "Next step") {
		t.Errorf("there is a next step:\n%s", page)
	}
	for path, page := range map[string]string{"the Service": page, "the Overview": s.page("/", http.StatusOK)} {
		if strings.Contains(page, `data-state="progressing"`) || strings.Contains(page, `class="current"`) {
			t.Errorf("%s shows a canary that progresses:\n%s", path, page)
		}
	}
}

// The only rule of a route is about all requests, in the drawing and in the table.
func TestTheOnlyRuleIsAboutAllRequests(t *testing.T) {
	t.Parallel()
	s := newStage(t).open()
	one := web()
	one.Rules = one.Rules[1:]
	s.services["demo/web"] = one
	if text := textOf(s.page("/services/demo/web", http.StatusOK)); strings.Contains(text, "other requests") || !strings.Contains(text, "all requests v1 90%") {
		t.Errorf("there are other requests: %s", text)
	}
}

// An arrow and its target are one cell, and no line breaks within a flag.
func TestRowsOfExplanations(t *testing.T) {
	t.Parallel()
	if got, want := cells([]string{"all requests", "->", "v1", "copied to v2=5%"}), []string{"all requests", "-> v1", "copied to v2=5%"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := flow("a <b> -n\u202e -L"), template.HTML(`a &lt;b&gt; <span class="flag">-n\u202e</span> <span class="flag">-L</span>`); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// A canary that a decision has ended is not shown as one that continues.
func TestCanaryEndedByADecision(t *testing.T) {
	t.Parallel()
	s := newStage(t).open()
	one := web()
	one.Canary.EndsAs, one.Canary.Next, one.Canary.Checks, one.Canary.Reason = routing.CanaryAborted, nil, nil, "aborted; takes effect when the freeze ends (outrigger.dev/canary was removed)"
	s.services["demo/web"] = one
	s.Update(reportOf(one.ServiceStatus), nil)
	page := s.page("/services/demo/web", http.StatusOK)
	s.has(page, "Canary v2 aborted, not applied yet step 2 of 4, 10%", "aborted; takes effect when the freeze ends (outrigger.dev/canary was removed)", "canary, step 2 of 4, aborted, not applied yet")
	for path, page := range map[string]string{"the Service": page, "the Overview": s.page("/", http.StatusOK)} {
		if strings.Contains(page, "progressing") || strings.Contains(page, `class="current"`) {
			t.Errorf("%s shows a canary that continues:\n%s", path, page)
		}
	}
}

// The Overview of 5,000 Services is shown within a second, in little memory.
func TestFiveThousandServices(t *testing.T) { // not parallel: it measures memory
	s := newStage(t).open()
	s.Update(services(50, 100), nil)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	began := time.Now()
	page := s.page("/", http.StatusOK)
	took := time.Since(began)
	runtime.ReadMemStats(&after)
	if got := len(shown(page)); got != pageSize {
		t.Fatalf("the first page shows %d Services", got)
	}
	t.Logf("first page of 5,000 Services: %v, %d KiB of HTML, %d KiB allocated; the report and the server take %d MiB", took.Round(time.Millisecond), len(page)>>10, (after.TotalAlloc-before.TotalAlloc)>>10, before.HeapAlloc>>20)
	if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 20<<20 {
		t.Errorf("the page allocates %d MiB: more than what it shows", allocated>>20)
	}
	s.has(page, "5000 Services, 500 problems", "Page 1 of 100")
}
