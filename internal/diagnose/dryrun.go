// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"outrigger.dev/outrigger/api"
)

// DryRun is the response of the cluster to a new pod, as opposed to the decision about it.
type DryRun struct {
	Created   bool   // the API server accepts the pod in a dry run
	Sidecar   bool   // the accepted pod has a sidecar
	Refused   string // the message of the API server, if it refuses the pod
	Unchecked string // why there was no dry run
	Failures  []PodFailure
}

// PodFailure is the reason why the controller of a workload cannot create pods.
type PodFailure struct {
	From    string // "ReplicaFailure", the condition, or "FailedCreate", an Event
	Message string
}

// templateKinds are the kinds whose controllers create pods from the template unchanged.
var templateKinds = []string{"Pod", "ReplicationController", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob", "Rollout"}

// NoDryRunOf returns why a dry run of the pod template of this kind says nothing about its pods, or "" if it does.
func NoDryRunOf(kind string) string {
	if slices.Contains(templateKinds, kind) {
		return ""
	}
	return "the controller of a " + kind + " builds its pods itself"
}

// maxGenerateName leaves room for the suffix of a generated name.
const maxGenerateName = 50

// DryRunPod returns a pod as its controller creates it: without what the API server added to a running one, and without an owner,
// because that may not exist. claims are the volumes that the controller of a StatefulSet adds.
func DryRunPod(pod *corev1.Pod, claims []string) *corev1.Pod {
	out := pod.DeepCopy()
	out.ObjectMeta = metav1.ObjectMeta{Namespace: pod.Namespace, GenerateName: pod.GenerateName, Labels: pod.Labels, Annotations: pod.Annotations}
	if out.GenerateName == "" {
		out.GenerateName = api.Shorten(pod.Name, maxGenerateName) + "-"
	}
	out.Spec.NodeName, out.Status = "", corev1.PodStatus{}
	for _, claim := range claims {
		if !slices.ContainsFunc(out.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == claim }) {
			out.Spec.Volumes = append(out.Spec.Volumes, corev1.Volume{Name: claim, VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim},
			}})
		}
	}
	return out
}

// DryRunOf interprets the response to the creation of a pod: the pod as the API server returned it, and its error.
func DryRunOf(pod *corev1.Pod, err error) DryRun {
	switch {
	case err == nil:
		return DryRun{Created: true, Sidecar: HasSidecar(pod)}
	case apierrors.IsNotFound(err):
		return DryRun{Unchecked: "namespace " + pod.Namespace + " does not exist"}
	case apierrors.IsBadRequest(err) && strings.Contains(err.Error(), "does not support dry run"):
		return DryRun{Unchecked: err.Error()}
	case apierrors.ReasonForError(err) == metav1.StatusReasonUnknown:
		return DryRun{Unchecked: fmt.Sprintf("the API server did not answer: %v", err)}
	}
	return DryRun{Refused: err.Error()}
}

// ReplicaFailure returns why a workload's controller cannot create pods, by its condition, or nil if it has no such condition.
func ReplicaFailure(workload *unstructured.Unstructured) []PodFailure {
	conditions, _, _ := unstructured.NestedSlice(workload.Object, "status", "conditions")
	for _, one := range conditions {
		condition, is := one.(map[string]any)
		if is && condition["type"] == "ReplicaFailure" && condition["status"] == "True" {
			message, _ := condition["message"].(string)
			return []PodFailure{{From: "ReplicaFailure", Message: message}}
		}
	}
	return nil
}

// LacksPods reports whether a workload that reports failures by Events may lack pods.
func LacksPods(workload *unstructured.Unstructured) bool {
	if slices.Contains([]string{"Pod", "Deployment", "ReplicaSet", "ReplicationController"}, workload.GetKind()) {
		return false
	}
	count := func(fields ...string) (int64, bool) {
		value, has, err := unstructured.NestedInt64(workload.Object, fields...)
		return value, has && err == nil
	}
	if wanted, has := count("spec", "replicas"); has {
		is, _ := count("status", "replicas")
		return is < wanted
	}
	if wanted, has := count("status", "desiredNumberScheduled"); has {
		is, _ := count("status", "currentNumberScheduled")
		return is < wanted
	}
	_, completed, _ := unstructured.NestedString(workload.Object, "status", "completionTime")
	return !completed
}

// EventFailure returns why the controller of a workload cannot create pods, by the newest Event about the workload or one of its
// owned ReplicaSets or Jobs. It ignores Events from before the newest pod, and returns nil if no Event remains.
func EventFailure(workload *unstructured.Unstructured, owned map[types.UID]bool, pods []corev1.Pod, events []corev1.Event) []PodFailure {
	since := workload.GetCreationTimestamp().Time
	for i := range pods {
		if at := pods[i].CreationTimestamp.Time; at.After(since) {
			since = at
		}
	}
	var newest *corev1.Event
	for i := range events {
		event := &events[i]
		about := event.InvolvedObject.UID
		if (about == workload.GetUID() || owned[about]) && !lastSeen(event).Before(since) && (newest == nil || lastSeen(newest).Before(lastSeen(event))) {
			newest = event
		}
	}
	if newest == nil {
		return nil
	}
	return []PodFailure{{From: "FailedCreate", Message: newest.Message}}
}

// lastSeen returns when an Event was last observed. Clients use different fields for it.
func lastSeen(event *corev1.Event) time.Time {
	last := event.LastTimestamp.Time
	for _, at := range []time.Time{event.EventTime.Time, event.FirstTimestamp.Time} {
		if at.After(last) {
			last = at
		}
	}
	if event.Series != nil && event.Series.LastObservedTime.After(last) {
		last = event.Series.LastObservedTime.Time
	}
	return last
}

// rows returns the last paragraph of an explanation.
func (r DryRun) rows() [][]string {
	var out [][]string
	for _, failure := range r.Failures {
		out = append(out, []string{failure.From, failure.Message})
	}
	switch {
	case r.Refused != "":
		out = append(out, []string{"dry run", "the API server refuses the pod: " + r.Refused})
	case r.Created && r.Sidecar:
		out = append(out, []string{"dry run", "the API server accepts the pod, with a sidecar"})
	case r.Created:
		out = append(out, []string{"dry run", "the API server accepts the pod, without a sidecar"})
	case r.Unchecked != "":
		out = append(out, []string{"dry run", "not made: " + r.Unchecked})
	}
	return out
}

// data returns the content of rows as data, or nil if there is none.
func (r DryRun) data() *PodResult {
	if !r.Created && r.Refused == "" && len(r.Failures) == 0 {
		return nil
	}
	out := &PodResult{Accepted: r.Created, Sidecar: r.Sidecar, Refused: r.Refused}
	for _, failure := range r.Failures {
		out.Failures = append(out.Failures, failure.From+": "+failure.Message)
	}
	return out
}
