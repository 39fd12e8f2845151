// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"math/rand"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingk8s "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/routing"
)

// randomCluster changes a cluster at random: all kinds that a reading reads, and the time.
type randomCluster struct {
	*liveStage
	*rand.Rand
	time    time.Time
	created int
}

func (r *randomCluster) one(choices ...string) string { return choices[r.Intn(len(choices))] }

// put creates an object, or replaces the one with its name.
func (r *randomCluster) put(object client.Object) {
	r.t.Helper()
	r.created++
	object.SetUID(types.UID(fmt.Sprintf("uid-%d", r.created)))
	err := r.client.Create(r.t.Context(), object)
	if apierrors.IsAlreadyExists(err) {
		before := object.DeepCopyObject().(client.Object)
		if err = r.client.Get(r.t.Context(), client.ObjectKeyFromObject(object), before); err == nil {
			object.SetResourceVersion(before.GetResourceVersion())
			object.SetUID(before.GetUID())
			err = r.client.Update(r.t.Context(), object)
		}
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *randomCluster) remove(object client.Object) {
	r.t.Helper()
	if err := client.IgnoreNotFound(r.client.Delete(r.t.Context(), object)); err != nil {
		r.t.Fatal(err)
	}
}

// edit changes an object, if it exists.
func edit[O client.Object](r *randomCluster, object O, namespace, name string, change func(O)) {
	r.t.Helper()
	r.edit(object, namespace, name, func() { change(object) }, func() error { return r.client.Update(r.t.Context(), object) })
}

// editStatus changes the status of an object, if it exists.
func editStatus[O client.Object](r *randomCluster, object O, namespace, name string, change func(O)) {
	r.t.Helper()
	r.edit(object, namespace, name, func() { change(object) }, func() error { return r.client.Status().Update(r.t.Context(), object) })
}

func (r *randomCluster) edit(object client.Object, namespace, name string, change func(), write func() error) {
	r.t.Helper()
	err := r.client.Get(r.t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, object)
	if apierrors.IsNotFound(err) {
		return
	}
	if err == nil {
		change()
		err = write()
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// control does what the controller does now.
func (r *randomCluster) control(service string) {
	r.t.Helper()
	observed, _, err := r.sources(r.snapshot("demo", false)).Gather(r.t.Context(), client.ObjectKey{Namespace: "demo", Name: service})
	if err != nil {
		r.t.Fatal(err)
	}
	if observed == nil {
		return
	}
	if r.Intn(2) == 0 {
		*observed = diagnose.WithoutDelays(*observed)
	}
	for _, change := range routing.Diff(observed.Existing, routing.Plan(*observed, r.time).Objects) {
		r.write(change)
	}
}

// change makes one change, and returns what it is.
func (r *randomCluster) change() string {
	service, version := r.one("app", "app-internal", "other"), r.one("v1", "v2", "v3")
	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: "demo", Name: name, CreationTimestamp: old()}
	}
	what := r.one("annotation", "annotation", "annotation", "service", "namespace", "other namespace", "ready", "ready", "pod", "deployment", "set", "controller", "controller",
		"route", "own route", "rule", "gateway", "entry", "workload entry", "ingress", "class", "node", "ingress gateway", "time", "time")
	switch what {
	case "annotation":
		edit(r, &corev1.Service{}, "demo", service, func(s *corev1.Service) {
			if s.Annotations == nil {
				s.Annotations = map[string]string{}
			}
			key := r.one(api.AnnotationWeights, api.AnnotationExpose, api.AnnotationHosts, api.AnnotationCanary, api.AnnotationDefaultVersion, api.AnnotationMatch, api.AnnotationGateway)
			s.Annotations[key] = map[string]string{
				api.AnnotationWeights: r.one("v1=90,v2=10", "v1=50,v2=50", "v1=9O", "v3=100"), api.AnnotationExpose: "true", api.AnnotationHosts: r.one("a.example.com", "b.example.com", "*.example.com", "other"),
				api.AnnotationCanary: r.one("v2", "v3"), api.AnnotationDefaultVersion: version, api.AnnotationMatch: "v2=header:end-user:jason", api.AnnotationGateway: r.one("demo/shared", "istio-system/none"),
			}[key]
			if r.Intn(3) == 0 {
				delete(s.Annotations, key)
			}
			what += " " + key + "=" + s.Annotations[key] + " of " + service
		})
	case "service":
		if r.Intn(2) == 0 {
			r.remove(&corev1.Service{ObjectMeta: meta("other")})
		} else {
			one := serviceOf("other", r.one("app", "other"))
			one.Labels = map[string]string{api.LabelRouting: r.one("enabled", "disabled", "observe", "subsets")}
			r.put(one)
		}
	case "namespace":
		edit(r, &corev1.Namespace{}, "", "demo", func(n *corev1.Namespace) {
			n.Labels = map[string]string{r.one(api.LabelInjection, api.LabelRouting, "istio.io/dataplane-mode"): r.one("enabled", "disabled", "ambient"), "istio-injection": r.one("enabled", "disabled")}
			n.Annotations = map[string]string{api.AnnotationGateway: r.one("demo/shared", "istio-system/none"), api.AnnotationWeights: "v1=1"}
		})
	case "other namespace":
		one := demo("istio-injection=enabled", "topology.istio.io/network="+r.one("", "n1"))
		one.Name = r.one("istio-system", "shop")
		r.put(one)
	case "ready":
		editStatus(r, &corev1.Pod{}, "demo", "app-"+version+"-abc-"+r.one("a", "b"), func(p *corev1.Pod) {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionStatus(r.one("True", "False")), LastTransitionTime: metav1.NewTime(r.time)}}
		})
	case "pod":
		pod := podOf("app-"+version+"-abc-"+r.one("a", "b"), map[string]string{"app": r.one("app", "other"), r.one("version", "app.kubernetes.io/version"): version}, true)
		if r.Intn(2) == 0 {
			r.remove(pod)
		} else {
			pod.CreationTimestamp = metav1.NewTime(r.time)
			pod.Spec.Containers = pod.Spec.Containers[:1+r.Intn(2)]
			r.put(pod)
		}
	case "deployment":
		one := runningPods("app", version, 0, 0)[0]
		one.SetCreationTimestamp(metav1.NewTime(r.time))
		if r.Intn(2) == 0 {
			r.remove(one)
		} else {
			r.put(one)
		}
	case "set":
		labels := map[string]string{"app": "app", "version": version}
		r.put(&appsv1.StatefulSet{ObjectMeta: meta("set"), Spec: appsv1.StatefulSetSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}}}})
	case "controller":
		r.control(service)
	case "route":
		one := byHand("by-hand", r.one("app", "other", "a.example.com"))
		one.Spec.Gateways = []string{r.one("mesh", "demo/shared")}
		if r.Intn(2) == 0 {
			r.remove(one)
		} else {
			r.put(one)
		}
	case "own route":
		edit(r, &networkingv1.VirtualService{}, "demo", service, func(vs *networkingv1.VirtualService) {
			if len(vs.Spec.Http) > 0 {
				vs.Spec.Http[0].Route[0].Weight = int32(r.Intn(100))
			}
		})
	case "rule":
		one := &networkingv1.DestinationRule{ObjectMeta: meta("by-hand")}
		one.Spec.Host = r.one("app", "other")
		one.Spec.Subsets = []*networkingapi.Subset{{Name: version, Labels: map[string]string{"version": r.one("v1", "v2")}}}
		if r.Intn(2) == 0 {
			r.remove(one)
		} else {
			r.put(one)
		}
	case "gateway":
		one := &networkingv1.Gateway{ObjectMeta: meta("shared")}
		one.Spec.Selector = map[string]string{"istio": "ingressgateway"}
		one.Spec.Servers = []*networkingapi.Server{{Hosts: []string{r.one("*", "a.example.com")}, Port: &networkingapi.Port{Number: 80, Name: "http", Protocol: "HTTP"}}}
		if r.Intn(2) == 0 {
			r.remove(one)
		} else {
			r.put(one)
		}
	case "entry":
		one := &networkingv1.ServiceEntry{ObjectMeta: meta("entry")}
		one.Spec.Hosts = []string{r.one("a.example.com", "b.example.com")}
		r.put(one)
	case "workload entry":
		one := &networkingv1.WorkloadEntry{ObjectMeta: meta("vm")}
		one.Spec.Labels = map[string]string{"app": "app", "version": version}
		r.put(one)
	case "ingress":
		one := &networkingk8s.Ingress{ObjectMeta: meta("web")}
		class := "istio"
		one.Spec.IngressClassName = &class
		one.Spec.Rules = []networkingk8s.IngressRule{{Host: r.one("a.example.com", "b.example.com"), IngressRuleValue: networkingk8s.IngressRuleValue{HTTP: &networkingk8s.HTTPIngressRuleValue{
			Paths: []networkingk8s.HTTPIngressPath{{Backend: networkingk8s.IngressBackend{Service: &networkingk8s.IngressServiceBackend{Name: service, Port: networkingk8s.ServiceBackendPort{Number: 8080}}}}},
		}}}}
		r.put(one)
	case "class":
		r.put(&networkingk8s.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "istio"}, Spec: networkingk8s.IngressClassSpec{Controller: r.one("istio.io/ingress-controller", "example.com/other")}})
	case "node":
		editStatus(r, &corev1.Node{}, "", "node-1", func(n *corev1.Node) { n.Status.Addresses[1].Address = r.one("192.0.2.7", "192.0.2.8") })
	case "ingress gateway":
		objects := ingressGateway()
		objects[1].(*corev1.Service).Spec.Ports[0].NodePort = int32(31380 + r.Intn(2))
		if at := r.Intn(2); r.Intn(2) == 0 {
			r.remove(objects[at])
		} else {
			r.put(objects[at])
		}
	case "time":
		r.time = r.time.Add(time.Duration(1+r.Intn(3600)) * time.Second)
	}
	return what
}

// After random changes, a reading that computes only what may have changed reports the same as one of everything.
func TestIncrementalReadingsReportTheSame(t *testing.T) {
	t.Parallel()
	steps := 120
	if testing.Short() {
		steps = 30
	}
	for seed := range int64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := &randomCluster{liveStage: shop(t, ingressGateway()...), Rand: rand.New(rand.NewSource(seed)), time: noon}
			r.now = func() time.Time { return r.time }
			all := seed%2 == 0
			stream, _ := r.through(interceptor.Funcs{ // so that each reading lists, and keeps the items as a watched list does
				Watch: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) (watch.Interface, error) {
					return nil, forbidden
				},
			}).watching(t.Context())
			var changes []string
			for range steps {
				changes = append(changes, r.change())
				fresh := *r.live
				want, err := fresh.status(t.Context(), all)
				if err != nil {
					t.Fatal(err)
				}
				got, err := stream.status(t.Context(), all)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(toJSON(t, want), toJSON(t, got)); diff != "" {
					t.Fatalf("after %q:\n%s", changes, diff)
				}
			}
		})
	}
}

// A reading computes again only the Services that a change concerns.
func TestIncrementalReadingsComputeWhatHasChanged(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*liveStage)
		want   []string
	}{
		"nothing":       {func(*liveStage) {}, nil},
		"an annotation": {func(s *liveStage) { s.annotate("other", "outrigger.dev/weights=v1=100") }, []string{"other"}},
		"a pod":         {func(s *liveStage) { s.setReady("app-v1", false) }, []string{"app", "app-internal"}},
		"a route by hand": {func(s *liveStage) {
			if err := s.client.Create(s.t.Context(), byHand("by-hand", "other")); err != nil {
				s.t.Fatal(err)
			}
		}, []string{"other"}},
		"the Namespace": {func(s *liveStage) { s.annotateNamespace("outrigger.dev/gateway=demo/shared") }, []string{"app", "app-internal", "other"}},
		"the status of a Deployment": {func(s *liveStage) {
			var deployment appsv1.Deployment
			if err := s.client.Get(s.t.Context(), client.ObjectKey{Namespace: "demo", Name: "app-v1"}, &deployment); err != nil {
				s.t.Fatal(err)
			}
			deployment.Status.ObservedGeneration++
			if err := s.client.Status().Update(s.t.Context(), &deployment); err != nil {
				s.t.Fatal(err)
			}
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := shop(t)
			s.kept = &incremental{}
			if _, err := s.status(t.Context(), true); err != nil {
				t.Fatal(err)
			}
			const mark = "kept"
			for key, value := range s.kept.values {
				if _, is := key.(serviceRead); is {
					one := value.value.(oneStatus)
					one.status.Default = mark
					value.value = one
				}
			}
			c.change(s)
			report, err := s.status(t.Context(), true)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, service := range report.Namespaces[0].Services {
				if service.Default != mark {
					got = append(got, service.Name)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
