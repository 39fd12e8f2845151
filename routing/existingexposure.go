// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
)

// A change of the exposure annotations takes effect as a whole or not at all. Every refusal goes through refuse. If there is one,
// the existing exposure stays as it was; without an existing exposure, the hosts that were not refused are exposed. Only a narrowing
// by an administrator ends an existing exposure: see existingExposure.

// existing is the current exposure, with the annotations that it was written for.
type currentExposure struct {
	exposure
	request *api.Exposure
	texts   map[string]string
	// unrecorded is what a VirtualService of ours serves at gateways although nothing says what it was written for; else nil.
	unrecorded *networkingv1.VirtualService
}

// refusal is one part of the exposure annotations that cannot take effect.
type refusal struct {
	key, value string
	reason     api.RouteReason
}

// existingExposure returns the current exposure as far as the administrator still permits it, without hosts that the user
// routes or that an earlier claim owns. It is off if there is none, or nothing records what it was written for.
func (s *planner) findCurrentExposure() currentExposure {
	words := s.exposureAnnotations()
	if words == nil {
		for _, vs := range s.ours.routes() {
			if !s.renewed && len(boundGateways(vs)) > 0 {
				return currentExposure{unrecorded: vs}
			}
		}
		return currentExposure{}
	}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: s.Service.Namespace, Name: s.Service.Name, Annotations: map[string]string{}}, Spec: corev1.ServiceSpec{Ports: s.Service.Spec.Ports}}
	namespace := s.Namespace.DeepCopy()
	recorded := map[string]bool{} // an earlier release may have accepted what this one refuses
	for _, key := range api.ExposureKeys() {
		if text, said := words[key]; said {
			service.Annotations[key], recorded[key] = text, true
		}
		if namespace != nil {
			delete(namespace.Annotations, key)
		}
	}
	intent, _ := s.Settings.Limits.IntentOf(service, namespace, recorded)
	if intent.Expose == nil {
		return currentExposure{}
	}
	problems, kept := s.problems, s.keptHosts
	defer func() { s.problems, s.keptHosts = problems, kept }() // nothing new to report
	x := s.exposureOf(intent.Expose)
	if !s.listsPermit(x) {
		return currentExposure{}
	}
	if s.yieldsPort(x) {
		return currentExposure{}
	}
	if gateway := s.foreignGateway(x.gateway); !x.generated && gateway != nil {
		x.selector = gateway.Spec.Selector
	}
	x.hosts = slices.DeleteFunc(x.hosts, func(host string) bool {
		other, first := s.otherClaim(x, host)
		return s.routeFor(x, host) == nil || s.routedByUser(x, host) != nil || other != nil && !first
	})
	x.on = len(x.hosts) > 0
	return currentExposure{exposure: x, request: intent.Expose, texts: intent.Texts}
}

// refuse reports that an exposure annotation cannot take effect as a whole, and what happens now.
func (s *planner) refuse(key, value string, reason api.RouteReason, what, advice string) {
	effect := "The Service is not exposed."
	if s.servedNow.on {
		effect = "The existing exposure is unchanged."
	}
	s.refuseHost(key, value, reason, what+" "+effect, advice)
}

// refuseHost reports that one host is not exposed.
func (s *planner) refuseHost(key, value string, reason api.RouteReason, message, advice string) {
	s.refused = append(s.refused, refusal{key, value, reason})
	s.reportAbout(key, value, reason, message, advice)
}

// keepExisting keeps the current exposure where a refusal would change it, and reports whether it does.
func (s *planner) keepExisting(x exposure) bool {
	if vs := s.servedNow.unrecorded; len(s.refused) > 0 && vs != nil && (!x.on || !sameHosts(x.hosts, vs.Spec.Hosts)) {
		s.frozen = true
		s.exposure.hosts, s.exposure.gateway = vs.Spec.Hosts, strings.Join(boundGateways(vs), ", ")
		s.reportStillExposed(s.refused[0].key, s.refused[0].value, s.refusals())
		return true
	}
	if len(s.refused) == 0 || !s.servedNow.on || x.on && sameExposure(x, s.servedNow.exposure) && s.Intent.Expose.ServicePort == s.servedNow.request.ServicePort {
		return false
	}
	s.exposure, s.Intent.Expose = s.servedNow.exposure, s.servedNow.request
	s.Intent.Texts = maps.Clone(s.Intent.Texts)
	for _, key := range api.ExposureKeys() {
		delete(s.Intent.Texts, key)
		if text, said := s.servedNow.texts[key]; said {
			s.Intent.Texts[key] = text
		}
	}
	s.freezeUnroutable()
	s.reportStillExposed(s.refused[0].key, s.refused[0].value, s.refusals())
	return true
}

func (s *planner) refusals() string {
	var parts []string
	for _, r := range s.refused {
		parts = append(parts, fmt.Sprintf("%s=%s (%s)", r.key, r.value, r.reason))
	}
	return "Refused: " + strings.Join(slices.Compact(parts), ", ") + "."
}

// reportStillExposed reports that the current exposure stays, because of an annotation that cannot take effect.
func (s *planner) reportStillExposed(key, value, why string) {
	s.reportAbout(key, value, api.RouteStillExposed,
		fmt.Sprintf("%s The Service is still exposed for %s at Gateway %s, as before.", why, strings.Join(s.exposure.hosts, ", "), s.exposure.gateway),
		fmt.Sprintf("Correct the annotation, or end the exposure: kubectl annotate service -n %s %s %s-.", s.Service.Namespace, s.Service.Name, api.AnnotationExpose))
}

// freezeUnroutable leaves the objects of the current exposure as they are where no route can be generated for it any more: the
// Service lost the port that the gateway routes to, or the name that an object would need is taken.
func (s *planner) freezeUnroutable() {
	_, speaksHTTP := s.gatewayServicePort()
	s.frozen = s.portless || !speaksHTTP || s.names.exposed == "" || s.exposure.generated && s.names.gateway == ""
}

func sameExposure(a, b exposure) bool {
	return a.gateway == b.gateway && a.generated == b.generated && a.port == b.port && a.tls == b.tls && a.redirect == b.redirect && a.path == b.path && a.rewrite == b.rewrite &&
		maps.Equal(a.selector, b.selector) && sameHosts(a.hosts, b.hosts)
}

func sameHosts(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}
