// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestGapsAreOneNote(t *testing.T) {
	gaps := Gaps{}
	for _, kind := range []string{"Pod", "Ingress", "WorkloadEntry", "Gateway"} {
		gaps.AddKind(kind, "")
	}
	gaps.AddKind("WorkloadEntry", "demo")
	gaps.AddKind("Node", "")
	gaps.AddKind("ConfigMap", "istio-system")
	gaps.AddObject("Namespace", "", "demo")
	want := "You have no permission to read Nodes, WorkloadEntries; Namespace demo; Gateways, Ingresses, Pods outside namespace demo; ConfigMaps in namespace istio-system. " +
		"What depends on them is unknown. docs/understand/security.md lists the permissions of users."
	if diff := cmp.Diff(want, gaps.Note("demo")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
