// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"outrigger.dev/outrigger/api"
)

// A check that fails from inside the cluster says why replicas are not ready. Its own pod, and pods of others, are none.
func TestAFailedCheckNamesReplicasThatAreNotReady(t *testing.T) {
	pod := func(name, app string, status corev1.PodStatus) client.Object {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "outrigger-system", Name: name, Labels: map[string]string{"app.kubernetes.io/name": app}}, Status: status}
	}
	waiting := func(reason, message string) []corev1.ContainerStatus {
		return []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}}
	}
	restarted := waiting("CrashLoopBackOff", "back-off 10s")
	restarted[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 1}
	condition := func(kind corev1.PodConditionType, status corev1.ConditionStatus, reason, message string) []corev1.PodCondition {
		return []corev1.PodCondition{{Type: kind, Status: status, Reason: reason, Message: message}}
	}
	check := func(isDirect bool, objects ...client.Object) string {
		c := &checker{config: api.DefaultConfig(), direct: isDirect, client: fake.NewClientBuilder().WithObjects(objects...).Build(), live: &live{installed: "outrigger-system"}}
		var out bytes.Buffer
		if err := c.untilWell(t.Context(), &out); err == nil || err.Error() != "1 of 1 checks failed" {
			t.Errorf("%v; want one failure, of the webhook object that does not exist", err)
		}
		return out.String()
	}
	got := check(true,
		pod("a", "outrigger", corev1.PodStatus{ContainerStatuses: waiting("ImagePullBackOff", "no such image")}),
		pod("b", "outrigger", corev1.PodStatus{Conditions: condition(corev1.PodScheduled, corev1.ConditionFalse, "Unschedulable", "0/3 nodes are available")}),
		pod("c", "outrigger", corev1.PodStatus{ContainerStatuses: restarted}),
		pod("ready", "outrigger", corev1.PodStatus{Conditions: condition(corev1.PodReady, corev1.ConditionTrue, "", "")}),
		pod("new", "outrigger", corev1.PodStatus{Phase: corev1.PodPending}),
		pod("check", "outrigger-hook", corev1.PodStatus{Phase: corev1.PodRunning}),
	)
	want := `note    pod a in namespace outrigger-system is not ready: ImagePullBackOff: no such image
note    pod b in namespace outrigger-system is not ready: Unschedulable: 0/3 nodes are available
note    pod c in namespace outrigger-system is not ready: CrashLoopBackOff: back-off 10s; kubectl logs -n outrigger-system c --previous
note    pod new in namespace outrigger-system is not ready: its phase is Pending
`
	if _, notes, _ := strings.Cut(got, "\n"); notes != want {
		t.Errorf("the notes are\n%s\nwant\n%s", notes, want)
	}
	if got := check(true); !strings.Contains(got, "note    namespace outrigger-system has no pod of Outrigger. Example: kubectl describe replicasets -n outrigger-system") {
		t.Errorf("without pods it says\n%s", got)
	}
	if got := check(false); strings.Contains(got, "note") {
		t.Errorf("a user's check says\n%s", got)
	}
}
