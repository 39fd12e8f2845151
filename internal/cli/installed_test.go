// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
)

// A command that acts on one namespace, or reports about it, says that it does not exist.
func TestANamespaceThatDoesNotExist(t *testing.T) {
	s := shop(t)
	s.namespace = "nope"
	for name, err := range map[string]error{
		"uninstall-routes": s.uninstallRoutes(t.Context(), "nope", false, s.writing(dryRunNone)),
		"dry run":          s.uninstallRoutes(t.Context(), "nope", false, s.writing(dryRunClient)),
		"shift":            s.applyDecision(t.Context(), shifting(t, "app", "v1=90", "v2=10"), s.writing(dryRunNone)),
		"undo":             s.undo(t.Context(), "app", 0, s.writing(dryRunNone)),
		"enable":           s.setRouting(t.Context(), "nope", api.RoutingEnabled, s.writing(dryRunNone)),
		"status":           func() error { _, err := s.status(t.Context(), false); return err }(),
	} {
		if err == nil || err.Error() != "namespace nope does not exist" {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, c := coverageStage(t, true)
	c.namespace = "nope"
	if _, err := c.report(t.Context(), false); err == nil || err.Error() != "namespace nope does not exist" {
		t.Errorf("coverage: %v", err)
	}
}

// With a wrong --system-namespace there is no Lease either, and Outrigger would recreate what is removed.
func TestUninstallFindsAnOutriggerInAnotherNamespace(t *testing.T) {
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "mesh", Name: "custom", Labels: map[string]string{LeaseVersionLabel: "v1"}}}
	lease.Spec = coordinationv1.LeaseSpec{HolderIdentity: ptr.To("outrigger-abc_1"), RenewTime: &metav1.MicroTime{Time: noon.Add(-time.Second)}, LeaseDurationSeconds: ptr.To[int32](15)}
	webhook := &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "outrigger-sidecar-injector"}}
	webhook.Webhooks = []admissionregistrationv1.MutatingWebhook{{Name: "rev.sidecar-injector.outrigger.dev", ClientConfig: admissionregistrationv1.WebhookClientConfig{
		Service: &admissionregistrationv1.ServiceReference{Namespace: "mesh", Name: "outrigger"},
	}}}
	for name, object := range map[string]client.Object{"its Lease": lease, "its webhook object": webhook} {
		t.Run(name, func(t *testing.T) {
			s := shop(t, object)
			err := s.uninstallRoutes(t.Context(), "demo", true, s.writing(dryRunNone))
			if err == nil || !strings.Contains(err.Error(), "one is in namespace mesh; nothing was removed. Add --system-namespace=mesh") {
				t.Errorf("%v", err)
			}
			if s.look("app").Existing.IsEmpty() {
				t.Error("the routes were removed")
			}
		})
	}
	lease.Spec.RenewTime.Time = noon.Add(-time.Hour) // left over from a release that was uninstalled
	s := shop(t, lease)
	s.config.Routing.PropagationDelay = time.Millisecond
	if err := s.uninstallRoutes(t.Context(), "demo", true, s.writing(dryRunNone)); err != nil {
		t.Error(err)
	}
}

// What the user applied over one of Outrigger's objects stays, without Outrigger's marks: with the owner reference, Kubernetes would
// delete it with its Service.
func TestUninstallReleasesReplacedObjects(t *testing.T) {
	s := shop(t)
	s.config.Routing.PropagationDelay = time.Millisecond
	vs := s.look("app").Existing.VirtualServices[0]
	replaced := vs.DeepCopy()
	replaced.Annotations[corev1.LastAppliedConfigAnnotation] = `{"metadata":{"name":"app"},"spec":{"hosts":["app"],"http":[{"route":[{"destination":{"host":"app"}}]}]}}`
	replaced.Spec = *byHand("app", "app").Spec.DeepCopy()
	if err := s.client.Update(t.Context(), replaced); err != nil {
		t.Fatal(err)
	}
	if observed := s.look("app"); !observed.HasReplaced() {
		t.Fatal("it does not count as replaced")
	}
	if err := s.uninstallRoutes(t.Context(), "demo", true, s.writing(dryRunNone)); err != nil {
		t.Fatal(err)
	}
	s.printed("virtualservice/app in namespace demo stays, because you replaced it; Outrigger's owner reference, labels, and annotations are removed from it\n")
	got := byHand("app", "app")
	if err := s.client.Get(t.Context(), client.ObjectKeyFromObject(got), got); err != nil {
		t.Fatal(err)
	}
	if len(got.OwnerReferences) > 0 || got.Labels[api.LabelService] != "" || got.Annotations[api.AnnotationSeal] != "" {
		t.Errorf("marks are left: %+v", got.ObjectMeta)
	}
}

func TestTypesByTheirWords(t *testing.T) {
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(schema.GroupVersionKind{Version: "v1", Kind: "Node"}, meta.RESTScopeRoot)
	mapper.Add(schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}, meta.RESTScopeNamespace)
	for word, want := range map[string]string{"node": "Node", "Nodes": "Node", "deployments.apps": "Deployment", "deployment.v1.apps": "Deployment"} {
		if mapping, err := mappingFor(mapper, word); err != nil || mapping.GroupVersionKind.Kind != want {
			t.Errorf("%s: %v, %v", word, mapping, err)
		}
	}
	if _, err := mappingFor(mapper, "nonsense"); err == nil {
		t.Error("a type that does not exist was found")
	}
}

// With routing=observe, an object that the user applied from what routes printed is the user's, and is not removed.
func TestUninstallLeavesCommittedObjects(t *testing.T) {
	s := shop(t)
	s.config.Routing.PropagationDelay = time.Millisecond
	vs := s.look("app").Existing.VirtualServices[0].DeepCopy()
	if err := s.client.Delete(t.Context(), vs); err != nil {
		t.Fatal(err)
	}
	committed := vs.DeepCopy()
	committed.ObjectMeta = metav1.ObjectMeta{Namespace: vs.Namespace, Name: vs.Name, Labels: vs.Labels}
	if err := s.client.Create(t.Context(), committed); err != nil {
		t.Fatal(err)
	}
	namespace := &corev1.Namespace{}
	if err := s.client.Get(t.Context(), client.ObjectKey{Name: "demo"}, namespace); err != nil {
		t.Fatal(err)
	}
	namespace.Labels[api.LabelRouting] = string(api.RoutingObserve)
	if err := s.client.Update(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	if observed := s.look("app"); len(observed.Existing.VirtualServices) != 1 {
		t.Fatal("it does not count in the dry run")
	}
	if err := s.uninstallRoutes(t.Context(), "demo", true, s.writing(dryRunNone)); err != nil {
		t.Fatal(err)
	}
	s.printed("destinationrule/app in namespace demo deleted")
	if err := s.client.Get(t.Context(), client.ObjectKeyFromObject(committed), committed); err != nil {
		t.Errorf("the user's object: %v\n%s", err, s.out.String())
	}
}
