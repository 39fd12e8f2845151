// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
)

type server = networkingapi.Server

// render writes the decisions down as objects. A route that would name a subset too early waits: what stands stays, or
// nothing is made yet.
func (s *situation) render() Objects {
	s.tellPorts()
	s.leaveSubsetsAtOnce()
	var out Objects
	if s.waitsForSecond() {
		out.DestinationRules = s.ruleWithinSize(s.renderRule(nil))
		return out
	}
	views := s.views()
	for _, view := range []routeView{views.mesh, views.exposed} {
		if vs := withinSize(s, s.renderRoute(view), standingRoute(view.standing, s)); vs != nil {
			out.VirtualServices = append(out.VirtualServices, vs)
		}
	}
	if gateway := withinSize(s, s.renderGateway(views), s.standing.gateway); gateway != nil {
		out.Gateways = append(out.Gateways, gateway)
	}
	out.DestinationRules = s.ruleWithinSize(s.renderRule(out.VirtualServices))
	return out
}

// leaveSubsetsAtOnce takes the subset out of the destinations when the Service has been turned to other pods and their
// subsets are not there yet: the old ones are empty.
func (s *situation) leaveSubsetsAtOnce() {
	if !s.reselected {
		return
	}
	for i, r := range s.rules {
		if slices.ContainsFunc(r.to, func(p portion) bool { return p.version != "" && !s.usable(p.version) }) {
			s.rules[i].to = []portion{{weight: 1}}
		}
	}
}

// routeView is what one VirtualService has to be: for callers in the mesh under the Service's own host, or for callers at
// gateways under the exposed hosts. It is never both: whatever host a user exposes, no sidecar takes it from its owner.
type routeView struct {
	name     string
	standing *networkingv1.VirtualService
	mesh     bool     // for callers in the mesh
	hosts    []string // under which gateways serve it
	gateways []string // namespace/name
	held     bool     // the existing object stays as it is
	since    time.Time
}

func (v routeView) isEmpty() bool { return !v.mesh && len(v.gateways) == 0 }

// routeViews are both VirtualServices, and whether a change of exposure is under way: add, wait, remove.
type routeViews struct {
	mesh, exposed routeView
	changing      bool
}

// views says which VirtualServices there are. While the exposure changes, what was served before is served beside what is
// new, until the new has existed for the propagation delay.
func (s *situation) views() routeViews {
	v := routeViews{
		mesh:    routeView{name: s.names.mesh, standing: s.standing.mesh, mesh: !s.noRoute && !s.foreign.meshTaken},
		exposed: routeView{name: s.names.exposed, standing: s.standing.exposed},
	}
	if s.unrecorded || s.frozen {
		v.exposed.held, v.mesh.held = true, s.standing.isCombined()
		return v
	}
	if !s.exposure.on {
		return v
	}
	if s.exposedByHand() {
		v.mesh.held = true
		return v
	}
	x := &v.exposed
	x.hosts, x.gateways, x.since = s.exposure.hosts, []string{s.exposure.gateway}, s.now
	if at, key := exposedAt(x.standing); key == s.exposure.key() {
		x.since = at
	}
	if s.renewed || s.Settings.PropagationDelay <= 0 {
		return v
	}
	theirs := slices.Contains(s.detached, x.name) // and never serves what is new: what it serves stays
	if !theirs && x.standing != nil && s.over(x.since, s.Settings.PropagationDelay) && x.since.Before(s.now) {
		return v
	}
	v.keepStanding(s)
	return v
}

// keepStanding adds what gateways serve now. A VirtualService of an earlier release serves mesh and gateway at once: it stays
// whole until its gateway's part has existed elsewhere for the propagation delay.
func (v *routeViews) keepStanding(s *situation) {
	if exposed := v.exposed.standing; exposed != nil && len(boundGateways(exposed)) > 0 {
		v.exposed.hosts = union(v.exposed.hosts, exposed.Spec.Hosts)
		v.exposed.gateways = union(v.exposed.gateways, boundGateways(exposed))
		v.changing = true
	}
	if s.standing.isCombined() && !slices.Contains(s.detached, v.exposed.name) {
		v.mesh.held, v.changing = true, true
	}
}

// isCombined reports whether the VirtualService for the mesh is bound to gateways as well, as earlier releases wrote it.
func (st standing) isCombined() bool { return st.mesh != nil && len(boundGateways(st.mesh)) > 0 }

// exposedByHand reports whether somebody changed a VirtualService that serves mesh and gateway at once, and that is not
// written any more: its gateway's part is theirs, too.
func (s *situation) exposedByHand() bool {
	return s.standing.isCombined() && slices.Contains(s.detached, s.standing.mesh.Name) && s.standing.exposed == nil
}

func union(a, b []string) []string {
	out := append(slices.Clone(a), b...)
	slices.Sort(out)
	return slices.Compact(out)
}

// exposedAt reads since when a VirtualService has been bound to its gateway as it is.
func exposedAt(vs *networkingv1.VirtualService) (time.Time, string) {
	if vs == nil {
		return time.Time{}, ""
	}
	text, key, _ := strings.Cut(vs.Annotations[api.AnnotationExposedAt], " ")
	at, ok := parseTime(text)
	if !ok {
		return time.Time{}, ""
	}
	return at, key
}

// renderRoute makes one VirtualService; nil if there is to be none, or none yet.
func (s *situation) renderRoute(view routeView) *networkingv1.VirtualService {
	if view.held || slices.Contains(s.detached, view.name) {
		return view.standing
	}
	if view.isEmpty() {
		return nil
	}
	vs := &networkingv1.VirtualService{ObjectMeta: s.meta(view.name), TypeMeta: typeMeta("VirtualService")}
	if view.mesh {
		vs.Spec.Hosts = []string{s.host}
	} else {
		vs.Spec.Hosts, vs.Spec.Gateways = widest(view.hosts), slices.Clone(view.gateways)
	}
	vs.Spec.Http, vs.Spec.Tcp = s.httpRoutes(view), s.tcpRoutes(view)
	if len(vs.Spec.Http)+len(vs.Spec.Tcp) == 0 {
		return nil
	}
	exportTo, may := s.exportOfRoute(view.standing)
	if vs.Spec.ExportTo = exportTo; !may || !s.mayStand(vs) {
		return standingRoute(view.standing, s)
	}
	s.markRoute(vs, view)
	return vs
}

// mayStand reports whether every subset that a route names may be named now.
func (s *situation) mayStand(vs *networkingv1.VirtualService) bool {
	return !slices.ContainsFunc(destinationsOf(vs), func(d *networkingapi.Destination) bool {
		return d.Subset != "" && !s.usable(s.subsets.versions[d.Subset])
	})
}

// standingRoute is a standing VirtualService as it is, if there is one: what is new about it waits.
func standingRoute(vs *networkingv1.VirtualService, s *situation) *networkingv1.VirtualService {
	if vs == nil || s.renewed {
		return nil
	}
	return vs
}

// httpRoutes are the rules for each HTTP port; at a gateway, for the one port that it leads to.
func (s *situation) httpRoutes(view routeView) []*networkingapi.HTTPRoute {
	gatewayPort, _ := s.gatewayServicePort()
	var out []*networkingapi.HTTPRoute
	for _, r := range s.rules {
		for _, port := range s.Service.Spec.Ports {
			atGateway := port.Name == gatewayPort.Name && port.Port == gatewayPort.Port && !r.meshOnly()
			if portTraffic(port).http() && (view.mesh || atGateway) {
				out = append(out, s.httpRoute(r, port, view))
			}
		}
	}
	if s.foreign.delegate != nil && len(out) > 0 {
		out = slices.Insert(out, 0, s.delegateRule(view))
	}
	return out
}

func (s *situation) httpRoute(r rule, port corev1.ServicePort, view routeView) *networkingapi.HTTPRoute {
	route := &networkingapi.HTTPRoute{Name: s.ruleName(r, port), Match: s.httpMatches(r, port, view), Mirrors: s.mirrorPolicies(r, port)}
	if _, replacement := s.exposure.uris(); replacement != "" && !view.mesh {
		route.Name += gatewaySuffix
		route.Rewrite = &networkingapi.HTTPRewrite{Uri: replacement}
	}
	for i, d := range s.destinations(r, port) {
		route.Route = append(route.Route, &networkingapi.HTTPRouteDestination{Destination: d, Weight: weightOf(r.to, i), Headers: s.setCookie(r, r.to[i].version)})
	}
	return route
}

func (s *situation) ruleName(r rule, port corev1.ServicePort) string {
	name := "default"
	switch {
	case r.sticky:
		name = "sticky-" + s.subsetOr(r.match.Value, "all")
	case r.match != nil:
		name = "to-" + s.subsetOr(r.to[len(r.to)-1].version, "all")
	}
	if number := s.portNumber(port); number != 0 {
		name += fmt.Sprintf("-%d", number)
	}
	return name
}

func (s *situation) subsetOr(version, none string) string {
	if version == "" {
		return none
	}
	return s.subsets.names[version]
}

// httpMatches are the port in the mesh, or the path at the gateway, each with the rule's own condition. Nothing to match is
// no match.
func (s *situation) httpMatches(r rule, port corev1.ServicePort, view routeView) []*networkingapi.HTTPMatchRequest {
	var out []*networkingapi.HTTPMatchRequest
	if view.mesh {
		match := s.condition(r.match)
		match.Port = s.portNumber(port)
		out = append(out, match)
	} else {
		uris, _ := s.exposure.uris()
		for _, uri := range uris {
			match := s.condition(r.match)
			match.Uri = uri
			out = append(out, match)
		}
	}
	if len(out) == 1 && proto.Equal(out[0], &networkingapi.HTTPMatchRequest{}) {
		return nil
	}
	return out
}

func (s *situation) destinations(r rule, port corev1.ServicePort) []*networkingapi.Destination {
	var out []*networkingapi.Destination
	for _, p := range r.to {
		out = append(out, s.destination(p.version, port))
	}
	return out
}

func (s *situation) destination(version string, port corev1.ServicePort) *networkingapi.Destination {
	d := &networkingapi.Destination{Host: s.host, Subset: s.subsetOr(version, "")}
	if number := s.portNumber(port); number != 0 {
		d.Port = &networkingapi.PortSelector{Number: number}
	}
	return d
}

// weightOf leaves out the weight of a lone destination, which is 100 in any case.
func weightOf(to []portion, i int) int32 {
	if len(to) == 1 {
		return 0
	}
	return int32(to[i].weight) //nolint:gosec // weights sum to 100
}

// tcpRoutes are the shares for each TCP port, by caller and for all: of a connection nothing else is known, and gateways
// serve HTTP only.
func (s *situation) tcpRoutes(view routeView) []*networkingapi.TCPRoute {
	if !view.mesh {
		return nil
	}
	var out []*networkingapi.TCPRoute
	for _, r := range s.rules {
		if r.match != nil && r.match.Kind != api.MatchSource {
			continue
		}
		for _, port := range s.Service.Spec.Ports {
			if portTraffic(port).tcp() {
				out = append(out, s.tcpRoute(r, port))
			}
		}
	}
	return out
}

func (s *situation) tcpRoute(r rule, port corev1.ServicePort) *networkingapi.TCPRoute {
	match := &networkingapi.L4MatchAttributes{Port: s.portNumber(port), SourceLabels: s.condition(r.match).SourceLabels}
	route := &networkingapi.TCPRoute{}
	if !proto.Equal(match, &networkingapi.L4MatchAttributes{}) {
		route.Match = append(route.Match, match)
	}
	for i, d := range s.destinations(r, port) {
		route.Route = append(route.Route, &networkingapi.RouteDestination{Destination: d, Weight: weightOf(r.to, i)})
	}
	return route
}

// meta is the metadata of every object of ours.
func (s *situation) meta(name string) metav1.ObjectMeta {
	meta := metav1.ObjectMeta{
		Name: name, Namespace: s.Service.Namespace,
		Labels:      map[string]string{api.LabelManagedBy: api.ManagedBy, api.LabelService: s.Service.Name},
		Annotations: map[string]string{},
	}
	if s.Service.UID != "" {
		meta.OwnerReferences = []metav1.OwnerReference{ownerReference(s.Service)}
	}
	return meta
}

// ownerReference names the Service as the owner of an object of ours.
func ownerReference(service *corev1.Service) metav1.OwnerReference {
	controller, block := true, false
	return metav1.OwnerReference{
		APIVersion: "v1", Kind: "Service", Name: service.Name, UID: service.UID, Controller: &controller, BlockOwnerDeletion: &block,
	}
}

func typeMeta(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: networkingv1.SchemeGroupVersion.String(), Kind: kind}
}

// mark writes the annotations that are not empty.
func mark(meta *metav1.ObjectMeta, marks map[string]string) {
	for key, value := range marks {
		if value != "" {
			meta.Annotations[key] = value
		}
	}
}

// readable is the default as people read it.
func (s *situation) readable() string {
	if s.record.State != "" {
		return s.record.State
	}
	return s.record.Default.String()
}

func (s *situation) markRoute(vs *networkingv1.VirtualService, view routeView) {
	vs.Labels[api.LabelKialiWizard] = wizard(vs)
	digest, _, _, _ := s.digest(vs)
	marks := map[string]string{
		api.AnnotationRecord:  s.recordText(),
		api.AnnotationDefault: s.readable(),
		api.AnnotationWords:   s.wordsText(),
		api.AnnotationAway:    strings.Join(s.away, ","),
		api.AnnotationWritten: digest.text(),
		api.AnnotationAdopted: s.adoptedText(),
		api.AnnotationSubsets: pairsText(s.meaningsIn(vs)),

		api.AnnotationDefaultGone: s.goneText(),
	}
	if view.standing != nil {
		marks[api.AnnotationExportedAt] = s.exportedText(view.standing.Spec.ExportTo, vs.Spec.ExportTo, view.standing)
		marks[api.AnnotationUnusedSince] = s.leftBehind(vs, view.standing).String()
	}
	if len(view.gateways) > 0 {
		marks[api.AnnotationExposedAt] = timeText(view.since) + " " + s.exposure.key()
		marks[api.AnnotationKeptHosts] = strings.Join(s.keptHosts, ",")
		marks[api.AnnotationClaimedAt] = s.claims(vs.Spec.Hosts).String()
	}
	mark(&vs.ObjectMeta, marks)
}

// wizard is the kind of route that Kiali's menu takes it for.
func wizard(vs *networkingv1.VirtualService) string {
	switch {
	case len(vs.Spec.Http) == 0:
		return "tcp_traffic_shifting"
	case len(vs.Spec.Http) == 1 && len(vs.Spec.Http[0].Match) == 0:
		return "traffic_shifting"
	}
	return "request_routing"
}

// renderGateway makes the Gateway. While the exposure changes, it serves what it served, too.
func (s *situation) renderGateway(views routeViews) *networkingv1.Gateway {
	if s.gatewayDetached || s.unrecorded || s.frozen {
		return s.standing.gateway
	}
	x := s.exposure
	wanted, keeps := x.on && x.generated, views.changing && s.standing.gateway != nil
	if !wanted && !keeps {
		if s.isGatewayBorrowed() {
			return s.standing.gateway
		}
		return nil
	}
	gateway := &networkingv1.Gateway{ObjectMeta: s.meta(s.names.gateway), TypeMeta: typeMeta("Gateway")}
	if wanted {
		gateway.Spec.Selector = maps.Clone(x.selector)
		gateway.Spec.Servers = x.servers(s.Service.Namespace)
	}
	if keeps {
		keepServers(gateway, s.servedBefore(views.exposed))
	}
	gateway.Annotations[api.AnnotationWritten] = gatewayDigest(gateway)
	return gateway
}

// renderRule makes the DestinationRule: a subset for each version that has pods or that a route names, and for those
// that had until lately.
func (s *situation) renderRule(routes []*networkingv1.VirtualService) *networkingv1.DestinationRule {
	rule := &networkingv1.DestinationRule{ObjectMeta: s.meta(s.names.rule), TypeMeta: typeMeta("DestinationRule")}
	rule.Spec.Host = s.host
	if standing := s.standing.rule; standing != nil && isShortOf(standing.Spec.Host, s.host, s.Service.Namespace) {
		rule.Spec.Host = standing.Spec.Host // whoever shortened it is not contradicted
	}
	rule.Spec.ExportTo = s.exportOfSubsets(routes)
	added, unused := stamps{}, stamps{}
	s.left = s.leftBy(routes)
	kept, adds := s.keptVersions(routes, unused)
	for _, version := range kept {
		name := s.subsets.names[version]
		if s.foreign.supplied[name] {
			continue
		}
		added[name] = s.addedAt(name, version)
		rule.Spec.Subsets = append(rule.Spec.Subsets, &networkingapi.Subset{Name: name, Labels: map[string]string{s.Intent.VersionLabel: version}})
	}
	for _, subset := range s.subsetsOfOthers() {
		if findSubset(rule, subset.Name) == nil {
			rule.Spec.Subsets = append(rule.Spec.Subsets, subset.DeepCopy())
		}
	}
	s.keepNamed(rule, added, routes)
	meanings := map[string]string{}
	for name := range added {
		meanings[name] = s.subsets.versions[name]
	}
	if standing := s.standing.rule; standing != nil {
		mark(&rule.ObjectMeta, map[string]string{api.AnnotationExportedAt: s.exportedText(standing.Spec.ExportTo, rule.Spec.ExportTo, standing)})
	}
	mark(&rule.ObjectMeta, map[string]string{
		api.AnnotationRecord:      s.recordText(),
		api.AnnotationDefault:     s.readable(),
		api.AnnotationSubsetAdded: added.String(),
		api.AnnotationSubsets:     pairsText(meanings),
		api.AnnotationWritten:     s.ruleDigest(rule, added),
		api.AnnotationUnusedSince: unused.String(),
		api.AnnotationUnready:     s.unreadyText(),
		api.AnnotationLastRan:     pairsText(s.lastRun(kept, unused, adds)),
		api.AnnotationWaiting:     strings.Join(s.stillWaiting(rule), ","),
	})
	s.inherit(rule)
	return rule
}

func (s *situation) subsetsOfOthers() []*networkingapi.Subset {
	if s.standing.rule == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(s.standing.rule.Spec.Subsets), func(subset *networkingapi.Subset) bool {
		return !s.foreignSubsetOfOurs(subset)
	})
}

// addedAt is since when a subset has stood with the right labels.
func (s *situation) addedAt(name, version string) time.Time {
	subset := findSubset(s.standing.rule, name)
	if at, stamped := s.standing.added[name]; stamped && subset != nil && len(subset.Labels) == 1 && subset.Labels[s.Intent.VersionLabel] == version {
		return at
	}
	return s.now
}

// keptVersions are the versions that have a subset, in natural order, and whether one is among them that has none yet. One
// that nobody needs any more is marked in unused and stays for the retention. One that a rollout in place replaces is
// marked by the write that adds what replaces it.
func (s *situation) keptVersions(routes []*networkingv1.VirtualService, unused stamps) (kept []string, adds bool) {
	if s.waitsForSecond() {
		return nil, false
	}
	routed := s.routedVersions(routes)
	needed := s.neededVersions(routed)
	stand := map[string]bool{}
	for version, name := range s.subsets.names {
		if findSubset(s.standing.rule, name) != nil {
			stand[version] = true
		}
	}
	running := s.podVersions()
	kept = append(sortedKeys(needed), s.withinLimit(needed, stand, running)...)
	adds = slices.ContainsFunc(kept, func(version string) bool { return !stand[version] && !s.foreign.supplied[s.subsets.names[version]] })
	for version := range stand {
		name := s.subsets.names[version]
		since, marked := s.standing.unused[name]
		if !marked || s.standingNames(version) || s.isNamed(name) { // also by an edit that is reverted
			since = s.now
		}
		if !routed[version] && s.isReplaced(version, stand, marked) {
			unused[name] = since
		}
		if needed[version] || slices.Contains(running, version) {
			continue
		}
		if left, is := s.leftSince(version); is && !marked {
			if !s.over(left, s.Settings.SubsetRetention) || s.standingNames(version) || adds {
				kept = append(kept, version)
			}
			continue
		}
		if s.over(since, s.Settings.SubsetRetention) && !s.standingNames(version) && !adds {
			continue // never in the write that adds another: that one comes before the routes, this one after them
		}
		unused[name] = since
		kept = append(kept, version)
	}
	slices.SortFunc(kept, compareVersions)
	return slices.Compact(kept), adds
}

// isNamed reports whether a VirtualService of ours names a subset as it is now, edited or not.
func (s *situation) isNamed(subset string) bool {
	return slices.ContainsFunc(s.standing.routes(), func(vs *networkingv1.VirtualService) bool {
		return slices.Contains(subsetsNamed(vs, s.host, s.Settings.ClusterDomain), subset)
	})
}

// leftBehind are the subsets that a route names no more as it is written now, since a workload beside others replaces their
// version, and those that it left behind before. Their retention begins with that write, so that the DestinationRule needs
// none of its own for that.
func (s *situation) leftBehind(vs, standing *networkingv1.VirtualService) stamps {
	if s.renewed {
		return nil
	}
	was := s.leftBy([]*networkingv1.VirtualService{standing})
	if sameSpec(standing, vs) {
		return was
	}
	for _, d := range destinationsOf(standing) { // also one whom somebody else wrote into it
		if delete(was, d.Subset); s.isSuperseded(s.subsets.versions[d.Subset]) {
			was[d.Subset] = s.now
		}
	}
	for _, d := range destinationsOf(vs) {
		delete(was, d.Subset)
	}
	maps.DeleteFunc(was, func(name string, _ time.Time) bool { return findSubset(s.standing.rule, name) == nil })
	return was
}

// isSuperseded reports whether a rolling workload that the default or a name means ran a version last, or still does, and
// rolls out another.
func (s *situation) isSuperseded(version string) bool {
	if version == "" {
		return false
	}
	for _, ref := range s.record.workloads() {
		t, _ := s.trackOf(ref)
		if newest := t.newest(); newest != "" && newest != version && (t.runs(version) || s.standing.lastRan[ref.String()] == version) {
			return true
		}
	}
	return false
}

// isBeingLeft reports whether a route of ours still leads to a version without pods that a workload ran last, or has ceased to
// do so and says since when: the write that takes the subset away records what has replaced it.
func (s *situation) isBeingLeft(version string) bool {
	_, left := s.leftSince(version)
	return left || s.standingNames(version) && !slices.Contains(s.podVersions(), version)
}

// leftSince is since when no route of ours leads to a version without pods that a workload beside others ran last and has
// replaced. It is false once the DestinationRule has it that the workload ran another last.
func (s *situation) leftSince(version string) (time.Time, bool) {
	at, left := s.left[s.subsets.names[version]]
	ranLast := slices.Contains(slices.Collect(maps.Values(s.standing.lastRan)), version)
	return at, left && ranLast && !slices.Contains(s.podVersions(), version)
}

// isReplaced reports whether a version of the lone default still runs beside the one that its workload rolls out. No route
// of ours names a subset then, so that the retention of what goes can begin: a mark of its own at the last pod's end
// would be one write more in each rollout. What has no subset yet is the one that comes, also where its pod is seen before
// the new template. A mark once made stays while both run, whichever wins.
func (s *situation) isReplaced(version string, stand map[string]bool, marked bool) bool {
	if !s.standsUnpinned() || !s.alone(s.record.Default) {
		return false
	}
	for _, ref := range s.record.Default.Tracks {
		if t, _ := s.trackOf(ref); t.runs(version) && len(t.versions()) > 1 {
			return marked || slices.ContainsFunc(t.versions(), func(other string) bool { return other != "" && !stand[other] })
		}
	}
	return false
}

// routedVersions are those that a route of ours or of others names.
func (s *situation) routedVersions(routes []*networkingv1.VirtualService) map[string]bool {
	routed := map[string]bool{}
	for _, r := range s.rules {
		for _, p := range r.to {
			routed[p.version] = true
		}
		for _, m := range r.mirrors {
			routed[m.version] = true
		}
	}
	for _, vs := range routes {
		for _, d := range destinationsOf(vs) {
			routed[s.subsets.versions[d.Subset]] = true
		}
	}
	for name := range s.foreign.named {
		routed[s.subsets.versions[name]] = true
	}
	delete(routed, "")
	return routed
}

// neededVersions are those that a route names, and the default's.
func (s *situation) neededVersions(routed map[string]bool) map[string]bool {
	needed := maps.Clone(routed)
	for _, m := range []meaning{s.record.Default, s.gone.standIn} {
		needed[m.Version] = true
		for _, ref := range m.Tracks {
			needed[s.lastRan(ref)] = true
		}
	}
	s.addSuccessors(needed, routed)
	delete(needed, "")
	return needed
}

// lastRun records what each rolling track ran last that is the default, or is meant by a name: where its share stays
// while it has no pods. While the mark on a replaced version tells as much, the record waits for the write that takes the
// version away.
func (s *situation) lastRun(kept []string, unused stamps, adds bool) map[string]string {
	out := map[string]string{}
	for _, m := range append(s.record.meanings(), s.gone.standIn) {
		for _, ref := range m.Tracks {
			version, recorded := s.lastRan(ref), s.standing.lastRan[ref.String()]
			_, replaced := unused[s.subsets.names[recorded]]
			if recorded != "" && replaced && !adds && s.alone(m) || s.isBeingLeft(recorded) && slices.Contains(kept, recorded) {
				version = recorded
			}
			if version != "" {
				out[ref.String()] = version
			}
		}
	}
	return out
}

// stillWaiting forgets workloads that are gone, not before their subset goes: one write is enough.
func (s *situation) stillWaiting(rule *networkingv1.DestinationRule) []string {
	pruned := s.standing.rule == nil || len(s.standing.rule.Spec.Subsets) > len(rule.Spec.Subsets)
	return slices.DeleteFunc(slices.Clone(s.waiting), func(name string) bool {
		ref, _ := refFrom(name)
		t, seen := s.trackOf(ref)
		return pruned && ref.listed() && (!seen || !t.exists)
	})
}

// tellAboutPods is about pods that a decided route leaves out.
func (s *situation) tellAboutPods() {
	if s.unsplit || s.record.Default.All {
		return
	}
	if names := s.starving(s.current()); names != "" {
		s.tell(api.RouteUnversionedPods, "Ready pods of "+names+" carry no label "+s.Intent.VersionLabel+" and get no traffic.", "Label their pod template.")
	}
}
