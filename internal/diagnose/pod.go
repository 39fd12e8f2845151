// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/utils/ptr"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
)

// Paragraphs explains what happens to a new pod: the outcome, the settings, the matching webhooks, the decision, and what to
// change.
func (s *PodFacts) Paragraphs() []Paragraph {
	out := []Paragraph{
		{s.heading(), append([][]string{{"Sidecar", s.outcome()}}, s.podRows()...)},
		{"Settings", s.settingRows()},
		{"Matching webhooks", s.entryRows()},
		{"Outrigger's decision", s.decisionRows()},
		{"What to change", rowsOf(s.advice())},
		{"Unknown", rowsOf(s.Notes)},
		{"Result for a new pod", s.DryRun.rows()},
	}
	return slices.DeleteFunc(out, func(p Paragraph) bool { return len(p.Rows) == 0 })
}

func (s *PodFacts) heading() string {
	return s.Kind + " " + s.Namespace.Name + "/" + s.Name
}

// outcome returns the result in one line.
func (s *PodFacts) outcome() string {
	switch {
	case s.broken() != nil:
		return "new pods are refused before a webhook is called"
	case s.first() == Outrigger && s.isSilent() && !s.DryRun.Created && s.Matching(Outrigger).failurePolicy() == admissionregistrationv1.Fail:
		return "new pods are refused: Outrigger does not answer"
	case s.Matching(Outrigger) != nil && s.Unknown == "" && s.Report.Result == inject.Denied:
		return "new pods are refused"
	case s.DryRun.Refused != "":
		return "new pods are refused by the API server (see the end)"
	case len(s.DryRun.Failures) > 0:
		return "new pods cannot be created (see the end)"
	case s.first() == Istiod && (!s.DryRun.Created || s.DryRun.Sidecar):
		return "injected into new pods by istiod, whose webhook is called first"
	case s.Matching(Istiod) != nil && s.isSilent() && (!s.DryRun.Created || s.DryRun.Sidecar):
		return "injected into new pods by istiod, because Outrigger does not answer"
	case s.DryRun.Created && s.DryRun.Sidecar:
		return "injected into new pods"
	case s.Blind && !s.DryRun.Created:
		return "unknown: you have no permission to read the webhook objects"
	case s.Blind:
		return "not injected into new pods"
	case s.Matching(Outrigger) == nil && s.Matching(Istiod) == nil:
		return "not injected into new pods: no webhook matches them"
	case s.isSilent() || s.DryRun.Created && s.injects():
		return "not injected into new pods: " + string(s.first()) + " does not answer"
	case s.Unknown != "":
		return "unknown: Istio's configuration cannot be read"
	case s.Report.Result != inject.Injected:
		return "not injected into new pods"
	case s.Answer() == UnknownAnswer:
		return "injected into new pods if Outrigger answers, which was not checked"
	}
	return "injected into new pods"
}

// first returns the injector that is called first, or "" if no webhook matches.
func (s *PodFacts) first() Injector {
	if entry := s.Injector(); entry != nil {
		return entry.Injector
	}
	return ""
}

// injects reports whether the matching injector is known to inject the pod.
func (s *PodFacts) injects() bool {
	return s.Matching(Istiod) != nil || s.Matching(Outrigger) != nil && s.Unknown == "" && s.Report.Result == inject.Injected
}

// broken returns an entry whose conditions fail so that the API server refuses the pod, or nil if there is none.
func (s *PodFacts) broken() *Entry {
	at := slices.IndexFunc(s.Entries, func(v Entry) bool { return v.broken })
	if at < 0 {
		return nil
	}
	return &s.Entries[at]
}

// AnswerState says whether a replica of Outrigger is known to answer the API server about the pod.
type AnswerState int

// The states of an answer.
const (
	UnknownAnswer AnswerState = iota
	Answers
	NoAnswer
)

// isSilent reports whether the matching entry of Outrigger is known not to answer: no replica is ready, or the API server does
// not trust them.
func (s *PodFacts) isSilent() bool { return s.Answer() == NoAnswer }

// Answer says whether the webhook entry of Outrigger that matches the pod is known to answer.
func (s *PodFacts) Answer() AnswerState {
	entry := s.Matching(Outrigger)
	if entry == nil {
		return UnknownAnswer
	}
	to := entry.Webhook.ClientConfig
	if len(to.CABundle) == 0 {
		return NoAnswer
	}
	name := ptr.Deref(to.URL, "")
	if to.Service != nil {
		name = to.Service.Namespace + "/" + to.Service.Name
	}
	switch ready, known := s.Endpoints[name]; {
	case !known:
		return UnknownAnswer
	case ready == 0:
		return NoAnswer
	}
	return Answers
}

// podRows says how many running pods have a sidecar.
func (s *PodFacts) podRows() [][]string {
	if len(s.Pods) == 0 {
		return nil
	}
	with := countSidecars(s.Pods)
	if s.Kind == "Pod" {
		return [][]string{{"This pod", map[bool]string{true: "has one", false: "has none"}[with > 0]}}
	}
	return [][]string{{"Pods now", fmt.Sprintf("%d of %d have one", with, len(s.Pods))}}
}

// settings returns the labels and annotations that request or prevent injection.
func (s *PodFacts) settings() []Setting {
	var out []Setting
	add := func(on, kind string, values map[string]string, keys ...string) {
		for _, key := range keys {
			if value, written := values[key]; written {
				out = append(out, Setting{On: on, Key: key, Value: value, kind: kind})
			}
		}
	}
	add("Namespace", "label", s.Namespace.Labels, api.LabelInjection, api.LabelRevision)
	add("pod", "label", s.Pod.Labels, api.KeySidecarInject, api.LabelRevision)
	add("pod", "annotation", s.Pod.Annotations, api.KeySidecarInject, "inject.istio.io/templates")
	return out
}

func (s *PodFacts) settingRows() [][]string {
	var out [][]string
	for _, setting := range s.settings() {
		out = append(out, []string{setting.On + ", " + setting.kind, setting.Key + "=" + setting.Value})
	}
	if len(out) == 0 {
		out = append(out, []string{"no label or annotation requests a sidecar (Namespace: " + api.LabelInjection + " or " + api.LabelRevision + "; pod: " + api.KeySidecarInject + ")"})
	}
	return out
}

func (s *PodFacts) entryRows() [][]string {
	out := [][]string{}
	var before Injector // the injector that is called already
	for _, v := range s.Entries {
		is := "does not match"
		switch {
		case v.Matches && before != "" && before != v.Injector:
			is = "called if " + string(before) + " has not injected it"
		case v.Matches:
			is, before = "matches", v.Injector
		}
		out = append(out, []string{string(v.Injector), v.Object, v.Name[:strings.Index(v.Name+".sidecar-injector", ".sidecar-injector")], is, v.Why})
	}
	if s.Blind {
		return [][]string{{"unknown: you have no permission to read the webhook objects"}}
	}
	if len(out) == 0 {
		out = append(out, []string{"none: the cluster has no webhook of Outrigger or istiod"})
	}
	return out
}

func (s *PodFacts) decisionRows() [][]string {
	if s.Unknown != "" {
		return [][]string{{"unknown", s.Unknown}}
	}
	decision := string(s.Report.Result)
	if s.Matching(Outrigger) == nil && !s.Blind {
		decision += " (if its webhook matched)"
	}
	out := [][]string{{decision, string(s.Report.Reason)}}
	if s.Report.Message != "" && s.Report.Result != inject.Denied {
		out = append(out, []string{"because", s.Report.Message})
	}
	if len(s.Report.Templates) > 0 {
		out = append(out, []string{"templates", strings.Join(s.Report.Templates, ",")})
	}
	for _, problem := range s.problems() {
		problem.Advice = "" // it is among what to change
		out = append(out, []string{string(problem.Reason), problem.String()})
	}
	return out
}

// problems returns those of the pod and of the labels of its Namespace.
func (s *PodFacts) problems() []api.InjectProblem {
	return append(slices.Clone(s.Report.Problems), inject.NamespaceKeyProblems(s.Namespace)...)
}

// advice returns what to change, the first obstacle first.
func (s *PodFacts) advice() []string {
	var out []string
	say := func(format string, args ...any) {
		if text := fmt.Sprintf(format, args...); text != "" && !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	if v := s.broken(); v != nil {
		say("Fix the matchConditions of %s in MutatingWebhookConfiguration %s.", v.Name, v.Object)
	}
	for _, problem := range slices.Concat(inject.NamespaceKeyProblems(s.Namespace), s.Report.Problems) {
		say("%s", problem.Advice)
	}
	switch {
	case (s.Report.Result == inject.Denied || s.Report.Result == inject.Skipped && s.Report.Reason != api.InjectAlready) && !s.isAdvised(s.Report.Reason):
		say("%s", s.Report.Reason.Advice())
	case s.Report.Result == inject.Denied, s.Blind:
	case s.Matching(Outrigger) == nil && s.Matching(Istiod) == nil:
		say("%s", s.howToMatch())
	case s.Matching(Istiod) != nil && s.Matching(Outrigger) != nil:
		say("Nothing. To have Outrigger inject alone, install Istio with global.operatorManageWebhooks=true.")
	}
	if s.Matching(Outrigger) != nil && s.isSilent() {
		say("%s", s.howToAnswer())
	}
	if refused := s.DryRun.Refused != "" || len(s.DryRun.Failures) > 0; refused && s.Report.Result != inject.Denied && !s.isSilent() {
		say("Correct what prevents new pods; the message is at the end.")
	}
	if s.stale() {
		say("Running pods are unchanged. To recreate them: %s", restartCommand(s.Owner, s.Namespace.Name))
	}
	if len(out) == 0 {
		say("%s", cmp.Or(s.adviceUnknown(), "Nothing."))
	}
	return out
}

// adviceUnknown returns why it is unknown whether anything has to change, and what to do; "" if a new pod is known to get its sidecar.
func (s *PodFacts) adviceUnknown() string {
	switch {
	case s.DryRun.Created && s.DryRun.Sidecar, s.Matching(Istiod) != nil:
		return ""
	case s.Blind:
		return "Unknown, because you have no permission to read the webhook objects. docs/understand/security.md lists the permissions that show it."
	case s.Unknown != "":
		return fmt.Sprintf("Unknown, because Outrigger's decision is not known: %q.", s.Unknown)
	case s.Matching(Outrigger) != nil && s.Answer() == UnknownAnswer:
		return "Nothing, if Outrigger answers. That was not checked: kubectl get pods -A -l app.kubernetes.io/name=outrigger"
	}
	return ""
}

// isAdvised reports whether a problem of the pod says what to do about a reason.
func (s *PodFacts) isAdvised(reason api.InjectReason) bool {
	return slices.ContainsFunc(s.Report.Problems, func(p api.InjectProblem) bool { return p.Reason == reason && p.Advice != "" })
}

// howToMatch returns what to change so that the webhook of an injector matches the pod.
func (s *PodFacts) howToMatch() string {
	at := slices.IndexFunc(s.Entries, func(v Entry) bool { return v.Injector == Outrigger })
	if at < 0 {
		return "Install Outrigger: helm install outrigger charts/outrigger -n outrigger-system --create-namespace"
	}
	if slices.ContainsFunc(s.Entries, func(v Entry) bool {
		return v.Injector == Outrigger && strings.HasPrefix(v.Why, "its matchCondition ")
	}) {
		return "Change the pod, or webhook.matchConditions in the chart's values, so that the condition is true."
	}
	name := s.Namespace.Name
	switch word, labeled := s.Namespace.Labels[api.LabelInjection]; {
	case labeled && word != "enabled":
		return fmt.Sprintf("kubectl label namespace %s %s=enabled --overwrite", name, api.LabelInjection)
	case labeled:
		return fmt.Sprintf("Namespace %s requests injection, but no webhook matches, for the reasons above. The chart's webhook.namespaceSelector, webhook.objectSelector, and webhook.excludedNamespaces restrict the webhook further.", name)
	case s.Namespace.Labels[api.LabelRevision] != "":
		return fmt.Sprintf("No injector is installed for revision %s: install one with --set revision=%s, or kubectl label namespace %s %s=enabled %s-",
			s.Namespace.Labels[api.LabelRevision], s.Namespace.Labels[api.LabelRevision], name, api.LabelInjection, api.LabelRevision)
	}
	return fmt.Sprintf("kubectl label namespace %s %s=enabled", name, api.LabelInjection)
}

// howToAnswer returns what to check if Outrigger does not answer.
func (s *PodFacts) howToAnswer() string {
	entry := s.Matching(Outrigger)
	if len(entry.Webhook.ClientConfig.CABundle) == 0 {
		return fmt.Sprintf("MutatingWebhookConfiguration %s has no caBundle yet: Outrigger writes it when it runs. kubectl get pods -A -l app.kubernetes.io/name=outrigger", entry.Object)
	}
	service := entry.Webhook.ClientConfig.Service
	if service == nil {
		return fmt.Sprintf("No replica of Outrigger is ready to answer at %s: kubectl get pods -A -l app.kubernetes.io/name=outrigger", ptr.Deref(entry.Webhook.ClientConfig.URL, ""))
	}
	return fmt.Sprintf("No pod is ready behind Service %s/%s: kubectl get pods -n %s -l app.kubernetes.io/name=outrigger", service.Namespace, service.Name, service.Namespace)
}

// stale reports whether a running pod differs from a new one in having a sidecar.
func (s *PodFacts) stale() bool {
	if !s.Owned || len(s.Pods) == 0 {
		return false
	}
	gets := s.Matching(Istiod) != nil || s.Matching(Outrigger) != nil && s.Report.Result == inject.Injected
	switch {
	case s.DryRun.Created:
		gets = s.DryRun.Sidecar
	case s.Blind || s.DryRun.Refused != "" || len(s.DryRun.Failures) > 0:
		return false // new pods are not known, or do not come
	}
	for i := range s.Pods {
		if HasSidecar(&s.Pods[i]) != gets {
			return true
		}
	}
	return false
}
