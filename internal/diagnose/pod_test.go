// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
	"outrigger.dev/outrigger/routing"
)

// entryOf returns an entry with a Service and a CA behind it.
func entryOf(whose Injector, object string, asked bool, why string) Entry {
	return Entry{Injector: whose, Object: object, Name: "namespace.sidecar-injector.example", Matches: asked, Why: why, Webhook: admissionregistrationv1.MutatingWebhook{
		ClientConfig: admissionregistrationv1.WebhookClientConfig{CABundle: []byte("ca"), Service: &admissionregistrationv1.ServiceReference{Namespace: "system", Name: "outrigger"}},
	}}
}

func TestStoryTellsTheOutcomeAndWhatToChange(t *testing.T) {
	asked, not := entryOf(Outrigger, "outrigger-sidecar-injector", true, ""), entryOf(Outrigger, "outrigger-sidecar-injector", false, "the Namespace has no label")
	by := func(e Entry, change func(*Entry)) Entry { change(&e); return e }
	ready := map[string]int{"system/outrigger": 2}
	injected := inject.Report{Result: inject.Injected, Reason: api.InjectPolicyEnabled}
	for _, c := range []struct {
		what            string
		story           PodFacts
		outcome, advice string
	}{
		{"all is well", PodFacts{Entries: []Entry{asked}, Endpoints: ready, Report: injected}, "injected into new pods", "Nothing."},
		{"no label", PodFacts{Entries: []Entry{not}, Report: injected}, "no webhook matches them", "kubectl label namespace shop istio-injection=enabled"},
		{"another value", PodFacts{Entries: []Entry{not}, Report: injected, Namespace: namespaceOf(api.LabelInjection, "disabled")}, "no webhook matches", "kubectl label namespace shop istio-injection=enabled --overwrite"},
		{"a revision that nobody serves", PodFacts{Entries: []Entry{not}, Report: injected, Namespace: namespaceOf(api.LabelRevision, "canary")}, "no webhook matches", "No injector is installed for revision canary"},
		{"labeled, but excluded", PodFacts{Entries: []Entry{not}, Report: injected, Namespace: namespaceOf(api.LabelInjection, "enabled")}, "no webhook matches", "webhook.excludedNamespaces"},
		{"a condition says no", PodFacts{Entries: []Entry{by(not, func(e *Entry) { e.Why = "its matchCondition mine is false" })}, Report: injected}, "no webhook matches", "webhook.matchConditions"},
		{"nothing is installed", PodFacts{Report: injected}, "no webhook matches", "helm install outrigger"},
		{"istiod is asked first", PodFacts{Entries: []Entry{entryOf(Istiod, "istio-sidecar-injector", true, ""), asked}, Endpoints: ready, Report: injected}, "by istiod, whose webhook is called first", "operatorManageWebhooks=true"},
		{"nobody is ready", PodFacts{Entries: []Entry{asked}, Endpoints: map[string]int{"system/outrigger": 0}, Report: injected}, "refused: Outrigger does not answer", "No pod is ready behind Service system/outrigger"},
		{"nobody is ready, and that is ignored", PodFacts{Entries: []Entry{by(asked, func(e *Entry) {
			ignore := admissionregistrationv1.Ignore
			e.Webhook.FailurePolicy = &ignore
		})}, Endpoints: map[string]int{"system/outrigger": 0}, Report: injected}, "not injected into new pods: Outrigger does not answer", "No pod is ready"},
		{"no CA yet", PodFacts{Entries: []Entry{by(asked, func(e *Entry) { e.Webhook.ClientConfig.CABundle = nil })}, Endpoints: ready, Report: injected}, "Outrigger does not answer", "has no caBundle yet"},
		{"a condition fails", PodFacts{Entries: []Entry{by(not, func(e *Entry) { e.broken = true })}, Report: injected}, "refused before a webhook is called", "Fix the matchConditions of namespace.sidecar-injector.example"},
		{"denied", PodFacts{Entries: []Entry{asked}, Endpoints: ready, Report: inject.Report{Result: inject.Denied, Reason: api.InjectUnknownTemplate}}, "new pods are refused", "Name templates of Istio's configuration"},
		{"opted out", PodFacts{Entries: []Entry{asked}, Endpoints: ready, Report: inject.Report{Result: inject.Skipped, Reason: api.InjectOptedOut}}, "not injected into new pods", "Remove sidecar.istio.io/inject from"},
		{"the configuration is not known", PodFacts{Entries: []Entry{asked}, Endpoints: ready, Unknown: "no Istio configuration"}, "unknown", "Unknown, because Outrigger's decision is not known: \"no Istio configuration\"."},
		{"a misspelt label", PodFacts{Entries: []Entry{not}, Report: injected, Namespace: namespaceOf(api.LabelInjection, "enable")}, "no webhook matches", "istio-injection=enabled --overwrite"},
		{"pods older than the label", PodFacts{Entries: []Entry{asked}, Endpoints: ready, Report: injected, Pods: make([]corev1.Pod, 1), Owned: true, Owner: routing.WorkloadRef{Kind: "Deployment", Name: "web"}}, "injected into new pods", "kubectl rollout restart deployment/web -n shop"},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := c.story
			s.Kind, s.Name, s.Pod = "Deployment", "web", &corev1.Pod{}
			if s.Namespace == nil {
				s.Namespace = &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
			}
			if !strings.Contains(s.outcome(), c.outcome) {
				t.Errorf("outcome %q, want %q", s.outcome(), c.outcome)
			}
			if advice := strings.Join(s.advice(), "\n"); !strings.Contains(advice, c.advice) {
				t.Errorf("advice %q, want %q", advice, c.advice)
			}
			if heading := s.Paragraphs()[0].Heading; heading != "Deployment shop/web" {
				t.Errorf("heading %q", heading)
			}
		})
	}
}

// The API server calls webhooks in the order of their names, so webhook.name decides which injector is called first.
func TestOutcomeNamesTheInjectorThatIsCalledFirst(t *testing.T) {
	istiod, outrigger := entryOf(Istiod, "istio-sidecar-injector", true, ""), entryOf(Outrigger, "aa-outrigger", true, "")
	ignored := outrigger
	ignore := admissionregistrationv1.Ignore
	ignored.Webhook.FailurePolicy = &ignore
	for _, c := range []struct {
		entries []Entry
		ready   int
		want    string
	}{
		{[]Entry{istiod, outrigger}, 2, "injected into new pods by istiod, whose webhook is called first"},
		{[]Entry{outrigger, istiod}, 2, "injected into new pods"},
		{[]Entry{outrigger, istiod}, 0, "new pods are refused: Outrigger does not answer"},
		{[]Entry{ignored, istiod}, 0, "injected into new pods by istiod, because Outrigger does not answer"},
	} {
		s := PodFacts{Entries: c.entries, Endpoints: map[string]int{"system/outrigger": c.ready}, Report: inject.Report{Result: inject.Injected}}
		if got := s.outcome(); got != c.want {
			t.Errorf("%s first, %d replicas: %q; want %q", c.entries[0].Injector, c.ready, got, c.want)
		}
	}
}

// Only an outcome that is known allows to say that nothing has to change.
func TestStoryClaimsNothingToChangeOnlyIfTheOutcomeIsKnown(t *testing.T) {
	asked := entryOf(Outrigger, "outrigger-sidecar-injector", true, "")
	injected := inject.Report{Result: inject.Injected, Reason: api.InjectPolicyEnabled}
	unchecked := DryRun{Unchecked: "you have no permission to create pods in namespace shop"}
	const blind = "Unknown, because you have no permission to read the webhook objects. docs/understand/security.md lists the permissions that show it."
	for what, c := range map[string]struct {
		story PodFacts
		want  string
	}{
		"view":                            {PodFacts{Blind: true, Unknown: "you have no permission to read Istio's configuration", DryRun: unchecked}, blind},
		"view, with the configuration":    {PodFacts{Blind: true, Report: injected, DryRun: unchecked}, blind},
		"edit, and no sidecar":            {PodFacts{Blind: true, Report: injected, DryRun: DryRun{Created: true}}, blind},
		"edit, and a sidecar":             {PodFacts{Blind: true, Report: injected, DryRun: DryRun{Created: true, Sidecar: true}}, "Nothing."},
		"unknown whether anybody answers": {PodFacts{Entries: []Entry{asked}, Report: injected, DryRun: unchecked}, "Nothing, if Outrigger answers. That was not checked: kubectl get pods -A -l app.kubernetes.io/name=outrigger"},
	} {
		s := c.story
		s.Kind, s.Name, s.Pod, s.Namespace = "Deployment", "web", &corev1.Pod{}, namespaceOf(api.LabelInjection, "enabled")
		if got := s.Data().Change; len(got) != 1 || got[0] != c.want {
			t.Errorf("%s: %q, want %q", what, got, c.want)
		}
	}
}

func namespaceOf(label, value string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{label: value}}}
}
