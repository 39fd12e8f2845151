// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// The callers: a sidecar beside the application, one in another namespace, and the ingress gateway.
var (
	beside    = Caller{Namespace: "demo", Address: "10.9.0.1", Labels: map[string]string{"app": "caller"}}
	elsewhere = Caller{Namespace: "other", Address: "10.9.0.2", Labels: map[string]string{"app": "caller"}}
	ingress   = Caller{Gateway: true, Namespace: "istio-system", Address: "10.9.0.3", Labels: map[string]string{"istio": "ingressgateway"}}
)

// surroundings are the parts of a cluster that every state has.
const surroundings = mesh + `---
apiVersion: v1
kind: Namespace
metadata: {name: demo, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: Namespace
metadata: {name: other, labels: {istio-injection: enabled}}
`

// addressBook gives each pod an address and knows whose an address is.
type addressBook struct {
	next     int
	of       map[string]string // by pod
	versions map[string]string // by address
}

func newAddressBook() *addressBook {
	return &addressBook{of: map[string]string{}, versions: map[string]string{}}
}

func (b *addressBook) address(pod, version string) string {
	if b.of[pod] == "" {
		b.next++
		b.of[pod] = fmt.Sprintf("10.1.%d.%d", b.next/250, b.next%250+1)
	}
	if version == "" {
		version = "unversioned"
	}
	b.versions[b.of[pod]] = version
	return b.of[pod]
}

// running returns the Service, the pods behind it and its EndpointSlice, as documents. Labels of the pods are those of the
// selector and the version label.
func (b *addressBook) running(service *corev1.Service, versionLabel string, groups []routing.PodGroup) ([]string, error) {
	service = service.DeepCopy()
	service.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}
	// Istiod reads no annotation of ours, and a fuzzer's has characters that YAML does not allow.
	maps.DeleteFunc(service.Annotations, func(key, _ string) bool { return strings.HasPrefix(key, api.Domain+"/") })
	slice := &discoveryv1.EndpointSlice{
		TypeMeta: metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"},
		ObjectMeta: metav1.ObjectMeta{
			Name: service.Name + "-1", Namespace: service.Namespace, Labels: map[string]string{discoveryv1.LabelServiceName: service.Name},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	for i := range service.Spec.Ports {
		port := &service.Spec.Ports[i]
		port.Protocol = cmp.Or(port.Protocol, corev1.ProtocolTCP)
		target := port.TargetPort.IntVal
		if target == 0 {
			target = 8000 + int32(i)
			port.TargetPort = intstr.FromInt32(target)
		}
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &port.Name, Port: &target, Protocol: &port.Protocol})
	}
	objects := []any{service}
	for _, group := range groups {
		labels := maps.Clone(service.Spec.Selector)
		if group.Version != "" {
			labels[versionLabel] = group.Version
		}
		for i := range group.Pods {
			pod := &corev1.Pod{
				TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
				ObjectMeta: metav1.ObjectMeta{Namespace: service.Namespace, Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "registry.example/app:1"}}},
			}
			pod.Name = strings.ToLower(fmt.Sprintf("%s-%s-%d", group.Workload.Name, strings.ReplaceAll(group.Version, "_", "-"), i))
			address := b.address(pod.Name, group.Version)
			ready := i < group.Ready
			status := corev1.ConditionFalse
			if ready {
				status = corev1.ConditionTrue
			}
			pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: address, PodIPs: []corev1.PodIP{{IP: address}},
				Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: status}}}
			slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
				Addresses: []string{address}, Conditions: discoveryv1.EndpointConditions{Ready: &ready},
				TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: service.Namespace, Name: pod.Name},
			})
			objects = append(objects, pod)
		}
	}
	return documentsOf(append(objects, slice))
}

func documentsOf[T any](objects []T) ([]string, error) {
	var out []string
	for _, object := range objects {
		document, err := yaml.Marshal(object)
		if err != nil {
			return nil, err
		}
		out = append(out, string(document))
	}
	return out, nil
}

// shares says which versions receive which percentage of a call: "v1=90 v2=10", "v1" for all of it. "none" stands for what
// finds no pod, "missing" for what finds no cluster.
func (b *addressBook) shares(portions []Portion) map[string]float64 {
	out := map[string]float64{}
	for _, p := range portions {
		switch {
		case p.Missing:
			out["missing"] += p.Percent
		case len(p.Endpoints) == 0:
			out["none"] += p.Percent
		}
		for _, address := range p.Endpoints {
			if !p.Missing {
				out[cmp.Or(b.versions[address], address)] += p.Percent / float64(len(p.Endpoints))
			}
		}
	}
	return out
}

func (b *addressBook) text(o Outcome) string {
	if o.Refused != "" {
		return "refused"
	}
	return sharesText(b.shares(o.To))
}

func sharesText(shares map[string]float64) string {
	var out []string
	for _, version := range slices.Sorted(maps.Keys(shares)) {
		if shares[version] > 99.99 {
			return version
		}
		out = append(out, fmt.Sprintf("%s=%v", version, math.Round(10*shares[version])/10))
	}
	return strings.Join(out, " ")
}
