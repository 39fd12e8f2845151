// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

var cronJobSuffix = regexp.MustCompile(`^(.+)-\d{8,10}$`)

// workloadOf finds the workload that a pod belongs to, from its controller and the labels that controllers set.
func workloadOf(pod *corev1.Pod) (metav1.TypeMeta, types.NamespacedName) {
	kind, name := metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, pod.Name
	if owner := metav1.GetControllerOfNoCopy(pod); owner != nil && pod.GenerateName != "" {
		kind = metav1.TypeMeta{APIVersion: owner.APIVersion, Kind: owner.Kind}
		name = owner.Name
		kind, name = controllerOf(kind, name, pod.Labels)
	}
	if name == "" {
		name = pod.Name
	}
	return kind, types.NamespacedName{Namespace: pod.Namespace, Name: name}
}

// controllerOf returns the controller of a controller, such as the Deployment of a ReplicaSet; the controller itself if none owns it.
func controllerOf(kind metav1.TypeMeta, name string, labels map[string]string) (metav1.TypeMeta, string) {
	switch kind.Kind {
	case "ReplicaSet":
		if base, cut := cutHash(name, labels["pod-template-hash"]); cut {
			return metav1.TypeMeta{APIVersion: kind.APIVersion, Kind: "Deployment"}, base
		}
		if base, cut := cutHash(name, labels["rollouts-pod-template-hash"]); cut {
			return metav1.TypeMeta{APIVersion: "v1alpha1", Kind: "Rollout"}, base
		}
	case "ReplicationController":
		if config := labels["deploymentconfig"]; config != "" {
			return metav1.TypeMeta{APIVersion: kind.APIVersion, Kind: "DeploymentConfig"}, config
		}
	case "Job":
		if found := cronJobSuffix.FindStringSubmatch(name); found != nil {
			return metav1.TypeMeta{APIVersion: "batch/v1", Kind: "CronJob"}, found[1]
		}
	}
	return kind, name
}

func cutHash(name, hash string) (string, bool) {
	if hash == "" || !strings.HasSuffix(name, hash) {
		return name, false
	}
	return strings.TrimSuffix(strings.TrimSuffix(name, hash), "-"), true
}
