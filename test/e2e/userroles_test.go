// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The chart adds Istio's kinds to the built-in roles: whoever may view or edit a namespace reads them there. Nobody reads them
// in another namespace by it, and nobody writes them.
func TestTheBuiltInRolesReadIstiosObjects(t *testing.T) {
	t.Parallel()
	own, other := namespace(t), namespace(t)
	for _, role := range []string{"view", "edit", "admin"} {
		user := impersonate(t, own, role+"er")
		if err := kube.Create(t.Context(), &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: own, Name: role},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: user.user}},
		}); err != nil {
			t.Fatal(err)
		}
		elsewhere := user
		elsewhere.namespace = other
		for _, resource := range []string{"virtualservices", "destinationrules", "gateways", "serviceentries", "workloadentries", "proxyconfigs"} {
			for _, verb := range []string{"get", "list", "watch"} {
				wantPermission(t, user, verb, "networking.istio.io", resource, true)
				wantPermission(t, elsewhere, verb, "networking.istio.io", resource, false)
			}
			for _, verb := range []string{"create", "update", "patch", "delete"} {
				wantPermission(t, user, verb, "networking.istio.io", resource, false)
			}
		}
	}
}
