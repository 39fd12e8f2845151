// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// heard collects the warnings that kubectl would print.
type heard struct {
	mu    sync.Mutex
	texts []string
}

func (h *heard) HandleWarningHeaderWithContext(_ context.Context, _ int, _, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.texts = append(h.texts, text)
}

func (h *heard) all() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.texts, "\n")
}

func (h *heard) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.texts = nil
}

// listening returns a client whose warnings are collected.
func listening(t *testing.T) (client.Client, *heard) {
	t.Helper()
	warnings := &heard{}
	config := rest.CopyConfig(cluster.Config)
	config.WarningHandler, config.WarningHandlerWithContext = nil, warnings
	c, err := client.New(config, client.Options{Scheme: kube.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	return c, warnings
}

// eventsAbout returns the Events on an object as "reason: message", one a line.
func eventsAbout(t *testing.T, ns, kind, name string) string {
	t.Helper()
	events := &corev1.EventList{}
	if err := kube.List(t.Context(), events, client.InNamespace(ns)); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, event := range events.Items {
		if event.InvolvedObject.Kind == kind && event.InvolvedObject.Name == name {
			out = append(out, event.Reason+": "+event.Message)
		}
	}
	return strings.Join(out, "\n")
}

// One reason, wherever it can be heard: as a warning on what kubectl creates, and as an Event on what kubectl describes.
func TestAUserHearsWhyWhereHeLooks(t *testing.T) {
	needIstio(t)
	ns := namespace(t, injected)
	c, warnings := listening(t)
	web := appsDeployment(ns, "web")
	web.Spec.Template.Annotations = map[string]string{"status.sidecar.istio.io/port": "many"}
	eventually(t, "the warning on a Deployment whose pods are denied", func() error { // its webhook object may just have got its caBundle
		dry := web.DeepCopy()
		if err := c.Create(t.Context(), dry, client.DryRunAll); err != nil {
			return err
		}
		if !strings.Contains(warnings.all(), `InvalidAnnotation: Deployment `+ns+`/web: spec.template.metadata.annotations[status.sidecar.istio.io/port] = "many"`) {
			return fmt.Errorf("heard %q", warnings.all())
		}
		return nil
	})

	// A dry run of a pod of this owner is denied and leaves no trace; what comes behind it in the same queue does.
	controller := true
	dry := &corev1.Pod{}
	dry.Namespace, dry.GenerateName, dry.Annotations = ns, "dry-", web.Spec.Template.Annotations
	dry.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "dry", UID: types.UID("dry"), Controller: &controller}}
	dry.Spec.Containers = []corev1.Container{{Name: "app", Image: "registry.example/app:1"}}
	for range 10 { // of both replicas
		if err := c.Create(t.Context(), dry.DeepCopy(), client.DryRunAll); err == nil || !strings.Contains(err.Error(), "InvalidAnnotation") {
			t.Fatalf("a dry run of a bad pod: %v", err)
		}
	}

	if err := c.Create(t.Context(), web); err != nil {
		t.Fatal(err)
	}
	wantEvent(t, ns, "web", "InvalidAnnotation")
	described := kubectl(t, "-n", ns, "describe", "deployment", "web")
	for _, want := range []string{"InvalidAnnotation", "Denied: Pod " + ns + "/web-", "many"} {
		if !strings.Contains(described, want) {
			t.Errorf("kubectl describe does not show %q:\n%s", want, described)
		}
	}
	if told := eventsAbout(t, ns, "StatefulSet", "dry"); told != "" {
		t.Errorf("dry runs left %q", told)
	}
	if told := eventsAbout(t, ns, "Deployment", "web"); strings.Count(told, "InvalidAnnotation: ") != 1 {
		t.Errorf("the owner hears it more than once, though its controller tried again and there are two replicas:\n%s", told)
	}

	// Words that do nothing at all.
	typo := appsDeployment(ns, "typo")
	typo.Spec.Template.Labels["sidecar.istio.io/injct"] = "false"
	if err := c.Create(t.Context(), typo); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(warnings.all(), "it looks like sidecar.istio.io/inject") {
		t.Errorf("no warning about a misspelled label, but %q", warnings.all())
	}
	wantEvent(t, ns, "typo", "MisspelledKey")
	wrong := namespace(t, "istio-injection=enable")
	if err := c.Create(t.Context(), appsDeployment(wrong, "web")); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(warnings.all(), "kubectl label namespace "+wrong+" istio-injection=enabled --overwrite") {
		t.Errorf("no warning about istio-injection=enable, but %q", warnings.all())
	}
}

// The refusal of a configuration is told once, by two replicas and across their restart.
func TestARefusedConfigurationIsToldOnce(t *testing.T) {
	needIstio(t)
	ns := namespace(t, injected)
	before := strings.Count(outrigger.Logs(), "Istio's configuration is not usable")
	seen := len(refusals(t))
	withInjectorConfig(t, func(config string) string {
		return strings.Replace(config, "metadata:", "metadata: {{ .NoSuchThing", 1)
	})
	eventually(t, "both replicas refuse it", func() error {
		if now := strings.Count(outrigger.Logs(), "Istio's configuration is not usable"); now < before+2 {
			return fmt.Errorf("%d did", now-before)
		}
		return nil
	})
	restartOutrigger(t) // what was to be told is told when the processes have ended; the new ones refuse it again
	if pod, err := created(t, ns, "p"); err != nil || !hasSidecar(pod) {
		t.Fatalf("beside a bad configuration: %v", err)
	}
	if told := refusals(t); len(told) != seen+1 {
		t.Errorf("one refusal made %d Events: %q", len(told)-seen, told)
	}
}

func refusals(t *testing.T) []string {
	t.Helper()
	told := eventsAbout(t, injectorConfigMap.Namespace, "ConfigMap", injectorConfigMap.Name)
	if told == "" {
		return nil
	}
	return strings.Split(told, "\n")
}

// Whoever deletes Istio's ConfigMap by mistake has the same pods as before, also from replicas that start in between.
func TestAConfigMapThatIsAwayAcrossARestartDeniesNoPod(t *testing.T) {
	needIstio(t)
	ns := namespace(t, injected)
	original := &corev1.ConfigMap{}
	if err := kube.Get(t.Context(), injectorConfigMap, original); err != nil {
		t.Fatal(err)
	}
	if err := kube.Delete(t.Context(), original.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		original.ResourceVersion, original.UID = "", ""
		if err := kube.Create(context.Background(), original); err != nil {
			t.Error(err)
		}
	})
	restartOutrigger(t)
	pod, err := created(t, ns, "p")
	if err != nil {
		t.Fatal(err)
	}
	if !hasSidecar(pod) {
		t.Error("the pod has no sidecar")
	}
}

// appsDeployment is an ordinary Deployment of one replica.
func appsDeployment(ns, name string) *appsv1.Deployment {
	d := &appsv1.Deployment{}
	d.Namespace, d.Name = ns, name
	labels := map[string]string{"app": name}
	d.Spec.Selector = &metav1.LabelSelector{MatchLabels: labels}
	d.Spec.Template.Labels = map[string]string{"app": name}
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "app", Image: "registry.example/app:1"}}
	return d
}
