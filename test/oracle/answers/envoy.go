// SPDX-License-Identifier: Apache-2.0

package answers

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"istio.io/istio/pilot/pkg/config/kube/crd"
	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/schema/collections"
	"istio.io/istio/pkg/test"
)

// envoyRequest is a cluster, Istio's objects in it, and the proxies that receive its configuration.
type envoyRequest struct {
	YAML    string            `json:"yaml"` // documents: Namespaces, Services, Pods, EndpointSlices
	Objects []json.RawMessage `json:"objects"`
	Callers []caller          `json:"callers"`
}

// envoyAnswer is what is wrong with the objects and with the configuration that istiod generates from them.
type envoyAnswer struct {
	Istio []string `json:"istio"` // errors of Istio's validation, as its webhook reports them
	Envoy []string `json:"envoy"` // violations of the rules by which Envoy accepts a configuration
	// Listeners, Clusters and Routes count the messages that were checked.
	Listeners int `json:"listeners"`
	Clusters  int `json:"clusters"`
	Routes    int `json:"routes"`
}

// envoy validates the objects as Istio's webhook does, has istiod's discovery server generate the listeners, clusters and
// routes of each caller's proxy, objects that are invalid included, and validates those as Envoy does.
func envoy(r envoyRequest) (*envoyAnswer, error) {
	objects, _, err := splitDocuments(r.YAML)
	if err != nil {
		return nil, err
	}
	answer := &envoyAnswer{Istio: []string{}, Envoy: []string{}}
	var configs []config.Config
	for _, raw := range r.Objects {
		c, err := configOf(raw, answer)
		if err != nil {
			return nil, err
		}
		configs = append(configs, *c)
	}
	err = test.Wrap(func(t test.Failer) {
		server := xds.NewFakeDiscoveryServer(t, xds.FakeOptions{KubernetesObjects: objects, Configs: configs})
		for _, from := range r.Callers {
			answer.check(server, from)
		}
	})
	return answer, err
}

// configOf reads one of Istio's objects and records what Istio's validation says about it.
func configOf(raw json.RawMessage, answer *envoyAnswer) (*config.Config, error) {
	object := &crd.IstioKind{}
	if err := json.Unmarshal(raw, object); err != nil {
		return nil, fmt.Errorf("reading an object: %w", err)
	}
	schema, known := collections.Pilot.FindByGroupVersionAliasesKind(config.FromKubernetesGVK(object.GroupVersionKind()))
	if !known {
		return nil, fmt.Errorf("%s is not one of Istio's kinds", object.GroupVersionKind())
	}
	c, err := crd.ConvertObject(schema, object, "cluster.local")
	if err != nil {
		return nil, fmt.Errorf("reading %s %s: %w", object.Kind, object.Name, err)
	}
	if _, err := schema.ValidateConfig(*c); err != nil {
		answer.Istio = append(answer.Istio, fmt.Sprintf("%s %s/%s: %v", object.Kind, object.Namespace, object.Name, err))
	}
	return c, nil
}

// check validates everything that one proxy receives.
func (a *envoyAnswer) check(server *xds.FakeDiscoveryServer, from caller) {
	node := server.SetupProxy(nodeOf(from))
	listeners, clusters := server.Listeners(node), server.Clusters(node)
	routes := server.RoutesFromListeners(node, listeners)
	inspectAll(a, "listener", listeners)
	inspectAll(a, "cluster", clusters)
	inspectAll(a, "route configuration", routes)
	a.Listeners, a.Clusters, a.Routes = a.Listeners+len(listeners), a.Clusters+len(clusters), a.Routes+len(routes)
}

// inspectAll checks messages of one type. Envoy requires that their names differ.
func inspectAll[M interface {
	proto.Message
	GetName() string
}](a *envoyAnswer, what string, messages []M) {
	seen := map[string]bool{}
	for _, message := range messages {
		where := what + " " + message.GetName()
		if seen[message.GetName()] {
			a.note(where, errors.New("another one has the same name"))
		}
		seen[message.GetName()] = true
		for _, fault := range violations(message) {
			a.note(where, fault)
		}
	}
}

// note records a violation once, however many proxies receive it.
func (a *envoyAnswer) note(where string, err error) {
	if text := strings.ToValidUTF8(where+": "+err.Error(), "\uFFFD"); !slices.Contains(a.Envoy, text) {
		a.Envoy = append(a.Envoy, text)
	}
}
