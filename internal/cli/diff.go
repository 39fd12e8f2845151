// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
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
		Use:   "diff -f FILE...",
		Short: "Show what injection would change in pods and workloads",
		Long: `Reads what "outrigger inject" reads and shows what it would change, object by object, as a text diff, or with
-o json as JSON patches, one entry for each object of the input ("kubectl patch --type=json" accepts a patch). As with kubectl diff,
the text omits objects that cannot change.

The exit status is that of kubectl diff: 0 if nothing would change, 1 if something would, 2 if it failed or a pod would
be refused.`,
		Example: `  outrigger diff -f app.yaml
  kubectl get deployment web -o yaml | outrigger diff -f -
  outrigger diff -f app.yaml -o json`,
		Args: NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			changed, err := showChanges(command, &from, output)
			if err != nil {
				return &exitStatus{diffFailed, err}
			}
			if changed {
				return &exitStatus{diffChanged, nil}
			}
			return nil
		},
	}
	from.register(command)
	command.Flags().StringVarP(&output, "output", "o", "", `"json" for JSON patches (default: text)`)
	_ = command.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"json"}, cobra.ShellCompDirectiveNoFileComp))
	return command
}

// The exit statuses of kubectl diff.
const (
	diffChanged = 1
	diffFailed  = 2
)

// showChanges prints what would change, and reports whether anything would.
func showChanges(command *cobra.Command, from *injectionFlags, output string) (bool, error) {
	var text bytes.Buffer // nothing is printed if one object is refused
	list := []objectPatch{}
	show := func(c change) error { return printChange(c, &text) }
	if output == "json" {
		show = func(c change) error {
			patch, err := patchOf(c)
			list = append(list, patch)
			return err
		}
	} else if output != "" {
		return false, usagef("-o %q is not a format%s Formats: json; text is the default", output, didYouMean(output, "json"))
	}
	i, in, err := from.start(command)
	if err != nil {
		return false, err
	}
	if output == "json" {
		i.withoutPod = func(object *manifest.Object) error {
			list = append(list, unchangedPatch(object))
			return nil
		}
	}
	changed := false
	err = i.changes(command.Context(), in, func(c change) error {
		changed = changed || c.after != nil
		return show(c)
	})
	if err == nil && output == "json" {
		err = printPatches(list, &text)
	}
	if err != nil {
		return false, err
	}
	_, err = text.WriteTo(command.OutOrStdout())
	return changed, err
}

// change is what injection would do to one object of the input.
type change struct {
	object        *manifest.Object
	report        inject.Report
	before, after []byte // the object as JSON; after is nil if it is unchanged
}

// changes calls show with what injection would do, in the order of the input.
func (i injection) changes(ctx context.Context, in *input, show func(change) error) error {
	afterDocument := func(*manifest.Document) error { return nil }
	return i.reviewEach(ctx, in, afterDocument, func(d reviewed) error {
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
		if bytes.Equal(c.before, c.after) { // injected before, with the same result
			c.after = nil
		}
		return show(c)
	})
}

// printChange writes a change as text: the decision, or a diff of the YAML.
func printChange(c change, out io.Writer) error {
	if c.after == nil && c.report.Result == inject.Injected {
		_, err := fmt.Fprintf(out, "%s is unchanged: it is already injected, and the result is the same\n", c.object)
		return err
	}
	if c.after == nil {
		_, err := fmt.Fprintf(out, "%s is unchanged: %s (%s)\n", c.object, c.report.Message, c.report.Reason)
		return err
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
	_, err = out.Write(diff.Diff(name, before, name+" injected", after))
	return err
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

// unchangedPatch is the entry of an object that injection never changes.
func unchangedPatch(object *manifest.Object) objectPatch {
	return objectPatch{
		APIVersion: object.APIVersion, Kind: object.Kind, Namespace: object.Namespace, Name: object.Name,
		Result: inject.Skipped, Reason: "NoPodTemplate", Message: "it has no pod template", Patch: []jsonpatch.Operation{},
	}
}

func patchOf(c change) (objectPatch, error) {
	p := objectPatch{
		APIVersion: c.object.APIVersion, Kind: c.object.Kind, Namespace: c.object.Namespace, Name: c.object.Name,
		Result: c.report.Result, Reason: string(c.report.Reason), Message: c.report.Message, Patch: []jsonpatch.Operation{},
	}
	if c.after == nil {
		return p, nil
	}
	operations, err := jsonpatch.CreatePatch(c.before, c.after)
	if err != nil {
		return p, err
	}
	inOrder(operations, 1)
	p.Patch = operations
	return p, nil
}

// printPatches writes one JSON list.
func printPatches(list []objectPatch, out io.Writer) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "    ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(list)
}

// inOrder sorts operations, because jsonpatch iterates over maps: by key within an object. Operations within a list keep their
// order, because later positions depend on earlier operations. The paths are equal up to depth.
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
