// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/diagnose"
)

// Whoever runs check learns when exposure is not guarded, and by which value it is.
func TestCheckLooksAtThePolicyOnExposure(t *testing.T) {
	policy := func(keys ...string) *admissionregistrationv1.ValidatingAdmissionPolicy {
		return &admissionregistrationv1.ValidatingAdmissionPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: "outrigger-exposure"},
			Spec:       admissionregistrationv1.ValidatingAdmissionPolicySpec{Variables: []admissionregistrationv1.Variable{{Name: "keys", Expression: fmt.Sprintf(`["%s"]`, strings.Join(keys, `","`))}}},
		}
	}
	binding := func(action admissionregistrationv1.ValidationAction) *admissionregistrationv1.ValidatingAdmissionPolicyBinding {
		return &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "outrigger-exposure"},
			Spec:       admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: "outrigger-exposure", ValidationActions: []admissionregistrationv1.ValidationAction{action}},
		}
	}
	all := api.ExposureKeys()
	for name, test := range map[string]struct {
		objects []client.Object
		change  func(*api.Config)
		refused bool
		state   string // empty: no finding
		says    string
	}{
		"active":                {objects: []client.Object{policy(all...), binding(admissionregistrationv1.Deny)}, state: diagnose.CheckOK, says: "requires permission"},
		"absent":                {state: diagnose.CheckWarning, says: "routing.exposure.requireGatewayRights=true"},
		"not bound":             {objects: []client.Object{policy(all...)}, state: diagnose.CheckWarning, says: "ValidatingAdmissionPolicyBinding outrigger-exposure does not exist"},
		"only warns":            {objects: []client.Object{policy(all...), binding(admissionregistrationv1.Warn)}, state: diagnose.CheckWarning, says: "does not deny"},
		"of an older chart":     {objects: []client.Object{policy(all[:len(all)-1]...), binding(admissionregistrationv1.Deny)}, state: diagnose.CheckWarning, says: "does not cover " + all[len(all)-1]},
		"not readable":          {refused: true, state: diagnose.CheckNote, says: "no permission to read"},
		"no routes":             {change: func(c *api.Config) { c.Routing.Enabled = false }},
		"nobody may expose":     {change: func(c *api.Config) { c.Routing.Expose = api.ExposeDisabled }},
		"of a revision's chart": {objects: []client.Object{policy(all...), binding(admissionregistrationv1.Deny)}, change: func(c *api.Config) { c.Istio.Revision = "canary" }, state: diagnose.CheckWarning, says: "outrigger-exposure-canary does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			c := &checker{config: api.DefaultConfig()}
			if test.change != nil {
				test.change(&c.config)
			}
			c.client = fake.NewClientBuilder().WithObjects(test.objects...).WithInterceptorFuncs(interceptor.Funcs{
				Get: func(ctx context.Context, under client.WithWatch, key client.ObjectKey, into client.Object, options ...client.GetOption) error {
					if test.refused {
						return apierrors.NewForbidden(schema.GroupResource{}, key.Name, nil)
					}
					return under.Get(ctx, key, into, options...)
				},
			}).Build()
			got := c.exposure(t.Context())
			switch {
			case test.state == "" && len(got) > 0:
				t.Errorf("got %v; want none", got)
			case test.state != "" && (len(got) != 1 || got[0].State != test.state || !strings.Contains(got[0].Text, test.says)):
				t.Errorf("got %v; want %s with %q", got, test.state, test.says)
			}
		})
	}
}
