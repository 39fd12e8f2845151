// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"outrigger.dev/outrigger/api"
)

// A loop that nobody foresaw asks for no more than the burst at once; the next request waits for its turn.
func TestRequestsToTheAPIServerAreBounded(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"kind":"Pod","apiVersion":"v1"}`))
	}))
	t.Cleanup(server.Close)
	kubeconfig := filepath.Join(t.TempDir(), "config")
	text := "{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c}}], clusters: [{name: c, cluster: {server: " + server.URL + "}}]}"
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	const burst = 10
	// One request in a thousand seconds: the bucket is not filled again while the test runs.
	config, err := RESTConfig(kubeconfig, "1.2.3", api.RequestConfig{QPS: 1, Burst: burst})
	if err != nil {
		t.Fatal(err)
	}
	config.QPS /= 1000
	config.APIPath, config.GroupVersion, config.NegotiatedSerializer = "/api", &corev1.SchemeGroupVersion, clientgoscheme.Codecs.WithoutConversion()
	kube, err := rest.RESTClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	get := func(ctx context.Context) error { return kube.Get().AbsPath("/api/v1/pods/p").Do(ctx).Error() }
	for range burst {
		if err := get(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := get(ctx); err == nil || !strings.Contains(err.Error(), "rate limiter") {
		t.Errorf("the request after the burst: %v; want it to wait for its turn", err)
	}
	if asked := asked.Load(); asked != burst {
		t.Errorf("the API server was asked %d times, want %d", asked, burst)
	}
}
