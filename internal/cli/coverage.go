// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
	"outrigger.dev/outrigger/internal/diagnose"
)

func coverageCommand() *cobra.Command {
	var from clusterFlags
	var all bool
	var output string
	var evict evictionFlags
	command := &cobra.Command{
		Use:   "coverage",
		Short: "Show pods without the sidecar that a new pod would get, or with an outdated one",
		Long: `Shows which pods should have a sidecar and have none, and which have a different one than a new pod would get now: another
revision, image, set of containers, arguments, or environment. Which webhook matches a pod, Outrigger's or istiod's, and what
it would inject is determined as explain does.

With --evict, at most --max of these pods are evicted through the API server, with your permissions and within
PodDisruptionBudgets. A pod that a budget protects is left and reported. Pods without a controller that recreates them, pods
of Jobs, and pods whose replacement would be denied, or is unknown, are always left.`,
		Example: `  # The namespace of the kubeconfig's context, then every namespace
  outrigger coverage
  outrigger coverage -A -o wide

  # Replace at most ten of the pods, and list them first
  outrigger coverage -n demo --evict --max 10 --dry-run=server
  outrigger coverage -n demo --evict --max 10`,
		Args: NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			encode, err := encoderFor(output)
			if err != nil {
				return err
			}
			if err := evict.check(command.Flags().Changed("max")); err != nil {
				return err
			}
			l, err := from.connect(command.Context(), command.ErrOrStderr())
			if err != nil {
				return err
			}
			c := l.coverage(loadFor(l, &from))
			report, err := c.report(command.Context(), all)
			if err != nil {
				return err
			}
			var failed error
			if evict.wanted {
				failed = c.evict(command.Context(), report, evict)
			}
			printNotes(command.ErrOrStderr(), report.Notes...)
			if encode != nil {
				err = writeEncoded(command.OutOrStdout(), encode, report)
			} else {
				err = printCoverage(report, tableView{wide: output == "wide", namespaces: all, flags: from.kube.selecting()}, command.OutOrStdout())
			}
			if err != nil {
				return err
			}
			return failed
		},
	}
	from.register(command, true)
	flags := command.Flags()
	flags.BoolVarP(&all, "all-namespaces", "A", false, "every namespace")
	flags.StringVarP(&output, "output", "o", "", "wide, json, yaml, jsonpath=TEMPLATE or go-template=TEMPLATE (default: a table)")
	_ = command.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"wide", "json", "yaml"}, cobra.ShellCompDirectiveNoFileComp))
	evict.register(command)
	return command
}

// coverageReader reads the pods of a cluster, and the configuration with which each is compared.
type coverageReader struct {
	*live
	load       func(context.Context, istioFlags) (*inject.Config, error)
	entries    []diagnose.Entry
	configs    map[configKey]*inject.Config  // nil for a configuration that the user has no permission to read
	successors map[string]diagnose.Successor // by webhook object and entry
	notes      map[string]bool
}

// configKey identifies a configuration by its revision and the injector whose settings apply.
type configKey struct {
	injector diagnose.Injector
	revision string
}

func (l *live) coverage(load func(context.Context, istioFlags) (*inject.Config, error)) *coverageReader {
	return &coverageReader{live: l, load: load, configs: map[configKey]*inject.Config{}, successors: map[string]diagnose.Successor{}, notes: map[string]bool{}}
}

// loadFor returns how the coverage of a cluster reads Istio's configuration.
func loadFor(l *live, from *clusterFlags) func(context.Context, istioFlags) (*inject.Config, error) {
	return func(ctx context.Context, settings istioFlags) (*inject.Config, error) {
		settings.kube, settings.gaps = from.kube, l.gaps
		source, err := settings.load(ctx)
		if err != nil {
			return nil, err
		}
		return source.config, nil
	}
}

// report returns the coverage of the pods in the namespace, or in all namespaces.
func (c *coverageReader) report(ctx context.Context, all bool) (*diagnose.CoverageReport, error) {
	report := &diagnose.CoverageReport{Workloads: []diagnose.WorkloadCoverage{}}
	objects, err := c.webhookObjects(ctx)
	if err != nil {
		return nil, err
	}
	if c.entries = diagnose.InjectorEntries(objects); len(c.entries) == 0 && !c.isBlind() {
		return nil, errors.New("the cluster has no webhook object of Outrigger or istiod, so no pod gets a sidecar")
	}
	namespaces, err := c.namespaces(ctx, all)
	if err != nil {
		return nil, err
	}
	for i := range namespaces {
		pods, err := c.pods(ctx, &namespaces[i])
		switch {
		case err == nil:
			report.AddNamespace(namespaces[i].Name, pods)
		case all && isForbidden(err) && !c.gaps.HidesClusterWide("Namespace"):
			c.gaps.AddKind("Pod", namespaces[i].Name)
		case all:
			return nil, withAllNamespaces(err, c.gaps)
		default:
			return nil, err
		}
	}
	report.Notes = slices.Sorted(maps.Keys(c.notes))
	if note := c.gaps.Note(c.namespace); note != "" {
		report.Notes = append(report.Notes, note)
	}
	return report, nil
}

// isBlind reports whether the user has no permission to read the webhook objects.
func (c *coverageReader) isBlind() bool {
	return c.gaps.HidesClusterWide("MutatingWebhookConfiguration")
}

// namespaces returns all namespaces, or only that of the command, also if the user has no permission to list them.
func (c *coverageReader) namespaces(ctx context.Context, all bool) ([]corev1.Namespace, error) {
	if all {
		var list corev1.NamespaceList
		err := c.client.List(ctx, &list)
		if err == nil {
			return list.Items, nil
		}
		if !isForbidden(err) {
			return nil, fmt.Errorf("list the namespaces: %w", err)
		}
		c.gaps.AddKind("Namespace", "")
	}
	if err := c.checkNamespaceExists(ctx, c.namespace); err != nil {
		return nil, err
	}
	namespace, note, err := c.namespaceOf(ctx, c.namespace)
	if err != nil {
		return nil, err
	}
	if note != "" {
		c.notes[note] = true
	}
	return []corev1.Namespace{*namespace}, nil
}

// podsPerPage limits how many whole pods are held in memory.
const podsPerPage = 500

// pods returns the coverage of the running pods of a namespace.
func (c *coverageReader) pods(ctx context.Context, namespace *corev1.Namespace) ([]diagnose.PodCoverage, error) {
	var out []diagnose.PodCoverage
	for next := ""; ; {
		var page corev1.PodList
		err := c.client.List(ctx, &page, client.InNamespace(namespace.Name), client.Limit(podsPerPage), client.Continue(next))
		if isForbidden(err) {
			return nil, mayNotList("Pod", namespace.Name, err)
		}
		if err != nil {
			return nil, fmt.Errorf("list the pods of namespace %s: %w", namespace.Name, err)
		}
		for i := range page.Items {
			if diagnose.HasEnded(&page.Items[i]) {
				continue
			}
			coverage, err := c.coverageOf(ctx, &page.Items[i], namespace)
			if err != nil {
				return nil, err
			}
			coverage.Pod = diagnose.CoverageMetadata(&page.Items[i])
			out = append(out, coverage)
		}
		if next = page.Continue; next == "" {
			return out, nil
		}
	}
}

// coverageOf compares a pod with what the matching injector would return for it now.
func (c *coverageReader) coverageOf(ctx context.Context, pod *corev1.Pod, namespace *corev1.Namespace) (diagnose.PodCoverage, error) {
	if c.isBlind() {
		return diagnose.CoverageByLabel(pod, namespace), nil
	}
	facts := diagnose.FactsOfSuccessor(ctx, c.entries, pod, namespace)
	entry := facts.Injector()
	if entry == nil {
		return diagnose.PodCoverage{}, nil
	}
	config, err := c.config(ctx, entry)
	if err != nil {
		return diagnose.PodCoverage{}, err
	}
	if config == nil {
		return diagnose.CoverageWithoutConfig(pod), nil
	}
	coverage, err := inject.CoverageOf(inject.Request{Pod: pod, Namespace: namespace, Path: facts.Path()}, config)
	return diagnose.PodCoverage{Coverage: coverage, Next: c.successor(ctx, facts, entry)}, err
}

// successor reads once for each entry whether its injector answers.
func (c *coverageReader) successor(ctx context.Context, facts *diagnose.PodFacts, entry *diagnose.Entry) diagnose.Successor {
	key := entry.Object + " " + entry.Name
	out, known := c.successors[key]
	if known {
		return out
	}
	if entry.Injector == diagnose.Outrigger {
		facts.Endpoints = c.readyEndpoints(ctx, facts)
		out = facts.Successor(c.gaps)
	}
	for _, note := range facts.Notes {
		c.notes[note] = true
	}
	c.successors[key] = out
	return out
}

// config returns Istio's configuration of the entry's revision, read with the settings of the Outrigger that serves it, or nil if the
// user has no permission to read it.
func (c *coverageReader) config(ctx context.Context, entry *diagnose.Entry) (*inject.Config, error) {
	key := configKey{entry.Injector, entry.Revision}
	if config, known := c.configs[key]; known {
		return config, nil
	}
	istio := c.live.config.Istio
	if entry.Injector == diagnose.Istiod {
		istio = api.DefaultConfig().Istio
		istio.Namespace = c.live.config.Istio.Namespace
	}
	if installed, is := c.installed(entry.Revision); is && entry.Injector == diagnose.Outrigger {
		istio = installed.Istio
	}
	istio.Revision = entry.Revision
	config, err := c.load(ctx, istioFlagsOf(istio))
	if isForbidden(err) {
		c.gaps.AddKind("ConfigMap", c.live.config.Istio.Namespace)
		config, err = nil, nil
	}
	if err != nil {
		return nil, err
	}
	c.configs[key] = config
	return config, nil
}
