// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
)

// The value in effect of an annotation that is invalid now is what a VirtualService says it was written for. It is in the
// record as well, so that neither the deletion of that VirtualService nor an edit of its annotations loses it.

// farthestDecision is how far decided-at may be in the future. A time zone that was left out is tolerated.
const farthestDecision = 24 * time.Hour

// refuseFutureDecision makes decided-at invalid if it is far in the future. Once that is recorded, it stays invalid when that time comes, so
// that nothing is decided without an action of the user. While nothing can be recorded, the message warns of that time.
func (s *reader) refuseFutureDecision() {
	text, refused := s.Intent.Texts[api.AnnotationDecidedAt], s.recorded.RefusedDecision
	if s.recorded.RefusedDecision = ""; text == "" || text != refused && !s.Intent.DecidedAt.After(s.now.Add(farthestDecision)) {
		return
	}
	s.recorded.RefusedDecision = text
	bad := map[string]bool{api.AnnotationDecidedAt: true}
	maps.Copy(bad, s.Intent.Bad)
	s.Intent.Bad = bad
	message := fmt.Sprintf("Invalid value: the time was more than %s in the future when it was first read. It has no effect, even when that time comes.", api.ShortDuration(farthestDecision))
	if why := s.whyUnrecorded(); why != "" && text != refused {
		message = fmt.Sprintf("Invalid value: the time is more than %s in the future. It has no effect yet. Correct it: %s, nothing is recorded, so the value takes effect if that lasts until then.",
			api.ShortDuration(farthestDecision), why)
	}
	s.reportAbout(api.AnnotationDecidedAt, text, api.RouteInvalidAnnotation, message,
		fmt.Sprintf("Correct the clock of the machine that wrote it and run the command again, or write the current time: kubectl annotate service -n %s %s %s=$(date -u +%%Y-%%m-%%dT%%H:%%M:%%SZ) --overwrite.",
			s.Service.Namespace, s.Service.Name, api.AnnotationDecidedAt)) // not by annotate, which quotes $( )
}

// whyUnrecorded returns when nothing is recorded, so that a later plan does not know what this one decides: "in a dry run". It is empty if
// this plan is recorded.
func (s *reader) whyUnrecorded() string {
	switch {
	case s.dryRun:
		return "in a dry run"
	case s.areRecordsUnclear():
		return "until you decide about the edited record"
	}
	return ""
}

// restoreAnnotations replaces an invalid annotation with its last valid value, so that a typing error moves no traffic.
func (s *reader) restoreAnnotations() {
	for _, vs := range s.recordingRoutes() {
		annotations := map[string]string{}
		if err := json.Unmarshal([]byte(vs.Annotations[api.AnnotationWords]), &annotations); err == nil && s.ours.annotations == nil && !s.renewed && !s.isOutdated(vs) {
			s.ours.annotations, s.ours.absent = annotations, splitList(vs.Annotations[api.AnnotationAway])
		}
	}
	if s.copies.read.Revision > 0 {
		s.ours.absent = s.copies.read.Absent
	}
	if s.ours.annotations == nil && s.isRecorded && slices.ContainsFunc(s.ours.routes(), func(vs *networkingv1.VirtualService) bool { return trustOf(vs) == blank || s.isOutdated(vs) }) {
		s.ours.annotations = maps.Clone(s.Intent.Texts) // another client removed or replaced them, which changes nothing that applies
	}
	s.invalid = s.Intent.Bad
	values := s.recorded.LastValid
	if s.recorded.LastValid = nil; len(s.Intent.Bad) == 0 {
		return
	}
	s.recorded.LastValid = values
	service := &corev1.Service{ObjectMeta: *s.Service.ObjectMeta.DeepCopy(), Spec: corev1.ServiceSpec{Ports: s.Service.Spec.Ports}}
	recorded := map[string]bool{} // an earlier release may have accepted what this one refuses
	for key := range s.Intent.Bad {
		delete(service.Annotations, key)
		if text, has := s.inEffect(key); has {
			recorded[key] = true
			if service.Annotations == nil {
				service.Annotations = map[string]string{}
			}
			service.Annotations[key] = text
		}
	}
	namespace := s.keepExposureAnnotations(service, recorded)
	s.recorded.LastValid = s.lastValidValues(service)
	bad, label := s.Intent.Bad, s.Intent.VersionLabel
	s.Intent, _ = s.Settings.Limits.IntentOf(service, namespace, recorded)
	s.Intent.VersionLabel = label // the pods were counted by it
	// Without an earlier value, an invalid one holds the route rather than move traffic.
	s.Intent.HoldDeleted = s.Intent.HoldDeleted || bad[api.AnnotationDefaultDeleted] && !recorded[api.AnnotationDefaultDeleted]
	s.Intent.HoldScaledToZero = s.Intent.HoldScaledToZero || bad[api.AnnotationScaledToZero] && !recorded[api.AnnotationScaledToZero]
	s.portless = s.Intent.Bad[api.AnnotationServicePort]
	s.badExport = bad[api.AnnotationExportTo]
}

// inEffect returns the value in effect of an annotation that is invalid now; false if it never had one.
func (s *facts) inEffect(key string) (string, bool) {
	if text, has := s.ours.annotations[key]; has {
		return text, true
	}
	text, has := s.copies.read.LastValid[key]
	return text, has
}

// lastValidValues returns what the record keeps: the values that a copy of the Service has in place of the invalid ones.
func (s *facts) lastValidValues(service *corev1.Service) map[string]string {
	keys := sortedKeys(s.Intent.Bad)
	if len(s.badExposure) > 0 {
		keys = append(keys, api.ExposureKeys()...)
	}
	var values map[string]string
	for _, key := range keys {
		if text, has := service.Annotations[key]; has {
			if values == nil {
				values = map[string]string{}
			}
			values[key] = text
		}
	}
	return values
}

// lastValidExposure are the annotations that the current exposure was written for, as recorded; nil if there is no such record.
func (s *facts) lastValidExposure() map[string]string {
	values := maps.Clone(s.copies.read.LastValid)
	maps.DeleteFunc(values, func(key, _ string) bool { return !slices.Contains(api.ExposureKeys(), key) })
	if s.renewed || values[api.AnnotationExpose] == "" {
		return nil
	}
	return values
}

// isLastValidHost reports whether the record says that a host was exposed when an annotation about exposure became invalid.
func (s *facts) isLastValidHost(host string) bool {
	values := s.lastValidExposure()
	hosts, has := values[api.AnnotationHosts]
	return values != nil && (has && slices.Contains(splitList(strings.ReplaceAll(hosts, " ", "")), host) || !has && host == anyHost)
}
