// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/spf13/cobra"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	networkingv1beta1 "istio.io/client-go/pkg/apis/networking/v1beta1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/routing"
	"outrigger.dev/outrigger/routing/controller"
)

// live is a cluster that a command reads and writes with the user's permissions.
type live struct {
	client          client.Client
	lists           client.Client   // that snapshots list with; nil = client
	namespace       string          // that of the flag, else of the kubeconfig's context
	config          api.Config      // of the installation, for its routing settings
	configs         []api.Config    // of all installations in the system namespace
	systemNamespace string          // where Outrigger is installed
	gaps            diagnose.Gaps   // what the user has no permission to read; every read adds to it
	only            labels.Selector // of Services that status is about; nil = all
	now             func() time.Time
}

// clusterFlags say which cluster a command talks to, as kubectl's do.
type clusterFlags struct {
	kube               kubeFlags
	system, configFile string
}

const defaultSystemNamespace = "outrigger-system"

func (f *clusterFlags) register(command *cobra.Command, namespaced bool) {
	flags := command.Flags()
	f.kube.register(flags, namespaced)
	flags.StringVar(&f.system, "system-namespace", defaultSystemNamespace, "namespace in which Outrigger is installed; its settings are read there")
	flags.StringVar(&f.configFile, "config", "", "configuration file of outrigger serve, in place of the installation's")
	_ = command.RegisterFlagCompletionFunc("context", completeContexts)
	if namespaced {
		_ = command.RegisterFlagCompletionFunc("namespace", f.complete(namespaceNames))
	}
}

// connect returns the cluster. Warnings of the API server are written to notes.
func (f *clusterFlags) connect(ctx context.Context, notes io.Writer) (*live, error) {
	if err := errors.Join(checkNamespaceName("-n ", f.kube.namespace()), checkNamespaceName("--system-namespace ", f.system)); err != nil {
		return nil, err
	}
	api, namespace, err := f.kube.connect(func(cluster *rest.Config) { cluster.WarningHandlerWithContext = warningsTo{notes} })
	if err != nil {
		return nil, err
	}
	l := &live{client: api, namespace: namespace, systemNamespace: f.system, gaps: diagnose.Gaps{}, now: time.Now}
	l.config, l.configs, err = f.settings(ctx, api, l.gaps)
	return l, err
}

// warningsTo prints warnings of the API server, as kubectl does.
type warningsTo struct{ notes io.Writer }

// HandleWarningHeaderWithContext is called by the client with each warning header of a response.
func (w warningsTo) HandleWarningHeaderWithContext(ctx context.Context, code int, _, text string) {
	if ctx.Value(quiet{}) != nil {
		return
	}
	if code == http.StatusOK || code == 299 {
		_, _ = fmt.Fprintln(w.notes, "Warning: "+text) // nothing to do if stderr is closed
	}
}

var _ rest.WarningHandlerWithContext = warningsTo{}

func liveScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, networkingv1.AddToScheme, networkingv1beta1.AddToScheme, cmapi.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	return scheme, nil
}

// settings returns those of --config, or else of the installation whose controller manages routes, or the defaults if they cannot
// be read; and those of all installations.
func (f *clusterFlags) settings(ctx context.Context, reader client.Reader, gaps diagnose.Gaps) (api.Config, []api.Config, error) {
	if f.configFile != "" {
		config, err := ReadConfig(f.configFile)
		return config, []api.Config{config}, err
	}
	configs, err := installations(ctx, reader, f.system, gaps)
	if err != nil {
		return api.Config{}, nil, err
	}
	for _, config := range configs {
		if config.Routing.Enabled {
			return config, configs, nil
		}
	}
	return api.DefaultConfig(), configs, nil
}

// installations returns the settings of all Outriggers of a namespace, or none if they may not be read.
func installations(ctx context.Context, reader client.Reader, namespace string, gaps diagnose.Gaps) ([]api.Config, error) {
	var list corev1.ConfigMapList
	err := reader.List(ctx, &list, client.InNamespace(namespace))
	if isForbidden(err) {
		gaps.AddKind("ConfigMap", namespace)
	}
	if err != nil && !isUnreadable(err) {
		return nil, fmt.Errorf("read the settings of Outrigger: %w", err)
	}
	var out []api.Config
	for i := range list.Items {
		text := list.Items[i].Data["config.yaml"]
		if !strings.Contains(text, api.ConfigAPIVersion) {
			continue
		}
		if config, err := api.LoadConfig([]byte(text)); err == nil {
			out = append(out, config)
		}
	}
	return out, nil
}

// settings returns the settings of the installation. While they are unknown, any metric may exist, so that no check is invalid and no
// canary passes a step without the controller's own evaluation.
func (l *live) settings() api.RoutingSettings {
	out := l.config.RoutingSettings()
	if len(l.configs) == 0 && l.gaps.Hides(l.systemNamespace, "ConfigMap") {
		out.Canary.HasMetrics, out.Limits.AnyCanaryQuery = true, true
	}
	return out
}

// sources returns what plans are gathered from. It reads through a snapshot, so that nothing is requested twice.
func (l *live) sources(s *snapshot) *controller.Live {
	if s.sources == nil {
		s.sources = controller.NewLive(s, l.client.RESTMapper(), controller.Options{
			Settings: l.settings(), RootNamespace: l.config.Istio.Namespace, Mesh: func(ctx context.Context) routing.Mesh { return l.mesh(ctx, s) },
		})
	}
	return s.sources
}
