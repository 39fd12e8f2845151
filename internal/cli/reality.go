// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/internal/manifest"
)

// judgedKinds are the kinds that create their pods from the template unchanged, so that a dry run of it is meaningful.
var judgedKinds = []string{"Pod", "ReplicationController", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob", "Rollout"}

// realityOf creates the pod in a dry run, and reads why the controller of an existing workload cannot create it.
func (l *live) realityOf(ctx context.Context, object *manifest.Object, workload *unstructured.Unstructured, pod *corev1.Pod, pods []corev1.Pod) diagnose.DryRun {
	var out diagnose.DryRun
	if workload != nil {
		out.Failures = l.podFailures(ctx, workload, pods)
	}
	if !slices.Contains(judgedKinds, object.Kind) {
		out.Unchecked = "the controller of a " + object.Kind + " builds its pods itself"
		return out
	}
	if out.Unchecked = mayCreatePods(ctx, l.client, pod.Namespace); out.Unchecked != "" {
		return out
	}
	asked := toCreate(pod, claimsOf(object))
	switch err := l.client.Create(withoutWarnings(ctx), asked, client.DryRunAll); {
	case err == nil:
		out.Created, out.Sidecar = true, diagnose.HasSidecar(asked)
	case apierrors.IsNotFound(err):
		out.Unchecked = "namespace " + pod.Namespace + " does not exist"
	case apierrors.IsBadRequest(err) && strings.Contains(err.Error(), "does not support dry run"):
		out.Unchecked = err.Error()
	case apierrors.ReasonForError(err) == metav1.StatusReasonUnknown:
		out.Unchecked = fmt.Sprintf("the API server did not answer: %v", err)
	default:
		out.Refused = err.Error()
	}
	return out
}

// mayCreatePods asks the API server whether the user may create pods in a namespace. It returns "" if so, else why a dry run shows
// nothing.
func mayCreatePods(ctx context.Context, c client.Client, namespace string) string {
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: namespace, Verb: "create", Resource: "pods"},
	}}
	if err := c.Create(ctx, review); err != nil {
		return fmt.Sprintf("it is unknown whether you may create pods: %v", err)
	}
	if !review.Status.Allowed {
		return "you have no permission to create pods in namespace " + namespace
	}
	return ""
}

// toCreate is a pod as its controller sends it, but for its owner, which may not exist, and what the API server added to a live one.
func toCreate(pod *corev1.Pod, claims []string) *corev1.Pod {
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

const maxGenerateName = 50

// claimsOf are the volumes that the controller of a StatefulSet adds to its pods.
func claimsOf(object *manifest.Object) []string {
	var set struct {
		Spec struct {
			VolumeClaimTemplates []struct {
				Metadata struct {
					Name string `json:"name"`
				} `json:"metadata"`
			} `json:"volumeClaimTemplates"`
		} `json:"spec"`
	}
	if object.Kind != "StatefulSet" || decodeObject(object, &set) != nil {
		return nil
	}
	var out []string
	for _, claim := range set.Spec.VolumeClaimTemplates {
		out = append(out, claim.Metadata.Name)
	}
	return out
}

// podFailures says why the controller of a workload cannot create pods: by its condition, else by the Events on it and on the
// ReplicaSets or Jobs that it owns. Events older than the newest pod are ignored.
func (l *live) podFailures(ctx context.Context, workload *unstructured.Unstructured, pods []corev1.Pod) []diagnose.PodFailure {
	if message, is := replicaFailure(workload); is {
		return []diagnose.PodFailure{{From: "ReplicaFailure", Message: message}}
	}
	if slices.Contains([]string{"Pod", "Deployment", "ReplicaSet", "ReplicationController"}, workload.GetKind()) || isSatisfied(workload) {
		return nil
	}
	var events corev1.EventList
	err := l.client.List(ctx, &events, client.InNamespace(workload.GetNamespace()), client.MatchingFields{"reason": "FailedCreate"})
	if isForbidden(err) {
		l.unread().AddKind("Event", workload.GetNamespace())
	}
	if err != nil {
		return nil
	}
	since := workload.GetCreationTimestamp().Time
	for i := range pods {
		if at := pods[i].CreationTimestamp.Time; at.After(since) {
			since = at
		}
	}
	owned := l.ownedBy(ctx, workload)
	var newest *corev1.Event
	for i := range events.Items {
		event := &events.Items[i]
		if about := event.InvolvedObject; (about.UID == workload.GetUID() || owned[about.UID]) && !seenLast(event).Before(since) && (newest == nil || seenLast(newest).Before(seenLast(event))) {
			newest = event
		}
	}
	if newest == nil {
		return nil
	}
	return []diagnose.PodFailure{{From: "FailedCreate", Message: newest.Message}}
}

// replicaFailure returns the message of a condition ReplicaFailure that is true.
func replicaFailure(workload *unstructured.Unstructured) (string, bool) {
	conditions, _, _ := unstructured.NestedSlice(workload.Object, "status", "conditions")
	for _, one := range conditions {
		condition, is := one.(map[string]any)
		if is && condition["type"] == "ReplicaFailure" && condition["status"] == "True" {
			message, _ := condition["message"].(string)
			return message, true
		}
	}
	return "", false
}

// isSatisfied reports whether a workload has all of its pods, or has completed.
func isSatisfied(workload *unstructured.Unstructured) bool {
	at := func(fields ...string) (int64, bool) {
		value, has, err := unstructured.NestedInt64(workload.Object, fields...)
		return value, has && err == nil
	}
	if wanted, has := at("spec", "replicas"); has {
		is, _ := at("status", "replicas")
		return is >= wanted
	}
	if wanted, has := at("status", "desiredNumberScheduled"); has {
		is, _ := at("status", "currentNumberScheduled")
		return is >= wanted
	}
	_, completed, _ := unstructured.NestedString(workload.Object, "status", "completionTime")
	return completed
}

// ownedBy are the ReplicaSets of a Rollout and the Jobs of a CronJob.
func (l *live) ownedBy(ctx context.Context, workload *unstructured.Unstructured) map[types.UID]bool {
	kinds := map[string]schema.GroupVersionKind{
		"Rollout": {Group: "apps", Version: "v1", Kind: "ReplicaSetList"}, "CronJob": {Group: "batch", Version: "v1", Kind: "JobList"},
	}
	kind, has := kinds[workload.GetKind()]
	out := map[types.UID]bool{}
	if !has {
		return out
	}
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(kind)
	if err := l.client.List(ctx, list, client.InNamespace(workload.GetNamespace())); err != nil {
		if isForbidden(err) {
			l.unread().AddKind(strings.TrimSuffix(kind.Kind, "List"), workload.GetNamespace())
		}
		return out
	}
	for i := range list.Items {
		if owner := metav1.GetControllerOfNoCopy(&list.Items[i]); owner != nil && owner.UID == workload.GetUID() {
			out[list.Items[i].UID] = true
		}
	}
	return out
}

// seenLast is when an Event was seen for the last time.
func seenLast(event *corev1.Event) time.Time {
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

// quiet marks requests whose warnings are not shown, because the command prints them itself.
type quiet struct{}

func withoutWarnings(ctx context.Context) context.Context {
	return context.WithValue(ctx, quiet{}, true)
}
