// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/types/known/wrapperspb"
	networkingapi "istio.io/api/networking/v1beta1"
	networkingv1beta1 "istio.io/client-go/pkg/apis/networking/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// shown makes a configuration whose proxy's image shows all that a pod depends on: the template's word, a value, the mesh
// and the effective ProxyConfig.
func shown(word string) string {
	return goodConfig(word + "/{{ .Values.global.hub }}/{{ .MeshConfig.TrustDomain }}/{{ .ProxyConfig.Concurrency.GetValue }}")
}

// TestEverySourceIsFollowed changes each in turn and sees the pod change in that alone.
func TestEverySourceIsFollowed(t *testing.T) {
	injector := func(word, hub string) func(c *cluster) {
		return func(c *cluster) {
			c.set(t, configMap("istio-system", "istio-sidecar-injector", map[string]string{
				"config": shown(word), "values": fmt.Sprintf(`{"global":{"hub":%q,"proxy":{},"proxy_init":{}}}`, hub),
			}))
		}
	}
	mesh := func(domain string) func(c *cluster) {
		return func(c *cluster) {
			c.set(t, configMap("istio-system", "istio", map[string]string{"mesh": "trustDomain: " + domain + "\n"}))
		}
	}
	c := newCluster()
	injector("a", "hub1")(c)
	mesh("one")(c)
	configuration := c.started(t)
	becomes(t, configuration, "injected a/hub1/one/0")
	becomes(t, configuration, "injected b/hub1/one/0", func() { injector("b", "hub1")(c) })
	becomes(t, configuration, "injected b/hub2/one/0", func() { injector("b", "hub2")(c) })
	becomes(t, configuration, "injected b/hub2/two/0", func() { mesh("two")(c) })

	crd := &metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition"},
		ObjectMeta: metav1.ObjectMeta{Name: proxyConfigCRD},
	}
	resource := &networkingv1beta1.ProxyConfig{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "p"}}
	resource.Spec = networkingapi.ProxyConfig{Concurrency: wrapperspb.Int32(4)}
	becomes(t, configuration, "injected b/hub2/two/4", func() {
		crds := schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
		if err := c.metadata.Tracker().Create(crds, crd, ""); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
		if err := c.metadata.Tracker().Update(crds, crd, ""); err != nil {
			t.Fatal(err)
		}
		proxyConfigs := c.istio.NetworkingV1beta1().ProxyConfigs("demo")
		if _, err := proxyConfigs.Create(t.Context(), resource, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
		if _, err := proxyConfigs.Update(t.Context(), resource, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	})
}

// TestABadPartRefusesTheWhole: new templates never run with old values, nor with an old mesh.
func TestABadPartRefusesTheWhole(t *testing.T) {
	const goodValues, goodMesh = `{"global":{"hub":"hub1","proxy":{},"proxy_init":{}}}`, "trustDomain: one\n"
	for name, bad := range map[string]struct{ config, values, mesh string }{
		"template":                     {brokenConfig, goodValues, goodMesh},
		"configuration":                {"policy: [", goodValues, goodMesh},
		"template that does not merge": {goodConfig("{{ .NoSuchField }}"), goodValues, goodMesh},
		"values":                       {shown("b"), "{", goodMesh},
		"mesh":                         {shown("b"), goodValues, "trustDomain: [\n"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster()
			set := func(config, values, mesh string) {
				c.set(t, configMap("istio-system", "istio", map[string]string{"mesh": mesh}))
				c.set(t, configMap("istio-system", "istio-sidecar-injector", map[string]string{"config": config, "values": values}))
			}
			set(shown("a"), goodValues, goodMesh)
			configuration := c.started(t)
			becomes(t, configuration, "injected a/hub1/one/0")
			eventually(t, c.kept(t), shown("a"))

			if bad.mesh != goodMesh { // of two ConfigMaps that change at once either may be seen first
				eventually(t, c.valid(t), "0", func() { set(shown("a"), goodValues, bad.mesh) })
				set(bad.config, bad.values, bad.mesh)
			}
			eventually(t, c.valid(t), "0", func() { set(bad.config, bad.values, bad.mesh) })
			if got := outcome(configuration); got != "injected a/hub1/one/0" {
				t.Errorf("with a bad part the pod becomes %q", got)
			}
			eventually(t, c.told, "Warning istio-system/istio")
			if errors := strings.Join(counted(t, c.registry, "outrigger_istio_configuration_errors_total"), ""); errors == "" {
				t.Error("the refusal was not counted")
			}
			becomes(t, c.started(t), "injected a/hub1/one/0") // across a restart
			if got := c.kept(t)(); got != shown("a") {
				t.Errorf("the bad one was kept: %s", got)
			}
		})
	}
}

// Every replica refuses the same configuration; the user hears of it once.
func TestARefusalIsOneEventOfAllReplicas(t *testing.T) {
	c := newCluster(injectorMap(goodConfig("first")), meshMap())
	var registries []*prometheus.Registry
	replica := func() {
		becomes(t, c.started(t), "injected first")
		registries = append(registries, c.registry)
	}
	refusals := func() string {
		var out []string
		for _, registry := range registries {
			for _, line := range counted(t, registry, "outrigger_istio_configuration_errors_total") {
				out = append(out, strings.TrimPrefix(line, "reason=IstioConfigurationRefused "))
			}
		}
		return strings.Join(out, " ")
	}
	replica()
	replica()
	eventually(t, refusals, "1 1", func() {
		if refusals() == "" { // once it is noteResult of, it must not be written again
			c.set(t, injectorMap(brokenConfig))
		}
	})
	replica()
	eventually(t, refusals, "1 1 1")
	eventually(t, c.told, "istio-sidecar-injector")
	hashes := map[string]bool{}
	for _, registry := range registries {
		hashes[strings.Join(counted(t, registry, "outrigger_istio_configuration_hash"), "")] = true
		if loaded := counted(t, registry, "outrigger_istio_configuration_loaded_timestamp_seconds"); loaded[0] == "0" {
			t.Error("a replica does not say since when it has its configuration")
		}
	}
	if len(hashes) != 1 || hashes["0"] {
		t.Errorf("all replicas use the last good one, and say %v", hashes)
	}
	if told := c.told(); strings.Count(told, "\n") != 0 || !strings.Contains(told, "istio-sidecar-injector") {
		t.Errorf("three replicas told\n%s", told)
	}
}

// A replica that starts answers as those do that run: a ConfigMap that is away for a moment is no reason to deny pods.
func TestAConfigurationThatIsAwayAcrossARestart(t *testing.T) {
	for _, gone := range []string{"istio-sidecar-injector", "istio"} {
		t.Run(gone, func(t *testing.T) {
			c := newCluster(injectorMap(goodConfig("first")), meshMap())
			becomes(t, c.started(t), "injected first")
			eventually(t, c.kept(t), goodConfig("first"))
			c.remove(t, gone)
			restarted := c.started(t)
			becomes(t, restarted, "injected first")
			eventually(t, c.valid(t), "0")
			becomes(t, restarted, "injected second", func() { c.set(t, injectorMap(goodConfig("second"))); c.set(t, meshMap()) })
		})
	}
}

// The same where rights are missing for a moment; TestTheDefaultTagIsFollowed… has the revision that was never allowed.
func TestAConfigurationThatIsForbiddenAcrossARestart(t *testing.T) {
	c := newCluster(injectorMap(goodConfig("first")), meshMap())
	becomes(t, c.started(t), "injected first")
	eventually(t, c.kept(t), goodConfig("first"))
	c.forbid("configmaps istio-sidecar-injector", true)
	restarted := c.started(t)
	becomes(t, restarted, "injected first")
	eventually(t, c.valid(t), "0")
}
