// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
	"outrigger.dev/outrigger/internal/manifest"
	"outrigger.dev/outrigger/routing"
)

// entryOf returns an entry with a Service and a CA behind it.
func entryOf(whose injectorName, object string, asked bool, why string) entryVerdict {
	return entryVerdict{injector: whose, object: object, entry: "namespace.sidecar-injector.example", asked: asked, why: why, webhook: admissionregistrationv1.MutatingWebhook{
		ClientConfig: admissionregistrationv1.WebhookClientConfig{CABundle: []byte("ca"), Service: &admissionregistrationv1.ServiceReference{Namespace: "system", Name: "outrigger"}},
	}}
}

func TestStoryTellsTheOutcomeAndWhatToChange(t *testing.T) {
	asked, not := entryOf(ours, "outrigger-sidecar-injector", true, ""), entryOf(ours, "outrigger-sidecar-injector", false, "the Namespace has no label")
	by := func(e entryVerdict, change func(*entryVerdict)) entryVerdict { change(&e); return e }
	ready := map[string]int{"system/outrigger": 2}
	injected := inject.Report{Result: inject.Injected, Reason: api.InjectPolicyEnabled}
	for _, c := range []struct {
		what            string
		story           injectionStory
		outcome, advice string
	}{
		{"all is well", injectionStory{entries: []entryVerdict{asked}, endpoints: ready, report: injected}, "injected into new pods", "Nothing."},
		{"no label", injectionStory{entries: []entryVerdict{not}, report: injected}, "no webhook matches them", "kubectl label namespace shop istio-injection=enabled"},
		{"another value", injectionStory{entries: []entryVerdict{not}, report: injected, namespace: namespaceOf(api.LabelInjection, "disabled")}, "no webhook matches", "kubectl label namespace shop istio-injection=enabled --overwrite"},
		{"a revision that nobody serves", injectionStory{entries: []entryVerdict{not}, report: injected, namespace: namespaceOf(api.LabelRevision, "canary")}, "no webhook matches", "No injector is installed for revision canary"},
		{"labeled, but excluded", injectionStory{entries: []entryVerdict{not}, report: injected, namespace: namespaceOf(api.LabelInjection, "enabled")}, "no webhook matches", "webhook.excludedNamespaces"},
		{"a condition says no", injectionStory{entries: []entryVerdict{by(not, func(e *entryVerdict) { e.why = "its matchCondition mine is false" })}, report: injected}, "no webhook matches", "webhook.matchConditions"},
		{"nothing is installed", injectionStory{report: injected}, "no webhook matches", "helm install outrigger"},
		{"istiod is asked first", injectionStory{entries: []entryVerdict{entryOf(istios, "istio-sidecar-injector", true, ""), asked}, endpoints: ready, report: injected}, "by istiod, whose webhook is called first", "operatorManageWebhooks=true"},
		{"nobody is ready", injectionStory{entries: []entryVerdict{asked}, endpoints: map[string]int{"system/outrigger": 0}, report: injected}, "refused: Outrigger does not answer", "No pod is ready behind Service system/outrigger"},
		{"nobody is ready, and that is ignored", injectionStory{entries: []entryVerdict{by(asked, func(e *entryVerdict) {
			ignore := admissionregistrationv1.Ignore
			e.webhook.FailurePolicy = &ignore
		})}, endpoints: map[string]int{"system/outrigger": 0}, report: injected}, "not injected into new pods: Outrigger does not answer", "No pod is ready"},
		{"no CA yet", injectionStory{entries: []entryVerdict{by(asked, func(e *entryVerdict) { e.webhook.ClientConfig.CABundle = nil })}, endpoints: ready, report: injected}, "Outrigger does not answer", "has no caBundle yet"},
		{"a condition fails", injectionStory{entries: []entryVerdict{by(not, func(e *entryVerdict) { e.broken = true })}, report: injected}, "refused before a webhook is called", "Fix the matchConditions of namespace.sidecar-injector.example"},
		{"denied", injectionStory{entries: []entryVerdict{asked}, endpoints: ready, report: inject.Report{Result: inject.Denied, Reason: api.InjectUnknownTemplate}}, "new pods are refused", "Name templates of Istio's configuration"},
		{"opted out", injectionStory{entries: []entryVerdict{asked}, endpoints: ready, report: inject.Report{Result: inject.Skipped, Reason: api.InjectOptedOut}}, "not injected into new pods", "Take sidecar.istio.io/inject off"},
		{"the configuration is not known", injectionStory{entries: []entryVerdict{asked}, endpoints: ready, unknown: "no Istio configuration"}, "unknown", "Unknown, because Outrigger's decision is not known: no Istio configuration."},
		{"a misspelt label", injectionStory{entries: []entryVerdict{not}, report: injected, namespace: namespaceOf(api.LabelInjection, "enable")}, "no webhook matches", "istio-injection=enabled --overwrite"},
		{"pods older than the label", injectionStory{entries: []entryVerdict{asked}, endpoints: ready, report: injected, pods: make([]corev1.Pod, 1), owned: true, owner: routing.WorkloadRef{Kind: "Deployment", Name: "web"}}, "injected into new pods", "kubectl rollout restart deployment/web -n shop"},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := c.story
			s.object, s.pod = &manifest.Object{Kind: "Deployment", Name: "web"}, &corev1.Pod{}
			if s.namespace == nil {
				s.namespace = &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
			}
			if !strings.Contains(s.outcome(), c.outcome) {
				t.Errorf("outcome %q, want %q", s.outcome(), c.outcome)
			}
			if advice := strings.Join(s.advice(), "\n"); !strings.Contains(advice, c.advice) {
				t.Errorf("advice %q, want %q", advice, c.advice)
			}
			var out strings.Builder
			if err := printExplanation(s.paragraphs(), &out); err != nil || !strings.HasPrefix(out.String(), "Deployment shop/web\n") {
				t.Errorf("%v, printed:\n%s", err, out.String())
			}
		})
	}
}

// Only an outcome that is known allows to say that nothing has to change.
func TestStoryClaimsNothingToChangeOnlyIfTheOutcomeIsKnown(t *testing.T) {
	asked := entryOf(ours, "outrigger-sidecar-injector", true, "")
	injected := inject.Report{Result: inject.Injected, Reason: api.InjectPolicyEnabled}
	unchecked := reality{unchecked: "you have no permission to create pods in namespace shop"}
	const blind = "Unknown, because you have no permission to read the webhook objects. docs/understand/security.md lists the permissions that show it."
	for what, c := range map[string]struct {
		story injectionStory
		want  string
	}{
		"view":                            {injectionStory{blind: true, unknown: "you have no permission to read Istio's configuration", real: unchecked}, blind},
		"view, with the configuration":    {injectionStory{blind: true, report: injected, real: unchecked}, blind},
		"edit, and no sidecar":            {injectionStory{blind: true, report: injected, real: reality{created: true}}, blind},
		"edit, and a sidecar":             {injectionStory{blind: true, report: injected, real: reality{created: true, sidecar: true}}, "Nothing."},
		"unknown whether anybody answers": {injectionStory{entries: []entryVerdict{asked}, report: injected, real: unchecked}, "Nothing, if Outrigger answers. That was not checked: kubectl get pods -A -l app.kubernetes.io/name=outrigger"},
	} {
		s := c.story
		s.object, s.pod, s.namespace = &manifest.Object{Kind: "Deployment", Name: "web"}, &corev1.Pod{}, namespaceOf(api.LabelInjection, "enabled")
		if got := s.data().Change; len(got) != 1 || got[0] != c.want {
			t.Errorf("%s: %q, want %q", what, got, c.want)
		}
	}
}

func namespaceOf(label, value string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{label: value}}}
}
