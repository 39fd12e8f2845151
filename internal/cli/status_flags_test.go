// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/internal/diagnose"
)

func TestStatusFormats(t *testing.T) {
	weight := func(w int) *int { return &w }
	report := diagnose.StatusReport{Namespaces: []diagnose.NamespaceStatus{{Name: "demo", Services: []diagnose.ServiceStatus{
		{Name: "api", State: diagnose.StateOff, Versions: []diagnose.VersionStatus{{Version: "v1", Pods: 1}}},
		{Name: "web", State: diagnose.StateRouted, Versions: []diagnose.VersionStatus{{Version: "v1", Weight: weight(90)}, {Version: "v2", Weight: weight(10)}}},
	}}}}
	for output, want := range map[string]string{
		"name": "service/api\nservice/web\n",
		`jsonpath={.namespaces[0].services[?(@.name=="web")].versions[*].weight}`:                 "90 10",
		`jsonpath={range .namespaces[*].services[*]}{.name}{"\n"}{end}`:                           "api\nweb\n",
		`go-template={{range .namespaces}}{{range .services}}{{.name}}={{.state}} {{end}}{{end}}`: "api=off web=routed ",
		"jsonpath={.namespaces[": "error", "jsonpath": "error", "jsonpth={.x}": "error", "table": "error",
	} {
		print, err := statusPrinter(output)
		got := "error"
		if err == nil {
			var out bytes.Buffer
			if err := print(report, tableView{}, &out); err != nil {
				t.Fatal(err)
			}
			got = out.String()
		} else if usage := (&usageError{}); !errors.As(err, &usage) {
			t.Errorf("-o %s: not reported as wrong usage: %v", output, err)
		}
		if got != want {
			t.Errorf("-o %s: want %q, got %q (%v)", output, want, got, err)
		}
	}
	var out bytes.Buffer
	if err := printStatus(report, tableView{headless: true}, &out); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("demo   -   -   2\n\napi   off      v1   0/1   by pods   -\nweb   routed   v1   0/0   90        -\nweb   routed   v2   0/0   10        -\n", out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestStatusOfServicesWithALabel(t *testing.T) {
	s := shop(t)
	service := &corev1.Service{}
	if err := s.client.Get(t.Context(), client.ObjectKey{Namespace: "demo", Name: "app-internal"}, service); err != nil {
		t.Fatal(err)
	}
	service.Labels = map[string]string{"tier": "inner"}
	if err := s.client.Update(t.Context(), service); err != nil {
		t.Fatal(err)
	}
	names := func(selector string) string {
		var err error
		if s.only, err = labels.Parse(selector); err != nil {
			t.Fatal(err)
		}
		report, err := s.status(t.Context(), false)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := printNames(report, tableView{}, &out); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	if got := names("tier=inner"); got != "service/app-internal\n" {
		t.Errorf("-l tier=inner shows %q", got)
	}
	if got := names("tier!=inner"); strings.Contains(got, "app-internal") || !strings.Contains(got, "service/app\n") {
		t.Errorf("-l tier!=inner shows %q", got)
	}
	if got := names("tier=outer"); got != "" {
		t.Errorf("-l tier=outer shows %q", got)
	}
}

// watched runs a watch over readings, each a state and a weight of v1; nil fails.
func watched(t *testing.T, draw func(diagnose.StatusReport, io.Writer) error, readings ...*int) (string, string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var out, notes bytes.Buffer
	next := 0
	w := statusWatch{draw: draw, out: &out, notes: &notes, statusStream: statusStream{pause: time.Nanosecond, read: func(context.Context) (diagnose.StatusReport, error) {
		if next == len(readings) {
			cancel()
			return diagnose.StatusReport{}, ctx.Err()
		}
		next++
		weight := readings[next-1]
		if weight == nil {
			return diagnose.StatusReport{}, errors.New("the API server is away")
		}
		versions := []diagnose.VersionStatus{{Version: "v1", Ready: 1, Pods: 1, Weight: weight}}
		if *weight < 100 {
			versions = append(versions, diagnose.VersionStatus{Version: "v2", Ready: 1, Pods: 2})
		}
		return diagnose.StatusReport{Namespaces: []diagnose.NamespaceStatus{{Name: "demo", Services: []diagnose.ServiceStatus{{Name: "web", State: diagnose.StateRouted, Versions: versions}}}}}, nil
	}}}
	if err := w.run(ctx); err != nil {
		t.Fatal(err)
	}
	return out.String(), notes.String()
}

func TestWatchPrintsALineForEachChange(t *testing.T) {
	all, most := 100, 90
	out, notes := watched(t, nil, &all, &all, &most, nil, nil, &most, &all)
	want := `demo/web v1: routed, ready 1/1, weight 100
demo/web v1: routed, ready 1/1, weight 100 -> routed, ready 1/1, weight 90
demo/web v2: routed, ready 1/2
demo/web v1: routed, ready 1/1, weight 90 -> routed, ready 1/1, weight 100
demo/web v2 is gone
`
	if diff := cmp.Diff(want, out); diff != "" {
		t.Error(diff)
	}
	if notes != "Note: the API server is away; trying again\n" {
		t.Errorf("notes: %q", notes)
	}
}

func TestWatchRedrawsATerminal(t *testing.T) {
	all, most := 100, 90
	draw := func(report diagnose.StatusReport, out io.Writer) error {
		return printStatus(report, tableView{headless: true}, out)
	}
	out, _ := watched(t, draw, &all, &all, &most)
	if got := strings.Count(out, clearScreen); got != 2 || !strings.HasPrefix(out, clearScreen+"demo ") {
		t.Errorf("drawn %d times: %q", got, out)
	}
}
