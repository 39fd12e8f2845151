// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"flag"
	"fmt"
	"maps"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"time"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

var (
	edits    = flag.Int("edits", defaultEdits, "how many random walks to take in which another client edits our objects")
	editSeed = flag.Int("edits-from", 0, "the seed of the first of them")
)

// hostileSteps is how many random steps a walk takes; after each of them, another client edits a copy of the cluster.
const hostileSteps = 3

// quietTime is how long an edited cluster is looked at: longer than every wait.
const quietTime = 15 * time.Minute

// Another client changes one field of one of our objects, our annotations included, in any state that a cluster reaches.
// The cluster that nobody edits says what is right: after the write that repairs the edit, and ever after, the edited one
// is as that one, unless it reports what stays of the edit.
func TestHostileEditor(t *testing.T) {
	for seed := *editSeed; seed < *editSeed+*edits; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			h := &hostileWalk{random: rand.New(rand.NewSource(int64(seed)))}
			c, state := hostileState(t, seed, h.random)
			h.walk(t, c, state)
		})
	}
}

func (h *hostileWalk) walk(t *testing.T, c *cluster, state string) {
	h.steps = append(h.steps, state)
	h.attack(t, c)
	for range hostileSteps {
		h.steps = append(h.steps, step(c, h.random))
		c.advance(time.Duration(h.random.Intn(1<<uint(h.random.Intn(10)))) * time.Second)
		h.attack(t, c)
	}
}

// hostileWalk is a walk of one cluster, and what its objects were on the way.
type hostileWalk struct {
	random *rand.Rand
	https  bool // edits of Gateways include those of their certificates
	steps  []string
	past   []Object
}

// attack has another client edit a copy of the cluster, and compares what comes of it with the cluster itself.
func (h *hostileWalk) attack(t *testing.T, c *cluster) {
	t.Helper()
	edited, quiet := c.clone(), c.clone()
	is := h.edit(edited)
	h.past = append(h.past, copyObjects(c.existing).All()...)
	if is == nil {
		return
	}
	a := &attacked{cluster: edited, was: c, edit: is, before: copyObjects(edited.existing)}
	a.answer()
	if !t.Failed() {
		a.later(quiet)
	}
	if t.Failed() {
		t.Fatalf("%s %s: %s\nafter:\n%s\ntold: %v\nand in the end: %v", is.kind, is.name, is.what, strings.Join(h.steps, "\n"), a.toldFirst, edited.problems)
	}
}

// attacked is a cluster that another client edited.
type attacked struct {
	*cluster
	was       *cluster // the cluster without the edit, at the same time
	edit      *handEditOf
	before    Objects // as they were after the edit and before the plan
	toldFirst []api.RouteProblem
}

// answer lets the plan answer the edit and checks what follows at once.
func (a *attacked) answer() {
	a.t.Helper()
	a.told, a.editedRoutes = map[api.RouteReason]bool{}, map[string]bool{}
	if a.edit.kind == "VirtualService" {
		a.editedRoutes[a.edit.name] = true
	}
	first := len(a.writes)
	if a.edit.kind == "DestinationRule" {
		a.left = map[string]time.Time{} // another client removed what it removed
	}
	a.settle()
	a.toldFirst = slices.Clone(a.problems)
	a.editedRoutes = map[string]bool{}
	if a.observes() {
		a.staysWhereNothingIsWritten(len(a.writes) - first)
		return
	}
	a.checkSubsets()
	a.namesNoMissingSubset()
	a.copiesAgree()
	a.compare(a.was)
	a.saysSo()
}

// namesNoMissingSubset wants every subset that a route names to exist after the write that answers the edit, whoever owns the
// route.
func (a *attacked) namesNoMissingSubset() {
	a.t.Helper()
	for _, vs := range slices.Concat(a.existing.VirtualServices, a.foreign.VirtualServices) {
		for _, name := range subsetsNamed(vs, "app.demo.svc.cluster.local", "cluster.local") {
			if _, exists := a.since[name]; name != "" && !exists {
				a.t.Errorf("%v: VirtualService %s names subset %s, which does not exist", a.now, vs.Name, name)
			}
		}
	}
}

// later looks at the cluster until every wait has ended: it passes through no shares that the quiet one does not have, and
// ends as that one does.
func (a *attacked) later(quiet *cluster) {
	a.t.Helper()
	seen := map[string]bool{}
	note := func(c *cluster) func() {
		return func() {
			for _, vs := range c.existing.VirtualServices {
				seen[vs.Name+" "+routesOf(vs)] = true
			}
		}
	}
	quiet.watch = note(quiet)
	quiet.changed()
	quiet.advance(quietTime)
	// Routes that differ on the way are excused in five cases. The share of a workload whose version changes is divided among the
	// subsets that proxies know, and an edited one is known again after the propagation delay. A dry run writes nothing. Without a
	// trusted record, beside a DestinationRule that conflicts, and where a route was another author's before, the edit stays. Shares
	// that are reported as adopted are others by decision.
	rollsOut := a.edit.kind == "DestinationRule" && a.tellsOf(api.RouteRolloutBesideOthers, "Service", "")
	exempt := rollsOut || a.observes() || a.keepsAll() || a.adopts() || a.was.drifts()
	a.watch = func() {
		for _, vs := range a.existing.VirtualServices {
			if !exempt && !a.isTheirs(vs) && !seen[a.originalName(vs)+" "+routesOf(vs)] {
				a.t.Errorf("%v: VirtualService %s routes to %s, as no route does without the edit", a.now, vs.Name, routesOf(vs))
			}
		}
	}
	a.advance(quietTime)
	if !a.observes() {
		a.compare(quiet)
		a.tellsAs(quiet)
	}
}

func (a *attacked) observes() bool {
	intent, _ := a.settings.Limits.IntentOf(a.service, a.namespace, a.accepts)
	return intent.Observe
}

// staysWhereNothingIsWritten is about a dry run: the edit stays and is reported with what would be written.
func (a *attacked) staysWhereNothingIsWritten(writes int) {
	a.t.Helper()
	if writes > 0 {
		a.t.Errorf("a dry run wrote: %v", a.writes[len(a.writes)-writes:])
	}
	a.compareObjects(a.before, a.existing)
}

// held reports whether the cluster leaves everything as it is, since it trusts no record.
func (a *attacked) held() bool {
	return slices.ContainsFunc(a.toldFirst, func(p api.RouteProblem) bool {
		return p.Reason == api.RouteRecordEdited && p.Object.Kind == "Service" && strings.Contains(p.Message, "until you decide")
	})
}

// adopts reports whether the shares that the edit wrote are in effect from now on, and reported.
func (a *attacked) adopts() bool {
	return a.edit.spec && a.edit.kind == "VirtualService" && a.edit.object != nil && a.tellsOf(api.RouteWeightsAdopted, "VirtualService", "") &&
		!slices.ContainsFunc(a.was.problems, func(p api.RouteProblem) bool {
			return p.Reason == api.RouteWeightsAdopted && slices.Contains(a.toldFirst, p)
		})
}

// isTheirs reports whether an object is reported as another author's.
func (a *attacked) isTheirs(o Object) bool {
	return a.tellsOf(api.RouteDrifted, KindOf(o), o.GetName())
}

func (a *attacked) tellsOf(reason api.RouteReason, kind, name string) bool {
	return slices.ContainsFunc(a.toldFirst, func(p api.RouteProblem) bool {
		return p.Reason == reason && p.Object.Kind == kind && (name == "" || p.Object.Name == name)
	})
}

// compare wants the objects to be those of the cluster that nobody edited, but for what is reported.
func (a *attacked) compare(right *cluster) {
	a.t.Helper()
	switch {
	case a.keepsAll():
		a.compareRoutes(a.before.VirtualServices, a.existing.VirtualServices, false)
	case a.adopts():
		is, must := a.shareOut(a.existing), a.shareOut(a.before)
		if right != a.was {
			must = a.shareOut(right.existing)
			for name := range is {
				must[name] = a.shareOut(a.before)[a.edit.name]
			}
		}
		if is[a.edit.name] != must[a.edit.name] {
			a.t.Errorf("%v: the shares %q are reported as adopted, and are %q", a.now, must[a.edit.name], is[a.edit.name])
		}
	default:
		a.compareRoutes(right.existing.VirtualServices, a.existing.VirtualServices, true)
		a.compareGateways(right.existing.Gateways, a.existing.Gateways, right == a.was)
	}
	a.compareSubsets(right)
}

// shareOut are the shares of each VirtualService that no condition claims.
func (a *attacked) shareOut(o Objects) map[string]string {
	out := map[string]string{}
	for _, vs := range o.VirtualServices {
		for _, http := range vs.Spec.Http {
			if !isConditional(http) {
				out[vs.Name] = percentsText(withoutZeroWeights(http.Route))
			}
		}
	}
	return out
}

// percentsText is the share of each subset as our routes have it: in whole percents, unless that leaves one without any.
func percentsText(routes []*networkingapi.HTTPRouteDestination) string {
	var portions []portion
	for _, d := range routes {
		portions = append(portions, portion{d.Destination.Subset, max(int(d.Weight), 1)})
	}
	return sharesLine(asRead(normalised(portions)))
}

// originalName is the name that a VirtualService of ours has without the edit: where the edit made the object the user's, ours
// stands beside it.
func (a *attacked) originalName(vs *networkingv1.VirtualService) string {
	name, beside := strings.CutSuffix(vs.Name, autoSuffix)
	if beside && a.tellsOf(api.RouteObjectReplaced, "VirtualService", name) {
		return name
	}
	return vs.Name
}

func (a *attacked) compareRoutes(right, is []*networkingv1.VirtualService, exempt bool) {
	a.t.Helper()
	byName := map[string]*networkingv1.VirtualService{}
	for _, vs := range is {
		byName[a.originalName(vs)] = vs
	}
	for _, must := range right {
		vs := byName[must.Name]
		delete(byName, must.Name)
		wasTheirs := slices.ContainsFunc(a.was.problems, func(p api.RouteProblem) bool { return p.Reason == api.RouteDrifted && p.Object.Name == must.Name })
		switch {
		case vs == nil:
			a.t.Errorf("%v: VirtualService %s is missing", a.now, must.Name)
		case exempt && a.isTheirs(vs):
			if edited := findRoute(a.before, vs.Name); edited != nil && !sameSpecExactly(edited, vs) {
				a.t.Errorf("%v: VirtualService %s is reported as another author's, and was written:\n%s", a.now, vs.Name, canonical(&vs.Spec))
			}
		case !exempt && a.told[api.RouteEditReverted] && a.edit.name == vs.Name: // it named a subset that does not exist
		case exempt && wasTheirs: // it was another author's, and is ours again
		case !sameSpec(vs, must):
			a.t.Errorf("%v: VirtualService %s is\n%s, and without the edit\n%s", a.now, vs.Name, canonical(&vs.Spec), canonical(&must.Spec))
		}
	}
	for name := range byName {
		a.t.Errorf("%v: there is VirtualService %s, and none without the edit", a.now, name)
	}
}

func (a *attacked) compareGateways(right, is []*networkingv1.Gateway, immediate bool) {
	a.t.Helper()
	if len(right) != len(is) {
		a.t.Errorf("%v: there are %d Gateways, and %d without the edit", a.now, len(is), len(right))
		return
	}
	for i, gateway := range is {
		if immediate && !takesAway([]Object{gateway}, right[i]) {
			continue // what only a change of exposure still serves may end at once
		}
		if a.tellsOf(api.RouteDrifted, "VirtualService", "") && !takesAway([]Object{right[i]}, gateway) && len(a.before.Gateways) == len(is) && !takesAway([]Object{gateway}, a.before.Gateways[i]) {
			continue // a VirtualService that is theirs now goes on serving what a change of exposure was about to remove
		}
		if !a.isTheirs(gateway) && !sameSpec(gateway, right[i]) {
			a.t.Errorf("%v: Gateway %s is\n%s, and without the edit\n%s", a.now, gateway.Name, canonical(&gateway.Spec), canonical(&right[i].Spec))
		}
	}
}

// compareSubsets wants each subset of ours that the other cluster has, with the same labels, unless it is on its way out.
func (a *attacked) compareSubsets(right *cluster) {
	a.t.Helper()
	for _, must := range right.existing.DestinationRules {
		at := slices.IndexFunc(a.existing.DestinationRules, func(rule *networkingv1.DestinationRule) bool { return rule.Name == must.Name })
		if at < 0 {
			a.t.Errorf("%v: DestinationRule %s is missing", a.now, must.Name)
			continue
		}
		rule := a.existing.DestinationRules[at]
		if rule.Spec.Host != must.Spec.Host && !isShortOf(rule.Spec.Host, must.Spec.Host, must.Namespace) {
			a.t.Errorf("%v: the host of DestinationRule %s is %s", a.now, rule.Name, rule.Spec.Host)
		}
		// Who loses a stamp of time may be hidden from others at once, but from nobody who sees a route: see checkVisible.
		if right != a.was && !slices.Equal(rule.Spec.ExportTo, must.Spec.ExportTo) && !a.tellsDrift() && !a.keepsAll() {
			a.t.Errorf("%v: DestinationRule %s is exported to %v, and to %v without the edit", a.now, rule.Name, rule.Spec.ExportTo, must.Spec.ExportTo)
		}
		ours, unused := parseStamps(must.Annotations[api.AnnotationSubsetAdded]), parseStamps(must.Annotations[api.AnnotationUnusedSince])
		for _, subset := range must.Spec.Subsets {
			is := findSubset(rule, subset.Name)
			_, added := ours[subset.Name]
			_, leaves := unused[subset.Name]
			if !added || is == nil && (leaves || !a.isNamedNow(subset.Name) && (a.keepsAll() || !a.hasPods(subset))) {
				continue
			}
			if is == nil || !maps.Equal(is.Labels, subset.Labels) || is.TrafficPolicy != nil {
				a.t.Errorf("%v: subset %s is %v, and without the edit %v", a.now, subset.Name, is, subset)
			}
		}
	}
}

func (a *attacked) hasPods(subset *networkingapi.Subset) bool {
	for _, groups := range a.pods {
		if groups[subset.Labels["version"]] != nil {
			return true
		}
	}
	return false
}

func (a *attacked) isNamedNow(subset string) bool {
	return slices.ContainsFunc(slices.Concat(a.existing.VirtualServices, a.foreign.VirtualServices), func(vs *networkingv1.VirtualService) bool {
		return slices.Contains(subsetsNamed(vs, "app.demo.svc.cluster.local", "cluster.local"), subset)
	})
}

// keepsAll reports whether nothing is written but subsets that routes name: no record is trusted, or a DestinationRule of
// the user's gives our names other labels.
func (a *attacked) keepsAll() bool {
	return a.held() || a.tellsOf(api.RouteSubsetConflict, "DestinationRule", "")
}

// tellsDrift reports whether any object is reported as another author's.
func (a *attacked) tellsDrift() bool { return a.tellsOf(api.RouteDrifted, "VirtualService", "") }

func (a *attacked) compareObjects(must, is Objects) {
	a.t.Helper()
	if changes := Diff(must, is); len(changes) > 0 {
		a.t.Errorf("%v: %s %s %s", a.now, changes[0].Action, KindOf(changes[0].Object), changes[0].Object.GetName())
	}
}

// copiesAgree wants the copies of the record to be equal where their revision is.
func (a *attacked) copiesAgree() {
	a.t.Helper()
	if a.tellsOf(api.RouteSubsetConflict, "DestinationRule", "") {
		return // no record is written beside a DestinationRule that conflicts
	}
	texts := map[int]string{}
	for _, object := range a.existing.All() {
		if r := recordOf(object); !r.isZero() && KindOf(object) != "Gateway" {
			if other, is := texts[r.Revision]; is && other != r.text() {
				a.t.Errorf("%v: revision %d of the record is %s and %s", a.now, r.Revision, other, r.text())
			}
			texts[r.Revision] = r.text()
		}
	}
}

// saysSo wants an edit that was written back to be reported.
func (a *attacked) saysSo() {
	a.t.Helper()
	if a.edit.object == nil || !a.edit.spec {
		return
	}
	var now Object
	for _, object := range a.existing.All() {
		if sameName(object, a.edit.object) {
			now = object
		}
	}
	if now == nil || sameSpec(now, a.edit.object) || a.isWithoutMeaning() {
		return
	}
	if !a.adopts() && !a.told[api.RouteEditReverted] && !a.told[api.RouteRecordEdited] && !a.told[api.RouteRouteConflict] {
		a.t.Errorf("%v: the edit was reverted without a message: %v", a.now, a.toldFirst)
	}
}

// isWithoutMeaning reports whether the edit of a VirtualService changes names and forms alone.
func (a *attacked) isWithoutMeaning() bool {
	if a.edit.what == "an older copy" && a.edit.kind == "Gateway" {
		return true // a Gateway has no revision, so that nothing tells its older copy from what was written last
	}
	edited := a.was.clone()
	edited.existing = copyObjects(a.before)
	s := read(edited.observe(), a.now, newPodsAndWorkloads(edited.observe()))
	s.readTracks()
	s.nameSubsets()
	switch o := a.edit.object.(type) {
	case *networkingv1.VirtualService:
		how, _ := s.editOf(o)
		return how == unedited
	case *networkingv1.DestinationRule:
		return !s.destinationRuleEdited()
	}
	return false
}

// tellsAs wants the messages of the cluster that nobody edited, and none but them.
func (a *attacked) tellsAs(quiet *cluster) {
	a.t.Helper()
	if a.keepsAll() || a.adopts() || a.was.drifts() || a.tellsDrift() || a.isTheirsAny() || strings.Contains(a.edit.what, "trafficPolicy") {
		return
	}
	is, must := reasonsOf(a.problems), reasonsOf(quiet.problems)
	if !slices.Equal(is, must) {
		a.t.Errorf("%v: told %v, and %v without the edit:\n%v", a.now, is, must, quiet.problems)
	}
}

func (a *attacked) isTheirsAny() bool { return a.tellsOf(api.RouteDrifted, "Gateway", "") }

func reasonsOf(problems []api.RouteProblem) []string {
	var out []string
	for _, p := range problems {
		if p.Reason != api.RouteDrifted {
			out = append(out, string(p.Reason)+" "+p.Object.String()+" "+p.Field)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// drifts reports whether an object is reported as another author's.
func (c *cluster) drifts() bool {
	return slices.ContainsFunc(c.problems, func(p api.RouteProblem) bool { return p.Reason == api.RouteDrifted })
}

func findRoute(o Objects, name string) *networkingv1.VirtualService {
	at := slices.IndexFunc(o.VirtualServices, func(vs *networkingv1.VirtualService) bool { return vs.Name == name })
	if at < 0 {
		return nil
	}
	return o.VirtualServices[at]
}

// sameSpecExactly compares also what we leave to users.
func sameSpecExactly(a, b Object) bool {
	switch a := a.(type) {
	case *networkingv1.DestinationRule:
		return canonical(&a.Spec) == canonical(&b.(*networkingv1.DestinationRule).Spec)
	case *networkingv1.VirtualService:
		return canonical(&a.Spec) == canonical(&b.(*networkingv1.VirtualService).Spec)
	case *networkingv1.Gateway:
		return canonical(&a.Spec) == canonical(&b.(*networkingv1.Gateway).Spec)
	}
	return false
}

func (c *cluster) clone() *cluster {
	twin := *c
	twin.watch = nil
	twin.service, twin.namespace = c.service.DeepCopy(), c.namespace.DeepCopy()
	twin.existing, twin.foreign = copyObjects(c.existing), copyObjects(c.foreign)
	twin.workloads, twin.pods = map[WorkloadRef]*Workload{}, map[WorkloadRef]map[string]*PodGroup{}
	for ref, w := range c.workloads {
		copied := *w
		copied.Labels, copied.Selector = maps.Clone(w.Labels), maps.Clone(w.Selector)
		twin.workloads[ref] = &copied
	}
	for ref, groups := range c.pods {
		twin.pods[ref] = map[string]*PodGroup{}
		for version, group := range groups {
			copied := *group
			twin.pods[ref][version] = &copied
		}
	}
	twin.labels = maps.Clone(c.labels)
	twin.since, twin.left, twin.told = maps.Clone(c.since), maps.Clone(c.left), maps.Clone(c.told)
	twin.before, twin.early, twin.editedRoutes = maps.Clone(c.before), maps.Clone(c.early), maps.Clone(c.editedRoutes)
	twin.writes, twin.problems = slices.Clone(c.writes), slices.Clone(c.problems)
	return &twin
}
