// SPDX-License-Identifier: Apache-2.0

package release

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/hack/chart"
	"outrigger.dev/outrigger/hack/install"
	"outrigger.dev/outrigger/hack/istio"
)

// story is what the chapters of TestTheLifeOfARelease share; each begins where the one before it ended.
type story struct {
	installed *install.Installed
	chart     string // folder of today's chart
	injected  string // a namespace that asks for sidecars
}

// Times of routing that tests can wait for, and what not every release has, so that the API server sees it too.
var settings = map[string]any{
	"tests":             map[string]any{"namespace": "default"},
	"priorityClassName": "system-cluster-critical",
	"networkPolicy":     map[string]any{"enabled": true},
	"extraObjects":      []any{map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "{{ .Release.Name }}-extra"}}},
	"shutdown":          map[string]any{"linger": "3s"},
	"routing":           map[string]any{"settle": "200ms", "propagationDelay": "300ms", "subsetRetention": "3s", "splitAge": "10s"},
}

func TestTheLifeOfARelease(t *testing.T) {
	before, binary := earlierRelease(t)
	installed, err := install.Prepare(t.Context(), cluster, install.Options{Values: settings, Images: map[string]string{"earlier": binary}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(installed.Close)
	s := &story{installed: installed, chart: chart.Folder(installed.Root), injected: "injected"}
	for _, chapter := range []struct {
		title string
		tell  func(*testing.T)
	}{
		{"the earlier chart is installed before Istio is there", func(t *testing.T) { s.installEarlier(t, before) }},
		{"it is upgraded while pods are created", s.upgrade},
		{"helm template renders what is installed", s.rendersTheSame},
		{"helm test sees whether pods get their sidecar", s.test},
		{"an upgrade that fails is undone", s.failedUpgrade},
		{"it is rolled back, and forward again", s.rollBack},
		{"its removal takes back what can be taken back", s.remove},
		{"it is installed again, beside what was kept", s.installAgain},
		{"it is removed without hooks where its image is missing", s.removeWithoutHooks},
		{"it is applied without Helm", s.applyManifest},
	} {
		if !t.Run(chapter.title, chapter.tell) {
			t.Fatalf("what comes after %q needs it; the pods have written\n%s", chapter.title, tail(installed.Logs()))
		}
	}
}

func tail(text string) string {
	lines := strings.SplitAfter(text, "\n")
	return strings.Join(lines[max(0, len(lines)-60):], "")
}

// release returns the arguments of helm that every change of the release shares.
func (s *story) release(verb, chart string, more ...string) []string {
	return append([]string{verb, name, chart, "-n", system, "-f", s.installed.ValuesFile, "--timeout", "1m"}, more...)
}

func (s *story) installEarlier(t *testing.T, before string) {
	helm(t, s.release("install", before, "--create-namespace", "--set", "image.tag=earlier", "--atomic")...)
	if err := istio.Install(t.Context(), cluster, istio.Values{"global": map[string]any{"operatorManageWebhooks": true}}); err != nil {
		t.Fatal(err)
	}
	kubectl(t, application(s.injected), "apply", "-f", "-")
	s.waitForSidecars(t)
	s.waitForRoutes(t, "lone", "two")
}

// application is a namespace that asks for sidecars, with a Service of one workload and one of two versions.
func application(namespace string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: v1\nkind: Namespace\nmetadata: {name: %s, labels: {istio-injection: enabled}}\n", namespace)
	for service, versions := range map[string][]string{"lone": {"v1"}, "two": {"v1", "v2"}} {
		fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Service\nmetadata: {name: %[1]s, namespace: %[2]s}\nspec: {selector: {app: %[1]s}, ports: [{name: http, port: 8080}]}\n", service, namespace)
		for _, version := range versions {
			fmt.Fprintf(&b, `---
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s-%[2]s, namespace: %[3]s}
spec:
  selector: {matchLabels: {app: %[1]s, version: %[2]s}}
  template:
    metadata: {labels: {app: %[1]s, version: %[2]s}}
    spec: {containers: [{name: app, image: "registry.example/app:1"}]}
`, service, version, namespace)
		}
	}
	return b.String()
}

func (s *story) waitForSidecars(t *testing.T) {
	t.Helper()
	eventually(t, "pods get their sidecar", func() error { return injects(t.Context(), s.injected) })
}

func (s *story) waitForRoutes(t *testing.T, services ...string) {
	t.Helper()
	for _, service := range services {
		eventually(t, "a route of "+service, func() error {
			return kube.Get(t.Context(), client.ObjectKey{Namespace: s.injected, Name: service}, &networkingv1.VirtualService{})
		})
	}
}

// state is what no upgrade may change: the CA, and where the objects of routing send requests. What is recorded on the
// objects may grow from one version to the next.
func (s *story) state(t *testing.T) map[string]string {
	t.Helper()
	state := map[string]string{"CA": kubectl(t, "", "get", "secret", "outrigger-ca", "-n", system, "-o", `jsonpath={.data.tls\.crt}{.data.ca\.crt}`)}
	if state["CA"] == "" {
		state["CA"] = kubectl(t, "", "get", "secret", "outrigger-ca", "-n", system, "-o", "jsonpath={.data}")
	}
	for line := range strings.Lines(kubectl(t, "", "get", "virtualservices,destinationrules,gateways", "-A", "-o", `jsonpath={range .items[*]}{.kind}/{.metadata.name} {.spec}{"\n"}{end}`)) {
		object, spec, _ := strings.Cut(strings.TrimSpace(line), " ")
		state[object] = spec
	}
	if len(state) < 3 {
		t.Fatalf("only %v is there", state)
	}
	return state
}

func (s *story) upgrade(t *testing.T) {
	before := s.state(t)
	pods := keep(t, func(ctx context.Context) error { return injects(ctx, s.injected) })
	helm(t, s.release("upgrade", s.chart, "--atomic")...)
	s.waitForReplicas(t, 2)
	pods.without(t, "upgrade from the earlier chart and binary to today's")
	if diff := cmp.Diff(before, s.state(t)); diff != "" {
		t.Errorf("the upgrade changed (-before +after):\n%s", diff)
	}
	kubectl(t, "", "get", "networkpolicy/"+name, "configmap/"+name+"-extra", "poddisruptionbudget/"+name, "-n", system)
	eventually(t, "the quota of the priority class counts both replicas", func() error {
		if used := kubectl(t, "", "get", "resourcequota", name, "-n", system, "-o", "jsonpath={.status.used.pods}"); used != "2" {
			return fmt.Errorf("it counts %q", used)
		}
		return nil
	})
	if notes := helm(t, "get", "notes", name, "-n", system); strings.Count(notes, "\n  kubectl ") != 5 || !strings.Contains(notes, "job outrigger-check failed") {
		t.Errorf("the notes do not name the next three commands, and the two for an installation that fails:\n%s", notes)
	}
}

// waitForReplicas waits until the release has so many pods and no other, all ready.
func (s *story) waitForReplicas(t *testing.T, count int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d replicas", count), func() error {
		pods := &corev1.PodList{}
		if err := kube.List(t.Context(), pods, client.InNamespace(system), client.MatchingLabels{"app.kubernetes.io/name": name}); err != nil {
			return err
		}
		ready := 0
		for _, pod := range pods.Items {
			for _, condition := range pod.Status.Conditions {
				if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
					ready++
				}
			}
		}
		if ready != count || len(pods.Items) != count {
			return fmt.Errorf("%d of %d are ready", ready, len(pods.Items))
		}
		return nil
	})
}

func (s *story) rendersTheSame(t *testing.T) {
	standing := helm(t, "get", "manifest", name, "-n", system)
	rendered := helm(t, "template", name, s.chart, "-n", system, "-f", s.installed.ValuesFile, "--no-hooks", "--kube-version", "1.31.0")
	if diff := cmp.Diff(strings.TrimSpace(standing), strings.TrimSpace(rendered)); diff != "" {
		t.Errorf("helm template renders something else than what is installed (-installed +rendered):\n%s", diff)
	}
	// Helm knows no cluster here, and was not built as a release: it takes the cluster for one of Kubernetes 1.20.
	helm(t, "template", name, s.chart, "-n", system)
	for version, right := range map[string]bool{"1.29.14": false, "1.30.0": true, "1.31.4-gke.1256000": true, "1.33.1+k3s1": true} {
		if _, err := cluster.Helm(t.Context(), nil, "template", name, s.chart, "--kube-version", version); (err == nil) != right {
			t.Errorf("Kubernetes %s: %v", version, err)
		}
	}
}

func (s *story) test(t *testing.T) {
	out := helm(t, "test", name, "-n", system, "--logs")
	says(t, out, "Phase:          Succeeded", "its sidecar, from Outrigger", "verifies by the caBundle")
	if printed := strings.Count(out, "POD LOGS:"); printed != 1 {
		t.Errorf("the report is printed %d times:\n%s", printed, out)
	}
	if rights := s.leftOfHooks(t); len(rights) > 0 {
		t.Errorf("the test left rights behind: %q", rights)
	}

	kubectl(t, "", "scale", "deployment", name, "-n", system, "--replicas=0")
	s.waitForReplicas(t, 0)
	s.testFails(t, "FAILED  the webhook does not answer at https://", `failed calling webhook "object.sidecar-injector.outrigger.dev"`)
	kubectl(t, "", "patch", "mutatingwebhookconfiguration", "outrigger-sidecar-injector", "--type=json", "-p", ignoring(t))
	s.testFails(t, "gets no sidecar: Outrigger was not called")
	kubectl(t, "", "delete", "mutatingwebhookconfiguration", "outrigger-sidecar-injector")
	s.testFails(t, "MutatingWebhookConfiguration outrigger-sidecar-injector does not exist")
	helm(t, s.release("upgrade", s.chart, "--wait")...) // Helm makes again what is missing
	kubectl(t, "", "scale", "deployment", name, "-n", system, "--replicas=2")
	s.waitForReplicas(t, 2)
	s.waitForSidecars(t)
	before := helm(t, "test", name, "-n", system, "--logs")
	says(t, before, "Succeeded")

	// Without a namespace for its pod it calls the webhook alone, as the release's own account.
	helm(t, s.release("upgrade", s.chart, "--wait", "--set", "tests.namespace=")...)
	out = helm(t, "test", name, "-n", system, "--logs")
	says(t, out, "Phase:          Succeeded", "verifies by the caBundle, and a pod gets its sidecar")
	const created = "the API server gives a pod" // the local node keeps the logs of earlier tests in front
	if strings.Count(out, created) != strings.Count(before, created) {
		t.Errorf("it creates a pod, and no namespace was named:\n%s", out)
	}
}

// testFails runs helm test, which must fail and show why.
func (s *story) testFails(t *testing.T, wanted ...string) {
	t.Helper()
	out, err := cluster.Helm(t.Context(), nil, "test", name, "-n", system, "--timeout", "30s", "--logs")
	if err == nil {
		t.Fatalf("helm test passes:\n%s", out)
	}
	says(t, out+err.Error(), wanted...)
	if printed := strings.Count(out+err.Error(), "POD LOGS:"); printed != 1 {
		t.Errorf("the report is printed %d times:\n%s", printed, out)
	}
}

// ignoring is the patch by which every entry has failurePolicy Ignore.
func ignoring(t *testing.T) string {
	t.Helper()
	object := &admissionregistrationv1.MutatingWebhookConfiguration{}
	if err := kube.Get(t.Context(), client.ObjectKey{Name: "outrigger-sidecar-injector"}, object); err != nil {
		t.Fatal(err)
	}
	var patch []map[string]string
	for n := range object.Webhooks {
		patch = append(patch, map[string]string{"op": "replace", "path": fmt.Sprintf("/webhooks/%d/failurePolicy", n), "value": "Ignore"})
	}
	text, err := json.Marshal(patch)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// leftOfHooks are the rights and Jobs of hooks that are there.
func (s *story) leftOfHooks(t *testing.T) []string {
	t.Helper()
	var left []string
	for _, list := range []client.ObjectList{&rbacv1.ClusterRoleList{}, &rbacv1.ClusterRoleBindingList{}, &rbacv1.RoleList{}, &rbacv1.RoleBindingList{}, &batchv1.JobList{}, &corev1.ServiceAccountList{}} {
		if err := kube.List(t.Context(), list, client.MatchingLabels{"app.kubernetes.io/name": name + "-hook"}); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		var names struct {
			Items []struct{ Metadata struct{ Name string } }
		}
		if err := json.Unmarshal(text, &names); err != nil {
			t.Fatal(err)
		}
		for _, item := range names.Items {
			left = append(left, fmt.Sprintf("%T %s", list, item.Metadata.Name))
		}
	}
	return left
}

func (s *story) failedUpgrade(t *testing.T) {
	pods := keep(t, func(ctx context.Context) error { return injects(ctx, s.injected) })
	args := []string{"--set", "extraArgs={--no-such-flag}", "--atomic"}
	out, err := cluster.Helm(t.Context(), nil, append(s.release("upgrade", s.chart, args...), "--timeout", "8s")...)
	if err == nil || !strings.Contains(err.Error(), "rolled back due to atomic being set") {
		t.Errorf("an upgrade whose pods do not start: %v\n%s", err, out)
	}
	s.waitForReplicas(t, 2)
	pods.without(t, "failed upgrade and its undoing")

	// The pods are ready, and the API server would not reach them: only the check sees it.
	args = []string{"--set", "webhook.url=https://127.0.0.1:1/inject,postInstallCheck.timeout=2s", "--atomic"}
	out, err = cluster.Helm(t.Context(), nil, s.release("upgrade", s.chart, args...)...)
	if err == nil {
		t.Fatalf("an upgrade after which no pod can be created succeeds:\n%s", out)
	}
	says(t, out+err.Error(), "FAILED  the webhook does not answer at https://127.0.0.1:1/inject", "rolled back due to atomic being set")
	says(t, kubectl(t, "", "logs", "job/"+name+"-check", "-n", system), "FAILED") // it stays to be looked at
	kubectl(t, "", "delete", "job", name+"-check", "-n", system)
	s.waitForReplicas(t, 2)
	s.waitForSidecars(t)
}

func (s *story) rollBack(t *testing.T) {
	before := s.state(t)
	now := s.image(t)
	revision := strings.TrimSpace(kubectl(t, "", "get", "secrets", "-n", system, "-l", "owner=helm,status=deployed", "-o", "jsonpath={.items[0].metadata.labels.version}"))
	pods := keep(t, func(ctx context.Context) error { return injects(ctx, s.injected) })
	helm(t, "rollback", name, "1", "-n", system, "--wait", "--timeout", "1m")
	s.waitForReplicas(t, 2)
	pods.without(t, "rollback to the earlier chart and binary")
	if image := s.image(t); !strings.HasSuffix(image, ":earlier") {
		t.Errorf("after the rollback %s runs", image)
	}
	helm(t, "rollback", name, revision, "-n", system, "--wait", "--timeout", "1m")
	s.waitForReplicas(t, 2)
	if image := s.image(t); image != now {
		t.Errorf("after the way forward %s runs, not %s", image, now)
	}
	s.waitForSidecars(t)
	if diff := cmp.Diff(before, s.state(t)); diff != "" {
		t.Errorf("rolling back and forward changed (-before +after):\n%s", diff)
	}
}

func (s *story) image(t *testing.T) string {
	t.Helper()
	deployment := &appsv1.Deployment{}
	if err := kube.Get(t.Context(), client.ObjectKey{Namespace: system, Name: name}, deployment); err != nil {
		t.Fatal(err)
	}
	return deployment.Spec.Template.Spec.Containers[0].Image
}

func (s *story) remove(t *testing.T) {
	before := s.state(t)
	pods := keep(t, func(ctx context.Context) error { // with or without a sidecar, but never refused
		_, err := createPod(ctx, s.injected)
		return err
	})
	var said strings.Builder
	done := s.watchFirstGone(t, &said)
	out := helm(t, "uninstall", name, "-n", system, "--wait", "--timeout", "1m")
	<-done
	pods.without(t, "removal")
	if said.String() != "webhook first" {
		t.Errorf("what went first: %q", said.String())
	}
	says(t, out, "kept due to the resource policy", "[Secret] outrigger-ca", "[ConfigMap] outrigger-last-good")
	out = s.installed.Node.Logs(system, name+"-pre-delete-*") // Helm writes it to its standard error
	says(t, out, "mutatingwebhookconfiguration/outrigger-sidecar-injector deleted", "scaled to 0",
		"virtualservice/lone in namespace injected deleted", "destinationrule/lone in namespace injected deleted",
		"service/two in namespace injected keeps its routes: without them v2 (1 of 1 pods ready) would begin to receive traffic")
	if first, then := strings.Index(out, "virtualservice/lone"), strings.Index(out, "destinationrule/lone"); first > then {
		t.Errorf("the DestinationRule went before the VirtualService:\n%s", out)
	}
	for kind, object := range map[string]client.Object{"VirtualService": &networkingv1.VirtualService{}, "DestinationRule": &networkingv1.DestinationRule{}} {
		if err := kube.Get(t.Context(), client.ObjectKey{Namespace: s.injected, Name: "lone"}, object); !apierrors.IsNotFound(err) {
			t.Errorf("%s of the lone workload is still there: %v", kind, err)
		}
		if err := kube.Get(t.Context(), client.ObjectKey{Namespace: s.injected, Name: "two"}, object); err != nil {
			t.Errorf("%s that holds two versions apart: %v", kind, err)
		}
	}
	for object := range before {
		if strings.HasSuffix(object, "/lone") {
			delete(before, object)
		}
	}
	if diff := cmp.Diff(before, s.state(t)); diff != "" {
		t.Errorf("what stays was changed (-before +after):\n%s", diff)
	}
	if left := s.leftOfHooks(t); len(left) > 0 {
		t.Errorf("hooks left %q", left)
	}
	for _, kind := range []string{"mutatingwebhookconfigurations", "validatingwebhookconfigurations", "clusterroles", "clusterrolebindings"} {
		if left := kubectl(t, "", "get", kind, "-o", "name", "-l", "app.kubernetes.io/instance="+name); left != "" {
			t.Errorf("of %s there is still %s", kind, left)
		}
	}
}

// watchFirstGone notes whether the webhook object goes while the replicas still answer.
func (s *story) watchFirstGone(t *testing.T, said *strings.Builder) <-chan struct{} {
	done := make(chan struct{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	go func() {
		defer close(done)
		defer cancel()
		for ctx.Err() == nil {
			err := kube.Get(ctx, client.ObjectKey{Name: "outrigger-sidecar-injector"}, &admissionregistrationv1.MutatingWebhookConfiguration{})
			if apierrors.IsNotFound(err) {
				said.WriteString("webhook first")
				return
			}
			if len(s.installed.Webhook.Endpoints()) == 0 {
				said.WriteString("replicas first")
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	return done
}

func (s *story) installAgain(t *testing.T) {
	authority := s.authority(t)
	helm(t, s.release("install", s.chart, "--wait")...)
	s.waitForSidecars(t) // without a wait for the first pod, because the check has waited
	s.waitForRoutes(t, "lone")
	if now := s.authority(t); now != authority || now == "" {
		t.Error("the CA that was kept is not the one that is used")
	}
	helm(t, "uninstall", name, "-n", system, "--wait", "--timeout", "1m")
}

func (s *story) authority(t *testing.T) string {
	t.Helper()
	return kubectl(t, "", "get", "secret", "outrigger-ca", "-n", system, "-o", "jsonpath={.data}")
}

func (s *story) removeWithoutHooks(t *testing.T) {
	helm(t, s.release("install", s.chart, "--set", "image.tag=missing", "--no-hooks")...)
	if _, err := createPod(t.Context(), s.injected); err == nil {
		t.Error("a pod that asks for a sidecar is created while no replica answers")
	}
	if out, err := cluster.Helm(t.Context(), nil, "uninstall", name, "-n", system, "--timeout", "3s"); err == nil {
		t.Errorf("the hook ran without an image:\n%s", out)
	}
	helm(t, "uninstall", name, "-n", system, "--no-hooks", "--wait", "--timeout", "1m")
	if _, err := createPod(t.Context(), s.injected); err != nil {
		t.Errorf("a pod after the removal: %v", err)
	}
}

func (s *story) applyManifest(t *testing.T) {
	shipped := manifest(t, nil)
	kubectl(t, shipped, "apply", "--dry-run=server", "-f", "-")

	here := manifest(t, s.installed.Values)
	kubectl(t, here, "apply", "-f", "-")
	kubectl(t, "", "rollout", "status", "deployment", name, "-n", system, "--timeout=1m")
	s.waitForSidecars(t)
	// Applied again it changes nothing, and least of all the caBundle, which it does not hold.
	standing := func() string {
		return kubectl(t, "", "get", "deployment/"+name, "poddisruptionbudget/"+name, "mutatingwebhookconfiguration/outrigger-sidecar-injector", "-n", system,
			"-o", `jsonpath={range .items[*]}{.kind} {.metadata.generation} {.webhooks[*].clientConfig.caBundle}{"\n"}{end}`)
	}
	before := standing()
	if out := kubectl(t, here, "apply", "-f", "-"); strings.Contains(out, "created") {
		t.Errorf("applied again, it makes something:\n%s", out)
	}
	if diff := cmp.Diff(before, standing()); diff != "" || !strings.Contains(before, "LS0t") {
		t.Errorf("applied again, it changes something (-before +after):\n%s", diff)
	}
	if err := injects(t.Context(), s.injected); err != nil {
		t.Error(err)
	}
	kubectl(t, here, "delete", "-f", "-", "--ignore-not-found") // the other tests install releases of the same name
}

func manifest(t *testing.T, values chart.Values) string {
	t.Helper()
	own, err := chart.Own()
	if err != nil {
		t.Fatal(err)
	}
	text, err := own.Manifest(values)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestHelmPackages sees that the packed chart is the whole chart.
func TestHelmPackages(t *testing.T) {
	root, err := install.Root()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	helm(t, "package", chart.Folder(root), "--destination", dir)
	packed, err := filepath.Glob(filepath.Join(dir, "outrigger-*.tgz"))
	if err != nil || len(packed) != 1 {
		t.Fatal(errors.Join(err, fmt.Errorf("helm package made %q", packed)))
	}
	fromFolder := helm(t, "template", name, chart.Folder(root), "--kube-version", "1.37.0")
	fromPackage := helm(t, "template", name, packed[0], "--kube-version", "1.37.0")
	if diff := cmp.Diff(fromFolder, fromPackage); diff != "" {
		t.Errorf("the packed chart renders otherwise (-folder +package):\n%s", diff)
	}
	says(t, helm(t, "show", "readme", packed[0]), "# Outrigger")
	helm(t, "lint", "--strict", "--kube-version", "1.37.0", chart.Folder(root))
}
