// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
)

// An exposure fails closed: while an annotation about it is invalid, nothing new is exposed, and what is exposed stays as it
// was when all of them were valid. None of them is replaced by its default or by the Namespace's, which may be broader.

// keepExposureAnnotations replaces the annotations about exposure by those that the current exposure was written for, if one is
// invalid now. It changes service and returns a copy of the Namespace.
func (s *reader) keepExposureAnnotations(service *corev1.Service, recorded map[string]bool) *corev1.Namespace {
	s.badExposure = s.Intent.BadExposure()
	if len(s.badExposure) == 0 {
		return s.Namespace
	}
	namespace := s.Namespace.DeepCopy()
	annotations := s.exposureAnnotations()
	s.unrecordedExposure = annotations == nil
	for _, key := range api.ExposureKeys() {
		delete(service.Annotations, key)
		if namespace != nil {
			delete(namespace.Annotations, key)
		}
		if text, has := annotations[key]; has {
			if service.Annotations == nil {
				service.Annotations = map[string]string{}
			}
			service.Annotations[key], recorded[key] = text, true
		}
	}
	return namespace
}

// exposureAnnotations returns the annotations that the current exposure was written for; nil if nothing is exposed.
func (s *facts) exposureAnnotations() map[string]string {
	for _, vs := range []*networkingv1.VirtualService{s.ours.gatewayRoute, s.ours.meshRoute} {
		if vs == nil || s.renewed || len(boundGateways(vs)) == 0 {
			continue
		}
		var annotations map[string]string
		if err := json.Unmarshal([]byte(vs.Annotations[api.AnnotationWords]), &annotations); err == nil {
			return annotations
		}
		if annotations := s.exposureAnnotationsInMesh(vs); annotations != nil {
			return annotations
		}
	}
	return s.lastValidExposure()
}

// exposureAnnotationsInMesh are the annotations that an exposure was written for, from the VirtualService for the mesh, which is
// written with the same ones: for a VirtualService whose annotations another client edited. It is nil where they say nothing
// about exposure.
func (s *facts) exposureAnnotationsInMesh(exposed *networkingv1.VirtualService) map[string]string {
	mesh := s.ours.meshRoute
	isLost := s.distrusted[exposed] != nil || trustOf(exposed) == blank
	if !isLost || mesh == nil || trustOf(mesh) != sealed || slices.Contains(s.copies.read.Detached, mesh.Name) {
		return nil
	}
	var annotations map[string]string
	if err := json.Unmarshal([]byte(mesh.Annotations[api.AnnotationWords]), &annotations); err != nil || annotations[api.AnnotationExpose] == "" {
		return nil
	}
	return annotations
}

// keepExposure is the exposure while an annotation about it is invalid: what is served now, as far as the administrator still
// permits it.
func (s *facts) keepExposure(v exposureDecision) (exposureDecision, []finding) {
	x, kept, found := s.exposureOf(v.request)
	v.keptHosts = kept
	x.hosts = slices.DeleteFunc(x.hosts, func(host string) bool { return s.routeFor(x, host) == nil && !s.isLastValidHost(host) })
	if len(x.hosts) == 0 {
		return v, found
	}
	if o := s.listObjection(x); o != nil {
		return v, append(found, s.refuse(v.current, o.key, o.value, o.reason, o.what, o.advice))
	}
	v.exposure = x
	if v.lastValid != nil {
		v.lastValid = maps.Clone(v.lastValid)
		v.lastValid[api.AnnotationHosts] = strings.Join(x.hosts, ",")
	}
	v.frozen = s.isUnroutable(v)
	return v, append(found, s.stillExposed(x, s.badExposure[0], s.Service.Annotations[s.badExposure[0]], fmt.Sprintf("Invalid: %s.", strings.Join(s.badExposure, ", ")))...)
}

// exposureOf is what the annotations request, with the hosts that Namespace and installation allow; see permittedHosts.
func (s *facts) exposureOf(request *api.Exposure) (x exposure, kept []string, found []finding) {
	x = exposure{
		on: true, gateway: request.Gateway, selector: request.GatewaySelector, port: request.GatewayPort,
		tls: request.TLSCredential, redirect: request.HTTPSRedirect, path: request.Path, rewrite: request.PathRewrite,
	}
	x.hosts, kept, found = s.permittedHosts(request)
	if x.gateway == "" {
		x.gateway, x.generated = s.Service.Namespace+"/"+s.names.gateway, true
	}
	return s.throughReplaced(x), kept, found
}

// throughReplaced keeps an exposure on the Gateway that the user applied over ours: our VirtualService is already bound to it, and
// a second Gateway for the same hosts would conflict. If that Gateway serves other hosts, another port, no TLS although a
// credential is set, or other gateway pods, the exposure gets a separate Gateway.
func (s *facts) throughReplaced(x exposure) exposure {
	ref := s.Service.Namespace + "/" + s.Service.Name
	if !x.generated || x.gateway == ref || len(x.hosts) == 0 || s.renewed ||
		!slices.ContainsFunc(s.ours.routes(), func(vs *networkingv1.VirtualService) bool { return slices.Contains(boundGateways(vs), ref) }) {
		return x
	}
	if allowed := s.Settings.Gateways; len(allowed) > 0 && !slices.ContainsFunc(allowed, func(entry string) bool { return namesGateway(entry, ref) }) {
		return x
	}
	gateway := s.foreignGateway(ref)
	if gateway == nil || !sameIngress(gateway.Spec.Selector, x.selector) {
		return x
	}
	for _, host := range x.hosts {
		if !slices.ContainsFunc(gateway.Spec.Servers, func(server *server) bool {
			return server.GetPort().GetNumber() == x.port && (x.tls == "" || endsTLS(server)) && serverCovers(server, gateway.Namespace, s.Service.Namespace, host)
		}) {
			return x
		}
	}
	x.generated, x.gateway, x.selector = false, ref, maps.Clone(gateway.Spec.Selector)
	x.tls, x.redirect = "", false // it has its own certificate
	return x
}

// isGatewayBorrowed reports whether a VirtualService of the user routes to the Service through our Gateway, which is then kept as
// long as the Service requests an exposure.
func (s *facts) isGatewayBorrowed() bool {
	if s.ours.gateway == nil || s.Intent.Expose == nil || s.Settings.Expose == api.ExposeDisabled {
		return false
	}
	ref := s.ours.gateway.Namespace + "/" + s.ours.gateway.Name
	return slices.ContainsFunc(s.Foreign.VirtualServices, func(vs *networkingv1.VirtualService) bool {
		_, outrigger := ServiceOf(vs)
		return !outrigger && vs.Namespace == s.Service.Namespace && slices.Contains(boundGateways(vs), ref) && len(subsetsNamed(vs, s.host, s.Settings.ClusterDomain)) > 0
	})
}
