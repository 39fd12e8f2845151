// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
)

// The outcome is what happens, not what is decided.
func TestStoryTellsWhatHappens(t *testing.T) {
	asked := entryOf(Outrigger, "outrigger-sidecar-injector", true, "")
	byURL := asked
	url := "https://outrigger.example/inject"
	byURL.Webhook.ClientConfig.Service, byURL.Webhook.ClientConfig.URL = nil, &url
	ready := map[string]int{"system/outrigger": 2}
	injected := inject.Report{Result: inject.Injected, Reason: api.InjectPolicyEnabled}
	failing := DryRun{Failures: []PodFailure{{"ReplicaFailure", "exceeded quota"}}}
	for _, c := range []struct {
		what                  string
		story                 PodFacts
		outcome, last, advice string
	}{
		{"the API server refuses it", PodFacts{Entries: []Entry{asked}, Endpoints: ready, Report: injected, DryRun: DryRun{Refused: "violates PodSecurity"}}, "new pods are refused by the API server (see the end)", "the API server refuses the pod: violates PodSecurity", "Correct what prevents new pods"},
		{"its controller cannot create it", PodFacts{Entries: []Entry{asked}, Endpoints: ready, Report: injected, DryRun: failing}, "new pods cannot be created (see the end)", "ReplicaFailure   exceeded quota", "Correct what prevents new pods"},
		{"nobody has answered", PodFacts{Entries: []Entry{asked}, Endpoints: ready, Report: injected, DryRun: DryRun{Created: true}}, "not injected into new pods: Outrigger does not answer", "accepts the pod, without a sidecar", ""},
		{"it is so", PodFacts{Entries: []Entry{asked}, Endpoints: ready, Report: injected, DryRun: DryRun{Created: true, Sidecar: true}}, "injected into new pods", "accepts the pod, with a sidecar", "Nothing."},
		{"no replica behind the URL", PodFacts{Entries: []Entry{byURL}, Endpoints: map[string]int{url: 0}, Report: injected}, "new pods are refused: Outrigger does not answer", "", "No replica of Outrigger is ready to answer at https://outrigger.example/inject"},
		{"nothing is known of the URL", PodFacts{Entries: []Entry{byURL}, Report: injected}, "injected into new pods if Outrigger answers, which was not checked", "", ""},
		{"no webhook object may be read", PodFacts{Blind: true, Report: injected, DryRun: DryRun{Unchecked: "you have no permission"}}, "unknown: you have no permission to read the webhook objects", "not made: you have no permission", ""},
		{"but a pod may be created", PodFacts{Blind: true, Unknown: "no permission", DryRun: DryRun{Created: true, Sidecar: true}}, "injected into new pods", "with a sidecar", ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := c.story
			s.Kind, s.Name, s.Pod = "Deployment", "web", &corev1.Pod{}
			s.Namespace = &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
			if s.outcome() != c.outcome {
				t.Errorf("outcome %q, want %q", s.outcome(), c.outcome)
			}
			if advice := strings.Join(s.advice(), "\n"); !strings.Contains(advice, c.advice) {
				t.Errorf("advice %q, want %q", advice, c.advice)
			}
			paragraphs := s.Paragraphs()
			rows := paragraphs[len(paragraphs)-1].Rows
			if last := strings.Join(rows[len(rows)-1], "   "); !strings.HasSuffix(last, c.last) {
				t.Errorf("the last row is %q, want %q", last, c.last)
			}
		})
	}
}

// Each fix is printed once, however many say so.
func TestStoryPrintsEachFixOnce(t *testing.T) {
	s := PodFacts{
		Kind: "Deployment", Name: "web", Pod: &corev1.Pod{}, Namespace: namespaceOf(api.LabelInjection, "enable"),
		Entries: []Entry{entryOf(Outrigger, "outrigger-sidecar-injector", false, "")},
		Report:  inject.Report{Result: inject.Injected, Reason: api.InjectPolicyEnabled},
	}
	text := fmt.Sprint(s.Paragraphs())
	if got := strings.Count(text, "istio-injection=enabled"); got != 1 {
		t.Errorf("%d times:\n%s", got, text)
	}
}
