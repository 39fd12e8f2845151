// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"testing"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	istiomodel "istio.io/istio/pilot/pkg/model"

	"istio.io/istio/pilot/pkg/config/memory"
	pilotfeatures "istio.io/istio/pilot/pkg/features"
	"istio.io/istio/pkg/config/mesh"
	"istio.io/istio/pkg/config/mesh/meshwatcher"
	"istio.io/istio/pkg/config/schema/collections"
	istioinject "istio.io/istio/pkg/kube/inject"
	"istio.io/istio/pkg/kube/multicluster"
	istiolog "istio.io/istio/pkg/log"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"outrigger.dev/outrigger/hack/istio"
	"outrigger.dev/outrigger/inject"
	"outrigger.dev/outrigger/webhook"
)

// sides are the two handlers that answer the same requests. forgetful makes Outrigger meet every pod as its first.
func sides(b testing.TB, forgetful bool) map[string]http.Handler {
	b.Helper()
	files, err := istio.InjectionFiles(nil)
	if err != nil {
		b.Fatal(err)
	}
	return map[string]http.Handler{"outrigger": ours(b, files, forgetful), "istio": istios(b, files)}
}

// ours returns the HTTP handler of Outrigger's webhook.
func ours(b testing.TB, files istio.Files, forgetful bool) http.Handler {
	b.Helper()
	config, _, err := inject.Parse(inject.Source{
		Config: string(files.Config), Values: string(files.Values), Mesh: string(files.Mesh), Release: istio.Tag,
		Settings: inject.Settings{NativeSidecars: "enabled"},
	})
	if err != nil {
		b.Fatal(err)
	}
	// The log is written as in the cluster, but to nowhere. Istio's is off.
	log := logr.FromSlogHandler(slog.NewJSONHandler(io.Discard, nil))
	ctrllog.SetLogger(log)
	metrics := webhook.NewMetrics(prometheus.NewRegistry())
	fresh := func() http.Handler {
		return (&webhook.Handler{Namespaces: anyNamespace{}, Config: fixed{config}, Metrics: metrics, Log: log}).HTTP()
	}
	if forgetful {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fresh().ServeHTTP(w, r) })
	}
	return fresh()
}

type anyNamespace struct{}

func (anyNamespace) Namespace(_ context.Context, name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

// fixed is a configuration that never changes.
type fixed struct{ config *inject.Config }

func (f fixed) Current() (*inject.Config, error) { return f.config, nil }

// istios returns the HTTP handler of Istio's own webhook.
func istios(b testing.TB, files istio.Files) http.Handler {
	b.Helper()
	options := istiolog.DefaultOptions()
	options.SetDefaultOutputLevel(istiolog.OverrideScopeName, istiolog.NoneLevel)
	if err := istiolog.Configure(options); err != nil {
		b.Fatal(err)
	}
	pilotfeatures.EnableNativeSidecars = pilotfeatures.NativeSidecarModeEnabled
	config, err := istioinject.UnmarshalConfig(files.Config)
	if err != nil {
		b.Fatal(err)
	}
	meshConfig, err := mesh.ApplyMeshConfig(string(files.Mesh), mesh.DefaultMeshConfig())
	if err != nil {
		b.Fatal(err)
	}
	environment := &istiomodel.Environment{Watcher: meshwatcher.NewTestWatcher(meshConfig), ConfigStore: memory.Make(collections.Pilot)}
	environment.SetPushContext(&istiomodel.PushContext{ProxyConfigs: istiomodel.GetProxyConfigs(environment.ConfigStore, meshConfig)})
	mux := http.NewServeMux()
	_, err = istioinject.NewWebhook(istioinject.WebhookParameters{
		Watcher: fixedWatcher{&config, string(files.Values)}, Env: environment, Mux: mux, MultiCluster: multicluster.NewFakeController(),
	})
	if err != nil {
		b.Fatal(err)
	}
	return mux
}

// fixedWatcher is a watcher of a configuration that never changes.
type fixedWatcher struct {
	config *istioinject.Config
	values string
}

func (fixedWatcher) SetHandler(func(*istioinject.Config, string) error) {}
func (fixedWatcher) Run(<-chan struct{})                                {}
func (f fixedWatcher) Get() (*istioinject.Config, string, error)        { return f.config, f.values, nil }
