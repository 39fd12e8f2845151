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
			for _, note := range report.Notes {
				command.PrintErrln("Note: " + note)
			}
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

// coverageReport is what coverage says, in the form of -o json.
type coverageReport struct {
	// Pods counts the pods that should have a sidecar.
	Pods struct {
		Covered  int `json:"covered"`
		Missing  int `json:"missing"`
		Outdated int `json:"outdated"`
		// Unchecked have a sidecar, and it is unknown whether a new one would be another.
		Unchecked int `json:"unchecked,omitempty"`
	} `json:"pods"`
	Workloads []coverageStatus `json:"workloads"`
	Evictions []evictionStatus `json:"evictions,omitempty"`
	Notes     []string         `json:"notes,omitempty"`
}

// coverageStatus are the pods of one workload for which the same is to be said.
type coverageStatus struct {
	Namespace string             `json:"namespace"`
	Workload  string             `json:"workload"` // Deployment/app
	State     api.CoverageState  `json:"state"`
	Reason    api.CoverageReason `json:"reason"`
	Details   []string           `json:"details,omitempty"`
	Pods      []string           `json:"pods"`
	Of        int                `json:"of"` // pods of the workload, covered or not
	// Command replaces the pods; empty where that would not help.
	Command string `json:"command,omitempty"`

	pods []corev1.Pod // their metadata alone
	ref  routing.WorkloadRef
	next successor
}

// successor is what prevents a new pod from getting the sidecar; both fields are empty if nothing does.
type successor struct {
	asleep  string // why no injector would answer
	unknown string // why it is unknown what a new pod would get
}

// coverer judges the pods of a cluster.
type coverer struct {
	*live
	load     func(context.Context, istioFlags) (*inject.Config, error)
	entries  []entryVerdict
	configs  map[configOf]*inject.Config
	awake    map[string]successor // by webhook object and entry, whether the injector answers
	notes    map[string]bool
	settings []api.Config
	blind    bool              // the webhook objects may not be read
	noConfig map[configOf]bool // configurations that may not be read
}

// configOf names a configuration: of which revision, read with whose settings.
type configOf struct {
	injector injectorName
	revision string
}

func (l *live) coverage(load func(context.Context, istioFlags) (*inject.Config, error)) *coverer {
	return &coverer{live: l, load: load, configs: map[configOf]*inject.Config{}, noConfig: map[configOf]bool{}, awake: map[string]successor{}, notes: map[string]bool{}}
}

// report judges the pods of the namespace, or of all namespaces.
func (c *coverer) report(ctx context.Context, all bool) (coverageReport, error) {
	report := coverageReport{Workloads: []coverageStatus{}}
	objects, err := c.webhookObjects(ctx)
	if err != nil {
		return report, err
	}
	c.entries, c.blind = injectorEntries(objects), c.unread().elsewhere("MutatingWebhookConfiguration")
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
			c.unread().kindIn("Namespace", "")
		} else if err != nil {
			return report, fmt.Errorf("list the namespaces: %w", err)
		}
		namespaces = list.Items
	}
	if !all || c.unread().elsewhere("Namespace") {
		if err := c.mustExist(ctx, c.namespace); err != nil {
			return report, err
		}
		s := injectionStory{}
		namespace, err := c.namespaceOf(ctx, c.namespace, &s)
		if err != nil {
			return report, err
		}
		report.Notes = append(report.Notes, s.notes...)
		namespaces = append(namespaces, *namespace)
	}
	for i := range namespaces {
		err := c.namespaceReport(ctx, &namespaces[i], &report)
		switch {
		case err == nil:
		case all && isForbidden(err) && !c.unread().elsewhere("Namespace"):
			c.unread().kindIn("Pod", namespaces[i].Name)
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
	if note := c.unread().note(c.namespace); note != "" {
		report.Notes = append(report.Notes, note)
	}
	return report, nil
}

// podsAtATime bounds what is held of whole pods.
const podsAtATime = 500

func (c *coverer) namespaceReport(ctx context.Context, namespace *corev1.Namespace, report *coverageReport) error {
	found, of := map[string]*coverageStatus{}, map[routing.WorkloadRef]int{}
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
			if ended(pod) {
				continue
			}
			standing, next, err := c.judge(ctx, pod, namespace)
			if err != nil {
				return err
			}
			ref := workloadOf(pod)
			switch standing.State {
			case "":
				continue
			case api.CoverageCovered:
				report.Pods.Covered++
			case api.CoverageMissing:
				report.Pods.Missing++
			case api.CoverageOutdated:
				report.Pods.Outdated++
			case coverageUnchecked:
				report.Pods.Unchecked++
			}
			if of[ref]++; standing.State == api.CoverageCovered || standing.State == coverageUnchecked {
				continue
			}
			key := strings.Join(append([]string{ref.String(), string(standing.State), string(standing.Reason)}, standing.Details...), "\x00")
			if found[key] == nil {
				found[key] = &coverageStatus{
					Namespace: namespace.Name, Workload: ref.String(), State: standing.State, Reason: standing.Reason, Details: standing.Details,
					Command: newPods(ref, namespace.Name, standing.Reason), ref: ref, next: next,
				}
			}
			if found[key].next.unknown == "" {
				found[key].next.unknown = next.unknown
			}
			found[key].Pods = append(found[key].Pods, pod.Name)
			found[key].pods = append(found[key].pods, corev1.Pod{ObjectMeta: metav1.ObjectMeta{
				Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, OwnerReferences: pod.OwnerReferences,
			}})
		}
		if page.Continue == "" {
			break
		}
		options[2] = client.Continue(page.Continue)
	}
	var statuses []coverageStatus
	for _, status := range found {
		status.Of = of[status.ref]
		statuses = append(statuses, *status)
	}
	slices.SortFunc(statuses, func(a, b coverageStatus) int {
		return cmp.Or(cmp.Compare(a.State, b.State), cmp.Compare(a.Workload, b.Workload), cmp.Compare(a.Reason, b.Reason), slices.Compare(a.Details, b.Details))
	})
	report.Workloads = append(report.Workloads, statuses...)
	return nil
}

// workloadOf is the workload that a user knows a pod by, the Job of a pod that is to end too.
func workloadOf(pod *corev1.Pod) routing.WorkloadRef {
	ref, serves := routing.WorkloadOf(pod)
	if owner := metav1.GetControllerOfNoCopy(pod); !serves && owner != nil {
		ref = routing.WorkloadRef{Kind: owner.Kind, Name: owner.Name}
	}
	return ref
}

// newPods is the command that replaces the pods of a workload; none where a new one would be denied, or comes by itself.
func newPods(ref routing.WorkloadRef, namespace string, reason api.CoverageReason) string {
	if reason == api.CoverageDenied || ref.Kind == "Job" {
		return ""
	}
	return restartCommand(ref, namespace)
}

// judge compares a pod with what the injector that is asked about it would make of it now, and returns what prevents a new pod from
// getting that.
func (c *coverer) judge(ctx context.Context, pod *corev1.Pod, namespace *corev1.Namespace) (inject.Standing, successor, error) {
	created, _, _, err := inject.Removed(pod)
	if err != nil {
		created = pod // what it says of its sidecar cannot be read; Stand says so
	}
	if c.blind {
		if word := injectionOf(namespace); word != "enabled" && !strings.HasPrefix(word, "revision ") {
			return inject.Standing{}, successor{}, nil
		}
		return withoutConfig(pod), successor{unknown: "you have no permission to read the webhook objects"}, nil
	}
	s := injectionStory{entries: judged(ctx, c.entries, inject.AsCreated(created), namespace)}
	entry := s.asked(istios)
	if entry == nil {
		entry = s.asked(ours)
	}
	if entry == nil || s.broken() != nil {
		return inject.Standing{}, successor{}, nil
	}
	of := configOf{entry.injector, entry.revision}
	config, err := c.config(ctx, of)
	if isForbidden(err) {
		c.unread().kindIn("ConfigMap", c.live.config.Istio.Namespace)
		c.noConfig[of] = true
	}
	if c.noConfig[of] {
		return withoutConfig(pod), successor{unknown: "you have no permission to read Istio's configuration"}, nil
	}
	if err != nil {
		return inject.Standing{}, successor{}, err
	}
	standing, err := inject.Stand(inject.Request{Pod: pod, Namespace: namespace, Path: s.path()}, config)
	return standing, c.answering(ctx, &s, entry), err
}

// coverageUnchecked is the state of a pod with a sidecar that cannot be compared with a new one.
const coverageUnchecked api.CoverageState = "unchecked"

// withoutConfig returns the state of a pod that should have a sidecar, if Istio's configuration cannot be read.
func withoutConfig(pod *corev1.Pod) inject.Standing {
	switch {
	case hasSidecar(pod):
		return inject.Standing{State: coverageUnchecked}
	case lacksSidecar(pod):
		return inject.Standing{State: api.CoverageMissing, Reason: api.CoverageNoSidecar}
	}
	return inject.Standing{}
}

// answering returns why the injector that matches would not answer, or why that is unknown.
func (c *coverer) answering(ctx context.Context, s *injectionStory, entry *entryVerdict) successor {
	if entry.injector != ours {
		return successor{}
	}
	key := entry.object + " " + entry.entry
	if known, is := c.awake[key]; is {
		return known
	}
	s.endpoints = c.readyEndpoints(ctx, s)
	var out successor
	switch s.answer() {
	case answersNot:
		out.asleep = s.awaken()
	case unknownAnswer:
		out.unknown = "it is unknown whether a replica of Outrigger is ready"
		if service := entry.webhook.ClientConfig.Service; service != nil && c.unread().in(service.Namespace, "EndpointSlice") {
			out.unknown = "you have no permission to read EndpointSlices in namespace " + service.Namespace + ", so " + out.unknown
		}
	}
	for _, note := range s.notes {
		c.notes[note] = true
	}
	c.awake[key] = out
	return out
}

// config is Istio's configuration of a revision, read with the settings of the installation of ours that serves it.
func (c *coverer) config(ctx context.Context, of configOf) (*inject.Config, error) {
	if config := c.configs[of]; config != nil || c.noConfig[of] {
		return config, nil
	}
	settings := c.live.config
	if of.injector == istios {
		settings.Istio = api.DefaultConfig().Istio
		settings.Istio.Namespace = c.live.config.Istio.Namespace
	}
	for _, installed := range c.settings {
		if of.injector == ours && installed.Istio.Revision == of.revision {
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
