// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/internal/diagnose"
)

// statusFlags say what status shows, and how.
type statusFlags struct {
	all, noHeaders, watch bool
	selector, output      string
}

func (f *statusFlags) register(command *cobra.Command) {
	flags := command.Flags()
	flags.BoolVarP(&f.all, "all-namespaces", "A", false, "every namespace that is labeled or has routes of Outrigger")
	flags.StringVarP(&f.selector, "selector", "l", "", "only Services with these labels, as in kubectl: app=web,tier!=cache")
	flags.BoolVar(&f.noHeaders, "no-headers", false, "print no headings")
	flags.BoolVarP(&f.watch, "watch", "w", false, "watch for changes: redrawn on a terminal, otherwise one line for each change")
	flags.StringVarP(&f.output, "output", "o", "", "wide, json, yaml, name, jsonpath=TEMPLATE or go-template=TEMPLATE (default: a table)")
	_ = command.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"wide", "json", "yaml", "name", "jsonpath="}, cobra.ShellCompDirectiveNoFileComp))
}

// run prints the status once, or with --watch until the command is interrupted.
func (f *statusFlags) run(command *cobra.Command, from *clusterFlags, args []string) error {
	print, err := statusPrinter(f.output)
	if err != nil {
		return err
	}
	chosen, err := f.chosen(args)
	if err != nil {
		return err
	}
	l, err := from.connect(command.Context(), command.ErrOrStderr())
	if err != nil {
		return err
	}
	l.only = chosen.labels
	out := command.OutOrStdout()
	view := tableView{wide: f.output == "wide", namespaces: f.all, headless: f.noHeaders, style: styleOf(out), gaps: l.gaps, flags: from.kube.selecting()}
	read := func(ctx context.Context) (diagnose.StatusReport, error) {
		return l.withControllerState(ctx, func(ctx context.Context) (diagnose.StatusReport, error) {
			return l.status(ctx, f.all, chosen.services...)
		})
	}
	if f.watch {
		var changed <-chan struct{}
		l, changed = l.watching(command.Context())
		w := statusWatch{statusStream: statusStream{read: read, changed: changed}, out: out, notes: command.ErrOrStderr(), flags: view.flags}
		if isTerminal(out) {
			w.draw = func(report diagnose.StatusReport, out io.Writer) error { return print(report, view, out) }
		}
		return w.run(command.Context())
	}
	report, err := read(command.Context())
	if err != nil {
		return err
	}
	printNotes(command.ErrOrStderr(), report.Notes...)
	if f.selector != "" && report.CountServices() == 0 {
		printNotes(command.ErrOrStderr(), "no Service matches -l "+f.selector)
	}
	return print(report, view, out)
}

// statusChoice is what the arguments choose.
type statusChoice struct {
	services []string // none for all
	labels   labels.Selector
}

func (f *statusFlags) chosen(args []string) (statusChoice, error) {
	out := statusChoice{}
	if len(args) > 0 {
		service, err := serviceTypes.parseOne(args)
		if err != nil {
			return out, err
		}
		out.services = []string{service}
	}
	if f.all && len(args) > 0 {
		return out, usagef("service %s is in one namespace: leave out -A", out.services[0])
	}
	if f.selector != "" && len(args) > 0 {
		return out, usagef("service %s is named: leave out -l", out.services[0])
	}
	if f.watch && f.output != "" && f.output != "wide" {
		return out, usagef("--watch shows a table or lines: leave out -o %s", f.output)
	}
	var err error
	if out.labels, err = labels.Parse(f.selector); err != nil {
		return out, usagef("-l %s: %v", f.selector, err)
	}
	return out, nil
}

// selects reports whether status is about some Services only, by their labels.
func (l *live) selects() bool { return l.only != nil && !l.only.Empty() }

// withLabels returns those of the Services of a namespace that the selector of the command matches.
func (l *live) withLabels(ctx context.Context, s *snapshot, namespace string, names []string) ([]string, error) {
	if !l.selects() {
		return names, nil
	}
	var list corev1.ServiceList
	if err := s.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return nil, err
	}
	matches := map[string]bool{}
	for i := range list.Items {
		matches[list.Items[i].Name] = l.only.Matches(labels.Set(list.Items[i].Labels))
	}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !matches[name] }), nil
}

// printNames prints what kubectl takes as arguments.
func printNames(report diagnose.StatusReport, _ tableView, out io.Writer) error {
	var text bytes.Buffer
	eachService(report.Namespaces, func(_ string, s diagnose.ServiceStatus) { fmt.Fprintf(&text, "service/%s\n", s.Name) })
	_, err := text.WriteTo(out)
	return err
}
