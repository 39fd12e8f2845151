// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// patience is how long a test waits for an effect. It is a bound for failure, never a pause.
const patience = 90 * time.Second

// eventually asks again until the check has nothing to say.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, patience, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// during runs the check again and again until stop is closed, and reports the first thing it says.
func during(stop <-chan struct{}, check func() error) <-chan error {
	result := make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				result <- nil
				return
			default:
			}
			if err := check(); err != nil {
				result <- err
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	return result
}

// namespaces counts those that were made.
var namespaces atomic.Int32

// namespaceName is the name of a test's first namespace, with which those of its others begin.
func namespaceName(t *testing.T) string {
	name := "t-" + strings.ToLower(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.TrimPrefix(t.Name(), "Test")))
	if len(name) > 55 {
		name = name[:55]
	}
	return strings.Trim(name, "-")
}

// twoVersions creates a namespace with a Service app and ready pods of v1, its default version, and v2.
func twoVersions(t *testing.T) (ns string) {
	t.Helper()
	ns = namespace(t, injected)
	apply(t, ns, service("app")+fixed("app-v1", "app", "v1")+fixed("app-v2", "app", "v2"))
	wantRoutes(t, ns, "app", "v1=100")
	readyPods(t, ns, "app=app", 4)
	return ns
}

// namespace makes a namespace for one test, with labels as "key=value".
func namespace(t *testing.T, labels ...string) string {
	t.Helper()
	name := namespaceName(t)
	if again := namespaces.Add(1); kube.Get(t.Context(), client.ObjectKey{Name: name}, &corev1.Namespace{}) == nil {
		name = fmt.Sprintf("%s-%d", name, again)
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}}}
	for _, label := range labels {
		key, value, _ := strings.Cut(label, "=")
		ns.Labels[key] = value
	}
	if err := kube.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !t.Failed() {
			_ = kube.Delete(context.Background(), ns)
			return
		}
		out, _ := cluster.Kubectl(context.Background(), nil, "-n", ns.Name, "get", "pods,services,deployments,destinationrules,virtualservices,gateways,events", "-o", "wide")
		t.Logf("what was in namespace %s:\n%s", ns.Name, out)
	})
	return ns.Name
}

// kubectl runs kubectl as a user would and fails the test when it fails.
func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := cluster.Kubectl(t.Context(), nil, args...)
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// apply creates or updates the objects of a YAML text in a namespace.
func apply(t *testing.T, namespace, yaml string) {
	t.Helper()
	if out, err := cluster.Kubectl(t.Context(), strings.NewReader(yaml), "-n", namespace, "apply", "-f", "-"); err != nil {
		t.Fatalf("kubectl apply: %v\n%s\n%s", err, out, yaml)
	}
}

// service is a Service with one HTTP port that selects app=name and the extra labels.
func service(name string, selector ...string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: %s}
spec:
  selector: {app: %s%s}
  ports: [{name: http, port: 8080}]
---`, name, name, labelList(selector))
}

// fixed is a Deployment whose selector holds the version; rolling one whose selector does not.
func fixed(name, app, version string) string {
	return deployment(name, app, []string{"version=" + version}, []string{"version=" + version})
}

func rolling(name, app, version string, labels ...string) string {
	return deployment(name, app, []string{"track=" + name}, append([]string{"track=" + name, "version=" + version}, labels...))
}

func deployment(name, app string, selector, labels []string) string {
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: %s}
spec:
  replicas: 2
  selector: {matchLabels: {app: %s%s}}
  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}
  template:
    metadata: {labels: {app: %s%s}}
    spec:
      containers:
      - name: app
        image: registry.example/app:1
        ports: [{containerPort: 8080}]
---`, name, app, labelList(selector), app, labelList(labels))
}

func labelList(labels []string) string {
	var b strings.Builder
	for _, label := range labels {
		key, value, _ := strings.Cut(label, "=")
		fmt.Fprintf(&b, ", %s: %q", key, value)
	}
	return b.String()
}

func destinationRule(namespace, name string) (*networkingv1.DestinationRule, error) {
	out := &networkingv1.DestinationRule{}
	return out, kube.Get(context.Background(), client.ObjectKey{Namespace: namespace, Name: name}, out)
}

func virtualService(namespace, name string) (*networkingv1.VirtualService, error) {
	out := &networkingv1.VirtualService{}
	return out, kube.Get(context.Background(), client.ObjectKey{Namespace: namespace, Name: name}, out)
}

func gateway(namespace, name string) (*networkingv1.Gateway, error) {
	out := &networkingv1.Gateway{}
	return out, kube.Get(context.Background(), client.ObjectKey{Namespace: namespace, Name: name}, out)
}

// subsets returns "v1 v2", the sorted names of the subsets of a DestinationRule.
func subsets(dr *networkingv1.DestinationRule) string {
	var names []string
	for _, subset := range dr.Spec.Subsets {
		names = append(names, subset.Name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// routes returns the routes of a VirtualService, one text per rule: "v1=90 v2=10", with "-" for no subset and the
// header in front of a rule that has one, "end-user=jason: v2=100".
func routes(vs *networkingv1.VirtualService) string {
	var rules []string
	for _, http := range vs.Spec.Http {
		rule := ""
		for _, match := range http.Match {
			for header, value := range match.Headers {
				rule = header + "=" + value.GetExact() + ": "
			}
		}
		rules = append(rules, rule+destinations(http.Route))
	}
	return strings.Join(rules, "; ")
}

func destinations(list []*networking.HTTPRouteDestination) string {
	var out []string
	for _, destination := range list {
		subset := destination.Destination.Subset
		if subset == "" {
			subset = "-"
		}
		weight := destination.Weight
		if weight == 0 && len(list) == 1 {
			weight = 100
		}
		out = append(out, fmt.Sprintf("%s=%d", subset, weight))
	}
	return strings.Join(out, " ")
}

// wantSubsets and wantRoutes wait until the objects of a Service say what they should.
func wantSubsets(t *testing.T, namespace, name, want string) {
	t.Helper()
	eventually(t, "DestinationRule "+name+" has subsets "+want, func() error {
		dr, err := destinationRule(namespace, name)
		if err != nil {
			return err
		}
		if got := subsets(dr); got != want {
			return fmt.Errorf("it has %q", got)
		}
		return nil
	})
}

func wantRoutes(t *testing.T, namespace, name, want string) {
	t.Helper()
	eventually(t, "VirtualService "+name+" routes to "+want, func() error {
		vs, err := virtualService(namespace, name)
		if err != nil {
			return err
		}
		if got := routes(vs); got != want {
			return fmt.Errorf("it routes to %q", got)
		}
		return nil
	})
}

// wantAbsent waits until the object is gone.
func wantAbsent(t *testing.T, object client.Object, namespace, name string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%T %s is gone", object, name), func() error {
		err := kube.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, object)
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		return errors.New("it is there")
	})
}

// wantEvent waits for an Event with the reason on an object.
func wantEvent(t *testing.T, namespace, object, reason string) {
	t.Helper()
	eventually(t, "Event "+reason+" on "+object, func() error {
		events := &corev1.EventList{}
		if err := kube.List(t.Context(), events, client.InNamespace(namespace)); err != nil {
			return err
		}
		var seen []string
		for _, event := range events.Items {
			if event.InvolvedObject.Name == object {
				seen = append(seen, event.Reason+": "+event.Message)
				if event.Reason == reason {
					return nil
				}
			}
		}
		return fmt.Errorf("there are %q", seen)
	})
}

// readyPods waits until count pods with the label selector are there, all ready, and returns them.
func readyPods(t *testing.T, namespace, selector string, count int) []corev1.Pod {
	t.Helper()
	var pods []corev1.Pod
	eventually(t, fmt.Sprintf("%d ready pods with %s", count, selector), func() error {
		list := &corev1.PodList{}
		parsed, err := metav1.ParseToLabelSelector(selector)
		if err != nil {
			return err
		}
		labels, err := metav1.LabelSelectorAsSelector(parsed)
		if err != nil {
			return err
		}
		if err := kube.List(t.Context(), list, client.InNamespace(namespace), client.MatchingLabelsSelector{Selector: labels}); err != nil {
			return err
		}
		pods = nil
		for _, pod := range list.Items {
			if pod.DeletionTimestamp == nil && isReady(&pod) {
				pods = append(pods, pod)
			}
		}
		if len(pods) != count || len(list.Items) != count {
			return fmt.Errorf("%d of %d pods are ready", len(pods), len(list.Items))
		}
		return nil
	})
	return pods
}

func isReady(pod *corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// hasSidecar says whether the proxy is in the pod, as a container or as a native sidecar.
func hasSidecar(pod *corev1.Pod) bool {
	isProxy := func(c corev1.Container) bool { return c.Name == "istio-proxy" }
	return slices.ContainsFunc(pod.Spec.Containers, isProxy) || slices.ContainsFunc(pod.Spec.InitContainers, isProxy)
}

// versions returns the resourceVersions of a Service's objects, to see whether anything was written.
func versions(t *testing.T, namespace string) map[string]string {
	t.Helper()
	return ofObjects(t, namespace, func(meta metav1.ObjectMeta) string { return meta.ResourceVersion })
}

// generations returns the generations of a Service's objects, to see whether any spec was changed.
func generations(t *testing.T, namespace string) map[string]string {
	t.Helper()
	return ofObjects(t, namespace, func(meta metav1.ObjectMeta) string { return fmt.Sprint(meta.Generation) })
}

func ofObjects(t *testing.T, namespace string, of func(metav1.ObjectMeta) string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, list := range []client.ObjectList{&networkingv1.DestinationRuleList{}, &networkingv1.VirtualServiceList{}, &networkingv1.GatewayList{}} {
		if err := kube.List(t.Context(), list, client.InNamespace(namespace)); err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		var items struct {
			Items []struct{ Metadata metav1.ObjectMeta }
		}
		if err := json.Unmarshal(raw, &items); err != nil {
			t.Fatal(err)
		}
		for _, item := range items.Items {
			out[fmt.Sprintf("%T/%s", list, item.Metadata.Name)] = of(item.Metadata)
		}
	}
	return out
}
