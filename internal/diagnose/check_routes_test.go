// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"strings"
	"testing"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
)

func TestCheckExposurePolicy(t *testing.T) {
	const name = "outrigger-exposure"
	policy := func(keys ...string) *admissionregistrationv1.ValidatingAdmissionPolicy {
		return &admissionregistrationv1.ValidatingAdmissionPolicy{
			Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{Variables: []admissionregistrationv1.Variable{{Name: "keys", Expression: fmt.Sprintf(`["%s"]`, strings.Join(keys, `","`))}}},
		}
	}
	binding := func(to string, action admissionregistrationv1.ValidationAction) *admissionregistrationv1.ValidatingAdmissionPolicyBinding {
		return &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
			Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: to, ValidationActions: []admissionregistrationv1.ValidationAction{action}},
		}
	}
	all := api.ExposureKeys()
	for what, c := range map[string]struct {
		policy      *admissionregistrationv1.ValidatingAdmissionPolicy
		binding     *admissionregistrationv1.ValidatingAdmissionPolicyBinding
		state, text string
	}{
		"active":           {policy(all...), binding(name, admissionregistrationv1.Deny), CheckOK, "requires permission"},
		"absent":           {nil, nil, CheckWarning, "ValidatingAdmissionPolicy outrigger-exposure does not exist"},
		"not bound":        {policy(all...), nil, CheckWarning, "ValidatingAdmissionPolicyBinding outrigger-exposure does not exist: " + exposureRisk + ". Fix: helm upgrade with --set routing.exposure.requireGatewayRights=true"},
		"only warns":       {policy(all...), binding(name, admissionregistrationv1.Warn), CheckWarning, "does not deny"},
		"bound to another": {policy(all...), binding("other", admissionregistrationv1.Deny), CheckWarning, "does not deny"},
		"an older chart":   {policy(all[:len(all)-1]...), binding(name, admissionregistrationv1.Deny), CheckWarning, "does not cover " + all[len(all)-1]},
	} {
		t.Run(what, func(t *testing.T) { checkFinding(t, CheckExposurePolicy(name, c.policy, c.binding), c.state, c.text) })
	}
}

func TestCheckBypasses(t *testing.T) {
	problem := func(reason api.RouteReason) api.RouteProblem {
		return api.RouteProblem{Object: api.ObjectRef{Kind: "VirtualService", Namespace: "demo", Name: "inside"}, Reason: reason, Message: "It routes to every version."}
	}
	got := CheckBypasses([]api.RouteProblem{problem(api.RouteMeshBypasses), problem(api.RoutePendingVersions)})
	if len(got) != 1 {
		t.Fatalf("findings %v", got)
	}
	checkFinding(t, got[0], CheckWarning, "(MeshBypassesSubsets)")
}

// Only routes that an earlier release wrote bind hosts to the mesh that leave it.
func TestCheckMeshHosts(t *testing.T) {
	route := func(name string, isOurs bool, gateways []string, hosts ...string) *networkingv1.VirtualService {
		vs := &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: name}}
		vs.Labels = map[string]string{api.LabelManagedBy: api.ManagedBy, api.LabelService: "app"}
		if isOurs {
			vs.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: "app", UID: "1", Controller: new(true)}}
		}
		vs.Spec.Hosts, vs.Spec.Gateways = hosts, gateways
		return vs
	}
	got := CheckMeshHosts([]*networkingv1.VirtualService{
		route("app", true, []string{"demo/app", "mesh"}, "app.demo.svc.cluster.local", "*.victim.svc.cluster.local", "a.example.com"),
		route("app-auto", true, nil, "app.demo.svc.cluster.local"),
		route("app-gateway", true, []string{"demo/app"}, "b.example.com"),
		route("theirs", false, nil, "c.example.com"),
	}, "cluster.local")
	if len(got) != 1 {
		t.Fatalf("findings %v", got)
	}
	checkFinding(t, got[0], CheckNote, "VirtualService demo/app binds *.victim.svc.cluster.local, a.example.com to the mesh")
	checkFinding(t, got[0], CheckNote, "use app.demo instead")
}
