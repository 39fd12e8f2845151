// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// told runs kubectl as a user would and returns what it prints on stderr.
func told(t *testing.T, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), cluster.Assets["kubectl"], args...)
	command.Env = append(command.Environ(), "KUBECONFIG="+cluster.Kubeconfig)
	var notes strings.Builder
	command.Stderr = &notes
	if err := command.Run(); err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, notes.String())
	}
	return notes.String()
}

// The entries are those of the chart, so that what they ask about is tested with what is answered.
func TestKubectlShowsAdviceAboutRouting(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := namespace(t, injected)
	apply(t, ns, service("app")+fixed("app-v1", "app", "v1")+fixed("app-v2", "app", "v2")+fixed("app-v3", "app", "v3"))
	wantRoutes(t, ns, "app", "v1=100")
	readyPods(t, ns, "app=app", 6)
	const slip = "outrigger.dev/wegihts"
	eventually(t, "the validating webhook is in force", func() error {
		kubectl(t, "-n", ns, "annotate", "service", "app", slip+"-")
		if out := told(t, "-n", ns, "annotate", "service", "app", slip+"=v1=1"); !strings.Contains(out, "Warning: UnknownAnnotation: Service "+ns+"/app") {
			return fmt.Errorf("kubectl prints %q", out)
		}
		return nil
	})
	if out := told(t, "-n", ns, "annotate", "service", "app", "outrigger.dev/weights=v1=90,v2=10"); strings.Contains(out, "Warning") {
		t.Errorf("an old slip is told again, or a right word: %s", out)
	}
	wantRoutes(t, ns, "app", "v1=90 v2=10")
	lost := "Warning: Deployment app-v1 is %s, and holds traffic of Service app (v1=90 v2=10, to v1); nothing else will receive it: outrigger promote app v3 -n " + ns
	says(t, told(t, "-n", ns, "scale", "deployment", "app-v1", "--replicas=0", "--dry-run=server"), fmt.Sprintf(lost, "scaled to 0"))
	says(t, told(t, "-n", ns, "patch", "deployment", "app-v1", "--dry-run=server", "-p", `{"spec":{"replicas":0}}`), fmt.Sprintf(lost, "scaled to 0"))
	says(t, told(t, "-n", ns, "delete", "deployment", "app-v1", "--dry-run=server"), fmt.Sprintf(lost, "deleted"))
	says(t, told(t, "-n", ns, "delete", "deployments", "--all", "--dry-run=server"), fmt.Sprintf(lost, "deleted"))
	for _, args := range [][]string{
		{"delete", "deployment", "app-v3", "--dry-run=server"},
		{"scale", "deployment", "app-v1", "--replicas=3"},
		{"delete", "deployment", "app-v2"}, // its share goes to v1, which is weighed
	} {
		if out := told(t, append([]string{"-n", ns}, args...)...); strings.Contains(out, "Warning") {
			t.Errorf("kubectl %v: %s", args, out)
		}
	}
}

func TestKubectlShowsAdviceAboutStatefulSetsAndDaemonSets(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := namespace(t, injected)
	apply(t, ns, service("db")+ofKind("StatefulSet", fixed("db-v1", "db", "v1"))+ofKind("StatefulSet", fixed("db-v2", "db", "v2")))
	apply(t, ns, service("agent")+ofKind("DaemonSet", fixed("agent-v1", "agent", "v1"))+ofKind("DaemonSet", fixed("agent-v2", "agent", "v2"))+ofKind("DaemonSet", fixed("agent-v3", "agent", "v3")))
	// Without a word the default of workloads as young as these is found anew.
	for _, name := range []string{"db", "agent"} {
		annotate(t, ns, name, "outrigger.dev/default-version=v1")
		wantRoutes(t, ns, name, "v1=100")
	}
	readyPods(t, ns, "app=db", 4)

	// To scale is a word about pods, not about traffic: the version that is left does not take over by it.
	lost := "Warning: StatefulSet db-v1 is scaled to 0, and holds traffic of Service db (v1=100, to v1); nothing else will receive it: outrigger promote db v2 -n " + ns
	says(t, told(t, "-n", ns, "scale", "statefulset", "db-v1", "--replicas=0", "--dry-run=server"), lost)
	says(t, told(t, "-n", ns, "patch", "statefulset", "db-v1", "--dry-run=server", "-p", `{"spec":{"replicas":0}}`), lost)
	// Of two that are left neither takes over. A DaemonSet has as many pods as there are nodes, ready or not yet.
	eventually(t, "the warning about a DaemonSet", func() error {
		out := told(t, "-n", ns, "delete", "daemonset", "agent-v1", "--dry-run=server")
		if want := "Warning: DaemonSet agent-v1 is deleted, and holds traffic of Service agent (v1=100, to v1); nothing else will receive it: outrigger promote agent v3 -n " + ns; !strings.Contains(out, want) {
			return fmt.Errorf("kubectl prints %q", out)
		}
		return nil
	})
	for _, args := range [][]string{
		{"scale", "statefulset", "db-v2", "--replicas=0", "--dry-run=server"}, // it holds none
		{"scale", "statefulset", "db-v1", "--replicas=1", "--dry-run=server"},
	} {
		if out := told(t, append([]string{"-n", ns}, args...)...); strings.Contains(out, "Warning") {
			t.Errorf("kubectl %v: %s", args, out)
		}
	}

	says(t, told(t, "-n", ns, "delete", "statefulset", "db-v1", "--dry-run=server"),
		"Warning: StatefulSet db-v1 is deleted and serves traffic of Service db (v1=100). While it is gone, v2 receives that traffic. To keep the route instead: kubectl annotate service -n "+ns+" db outrigger.dev/default-deleted=hold")

	// What is warned of is done all the same.
	says(t, told(t, "-n", ns, "scale", "statefulset", "db-v1", "--replicas=0"), lost)
	readyPods(t, ns, "app=db,version=v1", 0)
}

// ofKind makes a StatefulSet or a DaemonSet of a Deployment.
func ofKind(kind, deployment string) string {
	out := strings.Replace(deployment, "kind: Deployment", "kind: "+kind, 1)
	out = strings.Replace(out, "  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}\n", "", 1)
	if kind == "DaemonSet" {
		out = strings.Replace(out, "  replicas: 2\n", "", 1)
	}
	return out
}
