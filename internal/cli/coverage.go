// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/routing"
)

func coverageCommand() *cobra.Command {
	var from clusterFlags
	var all bool
	var output string
	var evict evicting
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
			c := l.coverage(func(ctx context.Context, settings istioFlags) (*inject.Config, error) {
				settings.kube, settings.unread = from.kube, l.unread()
				source, err := settings.load(ctx)
				if err != nil {
					return nil, err
				}
				return source.config, nil
			})
			report, err := c.report(command.Context(), all)
			if err != nil {
				return err
			}
			var failed error
			if evict.wanted {
				failed = c.evict(command.Context(), &report, evict)
			}
			printNotes(command.ErrOrStderr(), report.Notes...)
			if err := writeCoverage(report, encode, statusView{wide: output == "wide", namespaces: all}, command.OutOrStdout()); err != nil {
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

// coverer judges the pods of a cluster.
type coverer struct {
	*live
	load     func(context.Context, istioFlags) (*inject.Config, error)
	entries  []diagnose.Entry
	configs  map[configOf]*inject.Config
	awake    map[string]diagnose.Successor // by webhook object and entry, whether the injector answers
	notes    map[string]bool
	settings []api.Config
	blind    bool              // the webhook objects may not be read
	noConfig map[configOf]bool // configurations that may not be read
}

// configOf identifies a configuration by its revision and the installation whose settings apply.
type configOf struct {
	injector diagnose.Injector
	revision string
}

func (l *live) coverage(load func(context.Context, istioFlags) (*inject.Config, error)) *coverer {
	return &coverer{live: l, load: load, configs: map[configOf]*inject.Config{}, noConfig: map[configOf]bool{}, awake: map[string]diagnose.Successor{}, notes: map[string]bool{}}
}

// report judges the pods of the namespace, or of all namespaces.
func (c *coverer) report(ctx context.Context, all bool) (diagnose.CoverageReport, error) {
	report := diagnose.CoverageReport{Workloads: []diagnose.WorkloadCoverage{}}
	objects, err := c.webhookObjects(ctx)
	if err != nil {
		return report, err
	}
	c.entries, c.blind = diagnose.InjectorEntries(objects), c.unread().HidesClusterWide("MutatingWebhookConfiguration")
	if len(c.entries) == 0 && !c.blind {
		return report, fmt.Errorf("the cluster has no webhook object of Outrigger or istiod, so no pod gets a sidecar")
	}
	if c.settings, err = installations(ctx, c.client, c.installed, c.unread()); err != nil {
		return report, err
	}
	namespaces := []corev1.Namespace{}
	if all {
		var list corev1.NamespaceList
		err := c.client.List(ctx, &list)
		if isForbidden(err) {
			c.unread().AddKind("Namespace", "")
		} else if err != nil {
			return report, fmt.Errorf("list the namespaces: %w", err)
		}
		namespaces = list.Items
	}
	if !all || c.unread().HidesClusterWide("Namespace") {
		if err := c.mustExist(ctx, c.namespace); err != nil {
			return report, err
		}
		s := diagnose.PodFacts{}
		namespace, err := c.namespaceOf(ctx, c.namespace, &s)
		if err != nil {
			return report, err
		}
		report.Notes = append(report.Notes, s.Notes...)
		namespaces = append(namespaces, *namespace)
	}
	for i := range namespaces {
		err := c.namespaceReport(ctx, &namespaces[i], &report)
		switch {
		case err == nil:
		case all && isForbidden(err) && !c.unread().HidesClusterWide("Namespace"):
			c.unread().AddKind("Pod", namespaces[i].Name)
		case all:
			return report, withAllNamespaces(err, c.unread())
		default:
			return report, err
		}
	}
	for note := range c.notes {
		report.Notes = append(report.Notes, note)
	}
	slices.Sort(report.Notes)
	if note := c.unread().Note(c.namespace); note != "" {
		report.Notes = append(report.Notes, note)
	}
	return report, nil
}

// podsAtATime limits how many whole pods are held in memory.
const podsAtATime = 500

func (c *coverer) namespaceReport(ctx context.Context, namespace *corev1.Namespace, report *diagnose.CoverageReport) error {
	found, of := map[string]*diagnose.WorkloadCoverage{}, map[routing.WorkloadRef]int{}
	options := []client.ListOption{client.InNamespace(namespace.Name), client.Limit(podsAtATime), client.Continue("")}
	for {
		var page corev1.PodList
		err := c.client.List(ctx, &page, options...)
		if isForbidden(err) {
			return mayNotList("Pod", namespace.Name, err)
		}
		if err != nil {
			return fmt.Errorf("list the pods of namespace %s: %w", namespace.Name, err)
		}
		for i := range page.Items {
			pod := &page.Items[i]
			if diagnose.HasEnded(pod) {
				continue
			}
			standing, next, err := c.judge(ctx, pod, namespace)
			if err != nil {
				return err
			}
			ref := diagnose.WorkloadOf(pod)
			switch standing.State {
			case "":
				continue
			case api.CoverageCovered:
				report.Pods.Covered++
			case api.CoverageMissing:
				report.Pods.Missing++
			case api.CoverageOutdated:
				report.Pods.Outdated++
			case diagnose.CoverageUnchecked:
				report.Pods.Unchecked++
			}
			if of[ref]++; standing.State == api.CoverageCovered || standing.State == diagnose.CoverageUnchecked {
				continue
			}
			key := strings.Join(append([]string{ref.String(), string(standing.State), string(standing.Reason)}, standing.Details...), "\x00")
			if found[key] == nil {
				found[key] = &diagnose.WorkloadCoverage{
					Namespace: namespace.Name, Workload: ref.String(), State: standing.State, Reason: standing.Reason, Details: standing.Details,
					Command: diagnose.ReplaceCommand(ref, namespace.Name, standing.Reason), Ref: ref, Next: next,
				}
			}
			if found[key].Next.Unknown == "" {
				found[key].Next.Unknown = next.Unknown
			}
			found[key].Pods = append(found[key].Pods, pod.Name)
			found[key].PodObjects = append(found[key].PodObjects, corev1.Pod{ObjectMeta: metav1.ObjectMeta{
				Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, OwnerReferences: pod.OwnerReferences,
			}})
		}
		if page.Continue == "" {
			break
		}
		options[2] = client.Continue(page.Continue)
	}
	var statuses []diagnose.WorkloadCoverage
	for _, status := range found {
		status.Of = of[status.Ref]
		statuses = append(statuses, *status)
	}
	slices.SortFunc(statuses, func(a, b diagnose.WorkloadCoverage) int {
		return cmp.Or(cmp.Compare(a.State, b.State), cmp.Compare(a.Workload, b.Workload), cmp.Compare(a.Reason, b.Reason), slices.Compare(a.Details, b.Details))
	})
	report.Workloads = append(report.Workloads, statuses...)
	return nil
}

// judge compares a pod with what the matching injector would return for it now, and returns what prevents a new pod from getting
// that.
func (c *coverer) judge(ctx context.Context, pod *corev1.Pod, namespace *corev1.Namespace) (inject.Coverage, diagnose.Successor, error) {
	created, _, _, err := inject.Removed(pod)
	if err != nil {
		created = pod // what it says of its sidecar cannot be read; Stand says so
	}
	if c.blind {
		if word := diagnose.InjectionOf(namespace); word != "enabled" && !strings.HasPrefix(word, "revision ") {
			return inject.Coverage{}, diagnose.Successor{}, nil
		}
		return diagnose.CoverageWithoutConfig(pod), diagnose.Successor{Unknown: "you have no permission to read the webhook objects"}, nil
	}
	s := diagnose.PodFacts{Entries: diagnose.MatchingEntries(ctx, c.entries, inject.AsCreated(created), namespace)}
	entry := s.Matching(diagnose.Istiod)
	if entry == nil {
		entry = s.Matching(diagnose.Outrigger)
	}
	if entry == nil || s.Broken() != nil {
		return inject.Coverage{}, diagnose.Successor{}, nil
	}
	of := configOf{entry.Injector, entry.Revision}
	config, err := c.config(ctx, of)
	if isForbidden(err) {
		c.unread().AddKind("ConfigMap", c.live.config.Istio.Namespace)
		c.noConfig[of] = true
	}
	if c.noConfig[of] {
		return diagnose.CoverageWithoutConfig(pod), diagnose.Successor{Unknown: "you have no permission to read Istio's configuration"}, nil
	}
	if err != nil {
		return inject.Coverage{}, diagnose.Successor{}, err
	}
	standing, err := inject.CoverageOf(inject.Request{Pod: pod, Namespace: namespace, Path: s.Path()}, config)
	return standing, c.answering(ctx, &s, entry), err
}

// answering returns why the injector that matches would not answer, or why that is unknown.
func (c *coverer) answering(ctx context.Context, s *diagnose.PodFacts, entry *diagnose.Entry) diagnose.Successor {
	if entry.Injector != diagnose.Outrigger {
		return diagnose.Successor{}
	}
	key := entry.Object + " " + entry.Name
	if known, is := c.awake[key]; is {
		return known
	}
	s.Endpoints = c.readyEndpoints(ctx, s)
	var out diagnose.Successor
	switch s.Answer() {
	case diagnose.NoAnswer:
		out.Asleep = s.HowToWake()
	case diagnose.UnknownAnswer:
		out.Unknown = "it is unknown whether a replica of Outrigger is ready"
		if service := entry.Webhook.ClientConfig.Service; service != nil && c.unread().Hides(service.Namespace, "EndpointSlice") {
			out.Unknown = "you have no permission to read EndpointSlices in namespace " + service.Namespace + ", so " + out.Unknown
		}
	}
	for _, note := range s.Notes {
		c.notes[note] = true
	}
	c.awake[key] = out
	return out
}

// config returns Istio's configuration of a revision, read with the settings of the Outrigger that serves it.
func (c *coverer) config(ctx context.Context, of configOf) (*inject.Config, error) {
	if config := c.configs[of]; config != nil || c.noConfig[of] {
		return config, nil
	}
	settings := c.live.config
	if of.injector == diagnose.Istiod {
		settings.Istio = api.DefaultConfig().Istio
		settings.Istio.Namespace = c.live.config.Istio.Namespace
	}
	for _, installed := range c.settings {
		if of.injector == diagnose.Outrigger && installed.Istio.Revision == of.revision {
			settings = installed
		}
	}
	config, err := c.load(ctx, istioFlags{
		istioNamespace: settings.Istio.Namespace, revision: of.revision, nativeSidecars: settings.Istio.NativeSidecars,
		platform: settings.Istio.Platform, compliancePolicy: settings.Istio.CompliancePolicy, release: settings.Istio.Version,
	})
	if err != nil {
		return nil, err
	}
	c.configs[of] = config
	return config, nil
}
