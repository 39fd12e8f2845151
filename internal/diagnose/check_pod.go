// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"context"
	"fmt"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"outrigger.dev/outrigger/api"
)

// annotationCheck is an annotation of the pod of a check. Outrigger does not know it and warns about it, which shows that Outrigger
// was called.
const annotationCheck = api.Domain + "/check"

// CheckPod returns a pod that requests a sidecar of the release with this revision. It meets the Pod Security Standard "restricted",
// and is never run.
func CheckPod(namespace, revision string) *corev1.Pod {
	pod := &corev1.Pod{}
	pod.APIVersion, pod.Kind = "v1", "Pod"
	pod.Namespace, pod.GenerateName = namespace, "outrigger-check-"
	pod.Labels = map[string]string{api.KeySidecarInject: "true"}
	if api.WithRevision("", revision) != "" {
		pod.Labels = map[string]string{api.LabelRevision: revision}
	}
	pod.Annotations = map[string]string{annotationCheck: "true"}
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{
		RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To[int64](65532), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	pod.Spec.Containers = []corev1.Container{{
		Name: "app", Image: "registry.k8s.io/pause:3.10",
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: ptr.To(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
	}}
	return pod
}

// DescribeCheckPod returns "a pod in namespace NAMESPACE with the label KEY=VALUE".
func DescribeCheckPod(pod *corev1.Pod) string {
	return fmt.Sprintf("a pod in namespace %s with the label %s", pod.Namespace, strings.Join(KubectlArguments(pod.Labels), " "))
}

// CheckCreated checks the pod that the API server returned for CheckPod, with its warnings. It returns false if Outrigger was not
// called; CheckNotCalled then says why.
func CheckCreated(pod *corev1.Pod, warnings string) (Finding, bool) {
	what := DescribeCheckPod(pod)
	called := strings.Contains(warnings, annotationCheck)
	switch {
	case HasSidecar(pod) && called:
		return OK("the API server gives %s its sidecar, from Outrigger", what), true
	case HasSidecar(pod):
		return Note("%s gets its sidecar from an injector that is called before Outrigger, such as istiod's", what), true
	case called:
		return Failed("Outrigger was called for %s and injected no sidecar: %s", what, strings.TrimSpace(warnings)), true
	}
	return Finding{}, false
}

// CheckNotCalled returns why the API server did not call Outrigger for a pod of CheckPod, and the fix. namespace and object are nil if
// they cannot be read; the finding then lists the possible causes.
func CheckNotCalled(ctx context.Context, pod *corev1.Pod, namespace *corev1.Namespace, object *admissionregistrationv1.MutatingWebhookConfiguration) Finding {
	return Failed("%s gets no sidecar: Outrigger was not called. %s", DescribeCheckPod(pod), whyNotCalled(ctx, pod, namespace, object))
}

func whyNotCalled(ctx context.Context, pod *corev1.Pod, namespace *corev1.Namespace, object *admissionregistrationv1.MutatingWebhookConfiguration) string {
	if namespace == nil || object == nil {
		return "Either the namespace is excluded or labeled for another injector, or the webhook does not answer and its failurePolicy is Ignore"
	}
	entries := MatchingEntries(ctx, InjectorEntries([]admissionregistrationv1.MutatingWebhookConfiguration{*object}), pod, namespace)
	if slices.ContainsFunc(entries, func(e Entry) bool { return e.Matches }) {
		return "The webhook does not answer, and its failurePolicy is Ignore. Example: kubectl get pods -A -l app.kubernetes.io/name=" + api.Outrigger
	}
	if slices.ContainsFunc(entries, func(e Entry) bool { return strings.Contains(e.Why, corev1.LabelMetadataName+"=") }) {
		return fmt.Sprintf("MutatingWebhookConfiguration %s excludes namespace %s by name (chart value webhook.excludedNamespaces). Check another namespace: outrigger check -n NAMESPACE", object.Name, namespace.Name)
	}
	for _, key := range []string{api.LabelInjection, api.LabelRevision} {
		if value, labeled := namespace.Labels[key]; labeled {
			advice := (&PodFacts{Namespace: namespace, Entries: entries}).howToMatch()
			return fmt.Sprintf("Namespace %s has the label %s=%s, and no entry of MutatingWebhookConfiguration %s matches it. Example: %s", namespace.Name, key, value, object.Name, advice)
		}
	}
	var reasons []string
	for _, e := range entries {
		reasons = append(reasons, e.Name+": "+e.Why)
	}
	return fmt.Sprintf("No entry of MutatingWebhookConfiguration %s matches: %s", object.Name, strings.Join(reasons, "; "))
}

// CheckReplicas returns notes that say why the pods of an installation are not ready. Without them, a failed check would only say
// that no replica answers. Pods of the chart's hooks do not count.
func CheckReplicas(installed string, pods []corev1.Pod) []Finding {
	pods = slices.DeleteFunc(slices.Clone(pods), func(pod corev1.Pod) bool {
		return strings.HasSuffix(pod.Labels["app.kubernetes.io/name"], "-hook")
	})
	if len(pods) == 0 {
		return []Finding{Note("namespace %s has no pod of Outrigger. Example: kubectl describe replicasets -n %s", installed, installed)}
	}
	var out []Finding
	for i := range pods {
		if why := whyNotReady(&pods[i]); why != "" {
			out = append(out, Note("pod %s in namespace %s is not ready: %s", pods[i].Name, pods[i].Namespace, why))
		}
	}
	return out
}

// whyNotReady returns why a pod is not ready, or "" if it is: what a container waits for, or else its first condition that is false.
func whyNotReady(pod *corev1.Pod) string {
	text := func(reason, message string) string {
		return strings.Trim(reason+": "+api.Shorten(message, 200), ": ")
	}
	if slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue }) {
		return ""
	}
	for _, status := range pod.Status.ContainerStatuses {
		waiting := status.State.Waiting
		switch {
		case waiting != nil && status.LastTerminationState.Terminated != nil:
			return text(waiting.Reason, waiting.Message) + "; see kubectl logs -n " + pod.Namespace + " " + pod.Name + " --previous"
		case waiting != nil:
			return text(waiting.Reason, waiting.Message)
		}
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Status == corev1.ConditionFalse {
			return text(condition.Reason, condition.Message)
		}
	}
	return "its phase is " + string(pod.Status.Phase)
}
