// SPDX-License-Identifier: Apache-2.0

package cli

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

// paragraphs tell what becomes of the pod: the outcome, the words that were said, who is asked, what is decided, and what
// to change.
func (s *injectionStory) paragraphs() []paragraph {
	out := []paragraph{
		{s.heading(), append([][]string{{"Sidecar", s.outcome()}}, s.podRows()...)},
		{"Settings", s.wordRows()},
		{"Matching webhooks", s.entryRows()},
		{"Outrigger's decision", s.decisionRows()},
		{"What to change", rowsOf(s.advice())},
		{"Unknown", rowsOf(s.notes)},
		{"Result for a new pod", s.real.rows()},
	}
	return slices.DeleteFunc(out, func(p paragraph) bool { return len(p.rows) == 0 })
}

func (s *injectionStory) heading() string {
	return s.object.Kind + " " + s.namespace.Name + "/" + s.object.Name
}

// outcome is the answer in one line.
func (s *injectionStory) outcome() string {
	switch {
	case s.broken() != nil:
		return "new pods are refused before a webhook is called"
	case s.asked(ours) != nil && s.asked(istios) == nil && s.silent() && !s.real.created && s.asked(ours).failurePolicy() == admissionregistrationv1.Fail:
		return "new pods are refused: Outrigger does not answer"
	case s.asked(ours) != nil && s.unknown == "" && s.report.Result == inject.Denied:
		return "new pods are refused"
	case s.real.refused != "":
		return "new pods are refused by the API server (see the end)"
	case len(s.real.failures) > 0:
		return "new pods cannot be created (see the end)"
	case s.asked(istios) != nil && (!s.real.created || s.real.sidecar):
		return "injected into new pods by istiod, whose webhook is called first"
	case s.real.created && s.real.sidecar:
		return "injected into new pods"
	case s.blind && !s.real.created:
		return "unknown: you have no permission to read the webhook objects"
	case s.blind:
		return "not injected into new pods"
	case s.asked(ours) == nil && s.asked(istios) == nil:
		return "not injected into new pods: no webhook matches them"
	case s.silent() || s.real.created && s.injects():
		return "not injected into new pods: " + string(s.first()) + " does not answer"
	case s.unknown != "":
		return "unknown: Istio's configuration cannot be read"
	case s.report.Result != inject.Injected:
		return "not injected into new pods"
	case s.answer() == unknownAnswer:
		return "injected into new pods if Outrigger answers, which was not checked"
	}
	return "injected into new pods"
}

// first is the injector that is asked first.
func (s *injectionStory) first() injectorName {
	if s.asked(istios) != nil {
		return istios
	}
	return ours
}

// injects reports whether the injector that is asked would inject the pod, as far as it is known.
func (s *injectionStory) injects() bool {
	return s.asked(istios) != nil || s.asked(ours) != nil && s.unknown == "" && s.report.Result == inject.Injected
}

// broken is an entry whose conditions fail so that the API server refuses the pod; nil if there is none.
func (s *injectionStory) broken() *entryVerdict {
	at := slices.IndexFunc(s.entries, func(v entryVerdict) bool { return v.broken })
	if at < 0 {
		return nil
	}
	return &s.entries[at]
}

// answerState says whether a replica of Outrigger is known to answer the API server about the pod.
type answerState int

const (
	unknownAnswer answerState = iota
	answers
	answersNot
)

// silent says that nobody is ready behind the entry of ours that is asked, or that the API server cannot trust who is.
func (s *injectionStory) silent() bool { return s.answer() == answersNot }

func (s *injectionStory) answer() answerState {
	entry := s.asked(ours)
	if entry == nil {
		return unknownAnswer
	}
	to := entry.webhook.ClientConfig
	if len(to.CABundle) == 0 {
		return answersNot
	}
	name := ptr.Deref(to.URL, "")
	if to.Service != nil {
		name = to.Service.Namespace + "/" + to.Service.Name
	}
	switch ready, known := s.endpoints[name]; {
	case !known:
		return unknownAnswer
	case ready == 0:
		return answersNot
	}
	return answers
}

// podRows say how many pods run with and without a sidecar.
func (s *injectionStory) podRows() [][]string {
	if len(s.pods) == 0 {
		return nil
	}
	with := 0
	for i := range s.pods {
		if hasSidecar(&s.pods[i]) {
			with++
		}
	}
	if s.object.Kind == "Pod" {
		return [][]string{{"This pod", map[bool]string{true: "has one", false: "has none"}[with > 0]}}
	}
	return [][]string{{"Pods now", fmt.Sprintf("%d of %d have one", with, len(s.pods))}}
}

// injectionWord is a label or annotation by which one asks for injection or refuses it.
type injectionWord struct{ where, mark, key, value string }

func (s *injectionStory) words() []injectionWord {
	var out []injectionWord
	add := func(where, mark string, marks map[string]string, keys ...string) {
		for _, key := range keys {
			if value, written := marks[key]; written {
				out = append(out, injectionWord{where, mark, key, value})
			}
		}
	}
	add("Namespace", "label", s.namespace.Labels, api.LabelInjection, api.LabelRevision)
	add("pod", "label", s.pod.Labels, api.KeySidecarInject, api.LabelRevision)
	add("pod", "annotation", s.pod.Annotations, api.KeySidecarInject, "inject.istio.io/templates")
	return out
}

func (s *injectionStory) wordRows() [][]string {
	var out [][]string
	for _, word := range s.words() {
		out = append(out, []string{word.where + ", " + word.mark, word.key + "=" + word.value})
	}
	if len(out) == 0 {
		out = append(out, []string{"no label or annotation requests a sidecar (Namespace: " + api.LabelInjection + " or " + api.LabelRevision + "; pod: " + api.KeySidecarInject + ")"})
	}
	return out
}

func (s *injectionStory) entryRows() [][]string {
	out := [][]string{}
	var before injectorName // who is asked already
	for _, v := range s.entries {
		is := "does not match"
		switch {
		case v.asked && before != "" && before != v.injector:
			is = "called if " + string(before) + " has not injected it"
		case v.asked:
			is, before = "matches", v.injector
		}
		out = append(out, []string{string(v.injector), v.object, v.entry[:strings.Index(v.entry+".sidecar-injector", ".sidecar-injector")], is, v.why})
	}
	if s.blind {
		return [][]string{{"unknown: you have no permission to read the webhook objects"}}
	}
	if len(out) == 0 {
		out = append(out, []string{"none: the cluster has no webhook of Outrigger or istiod"})
	}
	return out
}

func (s *injectionStory) decisionRows() [][]string {
	if s.unknown != "" {
		return [][]string{{"unknown", s.unknown}}
	}
	verdict := string(s.report.Result)
	if s.asked(ours) == nil && !s.blind {
		verdict += " (if its webhook matched)"
	}
	out := [][]string{{verdict, string(s.report.Reason)}}
	if s.report.Message != "" && s.report.Result != inject.Denied {
		out = append(out, []string{"because", s.report.Message})
	}
	if len(s.report.Templates) > 0 {
		out = append(out, []string{"templates", strings.Join(s.report.Templates, ",")})
	}
	for _, problem := range s.problems() {
		problem.Advice = "" // it is among what to change
		out = append(out, []string{string(problem.Reason), problem.String()})
	}
	return out
}

// problems are those of the pod and of the labels of its Namespace.
func (s *injectionStory) problems() []api.InjectProblem {
	return append(slices.Clone(s.report.Problems), inject.WarnNamespace(s.namespace)...)
}

// advice says what to change, the first obstacle first.
func (s *injectionStory) advice() []string {
	var out []string
	say := func(format string, args ...any) {
		if text := fmt.Sprintf(format, args...); text != "" && !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	if v := s.broken(); v != nil {
		say("Fix the matchConditions of %s in MutatingWebhookConfiguration %s.", v.entry, v.object)
	}
	for _, problem := range slices.Concat(inject.WarnNamespace(s.namespace), s.report.Problems) {
		say("%s", problem.Advice)
	}
	switch {
	case (s.report.Result == inject.Denied || s.report.Result == inject.Skipped && s.report.Reason != api.InjectAlready) && !s.isAdvised(s.report.Reason):
		say("%s", s.report.Reason.Advice())
	case s.report.Result == inject.Denied, s.blind:
	case s.asked(ours) == nil && s.asked(istios) == nil:
		for _, line := range s.ask() {
			say("%s", line)
		}
	case s.asked(istios) != nil && s.asked(ours) != nil:
		say("Nothing. To have Outrigger inject alone, install Istio with global.operatorManageWebhooks=true.")
	}
	if s.asked(ours) != nil && s.silent() {
		say("%s", s.awaken())
	}
	if refused := s.real.refused != "" || len(s.real.failures) > 0; refused && s.report.Result != inject.Denied && !s.silent() {
		say("Correct what prevents new pods; the message is at the end.")
	}
	if s.stale() {
		say("Running pods are unchanged. To recreate them: %s", restartCommand(s.owner, s.namespace.Name))
	}
	if len(out) == 0 {
		say("%s", cmp.Or(s.adviceUnknown(), "Nothing."))
	}
	return out
}

// adviceUnknown returns why it is unknown whether anything has to change, and what to do; "" if a new pod is known to get its sidecar.
func (s *injectionStory) adviceUnknown() string {
	switch {
	case s.real.created && s.real.sidecar, s.asked(istios) != nil:
		return ""
	case s.blind:
		return "Unknown, because you have no permission to read the webhook objects. docs/understand/security.md lists the permissions that show it."
	case s.unknown != "":
		return "Unknown, because Outrigger's decision is not known: " + s.unknown + "."
	case s.asked(ours) != nil && s.answer() == unknownAnswer:
		return "Nothing, if Outrigger answers. That was not checked: kubectl get pods -A -l app.kubernetes.io/name=outrigger"
	}
	return ""
}

// isAdvised reports whether a problem of the pod says what to do about a reason.
func (s *injectionStory) isAdvised(reason api.InjectReason) bool {
	return slices.ContainsFunc(s.report.Problems, func(p api.InjectProblem) bool { return p.Reason == reason && p.Advice != "" })
}

// ask says how an injector comes to be asked about the pod.
func (s *injectionStory) ask() []string {
	at := slices.IndexFunc(s.entries, func(v entryVerdict) bool { return v.injector == ours })
	if at < 0 {
		return []string{"Install Outrigger: helm install outrigger charts/outrigger -n outrigger-system --create-namespace"}
	}
	if slices.ContainsFunc(s.entries, func(v entryVerdict) bool {
		return v.injector == ours && strings.HasPrefix(v.why, "its matchCondition ")
	}) {
		return []string{"Change the pod, or webhook.matchConditions in the chart's values, so that the condition is true."}
	}
	name := s.namespace.Name
	switch word, labeled := s.namespace.Labels[api.LabelInjection]; {
	case labeled && word != "enabled":
		return []string{fmt.Sprintf("kubectl label namespace %s %s=enabled --overwrite", name, api.LabelInjection)}
	case labeled:
		return []string{fmt.Sprintf("Namespace %s requests injection, but no webhook matches, for the reasons above. The chart's webhook.namespaceSelector, webhook.objectSelector, and webhook.excludedNamespaces restrict the webhook further.", name)}
	case s.namespace.Labels[api.LabelRevision] != "":
		return []string{fmt.Sprintf("No injector is installed for revision %s: install one with --set revision=%s, or kubectl label namespace %s %s=enabled %s-",
			s.namespace.Labels[api.LabelRevision], s.namespace.Labels[api.LabelRevision], name, api.LabelInjection, api.LabelRevision)}
	}
	return []string{fmt.Sprintf("kubectl label namespace %s %s=enabled", name, api.LabelInjection)}
}

// awaken says what to look at where Outrigger does not answer.
func (s *injectionStory) awaken() string {
	entry := s.asked(ours)
	if len(entry.webhook.ClientConfig.CABundle) == 0 {
		return fmt.Sprintf("MutatingWebhookConfiguration %s has no caBundle yet: Outrigger writes it when it runs. kubectl get pods -A -l app.kubernetes.io/name=outrigger", entry.object)
	}
	service := entry.webhook.ClientConfig.Service
	if service == nil {
		return fmt.Sprintf("No replica of Outrigger is ready to answer at %s: kubectl get pods -A -l app.kubernetes.io/name=outrigger", ptr.Deref(entry.webhook.ClientConfig.URL, ""))
	}
	return fmt.Sprintf("No pod is ready behind Service %s/%s: kubectl get pods -n %s -l app.kubernetes.io/name=outrigger", service.Namespace, service.Name, service.Namespace)
}

// stale says that some pod that runs is not what a new one would be.
func (s *injectionStory) stale() bool {
	if !s.owned || len(s.pods) == 0 {
		return false
	}
	gets := s.asked(istios) != nil || s.asked(ours) != nil && s.report.Result == inject.Injected
	switch {
	case s.real.created:
		gets = s.real.sidecar
	case s.blind || s.real.refused != "" || len(s.real.failures) > 0:
		return false // new pods are not known, or do not come
	}
	for i := range s.pods {
		if hasSidecar(&s.pods[i]) != gets {
			return true
		}
	}
	return false
}

func rowsOf(lines []string) [][]string {
	var out [][]string
	for _, line := range lines {
		out = append(out, []string{line})
	}
	return out
}
