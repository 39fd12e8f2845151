// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestGapsAreOneNote(t *testing.T) {
	unread := Gaps{}
	for _, kind := range []string{"Pod", "Ingress", "WorkloadEntry", "Gateway"} {
		unread.AddKind(kind, "")
	}
	unread.AddKind("WorkloadEntry", "demo")
	unread.AddKind("Node", "")
	unread.AddKind("ConfigMap", "istio-system")
	unread.AddObject("Namespace", "", "demo")
	want := "You have no permission to read Nodes, WorkloadEntries; Namespace demo; Gateways, Ingresses, Pods outside namespace demo; ConfigMaps in namespace istio-system. " +
		"What depends on them is unknown. docs/understand/security.md lists the permissions of users."
	if diff := cmp.Diff(want, unread.Note("demo")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
