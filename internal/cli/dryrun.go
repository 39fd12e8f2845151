// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/internal/manifest"
)

// dryRun creates the pod of a template in a dry run, and reads why the controller of an existing workload cannot create pods.
func (l *live) dryRun(ctx context.Context, template podIn, is inCluster, pod *corev1.Pod) diagnose.DryRun {
	out := l.dryRunOf(ctx, template.object, pod)
	if is.workload != nil {
		out.Failures = l.podFailures(ctx, is.workload, is.pods)
	}
	return out
}

func (l *live) dryRunOf(ctx context.Context, object *manifest.Object, pod *corev1.Pod) diagnose.DryRun {
	if why := diagnose.NoDryRunOf(object.Kind); why != "" {
		return diagnose.DryRun{Unchecked: why}
	}
	if why := mayCreatePods(ctx, l.client, pod.Namespace); why != "" {
		return diagnose.DryRun{Unchecked: why}
	}
	created := diagnose.DryRunPod(pod, claimsOf(object))
	err := l.client.Create(withoutWarnings(ctx), created, client.DryRunAll)
	return diagnose.DryRunOf(created, err)
}

// mayCreatePods returns why the user cannot create pods in a namespace, or "" if the user can.
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

// claimsOf returns the names of the volumes that the controller of a StatefulSet adds to its pods.
func claimsOf(object *manifest.Object) []string {
	var set struct {
		Spec struct {
			VolumeClaimTemplates []metav1.PartialObjectMetadata `json:"volumeClaimTemplates"`
		} `json:"spec"`
	}
	if object.Kind != "StatefulSet" || decodeObject(object, &set) != nil {
		return nil
	}
	var out []string
	for _, claim := range set.Spec.VolumeClaimTemplates {
		out = append(out, claim.Name)
	}
	return out
}

// podFailures returns why the controller of a workload cannot create pods. It reads Events only if the workload's status does not
// say.
func (l *live) podFailures(ctx context.Context, workload *unstructured.Unstructured, pods []corev1.Pod) []diagnose.PodFailure {
	if failures := diagnose.ReplicaFailure(workload); failures != nil || !diagnose.LacksPods(workload) {
		return failures
	}
	var events corev1.EventList
	err := l.client.List(ctx, &events, client.InNamespace(workload.GetNamespace()), client.MatchingFields{"reason": "FailedCreate"})
	if isForbidden(err) {
		l.gaps.AddKind("Event", workload.GetNamespace())
	}
	if err != nil {
		return nil
	}
	return diagnose.EventFailure(workload, l.ownedBy(ctx, workload), pods, events.Items)
}

// ownedBy returns the ReplicaSets of a Rollout, or the Jobs of a CronJob.
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
			l.gaps.AddKind(strings.TrimSuffix(kind.Kind, "List"), workload.GetNamespace())
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

// quiet marks requests whose warnings are not shown, because the command prints them itself.
type quiet struct{}

func withoutWarnings(ctx context.Context) context.Context {
	return context.WithValue(ctx, quiet{}, true)
}
