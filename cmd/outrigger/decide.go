package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// decision is a word of the user about Services: shift or promote.
type decision struct {
	service     string
	words       map[string]string // annotations; an empty one is taken away
	names       []string          // the versions that are named
	pending     bool              // also versions that nothing carries
	allServices bool              // also the other Services over the same pods
}

// decide tells what a decision will do, writes it, and waits until it is in force if that is wanted.
func (l *live) decide(ctx context.Context, d decision, how writing) error {
	d.words[api.AnnotationDecidedAt] = l.now().UTC().Format(time.RFC3339)
	s := l.snapshot(l.namespace, false)
	main, others, err := l.over(ctx, s, d)
	if err != nil {
		return err
	}
	targets := []routing.Observed{*main}
	if d.allServices {
		targets = append(targets, others...)
	}
	var outlooks []outlook
	for _, observed := range targets {
		seen, err := foresee(observed, d, l.now())
		if err != nil {
			return err
		}
		if observed.Service.Name != d.service && seen.leave != "" {
			how.say("service/%s is left alone: %s", observed.Service.Name, seen.leave)
			continue
		}
		outlooks = append(outlooks, seen)
	}
	for _, seen := range outlooks {
		how.say("%s", strings.Join(seen.lines(), "\n"))
	}
	if !d.allServices {
		for _, observed := range others {
			how.say("%s", standing(observed))
		}
		if len(others) > 0 {
			how.say("    They are not changed by this; --all-services says it to them as well.")
		}
	}
	for _, seen := range outlooks {
		if err := l.annotate(ctx, seen.observed.Service, d.words, how); err != nil {
			return err
		}
	}
	return l.waitFor(ctx, how, func(ctx context.Context) (string, error) { return l.decided(ctx, outlooks) })
}

// over reads the Service and the others of its namespace that select some of its pods, sorted by name.
func (l *live) over(ctx context.Context, s *snapshot, d decision) (*routing.Observed, []routing.Observed, error) {
	names, err := servicesOf(ctx, s, l.namespace)
	if err != nil {
		return nil, nil, err
	}
	if !slices.Contains(names, d.service) {
		return nil, nil, noService(l.namespace, d.service, names)
	}
	looker := l.looker(s)
	look := func(name string) (*routing.Observed, error) {
		observed, _, err := looker.Look(ctx, client.ObjectKey{Namespace: l.namespace, Name: name})
		return observed, err
	}
	main, err := look(d.service)
	if err != nil {
		return nil, nil, err
	}
	if main == nil {
		return nil, nil, fmt.Errorf("service %s/%s is being deleted", l.namespace, d.service)
	}
	var pods corev1.PodList
	if err := s.List(ctx, &pods, client.InNamespace(l.namespace)); err != nil {
		return nil, nil, err
	}
	var others []routing.Observed
	for _, name := range names {
		if name == d.service {
			continue
		}
		other, err := look(name)
		if err != nil {
			return nil, nil, err
		}
		if other != nil && samePods(main.Service, other.Service, pods.Items) {
			others = append(others, *other)
		}
	}
	return main, others, nil
}

func samePods(a, b *corev1.Service, pods []corev1.Pod) bool {
	return slices.ContainsFunc(pods, func(pod corev1.Pod) bool {
		return selects(a.Spec.Selector, pod.Labels) && selects(b.Spec.Selector, pod.Labels)
	})
}

// outlook is what a decision will do to one Service.
type outlook struct {
	observed      routing.Observed // as it will be read once the words are written
	before, after []routing.Path   // what proxies have, and will have
	notes         []string
	leave         string // why it makes no sense to say it to this Service; empty if it does
	command       string
}

// foresee says what becomes of a Service by a decision. A version that nothing carries is an error, unless it is to come.
func foresee(observed routing.Observed, d decision, now time.Time) (outlook, error) {
	out := outlook{before: routing.InEffect(observed, now), leave: routeless(observed)}
	service := observed.Service.DeepCopy()
	removed := removedWords(service, d.words)
	setWords(service, d.words)
	intent, _ := observed.Settings.Limits.IntentOf(service, observed.Namespace, nil)
	intent.VersionLabel = observed.Intent.VersionLabel // the one that applies
	known := knownVersions(observed)
	for _, name := range d.names {
		if slices.Contains(known, name) {
			continue
		}
		if observed.Service.Name == d.service && !d.pending {
			return out, unknownVersion(observed, name, known)
		}
		if observed.Service.Name != d.service {
			out.leave = "nothing behind it carries version " + name
		}
	}
	observed.Service, observed.Intent = service, intent
	out.observed = observed
	plan := routing.Plan(atOnce(observed), now)
	observed.Standing = plan.Objects
	out.after = routing.InEffect(observed, now)
	out.notes = append(append(removed, readyNotes(observed, d.names)...), routelessNote(observed)...)
	if why := broader(service.Name, readingOf(observed), intent); why != "" {
		out.notes = append(out.notes, why)
	}
	for _, p := range plan.Problems {
		if p.Reason != api.RoutePendingVersions {
			out.notes = append(out.notes, string(p.Reason)+": "+p.Message)
		}
	}
	out.command = annotateCommand(service, d.words)
	return out, nil
}

func unknownVersion(observed routing.Observed, name string, known []string) error {
	there := "no pod behind it carries the label " + observed.Intent.VersionLabel
	if len(known) > 0 {
		there = "it has " + strings.Join(known, ", ")
	}
	if candidate, near := api.NearestVersion(name, known); near {
		there = fmt.Sprintf("did you mean %q? It has %s", candidate, strings.Join(known, ", "))
	}
	example := ""
	if len(known) > 0 {
		example = fmt.Sprintf(". Example: outrigger shift -n %s %s %s", observed.Service.Namespace, observed.Service.Name, strings.ReplaceAll(api.WeightsExample(known), ",", " "))
	}
	return fmt.Errorf("service %s/%s has no version %s; %s. --pending writes the name anyway; it takes effect when its pods are ready%s",
		observed.Service.Namespace, observed.Service.Name, name, there, example)
}

// atOnce lets a plan see the end of the waits that lie between a decision and its route.
func atOnce(observed routing.Observed) routing.Observed {
	observed.Settings.Settle, observed.Settings.PropagationDelay = 0, 0
	return observed
}

func readingOf(observed routing.Observed) routing.Reading {
	return routing.Read(observed.Standing, observed.Service, observed.Intent, observed.Settings)
}

// routeless says why no route of this Service follows a word; empty if one does.
func routeless(observed routing.Observed) string {
	switch {
	case observed.Intent.Disabled:
		return "routing is disabled for it"
	case observed.Intent.SubsetsOnly:
		return "it has subsets and no routes (" + api.LabelRouting + "=" + string(api.RoutingSubsetsOnly) + ")"
	case observed.Intent.Observe:
		return "it is only observed (" + api.LabelRouting + "=" + string(api.RoutingObserve) + ")"
	case !observed.Intent.Wanted && observed.Standing.IsEmpty():
		return "nobody asked for its routes"
	case observed.Service.Spec.Selector[observed.Intent.VersionLabel] != "":
		return "its selector names one version already"
	case observed.Service.Spec.ClusterIP == corev1.ClusterIPNone:
		return "it is headless"
	}
	return ""
}

func routelessNote(observed routing.Observed) []string {
	why := routeless(observed)
	if why == "" {
		return nil
	}
	note := "No route follows: " + why + "."
	if !observed.Intent.Wanted {
		note += " To change that: outrigger enable " + observed.Service.Namespace
	}
	return []string{note}
}

// removedWords says what a decision takes away.
func removedWords(service *corev1.Service, words map[string]string) []string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(words)) {
		if was := service.Annotations[key]; was != "" && words[key] == "" {
			out = append(out, fmt.Sprintf("%s is taken away; it was %s", key, was))
		}
	}
	return out
}

func setWords(service *corev1.Service, words map[string]string) {
	if service.Annotations == nil {
		service.Annotations = map[string]string{}
	}
	for key, text := range words {
		if text == "" {
			delete(service.Annotations, key)
		} else {
			service.Annotations[key] = text
		}
	}
}

// readyNotes tells of named versions that have no pods, or whose pods are not all ready.
func readyNotes(observed routing.Observed, names []string) []string {
	var out []string
	for _, name := range names {
		pods, ready := 0, 0
		for _, group := range observed.Pods {
			if group.Version == name {
				pods, ready = pods+group.Pods, ready+group.Ready
			}
		}
		switch {
		case pods == 0:
			out = append(out, name+" has no pods; until some are ready, the current route is unchanged")
		case ready == 0:
			out = append(out, fmt.Sprintf("%s: 0 of %d pods ready; until some are, a greater share of it is pending", name, pods))
		case ready < pods:
			out = append(out, fmt.Sprintf("%s: %d of %d pods ready", name, ready, pods))
		}
	}
	return out
}

func (o outlook) lines() []string {
	out := o.changes()
	for _, note := range o.notes {
		out = append(out, "    "+note)
	}
	return append(out, o.command)
}

// changes says what becomes of the callers in the mesh and at each gateway: in one line where that is the same for all.
func (o outlook) changes() []string {
	name := "service/" + o.observed.Service.Name
	var out, texts []string
	for _, place := range placesOf(o.before, o.after) {
		was, is := at(o.before, place), at(o.after, place)
		text := routeText(was) + " -> " + routeText(is)
		switch {
		case is.IsOther():
			text = fmt.Sprintf("%s (unchanged: %s routes there, and Outrigger does not write it)", is, is.Object)
		case routeText(was) == routeText(is):
			text = routeText(is) + " (as before)"
		}
		where := " in the mesh: "
		if place != "" {
			where = " at gateway " + place + ": "
		}
		out, texts = append(out, name+where+text), append(texts, text)
	}
	if slices.Sort(texts); len(slices.Compact(texts)) == 1 {
		return []string{name + ": " + texts[0]}
	}
	return out
}

// placesOf are the places of callers: "" for the mesh, then the gateways. The mesh is left out where only gateways have
// routes.
func placesOf(lists ...[]routing.Path) []string {
	places := map[string]bool{}
	for _, paths := range lists {
		for _, p := range paths {
			if p.Object.Name != "" {
				places[p.Gateway] = true
			}
		}
	}
	if len(places) == 0 {
		return []string{""}
	}
	return slices.Sorted(maps.Keys(places))
}

// at is what applies to the callers at a place. Of several VirtualServices at a gateway one that Outrigger does not write
// is named.
func at(paths []routing.Path, place string) routing.Path {
	out := routing.Path{Gateway: place}
	for _, p := range paths {
		if p.Gateway == place && (out.Object.Name == "" || p.IsOther()) {
			out = p
		}
	}
	return out
}

func routeText(p routing.Path) string {
	if p.Object.Name == "" {
		return "no route"
	}
	return p.String()
}

// standing says where another Service over the same pods stands.
func standing(observed routing.Observed) string {
	where := readingOf(observed).String()
	if why := routeless(observed); why != "" {
		where += " (" + why + ")"
	}
	return "service/" + observed.Service.Name + " selects the same pods: " + where
}

func annotateCommand(service *corev1.Service, words map[string]string) string {
	return fmt.Sprintf("kubectl annotate service -n %s %s %s --overwrite", service.Namespace, service.Name, strings.Join(wordList(words), " "))
}

// wordList writes annotations or labels as kubectl takes them, sorted.
func wordList(words map[string]string) []string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(words)) {
		if words[key] == "" {
			out = append(out, key+"-")
		} else {
			out = append(out, key+"="+words[key])
		}
	}
	return out
}

// annotate changes the annotations of a Service and nothing else.
func (l *live) annotate(ctx context.Context, service *corev1.Service, words map[string]string, how writing) error {
	if how.dryRun != dryRunClient {
		patch, err := marksPatch("annotations", words)
		if err != nil {
			return err
		}
		object := &corev1.Service{}
		object.Namespace, object.Name = service.Namespace, service.Name
		if err := l.client.Patch(ctx, object, patch, how.patchOptions()...); err != nil {
			return fmt.Errorf("annotate service %s/%s: %w", service.Namespace, service.Name, err)
		}
	}
	how.say("service/%s annotated%s", service.Name, how.suffix())
	return nil
}

// marksPatch is a merge patch of labels or annotations alone; an empty value takes one away.
func marksPatch(which string, words map[string]string) (client.Patch, error) {
	marks := map[string]any{}
	for key, text := range words {
		if marks[key] = any(nil); text != "" {
			marks[key] = text
		}
	}
	text, err := json.Marshal(map[string]any{"metadata": map[string]any{which: marks}})
	return client.RawPatch(types.MergePatchType, text), err
}

// decided says what is still missing until the decisions are in force; nothing if they are.
func (l *live) decided(ctx context.Context, outlooks []outlook) (string, error) {
	s := l.snapshot(l.namespace, false)
	looker := l.looker(s)
	for _, o := range outlooks {
		observed, _, err := looker.Look(ctx, client.ObjectKeyFromObject(o.observed.Service))
		if err != nil {
			return "", err
		}
		if observed == nil {
			return "", fmt.Errorf("service %s is gone", client.ObjectKeyFromObject(o.observed.Service))
		}
		if why := missing(*observed, l.now()); why != "" {
			return "service/" + o.observed.Service.Name + ": " + why, nil
		}
	}
	return "", nil
}

// missing says what lies between a Service's words and a route that follows them all; nothing if that stands.
func missing(observed routing.Observed, now time.Time) string {
	if why := routeless(observed); why != "" {
		return "no route follows, since " + why
	}
	plan := routing.Plan(atOnce(observed), now)
	for _, p := range plan.Problems {
		if p.Reason == api.RoutePendingVersions {
			return p.Message + " " + p.Advice
		}
	}
	if others := routing.Overriding(observed, now); len(others) > 0 {
		return overridden(others[0])
	}
	end := observed
	end.Standing = plan.Objects
	if len(readingOf(end).Rules) == 0 {
		why := "no route can be written"
		for _, p := range plan.Problems {
			why += "; " + string(p.Reason) + ": " + p.Message
		}
		return why
	}
	if why := broader(observed.Service.Name, readingOf(end), observed.Intent); why != "" {
		return why
	}
	return notWritten(observed, end, now)
}

// broader says that the route sends requests to other versions than the one that default-version names; nothing if it does not.
func broader(service string, reading routing.Reading, intent api.RouteIntent) string {
	name := intent.Default.Version
	if intent.Default.Policy != api.DefaultLiteral || len(intent.Weights) > 0 || len(reading.Rules) == 0 {
		return ""
	}
	to := reading.Rules[len(reading.Rules)-1].To
	isNamed := func(share routing.ReadShare) bool { return share.Version == name && share.Weight > 0 }
	isOther := func(share routing.ReadShare) bool { return share.Version != name && share.Weight > 0 }
	if !slices.ContainsFunc(to, isNamed) || !slices.ContainsFunc(to, isOther) {
		return ""
	}
	return fmt.Sprintf("the default, %s, includes more than version %s, so the route is %s. To send all requests to %s: outrigger shift %s %s=1", reading.Default, name, reading, name, service, name)
}

// overridden says which VirtualService keeps callers on other versions than the annotations name, and how to end that.
func overridden(other routing.OtherRoute) string {
	why := other.String() + ", and Outrigger does not write it. "
	remove := fmt.Sprintf("kubectl delete virtualservices.networking.istio.io -n %s %s", other.Object.Namespace, other.Object.Name)
	if other.Edited {
		return why + "It was edited by hand. To have Outrigger's route back: " + remove
	}
	return why + "Change its shares, or have Outrigger route: " + remove
}

// notWritten says which writes the controller has yet to make.
func notWritten(observed, end routing.Observed, now time.Time) string {
	changes := observed.Changes(routing.Plan(observed, now))
	is, will := readingOf(observed), readingOf(end)
	if len(changes) == 0 && slices.EqualFunc(is.Rules, will.Rules, routing.ReadRule.Equal) {
		return ""
	}
	why := fmt.Sprintf("the route stands at %s and is to be %s", is, will)
	if len(changes) > 0 {
		why += fmt.Sprintf("; %s %s is not written yet", kindOf(changes[0].Object), changes[0].Object.GetName())
	}
	return why + ". If it stays so, Outrigger does not run: kubectl get pods -A -l app.kubernetes.io/name=outrigger"
}

// writing says how a command writes.
type writing struct {
	dryRun  string
	wait    bool
	timeout time.Duration
	out     io.Writer
}

const (
	dryRunNone   = "none"
	dryRunClient = "client"
	dryRunServer = "server"
)

func (w *writing) register(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVar(&w.dryRun, "dry-run", dryRunNone, "none, client (say what would be written), or server (let the API server check it)")
	flags.BoolVar(&w.wait, "wait", false, "wait until the objects are in place and the proxies have had time to take them over")
	flags.DurationVar(&w.timeout, "timeout", time.Minute, "how long --wait waits")
	_ = command.RegisterFlagCompletionFunc("dry-run", cobra.FixedCompletions([]string{dryRunNone, dryRunClient, dryRunServer}, cobra.ShellCompDirectiveNoFileComp))
}

// check reads the flags. Where nothing is written there is nothing to wait for.
func (w *writing) check(out io.Writer) error {
	w.out = out
	if !slices.Contains([]string{dryRunNone, dryRunClient, dryRunServer}, w.dryRun) {
		return fmt.Errorf("--dry-run=%s: expected none, client or server", w.dryRun)
	}
	w.wait = w.wait && w.dryRun == dryRunNone
	return nil
}

func (w writing) say(format string, args ...any) {
	_, _ = fmt.Fprintf(w.out, format+"\n", args...) // nobody to tell if stdout is closed
}

func (w writing) suffix() string {
	switch w.dryRun {
	case dryRunClient:
		return " (dry run)"
	case dryRunServer:
		return " (server dry run)"
	}
	return ""
}

// fieldOwner is whom the API server notes for what a command writes.
const fieldOwner = client.FieldOwner("outrigger-cli")

func (w writing) patchOptions() []client.PatchOption {
	options := []client.PatchOption{fieldOwner}
	if w.dryRun == dryRunServer {
		options = append(options, client.DryRunAll)
	}
	return options
}

// pollEvery is how long --wait rests between two looks at the cluster.
const pollEvery = 500 * time.Millisecond

// waitFor looks until nothing is missing, and then for as long as the proxies may need to have it.
func (l *live) waitFor(ctx context.Context, how writing, look func(context.Context) (string, error)) error {
	if !how.wait {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, how.timeout)
	defer cancel()
	var since time.Time // when nothing was missing any more
	why := "the cluster did not answer"
	for {
		now, err := look(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			return err
		case err != nil:
		case now != "":
			why, since = now, time.Time{}
		case since.IsZero():
			why, since = "it stands, but not for the propagation delay yet", l.now()
		}
		if now == "" && err == nil && !l.now().Before(since.Add(l.settings().PropagationDelay)) {
			how.say("in force, and %v have passed for the proxies to take it over", l.settings().PropagationDelay)
			return nil
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return ctx.Err()
			}
			return fmt.Errorf("it is written, but not in force within %v: %s", how.timeout, why)
		case <-time.After(pollEvery):
		}
	}
}
