// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/webhook"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/predicates/rules"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/cel/environment"

	"outrigger.dev/outrigger/api"
)

// Injector is the program that an entry of a webhook object calls.
type Injector string

// The known injectors.
const (
	Outrigger Injector = "Outrigger"
	Istiod    Injector = "istiod"
)

// Entry is an entry of a webhook object, and what the API server does with it for one pod.
type Entry struct {
	Injector     Injector
	Object, Name string
	Matches      bool
	Why          string // why the entry does not match, or what happens while it does not answer
	broken       bool   // a condition fails, and the failurePolicy refuses the pod for that
	Webhook      admissionregistrationv1.MutatingWebhook
	Revision     string // of the configuration; empty for the default revision
	compiled     webhook.WebhookAccessor
}

// injectorOf returns the injector that an entry calls, by the name of the entry, and false for other webhooks.
func injectorOf(entry string) (Injector, bool) {
	switch {
	case strings.HasSuffix(entry, "sidecar-injector.outrigger.dev"):
		return Outrigger, true
	case strings.HasSuffix(entry, "sidecar-injector.istio.io"):
		return Istiod, true
	}
	return "", false
}

// InjectorEntries returns the entries of all injectors in the order of the API server, without a decision for a pod.
func InjectorEntries(objects []admissionregistrationv1.MutatingWebhookConfiguration) []Entry {
	objects = slices.SortedFunc(slices.Values(objects), func(a, b admissionregistrationv1.MutatingWebhookConfiguration) int {
		return cmp.Compare(a.Name, b.Name)
	})
	var out []Entry
	for _, object := range objects {
		for i := range object.Webhooks {
			whose, is := injectorOf(object.Webhooks[i].Name)
			if !is {
				continue
			}
			out = append(out, Entry{
				Injector: whose, Object: object.Name, Name: object.Webhooks[i].Name, Webhook: object.Webhooks[i], Revision: revisionOf(whose, &object),
				compiled: webhook.NewMutatingWebhookAccessor(object.Webhooks[i].Name, object.Name, &object.Webhooks[i]),
			})
		}
	}
	return out
}

// revisionOf returns the revision of an injector. Outrigger's webhook object has a label for it; those of earlier releases have
// it only in their name. Istiod's has Istio's label.
func revisionOf(whose Injector, object *admissionregistrationv1.MutatingWebhookConfiguration) string {
	if whose == Outrigger {
		if revision, labeled := object.Labels[labelWebhookRevision]; labeled {
			return revision
		}
		return strings.TrimPrefix(strings.TrimPrefix(object.Name, webhookName), "-")
	}
	if revision := object.Labels[api.LabelRevision]; revision != "default" {
		return revision
	}
	return ""
}

// labelWebhookRevision is the label of Outrigger's webhook objects with their revision, which is empty for the default one.
const labelWebhookRevision = api.Domain + "/revision"

// conditions compiles the matchConditions of entries, as the API server does.
var conditions = sync.OnceValue(func() cel.ConditionCompiler {
	return cel.NewConditionCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
})

// MatchingEntries returns copies of the entries, with whether each matches a pod. It decides with the code of the API server.
func MatchingEntries(ctx context.Context, entries []Entry, pod *corev1.Pod, namespace *corev1.Namespace) []Entry {
	out := slices.Clone(entries)
	for i := range out {
		out[i].match(ctx, pod, namespace)
	}
	return out
}

// match determines whether the API server would call the entry.
func (v *Entry) match(ctx context.Context, pod *corev1.Pod, namespace *corev1.Namespace) {
	attributes := admission.NewAttributesRecord(pod, nil, corev1.SchemeGroupVersion.WithKind("Pod"), namespace.Name, pod.Name,
		corev1.SchemeGroupVersion.WithResource("pods"), "", admission.Create, &metav1.CreateOptions{}, false,
		&user.DefaultInfo{Name: "system:serviceaccount:kube-system:replicaset-controller"})
	hasRule := slices.ContainsFunc(v.Webhook.Rules, func(r admissionregistrationv1.RuleWithOperations) bool {
		return (&rules.Matcher{Rule: r, Attr: attributes}).Matches()
	})
	if !hasRule {
		v.Why = "none of its rules matches the creation of pods"
		return
	}
	if v.Why = unmet(v.Webhook.NamespaceSelector, namespace.Labels, "the Namespace"); v.Why != "" {
		return
	}
	if v.Why = unmet(v.Webhook.ObjectSelector, pod.Labels, "the pod"); v.Why != "" {
		return
	}
	if len(v.Webhook.MatchConditions) > 0 {
		matcher := v.compiled.GetCompiledMatcher(conditions())
		result := matcher.Match(ctx, &admission.VersionedAttributes{Attributes: attributes, VersionedObject: admission.NewLazyObject(pod), VersionedKind: corev1.SchemeGroupVersion.WithKind("Pod")}, nil, nil)
		switch {
		case result.Error != nil:
			v.broken = true
			v.Why = fmt.Sprintf("its matchConditions fail, so failurePolicy Fail refuses the pod: %v", result.Error)
			return
		case result.FailedConditionName != "":
			v.Why = "its matchCondition " + result.FailedConditionName + " is false"
			return
		case !result.Matches:
			v.Why = "its matchConditions fail, so failurePolicy Ignore skips the webhook"
			return
		}
	}
	v.Matches = true
	v.Why = "failurePolicy " + string(v.failurePolicy()) + ": " + map[admissionregistrationv1.FailurePolicyType]string{
		admissionregistrationv1.Fail:   "pods are refused while it does not answer",
		admissionregistrationv1.Ignore: "pods are created without a sidecar while it does not answer",
	}[v.failurePolicy()]
}

func (v *Entry) failurePolicy() admissionregistrationv1.FailurePolicyType {
	if v.Webhook.FailurePolicy == nil {
		return admissionregistrationv1.Fail
	}
	return *v.Webhook.FailurePolicy
}

// unmet returns which requirement of a selector the labels of an object do not meet, or "" if they meet all.
func unmet(selector *metav1.LabelSelector, set map[string]string, what string) string {
	if selector == nil {
		return ""
	}
	var wanted []metav1.LabelSelectorRequirement
	for key, value := range selector.MatchLabels {
		wanted = append(wanted, metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpIn, Values: []string{value}})
	}
	slices.SortFunc(wanted, func(a, b metav1.LabelSelectorRequirement) int { return cmp.Compare(a.Key, b.Key) })
	for _, requirement := range append(wanted, selector.MatchExpressions...) {
		one, err := metav1.LabelSelectorAsSelector(&metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{requirement}})
		if err != nil {
			return fmt.Sprintf("its selector for %s cannot be read: %v", strings.TrimPrefix(what, "the "), err)
		}
		if one.Matches(labels.Set(set)) {
			continue
		}
		is := what + " has no label " + requirement.Key
		if value, has := set[requirement.Key]; has {
			is = fmt.Sprintf("%s has the label %s=%s", what, requirement.Key, value)
		}
		return is + ", " + wants(requirement)
	}
	return ""
}

// wants returns the value that a requirement of a selector requires.
func wants(r metav1.LabelSelectorRequirement) string {
	values := strings.Join(r.Values, " or ")
	switch r.Operator {
	case metav1.LabelSelectorOpIn:
		return "required: " + values
	case metav1.LabelSelectorOpNotIn:
		return "required: a value other than " + values
	case metav1.LabelSelectorOpExists:
		return "which is required"
	}
	return "which must be absent"
}
