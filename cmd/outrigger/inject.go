package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/inject"
	"outrigger.dev/outrigger/internal/manifest"
)

func injectCommand() *cobra.Command {
	var from istioFlags
	var input, output, namespace string
	command := &cobra.Command{
		Use:   "inject -f FILE",
		Short: "Print pods and workloads with the sidecar that the webhook would give them",
		Long: `Reads Kubernetes YAML, injects every pod and every pod template in it as the webhook would inject the pod that comes
out of it, and prints the whole for "kubectl apply -f -". Everything else is printed as it was read.

The sidecar is the one of your Istio: templates, values and mesh configuration are read from the cluster of the current
kubeconfig context, or from the three files of --injectConfigFile, --valuesFile and --meshConfigFile. Outrigger has none
of its own.

A pod that is not to be injected is printed unchanged, and the reason goes to stderr. If one must be refused, or one
document cannot be read, nothing is printed and the exit status is 1.`,
		Example: `  # With the Istio of the current cluster
  outrigger inject -f app.yaml | kubectl apply -f -

  # What a Helm chart would become
  helm template my-release my-chart | outrigger inject -n demo -f - | kubectl apply -n demo -f -

  # Without a cluster
  kubectl -n istio-system get configmap istio-sidecar-injector -o jsonpath='{.data.config}' > inject.yaml
  kubectl -n istio-system get configmap istio-sidecar-injector -o jsonpath='{.data.values}' > values.json
  kubectl -n istio-system get configmap istio -o jsonpath='{.data.mesh}' > mesh.yaml
  outrigger inject -f app.yaml --injectConfigFile inject.yaml --valuesFile values.json --meshConfigFile mesh.yaml`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			print, err := printerFor(output)
			if err != nil {
				return err
			}
			stream, err := readInput(input, command.InOrStdin())
			if err != nil {
				return err
			}
			istio, err := from.load(command.Context())
			if err != nil {
				return err
			}
			if namespace == "" {
				namespace = istio.namespace
			}
			i := injection{istio: istio, namespace: namespace, notes: command.ErrOrStderr()}
			if err := i.all(command.Context(), stream); err != nil {
				return err
			}
			return print(stream, command.OutOrStdout())
		},
	}
	flags := command.Flags()
	flags.StringVarP(&input, "filename", "f", "", "file to read, - for standard input (required)")
	flags.StringVarP(&output, "output", "o", "yaml", `"yaml", "json", or the name of a file to write YAML to`)
	flags.StringVarP(&namespace, "namespace", "n", "", `namespace of what names none (default: the kubeconfig context's, else "default")`)
	from.register(flags)
	_ = command.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"yaml", "json"}, cobra.ShellCompDirectiveDefault))
	_ = command.RegisterFlagCompletionFunc("nativeSidecars", cobra.FixedCompletions(nativeSidecarWords, cobra.ShellCompDirectiveNoFileComp))
	return command
}

// injection is one run over a stream.
type injection struct {
	istio     *istioSource
	namespace string    // for objects that name none
	notes     io.Writer // what the user should know, one line each
}

// all injects every pod and pod template of the stream. If any is refused the error names all that are.
func (i injection) all(ctx context.Context, stream *manifest.Stream) error {
	namespaces, err := namespacesIn(stream)
	if err != nil {
		return err
	}
	for _, problem := range i.istio.warnings {
		i.note("warning: %s (%s)", problem, problem.Reason)
	}
	var refused []error
	for _, object := range stream.Objects() {
		template, err := object.Template()
		if err != nil {
			return err
		}
		if template == nil {
			continue
		}
		name := object.Namespace
		if name == "" {
			name = i.namespace
		}
		if namespaces[name] == nil {
			if namespaces[name], err = i.istio.lookup(ctx, name); err != nil {
				return err
			}
		}
		var no *refusal
		if err := i.one(object, template, namespaces[name]); errors.As(err, &no) {
			refused = append(refused, err)
		} else if err != nil {
			return err
		}
	}
	return errors.Join(refused...)
}

// refusal is the decision that a pod must not be created like this: the user's to mend, unlike other errors.
type refusal struct{ text string }

func (r *refusal) Error() string { return r.text }

func (i injection) one(object *manifest.Object, template *manifest.Template, namespace *corev1.Namespace) error {
	raw, err := template.JSON()
	if err != nil {
		return fmt.Errorf("%s: %w", object, err)
	}
	assumed, err := assume(object, template.Path, raw, namespace.Name)
	if err != nil {
		return fmt.Errorf("%s: %w", object, err)
	}
	after, report, err := inject.Pod(inject.Request{Pod: assumed.pod, Namespace: namespace}, i.istio.config)
	if err != nil {
		return fmt.Errorf("%s: %w", object, err)
	}
	switch report.Result {
	case inject.Injected:
	case inject.Skipped:
		i.note("%s is not injected: %s (%s)", object, report.Message, report.Reason)
		i.warn(object, report)
		return nil
	default:
		return &refusal{fmt.Sprintf("%s is refused: %s (%s)", object, refusalText(report), report.Reason)}
	}
	i.warn(object, report)
	operations, err := inject.Patch(assumed.raw, assumed.pod, after)
	if err != nil {
		return fmt.Errorf("%s: %w", object, err)
	}
	if len(operations) == 0 {
		return nil
	}
	text, err := json.Marshal(operations)
	if err != nil {
		return fmt.Errorf("%s: %w", object, err)
	}
	patch, err := jsonpatch.DecodePatch(text)
	if err != nil {
		return fmt.Errorf("%s: %w", object, err)
	}
	patched, err := patch.Apply(assumed.raw)
	if err != nil {
		return fmt.Errorf("%s: apply the injection: %w", object, err)
	}
	written, err := assumed.undo(patched)
	if err != nil {
		return fmt.Errorf("%s: %w", object, err)
	}
	return template.Replace(written)
}

func (i injection) note(format string, args ...any) {
	_, _ = fmt.Fprintf(i.notes, "outrigger: "+format+"\n", args...) // nobody to tell if stderr is closed
}

func (i injection) warn(object *manifest.Object, report inject.Report) {
	for _, problem := range report.Problems {
		i.note("%s: warning: %s (%s)", object, problem, problem.Reason)
	}
}

func refusalText(report inject.Report) string {
	if len(report.Problems) == 0 {
		return report.Message
	}
	var lines []string
	for _, problem := range report.Problems {
		lines = append(lines, problem.String())
	}
	return strings.Join(lines, "; ")
}

// namespacesIn returns the Namespace objects of the input by name.
func namespacesIn(stream *manifest.Stream) (map[string]*corev1.Namespace, error) {
	found := map[string]*corev1.Namespace{}
	for _, object := range stream.Objects() {
		if object.APIVersion != "v1" || object.Kind != "Namespace" {
			continue
		}
		namespace := &corev1.Namespace{}
		if err := decodeObject(object, namespace); err != nil {
			return nil, err
		}
		found[object.Name] = namespace
	}
	return found, nil
}
