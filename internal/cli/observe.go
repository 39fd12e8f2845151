// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/manifest"
	"outrigger.dev/outrigger/routing"
)

// world is what the input says of a cluster: as if all of it had been created together, and every workload had all its
// pods ready.
type world struct {
	created    time.Time
	namespaces map[string]*corev1.Namespace
	services   []*corev1.Service
	workloads  []workload
	entries    []*networkingv1.WorkloadEntry
	foreign    routing.Objects                 // hand-written routes
	takers     map[types.NamespacedName]string // what takes a Service, "Rollout demo/app"
	paths      worldPaths
}

// workload is one that makes pods behind Services.
type workload struct {
	routing.Workload
	namespace string
}

// worldOf reads the objects that routes depend on; others do not matter.
func worldOf(objects []*manifest.Object, namespace string, created time.Time) (*world, error) {
	w := &world{created: created, takers: map[types.NamespacedName]string{}, namespaces: map[string]*corev1.Namespace{}}
	if err := checkUnique(objects, namespace); err != nil {
		return nil, err
	}
	if err := addNamespaces(w.namespaces, objects); err != nil {
		return nil, err
	}
	for _, object := range objects {
		if err := w.add(object, namespace); err != nil {
			return nil, err
		}
	}
	w.dropCopies()
	return w, nil
}

// checkUnique fails if the input has an object twice: which of the two is meant is unknown.
func checkUnique(objects []*manifest.Object, namespace string) error {
	first := map[string]*manifest.Object{}
	for _, object := range objects {
		if object.Name == "" {
			continue // generateName
		}
		group, _, _ := strings.Cut(object.APIVersion, "/")
		key := strings.Join([]string{group, object.Kind, cmp.Or(object.Namespace, namespace), object.Name}, " ")
		if other := first[key]; other != nil {
			return fmt.Errorf("%s %s is in the input twice: in %s and in %s; leave one out", object.Kind, object.Name, other.Where, object.Where)
		}
		first[key] = object
	}
	return nil
}

// dropCopies removes Outrigger's own objects for Services of the input: the plan creates them again. What a user applied over one of
// them stays.
func (w *world) dropCopies() {
	services := map[types.NamespacedName]bool{}
	for _, service := range w.services {
		services[types.NamespacedName{Namespace: service.Namespace, Name: service.Name}] = true
	}
	isCopy := func(object routing.Object) bool {
		name, is := routing.CopyOf(object)
		return is && services[types.NamespacedName{Namespace: object.GetNamespace(), Name: name}]
	}
	w.foreign = routing.Objects{
		DestinationRules: without(w.foreign.DestinationRules, isCopy), VirtualServices: without(w.foreign.VirtualServices, isCopy), Gateways: without(w.foreign.Gateways, isCopy),
	}
}

func without[T routing.Object](list []T, remove func(routing.Object) bool) []T {
	return slices.DeleteFunc(list, func(object T) bool { return remove(object) })
}

func (w *world) add(object *manifest.Object, namespace string) error {
	if object.Namespace != "" {
		namespace = object.Namespace
	}
	group, _, _ := strings.Cut(object.APIVersion, "/")
	switch group + "/" + object.Kind {
	case "v1/Service":
		service := &corev1.Service{}
		if err := decodeObject(object, service); err != nil {
			return err
		}
		service.Namespace, service.CreationTimestamp = namespace, metav1.NewTime(w.created)
		w.services = append(w.services, service)
	case "networking.istio.io/DestinationRule":
		rule := &networkingv1.DestinationRule{}
		if err := decodeObject(object, rule); err != nil {
			return err
		}
		rule.Namespace = namespace
		w.foreign.DestinationRules = append(w.foreign.DestinationRules, rule)
	case "networking.istio.io/VirtualService":
		virtual := &networkingv1.VirtualService{}
		if err := decodeObject(object, virtual); err != nil {
			return err
		}
		virtual.Namespace = namespace
		w.foreign.VirtualServices = append(w.foreign.VirtualServices, virtual)
	case "networking.istio.io/Gateway":
		gateway := &networkingv1.Gateway{}
		if err := decodeObject(object, gateway); err != nil {
			return err
		}
		gateway.Namespace = namespace
		w.foreign.Gateways = append(w.foreign.Gateways, gateway)
	case "networking.istio.io/WorkloadEntry":
		entry := &networkingv1.WorkloadEntry{}
		if err := decodeObject(object, entry); err != nil {
			return err
		}
		entry.Namespace, entry.CreationTimestamp = namespace, metav1.NewTime(w.created)
		w.entries = append(w.entries, entry)
	default:
		isPath, err := w.paths.add(object, group, namespace)
		if err != nil {
			return err
		}
		if taker, is := takerOf(group, object.Kind); is {
			return w.addTaker(taker, object, namespace)
		}
		if isPath {
			return nil
		}
		return w.addWorkload(object, namespace)
	}
	return nil
}

func takerOf(group, kind string) (routing.OtherRouter, bool) {
	for _, taker := range routing.OtherRouters() {
		if taker.Group == group && taker.Kind == kind {
			return taker, true
		}
	}
	return routing.OtherRouter{}, false
}

// addTaker notes the Services that an object of another controller takes.
func (w *world) addTaker(taker routing.OtherRouter, object *manifest.Object, namespace string) error {
	whole, err := wholeObject(object, namespace)
	if err != nil {
		return err
	}
	for _, service := range taker.ServicesOf(whole) {
		if w.takers[service] == "" {
			w.takers[service] = taker.Name(whole)
		}
	}
	return nil
}

func (w *world) addWorkload(object *manifest.Object, namespace string) error {
	found := workload{namespace: namespace, Workload: routing.Workload{
		WorkloadRef: routing.WorkloadRef{Kind: object.Kind, Name: object.Name}, Created: w.created, Replicas: 1,
	}}
	var replicas *int32
	var selector *metav1.LabelSelector
	group, _, _ := strings.Cut(object.APIVersion, "/")
	switch group + "/" + object.Kind {
	case "apps/Deployment":
		typed := &appsv1.Deployment{}
		if err := decodeObject(object, typed); err != nil {
			return err
		}
		replicas, selector, found.Labels = typed.Spec.Replicas, typed.Spec.Selector, typed.Spec.Template.Labels
	case "apps/StatefulSet":
		typed := &appsv1.StatefulSet{}
		if err := decodeObject(object, typed); err != nil {
			return err
		}
		replicas, selector, found.Labels = typed.Spec.Replicas, typed.Spec.Selector, typed.Spec.Template.Labels
	case "apps/ReplicaSet":
		typed := &appsv1.ReplicaSet{}
		if err := decodeObject(object, typed); err != nil {
			return err
		}
		replicas, selector, found.Labels = typed.Spec.Replicas, typed.Spec.Selector, typed.Spec.Template.Labels
	case "apps/DaemonSet":
		typed := &appsv1.DaemonSet{}
		if err := decodeObject(object, typed); err != nil {
			return err
		}
		selector, found.Labels = typed.Spec.Selector, typed.Spec.Template.Labels
	case "v1/Pod":
		typed := &corev1.Pod{}
		if err := decodeObject(object, typed); err != nil {
			return err
		}
		found.Labels = typed.Labels
	default:
		return nil
	}
	if replicas != nil {
		found.Replicas = *replicas
	}
	if selector != nil {
		found.Selector = selector.MatchLabels
	}
	w.workloads = append(w.workloads, found)
	return nil
}

// observed gathers what one plan depends on, as the controller gathers it from a cluster.
func (w *world) observed(service *corev1.Service, intent api.RouteIntent, settings api.RoutingSettings, index *worldIndex) (routing.Observed, error) {
	observed := routing.Observed{
		Service: service, Namespace: w.namespaces[service.Namespace], Intent: intent, Settings: settings,
		ServiceNames: index.services[service.Namespace], RootNamespace: "istio-system",
		Ambient:   w.namespaces[service.Namespace].Labels["istio.io/dataplane-mode"] == "ambient",
		ManagedBy: w.takers[types.NamespacedName{Namespace: service.Namespace, Name: service.Name}],
	}
	var err error
	if observed.Foreign, err = index.concerning(&observed); err != nil {
		return observed, err
	}
	w.paths.into(&observed, index)
	if root := w.namespaces[observed.RootNamespace]; root != nil {
		observed.MultiCluster = root.Labels["topology.istio.io/network"] != ""
	}
	selected := index.selectedBy(service)
	for _, found := range selected { // no route exists yet, so no other workload matters
		if slices.Contains([]string{"Deployment", "StatefulSet", "DaemonSet"}, found.Kind) {
			observed.Workloads = append(observed.Workloads, found.Workload)
		}
	}
	observed.Pods = w.podsOf(service, selected, index, intent.VersionLabel)
	for _, label := range routing.UntriedVersionLabels(observed) {
		routing.NoteVersionLabel(&observed, label, w.podsOf(service, selected, index, label))
	}
	slices.SortFunc(observed.Workloads, func(a, b routing.Workload) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	return observed, nil
}

// podsOf are the pods that a Service selects, by workload and by the version that a label names.
func (w *world) podsOf(service *corev1.Service, selected []workload, index *worldIndex, versionLabel string) []routing.PodGroup {
	var out []routing.PodGroup
	for _, found := range selected {
		if found.Replicas == 0 {
			continue
		}
		out = append(out, routing.PodGroup{
			Workload: found.WorkloadRef, Version: found.Labels[versionLabel],
			Pods: int(found.Replicas), Ready: int(found.Replicas), Created: w.created,
		})
	}
	entries := index.entries.candidates(service.Namespace, service.Spec.Selector)
	out = append(out, routing.GroupEntries(entries, service.Spec.Selector, versionLabel)...)
	slices.SortFunc(out, func(a, b routing.PodGroup) int {
		return cmp.Or(cmp.Compare(a.Workload.Kind, b.Workload.Kind), cmp.Compare(a.Workload.Name, b.Workload.Name), cmp.Compare(a.Version, b.Version))
	})
	return out
}

func sortByName[T routing.Object](objects []T) {
	slices.SortFunc(objects, func(a, b T) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
}
