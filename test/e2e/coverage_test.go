// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// tended is a Deployment of two pods with a budget that lets one of them go at a time, and with all that injection
// rewrites: probes, a hook, Prometheus' annotations.
const tended = `
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: tended}
spec: {maxUnavailable: 1, selector: {matchLabels: {app: tended}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: tended}
spec:
  replicas: 2
  selector: {matchLabels: {app: tended}}
  template:
    metadata:
      labels: {app: tended, version: v1}
      annotations: {prometheus.io/scrape: "true", prometheus.io/port: "8080"}
    spec:
      initContainers: [{name: prepare, image: "registry.example/app:1"}]
      containers:
      - name: app
        image: registry.example/app:1
        ports: [{containerPort: 8080, name: http}]
        readinessProbe: {httpGet: {path: /ready, port: http}}
        livenessProbe: {tcpSocket: {port: 8080}}
        lifecycle: {preStop: {httpGet: {path: /stop, port: 8080}}}
        resources: {requests: {cpu: 100m}}
`

// Pods that are older than the label are named, evicted within the budget and never more than were allowed, and are
// covered when all of them are new; whatever the API server and its own admission add makes no difference.
func TestCoverageNamesAndEvictsWithinTheBudget(t *testing.T) {
	needIstio(t)
	ns := namespace(t)
	apply(t, ns, tended)
	pods := readyPods(t, ns, "app=tended", 2)
	kubectl(t, "label", "namespace", ns, "istio-injection=enabled")
	says(t, cells(cli(t, "coverage", "-n", ns)), "Deployment/tended 2/2 missing NoSidecar", "kubectl rollout restart deployment/tended -n "+ns, "0 covered, 2 missing, 0 outdated")
	says(t, cells(cli(t, "coverage", "-A")), ns+" Deployment/tended 2/2 missing NoSidecar")
	budgetAllows(t, ns, "tended", 1)

	says(t, cells(cli(t, "coverage", "-n", ns, "--evict", "--max", "1", "--dry-run=server")), "evicted (server dry run)")
	if now := readyPods(t, ns, "app=tended", 2); now[0].UID != pods[0].UID || now[1].UID != pods[1].UID {
		t.Fatal("a dry run evicted a pod")
	}
	apply(t, ns, noMorePods) // or the budget may allow the second as soon as the first is replaced
	out := cells(cli(t, "coverage", "-n", ns, "--evict", "--max", "5"))
	kubectl(t, "-n", ns, "delete", "resourcequota", "none")
	says(t, out, " evicted", " left a PodDisruptionBudget does not allow it now: ", "disruption budget")
	if strings.Count(out, " evicted") != 1 {
		t.Errorf("the budget lets one go, and it says\n%s", out)
	}
	readyPods(t, ns, "app=tended", 2)
	says(t, cells(cli(t, "coverage", "-n", ns)), "Deployment/tended 1/2 missing NoSidecar", "1 covered, 1 missing, 0 outdated")
	budgetAllows(t, ns, "tended", 1)
	says(t, cli(t, "coverage", "-n", ns, "--evict", "--max", "1"), "evicted")
	eventually(t, "both pods are new", func() error {
		var report struct {
			Pods struct{ Covered, Missing, Outdated int }
		}
		out := cli(t, "coverage", "-n", ns, "-o", "json")
		if err := json.Unmarshal([]byte(out), &report); err != nil {
			return err
		}
		if report.Pods.Covered != 2 || report.Pods.Missing+report.Pods.Outdated != 0 {
			return errors.New(out)
		}
		return nil
	})
	readyPods(t, ns, "app=tended", 2)
	if out := cli(t, "coverage", "-n", ns); out != "2 covered, 0 missing, 0 outdated\n" {
		t.Errorf("of new pods it says\n%s", out)
	}

	withInjectorConfig(t, func(config string) string {
		changed := regexp.MustCompile(`(?m)^( *)- sidecar$`).ReplaceAllString(config, "$1- sidecar\n$1- --changed")
		if changed == config {
			t.Fatal("Istio's template has no argument to change")
		}
		return changed
	})
	says(t, cells(cli(t, "coverage", "-n", ns, "-o", "wide")), "Deployment/tended 2/2 outdated DifferentConfiguration the arguments of istio-proxy have changed", "0 covered, 0 missing, 2 outdated")
}

const noMorePods = `
apiVersion: v1
kind: ResourceQuota
metadata: {name: none}
spec: {hard: {pods: "0"}}
`

// budgetAllows waits until the disruption controller has seen the pods.
func budgetAllows(t *testing.T, ns, name string, disruptions int32) {
	t.Helper()
	eventually(t, "the budget allows a disruption", func() error {
		budget := &policyv1.PodDisruptionBudget{}
		if err := kube.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: name}, budget); err != nil {
			return err
		}
		if got := budget.Status.DisruptionsAllowed; got != disruptions {
			return fmt.Errorf("it allows %d", got)
		}
		return nil
	})
}
