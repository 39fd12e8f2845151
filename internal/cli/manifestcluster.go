// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingk8s "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"outrigger.dev/outrigger/internal/manifest"
	"outrigger.dev/outrigger/routing"
)

// manifestCluster is the part of a cluster that manifests describe: all of it was created together, and every workload has all its
// pods ready.
type manifestCluster struct {
	created    time.Time
	namespaces map[string]*corev1.Namespace
	services   []*corev1.Service
	workloads  []manifestWorkload
	entries    []*networkingv1.WorkloadEntry
	routes     routing.Objects                 // hand-written
	managedBy  map[types.NamespacedName]string // the other routers of Services, "Rollout demo/app"

	serviceEntries []*networkingv1.ServiceEntry
	ingresses      []*networkingk8s.Ingress
	ingressClasses map[string]*networkingk8s.IngressClass
	gatewayRoutes  []*unstructured.Unstructured
	grants         []*unstructured.Unstructured
}

// manifestWorkload is a workload, ReplicaSet, or pod.
type manifestWorkload struct {
	routing.Workload
	namespace string
}

// clusterOf reads the objects that routes depend on and ignores others.
func clusterOf(objects []*manifest.Object, namespace string, created time.Time) (*manifestCluster, error) {
	c := &manifestCluster{
		created: created, namespaces: map[string]*corev1.Namespace{}, managedBy: map[types.NamespacedName]string{}, ingressClasses: map[string]*networkingk8s.IngressClass{},
	}
	if err := checkUnique(objects, namespace); err != nil {
		return nil, err
	}
	if err := addNamespaces(c.namespaces, objects); err != nil {
		return nil, err
	}
	for _, object := range objects {
		if err := c.add(object, cmp.Or(object.Namespace, namespace)); err != nil {
			return nil, err
		}
	}
	for _, service := range c.services {
		service.CreationTimestamp = metav1.NewTime(created)
	}
	for _, entry := range c.entries {
		entry.CreationTimestamp = metav1.NewTime(created)
	}
	c.dropCopies()
	return c, nil
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

// dropCopies removes Outrigger's objects for Services of the input: the plan creates them again. What a user applied over one of
// them stays.
func (c *manifestCluster) dropCopies() {
	services := map[types.NamespacedName]bool{}
	for _, service := range c.services {
		services[types.NamespacedName{Namespace: service.Namespace, Name: service.Name}] = true
	}
	isCopy := func(object routing.Object) bool {
		name, is := routing.CopyOf(object)
		return is && services[types.NamespacedName{Namespace: object.GetNamespace(), Name: name}]
	}
	c.routes = filterObjects(c.routes, func(object routing.Object) bool { return !isCopy(object) })
}

// add takes an object that is in a namespace, or none.
func (c *manifestCluster) add(object *manifest.Object, namespace string) error {
	group, _, _ := strings.Cut(object.APIVersion, "/")
	switch group + "/" + object.Kind {
	case "v1/Service":
		return decodeInto(&c.services, object, namespace)
	case "networking.istio.io/DestinationRule":
		return decodeInto(&c.routes.DestinationRules, object, namespace)
	case "networking.istio.io/VirtualService":
		return decodeInto(&c.routes.VirtualServices, object, namespace)
	case "networking.istio.io/Gateway":
		return decodeInto(&c.routes.Gateways, object, namespace)
	case "networking.istio.io/WorkloadEntry":
		return decodeInto(&c.entries, object, namespace)
	case "networking.istio.io/ServiceEntry":
		return decodeInto(&c.serviceEntries, object, namespace)
	case "networking.k8s.io/Ingress":
		return decodeInto(&c.ingresses, object, namespace)
	case "networking.k8s.io/IngressClass":
		class := &networkingk8s.IngressClass{}
		c.ingressClasses[object.Name] = class
		return decodeObject(object, class)
	}
	isOther, err := c.addOther(object, group, namespace)
	if err != nil || isOther {
		return err
	}
	return c.addWorkload(object, group, namespace)
}

// decodeInto appends the object to a list.
func decodeInto[T any, P interface {
	*T
	metav1.Object
}](list *[]P, object *manifest.Object, namespace string) error {
	typed := P(new(T))
	if err := decodeObject(object, typed); err != nil {
		return err
	}
	typed.SetNamespace(namespace)
	*list = append(*list, typed)
	return nil
}

// addOther takes an object of another controller or of Gateway API, and reports whether it is one.
func (c *manifestCluster) addOther(object *manifest.Object, group, namespace string) (bool, error) {
	isKind := func(kind routing.RouteKind) bool { return kind.Group == group && kind.Kind == object.Kind }
	routers := slices.DeleteFunc(routing.OtherRouters(), func(r routing.OtherRouter) bool { return r.Group != group || r.Kind != object.Kind })
	isRoute, isGrant := slices.ContainsFunc(routing.RouteKinds(), isKind), isKind(routing.GrantKind())
	if len(routers) == 0 && !isRoute && !isGrant {
		return false, nil
	}
	whole, err := wholeObject(object, namespace)
	if err != nil {
		return true, err
	}
	for _, router := range routers {
		for _, service := range router.ServicesOf(whole) {
			if c.managedBy[service] == "" {
				c.managedBy[service] = router.Name(whole)
			}
		}
	}
	if isRoute {
		c.gatewayRoutes = append(c.gatewayRoutes, whole)
	}
	if isGrant {
		c.grants = append(c.grants, whole)
	}
	return true, nil
}

// wholeObject reads an object of a kind that has no type here.
func wholeObject(object *manifest.Object, namespace string) (*unstructured.Unstructured, error) {
	raw, err := object.JSON()
	if err != nil {
		return nil, err
	}
	fields := map[string]any{}
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, err
	}
	whole := &unstructured.Unstructured{Object: fields}
	whole.SetNamespace(namespace)
	return whole, nil
}

// addWorkload takes an object that creates pods, or a pod, and ignores others.
func (c *manifestCluster) addWorkload(object *manifest.Object, group, namespace string) error {
	kinds := map[string]any{
		"apps/Deployment": &appsv1.Deployment{}, "apps/StatefulSet": &appsv1.StatefulSet{}, "apps/ReplicaSet": &appsv1.ReplicaSet{}, "apps/DaemonSet": &appsv1.DaemonSet{},
		"v1/Pod": &corev1.Pod{},
	}
	typed, is := kinds[group+"/"+object.Kind]
	if !is {
		return nil
	}
	if err := decodeObject(object, typed); err != nil {
		return err
	}
	found := manifestWorkload{namespace: namespace, Workload: routing.Workload{
		WorkloadRef: routing.WorkloadRef{Kind: object.Kind, Name: object.Name}, Created: c.created, Replicas: 1,
	}}
	set := func(replicas *int32, selector *metav1.LabelSelector, podLabels map[string]string) {
		found.Labels = podLabels
		if replicas != nil {
			found.Replicas = *replicas
		}
		if selector != nil {
			found.Selector = selector.MatchLabels
		}
	}
	switch o := typed.(type) {
	case *appsv1.Deployment:
		set(o.Spec.Replicas, o.Spec.Selector, o.Spec.Template.Labels)
	case *appsv1.StatefulSet:
		set(o.Spec.Replicas, o.Spec.Selector, o.Spec.Template.Labels)
	case *appsv1.ReplicaSet:
		set(o.Spec.Replicas, o.Spec.Selector, o.Spec.Template.Labels)
	case *appsv1.DaemonSet:
		set(nil, o.Spec.Selector, o.Spec.Template.Labels)
	case *corev1.Pod:
		set(nil, nil, o.Labels)
	}
	c.workloads = append(c.workloads, found)
	return nil
}
