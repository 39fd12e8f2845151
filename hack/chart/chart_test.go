// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the goldens anew")

func own(t *testing.T) *Chart {
	t.Helper()
	c, err := Own()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func render(t *testing.T, values Values) Rendered {
	t.Helper()
	rendered, err := own(t).Render(values)
	if err != nil {
		t.Fatal(err)
	}
	return rendered
}

// parse reads values as they stand in a file.
func parse(t *testing.T, text string) Values {
	t.Helper()
	values := Values{}
	if err := yaml.UnmarshalStrict([]byte(text), &values); err != nil {
		t.Fatal(err)
	}
	return values
}

// Each golden begins with the values. That of the defaults holds all objects, every other one those that differ, and the
// names of those that are not made.
func TestGoldens(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) < 4 {
		t.Fatalf("%d goldens: %v", len(paths), err)
	}
	defaults := render(t, nil)
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if len(archive.Files) == 0 || archive.Files[0].Name != "values.yaml" {
				t.Fatal("the first file must be values.yaml")
			}
			got := render(t, parse(t, string(archive.Files[0].Data)))
			if path != "testdata/defaults.txtar" {
				got.Objects, got.Hooks = beside(t, defaults.Objects, got.Objects), beside(t, defaults.Hooks, got.Hooks)
			}
			want := &txtar.Archive{Comment: archive.Comment, Files: []txtar.File{
				archive.Files[0], {Name: "objects.yaml", Data: []byte(got.Objects)}, {Name: "hooks.yaml", Data: []byte(got.Hooks)}, {Name: "NOTES.txt", Data: []byte(got.Notes)},
			}}
			if *update {
				if err := os.WriteFile(path, txtar.Format(want), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(txtar.Format(archive)), string(txtar.Format(want))); diff != "" {
				t.Errorf("rendered otherwise (-golden +rendered; go test ./chart -update writes it anew):\n%s", diff)
			}
		})
	}
}

// beside returns the documents that are not among the defaults', and the names of those that are missing.
func beside(t *testing.T, defaults, got string) string {
	t.Helper()
	var b strings.Builder
	names := map[string]bool{}
	for _, document := range documents(got) {
		names[nameOf(t, document)] = true
		if !slices.Contains(documents(defaults), document) {
			b.WriteString("---" + document)
		}
	}
	for _, document := range documents(defaults) {
		if name := nameOf(t, document); !names[name] {
			b.WriteString("# not made: " + name + "\n")
		}
	}
	return b.String()
}

// documents are the YAML documents of a rendering, each with its line end in front.
func documents(text string) []string { return strings.Split(text, "---")[1:] }

func nameOf(t *testing.T, document string) string {
	t.Helper()
	var object metav1.PartialObjectMetadata
	if err := yaml.Unmarshal([]byte(document), &object); err != nil {
		t.Fatal(err)
	}
	return object.Kind + "/" + object.Name
}

// find decodes the one object of a kind whose name ends so.
func find[T any](t *testing.T, text, kind, suffix string) *T {
	t.Helper()
	var found *T
	for _, document := range documents(text) {
		name := nameOf(t, document)
		if !strings.HasPrefix(name, kind+"/") || !strings.HasSuffix(name, suffix) {
			continue
		}
		if found != nil {
			t.Fatalf("two objects are called %s/…%s", kind, suffix)
		}
		found = new(T)
		if err := yaml.UnmarshalStrict([]byte(document), found); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return found
}

// alternatives are other values than the defaults, where what suits the type alone would be refused or change nothing.
var alternatives = map[string]any{
	"certificates":                       Values{"caDuration": "1000h"},
	"leaderElection":                     Values{"leaseName": "other"},
	"apiServer":                          Values{"qps": 100},
	"coverage":                           Values{"interval": "5m"},
	"prometheusRule.disabled":            []any{"OutriggerDown"},
	"routing.enabled":                    false,
	"webhook.url":                        "https://10.0.0.1:8443/inject",
	"webhook.namespaceSelector":          parseAny(`{matchLabels: {a: b}}`),
	"webhook.objectSelector":             parseAny(`{matchLabels: {a: b}}`),
	"webhook.matchConditions":            parseAny(`[{name: a, expression: "true"}]`),
	"priorityClassName":                  "system-cluster-critical",
	"extraObjects":                       parseAny(`[{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}]`),
	"shutdown.linger":                    "11s",
	"image.digest":                       "sha256:" + strings.Repeat("0a", 32),
	"podDisruptionBudget.maxUnavailable": "50%",
}

// needed are values that must be set for another one to mean anything, beside "enabled" of the same section.
var needed = map[string]Values{
	"resourceQuota":                {"priorityClassName": "system-cluster-critical"},
	"tracing":                      {"tracing.endpoint": "http://otel-collector:4318"},
	"webhook.certificate.caBundle": {"webhook.certificate.secretName": "mine"},
}

func parseAny(text string) any {
	var value any
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		panic(err) // the text stands in this file
	}
	return value
}

// Every value of values.yaml changes what is rendered: one that nothing uses is a promise that is not kept.
func TestEveryValueIsUsed(t *testing.T) {
	c := own(t)
	var schema map[string]any
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(Folder(root), "values.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	paths := leaves("", c.Defaults())
	if len(paths) < 60 {
		t.Fatalf("only %d values: %q", len(paths), paths)
	}
	for _, path := range paths {
		if strings.HasPrefix(path, "nameOverride") {
			continue // tested below, with a release of another name
		}
		base := baseFor(path, c.Defaults())
		before, err := c.Render(base)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		other, known := alternatives[path]
		if !known {
			other = otherThan(at(c.Defaults(), path), schemaAt(schema, path))
		}
		changed := clone(t, base)
		set(changed, path, other)
		after, err := c.Render(changed)
		if err != nil {
			t.Errorf("%s=%v is refused; if the value is right to be refused, give another one in alternatives: %v", path, other, err)
			continue
		}
		if reflect.DeepEqual(before, after) {
			t.Errorf("%s=%v renders the same as %v: no template uses the value (or it needs another one: see needed)", path, other, at(c.Defaults(), path))
		}
	}
}

// leaves are the paths of all values that are no sections.
func leaves(path string, values map[string]any) []string {
	var out []string
	for key, value := range values {
		below := strings.TrimPrefix(path+"."+key, ".")
		if section, is := value.(map[string]any); is && len(section) > 0 && !slices.Contains([]string{"resources", "podSecurityContext", "securityContext"}, below) {
			out = append(out, leaves(below, section)...)
			continue
		}
		out = append(out, below)
	}
	slices.Sort(out)
	return out
}

// baseFor returns the values under which another one means something: the section it is in is switched on.
func baseFor(path string, defaults Values) Values {
	base := Values{}
	keys := strings.Split(path, ".")
	for n := range keys {
		section := strings.Join(keys[:n+1], ".")
		for name, value := range needed[section] {
			set(base, name, value)
		}
		if enabled, is := at(defaults, section+".enabled").(bool); is && !enabled && section+".enabled" != path {
			set(base, section+".enabled", true)
		}
	}
	return base
}

// otherThan returns a value of the same kind that the schema allows.
func otherThan(value any, schema map[string]any) any {
	if right, is := schema["enum"].([]any); is {
		at := slices.IndexFunc(right, func(one any) bool { return one != value })
		return right[at]
	}
	switch value := value.(type) {
	case bool:
		return !value
	case float64:
		return value + 1
	case int64:
		return value + 1
	case nil:
		return true
	case []any:
		if items, _ := schema["items"].(map[string]any); items["type"] == "object" {
			return []any{map[string]any{"name": "other"}}
		}
		return []any{"other"}
	case map[string]any:
		return map[string]any{"other": "other"}
	}
	return "other"
}

func schemaAt(schema map[string]any, path string) map[string]any {
	for _, key := range strings.Split(path, ".") {
		properties, _ := schema["properties"].(map[string]any)
		schema, _ = properties[key].(map[string]any)
	}
	return schema
}

func at(values map[string]any, path string) any {
	var value any = values
	for _, key := range strings.Split(path, ".") {
		section, _ := value.(map[string]any)
		value = section[key]
	}
	return value
}

func set(values map[string]any, path string, value any) {
	keys := strings.Split(path, ".")
	for _, key := range keys[:len(keys)-1] {
		section, is := values[key].(map[string]any)
		if !is {
			section = map[string]any{}
			values[key] = section
		}
		values = section
	}
	values[keys[len(keys)-1]] = value
}

func clone(t *testing.T, values Values) Values {
	t.Helper()
	text, err := yaml.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, string(text))
}

func TestNamesFollowTheRelease(t *testing.T) {
	for name, values := range map[string]string{
		"outrigger-mesh": "nameOverride: mesh",
		"sidecars":       "fullnameOverride: sidecars",
	} {
		if find[corev1.Service](t, render(t, parse(t, values)).Objects, "Service", "/"+name) == nil {
			t.Errorf("with %s no Service is called %s", values, name)
		}
	}
}

// What Argo CD renders is what Helm installs: nothing in the chart asks the cluster, the clock or chance, or whether it is
// installed or upgraded.
func TestTheSameIsRenderedEverywhere(t *testing.T) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	forbidden := regexp.MustCompile(`\b(lookup|now|date|ago|htpasswd|bcrypt|uuidv4|getHostByName|shuffle|gen[A-Z]\w*|rand[A-Z]\w*|derivePassword|encryptAES|IsInstall|IsUpgrade|Release\.Revision|APIVersions)\b`)
	files := 0
	err = filepath.WalkDir(filepath.Join(Folder(root), "templates"), func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files++
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, action := range regexp.MustCompile(`(?s)\{\{.*?\}\}`).FindAllString(string(text), -1) {
			if strings.HasPrefix(strings.TrimLeft(action, "{- "), "/*") || strings.HasPrefix(strings.TrimLeft(action, "{-\n "), "/*") {
				continue
			}
			if found := forbidden.FindString(action); found != "" {
				t.Errorf("%s uses %s, which does not always give the same: %s", filepath.Base(path), found, action)
			}
		}
		return nil
	})
	if err != nil || files < 15 {
		t.Fatalf("%d templates: %v", files, err)
	}
	if first, second := render(t, nil), render(t, nil); first != second {
		t.Error("two renderings differ")
	}
}

// What every entry of both webhook objects is like.
func TestEntries(t *testing.T) {
	for _, values := range []string{
		"{}",
		"{revision: canary, revisionTags: [prod, default]}",
		"webhook: {enableNamespacesByDefault: true, failurePolicy: Ignore, timeoutSeconds: 7, url: 'https://[fd00::1]:10250/inject'}",
	} {
		changed := parse(t, values)
		set(changed, "webhook.namespaceSelector", parseAny(`{matchLabels: {team: a}, matchExpressions: [{key: tier, operator: Exists}]}`))
		set(changed, "webhook.objectSelector", parseAny(`{matchLabels: {app: b}, matchExpressions: [{key: kind, operator: DoesNotExist}]}`))
		objects := render(t, changed).Objects
		mutating := find[admissionregistrationv1.MutatingWebhookConfiguration](t, objects, "MutatingWebhookConfiguration", "")
		policy, _ := at(changed, "webhook.failurePolicy").(string)
		if policy == "" {
			policy = "Fail"
		}
		if len(mutating.Webhooks) < 4 {
			t.Errorf("%s: %d entries", values, len(mutating.Webhooks))
		}
		for _, entry := range mutating.Webhooks {
			if *entry.SideEffects != admissionregistrationv1.SideEffectClassNoneOnDryRun || string(*entry.FailurePolicy) != policy || *entry.ReinvocationPolicy != admissionregistrationv1.NeverReinvocationPolicy {
				t.Errorf("%s: entry %s has side effects %s, failure policy %s, reinvocation %s", values, entry.Name, *entry.SideEffects, *entry.FailurePolicy, *entry.ReinvocationPolicy)
			}
			var conditions []string
			for _, condition := range entry.MatchConditions {
				conditions = append(conditions, condition.Name)
			}
			if diff := cmp.Diff([]string{"not-host-network", "not-mirror", "not-opted-out", "not-injected"}, conditions); diff != "" {
				t.Errorf("%s: entry %s (-want +got):\n%s", values, entry.Name, diff)
			}
			if len(entry.ClientConfig.CABundle) > 0 || (entry.ClientConfig.URL == nil) == (entry.ClientConfig.Service == nil) {
				t.Errorf("%s: entry %s has the client configuration %v", values, entry.Name, entry.ClientConfig)
			}
			if !strings.HasSuffix(entry.Name, ".sidecar-injector.outrigger.dev") {
				t.Errorf("%s: an entry is called %s", values, entry.Name)
			}
			holds(t, entry.Name, entry.NamespaceSelector, "team=a", "tier Exists []", "kubernetes.io/metadata.name NotIn [outrigger-system kube-system kube-public kube-node-lease cert-manager]")
			holds(t, entry.Name, entry.ObjectSelector, "app=b", "kind DoesNotExist []")
		}
		validating := find[admissionregistrationv1.ValidatingWebhookConfiguration](t, objects, "ValidatingWebhookConfiguration", "")
		for _, entry := range validating.Webhooks {
			if *entry.FailurePolicy != admissionregistrationv1.Ignore || *entry.TimeoutSeconds != 2 || *entry.SideEffects != admissionregistrationv1.SideEffectClassNone {
				t.Errorf("%s: entry %s could refuse something, or make somebody wait", values, entry.Name)
			}
			holds(t, entry.Name, entry.NamespaceSelector, "team=a", "tier Exists []")
			if strings.HasPrefix(entry.Name, "namespaces.") {
				continue // who labels an excluded namespace for injection is warned
			}
			holds(t, entry.Name, entry.NamespaceSelector, "kubernetes.io/metadata.name NotIn [outrigger-system kube-system kube-public kube-node-lease cert-manager]")
		}
	}
}

// holds checks that a selector demands all of these.
func holds(t *testing.T, entry string, selector *metav1.LabelSelector, wanted ...string) {
	t.Helper()
	var has []string
	for key, value := range selector.MatchLabels {
		has = append(has, key+"="+value)
	}
	for _, expression := range selector.MatchExpressions {
		has = append(has, fmt.Sprintf("%s %s %v", expression.Key, expression.Operator, expression.Values))
	}
	for _, want := range wanted {
		if !slices.Contains(has, want) {
			t.Errorf("entry %s: %q is missing in %q", entry, want, has)
		}
	}
}

// Istio's ConfigMaps are read by name: those of the release's revision, and in the release without one also those that the
// default tag may point to.
func TestRightsNameTheRevisions(t *testing.T) {
	for values, want := range map[string][]string{
		"{revision: canary}":           {"istio-canary", "istio-sidecar-injector-canary"},
		"{istio: {revisions: [blue]}}": {"istio", "istio-sidecar-injector", "istio-blue", "istio-sidecar-injector-blue"},
	} {
		role := find[rbacv1.ClusterRole](t, render(t, parse(t, values)).Objects, "ClusterRole", "/outrigger")
		var names []string
		routes := false
		for _, rule := range role.Rules {
			if slices.Contains(rule.Resources, "configmaps") {
				names = append(names, rule.ResourceNames...)
			}
			if slices.Contains(rule.Resources, "secrets") || slices.Contains(rule.Resources, "*") || slices.Contains(rule.Verbs, "*") {
				t.Errorf("%s: a right of the whole cluster: %v", values, rule)
			}
			routes = routes || slices.Contains(rule.Resources, "virtualservices")
		}
		if diff := cmp.Diff(want, names); diff != "" {
			t.Errorf("%s: ConfigMaps (-want +got):\n%s", values, diff)
		}
		if isFirst := !strings.Contains(values, "canary"); routes != isFirst {
			t.Errorf("%s: may it write routes? %t", values, routes)
		}
	}
}

// Without routing pods are listed only to count which of them lack a sidecar, and one replica is elected for it by a Lease that
// no other release has.
func TestPodsAreListedToKeepRoutesOrToBeCounted(t *testing.T) {
	for values, want := range map[string]struct {
		pods  bool
		lease string
	}{
		"{}":                                  {true, "outrigger-routing"},
		"{coverage: {interval: 0s}}":          {true, "outrigger-routing"},
		"{leaderElection: {leaseName: mine}}": {true, "mine"},
		"{revision: canary}":                  {true, "outrigger-coverage-canary"},
		"{revision: canary, leaderElection: {leaseName: mine}}":                     {true, "outrigger-coverage-canary"},
		"{routing: {enabled: false}}":                                               {true, "outrigger-coverage"},
		"{routing: {enabled: false}, coverage: {interval: 500ms}}":                  {true, "outrigger-coverage"},
		"{routing: {enabled: false}, coverage: {interval: 10m}}":                    {true, "outrigger-coverage"},
		"{routing: {enabled: false}, coverage: {interval: 0s}}":                     {false, ""},
		"{revision: canary, coverage: {interval: '0'}}":                             {false, ""},
		"{revision: canary, coverage: {interval: 0h0m}, rbac: {createLease: true}}": {false, ""},
	} {
		objects := render(t, parse(t, values)).Objects
		lease := ""
		if made := find[coordinationv1.Lease](t, objects, "Lease", ""); made != nil {
			lease = made.Name
		}
		pods := false
		for _, rule := range find[rbacv1.ClusterRole](t, objects, "ClusterRole", "/outrigger").Rules {
			pods = pods || slices.Contains(rule.Resources, "pods")
		}
		elects := ""
		for _, rule := range find[rbacv1.Role](t, objects, "Role", "/outrigger").Rules {
			if slices.Contains(rule.Resources, "leases") {
				elects += strings.Join(rule.ResourceNames, " ")
			}
		}
		if pods != want.pods || lease != want.lease || elects != want.lease {
			t.Errorf("%s: pods may be listed: %t, the Lease is %q, rights on %q; want %t, %q", values, pods, lease, elects, want.pods, want.lease)
		}
	}
}

func TestTheBudgetIsForSeveralReplicas(t *testing.T) {
	budget := find[policyv1.PodDisruptionBudget](t, render(t, nil).Objects, "PodDisruptionBudget", "")
	if budget == nil || *budget.Spec.MaxUnavailable != intstr.FromInt32(1) || *budget.Spec.UnhealthyPodEvictionPolicy != policyv1.AlwaysAllow {
		t.Errorf("the budget of two replicas is %v", budget)
	}
	if one := find[policyv1.PodDisruptionBudget](t, render(t, Values{"replicaCount": 1}).Objects, "PodDisruptionBudget", ""); one != nil {
		t.Errorf("one replica has a budget, which would block every drain or none: %v", one.Spec)
	}
}

// Quotas that forbid the system's priority classes elsewhere than in kube-system are answered by one that allows them.
func TestTheQuotaIsForTheSystemsClasses(t *testing.T) {
	quota := find[corev1.ResourceQuota](t, render(t, Values{"priorityClassName": "system-cluster-critical"}).Objects, "ResourceQuota", "")
	if quota == nil || !slices.Equal(quota.Spec.ScopeSelector.MatchExpressions[0].Values, []string{"system-cluster-critical"}) {
		t.Errorf("the quota is %v", quota)
	}
	for _, values := range []string{"{}", "{priorityClassName: mine}", "{priorityClassName: system-cluster-critical, resourceQuota: {enabled: false}}"} {
		if quota := find[corev1.ResourceQuota](t, render(t, parse(t, values)).Objects, "ResourceQuota", ""); quota != nil {
			t.Errorf("%s makes a quota", values)
		}
	}
}

func TestTheManifestIsTheChart(t *testing.T) {
	manifest, err := own(t).Manifest(nil)
	if err != nil {
		t.Fatal(err)
	}
	all := documents(manifest)
	if namespace := find[corev1.Namespace](t, manifest, "Namespace", ""); namespace == nil || namespace.Name != Namespace || namespace.Labels["pod-security.kubernetes.io/enforce"] != "restricted" {
		t.Errorf("the Namespace is %v", namespace)
	}
	if diff := cmp.Diff(documents(render(t, nil).Objects), all[1:]); diff != "" {
		t.Errorf("the manifest has other objects than the chart (-chart +manifest):\n%s", diff)
	}
	if strings.Contains(manifest, "helm.sh/hook:") {
		t.Error("a hook stands in the manifest; kubectl would run it at once")
	}
}
