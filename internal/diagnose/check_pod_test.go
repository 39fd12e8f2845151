// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"outrigger.dev/outrigger/api"
)

func TestCheckPodRequestsTheSidecarOfARevision(t *testing.T) {
	if got := CheckPod("demo", "").Labels; got["sidecar.istio.io/inject"] != "true" {
		t.Errorf("labels %v", got)
	}
	if got := CheckPod("demo", "canary").Labels; got["istio.io/rev"] != "canary" || len(got) != 1 {
		t.Errorf("labels %v", got)
	}
}

func TestCheckCreated(t *testing.T) {
	for name, c := range map[string]struct {
		hasSidecar  bool
		warnings    string
		state, text string
	}{
		"injected by Outrigger":   {true, "UnknownKey: annotation outrigger.dev/check", CheckOK, "the API server gives a pod in namespace demo with the label sidecar.istio.io/inject=true its sidecar, from Outrigger"},
		"injected by istiod":      {true, "", CheckNote, "called before Outrigger"},
		"called and not injected": {false, "PolicyDisabled; outrigger.dev/check", CheckFailed, "PolicyDisabled"},
		"not called":              {false, "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			pod := CheckPod("demo", "")
			if c.hasSidecar {
				pod.Spec.InitContainers = []corev1.Container{{Name: "istio-proxy"}}
			}
			got, called := CheckCreated(pod, c.warnings)
			if called != (c.state != "") {
				t.Errorf("called: %t", called)
			}
			checkFinding(t, got, c.state, c.text)
		})
	}
}

// The finding names the label or the exclusion that keeps the API server from calling Outrigger, and the command that changes it.
func TestCheckNotCalled(t *testing.T) {
	object := &admissionregistrationv1.MutatingWebhookConfiguration{}
	if err := yaml.Unmarshal([]byte(`
metadata: {name: outrigger-sidecar-injector}
webhooks:
- name: namespace.sidecar-injector.outrigger.dev
  rules: &pods [{operations: [CREATE], apiGroups: [""], apiVersions: [v1], resources: [pods], scope: Namespaced}]
  failurePolicy: Ignore
  namespaceSelector: {matchExpressions: [{key: istio-injection, operator: In, values: [enabled]}, &excluded {key: kubernetes.io/metadata.name, operator: NotIn, values: [cert-manager]}]}
- name: object.sidecar-injector.outrigger.dev
  rules: *pods
  failurePolicy: Ignore
  namespaceSelector: {matchExpressions: [{key: istio-injection, operator: DoesNotExist}, {key: istio.io/rev, operator: DoesNotExist}, *excluded]}
  objectSelector: {matchLabels: {sidecar.istio.io/inject: "true"}}
`), object); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ namespace, label, value, want string }{
		{"demo", api.LabelInjection, "disabled", "Namespace demo has the label istio-injection=disabled, and no entry of MutatingWebhookConfiguration outrigger-sidecar-injector matches it. Example: kubectl label namespace demo istio-injection=enabled --overwrite"},
		{"demo", api.LabelRevision, "canary", "Namespace demo has the label istio.io/rev=canary"},
		{"cert-manager", "", "", "excludes namespace cert-manager by name (chart value webhook.excludedNamespaces)"},
		{"cert-manager", api.LabelInjection, "enabled", "excludes namespace cert-manager by name"},
		{"demo", "", "", "The webhook does not answer, and its failurePolicy is Ignore"},
		{"", "", "", "Either the namespace is excluded or labeled"},
	} {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: c.namespace, Labels: map[string]string{corev1.LabelMetadataName: c.namespace, c.label: c.value}}}
		delete(namespace.Labels, "")
		if c.namespace == "" {
			namespace = nil
		}
		checkFinding(t, CheckNotCalled(t.Context(), CheckPod(c.namespace, ""), namespace, object), CheckFailed, c.want)
	}
}

func TestCheckReplicas(t *testing.T) {
	pod := func(name, app string, status corev1.PodStatus) corev1.Pod {
		return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "outrigger-system", Name: name, Labels: map[string]string{"app.kubernetes.io/name": app}}, Status: status}
	}
	waiting := func(reason, message string) []corev1.ContainerStatus {
		return []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}}
	}
	restarted := waiting("CrashLoopBackOff", "back-off 10s")
	restarted[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 1}
	condition := func(kind corev1.PodConditionType, status corev1.ConditionStatus, reason, message string) []corev1.PodCondition {
		return []corev1.PodCondition{{Type: kind, Status: status, Reason: reason, Message: message}}
	}
	hook := pod("check", "outrigger-hook", corev1.PodStatus{Phase: corev1.PodRunning})
	got := CheckReplicas("outrigger-system", []corev1.Pod{
		pod("a", "outrigger", corev1.PodStatus{ContainerStatuses: waiting("ImagePullBackOff", "no such image")}),
		pod("b", "outrigger", corev1.PodStatus{Conditions: condition(corev1.PodScheduled, corev1.ConditionFalse, "Unschedulable", "0/3 nodes are available")}),
		pod("c", "outrigger", corev1.PodStatus{ContainerStatuses: restarted}),
		pod("ready", "outrigger", corev1.PodStatus{Conditions: condition(corev1.PodReady, corev1.ConditionTrue, "", "")}),
		pod("new", "outrigger", corev1.PodStatus{Phase: corev1.PodPending}),
		hook,
	})
	want := []Finding{
		Note("pod a in namespace outrigger-system is not ready: ImagePullBackOff: no such image"),
		Note("pod b in namespace outrigger-system is not ready: Unschedulable: 0/3 nodes are available"),
		Note("pod c in namespace outrigger-system is not ready: CrashLoopBackOff: back-off 10s; see kubectl logs -n outrigger-system c --previous"),
		Note("pod new in namespace outrigger-system is not ready: its phase is Pending"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	want = []Finding{Note("namespace outrigger-system has no pod of Outrigger. Example: kubectl describe replicasets -n outrigger-system")}
	if diff := cmp.Diff(want, CheckReplicas("outrigger-system", []corev1.Pod{hook})); diff != "" {
		t.Errorf("only a hook's pod: -want +got:\n%s", diff)
	}
}
