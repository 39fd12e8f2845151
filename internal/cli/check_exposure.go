// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/diagnose"
)

// exposureRisk is what it means that the policy on exposure does not work.
const exposureRisk = "everyone who may edit Services may change how they are exposed, without permission to create Gateways or VirtualServices"

// exposure checks that the policy that requires permission to expose is active. It returns no finding where the release
// keeps no routes.
func (c *checker) exposure(ctx context.Context) []diagnose.Finding {
	if !c.config.Routing.Enabled || c.config.Routing.Expose == api.ExposeDisabled {
		return nil
	}
	name := c.config.ExposurePolicyName()
	policy, binding := &admissionregistrationv1.ValidatingAdmissionPolicy{}, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{}
	for _, read := range []struct {
		kind   string
		object client.Object
	}{{"ValidatingAdmissionPolicy", policy}, {"ValidatingAdmissionPolicyBinding", binding}} {
		kind, object := read.kind, read.object
		switch err := c.client.Get(ctx, client.ObjectKey{Name: name}, object); {
		case apierrors.IsNotFound(err):
			return []diagnose.Finding{diagnose.Warned("%s %s does not exist: %s. Fix: helm upgrade with --set routing.exposure.requireGatewayRights=true", kind, name, exposureRisk)}
		case err != nil && isForbidden(err):
			return []diagnose.Finding{diagnose.Note("no permission to read %s %s, so it is unknown whether exposing a Service requires permission", kind, name)}
		case err != nil:
			return []diagnose.Finding{diagnose.Failed("%s %s: %v", kind, name, err)}
		}
	}
	if binding.Spec.PolicyName != name || !slices.Contains(binding.Spec.ValidationActions, admissionregistrationv1.Deny) {
		return []diagnose.Finding{diagnose.Warned("ValidatingAdmissionPolicyBinding %s does not deny by policy %s: %s. Fix: helm upgrade, which restores it", name, name, exposureRisk)}
	}
	if missing := diagnose.UncoveredKeys(policy); len(missing) > 0 {
		return []diagnose.Finding{diagnose.Warned("ValidatingAdmissionPolicy %s does not cover %s: everyone who may edit Services may change them. Fix: helm upgrade to the chart of this version", name, strings.Join(missing, ", "))}
	}
	return []diagnose.Finding{diagnose.OK("ValidatingAdmissionPolicy %s: exposing a Service requires permission to create Gateways and VirtualServices", name)}
}
