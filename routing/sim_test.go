// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	networkingk8s "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"outrigger.dev/outrigger/api"
)

// cluster is a simulated cluster with one Service under a clock of its own. It plans and applies until nothing changes,
// and checks after every single write what must always hold.
type cluster struct {
	t         testing.TB
	now       time.Time
	service   *corev1.Service
	namespace *corev1.Namespace
	workloads map[WorkloadRef]*Workload
	pods      map[WorkloadRef]map[string]*PodGroup
	kinds     map[string]string // of workloads that are no Deployments, by name
	foreign   Objects
	existing  Objects
	settings  api.RoutingSettings
	ingress   []*corev1.Service
	https     bool // the ingress gateway has ports for HTTPS, and random steps use them

	managedBy  string
	several    bool // the mesh spans clusters
	ambient    bool
	names      map[string]bool
	meshDomain string
	hostOwners map[string]string
	ingresses  []*networkingk8s.Ingress
	controller IngressController
	bypasses   []Bypass
	accepts    map[string]bool // annotations that are held to the grammar alone, as by an earlier release

	uid        int
	writes     []string                                // since the last call of wrote
	since      map[string]time.Time                    // when each subset was added
	before     map[string]*networkingv1.VirtualService // as they were before they were written last, by name
	left       map[string]time.Time                    // when a route last named each subset
	early      map[string]bool                         // subsets that a route named before the propagation delay, where that protected nothing
	problems   []api.RouteProblem
	superseded []Superseded
	next       time.Time
	labels     map[string]map[string]string // more labels of pods, by name of the workload
	sameAlias  bool                         // labelAlias has the values of version
	empty      bool                         // a destination may be without a ready pod: the case is hold
	told       map[api.RouteReason]bool
	// editedRoutes are VirtualServices that another client edited and that have not been written since: they may name anything.
	editedRoutes map[string]bool
	plans        int  // that were made
	quick        bool // leaves out the checks of the plan itself, which other tests make
	rests        int  // plans that changed nothing
	// collected is our DestinationRule that was replaced with its annotations, while Outrigger remembers it.
	collected *networkingv1.DestinationRule
	metrics   func(CanaryQuery) CanarySamples // answers an evaluation of a canary; nil if nobody does
	asked     CanaryQuery                     // the last evaluation, and its answer
	answer    CanarySamples
	templates map[string]string // hashes of pod templates, by the name of the workload
	restarts  map[string]string // of the pods, by the name of the workload
	watch     func()            // called whenever something in the cluster may be different; may be nil
}

func testSettings() api.RoutingSettings { return api.DefaultConfig().RoutingSettings() }

func newCluster(t testing.TB) *cluster {
	c := &cluster{
		t: t, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		namespace: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "demo", Labels: map[string]string{"istio-injection": "enabled"}}},
		workloads: map[WorkloadRef]*Workload{}, pods: map[WorkloadRef]map[string]*PodGroup{}, kinds: map[string]string{},
		settings: testSettings(), since: map[string]time.Time{}, left: map[string]time.Time{}, early: map[string]bool{}, before: map[string]*networkingv1.VirtualService{}, names: map[string]bool{"app": true},
		ingress: []*corev1.Service{{ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: "istio-ingressgateway"},
			Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}, {Port: 8066}}}}},
		told: map[api.RouteReason]bool{},
	}
	c.createService()
	return c
}

func (c *cluster) createService() {
	c.uid++
	c.service = &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "app", UID: types.UID(fmt.Sprint("uid-", c.uid)), CreationTimestamp: metav1.NewTime(c.now), Annotations: map[string]string{}, Labels: map[string]string{}},
		Spec:       corev1.ServiceSpec{ClusterIP: "10.0.0.1", Selector: map[string]string{"app": "app"}, Ports: []corev1.ServicePort{{Name: "http", Port: 8080}}},
	}
}

func deploymentRef(name string) WorkloadRef { return WorkloadRef{Kind: "Deployment", Name: name} }

// ref is the workload of a name: a Deployment unless kinds says otherwise.
func (c *cluster) ref(name string) WorkloadRef {
	ref := deploymentRef(name)
	if kind := c.kinds[name]; kind != "" {
		ref.Kind = kind
	}
	return ref
}

// fixed and rolling create a workload, with all its pods, none of them ready.
func (c *cluster) fixed(name, version string, replicas int) {
	c.deploy(name, version, replicas, map[string]string{"app": "app", "version": version})
}

func (c *cluster) rolling(name, version string, replicas int) {
	c.deploy(name, version, replicas, map[string]string{"app": "app", "workload": name})
}

func (c *cluster) deploy(name, version string, replicas int, selector map[string]string) {
	ref := c.ref(name)
	labels := maps.Clone(selector)
	if version != "" {
		labels["version"] = version
	}
	c.workloads[ref] = &Workload{WorkloadRef: ref, Created: c.now, Replicas: int32(replicas), Selector: selector, Labels: labels}
	c.pods[ref] = map[string]*PodGroup{}
	c.run(name, version, replicas, 0)
}

// run sets how many pods of a version a workload has, and how many are ready.
func (c *cluster) run(name, version string, pods, ready int) {
	ref := c.ref(name)
	if c.pods[ref] == nil {
		c.pods[ref] = map[string]*PodGroup{}
	}
	if pods == 0 {
		delete(c.pods[ref], version)
		return
	}
	group := &PodGroup{Workload: ref, Version: version, Pods: pods, Created: c.now}
	if was := c.pods[ref][version]; was != nil {
		group.Created, group.Ready, group.ReadySince = was.Created, was.Ready, was.ReadySince
	}
	c.pods[ref][version] = group
	c.setReady(group, ready)
}

// setReady makes so many pods ready; the API tells since when by the second.
func (c *cluster) setReady(group *PodGroup, ready int) {
	switch {
	case ready == 0:
		group.ReadySince = time.Time{}
	case group.Ready == 0:
		group.ReadySince = c.now.Truncate(time.Second)
	}
	group.Ready = ready
}

// ready makes all pods ready, or those of some workloads.
func (c *cluster) ready(names ...string) {
	for ref, groups := range c.pods {
		for _, group := range groups {
			if len(names) == 0 || slices.Contains(names, ref.Name) {
				c.setReady(group, group.Pods)
			}
		}
	}
}

// spread lets the proxies hear of pods that have just become ready.
func (c *cluster) spread() {
	c.t.Helper()
	c.advance(c.settings.PropagationDelay + time.Second)
}

func (c *cluster) template(name, version string) {
	c.workloads[c.ref(name)].Labels["version"] = version
}

// remove deletes a workload; its pods terminate until gone.
func (c *cluster) remove(name string) {
	c.orphan(name)
	for _, group := range c.pods[c.ref(name)] {
		group.Terminating, group.Ready, group.ReadySince = group.Pods, 0, time.Time{}
	}
}

// orphan deletes a workload and leaves its pods, as kubectl delete --cascade=orphan does.
func (c *cluster) orphan(name string) { delete(c.workloads, c.ref(name)) }

func (c *cluster) gone(name string) { delete(c.pods, c.ref(name)) }

func (c *cluster) annotate(pairs ...string) {
	for _, pair := range pairs {
		if key, remove := strings.CutSuffix(pair, "-"); remove && !strings.Contains(pair, "=") {
			delete(c.service.Annotations, "outrigger.dev/"+key)
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		c.service.Annotations["outrigger.dev/"+key] = value
	}
}

func (c *cluster) observe() Observed {
	intent, problems := c.settings.Limits.IntentOf(c.service, c.namespace, c.accepts)
	c.problems = problems
	o := Observed{
		Service: c.service.DeepCopy(), Namespace: c.namespace.DeepCopy(), Intent: intent, Existing: copyObjects(c.existing), Foreign: copyObjects(c.foreign),
		IngressServices: c.ingress, IngressSelectors: []string{"ingressgateway"}, ServiceNames: c.names, RootNamespace: "istio-system", Settings: c.settings,
		ManagedBy: c.managedBy, Ambient: c.ambient, MultiCluster: c.several, Pods: c.groupsBy(intent.VersionLabel),
		MeshDomain: c.meshDomain, HostOwners: c.hostOwners, Ingresses: c.ingresses, IngressController: c.controller, Bypasses: c.bypasses,
	}
	if o.Existing.IsEmpty() {
		o.DeletedDestinationRule = c.collected.DeepCopy()
	}
	for _, ref := range slices.SortedFunc(maps.Keys(c.workloads), compareRefs) {
		w := *c.workloads[ref]
		w.Labels = c.labelsOf(ref, w.Labels["version"], w.Labels)
		o.Workloads = append(o.Workloads, w)
	}
	if recorded := RecordedVersionLabel(o); recorded != "" {
		FollowVersionLabel(&o, recorded, c.groupsBy(recorded))
	}
	if query, due := CanaryQueryOf(o, c.now); due && c.metrics != nil {
		if !query.Due.Equal(c.asked.Due) || !query.Since.Equal(c.asked.Since) {
			c.asked, c.answer = query, c.metrics(query)
			c.answer.At = c.now
		}
		answer := c.answer
		o.Samples = &answer
	}
	return o
}

// labelAlias is a label whose values tell the same pods apart as those of version, by other names.
const labelAlias = "example.com/release"

// labelsOf are the labels of the pods of a workload that run a version.
func (c *cluster) labelsOf(ref WorkloadRef, version string, labels map[string]string) map[string]string {
	out := map[string]string{"app": "app", "pod-template-hash": ref.Name + version}
	maps.Copy(out, labels)
	if delete(out, "version"); version != "" {
		out["version"], out[labelAlias] = version, c.alias(version)
	}
	maps.Copy(out, c.labels[ref.Name])
	return out
}

func (c *cluster) alias(version string) string {
	if c.sameAlias {
		return version
	}
	return "release-" + version
}

// groupsBy counts the pods by another version label.
func (c *cluster) groupsBy(label string) []PodGroup {
	if label == "version" {
		return c.groups()
	}
	var out []PodGroup
	for _, group := range c.groups() {
		group.Version = c.labelsOf(group.Workload, group.Version, nil)[label]
		at := slices.IndexFunc(out, func(g PodGroup) bool { return g.Workload == group.Workload && g.Version == group.Version })
		if at < 0 {
			out = append(out, group)
			continue
		}
		was := &out[at]
		was.Pods, was.Ready, was.Terminating = was.Pods+group.Pods, was.Ready+group.Ready, was.Terminating+group.Terminating
		if group.Created.Before(was.Created) {
			was.Created = group.Created
		}
		if was.ReadySince.IsZero() || !group.ReadySince.IsZero() && group.ReadySince.Before(was.ReadySince) {
			was.ReadySince = group.ReadySince
		}
	}
	return out
}

func (c *cluster) groups() []PodGroup {
	var out []PodGroup
	for _, ref := range slices.SortedFunc(maps.Keys(c.pods), compareRefs) {
		for _, version := range sortedKeys(c.pods[ref]) {
			group := *c.pods[ref][version]
			group.Templates, group.Restarts = c.templates[ref.Name], c.restarts[ref.Name]
			out = append(out, group)
		}
	}
	return out
}

func copyObjects(o Objects) Objects {
	var out Objects
	for _, rule := range o.DestinationRules {
		out.DestinationRules = append(out.DestinationRules, rule.DeepCopy())
	}
	for _, vs := range o.VirtualServices {
		out.VirtualServices = append(out.VirtualServices, vs.DeepCopy())
	}
	for _, gateway := range o.Gateways {
		out.Gateways = append(out.Gateways, gateway.DeepCopy())
	}
	return out
}

func shuffle[T any](list []T, random *rand.Rand) {
	random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
}

func shuffled(o Observed, random *rand.Rand) Observed {
	o.Pods, o.Workloads = slices.Clone(o.Pods), slices.Clone(o.Workloads)
	shuffle(o.Pods, random)
	shuffle(o.Workloads, random)
	for _, objects := range []Objects{o.Existing, o.Foreign} {
		shuffle(objects.DestinationRules, random)
		shuffle(objects.VirtualServices, random)
		shuffle(objects.Gateways, random)
	}
	return o
}

// settle plans and applies until nothing changes.
func (c *cluster) settle() {
	c.t.Helper()
	c.changed()
	c.disown()
	for range 6 {
		observed := c.observe()
		result := c.plan(observed)
		if !result.Next.IsZero() && !result.Next.After(c.now) {
			c.t.Fatalf("Next is %v, not after now, %v", result.Next, c.now)
		}
		c.problems = append(c.problems, result.Problems...)
		c.superseded = result.Superseded
		for _, p := range result.Problems {
			c.told[p.Reason] = true
		}
		c.next = result.Next
		changes := observed.Changes(result)
		if len(changes) == 0 {
			c.checkRules()
			c.checkDestinations()
			c.checkNext(observed, result)
			return
		}
		if left := c.diffOfItself(result.Objects); len(left) > 0 {
			c.t.Fatalf("Diff(x, x) is not empty: %v", left)
		}
		for _, change := range changes {
			c.apply(change)
			c.changed()
			c.checkSubsets()
			c.checkVisible()
		}
		c.checkDestinations()
	}
	last := Plan(c.observe(), c.now).Objects
	c.t.Fatalf("the plan never comes to rest; the last writes: %v\n%s", c.writes[max(0, len(c.writes)-8):], cmp.Diff(text(c.t, c.existing.sorted()), text(c.t, last)))
}

// plan makes one plan, and unless the walk is quick checks that it changes nothing that it is given and does not depend
// on the order of that.
func (c *cluster) plan(observed Observed) Result {
	c.t.Helper()
	if c.quick {
		return Plan(observed, c.now)
	}
	before := bytesOf(c.t, withoutSamples(observed))
	result := Plan(observed, c.now)
	if after := bytesOf(c.t, withoutSamples(observed)); !bytes.Equal(before, after) {
		c.t.Fatalf("Plan changed what it was given:\n%s", cmp.Diff(string(before), string(after)))
	}
	again := Plan(shuffled(c.observe(), rand.New(rand.NewSource(int64(c.uid)))), c.now)
	if !bytes.Equal(bytesOf(c.t, result), bytesOf(c.t, again)) {
		c.t.Fatalf("another order of the same input gives another plan:\n%s", cmp.Diff(text(c.t, result), text(c.t, again)))
	}
	c.checkDependencies(observed, result)
	return result
}

// withoutSamples leaves out what JSON cannot have: NaN.
func withoutSamples(o Observed) Observed {
	o.Samples = nil
	return o
}

func (c *cluster) diffOfItself(objects Objects) []Change {
	if c.quick {
		return nil
	}
	return Diff(objects, objects)
}

func (c *cluster) changed() {
	if c.watch != nil {
		c.watch()
	}
}

// advance lets time pass, planning whenever the plan asks for it.
func (c *cluster) advance(d time.Duration) {
	c.t.Helper()
	end := c.now.Add(d)
	c.settle()
	for range 100 {
		if c.next.IsZero() || c.next.After(end) {
			c.now = end
			c.settle()
			return
		}
		c.now = c.next
		c.settle()
	}
	c.t.Fatal("a hundred plans are not enough: Next moves too slowly")
}

func (c *cluster) apply(change Change) {
	c.t.Helper()
	kind, name := KindOf(change.Object), change.Object.GetName()
	c.writes = append(c.writes, fmt.Sprint(change.Action, " ", kind, " ", name))
	if change.Action == Release {
		c.release(change)
		return
	}
	at := slices.IndexFunc(c.existing.All(), func(o Object) bool { return sameName(o, change.Object) })
	if (at < 0) != (change.Action == Create) {
		c.t.Fatalf("%s %s %s, but present: %t", change.Action, kind, name, at >= 0)
	}
	if at >= 0 && c.existing.All()[at].GetResourceVersion() != change.ResourceVersion {
		c.t.Fatalf("%s %s %s over resourceVersion %q, it is %q", change.Action, kind, name, change.ResourceVersion, c.existing.All()[at].GetResourceVersion())
	}
	c.uid++
	stamp := func(o Object, was Object) {
		o.SetResourceVersion(fmt.Sprint(c.uid))
		o.SetCreationTimestamp(metav1.NewTime(c.now))
		o.SetUID(types.UID(fmt.Sprint("object-", c.uid)))
		if was != nil {
			o.SetCreationTimestamp(was.GetCreationTimestamp())
			o.SetUID(was.GetUID())
		}
	}
	switch o := change.Object.(type) {
	case *networkingv1.DestinationRule:
		c.existing.DestinationRules = put(c.existing.DestinationRules, o.DeepCopy(), change.Action, stamp, func(is, was *networkingv1.DestinationRule) {
			if is.Spec.TrafficPolicy == nil && was.Annotations[api.AnnotationInherited] == "" { // else we applied it
				is.Spec.TrafficPolicy = was.Spec.TrafficPolicy
			}
		})
	case *networkingv1.VirtualService:
		delete(c.before, name)
		if at >= 0 {
			c.before[name] = c.existing.All()[at].(*networkingv1.VirtualService).DeepCopy()
		}
		delete(c.editedRoutes, name)
		c.existing.VirtualServices = put(c.existing.VirtualServices, o.DeepCopy(), change.Action, stamp, nil)
	case *networkingv1.Gateway:
		c.existing.Gateways = put(c.existing.Gateways, o.DeepCopy(), change.Action, stamp, nil)
	}
}

func put[T Object](list []T, object T, action Action, stamp func(is, was Object), merge func(is, was T)) []T {
	at := slices.IndexFunc(list, func(o T) bool { return o.GetName() == object.GetName() })
	switch action {
	case Delete:
		return slices.Delete(list, at, at+1)
	case Create:
		stamp(object, nil)
		return append(list, object)
	}
	stamp(object, list[at])
	if merge != nil {
		merge(object, list[at])
	}
	list[at] = object
	return list
}

// checkSubsets holds at every moment: a route names only subsets that are there and, unless somebody else's, have been
// there for the propagation delay; a subset goes only when no route has named it for the retention.
func (c *cluster) checkSubsets() {
	c.t.Helper()
	now := map[string]bool{}
	for _, rule := range append(slices.Clone(c.existing.DestinationRules), c.foreign.DestinationRules...) {
		for _, subset := range rule.Spec.Subsets {
			now[subset.Name] = true
			if _, known := c.since[subset.Name]; !known {
				c.since[subset.Name] = c.now
			}
		}
	}
	for name := range c.since {
		if !now[name] {
			if left, named := c.left[name]; named && c.now.Sub(left) < c.settings.SubsetRetention {
				c.t.Errorf("%v: subset %s went %v after a route named it last", c.now, name, c.now.Sub(left))
			}
			delete(c.since, name)
			delete(c.left, name)
			delete(c.early, name)
		}
	}
	for _, vs := range c.existing.VirtualServices {
		for _, d := range DestinationsOf(vs) {
			since, there := c.since[d.Subset]
			switch {
			case d.Subset == "":
			case !there && (c.theirs(vs) || c.editedRoutes[vs.Name]):
			case !there:
				c.t.Errorf("%v: VirtualService %s names subset %s, which is not there", c.now, vs.Name, d.Subset)
			case c.now.Sub(since) < c.settings.PropagationDelay && !c.early[d.Subset] && !c.protectsNothing(vs) && !c.theirs(vs) && !c.editedRoutes[vs.Name]:
				c.t.Errorf("%v: VirtualService %s names subset %s, which has been there for only %v", c.now, vs.Name, d.Subset, c.now.Sub(since))
			case !weightless(vs, d):
				c.left[d.Subset] = c.now
				c.early[d.Subset] = c.now.Sub(since) < c.settings.PropagationDelay
			}
		}
	}
}

// protectsNothing reports whether a route may name a subset at once: nothing behind the Service is ready, or the route
// before sent a share to a subset without a ready pod, which fails until the new subset has it.
func (c *cluster) protectsNothing(vs *networkingv1.VirtualService) bool {
	if !c.anyReady() {
		return true
	}
	before := c.before[vs.Name]
	return before != nil && slices.ContainsFunc(DestinationsOf(before), func(d *networkingapi.Destination) bool {
		return d.Subset != "" && c.readyBehind(&networkingapi.HTTPRoute{Route: []*networkingapi.HTTPRouteDestination{{Destination: d}}}) == 0
	})
}

// theirs reports whether somebody changed a route by hand, so that it is written no more.
func (c *cluster) theirs(vs *networkingv1.VirtualService) bool {
	return slices.ContainsFunc(c.problems, func(p api.RouteProblem) bool { return p.Reason == api.RouteDrifted && p.Object.Name == vs.Name })
}

// weightless reports whether a route names a destination without sending it anything, as somebody may who edits by hand.
func weightless(vs *networkingv1.VirtualService, d *networkingapi.Destination) bool {
	is := func(route weighted) bool { return route.GetDestination() == d }
	for _, http := range vs.Spec.Http {
		for _, route := range http.Route {
			if is(route) {
				return !slices.Contains(withoutZeroWeights(http.Route), route)
			}
		}
	}
	for _, tcp := range vs.Spec.Tcp {
		for _, route := range tcp.Route {
			if is(route) {
				return !slices.Contains(withoutZeroWeights(tcp.Route), route)
			}
		}
	}
	return false
}

// checkVisible holds at every moment: who sees a route of ours sees the subsets that it names.
func (c *cluster) checkVisible() {
	c.t.Helper()
	for _, vs := range c.existing.VirtualServices {
		for _, rule := range c.existing.DestinationRules {
			if narrows(vs.Spec.ExportTo, rule.Spec.ExportTo, "demo") {
				c.t.Errorf("%v: VirtualService %s is exported to %v, DestinationRule %s to %v", c.now, vs.Name, vs.Spec.ExportTo, rule.Name, rule.Spec.ExportTo)
			}
		}
	}
}

// checkRules holds whenever nothing is to be written: what Istio's and Kiali's checks want of the rules (IST0130, IST0131,
// KIA1104, KIA1105, weights that sum to 100 or were given in smaller parts).
func (c *cluster) checkRules() {
	c.t.Helper()
	if slices.ContainsFunc(c.problems, func(p api.RouteProblem) bool { return p.Reason == api.RouteDrifted }) || len(c.editedRoutes) > 0 {
		return // somebody else's rules
	}
	for _, vs := range c.existing.VirtualServices {
		if slices.ContainsFunc(vs.Spec.Http, func(http *networkingapi.HTTPRoute) bool { return http.Name == "" }) || vs.Annotations[api.AnnotationAdopted] != "" {
			continue // changed by hand: ours have names
		}
		matches := map[string]bool{}
		for i, http := range vs.Spec.Http {
			if len(http.Match) == 0 && i < len(vs.Spec.Http)-1 {
				c.t.Errorf("%v: rule %s of VirtualService %s takes everything and is not the last", c.now, http.Name, vs.Name)
			}
			for _, match := range http.Match {
				if text := canonical(match); matches[text] {
					c.t.Errorf("%v: two rules of VirtualService %s match %s", c.now, vs.Name, text)
				} else {
					matches[text] = true
				}
			}
			if http.Delegate == nil {
				checkShares(c, vs.Name+" "+http.Name, http.Route)
			}
			for _, m := range http.Mirrors {
				if m.Percentage.Value <= 0 || m.Percentage.Value > 100 || m.Destination.Subset == "" {
					c.t.Errorf("%v: rule %s of VirtualService %s has mirror %v", c.now, http.Name, vs.Name, m)
				}
			}
		}
		callers := map[string]bool{}
		for _, tcp := range vs.Spec.Tcp {
			checkShares(c, vs.Name+" tcp", tcp.Route)
			for _, match := range tcp.Match {
				if text := canonical(match); callers[text] {
					c.t.Errorf("%v: two tcp rules of VirtualService %s match %s", c.now, vs.Name, text)
				} else {
					callers[text] = true
				}
			}
		}
	}
}

func checkShares[D weighted](c *cluster, where string, routes []D) {
	c.t.Helper()
	seen, sum := map[string]bool{}, 0
	for _, route := range routes {
		subset, weight := route.GetDestination().GetSubset(), int(route.GetWeight())
		if seen[subset] || len(routes) > 1 && weight <= 0 || len(routes) == 1 && weight != 0 && weight != 100 {
			c.t.Errorf("%v: %s leads to %q with weight %d of %d", c.now, where, subset, weight, len(routes))
		}
		seen[subset], sum = true, sum+weight
	}
	if len(routes) == 0 || len(routes) > 1 && sum < 100 {
		c.t.Errorf("%v: the weights of %s sum to %d", c.now, where, sum)
	}
}

// checkDestinations holds whenever nothing is to be written: a route leads to a ready pod wherever one is behind the
// Service, but for hold.
func (c *cluster) checkDestinations() {
	c.t.Helper()
	if c.empty {
		return
	}
	for _, vs := range c.existing.VirtualServices {
		for _, http := range vs.Spec.Http {
			if ready := c.readyBehind(http); ready == 0 && http.Delegate == nil && c.anyReady() {
				c.t.Errorf("%v: rule %s of VirtualService %s leads to no ready pod: %s", c.now, http.Name, vs.Name, routesOf(vs))
			}
		}
	}
}

func (c *cluster) anyReady() bool {
	return c.readyBehind(&networkingapi.HTTPRoute{Route: []*networkingapi.HTTPRouteDestination{{Destination: &networkingapi.Destination{}}}}) > 0
}

func (c *cluster) readyBehind(http *networkingapi.HTTPRoute) int {
	ready := 0
	for _, route := range http.Route {
		for _, groups := range c.pods {
			for version, group := range groups {
				if route.Destination.Subset == "" || SubsetName(version) == route.Destination.Subset {
					ready += group.Ready
				}
			}
		}
	}
	return ready
}

// wrote wants exactly these writes since it was asked last.
func (c *cluster) wrote(want ...string) {
	c.t.Helper()
	if diff := cmp.Diff(want, c.writes); diff != "" {
		c.t.Errorf("%v: writes (-want +got):\n%s", c.now, diff)
	}
	c.writes = nil
}

// sameSpecs wants the specs of our objects to be as they were.
func (c *cluster) sameSpecs(was Objects) {
	c.t.Helper()
	for i, object := range c.existing.sorted().All() {
		if before := was.sorted().All()[i]; !sameSpecExactly(before, object) {
			c.t.Errorf("%v: %s %s changed:\n%s", c.now, KindOf(object), object.GetName(), cmp.Diff(text(c.t, before), text(c.t, object)))
		}
	}
}

// has wants these subsets and routes: "v1 v2", "v1=90 v2=10", "-" for a destination without subset, "none" for no route.
func (c *cluster) has(subsets, routes string) {
	c.t.Helper()
	var names []string
	for _, rule := range c.existing.DestinationRules {
		for _, subset := range rule.Spec.Subsets {
			names = append(names, subset.Name)
		}
	}
	if got := strings.Join(names, " "); got != subsets {
		c.t.Errorf("%v: subsets %q, want %q", c.now, got, subsets)
	}
	if got := c.routes("app"); got != routes {
		c.t.Errorf("%v: routes %q, want %q", c.now, got, routes)
	}
}

func (c *cluster) routes(name string) string {
	for _, vs := range c.existing.VirtualServices {
		if vs.Name == name {
			return routesOf(vs)
		}
	}
	return "none"
}

func routesOf(vs *networkingv1.VirtualService) string {
	var rules []string
	for _, http := range vs.Spec.Http {
		var to []string
		for _, route := range http.Route {
			subset := route.Destination.Subset
			if subset == "" {
				subset = "-"
			}
			if len(http.Route) > 1 {
				subset = fmt.Sprintf("%s=%d", subset, route.Weight)
			}
			to = append(to, subset)
		}
		text := strings.Join(to, " ")
		for _, m := range http.Mirrors {
			text += fmt.Sprintf(" +%s=%v", m.Destination.Subset, m.Percentage.Value)
		}
		if match := readMatches(http.Match); match != "" {
			text = match + ": " + text
		}
		rules = append(rules, text)
	}
	return strings.Join(rules, "; ")
}

// tells wants exactly these reasons to be told now.
func (c *cluster) tells(want ...api.RouteReason) {
	c.t.Helper()
	c.settle()
	var got []api.RouteReason
	for _, p := range c.problems {
		got = append(got, p.Reason)
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, slices.Compact(got)); diff != "" {
		c.t.Errorf("%v: problems (-want +got):\n%s%v", c.now, diff, c.problems)
	}
}

// onceTold wants a reason to have been told since the beginning.
func (c *cluster) onceTold(reason api.RouteReason) {
	c.t.Helper()
	if !c.told[reason] {
		c.t.Errorf("%v: %s was never told", c.now, reason)
	}
}

func bytesOf(t testing.TB, value any) []byte {
	t.Helper()
	out, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func text(t testing.TB, value any) string {
	t.Helper()
	out, err := yaml.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
