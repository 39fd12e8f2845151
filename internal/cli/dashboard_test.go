// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"outrigger.dev/outrigger/internal/dashboard"
	"outrigger.dev/outrigger/internal/diagnose"
)

func toJSON(t *testing.T, value any) string {
	t.Helper()
	text, err := json.MarshalIndent(value, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (s *liveStage) dashboard(all bool) *dashboardData {
	kept, _ := s.watching(s.t.Context())
	return newDashboardData(kept, &clusterFlags{system: defaultSystemNamespace}, all)
}

// The page of a Service has the data of explain, and the objects around it.
func TestDashboardServiceHasTheDataOfExplain(t *testing.T) {
	t.Parallel()
	event := func(name, kind, of, message string, at time.Time) *corev1.Event {
		return &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: name}, InvolvedObject: corev1.ObjectReference{Kind: kind, Name: of}, Type: "Normal", Reason: "R", Message: message, LastTimestamp: metav1.NewTime(at), Count: 2}
	}
	s := shop(t, event("1", "Service", "app", "older", noon.Add(-time.Hour)), event("2", "Deployment", "app-v1", "newer", noon), event("3", "Pod", "app", "of a pod of this name", noon), event("4", "Service", "other", "of another", noon))
	s.annotate("app", "outrigger.dev/weights=v1=90,v2=10")
	s.reconcile("app")
	for _, all := range []bool{false, true} {
		got, err := s.dashboard(all).Service(t.Context(), "demo", "app")
		if err != nil {
			t.Fatal(err)
		}
		want := diagnose.ExplainService(s.look("app"), nil, diagnose.Surroundings{}, noon)
		if w, g := toJSON(t, want), toJSON(t, got.ServiceExplanation); w != g {
			t.Errorf("want\n%s\ngot\n%s", w, g)
		}
		if !reflect.DeepEqual(got.Explanation, got.Paragraphs()) {
			t.Errorf("explanation %v", got.Explanation)
		}
		var events, kinds []string
		for _, e := range got.Events {
			events = append(events, e.Object+": "+e.Message)
		}
		if want := []string{"Deployment app-v1: newer", "Service app: older"}; !slices.Equal(events, want) {
			t.Errorf("events %q, want %q", events, want)
		}
		for _, m := range got.Manifests {
			if kinds = append(kinds, m.Kind); !strings.Contains(m.YAML, "kind: "+m.Kind+"\n") || !strings.Contains(m.YAML, "apiVersion: networking.istio.io/v1\n") || strings.Contains(m.YAML, "status:") {
				t.Errorf("manifest\n%s", m.YAML)
			}
		}
		if !slices.Equal(kinds, []string{"DestinationRule", "VirtualService"}) || got.ResourceVersion == "" {
			t.Errorf("kinds %v, resourceVersion %q", kinds, got.ResourceVersion)
		}
		if len(got.Workloads) != 2 || got.Workloads[0].Workload != "Deployment/app-v1" || got.Workloads[0].Created.IsZero() {
			t.Errorf("workloads %+v", got.Workloads)
		}
	}
}

// Images are those of the application, not of the sidecar, each once.
func TestDashboardWorkloadsHaveImages(t *testing.T) {
	t.Parallel()
	pod := podOf("app-v3-x", map[string]string{"app": "app", "version": "v3"}, true)
	pod.Spec.Containers[0].Image, pod.Spec.Containers[1].Image = "app:3", "proxy:1"
	ended := podOf("app-v3-y", map[string]string{"app": "app", "version": "v3"}, true)
	ended.Spec.Containers[0].Image, ended.Status.Phase = "app:2", corev1.PodFailed
	s := shop(t, pod, ended)
	got, err := s.dashboard(false).Service(t.Context(), "demo", "app")
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(got.Workloads, func(w dashboard.Workload) bool { return w.Version == "v3" })
	if at < 0 || !slices.Equal(got.Workloads[at].Images, []string{"app:3"}) {
		t.Errorf("workloads %+v", got.Workloads)
	}
}

func TestDashboardPagesOfWhatIsNotThere(t *testing.T) {
	t.Parallel()
	s := shop(t)
	for name, c := range map[string]struct {
		read   func(*dashboardData) error
		all    bool
		status int
		text   string
	}{
		"Service":           {func(d *dashboardData) error { _, err := d.Service(t.Context(), "demo", "none"); return err }, false, 404, "namespace demo has no Service none"},
		"another namespace": {func(d *dashboardData) error { _, err := d.Service(t.Context(), "shop", "app"); return err }, false, 404, "outrigger dashboard -n shop"},
		"of another, to explain": {func(d *dashboardData) error {
			_, err := d.Explain(t.Context(), "shop", "Deployment", "app")
			return err
		}, false, 404, "outrigger dashboard -n shop"},
	} {
		err, known := c.read(s.dashboard(c.all)), &dashboard.Error{}
		if !errors.As(err, &known) || known.Status != c.status || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// If the Events cannot be read, the page of a Service lacks only them, also the first time, and says why.
func TestDashboardShowsServicesWithoutEvents(t *testing.T) {
	t.Parallel()
	s := shop(t).through(interceptor.Funcs{List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
		if _, is := list.(*corev1.EventList); is {
			return apierrors.NewInternalError(errors.New("etcdserver: request timed out"))
		}
		return c.List(ctx, list, options...)
	}})
	b := browseAt(&rollout{liveStage: s, at: noon}, true, func(o *dashboard.Options) {
		o.Data = newDashboardData(s.live, &clusterFlags{system: defaultSystemNamespace}, false) // without watches, so that it reads the change below
	})
	b.do(http.MethodGet, "/services/demo/app", nil)
	b.shows(http.StatusOK, "The timeline lacks Events. List the Events of namespace demo: Internal error occurred: etcdserver: request timed out", "v1")
	s.annotate("app", "outrigger.dev/wegihts=v1=40,v2=60")
	b.do(http.MethodGet, "/services/demo/app", nil)
	b.shows(http.StatusOK, "The timeline lacks Events.", "wegihts")
}

// A user without a permission sees the rest, and which permission is missing.
func TestDashboardNamesMissingPermissions(t *testing.T) {
	t.Parallel()
	s := shop(t).withoutPermission("Event", "Node")
	got, err := s.dashboard(false).Service(t.Context(), "demo", "app")
	if err != nil {
		t.Fatal(err)
	}
	if notes := strings.Join(got.Notes, "\n"); !strings.Contains(notes, "Events") || !strings.HasPrefix(notes, "You have no permission to read") || got.State != diagnose.StateRouted {
		t.Errorf("%s: %s", got.State, notes)
	}
	_, err = shop(t).withoutPermission("Service").dashboard(false).Service(t.Context(), "demo", "app")
	known := &dashboard.Error{}
	if !errors.As(err, &known) || known.Status != http.StatusForbidden || !strings.Contains(err.Error(), "list Services in namespace demo") {
		t.Errorf("%v", err)
	}
}

// A permission that is granted, and settings that change, count from the next reading on.
func TestDashboardReadsPermissionsAndSettingsAgain(t *testing.T) {
	t.Parallel()
	s, isForbidden := shop(t), true
	s.through(interceptor.Funcs{List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
		if _, is := list.(*corev1.ConfigMapList); is && isForbidden {
			return forbidden
		}
		return c.List(ctx, list, options...)
	}})
	d := s.dashboard(false)
	report, err := d.status(t.Context())
	if err != nil || !strings.Contains(strings.Join(report.Notes, ""), "ConfigMaps in namespace outrigger-system") {
		t.Fatalf("%v: %v", err, report.Notes)
	}
	isForbidden = false
	if err := s.client.Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "outrigger-system", Name: "outrigger"},
		Data:       map[string]string{"config.yaml": "apiVersion: config.outrigger.dev/v1alpha1\nkind: Configuration\nrouting:\n  freeze: true\n"},
	}); err != nil {
		t.Fatal(err)
	}
	if report, err = d.status(t.Context()); err != nil || !strings.Contains(report.Frozen, "Routes are frozen") {
		t.Errorf("%v: %q %v", err, report.Frozen, report.Notes)
	}
}

// launched is a dashboard that runs until stop, with its terminal.
type launched struct {
	t      *testing.T
	server *dashboard.Server
	enter  io.WriteCloser
	texts  chan string // the lines that it prints
	stop   context.CancelFunc
	ended  chan error
}

func launch(t *testing.T) *launched {
	t.Helper()
	server, err := dashboard.New(dashboard.Options{Address: "127.0.0.1:4000"})
	if err != nil {
		t.Fatal(err)
	}
	input, enter := io.Pipe()
	lines, output := io.Pipe()
	ctx, stop := context.WithCancel(t.Context())
	l := &launched{t: t, server: server, enter: enter, texts: make(chan string, 100), stop: stop, ended: make(chan error, 1)}
	go func() {
		l.ended <- launcher{server: server, address: "127.0.0.1:4000", noBrowser: true, in: input, out: output}.run(ctx, nil)
		_ = output.Close()
	}()
	go func() {
		defer close(l.texts)
		for printed := bufio.NewScanner(lines); printed.Scan(); {
			l.texts <- printed.Text()
		}
	}()
	return l
}

// next returns the rest of the next line that begins like this.
func (l *launched) next(prefix string) string {
	l.t.Helper()
	for text := range l.texts {
		if rest, is := strings.CutPrefix(text, prefix); is {
			return rest
		}
	}
	l.t.Fatalf("it does not print %q", prefix)
	return ""
}

// nextFile returns the next file that opens the dashboard.
func (l *launched) nextFile() string {
	l.t.Helper()
	return l.next("Open this file in a browser within 60s: ")
}

// get requests a page as a browser without a session does.
func (l *launched) get(path string) *httptest.ResponseRecorder {
	request, response := httptest.NewRequest(http.MethodGet, path, nil), httptest.NewRecorder()
	request.Host = "127.0.0.1:4000"
	l.server.ServeHTTP(response, request)
	return response
}

// The browser gets in with a file that only the user can read, which is removed once it is used. Enter makes a new one.
func TestTheDoorOfTheDashboard(t *testing.T) {
	t.Parallel()
	l := launch(t)
	next := func() (file, link string) {
		t.Helper()
		file = l.nextFile()
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return file, regexp.MustCompile(`url=http://127.0.0.1:4000([^"]*)"`).FindStringSubmatch(string(text))[1]
	}
	open := func(link string) int { return l.get(link).Code }
	file, link := next()
	for name, want := range map[string]os.FileMode{file: 0o600, filepath.Dir(file): 0o700 | os.ModeDir} {
		if info, err := os.Stat(name); err != nil || info.Mode() != want {
			t.Errorf("%s: %v %v, want %v", name, info.Mode(), err, want)
		}
	}
	if got := open(link); got != http.StatusOK {
		t.Errorf("the link: %d", got)
	}
	waitUntilGone(t, file)
	_, _ = io.WriteString(l.enter, "\n")
	if _, again := next(); again == link || open(link) == http.StatusOK || open(again) != http.StatusOK {
		t.Errorf("the link after Enter: %s", again)
	}
	l.stop()
	if err := <-l.ended; err != nil {
		t.Error(err)
	}
	waitUntilGone(t, filepath.Dir(file))
}

// The dashboard continues if the directory of its file was removed, if no other can be created, and when the input ends.
func TestTheDashboardContinuesWithoutAFile(t *testing.T) { // not parallel: it changes the environment
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	l := launch(t)
	refused := func() string { return l.get("/").Body.String() }
	first := l.nextFile()
	if page := refused(); !strings.Contains(page, "press Enter in the terminal") {
		t.Errorf("the page of a browser without a session:\n%s", page)
	}
	if err := os.RemoveAll(filepath.Dir(first)); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(l.enter, strings.Repeat("x", 100000)+"\n")
	second := l.nextFile()
	if _, err := os.Stat(second); err != nil || second == first {
		t.Errorf("%s after %s: %v", second, first, err)
	}
	if err := os.RemoveAll(temporary); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(l.enter, "\n")
	l.next("Error: create a directory for the file that opens the dashboard: ")
	if err := os.Mkdir(temporary, 0o700); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(l.enter, "\n")
	l.nextFile()
	_ = l.enter.Close()
	l.next("The standard input has ended: Enter no longer creates a new file. For a new file, restart outrigger dashboard.")
	if page := refused(); strings.Contains(page, "press Enter") || !strings.Contains(page, "To open one, restart outrigger dashboard: its standard input has ended") {
		t.Errorf("the page of a browser without a session:\n%s", page)
	}
	l.stop()
	if err := <-l.ended; err != nil {
		t.Error(err)
	}
}

// background is a terminal that cannot be read at first, as in the background of a shell; then the user presses Enter.
type background struct{ reads int }

func (b *background) Read(into []byte) (int, error) {
	b.reads++
	switch b.reads {
	case 1:
		return 0, &os.PathError{Op: "read", Path: "/dev/stdin", Err: syscall.EIO}
	case 2:
		return copy(into, "\n"), nil
	}
	return 0, io.EOF
}

// A terminal that cannot be read in the background can be read in the foreground.
func TestEnterInTheForeground(t *testing.T) {
	t.Parallel()
	server, err := dashboard.New(dashboard.Options{Address: "127.0.0.1:4000"})
	if err != nil {
		t.Fatal(err)
	}
	lines, output := io.Pipe()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- launcher{server: server, address: "127.0.0.1:4000", noBrowser: true, in: &background{}, out: output}.run(ctx, nil)
		_ = output.Close()
	}()
	files := 0
	for printed := bufio.NewScanner(lines); printed.Scan(); {
		if strings.HasPrefix(printed.Text(), "Open this file in a browser") {
			if files++; files == 2 {
				stop()
			}
		}
	}
	if err := <-ended; err != nil || files != 2 {
		t.Errorf("%d files, %v", files, err)
	}
	stop()
}

// A path with a kind that the cluster does not have is that of no page.
func TestDashboardHasNoPageOfAnUnknownKind(t *testing.T) {
	t.Setenv("KUBECACHEDIR", t.TempDir())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		answer := map[string]string{"/api": `{"kind":"APIVersions","versions":["v1"]}`, "/api/v1": `{"kind":"APIResourceList","groupVersion":"v1"}`, "/apis": `{"kind":"APIGroupList","apiVersion":"v1"}`}
		_, _ = io.WriteString(w, answer[r.URL.Path])
	}))
	t.Cleanup(server.Close)
	s := shop(t)
	_, err := newDashboardData(s.live, withKubeconfig(t, server.URL), false).Explain(t.Context(), "demo", "Nosuch", "app")
	known := &dashboard.Error{}
	if !errors.As(err, &known) || known.Status != http.StatusNotFound || !strings.Contains(err.Error(), `doesn't have a resource type "Nosuch"`) {
		t.Errorf("%v", err)
	}
}

// Without a directory for the file that opens it, the dashboard does not claim to run.
func TestTheDashboardNeedsATemporaryDirectory(t *testing.T) {
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "none"))
	var out strings.Builder
	err := launcher{address: "127.0.0.1:4000", noBrowser: true, in: strings.NewReader(""), out: &out}.run(t.Context(), nil)
	if err == nil || !strings.Contains(err.Error(), "create a directory for the file that opens the dashboard") || out.Len() > 0 {
		t.Errorf("%v, printed %q", err, &out)
	}
}

// waitUntilGone waits until a file does not exist.
func waitUntilGone(t *testing.T, name string) {
	t.Helper()
	for {
		if _, err := os.Stat(name); errors.Is(err, os.ErrNotExist) {
			return
		}
		select {
		case <-t.Context().Done():
			t.Fatal(name + " still exists")
		case <-time.After(time.Millisecond):
		}
	}
}
