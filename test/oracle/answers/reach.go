// SPDX-License-Identifier: Apache-2.0

package answers

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"

	"istio.io/istio/pilot/pkg/config/kube/crd"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/test"
)

// reachRequest is the whole state of a cluster, and the calls that are made in it.
type reachRequest struct {
	YAML  string `json:"yaml"` // documents: Namespaces, Services, Pods, EndpointSlices, and Istio's objects
	Calls []call `json:"calls"`
}

// call is one request or connection, made by a proxy.
type call struct {
	From    caller            `json:"from"`
	Address string            `json:"address,omitempty"` // that the caller connects to: a cluster IP; not for a gateway
	Port    uint32            `json:"port"`
	TCP     bool              `json:"tcp,omitempty"` // the caller speaks no HTTP; the fields below do not count
	Host    string            `json:"host,omitempty"`
	Path    string            `json:"path,omitempty"` // with its query; "/" if empty
	Headers map[string]string `json:"headers,omitempty"`
}

// caller is the pod whose proxy makes a call.
type caller struct {
	Gateway   bool              `json:"gateway,omitempty"` // an ingress gateway, not a sidecar
	Namespace string            `json:"namespace"`
	Address   string            `json:"address"`
	Labels    map[string]string `json:"labels,omitempty"`
}

// reachAnswer holds what comes of each call, in order.
type reachAnswer struct {
	Outcomes []outcome `json:"outcomes"`
}

// outcome says where a call goes.
type outcome struct {
	// Refused says why it goes nowhere: no listener, no route, an answer by the proxy itself. Empty otherwise.
	Refused string    `json:"refused,omitempty"`
	Rule    string    `json:"rule,omitempty"` // name of the route that it takes
	Path    string    `json:"path,omitempty"` // as the pod receives it
	To      []portion `json:"to,omitempty"`
	Mirrors []portion `json:"mirrors,omitempty"`
}

// portion is a cluster of Envoy's and its part of the calls.
type portion struct {
	Cluster string  `json:"cluster"`
	Percent float64 `json:"percent"`
	// Missing is true if the proxy has no such cluster: every call fails, "NC" in Envoy's log.
	Missing bool `json:"missing,omitempty"`
	// Endpoints are the addresses that take calls; none: every call fails, "UH" in Envoy's log.
	Endpoints []string `json:"endpoints"`
	SetCookie string   `json:"setCookie,omitempty"` // added to the answer
}

// reach starts istiod's discovery server over the state and follows each call through what it sends to the caller's
// proxy: listener, route, cluster, endpoints.
func reach(r reachRequest) (*reachAnswer, error) {
	objects, documents, err := splitDocuments(r.YAML)
	if err != nil {
		return nil, err
	}
	configs, _, err := crd.ParseInputs(documents)
	if err != nil {
		return nil, fmt.Errorf("reading Istio's objects: %w", err)
	}
	for i := range configs {
		configs[i].Domain = "cluster.local" // short names are completed by it
	}
	answer := &reachAnswer{}
	err = test.Wrap(func(t test.Failer) {
		server := xds.NewFakeDiscoveryServer(t, xds.FakeOptions{KubernetesObjects: objects, Configs: configs})
		proxies := map[string]*proxy{}
		for _, c := range r.Calls {
			key := fmt.Sprint(c.From)
			if proxies[key] == nil {
				proxies[key] = newProxy(t, server, c.From)
			}
			answer.Outcomes = append(answer.Outcomes, proxies[key].follow(c))
		}
	})
	return answer, err
}

// splitDocuments parts what the Kubernetes registry reads from Istio's configuration.
func splitDocuments(documents string) ([]runtime.Object, string, error) {
	var objects []runtime.Object
	var configs []string
	for _, document := range strings.Split(documents, "\n---\n") {
		if strings.Contains(document, "apiVersion: networking.istio.io/") {
			configs = append(configs, document)
			continue
		}
		object, _, err := scheme.Codecs.UniversalDeserializer().Decode([]byte(document), nil, nil)
		if err != nil {
			return nil, "", fmt.Errorf("reading the documents: %w", err)
		}
		switch object.(type) {
		case *corev1.Namespace, *corev1.Service, *corev1.Pod, *corev1.Node, *discoveryv1.EndpointSlice:
			objects = append(objects, object)
		}
	}
	return objects, strings.Join(configs, "\n---\n"), nil
}

// nodeOf returns the caller as its proxy introduces itself to istiod.
func nodeOf(from caller) *model.Proxy {
	node := &model.Proxy{
		Type: model.SidecarProxy, ConfigNamespace: from.Namespace, Labels: from.Labels, IPAddresses: []string{from.Address},
		ID: "caller." + from.Namespace, Metadata: &model.NodeMetadata{Namespace: from.Namespace, Labels: from.Labels, IstioVersion: "1.31.0"},
	}
	if from.Gateway {
		node.Type = model.Router
	}
	return node
}

// newProxy makes the caller's proxy with everything that the server sends to it.
func newProxy(t test.Failer, server *xds.FakeDiscoveryServer, from caller) *proxy {
	node := server.SetupProxy(nodeOf(from))
	p := &proxy{t: t, gateway: from.Gateway, listeners: server.Listeners(node), endpoints: map[string][]string{}}
	p.clusters = server.Clusters(node)
	p.routes = server.RoutesFromListeners(node, p.listeners)
	for _, assignment := range server.Endpoints(node) {
		p.endpoints[assignment.ClusterName] = takingCalls(assignment)
	}
	return p
}
