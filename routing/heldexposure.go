// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"encoding/json"
	"fmt"
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
func (s *planner) holdExposure(service *corev1.Service, recorded map[string]bool) *corev1.Namespace {
	s.badExposure = s.Intent.BadExposure()
	if len(s.badExposure) == 0 {
		return s.Namespace
	}
	namespace := s.Namespace.DeepCopy()
	words := s.exposureAnnotations()
	s.unrecorded = words == nil
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
func (s *planner) keepExposure(request *api.Exposure) {
	if !s.permitExposure(request) {
		return
	}
	x := s.exposureOf(request)
	var hosts []string
	for _, host := range x.hosts {
		if s.routeFor(x, host) != nil || s.isHeldHost(host) {
			hosts = append(hosts, host)
		}
	}
	if len(hosts) == 0 {
		return
	}
	x.hosts = hosts
	if !s.listsPermit(x) {
		return
	}
	s.exposure = x
	if s.record.Held != nil {
		s.record.Held[api.AnnotationHosts] = strings.Join(hosts, ",")
	}
	s.freezeUnroutable()
	s.reportStillExposed(s.badExposure[0], s.Service.Annotations[s.badExposure[0]], fmt.Sprintf("Invalid: %s.", strings.Join(s.badExposure, ", ")))
}

// exposureOf is what the annotations ask for, with the hosts that Namespace and installation allow.
func (s *planner) exposureOf(request *api.Exposure) exposure {
	x := exposure{
		on: true, hosts: s.refuseForbiddenHosts(request), gateway: request.Gateway, selector: request.GatewaySelector, port: request.GatewayPort,
		tls: request.TLSCredential, redirect: request.HTTPSRedirect, path: request.Path, rewrite: request.PathRewrite,
	}
	if x.gateway == "" {
		x.gateway, x.generated = s.Service.Namespace+"/"+s.names.gateway, true
	}
	return s.throughReplaced(x)
}
