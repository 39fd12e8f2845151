// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"unique"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// item is an object of a list that is kept.
type item interface {
	identity
	hasLabels(selector labels.Selector) bool
	// object returns the object, which must not be changed.
	object() (client.Object, error)
	// copy returns an object that the caller may change.
	copy() (client.Object, error)
}

// identity is what objects and their versions are compared by.
type identity interface {
	GetNamespace() string
	GetName() string
	GetUID() types.UID
	GetResourceVersion() string
}

// wholeItem is an object as it was decoded.
type wholeItem struct{ client.Object }

func (w wholeItem) hasLabels(selector labels.Selector) bool {
	return selector.Matches(labels.Set(w.GetLabels()))
}

func (w wholeItem) object() (client.Object, error) { return w.Object, nil }

func (w wholeItem) copy() (client.Object, error) {
	return w.DeepCopyObject().(client.Object), nil
}

// packable is an object of a built-in kind.
type packable interface {
	client.Object
	Marshal() ([]byte, error)
	Unmarshal(data []byte) error
}

// packedItem is an object of a kind of which large clusters have thousands. It is decoded each time it is read: as a Go value, a pod takes
// eight times as much memory. Equal labels and annotations are shared.
type packedItem struct {
	kind                reflect.Type // of a packable
	namespace           unique.Handle[string]
	name                string
	uid                 types.UID
	version             string // resourceVersion
	labels, annotations unique.Handle[pairs]
	rest                []byte
}

// pack returns an object without the fields that lighten removes, packed if objects of its kind are. The caller must no longer use the object.
func pack(object client.Object) (item, error) {
	lighten(object)
	switch object.(type) {
	case *corev1.Pod, *corev1.Service, *appsv1.Deployment, *appsv1.StatefulSet, *appsv1.DaemonSet:
	default:
		return wholeItem{object}, nil
	}
	out := &packedItem{
		kind: reflect.TypeOf(object), namespace: unique.Make(object.GetNamespace()), name: object.GetName(), uid: object.GetUID(), version: object.GetResourceVersion(),
		labels: unique.Make(pairsOf(object.GetLabels())), annotations: unique.Make(pairsOf(object.GetAnnotations())),
	}
	object.SetNamespace("")
	object.SetName("")
	object.SetUID("")
	object.SetResourceVersion("")
	object.SetLabels(nil)
	object.SetAnnotations(nil)
	rest, err := object.(packable).Marshal()
	if err != nil {
		return nil, fmt.Errorf("keep %s %s/%s: %w", out.kind.Elem().Name(), out.GetNamespace(), out.name, err)
	}
	out.rest = rest
	return out, nil
}

// GetNamespace implements identity, like the methods that follow.
func (p *packedItem) GetNamespace() string { return p.namespace.Value() }

// GetName returns the name of the object.
func (p *packedItem) GetName() string { return p.name }

// GetUID returns the UID of the object.
func (p *packedItem) GetUID() types.UID { return p.uid }

// GetResourceVersion returns the resourceVersion of the object.
func (p *packedItem) GetResourceVersion() string { return p.version }

func (p *packedItem) hasLabels(selector labels.Selector) bool {
	return selector.Matches(p.labels.Value())
}

func (p *packedItem) object() (client.Object, error) {
	out := reflect.New(p.kind.Elem()).Interface().(packable)
	if err := out.Unmarshal(p.rest); err != nil {
		return nil, fmt.Errorf("read the kept %s %s/%s: %w", p.kind.Elem().Name(), p.GetNamespace(), p.name, err)
	}
	out.SetNamespace(p.GetNamespace())
	out.SetName(p.name)
	out.SetUID(p.uid)
	out.SetResourceVersion(p.version)
	out.SetLabels(p.labels.Value().toMap())
	out.SetAnnotations(p.annotations.Value().toMap())
	return out, nil
}

func (p *packedItem) copy() (client.Object, error) { return p.object() }

// pairs are the labels or annotations of an object, sorted: each key and each value follows its length, because an annotation's value can
// contain every character.
type pairs string

var _ labels.Labels = pairs("")

func pairsOf(texts map[string]string) pairs {
	var out []byte
	for _, key := range slices.Sorted(maps.Keys(texts)) {
		for _, text := range []string{key, texts[key]} {
			out = append(binary.AppendUvarint(out, uint64(len(text))), text...)
		}
	}
	return pairs(out)
}

// each calls the function with each pair until it returns false.
func (p pairs) each(do func(key, value string) bool) {
	for rest := string(p); rest != ""; {
		var key, value string
		key, rest = cutText(rest)
		value, rest = cutText(rest)
		if !do(key, value) {
			return
		}
	}
}

// cutText returns the first text of pairs, and what follows.
func cutText(rest string) (text, after string) {
	length, size := binary.Uvarint([]byte(rest[:min(len(rest), binary.MaxVarintLen64)]))
	rest = rest[size:]
	return rest[:length], rest[length:]
}

// Lookup implements labels.Labels, like the methods that follow.
func (p pairs) Lookup(wanted string) (found string, exists bool) {
	p.each(func(key, value string) bool {
		if key == wanted {
			found, exists = value, true
		}
		return !exists
	})
	return found, exists
}

// Has reports whether there is a pair with the key.
func (p pairs) Has(key string) bool { _, exists := p.Lookup(key); return exists }

// Get returns the value of a key; empty if there is none.
func (p pairs) Get(key string) string { value, _ := p.Lookup(key); return value }

func (p pairs) toMap() map[string]string {
	if p == "" {
		return nil
	}
	out := map[string]string{}
	p.each(func(key, value string) bool { out[key] = value; return true })
	return out
}

// itemsOf returns the objects of a list.
func itemsOf(list client.ObjectList) ([]item, error) {
	objects, err := meta.ExtractList(list)
	if err != nil {
		return nil, err
	}
	out := make([]item, 0, len(objects))
	for _, one := range objects {
		if object, is := one.(client.Object); is {
			out = append(out, wholeItem{object})
		}
	}
	return out, nil
}

// setItems sets the items of a list.
func setItems(list client.ObjectList, items []item) error {
	objects := make([]runtime.Object, len(items))
	for i, one := range items {
		object, err := one.object()
		if err != nil {
			return err
		}
		objects[i] = object
	}
	return meta.SetList(list, objects)
}

func isPacked(one item) bool { _, is := one.(*packedItem); return is }

func compareItems(a, b item) int {
	return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
}

// keptAnnotations are the annotations of a pod that readers of watched lists read.
var keptAnnotations = []string{api.AnnotationStatus, api.KeySidecarInject}

// lighten removes fields that use much memory and that no reader of a watched list reads: managed fields, except those that reveal edits of
// Istio's objects, and most of a pod, a workload, and a Node.
func lighten(item client.Object) {
	kept := []metav1.ManagedFieldsEntry(nil)
	switch o := item.(type) {
	case *networkingv1.DestinationRule, *networkingv1.VirtualService, *networkingv1.Gateway:
		kept = routing.CompactManagedFields(item.GetManagedFields())
	case *corev1.Node:
		o.Status.Images = nil
	case *corev1.Pod:
		lightenPod(o)
	case *appsv1.Deployment:
		o.Annotations, o.OwnerReferences, o.Spec.Template.Annotations, o.Spec.Template.Spec = nil, nil, nil, corev1.PodSpec{}
		o.Status = appsv1.DeploymentStatus{}
	case *appsv1.StatefulSet:
		o.Annotations, o.OwnerReferences, o.Spec.Template.Annotations, o.Spec.Template.Spec = nil, nil, nil, corev1.PodSpec{}
		o.Spec.VolumeClaimTemplates, o.Status = nil, appsv1.StatefulSetStatus{}
	case *appsv1.DaemonSet:
		o.Annotations, o.OwnerReferences, o.Spec.Template.Annotations, o.Spec.Template.Spec = nil, nil, nil, corev1.PodSpec{}
		o.Status = appsv1.DaemonSetStatus{DesiredNumberScheduled: o.Status.DesiredNumberScheduled}
	}
	item.SetManagedFields(kept)
}

func lightenPod(pod *corev1.Pod) {
	pod.OwnerReferences = slices.DeleteFunc(pod.OwnerReferences, func(owner metav1.OwnerReference) bool { return !ptr.Deref(owner.Controller, false) })
	for i, owner := range pod.OwnerReferences {
		pod.OwnerReferences[i] = metav1.OwnerReference{Kind: owner.Kind, Name: owner.Name, Controller: owner.Controller}
	}
	maps.DeleteFunc(pod.Annotations, func(key, _ string) bool { return !slices.Contains(keptAnnotations, key) })
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i, c := range containers {
			containers[i] = corev1.Container{Name: c.Name, Image: c.Image}
		}
	}
	pod.Spec = corev1.PodSpec{InitContainers: pod.Spec.InitContainers, Containers: pod.Spec.Containers, HostNetwork: pod.Spec.HostNetwork, OS: pod.Spec.OS}
	for _, statuses := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i, s := range statuses {
			statuses[i] = corev1.ContainerStatus{Name: s.Name, RestartCount: s.RestartCount}
		}
	}
	pod.Status = corev1.PodStatus{
		Phase:                 pod.Status.Phase,
		Conditions:            slices.DeleteFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type != corev1.PodReady }),
		InitContainerStatuses: pod.Status.InitContainerStatuses, ContainerStatuses: pod.Status.ContainerStatuses,
	}
}
