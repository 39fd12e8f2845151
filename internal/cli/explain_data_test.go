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
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
	"outrigger.dev/outrigger/internal/manifest"
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
		if err := print.add(func() []paragraph { t.Error("the text is made"); return nil }, d); err != nil {
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
said:
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
	got := asYAML(t, (*explanations).one, serviceData(observed, problems, surroundings{}, noon))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestExplanationOfPodsAsData(t *testing.T) {
	asked := entryOf(ours, "outrigger-sidecar-injector", true, "the Namespace is labeled")
	injected := podOf("web-1", nil, true)
	bare := podOf("web-2", nil, true)
	bare.Spec.Containers = bare.Spec.Containers[:1]
	s := injectionStory{
		object: &manifest.Object{Kind: "Deployment", Name: "web"}, namespace: namespaceOf(api.LabelInjection, "enabled"),
		pod:     &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"inject.istio.io/templates": "sidecar"}}},
		entries: []entryVerdict{asked}, endpoints: map[string]int{"system/outrigger": 1}, pods: []corev1.Pod{*injected, *bare},
		report: inject.Report{Result: inject.Injected, Reason: api.InjectPolicyEnabled, Templates: []string{"sidecar"}},
	}
	unknown := injectionStory{
		object: &manifest.Object{Kind: "Pod", Name: "alone"}, namespace: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}},
		pod: &corev1.Pod{}, unknown: "no Istio configuration",
	}
	want := `- asked:
  - asked: true
    entry: namespace.sidecar-injector.example
    injector: Outrigger
    object: outrigger-sidecar-injector
    why: the Namespace is labeled
  change:
  - Nothing.
  decision:
    reason: PolicyEnabled
    result: injected
    templates:
    - sidecar
  kind: Deployment
  name: web
  namespace: shop
  pods: 2
  said:
  - key: istio-injection
    "on": Namespace
    value: enabled
  - key: inject.istio.io/templates
    "on": pod
    value: sidecar
  sidecar: injected into new pods
  withSidecar: 1
- change:
  - 'Install Outrigger: helm install outrigger charts/outrigger -n outrigger-system
    --create-namespace'
  kind: Pod
  name: alone
  namespace: shop
  notKnown:
  - no Istio configuration
  pods: 0
  sidecar: 'not injected into new pods: no webhook matches them'
  withSidecar: 0
`
	if diff := cmp.Diff(want, asYAML(t, (*explanations).list, s.data(), unknown.data())); diff != "" {
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
	for _, data := range []any{statusReport{}, serviceExplanation{}, injectionExplanation{}} {
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
			if name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ","); name != "" {
				names[name] = true
			}
			jsonFields(of.Field(i).Type, names)
		}
	}
}
