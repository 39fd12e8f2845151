// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/diagnose"
)

// asYAML prints what explain gathered.
func asYAML(t *testing.T, write func(*explanations) error, data ...any) string {
	t.Helper()
	var out strings.Builder
	print, err := explanationsTo(&out, "yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range data {
		if err := print.add(func() []diagnose.Paragraph { t.Error("the text is made"); return nil }, d); err != nil {
			t.Fatal(err)
		}
	}
	if err := write(print); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestExplanationOfAServiceAsData(t *testing.T) {
	s := shop(t)
	s.annotate("app", "outrigger.dev/weights=v1=90,v2=10", "outrigger.dev/match=v2=header:end-user:jason", "outrigger.dev/mirror=v2=5", "outrigger.dev/wegihts=x")
	s.reconcile("app")
	observed := s.look("app")
	_, problems := api.RouteIntentOf(observed.Service, observed.Namespace)
	want := `default: v1
defaultBecause: it was the first version when the default was recorded
history:
- default: v1
  until: "2026-01-02T12:00:00Z"
kind: Service
name: app
namespace: demo
objects:
- hosts:
  - app.demo.svc.cluster.local
  kind: DestinationRule
  name: app
  subsets:
  - v1
  - v2
- hosts:
  - app.demo.svc.cluster.local
  kind: VirtualService
  name: app
problems:
- advice: Did you mean outrigger.dev/weights?
  field: metadata.annotations[outrigger.dev/wegihts]
  message: Outrigger does not read this annotation.
  object: Service demo/app
  reason: UnknownAnnotation
  value: x
routing: on, since namespace demo is labeled for injection (enabled)
rules:
- match: end-user=jason
  to:
  - version: v2
    weight: 100
- mirror:
  - percent: 5
    version: v2
  to:
  - version: v1
    weight: 90
  - version: v2
    weight: 10
settings:
- key: outrigger.dev/match
  "on": Service
  value: v2=header:end-user:jason
- key: outrigger.dev/mirror
  "on": Service
  value: v2=5
- key: outrigger.dev/wegihts
  "on": Service
  value: x
- key: outrigger.dev/weights
  "on": Service
  value: v1=90,v2=10
state: routed
versionLabel: version
versions:
- pods: 2
  ready: 2
  subset: v1
  version: v1
  weight: 90
  workloads:
  - Deployment/app-v1
- match:
  - end-user=jason
  mirror: 5
  pods: 10
  ready: 9
  subset: v2
  version: v2
  weight: 10
  workloads:
  - Deployment/app-v2
workloads:
- fixed: true
  pods: 2
  ready: 2
  version: v1
  workload: Deployment/app-v1
- fixed: true
  pods: 10
  ready: 9
  version: v2
  workload: Deployment/app-v2
`
	got := asYAML(t, func(e *explanations) error { return e.finish(true) }, diagnose.ExplainService(observed, problems, diagnose.Surroundings{}, noon))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Every field that scripts may read is in the docs, and every one that the docs name is there.
func TestDataIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/reference/routing-cli.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\n## As data\n")
	if !found {
		t.Fatal("docs/reference/routing-cli.md has no section As data")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	documented := map[string]bool{}
	for _, row := range regexp.MustCompile(`(?m)^\|.*\|$`).FindAllString(section, -1) {
		for _, match := range regexp.MustCompile("`\\.?([a-zA-Z]+)(\\[\\])?`").FindAllStringSubmatch(row, -1) {
			documented[match[1]] = true
		}
	}
	fields := map[string]bool{}
	for _, data := range []any{diagnose.StatusReport{}, diagnose.ServiceExplanation{}, diagnose.InjectionExplanation{}} {
		jsonFields(reflect.TypeOf(data), fields)
	}
	for name := range fields {
		if !documented[name] {
			t.Errorf("docs/reference/routing-cli.md, As data: no row names %q", name)
		}
	}
	for name := range documented {
		if values := map[string]bool{"Service": true, "Namespace": true, "pod": true, "enabled": true, "disabled": true}; !fields[name] && !values[name] {
			t.Errorf("docs/reference/routing-cli.md, As data: there is no field %q", name)
		}
	}
}

// jsonFields notes the names of all fields below a type.
func jsonFields(of reflect.Type, names map[string]bool) {
	switch of.Kind() {
	case reflect.Pointer, reflect.Slice:
		jsonFields(of.Elem(), names)
	case reflect.Struct:
		if of == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range of.NumField() {
			if name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ","); name != "" && name != "-" {
				names[name] = true
			}
			jsonFields(of.Field(i).Type, names)
		}
	}
}
