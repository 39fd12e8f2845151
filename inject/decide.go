// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"cmp"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"outrigger.dev/outrigger/api"
)

// ignoredNamespaces are never injected, regardless of labels.
var ignoredNamespaces = map[string]bool{"kube-system": true, "kube-public": true, "kube-node-lease": true, "local-path-storage": true}

// decision is whether a pod gets the sidecar, and why.
type decision struct {
	inject  bool
	reason  api.InjectReason
	message string
}

// optIn is what the pod's own label or annotation requests.
type optIn int

const (
	unset optIn = iota
	yes
	no
)

// decide applies the rules in order; the first that matches decides. The problems are warnings.
func (c *Config) decide(pod *corev1.Pod) (decision, []api.InjectProblem) {
	skip := func(reason api.InjectReason, format string, args ...any) decision {
		return decision{reason: reason, message: fmt.Sprintf(format, args...)}
	}
	if pod.Spec.HostNetwork {
		return skip(api.InjectHostNetwork, "the pod is on the host's network"), nil
	}
	if ignoredNamespaces[pod.Namespace] {
		return skip(api.InjectIgnoredNamespace, "pods of namespace %s are never injected", pod.Namespace), nil
	}
	if pod.Spec.OS != nil && pod.Spec.OS.Name == corev1.Windows {
		return skip(api.InjectWindowsPod, "spec.os.name is windows, and Istio's sidecar is for Linux"), nil
	}
	requested, where, problems := c.optInOf(pod)
	if requested == no {
		return skip(api.InjectOptedOut, "%s %s is %q", where, api.KeySidecarInject, optInText(pod)), problems
	}
	if c.unavailable != nil { // Pod denies it
		return decision{inject: true, reason: c.unavailable.Reason}, problems
	}
	if c.policy != "enabled" && c.policy != "disabled" {
		return skip(api.InjectPolicyInvalid, "the policy of Istio's injector is %q; it must be enabled or disabled", c.policy), problems
	}
	set := labels.Set(pod.Labels)
	switch {
	case requested == yes:
		return decision{inject: true, reason: api.InjectOptedIn}, problems
	case matchesAny(c.never, set):
		return skip(api.InjectNeverSelector, "neverInjectSelector of Istio's injector selects the pod"), problems
	case matchesAny(c.always, set):
		return decision{inject: true, reason: api.InjectAlwaysSelector}, problems
	case c.policy == "enabled":
		return decision{inject: true, reason: api.InjectPolicyEnabled}, problems
	}
	return skip(api.InjectPolicyDisabled, "the policy of Istio's injector is disabled, and the pod does not opt in with the label %s=true", api.KeySidecarInject), problems
}

func matchesAny(selectors []labels.Selector, set labels.Set) bool {
	for _, selector := range selectors {
		if selector.Matches(set) {
			return true
		}
	}
	return false
}

// optInText returns the value of the label sidecar.istio.io/inject or, without that label, of the annotation.
func optInText(pod *corev1.Pod) string {
	if text, present := pod.Labels[api.KeySidecarInject]; present {
		return text
	}
	return pod.Annotations[api.KeySidecarInject]
}

// optInOf reads what the pod requests and where it is set. A label hides the annotation, even if the label is empty.
func (c *Config) optInOf(pod *corev1.Pod) (requested optIn, where string, problems []api.InjectProblem) {
	text, field := optInText(pod), api.AnnotationField(api.KeySidecarInject)
	where = "annotation"
	if _, present := pod.Labels[api.KeySidecarInject]; present {
		where, field = "label", api.LabelField(api.KeySidecarInject)
	}
	switch text {
	case "true":
		return yes, where, nil
	case "false":
		return no, where, nil
	case "":
		return unset, where, nil
	}
	if c.release.acceptsYAMLBooleans() {
		switch strings.ToLower(text) {
		case "y", "yes", "true", "on":
			return yes, where, nil
		}
		return no, where, nil
	}
	return unset, where, []api.InjectProblem{api.UnreadableChoice(PodRef(pod), field, text)}
}

// PodRef returns a reference to a pod, which may not have its name yet.
func PodRef(pod metav1.Object) api.ObjectRef {
	return api.ObjectRef{Kind: "Pod", Namespace: pod.GetNamespace(), Name: cmp.Or(pod.GetName(), pod.GetGenerateName()+"*")}
}

// problemOf returns a Problem of a pod: a reason to deny it, or a warning. A message that istiod also writes is kept verbatim, so that
// a search for it finds Istio's documentation.
func problemOf(pod *corev1.Pod, reason api.InjectReason, field, value, message, advice string) api.InjectProblem {
	return api.InjectProblem{Object: PodRef(pod), Field: field, Value: value, Reason: reason, Message: message, Advice: advice}
}
