// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// tutorialFiles are the files of the tutorial under the Service's own name: a Gateway, a VirtualService for every host, and
// a DestinationRule with a short host.
func tutorialFiles(v1, v2 int) string {
	return fmt.Sprintf(`
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: springbootapp}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 8131, name: http, protocol: HTTP}
    hosts: ["*"]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: springbootapp}
spec:
  hosts: ["*"]
  gateways: [springbootapp]
  http:
  - route:
    - {destination: {host: springbootapp, subset: v1}, weight: %d}
    - {destination: {host: springbootapp, subset: v2}, weight: %d}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: springbootapp}
spec:
  host: springbootapp
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
`, v1, v2)
}

// The tutorial's own files over ours, by each command that users have for that: the mesh stays pinned, the gateway is the
// user's, nothing of the user's is written afterwards, and kubectl delete service leaves it.
func TestTheTutorialsFilesOverOurs(t *testing.T) {
	for i, how := range [][]string{{"apply"}, {"apply", "--server-side", "--force-conflicts"}, {"replace"}} {
		t.Run(strings.Join(how, " "), func(t *testing.T) {
			needIstio(t)
			ns, port := namespace(t, injected), fmt.Sprint(8131+i)
			apply(t, ns, service("springbootapp")+fixed("one", "springbootapp", "v1")+fixed("two", "springbootapp", "v2"))
			wantRoutes(t, ns, "springbootapp", "v1=100")
			annotate(t, ns, "springbootapp", "outrigger.dev/expose=true", "outrigger.dev/gateway-port="+port)
			wantRoutes(t, ns, "springbootapp-gateway", "v1=100")
			write := func(yaml string) {
				t.Helper()
				yaml = strings.ReplaceAll(yaml, "8131", port)
				args := append(append([]string{"-n", ns}, how...), "-f", "-")
				if out, err := cluster.Kubectl(t.Context(), strings.NewReader(yaml), args...); err != nil {
					t.Fatalf("kubectl %s: %v\n%s", strings.Join(how, " "), err, out)
				}
			}
			write(tutorialFiles(90, 10))

			wantRoutes(t, ns, "springbootapp-auto", "v1=100")
			wantSubsets(t, ns, "springbootapp-auto", "v1 v2")
			wantAbsent(t, &networkingv1.VirtualService{}, ns, "springbootapp-gateway")
			eventually(t, "the user's objects carry nothing of Outrigger", func() error { return marksLeft(t, ns, how[0] != "replace") })
			wantRoutes(t, ns, "springbootapp", "v1=90 v2=10")

			// Nothing of the user's is written any more: not by itself, not after a decision, nor after the next apply.
			before := versions(t, ns)
			annotate(t, ns, "springbootapp", "outrigger.dev/weights=v1=50,v2=50")
			wantRoutes(t, ns, "springbootapp-auto", "v1=50 v2=50")
			time.Sleep(3 * time.Second) // for a write that must not come there is nothing to wait for
			for object, version := range versions(t, ns) {
				if strings.HasSuffix(object, "/springbootapp") && before[object] != version {
					t.Errorf("%s was written: resourceVersion %s, then %s", object, before[object], version)
				}
			}
			write(tutorialFiles(20, 80))
			wantRoutes(t, ns, "springbootapp", "v1=20 v2=80")
			if err := marksLeft(t, ns, how[0] != "replace"); err != nil {
				t.Error(err)
			}

			kubectl(t, "-n", ns, "delete", "service", "springbootapp")
			wantAbsent(t, &networkingv1.VirtualService{}, ns, "springbootapp-auto")
			wantAbsent(t, &networkingv1.DestinationRule{}, ns, "springbootapp-auto")
			for _, object := range []client.Object{&networkingv1.VirtualService{}, &networkingv1.DestinationRule{}, &networkingv1.Gateway{}} {
				if err := kube.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "springbootapp"}, object); err != nil {
					t.Errorf("kubectl delete service took what is the user's: %v", err)
				}
			}
		})
	}
}

// marksLeft names what the user's objects still have of Outrigger's: of managed fields where Outrigger had to release them.
func marksLeft(t *testing.T, ns string, released bool) error {
	t.Helper()
	for _, object := range []client.Object{&networkingv1.VirtualService{}, &networkingv1.DestinationRule{}, &networkingv1.Gateway{}} {
		if err := kube.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "springbootapp"}, object); err != nil {
			return err
		}
		for key := range object.GetAnnotations() {
			if key != corev1.LastAppliedConfigAnnotation && strings.Contains(key, "outrigger.dev") {
				return fmt.Errorf("%T has annotation %s", object, key)
			}
		}
		for key, value := range object.GetLabels() {
			if strings.Contains(key+value, "outrigger") {
				return fmt.Errorf("%T has label %s=%s", object, key, value)
			}
		}
		if owners := object.GetOwnerReferences(); len(owners) > 0 {
			return fmt.Errorf("%T has owners %v", object, owners)
		}
		for _, entry := range object.GetManagedFields() {
			if released && entry.Manager == "outrigger.dev" && entry.Operation == metav1.ManagedFieldsOperationApply {
				return fmt.Errorf("%T has fields that Outrigger manages", object)
			}
		}
	}
	return nil
}

// With the user's files first, ours stand beside them from the beginning; without them, the exposure returns by itself.
func TestTheTutorialsFilesBeforeOurs(t *testing.T) {
	needIstio(t)
	ns := namespace(t, injected)
	files := strings.ReplaceAll(tutorialFiles(90, 10), "8131", "8134")
	apply(t, ns, files)
	apply(t, ns, service("springbootapp")+fixed("one", "springbootapp", "v1")+fixed("two", "springbootapp", "v2"))
	annotate(t, ns, "springbootapp", "outrigger.dev/expose=true", "outrigger.dev/gateway-port=8134")
	wantRoutes(t, ns, "springbootapp-auto", "v1=100")
	if _, err := virtualService(ns, "springbootapp-gateway"); err == nil {
		t.Error("Outrigger serves the gateway beside the user's VirtualService")
	}
	if out, err := cluster.Kubectl(t.Context(), strings.NewReader(files), "-n", ns, "delete", "-f", "-"); err != nil {
		t.Fatalf("kubectl delete: %v\n%s", err, out)
	}
	wantRoutes(t, ns, "springbootapp-gateway", "v1=100")
	wantRoutes(t, ns, "springbootapp-auto", "v1=100")
}
