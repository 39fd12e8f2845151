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

// render returns the objects for the decisions. A route that would name a subset too early is deferred: the existing route stays, or
// none is created yet.
func (s *planner) render() Objects {
	s.reportPorts()
	s.leaveSubsetsAtOnce()
	var out Objects
	if s.waitsForSecond() {
		out.DestinationRules = s.ruleWithinSize(s.renderRule(nil))
		return out
	}
	views := s.views()
	for _, view := range []routeView{views.mesh, views.exposed} {
		if vs := withinSize(s, s.renderRoute(view), existingRoute(view.existing, s)); vs != nil {
			out.VirtualServices = append(out.VirtualServices, vs)
		}
	}
	if gateway := withinSize(s, s.renderGateway(views), s.ours.gateway); gateway != nil {
		out.Gateways = append(out.Gateways, gateway)
	}
	out.DestinationRules = s.ruleWithinSize(s.renderRule(out.VirtualServices))
	return out
}

// leaveSubsetsAtOnce takes the subset out of the destinations when the Service has been turned to other pods and their
// subsets are not there yet: the old ones are empty.
func (s *planner) leaveSubsetsAtOnce() {
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
	existing *networkingv1.VirtualService
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
func (s *planner) views() routeViews {
	v := routeViews{
		mesh:    routeView{name: s.names.mesh, existing: s.ours.mesh, mesh: !s.noRoute && !s.foreign.meshTaken},
		exposed: routeView{name: s.names.exposed, existing: s.ours.exposed},
	}
	if s.unrecorded || s.frozen {
		v.exposed.held, v.mesh.held = true, s.ours.isCombined()
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
	if at, key := exposedAt(x.existing); key == s.exposure.key() {
		x.since = at
	}
	if s.renewed || s.Settings.PropagationDelay <= 0 {
		return v
	}
	theirs := slices.Contains(s.detached, x.name) // and never serves what is new: what it serves stays
	if !theirs && x.existing != nil && s.hasElapsed(x.since, s.Settings.PropagationDelay) {
		return v
	}
	v.keepExistingHosts(s)
	return v
}

// keepExistingHosts adds what gateways serve now. A VirtualService of an earlier release serves mesh and gateway at once: it stays
// whole until its gateway's part has existed elsewhere for the propagation delay.
func (v *routeViews) keepExistingHosts(s *planner) {
	if exposed := v.exposed.existing; exposed != nil && len(boundGateways(exposed)) > 0 {
		v.exposed.hosts = union(v.exposed.hosts, exposed.Spec.Hosts)
		v.exposed.gateways = union(v.exposed.gateways, boundGateways(exposed))
		v.changing = true
	}
	if s.ours.isCombined() && !slices.Contains(s.detached, v.exposed.name) {
		v.mesh.held, v.changing = true, true
	}
}

// isCombined reports whether the VirtualService for the mesh is bound to gateways as well, as earlier releases wrote it.
func (st ourObjects) isCombined() bool { return st.mesh != nil && len(boundGateways(st.mesh)) > 0 }

// exposedByHand reports whether another client changed a VirtualService that serves mesh and gateway at once, and that is not
// written any more: its gateway's part is theirs, too.
func (s *facts) exposedByHand() bool {
	return s.ours.isCombined() && slices.Contains(s.detached, s.ours.mesh.Name) && s.ours.exposed == nil
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

// meta is the metadata of every object of ours.
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
func (s *planner) readable() string {
	if s.record.State != "" {
		return s.record.State
	}
	return s.record.Default.String()
}

func (s *planner) markRoute(vs *networkingv1.VirtualService, view routeView) {
	vs.Labels[api.LabelKialiWizard] = wizard(vs)
	digest, _, _, _ := s.digest(vs)
	marks := map[string]string{
		api.AnnotationRecord:  s.recordText(),
		api.AnnotationDefault: s.readable(),
		api.AnnotationWords:   s.annotationsText(),
		api.AnnotationAway:    strings.Join(s.absent, ","),
		api.AnnotationWritten: digest.text(),
		api.AnnotationAdopted: s.adoptedText(),
		api.AnnotationSubsets: pairsText(s.meaningsIn(vs)),

		api.AnnotationDefaultGone: s.goneText(),
	}
	if view.existing != nil {
		marks[api.AnnotationExportedAt] = s.exportedText(view.existing.Spec.ExportTo, vs.Spec.ExportTo, view.existing)
		marks[api.AnnotationUnusedSince] = s.leftBehind(vs, view.existing).String()
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
func (s *planner) renderGateway(views routeViews) *networkingv1.Gateway {
	if s.gatewayDetached || s.unrecorded || s.frozen {
		return s.ours.gateway
	}
	x := s.exposure
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
		keepServers(gateway, s.servedBefore(views.exposed))
	}
	gateway.Annotations[api.AnnotationWritten] = gatewayDigest(gateway)
	return gateway
}

// reportAboutPods is about pods that a decided route leaves out.
func (s *planner) reportAboutPods() {
	if s.unsplit || s.record.Default.All {
		return
	}
	if names := s.starving(s.current()); names != "" {
		s.report(api.RouteUnversionedPods, "Ready pods of "+names+" carry no label "+s.Intent.VersionLabel+" and get no traffic.", "Label their pod template.")
	}
}
