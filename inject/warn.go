// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
)

// WarnWords returns what looks like a word about injection in a pod, and is none. The namespace's words are told with a
// bare pod only: else it is the workload that hears of them, and the answer for a replica must not depend on them.
func WarnWords(request Request) []api.InjectProblem {
	problems := api.InjectKeyProblems(podRef(request.Pod), request.Pod.Labels, request.Pod.Annotations)
	if request.Namespace != nil && metav1.GetControllerOfNoCopy(request.Pod) == nil {
		problems = append(problems, WarnNamespace(request.Namespace)...)
	}
	return problems
}

// WarnNamespace returns what looks like a word about injection in a Namespace, and is none.
func WarnNamespace(namespace *corev1.Namespace) []api.InjectProblem {
	return api.InjectKeyProblems(api.ObjectRef{Kind: "Namespace", Name: namespace.Name}, namespace.Labels, namespace.Annotations)
}

// warnInjected returns what will not work as the user expects in a pod that was injected. It changes nothing: the pod
// stays the one that istiod would have made.
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

// windowsBySelector: a node selector alone does not make a Windows pod for istiod, so the pod was injected.
func windowsBySelector(request Request, _ *corev1.Pod) (api.InjectProblem, bool) {
	if request.Pod.Spec.NodeSelector[corev1.LabelOSStable] != string(corev1.Windows) {
		return api.InjectProblem{}, false
	}
	return denied(request.Pod, api.InjectWindowsPod, "spec.nodeSelector["+corev1.LabelOSStable+"]", string(corev1.Windows),
		"the pod goes to a Windows node, where Istio's sidecar does not run.",
		"Write spec.os.name: windows, or label the pod's template "+api.KeySidecarInject+"=false."), true
}

// meshes are the other meshes by the names of the containers that they put into pods.
var meshes = map[string]string{
	"linkerd-proxy": "Linkerd", "linkerd-init": "Linkerd", "linkerd-network-validator": "Linkerd",
	"consul-dataplane": "Consul", "consul-connect-inject-init": "Consul", "consul-connect-lifecycle-sidecar": "Consul",
	"kuma-sidecar": "Kuma", "kuma-init": "Kuma", "kuma-validation": "Kuma",
	"osm-init": "Open Service Mesh", "nginx-mesh-sidecar": "NGINX Service Mesh", "nginx-mesh-init": "NGINX Service Mesh",
}

func foreignSidecar(request Request, _ *corev1.Pod) (api.InjectProblem, bool) {
	for _, list := range []struct {
		field      string
		containers []corev1.Container
	}{{"spec.initContainers", request.Pod.Spec.InitContainers}, {"spec.containers", request.Pod.Spec.Containers}} {
		for _, container := range list.containers {
			if mesh, foreign := meshes[container.Name]; foreign {
				return denied(request.Pod, api.InjectForeignSidecar, fmt.Sprintf("%s[%s]", list.field, container.Name), "",
					fmt.Sprintf("%s injected the pod too, and two sidecars redirect the same traffic.", mesh),
					fmt.Sprintf("Let one of them alone inject it: label the pod's template %s=false, or switch %s's injection off.", api.KeySidecarInject, mesh)), true
			}
		}
	}
	return api.InjectProblem{}, false
}

// willNotComplete: Kubernetes waits for every container of a pod that is to end, but not for native sidecars.
func willNotComplete(request Request, after *corev1.Pod) (api.InjectProblem, bool) {
	policy := request.Pod.Spec.RestartPolicy
	if policy != corev1.RestartPolicyNever && policy != corev1.RestartPolicyOnFailure || findContainer(after.Spec.Containers, proxyName) == nil {
		return api.InjectProblem{}, false
	}
	who := "the pod"
	if kind, name := workloadOf(request.Pod); kind.Kind == "Job" || kind.Kind == "CronJob" {
		who = kind.Kind + " " + name.Name
	}
	return denied(request.Pod, api.InjectJobWillNotComplete, "spec.restartPolicy", string(policy),
		"the sidecar is no native one and outlives the application, so "+who+" never completes.",
		"Annotate the pod's template "+annotationNative+"=true."), true
}
