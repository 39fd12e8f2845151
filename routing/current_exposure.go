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
// the existing exposure stays as it was; without an existing exposure, the hosts that were not refused are exposed. Only a
// narrowing by an administrator ends an existing exposure: see findCurrentExposure.

// currentExposure is the current exposure, with the annotations that it was written for.
type currentExposure struct {
	exposure
	request *api.Exposure
	texts   map[string]string
	// unrecorded is one of our VirtualServices that serves gateways, with no record of the annotations it was written for; else
	// nil.
	unrecorded *networkingv1.VirtualService
}

// refusal is one part of the exposure annotations that cannot take effect.
type refusal struct {
	key, value string
	reason     api.RouteReason
}

// exposureDecision is the decision about the exposure.
type exposureDecision struct {
	exposure                          // what gateways serve from now on; off if nothing
	current         currentExposure   // what they serve now
	request         *api.Exposure     // the annotations that exposure is for
	annotations     map[string]string // all annotations, with those about exposure that exposure is for
	lastValid       map[string]string // the values in effect of invalid annotations, to be recorded
	frozen          bool              // the objects of the current exposure stay as they are
	keptHosts       []string          // wildcards that an earlier release exposed and that the installation no longer allows
	refusedExposure string            // the exposure that was refused because its host was claimed
}

// findCurrentExposure returns the current exposure as far as the administrator still permits it, without hosts that the user routes
// or that an earlier claim owns. It is off if there is none, or nothing records what it was written for.
func (s *facts) findCurrentExposure() currentExposure {
	annotations := s.exposureAnnotations()
	if annotations == nil {
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
		if text, has := annotations[key]; has {
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
	x, _, _ := s.exposureOf(intent.Expose)
	if s.listObjection(x) != nil || s.yieldsPort(x) {
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

// refuse returns the finding that an exposure annotation cannot take effect as a whole, and what happens now.
func (s *facts) refuse(current currentExposure, key, value string, reason api.RouteReason, what, advice string) finding {
	effect := "The Service is not exposed."
	if current.on {
		effect = "The existing exposure is unchanged."
	}
	return s.refuseHost(key, value, reason, what+" "+effect, advice)
}

// refuseHost returns the finding that one host is not exposed.
func (s *facts) refuseHost(key, value string, reason api.RouteReason, message, advice string) finding {
	out := s.problemAbout(key, value, reason, message, advice)
	out.refused = &refusal{key, value, reason}
	return out
}

// keepCurrent keeps the current exposure where a refusal would change it. It reports nothing where it does not.
func (s *facts) keepCurrent(v exposureDecision, x exposure, found []finding) (exposureDecision, []finding) {
	var refused []refusal
	for _, f := range found {
		if f.refused != nil {
			refused = append(refused, *f.refused)
		}
	}
	if len(refused) == 0 {
		return v, nil
	}
	current := v.current
	if vs := current.unrecorded; vs != nil && (!x.on || !sameHosts(x.hosts, vs.Spec.Hosts)) {
		v.frozen = true
		v.hosts, v.gateway = vs.Spec.Hosts, strings.Join(boundGateways(vs), ", ")
		return v, s.stillExposed(v.exposure, refused[0].key, refused[0].value, refusalsText(refused))
	}
	if !current.on || x.on && sameExposure(x, current.exposure) && v.request.ServicePort == current.request.ServicePort {
		return v, nil
	}
	v.exposure, v.request, v.annotations = current.exposure, current.request, maps.Clone(v.annotations)
	for _, key := range api.ExposureKeys() {
		delete(v.annotations, key)
		if text, has := current.texts[key]; has {
			v.annotations[key] = text
		}
	}
	v.frozen = s.isUnroutable(v)
	return v, s.stillExposed(v.exposure, refused[0].key, refused[0].value, refusalsText(refused))
}

func refusalsText(refused []refusal) string {
	var parts []string
	for _, r := range refused {
		parts = append(parts, fmt.Sprintf("%s=%s (%s)", r.key, r.value, r.reason))
	}
	return "Refused: " + strings.Join(slices.Compact(parts), ", ") + "."
}

// stillExposed reports that the current exposure stays, because of an annotation that cannot take effect.
func (s *facts) stillExposed(x exposure, key, value, why string) []finding {
	return []finding{s.problemAbout(key, value, api.RouteStillExposed,
		fmt.Sprintf("%s The Service is still exposed for %s at Gateway %s, as before.", why, strings.Join(x.hosts, ", "), x.gateway),
		fmt.Sprintf("Correct the annotation, or end the exposure: kubectl annotate service -n %s %s %s-.", s.Service.Namespace, s.Service.Name, api.AnnotationExpose))}
}

// isUnroutable reports whether a route can no longer be generated for an exposure: the Service lost the port that the gateway
// routes to, or the name that an object would need is taken. The objects of the current exposure then stay as they are.
func (s *facts) isUnroutable(v exposureDecision) bool {
	_, speaksHTTP := s.gatewayServicePort(v.request)
	return s.portless || !speaksHTTP || s.names.gatewayRoute == "" || v.generated && s.names.gateway == ""
}

func sameExposure(a, b exposure) bool {
	return a.gateway == b.gateway && a.generated == b.generated && a.port == b.port && a.tls == b.tls && a.redirect == b.redirect && a.path == b.path && a.rewrite == b.rewrite &&
		maps.Equal(a.selector, b.selector) && sameHosts(a.hosts, b.hosts)
}

func sameHosts(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}
