// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/yaml"
)

// The policy on exposure guards every annotation of the generated list, in its condition and in what it compares.
func TestExposurePolicyCoversTheGeneratedKeys(t *testing.T) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(Folder(root), "files", "exposure-keys.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	if err := yaml.Unmarshal(text, &keys); err != nil || len(keys) < 5 {
		t.Fatalf("%q: %v", keys, err)
	}
	policy := find[admissionregistrationv1.ValidatingAdmissionPolicy](t, render(t, nil).Objects, "ValidatingAdmissionPolicy", "-exposure")
	var compared strings.Builder
	for _, variable := range policy.Spec.Variables {
		if slices.Contains([]string{"companions", "changed", "exposedBefore", "exposedAfter"}, variable.Name) {
			compared.WriteString(variable.Expression)
		}
	}
	for _, key := range keys {
		if !strings.Contains(policy.Spec.MatchConditions[0].Expression, `"`+key+`"`) {
			t.Errorf("a Service with %s alone passes the policy unseen", key)
		}
		if !strings.Contains(compared.String(), key) {
			t.Errorf("a change of %s is not compared", key)
		}
	}
	if policy.Spec.FailurePolicy == nil || *policy.Spec.FailurePolicy != admissionregistrationv1.Fail {
		t.Error("an expression that fails lets the change pass")
	}
}

// Which policies deny with which values. Values of an earlier release, in which a section is missing, switch none off.
func TestPoliciesThatDeny(t *testing.T) {
	for values, want := range map[string][]string{
		"{}": {"outrigger-exposure", "outrigger-webhook-objects"},
		"{routing: {exposure: null}, webhook: {protectObjects: null}}": {"outrigger-exposure", "outrigger-webhook-objects"},
		"{routing: {exposure: {requireGatewayRights: false}}}":         {"outrigger-webhook-objects"},
		"{routing: {enabled: false}}":                                  {"outrigger-webhook-objects"},
		"{webhook: {protectObjects: false}}":                           {"outrigger-exposure"},
		"{revision: canary}":                                           {"outrigger-webhook-objects-canary"},
		"{revision: canary, routing: {enabled: true}}":                 {"outrigger-exposure-canary", "outrigger-webhook-objects-canary"},
		"{guardRails: {action: Deny}, routing: {enabled: false}, webhook: {protectObjects: false}}": {
			"outrigger-forged-status-namespace", "outrigger-forged-status-rev.namespace", "outrigger-proxy-user-namespace", "outrigger-proxy-user-rev.namespace"},
	} {
		var got []string
		for _, document := range documents(render(t, parse(t, values)).Objects) {
			if !strings.HasPrefix(nameOf(t, document), "ValidatingAdmissionPolicyBinding/") {
				continue
			}
			var binding admissionregistrationv1.ValidatingAdmissionPolicyBinding
			if err := yaml.UnmarshalStrict([]byte(document), &binding); err != nil {
				t.Fatal(err)
			}
			if slices.Contains(binding.Spec.ValidationActions, admissionregistrationv1.Deny) {
				got = append(got, binding.Name)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q deny; want %q", values, got, want)
		}
	}
}

// The policy on webhook objects is about the account that the release runs as, and about updates alone: the hook that removes
// the release deletes them.
func TestWebhookObjectsPolicyIsAboutOutriggersUpdates(t *testing.T) {
	for values, user := range map[string]string{
		"{}":                                "system:serviceaccount:outrigger-system:outrigger",
		"{serviceAccount: {name: own}}":     "system:serviceaccount:outrigger-system:own",
		"{serviceAccount: {create: false}}": "system:serviceaccount:outrigger-system:default",
	} {
		policy := find[admissionregistrationv1.ValidatingAdmissionPolicy](t, render(t, parse(t, values)).Objects, "ValidatingAdmissionPolicy", "-webhook-objects")
		rules := policy.Spec.MatchConstraints.ResourceRules
		if len(rules) != 1 || !slices.Equal(rules[0].Operations, []admissionregistrationv1.OperationType{admissionregistrationv1.Update}) || len(policy.Spec.MatchConditions) != 1 || policy.Spec.MatchConditions[0].Expression != "request.userInfo.username == '"+user+"'" {
			t.Errorf("%s: rules %v, conditions %v", values, rules, policy.Spec.MatchConditions)
		}
	}
}

// A pod is judged by its proxy's image only where guard rails apply, and only a denial may depend on the webhook.
func TestInjectedPodsAreJudged(t *testing.T) {
	for values, want := range map[string]string{
		"{}":                            "/validate/pods/warn Ignore claims-to-be-injected,not-by-the-cluster",
		"{guardRails: {action: Audit}}": "/validate/pods/audit Ignore claims-to-be-injected",
		"{guardRails: {action: Deny}}":  "/validate/pods/deny Fail claims-to-be-injected",
		"{guardRails: {action: Deny}, webhook: {failurePolicy: Ignore}}": "/validate/pods/deny Ignore claims-to-be-injected",
		"{guardRails: {enabled: false}}":                                 "",
	} {
		object := find[admissionregistrationv1.ValidatingWebhookConfiguration](t, render(t, parse(t, values)).Objects, "ValidatingWebhookConfiguration", "")
		entries := 0
		for _, entry := range object.Webhooks {
			if !strings.HasPrefix(entry.Name, "pods.") {
				continue
			}
			entries++
			var conditions []string
			for _, condition := range entry.MatchConditions {
				conditions = append(conditions, condition.Name)
			}
			if got := *entry.ClientConfig.Service.Path + " " + string(*entry.FailurePolicy) + " " + strings.Join(conditions, ","); got != want {
				t.Errorf("%s: entry %s is %q; want %q", values, entry.Name, got, want)
			}
			if entry.NamespaceSelector == nil || len(entry.NamespaceSelector.MatchExpressions) < 2 {
				t.Errorf("%s: entry %s selects every namespace", values, entry.Name)
			}
		}
		if (want != "") != (entries == 2) {
			t.Errorf("%s: %d entries about pods", values, entries)
		}
	}
}
