// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// These suffixes replace the ones that controllers generate. Their form identifies a Deployment's ReplicaSet and a CronJob's Job.
const (
	assumedHash    = "6b7f9d5c84"
	assumedMinutes = "29000000"
	assumedNumber  = "1"
)

// Generated returns the metadata that a workload's controller adds to its pods: generateName, the owner, and labels that the pod
// template does not set. With it, a pod template becomes the pod that the API server sends to the webhook.
func Generated(kind metav1.TypeMeta, name string, labels map[string]string) metav1.ObjectMeta {
	group, _, _ := strings.Cut(kind.APIVersion, "/")
	owner := metav1.OwnerReference{APIVersion: kind.APIVersion, Kind: kind.Kind, Name: name}
	added := map[string]string{}
	switch {
	case kind.APIVersion == "v1" && kind.Kind == "PodTemplate":
		return metav1.ObjectMeta{GenerateName: name + "-"} // nothing owns it
	case kind.Kind == "Deployment" && (group == "apps" || group == "extensions"):
		owner = metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: name + "-" + assumedHash}
		added["pod-template-hash"] = assumedHash
	case kind.Kind == "Rollout" && group == "argoproj.io":
		owner = metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: name + "-" + assumedHash}
		added["rollouts-pod-template-hash"] = assumedHash
	case kind.Kind == "CronJob" && group == "batch":
		owner = metav1.OwnerReference{APIVersion: "batch/v1", Kind: "Job", Name: name + "-" + assumedMinutes}
	case kind.Kind == "DeploymentConfig" && group == "apps.openshift.io":
		owner = metav1.OwnerReference{APIVersion: "v1", Kind: "ReplicationController", Name: name + "-" + assumedNumber}
		added["deploymentconfig"] = name
	}
	for key := range added {
		if _, given := labels[key]; given {
			delete(added, key) // a template that was copied from a pod keeps its labels
		}
	}
	controller := true
	owner.Controller = &controller
	return metav1.ObjectMeta{GenerateName: owner.Name + "-", OwnerReferences: []metav1.OwnerReference{owner}, Labels: added}
}
