// SPDX-License-Identifier: Apache-2.0

package install

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	rbacv1 "k8s.io/api/rbac/v1"
	"outrigger.dev/outrigger/hack/controlplane"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the expected rights anew")

// What every account of the chart may do, word for word: a change of it is to be seen in a review. That it is needed, all
// of it, is shown by TestRightsAreThoseThatAreUsed and its like in test/e2e.
func TestRightsAreAsExpected(t *testing.T) {
	for name, values := range map[string]map[string]any{
		"default":         {},
		"without-routing": {"routing": map[string]any{"enabled": false}, "webhook": map[string]any{"warnings": false}},
		"least":           {"routing": map[string]any{"enabled": false}, "coverage": map[string]any{"interval": "0s"}, "webhook": map[string]any{"warnings": false}},
		"revision":        {"revision": "canary", "istio": map[string]any{"revisions": []any{"prod"}}},
		"secret":          {"webhook": map[string]any{"certificate": map[string]any{"secretName": "mine"}}},
		"cert-manager":    {"certManager": map[string]any{"enabled": true}},
		"test-namespace":  {"tests": map[string]any{"namespace": "demo"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := rights(t, values)
			file := filepath.Join("testdata", "rights", name+".yaml")
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("the rights are not those of %s (go test ./install -run %s -update writes it anew):\n%s", file, t.Name(), diff)
			}
		})
	}
}

// rights renders the chart and returns its roles, each behind a line that says what it is and whose it is.
func rights(t *testing.T, values map[string]any) []byte {
	t.Helper()
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	chart, err := loader.Load(filepath.Join(root, "charts", "outrigger"))
	if err != nil {
		t.Fatal(err)
	}
	capabilities := chartutil.DefaultCapabilities.Copy()
	capabilities.KubeVersion = chartutil.KubeVersion{Version: controlplane.KubernetesVersion}
	all, err := chartutil.ToRenderValues(chart, values, chartutil.ReleaseOptions{Name: "outrigger", Namespace: "outrigger-system", IsInstall: true}, capabilities)
	if err != nil {
		t.Fatal(err)
	}
	rendered, err := engine.Render(chart, all)
	if err != nil {
		t.Fatal(err)
	}
	roles, owners := map[string][]byte{}, map[string][]string{}
	aggregated := map[string]bool{}
	for name, text := range rendered {
		if !strings.HasSuffix(name, ".yaml") {
			continue // what is told, not made
		}
		for _, document := range strings.Split(text, "\n---") {
			var object struct {
				Kind     string
				Metadata struct {
					Name, Namespace string
					Labels          map[string]string
				}
				Rules    []rbacv1.PolicyRule
				RoleRef  rbacv1.RoleRef
				Subjects []rbacv1.Subject
			}
			if err := yaml.Unmarshal([]byte(document), &object); err != nil {
				t.Fatalf("%v in\n%s", err, document)
			}
			switch key := strings.TrimSpace(object.Kind + " " + object.Metadata.Name + " " + object.Metadata.Namespace); object.Kind {
			case "Role", "ClusterRole":
				if object.Metadata.Labels["rbac.authorization.k8s.io/aggregate-to-view"] == "true" {
					aggregated[key] = true
					owners[key] = append(owners[key], "everyone with the ClusterRole view")
				}
				if roles[key], err = yaml.Marshal(object.Rules); err != nil {
					t.Fatal(err)
				}
			case "RoleBinding", "ClusterRoleBinding":
				role := strings.TrimSpace(object.RoleRef.Kind + " " + object.RoleRef.Name + " " + object.Metadata.Namespace)
				if object.RoleRef.Kind == "ClusterRole" && object.Kind == "ClusterRoleBinding" {
					role = "ClusterRole " + object.RoleRef.Name
				}
				for _, subject := range object.Subjects {
					owners[role] = append(owners[role], subject.Kind+" "+subject.Namespace+"/"+subject.Name)
				}
			}
		}
	}
	var out bytes.Buffer
	names := make([]string, 0, len(roles))
	for name := range roles {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if len(owners[name]) == 0 {
			t.Errorf("%s is bound to nobody", name)
		}
		if aggregated[name] {
			readsOnly(t, name, roles[name])
		}
		out.WriteString("# " + name + ", for " + strings.Join(owners[name], " and ") + "\n")
		out.Write(roles[name])
	}
	for role := range owners {
		if roles[role] == nil {
			t.Errorf("%s is bound to %v, and the chart does not make it", role, owners[role])
		}
	}
	return out.Bytes()
}

// readsOnly checks that rules which every reader of a namespace gets allow nothing but reading Istio's objects there.
func readsOnly(t *testing.T, name string, text []byte) {
	t.Helper()
	var rules []rbacv1.PolicyRule
	if err := yaml.Unmarshal(text, &rules); err != nil {
		t.Fatal(err)
	}
	for _, rule := range rules {
		if !slices.Equal(rule.Verbs, []string{"get", "list", "watch"}) || !slices.Equal(rule.APIGroups, []string{"networking.istio.io"}) || slices.Contains(rule.Resources, "*") {
			t.Errorf("%s gives everyone who may view a namespace more than reading Istio's objects: %v", name, rule)
		}
	}
}
