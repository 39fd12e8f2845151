// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
)

// The value in effect of an annotation that is invalid now is what a VirtualService says it was written for. It is in the
// record as well, so that neither the deletion of that VirtualService nor an edit of its annotations loses it.

// inEffect returns the value in effect of an annotation that is invalid now; false if it never had one.
func (s *facts) inEffect(key string) (string, bool) {
	if text, said := s.ours.annotations[key]; said {
		return text, true
	}
	text, said := s.copies.read.Held[key]
	return text, said
}

// heldBy returns what the record holds: the values that a copy of the Service has in the place of invalid ones.
func (s *facts) heldBy(service *corev1.Service) map[string]string {
	keys := sortedKeys(s.Intent.Bad)
	if len(s.badExposure) > 0 {
		keys = append(keys, api.ExposureKeys()...)
	}
	var held map[string]string
	for _, key := range keys {
		if text, has := service.Annotations[key]; has {
			if held == nil {
				held = map[string]string{}
			}
			held[key] = text
		}
	}
	return held
}

// heldExposure are the annotations that the current exposure was written for, as recorded; nil if there is no such record.
func (s *facts) heldExposure() map[string]string {
	held := maps.Clone(s.copies.read.Held)
	maps.DeleteFunc(held, func(key, _ string) bool { return !slices.Contains(api.ExposureKeys(), key) })
	if s.renewed || held[api.AnnotationExpose] == "" {
		return nil
	}
	return held
}

// isHeldHost reports whether the record says that a host was exposed when an annotation about exposure became invalid.
func (s *facts) isHeldHost(host string) bool {
	held := s.heldExposure()
	hosts, said := held[api.AnnotationHosts]
	return held != nil && (said && slices.Contains(splitList(strings.ReplaceAll(hosts, " ", "")), host) || !said && host == anyHost)
}
