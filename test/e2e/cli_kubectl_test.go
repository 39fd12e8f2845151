// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

const podSpec = `spec: {restartPolicy: Never, containers: [{name: app, image: "registry.example/app:1"}]}`

// everyKind are objects named web of all built-in kinds that make pods.
const everyKind = `
apiVersion: v1
kind: Pod
metadata: {name: web}
` + podSpec + `
---
apiVersion: v1
kind: ReplicationController
metadata: {name: web}
spec: {replicas: 0, selector: {app: web}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: app, image: "registry.example/app:1"}]}}}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: web}
spec: {replicas: 0, selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: app, image: "registry.example/app:1"}]}}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec: {replicas: 0, serviceName: web, selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: app, image: "registry.example/app:1"}]}}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web}
spec: {selector: {matchLabels: {app: web-ds}}, template: {metadata: {labels: {app: web-ds}}, spec: {nodeSelector: {none: such}, containers: [{name: app, image: "registry.example/app:1"}]}}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: web}
spec: {suspend: true, schedule: "0 0 1 1 *", jobTemplate: {spec: {template: {` + podSpec + `}}}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: web}
spec: {suspend: true, template: {` + podSpec + `}}
---
`

// Every word that kubectl has for a type names an object, as TYPE/NAME and as TYPE NAME.
func TestCommandsNameObjectsAsKubectlDoes(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := namespace(t, injected)
	apply(t, ns, service("web")+fixed("web-v1", "web", "v1")+fixed("web-v2", "web", "v2")+strings.Replace(everyKind, "metadata: {name: web}", "metadata: {name: web, labels: {app: lone}}", 1))
	wantRoutes(t, ns, "web", "v1=100")
	for words, kind := range map[string]string{
		"po pod pods": "Pod", "rc": "ReplicationController", "rs replicasets.apps": "ReplicaSet", "sts StatefulSet": "StatefulSet",
		"ds": "DaemonSet", "cj": "CronJob", "job jobs.batch": "Job", "svc service": "Service",
	} {
		for _, word := range strings.Fields(words) {
			says(t, cli(t, "explain", word+"/web", "-n", ns), kind+" "+ns+"/web\n")
			says(t, cli(t, "explain", word, "web", "-n", ns), kind+" "+ns+"/web\n")
		}
	}
	says(t, cli(t, "explain", "deploy", "web-v1", "-n", ns), "Deployment "+ns+"/web-v1\n")
	says(t, cli(t, "explain", "web", "-n", ns), "Service "+ns+"/web\n")
	says(t, refused(t, "explain", "gizmo/web", "-n", ns), `the server doesn't have a resource type "gizmo"`)

	says(t, cells(cli(t, "status", "svc/web", "-n", ns)), "web routed v1")
	says(t, cells(cli(t, "status", "service", "web", "-n", ns)), "web routed v1")
	says(t, cli(t, "shift", "svc", "web", "v1=80", "v2=20", "-n", ns, "--dry-run=server"), "service/web: v1=100 -> v1=80 v2=20")
	says(t, cli(t, "promote", "svc/web", "v2", "-n", ns, "--dry-run=server"), "service/web: v1=100 -> v2=100")
	says(t, cli(t, "disable", "ns/"+ns, "--dry-run=server"), "namespace/"+ns+" labeled (server dry run)")
	says(t, cli(t, "__complete", "shift", "-n", ns, "svc/web", ""), "v1=\n")
	says(t, refused(t, "status", "deploy/web", "-n", ns), `"deploy/web" is a deploy; this command takes a service`, "--help")
}

// The flags about the cluster and its user are kubectl's, in every command.
func TestCommandsTakeKubectlsFlags(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := namespace(t, injected)
	apply(t, ns, strings.Replace(service("web"), "metadata: {name: web}", "metadata: {name: web, labels: {tier: front}}", 1)+service("api")+fixed("web-v1", "web", "v1"))
	wantRoutes(t, ns, "web", "v1=100")

	if got := cli(t, "status", "-n", ns, "-l", "tier=front", "-o", "name"); got != "service/web\n" {
		t.Errorf("-l and -o name print %q", got)
	}
	if got := cli(t, "status", "web", "-n", ns, "-o", "jsonpath={.namespaces[0].services[0].state}"); got != "routed" {
		t.Errorf("-o jsonpath prints %q", got)
	}
	if got := cli(t, "explain", "web", "-n", ns, "-o", "jsonpath={.kind}/{.name}"); got != "Service/web" {
		t.Errorf("explain -o jsonpath prints %q", got)
	}
	if got := cli(t, "status", "-n", ns, "--no-headers"); strings.Contains(got, "NAMESPACE") || strings.Contains(got, "STATE") || !strings.Contains(got, "routed") {
		t.Errorf("--no-headers prints %s", got)
	}
	says(t, refused(t, "status", "-n", ns, "--as", "nobody-"+ns), "no permission to list Services in namespace "+ns)
	says(t, refused(t, "inject", "-f", "../../examples/springbootapp/app.yaml", "--as", "nobody-"+ns), "no permission to get ConfigMap istio-sidecar-injector")
	says(t, cells(cli(t, "status", "-n", ns, "--as", "nobody-"+ns, "--as-group", "system:masters")), "web routed v1")
	says(t, refused(t, "status", "-n", ns, "--request-timeout", "1ns"), "deadline exceeded")
	says(t, cli(t, "version", "--system-namespace", outriggerNamespace), "outrigger ", "\ncontroller ", "(pod "+outriggerNamespace+"/")
	says(t, cli(t, "version", "--as", "nobody-"+ns), "controller unknown: no permission to list Leases in namespace "+outriggerNamespace)
}

// What is watched is printed, and then every change of it.
func TestStatusIsWatched(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := namespace(t, injected)
	apply(t, ns, service("web")+fixed("web-v1", "web", "v1")+fixed("web-v2", "web", "v2"))
	wantRoutes(t, ns, "web", "v1=100")
	readyPods(t, ns, "app=web", 4)
	command := exec.CommandContext(t.Context(), outrigger.Binary, "status", "web", "-n", ns, "--watch")
	command.Env = append(command.Environ(), "KUBECONFIG="+cluster.Kubeconfig)
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	}()
	lines := bufio.NewScanner(out)
	next := func(want string) {
		t.Helper()
		for lines.Scan() {
			if lines.Text() == want {
				return
			}
		}
		t.Fatal(errors.Join(fmt.Errorf("%q is not printed", want), lines.Err()))
	}
	next(ns + "/web v2: routed, ready 2/2, weight 0")
	kubectl(t, "annotate", "service", "web", "-n", ns, "outrigger.dev/weights=v1=70,v2=30")
	next(ns + "/web v2: routed, ready 2/2, weight 0 -> routed, ready 2/2, weight 30")
}
