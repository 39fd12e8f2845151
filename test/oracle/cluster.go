// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"outrigger.dev/outrigger/internal/manifest"
)

// mesh is what surrounds an application in a cluster with Istio: the root namespace and the ingress gateway.
const mesh = `apiVersion: v1
kind: Namespace
metadata: {name: istio-system}
---
apiVersion: v1
kind: Service
metadata: {name: istio-ingressgateway, namespace: istio-system, labels: {istio: ingressgateway}}
spec:
  clusterIP: 10.8.0.1
  selector: {istio: ingressgateway}
  ports:
  - {name: http2, port: 80, targetPort: 80, protocol: TCP}
  - {name: http-8066, port: 8066, targetPort: 8066, protocol: TCP}
  - {name: https, port: 443, targetPort: 443, protocol: TCP}
  - {name: https-8443, port: 8443, targetPort: 8443, protocol: TCP}
---
apiVersion: v1
kind: Pod
metadata: {name: istio-ingressgateway-1, namespace: istio-system, labels: {istio: ingressgateway}}
spec: {containers: [{name: istio-proxy, image: "registry.example/istio/proxyv2:1.31.1"}]}
status: {phase: Running, podIP: 10.9.0.3, podIPs: [{ip: 10.9.0.3}], conditions: [{type: Ready, status: "True"}]}
`

// Cluster returns the YAML documents of a settled cluster for AnalyzeYAML: Istio with its ingress gateway, the
// namespace, labeled for injection where the manifest does not hold it, the objects of an application's manifest, in that
// namespace where they name none, a running, injected pod for each of its pod templates, and the objects that were made
// for it (any type that encodes as a Kubernetes object). The Secrets of
// gatewayCertificates beside the gateway have certificates.
func Cluster(namespace string, application []byte, made ...any) (string, error) {
	documents := []string{mesh}
	stream, err := manifest.Read(bytes.NewReader(application))
	if err != nil {
		return "", err
	}
	if !slices.ContainsFunc(stream.Objects(), func(o *manifest.Object) bool { return o.Kind == "Namespace" }) {
		documents = append(documents, fmt.Sprintf(
			"apiVersion: v1\nkind: Namespace\nmetadata: {name: %s, labels: {istio-injection: enabled}}\n", namespace))
	}
	add := func(object any) error {
		document, err := yaml.Marshal(object)
		documents = append(documents, string(document))
		return err
	}
	for _, object := range stream.Objects() {
		fields, err := within(namespace, object)
		if err != nil {
			return "", err
		}
		if err := add(fields); err != nil {
			return "", err
		}
		running, err := podOf(namespace, object)
		if err != nil {
			return "", err
		}
		if running == nil {
			continue
		}
		if err := add(running); err != nil {
			return "", err
		}
	}
	for _, name := range gatewayCertificates {
		certificate, err := gatewayCertificate(name)
		if err != nil {
			return "", err
		}
		made = append(made, certificate)
	}
	for _, object := range made {
		if err := add(object); err != nil {
			return "", err
		}
	}
	return strings.Join(documents, "---\n"), nil
}

// within returns the object's fields with a namespace and, as the API server does, the protocol of a Service's ports.
func within(namespace string, object *manifest.Object) (map[string]any, error) {
	raw, err := object.JSON()
	if err != nil {
		return nil, err
	}
	var fields map[string]any
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, fmt.Errorf("%s: %w", object, err)
	}
	if metadata, ok := fields["metadata"].(map[string]any); ok && metadata["namespace"] == nil && object.Kind != "Namespace" {
		metadata["namespace"] = namespace
	}
	spec, _ := fields["spec"].(map[string]any)
	if ports, ok := spec["ports"].([]any); ok && object.Kind == "Service" {
		for _, entry := range ports {
			if port, ok := entry.(map[string]any); ok && port["protocol"] == nil {
				port["protocol"] = "TCP"
			}
		}
	}
	return fields, nil
}

// podOf returns a running pod of the workload, with a proxy in it, or nil if the object is no workload.
func podOf(namespace string, object *manifest.Object) (*corev1.Pod, error) {
	template, err := object.Template()
	if err != nil || template == nil || object.Kind == "Pod" {
		return nil, err
	}
	raw, err := template.JSON()
	if err != nil {
		return nil, err
	}
	var pod corev1.Pod
	if err := json.Unmarshal(raw, &pod); err != nil {
		return nil, fmt.Errorf("%s: %w", object, err)
	}
	pod.APIVersion, pod.Kind = "v1", "Pod"
	pod.Name, pod.Namespace = object.Name+"-7d4b9c6f5d-x7k2p", namespace
	pod.Spec.Containers = append(pod.Spec.Containers,
		corev1.Container{Name: "istio-proxy", Image: "registry.example/istio/proxyv2:1.31.1"})
	pod.Status.Phase = corev1.PodRunning
	return &pod, nil
}
