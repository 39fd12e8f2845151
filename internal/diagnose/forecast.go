// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// Forecast is the effect of a decision on one Service.
type Forecast struct {
	Observed      routing.Observed  // the Service with the new annotations
	before, after []routing.Path    // the routes of the proxies before and after
	pending       []string          // named versions without ready pods that the decision waits for
	whenReady     []routing.Path    // the routes when the pending versions are ready
	Annotations   map[string]string // annotations to write; an empty value removes the annotation
	IsCurrent     bool              // the annotations and the route already match the decision
	isUnknown     bool              // the user has no permission to read the route
	notes         []Text
	IsFrozen      bool              // the change takes effect when routing.freeze ends
	freezeIsSet   bool              // routing.freeze is true
	Skipped       string            // why to skip this Service; empty if the decision applies to it
	Command       string            // the kubectl command that writes the annotations
	was           map[string]string // the annotations before
	canary        *CanaryStatus     // the canary before
}

// ForecastDecision returns the effect of a decision on a Service. It returns an error for a version that does not exist, unless --pending
// is set, and for a route that was edited by hand, because Outrigger no longer writes it.
func ForecastDecision(observed routing.Observed, d Decision, gaps Gaps, now time.Time) (Forecast, error) {
	out := Forecast{
		before: routing.InEffect(observed, now), Skipped: WhyNoRoute(observed, gaps), Annotations: maps.Clone(d.Annotations), isUnknown: gaps.HidesRoutes(observed.Service.Namespace),
		was: observed.Service.Annotations, freezeIsSet: observed.Settings.Freeze,
	}
	out.canary, _ = CanaryOf(observed, now)
	isFrozen := observed.Settings.Freeze && (len(observed.Existing.VirtualServices) > 0 || d.Annotations[api.AnnotationCanary] != "")
	observed.Settings.Freeze = false // the forecast is about the route after the freeze
	if !d.KeepsDecidedAt {
		out.Annotations[api.AnnotationDecidedAt] = nextDecision(observed, now)
		if repeatsSuperseded(observed, d, now) || removesCanary(observed.Service, d) {
			out.Annotations[api.AnnotationCanary] = ""
		} else if version := d.Annotations[api.AnnotationDefaultVersion]; repeatsDefault(observed, d, now) {
			out.Annotations[api.AnnotationWeights] = version + "=100"
		}
		if version := supersededDefault(observed, d, now); version != "" {
			out.Annotations[api.AnnotationDefaultVersion] = version
		}
	}
	if at, err := time.Parse(time.RFC3339, out.Annotations[api.AnnotationDecidedAt]); err == nil && at.Sub(now) > 12*time.Hour {
		now = at.Add(-12 * time.Hour) // this clock is so far behind that the plan would refuse the decision
	}
	current := observed
	removed, written := removedAnnotations(observed.Service, out.Annotations), hasAnnotations(observed.Service, d.Annotations) && !removesCanary(observed.Service, d)
	observed = withAnnotations(observed, out.Annotations)
	service := observed.Service
	known := routing.KnownVersions(observed)
	for _, name := range d.Versions {
		if slices.Contains(known, name) {
			continue
		}
		if observed.Service.Name == d.Service && !d.AllowPending {
			return out, unknownVersion(observed, d, name, known, gaps)
		}
		if observed.Service.Name != d.Service {
			out.Skipped = "it has no version " + name
		}
	}
	out.Observed = observed
	if edited := editedRoute(observed, now); edited != nil && !out.isUnknown && (!d.KeepsDecidedAt || len(d.Versions) > 0 || d.Annotations[api.AnnotationDecidedAt] != "") {
		out.Skipped = edited.String() + ", and was edited by hand"
		if service.Name == d.Service {
			return out, &textError{Sentences("nothing was written: ").with(describeOverride(service.Name, *edited)...)}
		}
	}
	plan := routing.Plan(WithoutDelays(observed), now)
	observed.Existing = plan.Objects
	if hadCanary(current, observed, now) {
		plan, observed = planEffect(plan, observed, now)
		if err := checkCanaryEffect(d, current, observed, plan, now); err != nil {
			return out, err
		}
		out.notes = texts(canaryNotes(current, observed, now)...)
	}
	out.after = routing.InEffect(observed, now)
	if slices.ContainsFunc(plan.Pending, func(p routing.Pending) bool { return d.Annotations[p.Key] != "" }) {
		out.pending = slices.DeleteFunc(slices.Clone(d.Versions), func(version string) bool { _, ready := podsOf(observed, version); return ready > 0 })
		ready := withReadyPods(observed, out.pending)
		ready.Existing = routing.Plan(WithoutDelays(ready), now).Objects
		out.whenReady = routing.InEffect(ready, now)
	}
	out.IsCurrent = written && !out.isUnknown && slices.EqualFunc(out.before, out.after, samePath)
	out.IsFrozen = isFrozen && !out.IsCurrent
	var warnings []string
	if out.IsFrozen {
		warnings = append(warnings, "warning: "+FrozenChange)
	}
	warnings = append(warnings, abortedNotes(current, observed, d, now)...)
	out.notes = slices.Concat(texts(warnings...), texts(removed...), keptCanary(observed, d), texts(readyNotes(observed, d.Versions)...), noRouteNote(observed, gaps), out.notes)
	if why := sharesOfDefault(observed, now); len(why) > 0 && !out.isUnknown {
		out.notes = append(out.notes, why)
	}
	if by := restoredBy(observed.Service, d.Annotations); by != "" {
		out.notes = append(out.notes, Sentences(by))
	}
	for _, p := range gaps.visible(observed, plan.Problems) {
		if p.Reason != api.RoutePendingVersions {
			out.notes = append(out.notes, Sentences(string(p.Reason)+": "+p.Message))
		}
	}
	out.Command = AnnotateCommand(service, out.Annotations)
	return out, nil
}

// FrozenChange says that a change was written while routing.freeze is true.
const FrozenChange = "routing is frozen (routing.freeze=true): the change is recorded and takes effect when the freeze ends"

// abortedNotes warns about versions that a decision gives requests although their canary was aborted with their current pod templates.
func abortedNotes(before, after routing.Observed, d Decision, now time.Time) []string {
	if d.KeepsDecidedAt {
		return nil
	}
	var out []string
	decided := routing.Decision{Default: d.Annotations[api.AnnotationDefaultVersion], Weights: d.Annotations[api.AnnotationWeights]}
	for _, aborted := range routing.AbortedCanaries(before, now) {
		if weight, _ := ReadRoute(after).WeightOf(aborted.Version); weight > 0 || decided.Sends(aborted.Version) {
			out = append(out, fmt.Sprintf("warning: canary %s was aborted at %d%% with this pod template: %s", aborted.Version, aborted.Percent, aborted.Reason))
		}
	}
	return out
}

// editedRoute returns a VirtualService of Outrigger's that was edited by hand, so that Outrigger no longer writes it, and whose route
// differs from the annotations. It returns nil if there is none.
func editedRoute(observed routing.Observed, now time.Time) *routing.OtherRoute {
	others := routing.Overriding(observed, now)
	at := slices.IndexFunc(others, func(other routing.OtherRoute) bool { return other.Edited })
	if at < 0 {
		return nil
	}
	return &others[at]
}

func samePath(a, b routing.Path) bool {
	return a.Gateway == b.Gateway && a.Object == b.Object && slices.Equal(a.Hosts, b.Hosts) && slices.EqualFunc(a.Rules, b.Rules, routing.ReadRule.Equal)
}

// hasAnnotations reports whether a Service already has these annotations. An empty value means that the annotation must be absent.
func hasAnnotations(service *corev1.Service, wanted map[string]string) bool {
	for key, text := range wanted {
		if is, written := service.Annotations[key]; is != text || written != (text != "") {
			return false
		}
	}
	return true
}

func unknownVersion(observed routing.Observed, d Decision, name string, known []string, gaps Gaps) error {
	there := "none of its pods has the label " + observed.Intent.VersionLabel
	if gaps.Hides(observed.Service.Namespace, "Pod") {
		return fmt.Errorf("no permission to list Pods in namespace %s, so it is unknown whether service %s has version %s. %s writes the name anyway; it takes effect when its pods are ready",
			observed.Service.Namespace, observed.Service.Name, name, d.Inputs.name("pending"))
	}
	if len(known) > 0 {
		there = "it has " + strings.Join(known, ", ")
	}
	if candidate, near := api.NearestVersion(name, known); near {
		there = fmt.Sprintf("did you mean %q? It has %s", candidate, strings.Join(known, ", "))
	}
	reason := fmt.Sprintf("service %s/%s has no version %s; %s. %s writes the name anyway; it takes effect when its pods are ready",
		observed.Service.Namespace, observed.Service.Name, name, there, d.Inputs.name("pending"))
	if len(known) == 0 {
		return errors.New(reason)
	}
	example := Request{Action: ActionShift, Service: observed.Service.Name, Weights: strings.Split(api.WeightsExample(known), ",")}
	if d.Annotations[api.AnnotationDefaultVersion] == name {
		example = Request{Action: ActionPromote, Service: observed.Service.Name, Version: known[0]}
	}
	if d.Annotations[api.AnnotationCanary] == name {
		example = Request{Action: ActionCanary, Service: observed.Service.Name, Version: known[len(known)-1]}
	}
	return WithCommand(reason+". Example: ", example.Command(observed.Service.Namespace))
}

// WithoutDelays removes the delays between a decision and its route, so that a plan shows the final route.
func WithoutDelays(observed routing.Observed) routing.Observed {
	observed.Settings.Settle, observed.Settings.PropagationDelay = 0, 0
	return observed
}

// ReadRoute returns the current route of a Service, as its objects describe it.
func ReadRoute(observed routing.Observed) routing.Reading {
	return routing.Read(observed.Existing, observed.Service, observed.Intent, observed.Settings)
}

// WhyNoRoute returns why Outrigger writes no route for this Service, or "" if it writes one or if that is unknown.
func WhyNoRoute(observed routing.Observed, gaps Gaps) string {
	switch {
	case gaps.HidesIntent(observed) || gaps.HidesRoutes(observed.Service.Namespace):
		return ""
	case observed.Intent.Disabled:
		return "routing is disabled for it"
	case observed.Intent.SubsetsOnly:
		return "it has only subsets (" + api.LabelRouting + "=" + string(api.RoutingSubsetsOnly) + ")"
	case observed.Intent.Observe:
		return "it is only observed (" + api.LabelRouting + "=" + string(api.RoutingObserve) + ")"
	case !observed.Intent.Wanted && observed.Existing.IsEmpty():
		return "routing is not enabled for it"
	case observed.Service.Spec.Selector[observed.Intent.VersionLabel] != "":
		return "its selector already selects one version"
	case observed.Service.Spec.ClusterIP == corev1.ClusterIPNone:
		return "it is headless"
	}
	return ""
}

func noRouteNote(observed routing.Observed, gaps Gaps) []Text {
	why := WhyNoRoute(observed, gaps)
	if why == "" {
		return nil
	}
	note := "No route is written: " + why + "."
	if observed.Intent.Wanted {
		return texts(note)
	}
	return []Text{Sentences(note + " To change that: ").withCommand("outrigger enable " + observed.Service.Namespace)}
}

// removedAnnotations lists the annotations that a decision removes.
func removedAnnotations(service *corev1.Service, wanted map[string]string) []string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(wanted)) {
		if was := service.Annotations[key]; was != "" && wanted[key] == "" {
			out = append(out, fmt.Sprintf("removes %s (was %s)", key, was))
		}
	}
	return out
}

func setAnnotations(service *corev1.Service, wanted map[string]string) {
	if service.Annotations == nil {
		service.Annotations = map[string]string{}
	}
	for key, text := range wanted {
		if text == "" {
			delete(service.Annotations, key)
		} else {
			service.Annotations[key] = text
		}
	}
}

// readyNotes lists the named versions that have no pods, or whose pods are not all ready.
func readyNotes(observed routing.Observed, names []string) []string {
	var out []string
	for _, name := range names {
		pods, ready := podsOf(observed, name)
		switch {
		case pods == 0 && hasShare(observed, name):
			out = append(out, "version "+name+" has no pods; its share of the requests fails until one is ready")
		case ready == 0 && hasShare(observed, name):
			out = append(out, fmt.Sprintf("version %s: 0 of %d pods ready; its share of the requests fails until one is", name, pods))
		case pods == 0:
			out = append(out, "version "+name+" has no pods; until some are ready, the current route is unchanged")
		case ready == 0:
			out = append(out, fmt.Sprintf("version %s: 0 of %d pods ready; until some are, a greater share of it is pending", name, pods))
		case ready < pods:
			out = append(out, fmt.Sprintf("version %s: %d of %d pods ready", name, ready, pods))
		}
	}
	return out
}

// podsOf counts the pods of a version, and the ready ones.
func podsOf(observed routing.Observed, version string) (pods, ready int) {
	for _, group := range observed.Pods {
		if group.Version == version {
			pods, ready = pods+group.Pods, ready+group.Ready
		}
	}
	return pods, ready
}

// withReadyPods returns the Service as it is once each of the versions has a ready pod.
func withReadyPods(observed routing.Observed, versions []string) routing.Observed {
	observed.Pods = slices.Clone(observed.Pods)
	for _, version := range versions {
		observed.Pods = append(observed.Pods, routing.PodGroup{
			Workload: routing.WorkloadRef{Kind: "Pod", Name: version}, Version: version, Pods: 1, Ready: 1, Created: observed.Service.CreationTimestamp.Time,
		})
	}
	return observed
}

// hasShare reports whether the route gives a version a share of the requests.
func hasShare(observed routing.Observed, version string) bool {
	for _, rule := range ReadRoute(observed).Rules {
		if slices.ContainsFunc(rule.To, func(share routing.ReadShare) bool { return share.Version == version && share.Weight > 0 }) {
			return true
		}
	}
	return false
}

// Lines returns the text of the forecast: the change of the route, notes, and the kubectl command.
func (o Forecast) Lines() []string {
	out := o.changes()
	for _, note := range o.notes {
		out = append(out, "    "+note.String())
	}
	if o.IsCurrent {
		return append(out, "    The annotations already have these values; nothing is written.")
	}
	return append(out, o.Command)
}

// DescribeRoute describes the current route of another Service that selects the same pods.
func DescribeRoute(observed routing.Observed, gaps Gaps) string {
	where := ReadRoute(observed).String()
	if gaps.HidesRoutes(observed.Service.Namespace) {
		where = "its current route is unknown"
	}
	if why := WhyNoRoute(observed, gaps); why != "" {
		where += " (" + why + ")"
	}
	return "service/" + observed.Service.Name + " selects the same pods: " + where
}
