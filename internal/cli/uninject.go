// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"outrigger.dev/outrigger/inject"
	"outrigger.dev/outrigger/inject/jsonpatch"
	"outrigger.dev/outrigger/internal/manifest"
)

func uninjectCommand() *cobra.Command {
	var input inputFlags
	var format string
	command := &cobra.Command{
		Use:   "uninject -f FILE...",
		Short: "Print pods and workloads without the injected sidecar",
		Long: `Reads Kubernetes YAML and removes from every pod and pod template what Istio's or Outrigger's injection added: the
containers, volumes, and pull secrets that the annotation sidecar.istio.io/status lists. Probes, hooks, Prometheus
annotations, and the pod's own containers are restored as injection recorded them. Everything else is printed as it was
read. The command does not contact a cluster.

Injection does not record the position of the pod's own proxy among the containers, nor the pod's own volume or pull secret with
the name of an injected one, so these cannot be restored. What may belong to the pod is kept, with a note on stderr.`,
		Example: `  outrigger uninject -f injected.yaml > app.yaml
  kubectl get deployment web -o yaml | outrigger uninject -f - | kubectl apply -f -`,
		Args: NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			output, err := outputOf(format)
			if err != nil {
				return err
			}
			in, err := input.read(command.Context(), command.InOrStdin())
			if err != nil {
				return err
			}
			return output.write(command.OutOrStdout(), func(out manifest.Writer) error {
				return in.all(func(document *manifest.Document, objects []*manifest.Object) error {
					for _, object := range objects {
						notes, err := uninject(object)
						if err != nil {
							return fmt.Errorf("%s: %w", object, err)
						}
						for _, note := range notes {
							command.PrintErrf("outrigger: %s: %s\n", object, note)
						}
					}
					return out.Write(document)
				})
			})
		},
	}
	input.register(command, "what to uninject (required)")
	registerOutput(command, &format)
	return command
}

// uninject removes the sidecar from an object, and returns notes for the user.
func uninject(object *manifest.Object) ([]string, error) {
	template, err := templatePod(object, object.Namespace)
	if err != nil || template == nil {
		return nil, err
	}
	before, injected, notes, err := inject.Uninject(template.pod)
	if err != nil {
		return nil, err
	}
	if !injected {
		return []string{"it has no sidecar: there is no annotation sidecar.istio.io/status"}, nil
	}
	operations, err := jsonpatch.Diff(template.raw, template.pod, before)
	if err != nil {
		return nil, err
	}
	written, err := template.patched(jsonpatch.Encode(operations), nil)
	if err != nil {
		return nil, err
	}
	return notes, template.template.Replace(written)
}
