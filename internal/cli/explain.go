// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/resource"

	"outrigger.dev/outrigger/internal/diagnose"
)

func explainCommand() *cobra.Command {
	var from clusterFlags
	var input inputFlags
	var output string
	command := &cobra.Command{
		Use:   "explain [TYPE/]NAME | TYPE NAME | -f FILE...",
		Short: "Show why routes are as they are, and why a pod has a sidecar or none",
		Long: `For a Service, explain shows why its routes are as they are.

For a pod, any object with a pod template (deployment/NAME, job/NAME, rollouts.argoproj.io/NAME), or the objects of a file, it
shows what happens to a pod that is created now: which webhooks match it, Outrigger's or istiod's, by which label or
condition; what Outrigger decides and why; and what to change. It reads the webhook objects, the Namespace, and Istio's
configuration from the cluster, and applies the rules of the API server and of Outrigger's webhook to them.

-o json and -o yaml print the same as data.`,
		Example: `  outrigger explain springbootapp -n demo
  outrigger explain deployment/springbootapp-v1 -n demo
  outrigger explain pod/springbootapp-v1-6b7f9d5c84-x2x7k -n demo
  outrigger explain -n demo -f app.yaml`,
		RunE: func(command *cobra.Command, args []string) error {
			if (len(input.names) == 0) == (len(args) == 0) {
				return usagef("name one object, as in explain deployment/NAME, or a file with -f")
			}
			print, err := explanationsTo(command.OutOrStdout(), output)
			if err != nil {
				return err
			}
			print.flags = clusterFlagsOf(command.Flags())
			if len(input.names) > 0 {
				if err := explainFiles(command, &from, &input, print); err != nil {
					return err
				}
				return print.finish(false)
			}
			kind, name, err := explained(args)
			if err != nil {
				return err
			}
			if namespaceTypes.contains(kind) {
				return notExplained("Namespace", name)
			}
			if serviceTypes.contains(kind) {
				err = explainService(command, &from, name, print)
			} else {
				err = explainObject(command, &from, kind, name, print)
			}
			if err != nil {
				return err
			}
			return print.finish(true)
		},
	}
	from.register(command, true)
	input.register(command, "pods or workloads to explain")
	command.Flags().StringVarP(&output, "output", "o", "", "wide, json, yaml, jsonpath=TEMPLATE or go-template=TEMPLATE (default: text; wide is the same)")
	_ = command.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"wide", "json", "yaml"}, cobra.ShellCompDirectiveNoFileComp))
	command.ValidArgsFunction = from.complete(firstOf(completeExplain))
	return command
}

// explained returns the type and name of the object in the arguments. A name without a type is that of a Service.
func explained(args []string) (kind, name string, err error) {
	kind, name, combined := strings.Cut(args[0], "/")
	switch {
	case len(args) == 1 && isFileName(args[0]):
		return "", "", usagef("%q looks like a file: name it with -f. Example: outrigger explain -f %s", args[0], args[0])
	case combined && len(args) == 1 && kind != "" && name != "" && !strings.Contains(name, "/"):
		return kind, name, nil
	case !combined && len(args) == 1 && slices.Contains(bareTypes, strings.ToLower(kind)):
		return "", "", usagef("%q is a type: name an object of it. Example: %s/web. For a Service of this name: svc/%s", kind, kind, kind)
	case !combined && len(args) == 1 && kind != "":
		return serviceTypes[0], kind, nil
	case !combined && len(args) == 2 && kind != "" && args[1] != "" && !strings.Contains(args[1], "/"):
		return args[0], args[1], nil
	}
	return "", "", usagef("%q does not name one object. Expected NAME (of a Service), TYPE/NAME, or TYPE NAME. Example: deployment/web", strings.Join(args, " "))
}

// bareTypes are types that users type without a name by mistake.
var bareTypes = []string{
	"service", "services", "svc", "pod", "pods", "po", "deployment", "deployments", "deploy", "statefulset", "statefulsets", "sts", "daemonset", "daemonsets", "ds",
	"replicaset", "replicasets", "rs", "job", "jobs", "cronjob", "cronjobs", "cj", "namespace", "namespaces", "ns", "node", "nodes",
}

// isFileName reports whether an argument has the extension of a manifest.
func isFileName(text string) bool {
	return slices.Contains(resource.FileExtensions, filepath.Ext(text))
}

// notExplained returns the error for an object that is not a Service and has no pod template.
func notExplained(kind, name string) error {
	see := ""
	if kind == "Namespace" {
		see = fmt.Sprintf(". For a namespace: outrigger status -n %s, and outrigger coverage -n %s", name, name)
	}
	return usagef("explain does not take a %s; it takes a Service, a Pod, or an object with a pod template, such as a Deployment, StatefulSet, DaemonSet, Job, or CronJob%s", kind, see)
}

// explanations prints one explanation after the other as text, or collects them as data.
type explanations struct {
	out     io.Writer
	encode  func(any) ([]byte, error)       // nil = text
	collect func([]diagnose.Paragraph, any) // receives both in place of printing; may be nil
	flags   diagnose.ClusterFlags           // that the commands in the text need
	printed int
	data    []any
}

// explanationsTo parses -o.
func explanationsTo(out io.Writer, output string) (*explanations, error) {
	encode, err := encoderFor(output)
	return &explanations{out: out, encode: encode}, err
}

func (e *explanations) add(story func() []diagnose.Paragraph, data any) error {
	if e.collect != nil {
		e.collect(story(), data)
		return nil
	}
	if e.encode != nil {
		e.data = append(e.data, data)
		return nil
	}
	if e.printed++; e.printed > 1 {
		if _, err := fmt.Fprintln(e.out); err != nil {
			return err
		}
	}
	return printExplanation(completed(story(), e.flags), e.out)
}

// completed adds the flags to the commands in paragraphs, except in the settings, which are shown as they are.
func completed(paragraphs []diagnose.Paragraph, flags diagnose.ClusterFlags) []diagnose.Paragraph {
	var out []diagnose.Paragraph
	for _, p := range paragraphs {
		var rows [][]string
		for _, row := range p.Rows {
			row = slices.Clone(row)
			for i := range row {
				if p.Heading != "Settings" {
					row[i] = flags.CompleteText(row[i])
				}
			}
			rows = append(rows, row)
		}
		out = append(out, diagnose.Paragraph{Heading: p.Heading, Rows: rows})
	}
	return out
}

// finish prints the data of a single object, or of all objects of a file as a list. As text, they are printed already.
func (e *explanations) finish(single bool) error {
	switch {
	case e.encode == nil:
		return nil
	case single:
		return writeEncoded(e.out, e.encode, e.data[0])
	}
	return writeEncoded(e.out, e.encode, e.data)
}
