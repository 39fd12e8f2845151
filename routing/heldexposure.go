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

// holdExposure takes the annotations about exposure from the VirtualService that serves the gateway, all of them together,
// where one is invalid now. It returns copies of Service and Namespace that say so.
func (s *reader) holdExposure(service *corev1.Service, recorded map[string]bool) *corev1.Namespace {
	s.badExposure = s.Intent.BadExposure()
	if len(s.badExposure) == 0 {
		return s.Namespace
	}
	namespace := s.Namespace.DeepCopy()
	words := s.exposureAnnotations()
	s.unrecordedExposure = words == nil
	for _, key := range api.ExposureKeys() {
		delete(service.Annotations, key)
		if namespace != nil {
			delete(namespace.Annotations, key)
		}
		if text, said := words[key]; said {
			if service.Annotations == nil {
				service.Annotations = map[string]string{}
			}
			service.Annotations[key], recorded[key] = text, true
		}
	}
	return namespace
}

// exposureAnnotations are the annotations that the current exposure was written for; nil if nothing is exposed.
func (s *facts) exposureAnnotations() map[string]string {
	for _, vs := range []*networkingv1.VirtualService{s.ours.exposed, s.ours.mesh} {
		if vs == nil || s.renewed || len(boundGateways(vs)) == 0 {
			continue
		}
		var words map[string]string
		if err := json.Unmarshal([]byte(vs.Annotations[api.AnnotationWords]), &words); err == nil {
			return words
		}
		if words := s.exposureAnnotationsInMesh(vs); words != nil {
			return words
		}
	}
	return s.heldExposure()
}

// exposureAnnotationsInMesh are the annotations that an exposure was written for, from the VirtualService for the mesh, which is
// written with the same ones: for a VirtualService whose annotations another client edited. It is nil where they say nothing
// about exposure.
func (s *facts) exposureAnnotationsInMesh(exposed *networkingv1.VirtualService) map[string]string {
	mesh := s.ours.mesh
	isLost := s.distrusted[exposed] != nil || trustOf(exposed) == blank
	if !isLost || mesh == nil || trustOf(mesh) != sealed || slices.Contains(s.copies.read.Detached, mesh.Name) {
		return nil
	}
	var words map[string]string
	if err := json.Unmarshal([]byte(mesh.Annotations[api.AnnotationWords]), &words); err != nil || words[api.AnnotationExpose] == "" {
		return nil
	}
	return words
}

// keepExposure is the exposure while an annotation about it is invalid: what is served now, as far as the administrator still
// permits it.
func (s *facts) keepExposure(v exposureVerdict) (exposureVerdict, []finding) {
	x, kept, found := s.exposureOf(v.request)
	v.keptHosts = kept
	x.hosts = slices.DeleteFunc(x.hosts, func(host string) bool { return s.routeFor(x, host) == nil && !s.isHeldHost(host) })
	if len(x.hosts) == 0 {
		return v, found
	}
	if o := s.listObjection(x); o != nil {
		return v, append(found, s.refuse(v.current, o.key, o.value, o.reason, o.what, o.advice))
	}
	v.exposure = x
	if v.held != nil {
		v.held = maps.Clone(v.held)
		v.held[api.AnnotationHosts] = strings.Join(x.hosts, ",")
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
