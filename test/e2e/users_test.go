// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// cliAs runs the outrigger command with the permissions of a tenant, and returns its output, its notes, and its exit status.
func cliAs(t *testing.T, as tenant, args ...string) (output, notes string, status int) {
	t.Helper()
	path := kubeconfig(t, as.impersonateIn)
	command := exec.CommandContext(t.Context(), outrigger.Binary, append(args, "-n", as.namespace)...)
	command.Env = append(os.Environ(), "KUBECONFIG="+path)
	var out, problems strings.Builder
	command.Stdout, command.Stderr = &out, &problems
	var exit *exec.ExitError
	if err := command.Run(); errors.As(err, &exit) {
		status = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	return out.String(), problems.String(), status
}

// kubeconfig writes a changed copy of the administrator's kubeconfig, and returns its path.
func kubeconfig(t *testing.T, change func(*clientcmdapi.Config)) string {
	t.Helper()
	config, err := clientcmd.LoadFromFile(cluster.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	change(config)
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// impersonateIn has the users of a kubeconfig act as the tenant.
func (a tenant) impersonateIn(config *clientcmdapi.Config) {
	for _, info := range config.AuthInfos {
		info.Impersonate = a.user
		info.ImpersonateGroups = []string{"system:serviceaccounts", "system:serviceaccounts:" + a.namespace, "system:authenticated"}
	}
}

// works runs a command that must succeed with one note about permissions.
func works(t *testing.T, as tenant, args ...string) string {
	t.Helper()
	out, notes, status := cliAs(t, as, args...)
	if status != 0 {
		t.Errorf("outrigger %s: exit status %d\n%s%s", strings.Join(args, " "), status, out, notes)
	}
	if got := strings.Count(notes, "You have no permission to read "); got != 1 {
		t.Errorf("outrigger %s: %d notes about permissions\n%s", strings.Join(args, " "), got, notes)
	}
	for _, wrong := range []string{"is not installed", "Outrigger does not run:", "cannot list resource"} {
		if strings.Contains(notes+out, wrong) {
			t.Errorf("outrigger %s: %q is in\n%s%s", strings.Join(args, " "), wrong, out, notes)
		}
	}
	return cells(out)
}

// The commands work with the built-in roles in one namespace. What the user may not read becomes one note.
func TestOrdinaryUsersUseTheCommands(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := twoVersions(t)
	istio := []string{"destinationrules", "gateways", "virtualservices", "workloadentries", "serviceentries"}

	editor := accountIn(t, ns, "editor", rbacv1.RoleRef{Kind: "ClusterRole", Name: "edit"})
	editor.grant(t, "networking.istio.io", []string{"list"}, istio)
	says(t, works(t, editor, "status"), ns+" enabled - 1", "app routed v1 2/2 100 -", "app routed v2 2/2 0 -")
	says(t, works(t, editor, "status", "-A"), ns+" app routed v1 2/2 100 -")
	says(t, works(t, editor, "explain", "service/app"), "State routed", "Routing on, since namespace "+ns, "all requests -> v1")
	says(t, works(t, editor, "shift", "app", "v1=90", "v2=10", "--wait"), "service/app: v1=100 -> v1=90 v2=10", "service/app annotated", "applied (waited ")
	routesNow(t, ns, "app", "v1=90 v2=10")
	says(t, works(t, editor, "promote", "app", "v2", "--wait"), "service/app: v1=90 v2=10 -> v2=100", "applied (waited ")
	routesNow(t, ns, "app", "v2=100")

	viewer := accountWith(t, ns, "viewer", rbacv1.RoleRef{Kind: "ClusterRole", Name: "view"}, "list", "services")
	viewer.grant(t, "networking.istio.io", []string{"list"}, istio)
	says(t, works(t, viewer, "status"), "app routed v2 2/2 100 -")
	says(t, works(t, viewer, "explain", "service/app"), "all requests -> v2")
	if out, notes, status := cliAs(t, viewer, "shift", "app", "v1=1"); status != 1 || !strings.Contains(notes, "no permission to patch Service "+ns+"/app; the ClusterRole edit, bound in namespace "+ns+", grants it") {
		t.Errorf("shift by a viewer: exit status %d\n%s%s", status, out, notes)
	}

	// Without Istio's kinds, and without the Namespace, nothing is known of the routes, and nothing is claimed.
	role := &rbacv1.Role{}
	role.Namespace, role.Name = ns, "narrow"
	role.Rules = []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"services"}, Verbs: []string{"get", "list", "patch"}},
		{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list"}},
	}
	if err := kube.Create(t.Context(), role); err != nil {
		t.Fatal(err)
	}
	narrow := accountWith(t, ns, "narrow", rbacv1.RoleRef{Kind: "Role", Name: "narrow"}, "list", "services")
	says(t, works(t, narrow, "status"), "app unknown v1 2/2 ? -")
	says(t, works(t, narrow, "explain", "service/app"), "State unknown", "Where requests go")
	says(t, works(t, narrow, "shift", "app", "v1=1"), "service/app: its current route is unknown", "service/app annotated")
	wantRoutes(t, ns, "app", "v1=100")
	if out, notes, status := cliAs(t, narrow, "shift", "app", "v2=1", "--wait"); status != 1 || !strings.Contains(notes, "--wait needs permission to list") {
		t.Errorf("shift --wait without permissions: exit status %d\n%s%s", status, out, notes)
	}
	routesNow(t, ns, "app", "v1=100")
}

// A hand-edited route is not Outrigger's to change: shift fails, says so, and names a fix that works.
func TestShiftFailsOnAHandEditedRoute(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := twoVersions(t)
	kubectl(t, "-n", ns, "patch", "virtualservice", "app", "--type=json", "-p", `[{"op":"add","path":"/spec/hosts/-","value":"app.example.com"}]`)
	wantEvent(t, ns, "app", "Drifted")
	says(t, cells(cli(t, "status", "app", "-n", ns)), "app detached v1 2/2 100 -")
	says(t, refused(t, "shift", "app", "v1=90", "v2=10", "-n", ns), "nothing was written", "it was edited by hand", "outrigger.dev/drift=revert --overwrite")
	annotate(t, ns, "app", "outrigger.dev/drift=revert")
	cli(t, "shift", "app", "v1=90", "v2=10", "-n", ns, "--wait")
	routesNow(t, ns, "app", "v1=90 v2=10")
	decided := annotationsOf(t, ns, "app")["outrigger.dev/decided-at"]
	says(t, cli(t, "shift", "app", "v1=90", "v2=10", "-n", ns, "--wait"), "nothing is written", "applied (waited ")
	if got := annotationsOf(t, ns, "app")["outrigger.dev/decided-at"]; got != decided {
		t.Errorf("decided-at was %s, and is %s after a shift that changes nothing", decided, got)
	}
}

// A Service without routes says why, and names the version label that its pods have.
func TestAServiceWithoutVersionsSaysSo(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := namespace(t, injected)
	apply(t, ns, service("app")+deployment("app", "app", nil, []string{"app.kubernetes.io/version=2"})+`
apiVersion: v1
kind: Service
metadata: {name: elsewhere}
spec: {type: ExternalName, externalName: db.example.com}
`)
	wantEvent(t, ns, "app", "VersionLabelMissing")
	events := &eventsv1.EventList{}
	if err := kube.List(t.Context(), events, client.InNamespace(ns)); err != nil {
		t.Fatal(err)
	}
	for _, event := range events.Items {
		if event.Reason == "VersionLabelMissing" && event.Type != corev1.EventTypeNormal {
			t.Errorf("the Event is a %s", event.Type)
		}
	}
	says(t, cells(cli(t, "status", "-n", ns)), "app no route <none> 2/2 by pods -", "elsewhere skipped - 0/0 - -", "outrigger.dev/version-label=app.kubernetes.io/version --overwrite")
	annotate(t, ns, "app", "outrigger.dev/version-label=app.kubernetes.io/version")
	eventually(t, "the route follows the label", func() error {
		if _, err := virtualService(ns, "app"); err != nil {
			return err
		}
		return nil
	})
}
