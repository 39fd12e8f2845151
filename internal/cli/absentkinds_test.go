// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// discoveryStage is an API server that serves discovery only.
type discoveryStage struct {
	requests atomic.Int64
	hasIstio atomic.Bool
	client   client.Client
	now      time.Time
}

func newDiscoveryStage(t *testing.T) *discoveryStage {
	t.Helper()
	d := &discoveryStage{now: noon}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.requests.Add(1)
		istio := metav1.GroupVersionForDiscovery{GroupVersion: "networking.istio.io/v1", Version: "v1"}
		groups := metav1.APIGroupList{Groups: []metav1.APIGroup{{Name: "apps", Versions: []metav1.GroupVersionForDiscovery{{GroupVersion: "apps/v1", Version: "v1"}}}}}
		if d.hasIstio.Load() {
			groups.Groups = append(groups.Groups, metav1.APIGroup{Name: networkingv1.GroupName, Versions: []metav1.GroupVersionForDiscovery{istio}, PreferredVersion: istio})
		}
		answers := map[string]any{"/api": metav1.APIVersions{Versions: []string{"v1"}}, "/apis": groups}
		if d.hasIstio.Load() {
			answers["/apis/networking.istio.io/v1"] = metav1.APIResourceList{GroupVersion: istio.GroupVersion, APIResources: []metav1.APIResource{{Name: "gateways", Namespaced: true, Kind: "Gateway"}}}
			answers["/apis/networking.istio.io/v1/gateways"] = metav1.List{}
		}
		answer, is := answers[r.URL.Path]
		if !is {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(server.Close)
	reads, _, err := withKubeconfig(t, server.URL).kube.connect(func(*rest.Config) {})
	if err != nil {
		t.Fatal(err)
	}
	d.client = reads
	reads.RESTMapper().(*absentKinds).now = func() time.Time { return d.now }
	return d
}

// look looks up kinds as a reading does, and returns the number of requests.
func (d *discoveryStage) look(t *testing.T, want bool) int64 {
	t.Helper()
	before := d.requests.Load()
	for _, kind := range []schema.GroupKind{{Group: "networking.istio.io", Kind: "Gateway"}, {Group: "gateway.networking.k8s.io", Kind: "HTTPRoute"}} {
		_, err := d.client.RESTMapper().RESTMapping(kind)
		if isAbsent := meta.IsNoMatchError(err); err != nil && !isAbsent || isAbsent == (want && strings.Contains(kind.Group, "istio")) {
			t.Errorf("%s: %v", kind, err)
		}
	}
	err := d.client.List(t.Context(), &networkingv1.GatewayList{})
	if isAbsent := meta.IsNoMatchError(err); err != nil && !isAbsent || isAbsent == want {
		t.Errorf("list: %v", err)
	}
	return d.requests.Load() - before
}

// Kinds that the cluster does not have are looked up once, and again after a while.
func TestAbsentKindsAreLookedUpOnce(t *testing.T) {
	t.Parallel()
	d := newDiscoveryStage(t)
	if first := d.look(t, false); first == 0 {
		t.Error("the first look-up sends no request")
	}
	d.hasIstio.Store(true)
	d.now = noon.Add(absentFor - time.Second)
	if again := d.look(t, false); again != 0 {
		t.Errorf("%d requests", again)
	}
	d.now = noon.Add(absentFor)
	d.look(t, true)
}
