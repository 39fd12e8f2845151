// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

const chartFolder = "../../charts/outrigger"

func TestHelmRefusesMisspelledValues(t *testing.T) {
	t.Parallel()
	template := func(args ...string) (string, error) {
		out, err := cluster.Helm(t.Context(), nil, append([]string{"template", "outrigger", chartFolder, "-n", "outrigger-system", "--kube-version", "1.37.0"}, args...)...)
		return out, err
	}
	for _, right := range [][]string{
		nil,
		{"-f", chartFolder + "/values-ha.yaml"},
		{"--set", "webhook.failurePolicy=Ignore,webhook.timeoutSeconds=3,webhook.namespaceSelector.matchLabels.a=b"},
		{"--set", "routing.enabled=false,routing.settle=1s,log.level=debug,istio.version=1.31.1,istio.revisions={canary}"},
		{"--set", "revision=canary,revisionTags={prod},image.tag=20261124,podDisruptionBudget.maxUnavailable=50%"},
		{"--set", "networkPolicy.enabled=true,postInstallCheck.timeout=5m,tests.namespace=demo,resourceQuota.pods=5"},
		{"--set", "extraObjects[0].kind=ConfigMap,extraObjects[0].apiVersion=v1,extraObjects[0].metadata.name=a"},
		{"--set", "global.proxy.image=x,resources.limits.cpu=1,nodeSelector.disk=ssd"},
	} {
		if _, err := template(right...); err != nil {
			t.Errorf("%q is refused: %v", right, err)
		}
	}
	for wrong, named := range map[string]string{
		"replicas=3":                                                "'replicas' not allowed",
		"webhook.failurPolicy=Ignore":                               "'failurPolicy' not allowed",
		"webhook.failurePolicy=ignore":                              "'Fail', 'Ignore'",
		"image.pullPolicy=Sometimes":                                "/image/pullPolicy",
		"routing.settel=1s":                                         "'settel' not allowed",
		"log.level=chatty":                                          "'error', 'info', 'debug'",
		"istio.nativeSidecars=yes":                                  "/istio/nativeSidecars",
		"preDelete.enabled=yes":                                     "/preDelete/enabled",
		"test.namespace=demo":                                       "'test' not allowed",
		"serviceAccount.craete=false":                               "'craete' not allowed",
		"podDisruptionBudget.enabled=maybe":                         "/podDisruptionBudget/enabled",
		"certManager.issuer=x":                                      "'issuer' not allowed",
		"certificates.source=secret":                                "'source' not allowed",
		"certManager.enabled=true,webhook.certificate.secretName=x": "exclude each other",
		"webhook.certificate.caBundle=x":                            "needs webhook.certificate.secretName",
	} {
		if _, err := template("--set", wrong); err == nil || !strings.Contains(err.Error(), named) {
			t.Errorf("--set %s: %v; want it refused, naming %s", wrong, err, named)
		}
	}
	ha, err := template("-f", chartFolder+"/values-ha.yaml")
	if err != nil {
		t.Fatal(err)
	}
	says(t, ha, "replicas: 3", "priorityClassName: system-cluster-critical", "kind: PodDisruptionBudget")
}

// appliedAsAWhole are fields that server-side apply owns as a whole. A default that the API server adds inside one of them is a
// difference that a tool sees, and removes, at every comparison.
var appliedAsAWhole = []string{
	"fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "labelSelector", "namespaceSelector", "objectSelector", "podSelector",
	"scopeSelector", "roleRef", "subjects", "tolerations", "rules", "resourceRules", "ingress", "policyTypes",
}

// What a GitOps tool applies by server-side apply is what the API server stores: no default of the API server is inside a field
// that is applied as a whole, and applying the chart again changes nothing, such as a caBundle.
func TestServerSideApplySeesNoDrift(t *testing.T) {
	t.Parallel()
	manifest, err := cluster.Helm(t.Context(), nil, "get", "manifest", outriggerName, "-n", outriggerNamespace)
	if err != nil {
		t.Fatal(err)
	}
	out, err := cluster.Kubectl(t.Context(), strings.NewReader(manifest), "diff", "--server-side", "--force-conflicts", "--field-manager=gitops", "-f", "-")
	if err != nil {
		t.Errorf("applied again, the chart changes what is stored: %v\n%s", err, out)
	}
	if out, err = cluster.Kubectl(t.Context(), strings.NewReader(manifest), "get", "-f", "-", "-o", "json"); err != nil {
		t.Fatal(err)
	}
	var stored struct{ Items []map[string]any }
	if err := json.Unmarshal([]byte(out), &stored); err != nil {
		t.Fatal(err)
	}
	compared, n := 0, 0
	for _, document := range strings.Split(manifest, "\n---\n") {
		var rendered map[string]any
		if err := yaml.Unmarshal([]byte(document), &rendered); err != nil {
			t.Fatal(err)
		}
		if rendered["kind"] == nil {
			continue
		}
		name := fmt.Sprint(rendered["kind"], " ", rendered["metadata"].(map[string]any)["name"])
		compared += wantWhole(t, name, rendered, stored.Items[n])
		n++
	}
	if n != len(stored.Items) || compared < 30 {
		t.Errorf("%d fields of %d objects were compared, and %d are stored", compared, n, len(stored.Items))
	}
}

// wantWhole compares the fields that are applied as a whole, below what is rendered, and returns how many there are.
func wantWhole(t *testing.T, path string, rendered, stored any) int {
	t.Helper()
	compared := 0
	switch rendered := rendered.(type) {
	case map[string]any:
		have, _ := stored.(map[string]any)
		for key, value := range rendered {
			if !slices.Contains(appliedAsAWhole, key) {
				compared += wantWhole(t, path+"."+key, value, have[key])
				continue
			}
			compared++
			if diff := cmp.Diff(value, have[key]); diff != "" {
				t.Errorf("%s.%s (-rendered +stored):\n%s", path, key, diff)
			}
		}
	case []any:
		have, _ := stored.([]any)
		for i, value := range rendered {
			if i < len(have) {
				compared += wantWhole(t, fmt.Sprintf("%s[%d]", path, i), value, have[i])
			}
		}
	}
	return compared
}
