// SPDX-License-Identifier: Apache-2.0

package cli

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

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/internal/manifest"
)

func injectCommand() *cobra.Command {
	var from injectionFlags
	var format string
	command := &cobra.Command{
		Use:   "inject -f FILE...",
		Short: "Print pods and workloads with the sidecar that the webhook would inject",
		Long: `Reads Kubernetes YAML and JSON, injects every pod and pod template as the webhook would, and prints the result for
"kubectl apply -f -". Everything else is printed as it was read.

The sidecar is that of your Istio: templates, values, and mesh configuration are read from the cluster of the current
kubeconfig context, or from the files of --injectConfigFile, --valuesFile, and --meshConfigFile.

A pod that is not injected is printed unchanged, and the reason is printed on stderr. If a pod would be refused, or a
document cannot be read, nothing is printed and the exit status is 1.`,
		Example: `  # With the Istio of the current cluster
  outrigger inject -f app.yaml | kubectl apply -f -

  # Inject the output of a Helm chart
  helm template my-release my-chart | outrigger inject -n demo -f - | kubectl apply -n demo -f -

  # Without a cluster
  kubectl -n istio-system get configmap istio-sidecar-injector -o jsonpath='{.data.config}' > inject.yaml
  kubectl -n istio-system get configmap istio-sidecar-injector -o jsonpath='{.data.values}' > values.json
  kubectl -n istio-system get configmap istio -o jsonpath='{.data.mesh}' > mesh.yaml
  outrigger inject -f app.yaml --injectConfigFile inject.yaml --valuesFile values.json --meshConfigFile mesh.yaml`,
		Args: NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			output, err := outputOf(format)
			if err != nil {
				return err
			}
			i, in, err := from.start(command)
			if err != nil {
				return err
			}
			return output.write(command.OutOrStdout(), func(out manifest.Writer) error { return i.injectAll(command.Context(), in, out) })
		},
	}
	from.register(command)
	registerOutput(command, &format)
	return command
}

// injectionFlags select the input and the configuration of an injection.
type injectionFlags struct {
	istio           istioFlags
	input           inputFlags
	namespace, path string
}

func (f *injectionFlags) register(command *cobra.Command) {
	flags := command.Flags()
	f.input.register(command, "what to inject (required)")
	flags.StringVarP(&f.namespace, "namespace", "n", "", `namespace of objects that have none (default: that of --namespaceFile, else the kubeconfig context's, else "default")`)
	flags.StringVar(&f.path, "injectPath", diagnose.InjectPath, "URL path of the webhook, which may name cluster and network: /inject/cluster/c1/net/n1")
	f.istio.register(flags)
	f.istio.complete(command)
}

// start reads the input and Istio's configuration.
func (f *injectionFlags) start(command *cobra.Command) (injection, *input, error) {
	if f.path != diagnose.InjectPath && !strings.HasPrefix(f.path, diagnose.InjectPath+"/") {
		return injection{}, nil, usagef("--injectPath=%s: expected /inject, or /inject/ and pairs such as cluster/c1/net/n1", f.path)
	}
	if err := f.istio.check(); err != nil {
		return injection{}, nil, err
	}
	if err := errors.Join(checkNamespaceName("-n ", f.namespace), f.istio.kube.check()); err != nil {
		return injection{}, nil, err
	}
	in, err := f.input.read(command.Context(), command.InOrStdin())
	if err != nil {
		return injection{}, nil, err
	}
	istio, err := f.istio.load(command.Context())
	if err != nil {
		return injection{}, nil, err
	}
	i := injection{istio: istio, namespace: f.namespace, path: f.path, notes: command.ErrOrStderr()}
	if i.namespace == "" {
		i.namespace = istio.namespace
	}
	return i, in, nil
}

// injection is one run over a stream.
type injection struct {
	istio      *istioSource
	namespace  string                       // for objects without one
	path       string                       // of the URL that the API server would call
	notes      io.Writer                    // receives notes and warnings, one line each
	withoutPod func(*manifest.Object) error // is called with objects without a pod template; may be nil
}

// injectAll injects every pod and pod template of the input, and writes every document. If any are refused, the error names all of them.
func (i injection) injectAll(ctx context.Context, in *input, out manifest.Writer) error {
	return i.reviewEach(ctx, in, out.Write, func(d reviewed) error {
		if d.report.Result == inject.Skipped {
			i.note("%s is not injected: %s (%s)", d.object, d.report.Message, d.report.Reason)
		}
		if d.written == nil {
			return nil
		}
		return d.template.Replace(d.written)
	})
}

// reviewed is what the webhook would do about a pod or a pod template.
type reviewed struct {
	podIn
	report  inject.Report
	written []byte // the template that results; nil if it is unchanged
}

// reviewEach decides about every pod and pod template of the input, one document at a time. It calls do with those that are not
// refused. After each document it calls afterDocument. If any are refused, the error names all of them.
func (i injection) reviewEach(ctx context.Context, in *input, afterDocument func(*manifest.Document) error, do func(reviewed) error) error {
	namespaces, err := namespacesOf(in)
	if err != nil {
		return err
	}
	for _, problem := range i.istio.warnings {
		i.note("warning: %s (%s)", problem, problem.Reason)
	}
	var refused []error
	err = in.all(func(document *manifest.Document, objects []*manifest.Object) error {
		for _, object := range objects {
			refusal, err := i.reviewOne(ctx, object, namespaces, do)
			if err != nil {
				return err
			}
			if refusal != nil {
				refused = append(refused, refusal)
			}
		}
		return afterDocument(document)
	})
	if err != nil {
		return err
	}
	return errors.Join(refused...)
}

// reviewOne decides about an object, and calls do if it has a pod that is not refused. It returns the refusal.
func (i injection) reviewOne(ctx context.Context, object *manifest.Object, namespaces map[string]*corev1.Namespace, do func(reviewed) error) (refusal, err error) {
	name := object.Namespace
	if name == "" {
		name = i.namespace
	}
	template, err := templatePod(object, name)
	if err == nil && template == nil && i.withoutPod != nil {
		err = i.withoutPod(object)
	}
	if err != nil || template == nil {
		return nil, err
	}
	if namespaces[name] == nil {
		if namespaces[name], err = i.istio.lookup(ctx, name); err != nil {
			return nil, err
		}
	}
	d := reviewed{podIn: *template}
	if d.report, d.written, err = template.injected(namespaces[name], i); err != nil {
		return nil, fmt.Errorf("%s: %w", object, err)
	}
	if d.report.Result == inject.Denied {
		return template.refusal(d.report), nil
	}
	if err := do(d); err != nil {
		return nil, fmt.Errorf("%s: %w", object, err)
	}
	i.warn(object, d.report)
	return nil, nil
}

// podIn is a pod or a pod template of the input, and the pod that would be sent for it.
type podIn struct {
	object   *manifest.Object
	template *manifest.Template
	*assumption
}

// templatePod returns the pod template of an object, or nil if it has none.
func templatePod(object *manifest.Object, namespace string) (*podIn, error) {
	template, err := object.Template()
	if err != nil || template == nil {
		return nil, err
	}
	raw, err := template.JSON()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", object, err)
	}
	assumed, err := assume(object, template.Path, raw, namespace)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", object, err)
	}
	return &podIn{object, template, assumed}, nil
}

// injected returns the decision of the webhook, and the resulting template, or nil if it is unchanged.
func (p podIn) injected(namespace *corev1.Namespace, i injection) (inject.Report, []byte, error) {
	answer, err := inject.Review(inject.Received{JSON: p.raw, NamespaceName: namespace.Name, Namespace: namespace, Path: i.path}, i.istio.config)
	if err != nil || len(answer.Patch) == 0 {
		return answer.Report, nil, err
	}
	written, err := p.patched(answer.Patch, inject.NamedProbePorts)
	return answer.Report, written, err
}

// patched applies the patch for the pod to the template. It records the names of ports that names returns; names may be nil.
func (p podIn) patched(text []byte, names func(before, after *corev1.Pod) map[string]string) ([]byte, error) {
	patch, err := jsonpatch.DecodePatch(text)
	if err != nil {
		return nil, err
	}
	after, err := patch.Apply(p.raw)
	if err != nil {
		return nil, fmt.Errorf("apply the patch: %w", err)
	}
	if names != nil {
		pod := &corev1.Pod{}
		if err := json.Unmarshal(after, pod); err != nil {
			return nil, err
		}
		if after, err = withProbePorts(after, names(p.pod, pod)); err != nil {
			return nil, err
		}
	}
	return p.undo(after)
}

// withProbePorts writes the names of ports on a pod, for uninject.
func withProbePorts(pod []byte, names map[string]string) ([]byte, error) {
	if len(names) == 0 {
		return pod, nil
	}
	text, err := json.Marshal(names) // sorted by key
	if err != nil {
		return nil, err
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{api.AnnotationProbePorts: string(text)}}})
	if err != nil {
		return nil, err
	}
	return jsonpatch.MergePatch(pod, patch)
}

// refusal returns the error for a denied pod.
func (p podIn) refusal(report inject.Report) error {
	return fmt.Errorf("%s is refused: %s (%s)", p.object, refusalText(report), report.Reason)
}

func (i injection) note(format string, args ...any) {
	_, _ = fmt.Fprintf(i.notes, "outrigger: "+format+"\n", args...) // nothing to do if stderr is closed
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

// namespacesOf returns the Namespaces of the input by name. It does not parse documents that do not contain the word.
func namespacesOf(in *input) (map[string]*corev1.Namespace, error) {
	found := map[string]*corev1.Namespace{}
	mayHold := func(d *manifest.Document) bool { return d.Contains("Namespace") }
	err := in.each(mayHold, func(_ *manifest.Document, objects []*manifest.Object) error { return addNamespaces(found, objects) })
	return found, err
}

func addNamespaces(found map[string]*corev1.Namespace, objects []*manifest.Object) error {
	for _, object := range objects {
		if object.APIVersion != "v1" || object.Kind != "Namespace" {
			continue
		}
		namespace := &corev1.Namespace{}
		if err := decodeObject(object, namespace); err != nil {
			return err
		}
		found[object.Name] = namespace
	}
	return nil
}
