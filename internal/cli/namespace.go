// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

func enableCommand() *cobra.Command {
	return namespaceCommand(api.RoutingEnabled, &cobra.Command{
		Use:   "enable NAMESPACE",
		Short: "Enable routes for the Services of a namespace",
		Long: `Sets the label outrigger.dev/routing=enabled on the namespace, and nothing else; Istio's own label, which decides about
sidecars, is unchanged. It first prints the new routes, and which versions stop receiving requests.`,
		Example: `  outrigger enable demo`,
	})
}

func disableCommand() *cobra.Command {
	return namespaceCommand(api.RoutingDisabled, &cobra.Command{
		Use:   "disable NAMESPACE",
		Short: "Remove the routes of a namespace",
		Long: `Sets the label outrigger.dev/routing=disabled on the namespace, and nothing else. The controller then removes its routes
in order: first VirtualServices and Gateways, then, after the propagation delay, the DestinationRules. It first prints how the shares change, which versions begin to receive traffic, and what is no longer served at gateways.`,
		Example: `  # Which versions would begin to receive traffic?
  outrigger disable demo --dry-run=client

  outrigger disable demo`,
	})
}

func namespaceCommand(mode api.RoutingMode, command *cobra.Command) *cobra.Command {
	var from clusterFlags
	var how writing
	command.RunE = func(command *cobra.Command, args []string) error {
		if err := how.check(command); err != nil {
			return err
		}
		name, err := namespaceWords.takeOnly(args)
		if errors.Is(err, errNone) {
			return usagef("name one namespace: %s", command.Use)
		}
		if err == nil {
			err = checkNamespaceName("", name)
		}
		if err != nil {
			return err
		}
		l, err := from.connect(command.Context(), command.ErrOrStderr())
		if err != nil {
			return err
		}
		return l.setRouting(command.Context(), name, mode, how)
	}
	from.register(command, false)
	how.register(command)
	command.ValidArgsFunction = from.complete(firstOf(namespaceNames))
	return command
}

// setRouting tells what the label will do, sets it, and waits until it is done if that is wanted.
func (l *live) setRouting(ctx context.Context, name string, mode api.RoutingMode, how writing) error {
	namespace := &corev1.Namespace{}
	if err := l.client.Get(ctx, client.ObjectKey{Name: name}, namespace); isForbidden(err) {
		return mayNotGet(name, err)
	} else if apierrors.IsNotFound(err) {
		return noNamespace(name)
	} else if err != nil {
		return fmt.Errorf("read Namespace %s: %w", name, err)
	}
	services, notes, err := l.allOf(ctx, name)
	if err != nil {
		return err
	}
	how.note(notes)
	for _, observed := range services {
		for _, line := range withMode(observed, mode, l.unread(), l.now()) {
			how.say("%s", line)
		}
	}
	words := map[string]string{api.LabelRouting: string(mode)}
	if namespace.Labels[api.LabelRouting] == string(mode) {
		how.say("namespace/%s already has the label %s; nothing is written.", name, strings.Join(wordList(words), " "))
		return l.waitFor(ctx, how, func(ctx context.Context) (string, error) { return l.followed(ctx, name) })
	}
	how.say("kubectl label namespace %s %s --overwrite", name, strings.Join(wordList(words), " "))
	if how.dryRun != dryRunClient {
		patch, err := marksPatch("labels", words)
		if err != nil {
			return err
		}
		if err := l.client.Patch(ctx, namespace, patch, how.patchOptions()...); err != nil {
			return mayNotLabel(name, err)
		}
	}
	how.say("namespace/%s labeled%s", name, how.suffix())
	return l.waitFor(ctx, how, func(ctx context.Context) (string, error) { return l.followed(ctx, name) })
}

// allOf reads every Service of a namespace, sorted by name, and returns notes about what could not be read outside of it.
func (l *live) allOf(ctx context.Context, namespace string) ([]routing.Observed, []string, error) {
	s := l.snapshot(namespace, false)
	s.strict = true // a label on the namespace concerns all of it
	names, err := servicesOf(ctx, s, namespace)
	if err != nil {
		return nil, nil, err
	}
	looker := l.looker(s)
	var out []routing.Observed
	for _, name := range names {
		observed, _, err := looker.Look(ctx, client.ObjectKey{Namespace: namespace, Name: name})
		if err != nil {
			return nil, nil, err
		}
		if observed != nil {
			out = append(out, *observed)
		}
	}
	return out, s.notes(), nil
}

// withMode returns what changes for a Service when its Namespace gets the label, and the problems that missing permissions cannot cause.
func withMode(observed routing.Observed, mode api.RoutingMode, unread gaps, now time.Time) []string {
	before := readingOf(observed)
	after := observed
	after.Namespace = observed.Namespace.DeepCopy()
	if after.Namespace.Labels == nil {
		after.Namespace.Labels = map[string]string{}
	}
	after.Namespace.Labels[api.LabelRouting] = string(mode)
	after.Intent, _ = observed.Settings.Limits.IntentOf(observed.Service, after.Namespace, nil)
	if after.Intent.Disabled {
		return withoutRoutes(observed, now)
	}
	name := "service/" + observed.Service.Name
	if word := observed.Service.Labels[api.LabelRouting]; word != "" {
		return []string{name + ": nothing changes; its own label says " + api.LabelRouting + "=" + word}
	}
	plan := routing.Plan(atOnce(after), now)
	after.Standing = plan.Objects
	var out []string
	if will := readingOf(after); will.String() != before.String() {
		out = append(out, name+": "+before.String()+" -> "+will.String())
		if mesh := routing.InEffect(after, now)[0]; !mesh.IsOther() {
			out = append(out, losers(observed, before, will)...)
		}
	}
	for _, p := range unread.visible(after, plan.Problems) {
		out = append(out, name+": "+string(p.Reason)+": "+p.Message)
	}
	return out
}

// losers returns a line for each version with ready pods that receives unmatched requests now and none of them with the next route.
func losers(observed routing.Observed, before, next routing.Reading) []string {
	var out []string
	for _, v := range versionsOf(observed, next) {
		if was, named := before.WeightOf(v.Version); v.Ready == 0 || v.Weight == nil || *v.Weight > 0 || named && was == 0 {
			continue
		}
		line := fmt.Sprintf("service/%s: %s stops receiving requests (%d of %d pods ready)", observed.Service.Name, versionName(v.Version), v.Ready, v.Pods)
		if len(v.Match) > 0 {
			line = fmt.Sprintf("service/%s: %s receives only requests that match %s (%d of %d pods ready)",
				observed.Service.Name, versionName(v.Version), strings.Join(v.Match, " or "), v.Ready, v.Pods)
		}
		out = append(out, line)
	}
	return out
}

func versionName(version string) string { return cmp.Or(version, "pods without a version") }

// withoutRoutes returns what changes when a Service's routes are removed: the shares, who begins to receive traffic, and what ends.
func withoutRoutes(observed routing.Observed, now time.Time) []string {
	name := "service/" + observed.Service.Name
	if observed.Standing.IsEmpty() {
		return nil
	}
	before := readingOf(observed)
	out := sharesWithoutRoutes(observed, now)
	if mesh := routing.InEffect(observed, now)[0]; mesh.IsOther() && !isDetached(observed, mesh) {
		out = append(out, fmt.Sprintf("%s: %s (unchanged: %s routes there, and Outrigger does not write it)", name, mesh, mesh.Object))
	} else if begin := beginners(observed, before); len(begin) > 0 {
		out = append(out, fmt.Sprintf("%s: begins to receive traffic: %s (now %s)", name, strings.Join(begin, ", "), before))
	} else {
		out = append(out, name+": no version begins to receive traffic")
	}
	for _, rule := range before.Rules {
		if rule.Match != "" {
			out = append(out, fmt.Sprintf("%s: %s goes to every pod, no longer to %s", name, rule.Match, sharesText(rule.To)))
		}
	}
	if len(observed.Standing.Gateways) > 0 || len(before.Gateways) > 0 {
		out = append(out, fmt.Sprintf("%s: no longer served at gateway %s for %s", name, strings.Join(before.Gateways, ", "), strings.Join(before.Hosts, ", ")))
	}
	return out
}

// sharesWithoutRoutes returns how the shares of callers in the mesh change when a Service's routes are removed, as a line, or nil if
// they do not: then its pods share the requests, or another VirtualService routes them.
func sharesWithoutRoutes(observed routing.Observed, now time.Time) []string {
	without := observed
	without.Standing = routing.Objects{}
	was, is := routing.InEffect(observed, now)[0], routing.InEffect(without, now)[0]
	if was.Object.Name == "" || was.IsOther() || was.String() == is.String() {
		return nil
	}
	text := "by pods"
	if is.IsOther() {
		text = fmt.Sprintf("%s (routed by %s)", is, is.Object)
	}
	return []string{fmt.Sprintf("service/%s: %s -> %s", observed.Service.Name, was, text)}
}

// beginners are the versions with pods that the route gives nothing now, as "v2 (1 of 1 pods ready)".
func beginners(observed routing.Observed, before routing.Reading) []string {
	var out []string
	for _, v := range versionsOf(observed, before) {
		if v.Weight == nil || *v.Weight > 0 || v.Pods == 0 {
			continue
		}
		out = append(out, fmt.Sprintf("%s (%d of %d pods ready)", versionName(v.Version), v.Ready, v.Pods))
	}
	return out
}

func sharesText(shares []routing.ReadShare) string {
	var out []string
	for _, share := range shares {
		if share.Version == "" {
			out = append(out, "every pod")
		} else {
			out = append(out, share.Version)
		}
	}
	return strings.Join(out, ", ")
}

// followed says for which Service of a namespace the controller has yet to write; nothing if for none. What waits for
// proxies to forget a route is no longer missed.
func (l *live) followed(ctx context.Context, namespace string) (string, error) {
	services, _, err := l.allOf(ctx, namespace)
	if err != nil {
		return "", err
	}
	for _, observed := range services {
		end := observed
		end.Standing = routing.Plan(atOnce(observed), l.now()).Objects
		if why := notWritten(observed, end, l.unread(), l.now()); why != "" {
			return "service/" + observed.Service.Name + ": " + why, nil
		}
	}
	return "", nil
}

// owned returns the Services of the cluster, or of one namespace, for which objects of ours stand.
func owned(objects routing.Objects) []client.ObjectKey {
	var out []client.ObjectKey
	for _, object := range slices.Concat(asObjects(objects.DestinationRules), asObjects(objects.VirtualServices), asObjects(objects.Gateways)) {
		if name, ours := routing.ServiceOf(object); ours {
			out = append(out, client.ObjectKey{Namespace: object.GetNamespace(), Name: name})
		}
	}
	slices.SortFunc(out, func(a, b client.ObjectKey) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(out)
}

func asObjects[T routing.Object](list []T) []routing.Object {
	out := make([]routing.Object, len(list))
	for i, object := range list {
		out[i] = object
	}
	return out
}
