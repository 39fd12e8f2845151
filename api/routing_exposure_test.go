// SPDX-License-Identifier: Apache-2.0

package api

import (
	"reflect"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// otherValues has a valid value other than the default for every key of routing that may be written on a Service. A key
// without a value here fails TestExposureKeysAreComplete, so that a new companion of expose cannot be forgotten.
var otherValues = map[string]string{
	LabelRouting:              "observe",
	AnnotationVersionLabel:    "release",
	AnnotationDefaultVersion:  "v2",
	AnnotationWeights:         "v1=90,v2=10",
	AnnotationMatch:           "v2=header:end-user:jason",
	AnnotationMirror:          "v2=10",
	AnnotationSticky:          "cookie:version:1h",
	AnnotationExpose:          "false",
	AnnotationHosts:           "shop.example",
	AnnotationGateway:         "ingress/tls",
	AnnotationGatewaySelector: "istio=internal",
	AnnotationGatewayPort:     "8080",
	AnnotationTLSCredential:   "web-tls",
	AnnotationHTTPSRedirect:   "true",
	AnnotationPath:            "/shop",
	AnnotationPathRewrite:     "/",
	AnnotationServicePort:     "admin",
	AnnotationUnversioned:     "ignore",
	AnnotationDrift:           "revert",
	AnnotationEager:           "false",
	AnnotationInheritPolicy:   "false",
	AnnotationSubsetRetention: "5m",
	AnnotationUnreadyAfter:    "2m",
	AnnotationUnreadyPolicy:   "next",
	AnnotationDefaultDeleted:  "hold",
	AnnotationScaledToZero:    "hold",
	AnnotationDecidedAt:       "2026-01-02T03:04:05Z",

	AnnotationCanary:            "v2",
	AnnotationCanarySteps:       "25,100",
	AnnotationCanaryInterval:    "10m",
	AnnotationCanaryChecks:      "p99<1.5x",
	AnnotationCanaryMinRequests: "0",
	AnnotationCanaryDeadline:    "2h",
	AnnotationCanaryPaused:      "true",
}

// A key belongs to the exposure exactly if writing it on an exposed Service changes what is exposed.
func TestExposureKeysAreComplete(t *testing.T) {
	exposed := func(key, value string, beside ...string) *Exposure {
		service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", Annotations: map[string]string{AnnotationExpose: "true"}}}
		service.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80}, {Name: "admin", Port: 81}}
		service.Annotations[key] = value
		for _, needed := range beside {
			service.Annotations[needed] = otherValues[needed]
		}
		intent, problems := RouteIntentOf(service, nil)
		if len(problems) > 0 {
			t.Errorf("%s=%s: %v; want a valid value in otherValues", key, value, problems)
		}
		return intent.Expose
	}
	needs := map[string][]string{AnnotationHTTPSRedirect: {AnnotationTLSCredential}}
	for _, key := range RoutingKeys() {
		if !slices.Contains(key.On, "Service") {
			continue
		}
		value, has := otherValues[key.Key]
		if !has {
			t.Errorf("otherValues has no value for %s", key.Key)
			continue
		}
		if key.Label {
			continue // exposure is read from annotations only
		}
		changes := !reflect.DeepEqual(exposed(AnnotationExpose, "true", needs[key.Key]...), exposed(key.Key, value, needs[key.Key]...))
		if guarded := slices.Contains(ExposureKeys(), key.Key); guarded != changes {
			t.Errorf("writing %s=%s on an exposed Service changes the exposure: %t; ExposureKeys has it: %t", key.Key, value, changes, guarded)
		}
	}
}
