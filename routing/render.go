// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"maps"
	"slices"
	"strings"
	"time"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
)

type server = networkingapi.Server

// render returns the objects for a decision. A route that would name a subset too early is deferred: the existing route stays, or
// none is created yet. The findings are about limits, which are known only of rendered objects.
func render(s outcome) (out Objects, found []finding) {
	if s.waitsForSecond() {
		rule, tooMany := s.renderDestinationRule(nil)
		out.DestinationRules, found = s.destinationRuleWithinSize(rule)
		return out, append(found, tooMany...)
	}
	views := s.views()
	for _, view := range []routeView{views.meshRoute, views.gatewayRoute} {
		vs, tooLarge := withinSize(s.facts, s.renderRoute(view), existingRoute(view.existing, s))
		if found = append(found, tooLarge...); vs != nil {
			out.VirtualServices = append(out.VirtualServices, vs)
		}
	}
	gateway, tooLarge := withinSize(s.facts, s.renderGateway(views), s.ours.gateway)
	if found = append(found, tooLarge...); gateway != nil {
		out.Gateways = append(out.Gateways, gateway)
	}
	rule, tooMany := s.renderDestinationRule(out.VirtualServices)
	out.DestinationRules, tooLarge = s.destinationRuleWithinSize(rule)
	return out, slices.Concat(found, tooMany, tooLarge)
}

// withoutNewSubsets removes the subset from the destinations after the Service's selector changed, while the new subsets do not
// exist: the old ones have no pods.
func (s defaultDecision) withoutNewSubsets(rules []rule) []rule {
	if !s.reselected {
		return rules
	}
	out := slices.Clone(rules)
	for i, r := range out {
		if slices.ContainsFunc(r.to, func(p portion) bool { return p.version != "" && !s.usable(p.version) }) {
			out[i].to = []portion{{weight: 1}}
		}
	}
	return out
}

// routeView describes one VirtualService: for callers in the mesh under the Service's own host, or for callers at gateways under
// the exposed hosts. It is never both: whatever host a user exposes, no sidecar takes it from its owner.
type routeView struct {
	name     string
	existing *networkingv1.VirtualService
	mesh     bool     // for callers in the mesh
	hosts    []string // under which gateways serve it
	gateways []string // namespace/name
	isKept   bool     // the existing object stays as it is
	since    time.Time
}

// routeViews are both VirtualServices, and whether a change of exposure is under way: add, wait, remove.
type routeViews struct {
	meshRoute, gatewayRoute routeView
	changing                bool
}

// views returns which VirtualServices to render. While the exposure changes, the previous hosts are served in addition to the new
// ones, until the new ones have existed for the propagation delay.
func (s outcome) views() routeViews {
	v := routeViews{
		meshRoute:    routeView{name: s.names.meshRoute, existing: s.ours.meshRoute, mesh: !s.isMeshRouteWithheld && !s.foreign.meshTaken},
		gatewayRoute: routeView{name: s.names.gatewayRoute, existing: s.ours.gatewayRoute},
	}
	if s.unrecordedExposure || s.exposed.frozen {
		v.gatewayRoute.isKept, v.meshRoute.isKept = true, s.ours.isCombined()
		return v
	}
	if !s.exposed.on {
		return v
	}
	if s.exposedByHand() {
		v.meshRoute.isKept = true
		return v
	}
	x := &v.gatewayRoute
	x.hosts, x.gateways, x.since = s.exposed.hosts, []string{s.exposed.gateway}, s.now
	if at, key := exposedAt(x.existing); key == s.exposed.key() {
		x.since = at
	}
	if s.renewed || s.Settings.PropagationDelay <= 0 {
		return v
	}
	theirs := slices.Contains(s.detached, x.name) // and never serves what is new: what it serves stays
	if !theirs && x.existing != nil && s.waitElapsed(x.since, s.Settings.PropagationDelay) {
		return v
	}
	v.keepExistingHosts(s.facts)
	return v
}

// keepExistingHosts adds what gateways serve now. A VirtualService of an earlier release serves both mesh and gateway: it stays
// whole until its gateway's part has existed elsewhere for the propagation delay.
func (v *routeViews) keepExistingHosts(s *facts) {
	if exposed := v.gatewayRoute.existing; exposed != nil && len(boundGateways(exposed)) > 0 {
		v.gatewayRoute.hosts = union(v.gatewayRoute.hosts, exposed.Spec.Hosts)
		v.gatewayRoute.gateways = union(v.gatewayRoute.gateways, boundGateways(exposed))
		v.changing = true
	}
	if s.ours.isCombined() && !slices.Contains(s.detached, v.gatewayRoute.name) {
		v.meshRoute.isKept, v.changing = true, true
	}
}

// isCombined reports whether the VirtualService for the mesh is bound to gateways as well, as earlier releases wrote it.
func (st ourObjects) isCombined() bool {
	return st.meshRoute != nil && len(boundGateways(st.meshRoute)) > 0
}

// exposedByHand reports whether another client changed a VirtualService that serves both mesh and gateway, so that it is no longer
// written: the part for the gateway belongs to that client, too.
func (s *facts) exposedByHand() bool {
	return s.ours.isCombined() && slices.Contains(s.detached, s.ours.meshRoute.Name) && s.ours.gatewayRoute == nil
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

// meta is the metadata of each of our objects.
func (s *facts) meta(name string) metav1.ObjectMeta {
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

// ownerReference names the Service as the owner of one of our objects.
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

// display returns the recorded default as users read it: "v1", "@all", or "split".
func (r record) display() string {
	if r.State != "" {
		return r.State
	}
	return r.Default.String()
}

func (s outcome) markRoute(vs *networkingv1.VirtualService, view routeView) {
	vs.Labels[api.LabelKialiWizard] = kialiWizard(vs)
	digest, _, _, _ := s.digest(vs)
	marks := map[string]string{
		api.AnnotationRecord:  s.recordText(s.record),
		api.AnnotationDefault: s.record.display(),
		api.AnnotationWords:   annotationsText(s.exposed.annotations),
		api.AnnotationWritten: digest.text(),
		api.AnnotationAdopted: s.record.adoptedText(),
		api.AnnotationSubsets: pairsText(s.meaningsIn(vs)),

		api.AnnotationDefaultGone: s.gone.String(),
	}
	if !s.unversioned {
		marks[api.AnnotationAway] = strings.Join(s.absent, ",")
	}
	if view.existing != nil {
		marks[api.AnnotationExportedAt] = s.exportedText(view.existing.Spec.ExportTo, vs.Spec.ExportTo, view.existing)
		marks[api.AnnotationUnusedSince] = s.leftBehind(vs, view.existing).String()
	}
	if len(view.gateways) > 0 {
		marks[api.AnnotationExposedAt] = timeText(view.since) + " " + s.exposed.key()
		marks[api.AnnotationKeptHosts] = strings.Join(s.exposed.keptHosts, ",")
		marks[api.AnnotationClaimedAt] = s.claims(vs.Spec.Hosts).String()
	}
	mark(&vs.ObjectMeta, marks)
}

// kialiWizard is the Kiali wizard that can edit the route.
func kialiWizard(vs *networkingv1.VirtualService) string {
	switch {
	case len(vs.Spec.Http) == 0:
		return "tcp_traffic_shifting"
	case len(vs.Spec.Http) == 1 && len(vs.Spec.Http[0].Match) == 0:
		return "traffic_shifting"
	}
	return "request_routing"
}

// renderGateway renders the Gateway, with its previous servers while the exposure changes.
func (s outcome) renderGateway(views routeViews) *networkingv1.Gateway {
	if s.gatewayDetached || s.unrecordedExposure || s.exposed.frozen {
		return s.ours.gateway
	}
	x := s.exposed.exposure
	wanted, keeps := x.on && x.generated, views.changing && s.ours.gateway != nil
	if !wanted && !keeps {
		if s.isGatewayBorrowed() {
			return s.ours.gateway
		}
		return nil
	}
	gateway := &networkingv1.Gateway{ObjectMeta: s.meta(s.names.gateway), TypeMeta: typeMeta("Gateway")}
	if wanted {
		gateway.Spec.Selector = maps.Clone(x.selector)
		gateway.Spec.Servers = x.servers(s.Service.Namespace)
	}
	if keeps {
		keepServers(gateway, s.servedBefore(views.gatewayRoute))
	}
	gateway.Annotations[api.AnnotationWritten] = gatewayDigest(gateway)
	return gateway
}

// unversionedPods reports pods that a decided route leaves out.
func (s defaultDecision) unversionedPods() []finding {
	if s.record.Default.All {
		return nil
	}
	if names := s.unversionedWorkloads(s.current()); names != "" {
		return []finding{s.problem(api.RouteUnversionedPods, "Ready pods of "+names+" carry no label "+s.Intent.VersionLabel+" and get no traffic.", "Label their pod template.")}
	}
	return nil
}
