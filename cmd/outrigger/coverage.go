package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
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
		Short: "Show the pods that lack the sidecar that a new one would get, or have an outdated one",
		Long: `Shows which pods should have a sidecar and have none, and which have another one than a new pod would get now: another
revision, image or set of containers, other arguments or another environment. Whether an injector is asked about a pod,
Outrigger's or istiod's, and what it would make of it is found out as explain does.

With --evict the pods are evicted, at most --max of them, through the API server's eviction, with the rights of whoever
runs the command and within PodDisruptionBudgets: a pod that a budget protects now is left, and told. Pods that nothing
would make anew, the pods of Jobs, and those of which a new one would be denied are always left.`,
		Example: `  # The namespace of the kubeconfig's context, then every namespace
  outrigger coverage
  outrigger coverage -A -o wide

  # Replace at most ten of the pods, and see first which
  outrigger coverage -n demo --evict --max 10 --dry-run=server
  outrigger coverage -n demo --evict --max 10`,
		Args: cobra.NoArgs,
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
				settings.kubeconfig, settings.context = from.kubeconfig, from.context
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
	flags.StringVarP(&output, "output", "o", "", "wide, json or yaml (default: a table)")
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

	pods   []corev1.Pod // their metadata alone
	ref    routing.WorkloadRef
	asleep string // why a new pod would get no answer; empty if it gets one
}

// coverer judges the pods of a cluster.
type coverer struct {
	*live
	load     func(context.Context, istioFlags) (*inject.Config, error)
	entries  []entryVerdict
	configs  map[configOf]*inject.Config
	awake    map[string]string // by Service "namespace/name" and entry, why nobody answers
	notes    map[string]bool
	settings []api.Config
}

// configOf names a configuration: of which revision, read with whose settings.
type configOf struct {
	injector injectorName
	revision string
}

func (l *live) coverage(load func(context.Context, istioFlags) (*inject.Config, error)) *coverer {
	return &coverer{live: l, load: load, configs: map[configOf]*inject.Config{}, awake: map[string]string{}, notes: map[string]bool{}}
}

// report judges the pods of the namespace, or of all namespaces.
func (c *coverer) report(ctx context.Context, all bool) (coverageReport, error) {
	report := coverageReport{Workloads: []coverageStatus{}}
	var objects admissionregistrationv1.MutatingWebhookConfigurationList
	if err := c.client.List(ctx, &objects); err != nil {
		return report, fmt.Errorf("read the webhook objects of the cluster, without which nothing is known of who is asked: %w", err)
	}
	c.entries = injectorEntries(objects.Items)
	if len(c.entries) == 0 {
		return report, fmt.Errorf("the cluster has no webhook object of Outrigger or istiod, so no pod gets a sidecar")
	}
	var err error
	if c.settings, err = installations(ctx, c.client, c.installed, c.unread()); err != nil {
		return report, err
	}
	namespaces := []corev1.Namespace{}
	if all {
		var list corev1.NamespaceList
		if err := c.client.List(ctx, &list); err != nil {
			return report, fmt.Errorf("list the namespaces: %w", err)
		}
		namespaces = list.Items
	} else {
		s := injectionStory{}
		namespace, err := c.namespaceOf(ctx, c.namespace, &s)
		if err != nil {
			return report, err
		}
		report.Notes = append(report.Notes, s.notes...)
		namespaces = append(namespaces, *namespace)
	}
	for i := range namespaces {
		if err := c.namespaceReport(ctx, &namespaces[i], &report); err != nil {
			return report, err
		}
	}
	for note := range c.notes {
		report.Notes = append(report.Notes, note)
	}
	slices.Sort(report.Notes)
	return report, nil
}

// podsAtATime bounds what is held of whole pods.
const podsAtATime = 500

func (c *coverer) namespaceReport(ctx context.Context, namespace *corev1.Namespace, report *coverageReport) error {
	found, of := map[string]*coverageStatus{}, map[routing.WorkloadRef]int{}
	options := []client.ListOption{client.InNamespace(namespace.Name), client.Limit(podsAtATime), client.Continue("")}
	for {
		var page corev1.PodList
		if err := c.client.List(ctx, &page, options...); err != nil {
			return fmt.Errorf("list the pods of namespace %s: %w", namespace.Name, err)
		}
		for i := range page.Items {
			pod := &page.Items[i]
			if ended(pod) {
				continue
			}
			standing, asleep, err := c.judge(ctx, pod, namespace)
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
			}
			if of[ref]++; standing.State == api.CoverageCovered {
				continue
			}
			key := strings.Join(append([]string{ref.String(), string(standing.State), string(standing.Reason)}, standing.Details...), "\x00")
			if found[key] == nil {
				found[key] = &coverageStatus{
					Namespace: namespace.Name, Workload: ref.String(), State: standing.State, Reason: standing.Reason, Details: standing.Details,
					Command: newPods(ref, namespace.Name, standing.Reason), ref: ref, asleep: asleep,
				}
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

// judge says how a pod stands to what the injector that is asked about it would make of it now, and why that would not
// answer, if it would not.
func (c *coverer) judge(ctx context.Context, pod *corev1.Pod, namespace *corev1.Namespace) (inject.Standing, string, error) {
	created, _, _, err := inject.Removed(pod)
	if err != nil {
		created = pod // what it says of its sidecar cannot be read; Stand says so
	}
	s := injectionStory{entries: judged(ctx, c.entries, inject.AsCreated(created), namespace)}
	entry := s.asked(istios)
	if entry == nil {
		entry = s.asked(ours)
	}
	if entry == nil || s.broken() != nil {
		return inject.Standing{}, "", nil
	}
	config, err := c.config(ctx, configOf{entry.injector, entry.revision})
	if err != nil {
		return inject.Standing{}, "", err
	}
	standing, err := inject.Stand(inject.Request{Pod: pod, Namespace: namespace, Path: s.path()}, config)
	return standing, c.asleep(ctx, &s, entry), err
}

// asleep says why the injector that is asked would not answer; nothing if it would, or if that is not known.
func (c *coverer) asleep(ctx context.Context, s *injectionStory, entry *entryVerdict) string {
	if entry.injector != ours {
		return ""
	}
	key := entry.object + " " + entry.entry
	if why, known := c.awake[key]; known {
		return why
	}
	s.endpoints = c.readyEndpoints(ctx, s)
	c.awake[key] = ""
	if s.silent() {
		c.awake[key] = s.awaken()
	}
	for _, note := range s.notes {
		c.notes[note] = true
	}
	return c.awake[key]
}

// config is Istio's configuration of a revision, read with the settings of the installation of ours that serves it.
func (c *coverer) config(ctx context.Context, of configOf) (*inject.Config, error) {
	if config := c.configs[of]; config != nil {
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

// writeCoverage writes the report as data, or as tables where it is not to be encoded.
func writeCoverage(report coverageReport, encode func(any) ([]byte, error), view statusView, out io.Writer) error {
	if encode == nil {
		return printCoverage(report, view, out)
	}
	text, err := encode(report)
	if err != nil {
		return err
	}
	_, err = out.Write(text)
	return err
}

// printCoverage writes the tables: pods, the commands that replace them, evictions, and the sum.
func printCoverage(report coverageReport, view statusView, out io.Writer) error {
	p := &tables{out: out, view: view}
	heading := p.at("NAMESPACE", "WORKLOAD", "PODS", "STATE", "REASON")
	if view.wide {
		heading = append(heading, "DETAILS")
	}
	var rows, commands, evictions [][]string
	for _, w := range report.Workloads {
		row := p.at(w.Namespace, w.Workload, fmt.Sprintf("%d/%d", len(w.Pods), w.Of), string(w.State), string(w.Reason))
		if view.wide {
			row = append(row, orDash(strings.Join(w.Details, "; ")))
		}
		rows = append(rows, row)
		command := cmp.Or(w.Command, afterwards(w))
		if !slices.ContainsFunc(commands, func(row []string) bool { return row[0] == command }) {
			commands = append(commands, []string{command})
		}
	}
	for _, e := range report.Evictions {
		evictions = append(evictions, p.at(e.Namespace, e.Pod, e.Result, e.Message))
	}
	p.table(heading, rows)
	p.table([]string{"FOR NEW PODS"}, commands)
	p.table(p.at("NAMESPACE", "POD", "RESULT", ""), evictions)
	if p.some {
		p.line("")
	}
	sum := report.Pods
	p.line(strconv.Itoa(sum.Covered) + " covered, " + strconv.Itoa(sum.Missing) + " missing, " + strconv.Itoa(sum.Outdated) + " outdated")
	return p.err
}

// afterwards says what to do where no command replaces the pods.
func afterwards(w coverageStatus) string {
	if w.Reason == api.CoverageDenied {
		return fmt.Sprintf("(%s in namespace %s: mend first what denies its new pods; outrigger explain says it)", w.Workload, w.Namespace)
	}
	return fmt.Sprintf("(%s in namespace %s: its next pod gets the sidecar)", w.Workload, w.Namespace)
}
