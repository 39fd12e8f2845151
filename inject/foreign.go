// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
)

// ForeignProxy returns a Problem if the pod claims to be injected, but its proxy's image is from another repository than the one
// that injection would use. It returns nil if the pod makes no such claim, has no proxy, or has the expected proxy in any release.
// A custom image is expected if sidecar.istio.io/proxyImage or a recorded container sets it. An error is not caused by the user.
func ForeignProxy(request Request, config *Config) (*api.InjectProblem, error) {
	claim, claims := request.Pod.Annotations[api.AnnotationStatus]
	proxy := findProxy(request.Pod)
	if !claims || proxy == nil || config.unavailable != nil {
		return nil, nil
	}
	foreign := func(format string, args ...any) *api.InjectProblem {
		problem := problemOf(request.Pod, api.InjectForeignProxy, api.AnnotationField(api.AnnotationStatus), claim,
			"the annotation claims that the pod is injected; "+fmt.Sprintf(format, args...)+".", api.InjectForeignProxy.Advice())
		return &problem
	}
	created, _, _, err := Uninject(request.Pod)
	if err != nil {
		return foreign("invalid JSON: %v", err), nil
	}
	created = AsCreated(created)
	if !recordsProxy(request.Pod) {
		removeProxy(&created.Spec)
	}
	expected, _, err := config.inject(Request{Pod: created, Namespace: request.Namespace, Path: request.Path})
	var refusal *refusal
	if errors.As(err, &refusal) {
		return foreign("injection would refuse it: %s", strings.TrimSuffix(refusal.Error(), ".")), nil
	}
	if err != nil {
		return nil, fmt.Errorf("rendering the expected proxy of %s: %w", PodRef(request.Pod), err)
	}
	given := findProxy(expected)
	switch {
	case given == nil:
		return foreign("injection would give this pod no container %s", proxyName), nil
	case !sameImage(repositoryOf(proxy.Image), repositoryOf(given.Image)):
		return foreign("its container %s runs image %s, but injection would use %s", proxyName, proxy.Image, given.Image), nil
	}
	return nil, nil
}

// recordsProxy reports whether an injector recorded a proxy container that the pod's author defined.
func recordsProxy(pod *corev1.Pod) bool {
	var recorded overrides
	if err := json.Unmarshal([]byte(pod.Annotations[annotationOverrides]), &recorded); err != nil {
		return false
	}
	return findContainer(recorded.Containers, proxyName) != nil || findContainer(recorded.InitContainers, proxyName) != nil
}

func removeProxy(spec *corev1.PodSpec) {
	isProxy := func(c corev1.Container) bool { return c.Name == proxyName }
	spec.Containers = slices.DeleteFunc(spec.Containers, isProxy)
	spec.InitContainers = slices.DeleteFunc(spec.InitContainers, isProxy)
}

// repositoryOf returns an image reference without its tag and digest.
func repositoryOf(image string) string {
	image, _, _ = strings.Cut(image, "@")
	if colon := strings.LastIndex(image, ":"); colon > strings.LastIndex(image, "/") {
		image = image[:colon]
	}
	return image
}
