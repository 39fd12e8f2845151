// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"testing"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// A field that Outrigger never writes and that another client adds to its objects is removed where outrigger.dev/drift says that
// edits are reverted: server-side apply alone would leave it, since another manager has it.
func TestFieldsThatOthersAddAreReverted(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := twoVersions(t)
	annotate(t, ns, "app", "outrigger.dev/drift=revert")
	for name, edit := range map[string]struct{ kind, patch string }{
		"exportTo of the VirtualService":  {"virtualservice", `{"spec":{"exportTo":["."]}}`},
		"gateways of the VirtualService":  {"virtualservice", `{"spec":{"gateways":["mesh","other/gateway"]}}`},
		"a tls rule":                      {"virtualservice", `{"spec":{"tls":[{"match":[{"sniHosts":["app.` + ns + `.svc.cluster.local"]}],"route":[{"destination":{"host":"app","subset":"v2"}}]}]}}`},
		"exportTo of the DestinationRule": {"destinationrule", `{"spec":{"exportTo":["."]}}`},
		"a workloadSelector":              {"destinationrule", `{"spec":{"workloadSelector":{"matchLabels":{"app":"other"}}}}`},
	} {
		for _, manager := range []string{"kubectl-edit", "kubectl-client-side-apply"} {
			specs := specsOf(t, ns)
			kubectl(t, "patch", edit.kind, "app", "-n", ns, "--type=merge", "-p", edit.patch, "--field-manager="+manager)
			eventually(t, "another client added "+name, func() error {
				if is := specsOf(t, ns); is != specs {
					return fmt.Errorf("the objects are\n%s\nand were\n%s", is, specs)
				}
				return nil
			})
		}
	}
}

// specsOf are the specs of a Service's DestinationRule and VirtualService as JSON.
func specsOf(t *testing.T, ns string) string {
	t.Helper()
	rule, vs := &networkingv1.DestinationRule{}, &networkingv1.VirtualService{}
	for _, object := range []client.Object{rule, vs} {
		if err := kube.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "app"}, object); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := json.Marshal([]any{rule.Spec.DeepCopy(), vs.Spec.DeepCopy()})
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
