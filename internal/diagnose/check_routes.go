// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"encoding/json"
	"slices"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// exposureRisk is what follows if the policy on exposure does not work.
const exposureRisk = "everyone who may edit Services may change how they are exposed, without permission to create Gateways or VirtualServices"

// CheckExposurePolicy checks that the policy that requires permission to expose Services is active. policy and binding are nil if
// they do not exist.
func CheckExposurePolicy(name string, policy *admissionregistrationv1.ValidatingAdmissionPolicy, binding *admissionregistrationv1.ValidatingAdmissionPolicyBinding) Finding {
	missing := ""
	switch {
	case policy == nil:
		missing = "ValidatingAdmissionPolicy"
	case binding == nil:
		missing = "ValidatingAdmissionPolicyBinding"
	}
	if missing != "" {
		return Warned("%s %s does not exist: %s. Fix: helm upgrade with --set routing.exposure.requireGatewayRights=true", missing, name, exposureRisk)
	}
	if binding.Spec.PolicyName != name || !slices.Contains(binding.Spec.ValidationActions, admissionregistrationv1.Deny) {
		return Warned("ValidatingAdmissionPolicyBinding %s does not deny by policy %s: %s. Fix: helm upgrade, which restores it", name, name, exposureRisk)
	}
	if keys := uncoveredKeys(policy); len(keys) > 0 {
		return Warned("ValidatingAdmissionPolicy %s does not cover %s: everyone who may edit Services may change them. Fix: helm upgrade to the chart of this version", name, strings.Join(keys, ", "))
	}
	return OK("ValidatingAdmissionPolicy %s: exposing a Service requires permission to create Gateways and VirtualServices", name)
}

// uncoveredKeys returns the annotations about exposure that a policy does not name.
func uncoveredKeys(policy *admissionregistrationv1.ValidatingAdmissionPolicy) []string {
	text, err := json.Marshal(policy.Spec)
	if err != nil {
		return api.ExposureKeys()
	}
	return slices.DeleteFunc(api.ExposureKeys(), func(key string) bool {
		return strings.Contains(string(text), `\"`+key+`\"`) || strings.Contains(string(text), `'`+key+`'`)
	})
}

// bypassReasons are the reasons of problems with paths on which requests reach every version of a Service.
var bypassReasons = []api.RouteReason{
	api.RouteGatewayBypasses, api.RouteDelegateBypasses, api.RouteMeshBypasses, api.RouteGatewayAPIBypasses, api.RouteIngressBypasses,
}

// CheckBypasses returns warnings about the objects that route past the versions of a Service, among its problems.
func CheckBypasses(problems []api.RouteProblem) []Finding {
	var out []Finding
	for _, problem := range problems {
		if slices.Contains(bypassReasons, problem.Reason) {
			out = append(out, Warned("%s (%s)", problem, problem.Reason))
		}
	}
	return out
}

// CheckMeshHosts returns notes about the hosts that an earlier release bound to the mesh, and that this release serves only at
// gateways.
func CheckMeshHosts(routes []*networkingv1.VirtualService, clusterDomain string) []Finding {
	var out []Finding
	for _, vs := range routes {
		if hosts := routing.HostsLeavingMesh(vs, clusterDomain); len(hosts) > 0 {
			out = append(out, Note("VirtualService %s/%s binds %s to the mesh; from this release on, only gateways serve these hosts, unless the object was edited by hand and is left to its author (Drifted). Callers in the mesh then reach them through DNS and the ingress; use %s.%s instead",
				vs.Namespace, vs.Name, strings.Join(hosts, ", "), vs.Labels[api.LabelService], vs.Namespace))
		}
	}
	slices.SortFunc(out, func(a, b Finding) int { return strings.Compare(a.Text, b.Text) })
	return out
}
