package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"
	"gomodules.xyz/jsonpatch/v2"
	"sigs.k8s.io/yaml"

	"outrigger.dev/outrigger/inject"
	"outrigger.dev/outrigger/internal/manifest"
)

func diffCommand() *cobra.Command {
	var from injectionFlags
	var output string
	command := &cobra.Command{
		Use:   "diff -f FILE",
		Short: "Show what injection would change in pods and workloads",
		Long: `Reads what "outrigger inject" reads and shows what it would change, object by object, as lines for people, or with
-o json as JSON patches for the objects ("kubectl patch --type=json" takes one).

The exit status is that of kubectl diff: 0 if nothing would change, 1 if something would, 2 if it failed or a pod would
be refused.`,
		Example: `  outrigger diff -f app.yaml
  kubectl get deployment web -o yaml | outrigger diff -f -
  outrigger diff -f app.yaml -o json`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			changed, err := showChanges(command, &from, output)
			if err != nil {
				return &exitStatus{2, err}
			}
			if changed {
				return &exitStatus{1, nil}
			}
			return nil
		},
	}
	from.register(command)
	command.Flags().StringVarP(&output, "output", "o", "", `"json" for JSON patches (default: lines to read)`)
	_ = command.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"json"}, cobra.ShellCompDirectiveNoFileComp))
	return command
}

// showChanges prints what would change, and says whether anything would.
func showChanges(command *cobra.Command, from *injectionFlags, output string) (bool, error) {
	print := map[string]func([]change, io.Writer) error{"": printChanges, "json": printPatches}[output]
	if print == nil {
		return false, fmt.Errorf("-o %s: expected json, or nothing for lines to read", output)
	}
	i, stream, err := from.start(command)
	if err != nil {
		return false, err
	}
	changes, err := i.changes(command.Context(), stream)
	if err != nil {
		return false, err
	}
	changed := slices.ContainsFunc(changes, func(c change) bool { return c.after != nil })
	return changed, print(changes, command.OutOrStdout())
}

// change is what injection would do to one object of the input.
type change struct {
	object        *manifest.Object
	report        inject.Report
	before, after []byte // the object as JSON; after is nil where it stays as it is
}

func (i injection) changes(ctx context.Context, stream *manifest.Stream) ([]change, error) {
	var out []change
	err := i.each(ctx, stream, func(d decided) error {
		c := change{object: d.object, report: d.report}
		var err error
		if c.before, err = d.object.JSON(); err != nil {
			return err
		}
		if d.written != nil {
			if err := d.template.Replace(d.written); err != nil {
				return err
			}
			if c.after, err = d.object.JSON(); err != nil {
				return err
			}
		}
		out = append(out, c)
		return nil
	})
	return out, err
}

// printChanges shows the changes as lines that people read: what is decided, and the YAML before and after.
func printChanges(changes []change, out io.Writer) error {
	for _, c := range changes {
		if c.after == nil {
			_, _ = fmt.Fprintf(out, "%s stays as it is: %s (%s)\n", c.object, c.report.Message, c.report.Reason)
			continue
		}
		before, err := yaml.JSONToYAML(c.before)
		if err != nil {
			return err
		}
		after, err := yaml.JSONToYAML(c.after)
		if err != nil {
			return err
		}
		name := c.object.String()
		if _, err := out.Write(diff.Diff(name, before, name+" injected", after)); err != nil {
			return err
		}
	}
	return nil
}

// objectPatch is one object of `diff -o json`.
type objectPatch struct {
	APIVersion string                `json:"apiVersion"`
	Kind       string                `json:"kind"`
	Namespace  string                `json:"namespace,omitempty"`
	Name       string                `json:"name"`
	Result     inject.Result         `json:"result"`
	Reason     string                `json:"reason"`
	Message    string                `json:"message,omitempty"`
	Patch      []jsonpatch.Operation `json:"patch"`
}

// printPatches writes one JSON list, in the order of the input.
func printPatches(changes []change, out io.Writer) error {
	list := []objectPatch{}
	for _, c := range changes {
		p := objectPatch{
			APIVersion: c.object.APIVersion, Kind: c.object.Kind, Namespace: c.object.Namespace, Name: c.object.Name,
			Result: c.report.Result, Reason: string(c.report.Reason), Message: c.report.Message, Patch: []jsonpatch.Operation{},
		}
		if c.after != nil {
			operations, err := jsonpatch.CreatePatch(c.before, c.after)
			if err != nil {
				return err
			}
			inOrder(operations, 1)
			p.Patch = operations
		}
		list = append(list, p)
	}
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "    ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(list)
}

// inOrder brings operations into an order that does not depend on the order in which maps are walked: by key within an
// object, as they come within a list, where positions depend on what came before. The paths are equal before depth.
func inOrder(operations []jsonpatch.Operation, depth int) {
	at := func(o jsonpatch.Operation) string {
		if segments := strings.Split(o.Path, "/"); depth < len(segments) {
			return segments[depth]
		}
		return ""
	}
	isIndex := func(segment string) bool { return segment != "" && strings.Trim(segment, "0123456789") == "" }
	slices.SortStableFunc(operations, func(a, b jsonpatch.Operation) int {
		if isIndex(at(a)) && isIndex(at(b)) {
			return 0
		}
		return strings.Compare(at(a), at(b))
	})
	for len(operations) > 0 {
		end := 1
		for end < len(operations) && at(operations[end]) == at(operations[0]) {
			end++
		}
		if end > 1 && at(operations[0]) != "" {
			inOrder(operations[:end], depth+1)
		}
		operations = operations[end:]
	}
}
