// SPDX-License-Identifier: Apache-2.0

package podindex

import (
	"maps"
	"slices"
	"strings"
	"unique"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
)

// sidecarShape holds the fields that, with the labels, show whether a pod has the sidecar that it should have. Routes do not depend
// on it.
type sidecarShape struct {
	annotations string // those of Istio, "key\x00value\x00" each, sorted
	image       string // of the proxy; empty if there is none
	os          corev1.OSName
	native      bool // the proxy is an init container
	hostNetwork bool
}

// noSidecar is the shape of a pod without any of this.
var noSidecar = unique.Make(sidecarShape{})

func sidecarOf(pod *corev1.Pod) unique.Handle[sidecarShape] {
	out := sidecarShape{hostNetwork: pod.Spec.HostNetwork}
	if pod.Spec.OS != nil {
		out.os = pod.Spec.OS.Name
	}
	isProxy := func(c corev1.Container) bool { return c.Name == api.ProxyContainer }
	if at := slices.IndexFunc(pod.Spec.InitContainers, isProxy); at >= 0 {
		out.image, out.native = pod.Spec.InitContainers[at].Image, true
	}
	if at := slices.IndexFunc(pod.Spec.Containers, isProxy); at >= 0 {
		out.image, out.native = pod.Spec.Containers[at].Image, false
	}
	var annotations strings.Builder
	for _, key := range slices.Sorted(maps.Keys(pod.Annotations)) {
		if strings.Contains(key, "istio.io/") {
			annotations.WriteString(key + "\x00" + pod.Annotations[key] + "\x00")
		}
	}
	out.annotations = annotations.String()
	if out == (sidecarShape{}) {
		return noSidecar // the most common one where nothing is injected
	}
	return unique.Make(out)
}

// pod returns a pod of this shape with its namespace, labels, annotations of Istio, network, and operating system, and with the
// image of the proxy if it has one.
func (s *Shape) pod() *corev1.Pod {
	sidecar := s.sidecar.Value()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace.Value(), Labels: s.Labels()},
		Spec:       corev1.PodSpec{HostNetwork: sidecar.hostNetwork, Containers: []corev1.Container{{Name: "app"}}},
	}
	if sidecar.os != "" {
		pod.Spec.OS = &corev1.PodOS{Name: sidecar.os}
	}
	proxy := corev1.Container{Name: api.ProxyContainer, Image: sidecar.image}
	switch {
	case sidecar.native:
		pod.Spec.InitContainers = []corev1.Container{proxy}
	case sidecar.image != "":
		pod.Spec.Containers = append(pod.Spec.Containers, proxy)
	}
	words := strings.Split(sidecar.annotations, "\x00")
	for i := 0; i+1 < len(words); i += 2 {
		metav1.SetMetaDataAnnotation(&pod.ObjectMeta, words[i], words[i+1])
	}
	return pod
}

// Kinds returns the kinds of all unfinished pods. It returns false until the first list is complete.
func (s *Index) Kinds() ([]api.PodKind, bool) {
	s.mutex.RLock()
	defer s.mutex.RUnlock()
	if !s.filled {
		return nil, false
	}
	var out []api.PodKind
	for _, namespace := range s.namespaces {
		for _, shape := range namespace.shapes {
			kind := api.PodKind{ID: shape, Pod: shape.pod}
			for _, member := range shape.members {
				if !member.ending {
					kind.Pods++
				}
			}
			out = append(out, kind)
		}
	}
	return out, true
}
