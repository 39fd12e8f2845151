package e2e

import (
	"strings"
	"testing"
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

// What a GitOps tool applies by server-side apply is what the API server stores: no default of the API server is inside a list
// or object that is applied as a whole, and what Outrigger writes itself is not rendered.
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
}
