// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
)

// KeyProblems returns warnings about labels and annotations that look like settings of the injection but are not. It covers those of the
// Namespace only for a pod without a controller: otherwise the warning belongs to the workload, and replicas share one answer.
func KeyProblems(request Request) []api.InjectProblem {
	problems := api.InjectKeyProblems(PodRef(request.Pod), request.Pod.Labels, request.Pod.Annotations)
	if request.Namespace != nil && metav1.GetControllerOfNoCopy(request.Pod) == nil {
		problems = append(problems, NamespaceKeyProblems(request.Namespace)...)
	}
	return problems
}

// NamespaceKeyProblems returns warnings about labels and annotations of a Namespace that look like settings of the injection but are not.
func NamespaceKeyProblems(namespace *corev1.Namespace) []api.InjectProblem {
	return api.InjectKeyProblems(api.ObjectRef{Kind: "Namespace", Name: namespace.Name}, namespace.Labels, namespace.Annotations)
}

// warnInjected returns warnings about what will not work in an injected pod. The pod is the same as from istiod.
func (c *Config) warnInjected(request Request, after *corev1.Pod) []api.InjectProblem {
	if findProxy(after) == nil {
		return nil
	}
	var problems []api.InjectProblem
	for _, rule := range []func(Request, *corev1.Pod) (api.InjectProblem, bool){
		windowsBySelector, foreignSidecar, c.runsAsProxyUser, willNotComplete, requestOverLimit, unknownProbePort,
	} {
		if problem, is := rule(request, after); is {
			problems = append(problems, problem)
		}
	}
	return problems
}

// windowsBySelector warns about a pod that selects Windows nodes without spec.os.name, which is all that Istio considers.
func windowsBySelector(request Request, _ *corev1.Pod) (api.InjectProblem, bool) {
	if request.Pod.Spec.NodeSelector[corev1.LabelOSStable] != string(corev1.Windows) {
		return api.InjectProblem{}, false
	}
	return problemOf(request.Pod, api.InjectWindowsPod, "spec.nodeSelector["+corev1.LabelOSStable+"]", string(corev1.Windows),
		"the pod selects Windows nodes, where Istio's sidecar does not run.",
		"Set spec.os.name: windows, or label the pod template "+api.KeySidecarInject+"=false."), true
}

// meshes maps the names of containers that other meshes inject to the mesh.
var meshes = map[string]string{
	"linkerd-proxy": "Linkerd", "linkerd-init": "Linkerd", "linkerd-network-validator": "Linkerd",
	"consul-dataplane": "Consul", "consul-connect-inject-init": "Consul", "consul-connect-lifecycle-sidecar": "Consul",
	"kuma-sidecar": "Kuma", "kuma-init": "Kuma", "kuma-validation": "Kuma",
	"osm-init": "Open Service Mesh", "nginx-mesh-sidecar": "NGINX Service Mesh", "nginx-mesh-init": "NGINX Service Mesh",
}

func foreignSidecar(request Request, _ *corev1.Pod) (api.InjectProblem, bool) {
	for list, container := range allContainers(&request.Pod.Spec) {
		if mesh, foreign := meshes[container.Name]; foreign {
			return problemOf(request.Pod, api.InjectForeignSidecar, list+"["+container.Name+"]", "",
				fmt.Sprintf("%s also injected the pod, and two sidecars redirect the same traffic.", mesh),
				fmt.Sprintf("Let only one of them inject it: label the pod template %s=false, or disable %s's injection.", api.KeySidecarInject, mesh)), true
		}
	}
	return api.InjectProblem{}, false
}

// willNotComplete warns about a pod that runs to completion with a sidecar that is not native: Kubernetes waits for every container
// except native sidecars.
func willNotComplete(request Request, after *corev1.Pod) (api.InjectProblem, bool) {
	policy := request.Pod.Spec.RestartPolicy
	if policy != corev1.RestartPolicyNever && policy != corev1.RestartPolicyOnFailure || findContainer(after.Spec.Containers, proxyName) == nil {
		return api.InjectProblem{}, false
	}
	who := "the pod"
	if kind, name := workloadOf(request.Pod); kind.Kind == "Job" || kind.Kind == "CronJob" {
		who = kind.Kind + " " + name.Name
	}
	return problemOf(request.Pod, api.InjectJobWillNotComplete, "spec.restartPolicy", string(policy),
		"the sidecar is not a native sidecar and outlives the application, so "+who+" never completes.",
		"Annotate the pod template "+annotationNative+"=true."), true
}
