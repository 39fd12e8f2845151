// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
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
	from            *clusterFlags   // where settings are read again; nil = config applies
	config          api.Config      // of the installation, for its routing settings
	configs         []api.Config    // of all installations in the system namespace
	invalid         []string        // sentences about invalid settings there, and their effect
	systemNamespace string          // where Outrigger is installed
	gaps            diagnose.Gaps   // what the user has no permission to read; every read adds to it
	only            labels.Selector // of Services that status is about; nil = all
	kept            *incremental    // of a stream of readings; nil if there is one reading
	parts           *parts          // receives what a long reading has read so far; nil = nothing does
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
	cluster, namespace, err := f.kube.connect(func(config *rest.Config) {
		config.WarningHandlerWithContext = warningsTo{notes}
	})
	if err != nil {
		return nil, err
	}
	l := &live{client: cluster, namespace: namespace, from: f, config: api.DefaultConfig(), systemNamespace: f.system, gaps: diagnose.Gaps{}, now: time.Now}
	return l, l.readSettings(ctx)
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

// readSettings reads the settings of --config, or else those of all installations and of the one whose controller manages routes. If they
// cannot be read, the defaults apply. If they are invalid, those of the previous call apply, as in the controller. Commands that wait call
// it again, because routing.freeze can change.
func (l *live) readSettings(ctx context.Context) error {
	if l.from == nil {
		return nil
	}
	if l.from.configFile != "" {
		config, err := ReadConfig(l.from.configFile)
		l.config, l.configs = config, []api.Config{config}
		return err
	}
	reader := client.Reader(l.client)
	if l.lists != nil {
		reader = l.lists
	}
	configs, invalid, err := installations(ctx, reader, l.from.system, l.gaps)
	if err != nil {
		return err
	}
	if l.invalid = invalid; len(invalid) > 0 && len(configs) == 0 {
		return nil
	}
	l.config, l.configs = api.DefaultConfig(), configs
	if at := slices.IndexFunc(configs, func(config api.Config) bool { return config.Routing.Enabled }); at >= 0 {
		l.config = configs[at]
	}
	return nil
}

// areSettingsHidden reports whether an Outrigger may be installed whose settings cannot be read, or are invalid.
func (l *live) areSettingsHidden() bool {
	return len(l.configs) == 0 && (len(l.invalid) > 0 || l.gaps.Hides(l.systemNamespace, "ConfigMap"))
}

// installations returns the settings of all Outriggers of a namespace, or none if they may not be read; and a sentence for each that is
// invalid.
func installations(ctx context.Context, reader client.Reader, namespace string, gaps diagnose.Gaps) (configs []api.Config, invalid []string, err error) {
	var list corev1.ConfigMapList
	err = reader.List(ctx, &list, client.InNamespace(namespace))
	if isForbidden(err) {
		gaps.AddKind("ConfigMap", namespace)
	}
	if err != nil && !isUnreadable(err) {
		return nil, nil, fmt.Errorf("read the settings of Outrigger: %w", err)
	}
	for i := range list.Items {
		text := list.Items[i].Data["config.yaml"]
		if !strings.Contains(text, api.ConfigAPIVersion) {
			continue
		}
		config, err := api.LoadConfig([]byte(text))
		if err != nil {
			invalid = append(invalid, fmt.Sprintf("ConfigMap %[1]s/%[2]s, config.yaml: %[3]v. Outrigger keeps the previous values, which commands cannot read, and new pods of Outrigger do not start. "+
				"To fix it: kubectl edit configmap -n %[1]s %[2]s", namespace, list.Items[i].Name, err))
			continue
		}
		configs = append(configs, config)
	}
	return configs, invalid, nil
}

// settings returns the settings of the installation. While they are unknown, any metric may exist, so that no check is invalid and no
// canary passes a step without the controller's own evaluation.
func (l *live) settings() api.RoutingSettings {
	out := l.config.RoutingSettings()
	if l.areSettingsHidden() {
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
