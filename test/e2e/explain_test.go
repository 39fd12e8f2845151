// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestExplainTellsWhyAPodHasASidecarOrHasNone(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := namespace(t)
	apply(t, ns, service("web")+fixed("web-v1", "web", "v1"))
	pods := readyPods(t, ns, "app=web", 2)
	says(t, cells(cli(t, "explain", "deployment/web-v1", "-n", ns)),
		"Deployment "+ns+"/web-v1", "Sidecar not injected into new pods: no webhook matches them", "Pods now 0 of 2 have one",
		"no label or annotation requests a sidecar", "Outrigger outrigger-sidecar-injector namespace does not match the Namespace has no label istio-injection, required: enabled",
		"injected (if its webhook matched) PolicyEnabled", "kubectl label namespace "+ns+" istio-injection=enabled")

	kubectl(t, "label", "namespace", ns, "istio-injection=enabled")
	says(t, cells(cli(t, "explain", "pod/"+pods[0].Name, "-n", ns)),
		"Sidecar injected into new pods", "This pod has none", "Namespace, label istio-injection=enabled",
		"matches failurePolicy Fail", "injected PolicyEnabled", "templates sidecar", "kubectl rollout restart deployment/web-v1 -n "+ns)
	kubectl(t, "rollout", "restart", "deployment/web-v1", "-n", ns)
	kubectl(t, "rollout", "status", "deployment/web-v1", "-n", ns)
	eventually(t, "explain sees the new pods alone", func() error {
		out := cells(cli(t, "explain", "deploy/web-v1", "-n", ns))
		if !strings.Contains(out, "Pods now 2 of 2 have one") || !strings.Contains(out, "What to change\nNothing.") {
			return errors.New(out)
		}
		return nil
	})
	says(t, cli(t, "__complete", "explain", "-n", ns, "dep"), "deployment/web-v1\n")

	file := filepath.Join(t.TempDir(), "pods.yaml")
	if err := os.WriteFile(file, []byte(`apiVersion: v1
kind: Pod
metadata: {name: host}
spec: {hostNetwork: true, containers: [{name: app, image: "registry.example/app:1"}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: out}
spec: {template: {metadata: {labels: {sidecar.istio.io/inject: "false"}}, spec: {restartPolicy: Never, containers: [{name: app, image: "registry.example/app:1"}]}}}
---
apiVersion: v1
kind: Pod
metadata: {name: wrong, annotations: {inject.istio.io/templates: nosuch}}
spec: {containers: [{name: app, image: "registry.example/app:1"}]}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	says(t, cells(cli(t, "explain", "-n", ns, "-f", file)),
		"Pod "+ns+"/host", "does not match its matchCondition not-host-network is false", "skipped (if its webhook matched) HostNetwork", "Remove hostNetwork from the pod's spec",
		"Job "+ns+"/out", "does not match the pod has the label sidecar.istio.io/inject=false", "Remove sidecar.istio.io/inject from the pod template",
		"Pod "+ns+"/wrong", "Sidecar new pods are refused", "denied UnknownTemplate", "Name templates of Istio's configuration")
	says(t, refused(t, "explain", "deployment/nothing", "-n", ns), "read deployment "+ns+"/nothing", "not found")
}

// explain reports what happens to a pod, not only what is decided about it.
func TestExplainEndsWithWhatHappens(t *testing.T) {
	t.Parallel()
	needIstio(t)
	quota, secured, ns := namespace(t, injected), namespace(t, injected), namespace(t, injected)
	limited, ruled := namespace(t, injected), namespace(t, injected)
	kubectl(t, "label", "namespace", secured, "pod-security.kubernetes.io/enforce=restricted")
	apply(t, quota, noMorePods)
	apply(t, quota, service("web")+fixed("web-v1", "web", "v1"))
	apply(t, limited, "apiVersion: v1\nkind: LimitRange\nmetadata: {name: small}\nspec: {limits: [{type: Container, max: {cpu: 5m}}]}")
	apply(t, ruled, `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: no-pods-`+ruled+`}
spec:
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: `+ruled+`}}
    resourceRules: [{apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [CREATE]}]
  validations: [{expression: "false", message: the rules of this cluster forbid pods}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: no-pods-`+ruled+`}
spec: {policyName: no-pods-`+ruled+`, validationActions: [Deny]}
`)
	eventually(t, "the policy is enforced", func() error {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ruled, GenerateName: "web-"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "registry.example/app:1"}}}}
		if err := kube.Create(t.Context(), pod, client.DryRunAll); err == nil {
			return errors.New("the API server accepts pods")
		}
		return nil
	})
	for _, ns := range []string{secured, limited, ruled} {
		apply(t, ns, service("web")+fixed("web-v1", "web", "v1"))
	}
	apply(t, ns, service("web")+fixed("web-v1", "web", "v1"))

	out := cells(cli(t, "explain", "deployment/web-v1", "-n", ns))
	says(t, out, "Sidecar injected into new pods", "\nResult for a new pod\ndry run the API server accepts the pod, with a sidecar\n")
	for name, c := range map[string]struct{ ns, message string }{
		"a quota": {quota, "exceeded quota: none"}, "Pod Security": {secured, "violates PodSecurity"},
		"a LimitRange": {limited, "maximum cpu usage per Container is 5m"}, "a policy": {ruled, "the rules of this cluster forbid pods"},
	} {
		eventually(t, name+" is explained", func() error {
			out := cells(cli(t, "explain", "deployment/web-v1", "-n", c.ns))
			for _, want := range []string{"Sidecar new pods are refused by the API server", "\nResult for a new pod\nReplicaFailure ", c.message, "\ndry run the API server refuses the pod: "} {
				if !strings.Contains(out, want) {
					return errors.New(want + " is not in\n" + out)
				}
			}
			return nil
		})
	}

	// Who may not create pods, or read anything of the cluster, gets the conditions.
	viewer := accountWith(t, quota, "viewer", rbacv1.RoleRef{Kind: "ClusterRole", Name: "view"}, "list", "services")
	says(t, works(t, viewer, "explain", "deployment/web-v1"), "Sidecar new pods cannot be created", "ReplicaFailure ", "exceeded quota: none", "dry run not made: you have no permission to create pods in namespace "+quota)
	editor := accountIn(t, ns, "editor", rbacv1.RoleRef{Kind: "ClusterRole", Name: "edit"})
	says(t, works(t, editor, "explain", "deployment/web-v1"), "Sidecar injected into new pods", "dry run the API server accepts the pod, with a sidecar")
	readyPods(t, ns, "app=web", 2)
	says(t, works(t, editor, "coverage"), "0 covered, 0 missing, 0 outdated, 2 have a sidecar that was not compared")
	says(t, works(t, editor, "coverage", "-A"), "2 have a sidecar that was not compared")

	// A StatefulSet has no such condition, but Events; and its controller adds the volumes.
	apply(t, quota, `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: app, image: "registry.example/app:1", volumeMounts: [{name: data, mountPath: /data}]}]}
  volumeClaimTemplates: [{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}]
`)
	eventually(t, "the Events of a StatefulSet are explained", func() error {
		out := cells(cli(t, "explain", "statefulset/db", "-n", quota))
		// Kubernetes 1.30 begins the Event's note with a small letter.
		if !strings.Contains(strings.ToLower(out), "failedcreate create pod db-0 in statefulset db failed") || !strings.Contains(out, "dry run the API server refuses the pod: pods \"db-") {
			return errors.New(out)
		}
		return nil
	})
}

// Not parallel: Outrigger must not run.
func TestExplainWhileNoReplicaIsReady(t *testing.T) {
	needIstio(t)
	ns := namespace(t, injected)
	apply(t, ns, service("web")+fixed("web-v1", "web", "v1"))
	readyPods(t, ns, "app=web", 2)
	scaleOutrigger(t, 0)
	defer scaleOutrigger(t, 2)
	eventually(t, "explain sees that nobody answers", func() error {
		out := cells(cli(t, "explain", "deployment/web-v1", "-n", ns))
		if !strings.Contains(out, "Sidecar new pods are refused: Outrigger does not answer") || !strings.Contains(out, "dry run the API server refuses the pod: ") {
			return errors.New(out)
		}
		return nil
	})
}
