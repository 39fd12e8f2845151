// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/manifest"
	"outrigger.dev/outrigger/routing"
	"outrigger.dev/outrigger/routing/controller"
)

func routesCommand() *cobra.Command {
	var input inputFlags
	var format, namespace, configFile string
	command := &cobra.Command{
		Use:   "routes -f FILE...",
		Short: "Print the DestinationRules, VirtualServices, and Gateways that the controller would create",
		Long: `Reads Services and workloads (and, if present, Namespaces, hand-written routes, ServiceEntries, Ingresses,
IngressClasses, Gateway API routes, and ReferenceGrants) and prints the objects that the controller would keep for them once
all pods are ready and no change is pending. The command does not contact a cluster: it takes the input for everything that
exists, created together, in a mesh with Istio's default configuration.

A Namespace that is not in the input is assumed to be labeled for injection. What is not created, or created differently, is
reported on stderr with its reason.`,
		Example: `  # The routes of an application
  outrigger routes -f app.yaml -n demo

  # What an annotation would change
  kubectl annotate --local -f app.yaml outrigger.dev/expose=true -o yaml | outrigger routes -f -`,
		Args: NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			output, err := outputOf(format)
			if err != nil {
				return err
			}
			if err := checkNamespaceName("-n ", namespace); err != nil {
				return err
			}
			config, err := ReadConfig(configFile)
			if err != nil {
				return err
			}
			in, err := input.read(command.Context(), command.InOrStdin())
			if err != nil {
				return err
			}
			objects, err := in.objects()
			if err != nil {
				return err
			}
			if namespace == "" {
				namespace = contextNamespace()
			}
			cluster, err := clusterOf(objects, namespace, assumedTime)
			if err != nil {
				return err
			}
			if len(cluster.services) == 0 {
				command.PrintErrf("outrigger: %s contains no Service, so there are no routes\n", in.names())
			}
			planned, err := cluster.plan(command.Context(), config.RoutingSettings(), command.ErrOrStderr())
			if err != nil {
				return err
			}
			return output.write(command.OutOrStdout(), func(out manifest.Writer) error {
				for _, document := range planned {
					if err := out.Write(document); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	flags := command.Flags()
	input.register(command, "the Services and workloads (required)")
	registerOutput(command, &format)
	flags.StringVarP(&namespace, "namespace", "n", "", `namespace of objects that have none (default: the kubeconfig context's, else "default")`)
	flags.StringVar(&configFile, "config", "", "configuration file of outrigger serve, for its routing settings")
	return command
}

// assumedTime is the assumed creation time of the input. It is constant, so that the output is the same each time.
var assumedTime = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// contextNamespace returns the namespace in which kubectl would apply the input. It contacts no cluster.
func contextNamespace() string {
	namespace, _, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(), nil).Namespace()
	if err != nil || namespace == "" {
		return metav1.NamespaceDefault
	}
	return namespace
}

// ReadConfig reads the configuration file, or returns the defaults if none is named.
func ReadConfig(name string) (api.Config, error) {
	if name == "" {
		return api.LoadConfig(nil)
	}
	text, err := os.ReadFile(name) //nolint:gosec // the file that the user names, with the user's permissions
	if err != nil {
		return api.Config{}, err
	}
	config, err := api.LoadConfig(text)
	if err != nil {
		return api.Config{}, fmt.Errorf("%s: %w", name, err)
	}
	return config, nil
}

// plan plans every Service and returns the objects as documents, in the order of the input. Of two Services that want the same
// host, the first by name gets it, as in a cluster.
func (c *manifestCluster) plan(ctx context.Context, settings api.RoutingSettings, notes io.Writer) ([]*manifest.Document, error) {
	planned := map[*corev1.Service]routing.Objects{}
	printed := map[string]bool{}
	sources := sourcesOf(c, settings.ClusterDomain)
	for _, service := range sortedServices(c.services) {
		observed, problems, err := controller.Gather(ctx, sources, client.ObjectKeyFromObject(service), controller.GatherOptions{Settings: settings, RootNamespace: "istio-system"})
		if err != nil {
			return nil, err
		}
		result := routing.PlanOffline(*observed, c.created)
		for _, problem := range slices.Concat(problems, result.Problems) {
			line := fmt.Sprintf("outrigger: %s (%s)\n", problem, problem.Reason)
			if !printed[line] {
				_, _ = io.WriteString(notes, line) // nothing to do if stderr is closed
			}
			printed[line] = true
		}
		planned[service] = result.Objects
		sources.Add(result.Objects)
	}
	var out []*manifest.Document
	for _, service := range c.services {
		objects := planned[service]
		for _, object := range slices.Concat(asObjects(objects.Gateways), asObjects(objects.DestinationRules), asObjects(objects.VirtualServices)) {
			document, err := documentOf(object)
			if err != nil {
				return nil, fmt.Errorf("service %s/%s: %w", service.Namespace, service.Name, err)
			}
			out = append(out, document)
		}
	}
	return out, nil
}

func sortedServices(services []*corev1.Service) []*corev1.Service {
	return slices.SortedStableFunc(slices.Values(services), func(a, b *corev1.Service) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
}

// documentOf returns an object for kubectl: without what belongs to a cluster, such as owner, record, and status.
func documentOf(object routing.Object) (*manifest.Document, error) {
	raw, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, err
	}
	metadata := map[string]any{"name": object.GetName(), "namespace": object.GetNamespace()}
	if labels := object.GetLabels(); len(labels) > 0 {
		metadata["labels"] = labels
	}
	annotations := maps.Clone(object.GetAnnotations())
	maps.DeleteFunc(annotations, func(key, _ string) bool { return strings.HasPrefix(key, api.Domain+"/") })
	if len(annotations) > 0 {
		metadata["annotations"] = annotations
	}
	return manifest.FromJSON(mustJSON(map[string]any{
		"apiVersion": "networking.istio.io/v1", "kind": routing.KindOf(object), "metadata": metadata, "spec": fields["spec"],
	}))
}
