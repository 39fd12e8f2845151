// SPDX-License-Identifier: Apache-2.0

package api

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The example for an invalid value names the Service's own versions, and is valid itself.
func TestExamplesNameTheServicesVersions(t *testing.T) {
	for key, want := range map[string]string{
		AnnotationDefaultVersion: "green",
		AnnotationWeights:        "blue=90,green=10",
		AnnotationMatch:          "green=header:end-user:jason",
		AnnotationMirror:         "green=10",
	} {
		service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "web", Annotations: map[string]string{key: "!"}}}
		_, problems := RouteIntentOf(service, &corev1.Namespace{})
		general := problems[0].Advice
		problems = WithExamples(problems, []string{"blue", "green"})
		if advice := problems[0].Advice; advice != "Example: kubectl annotate service -n demo web "+key+"="+want+" --overwrite." {
			t.Errorf("%s: %s", key, advice)
		}
		if strings.Contains(problems[0].String(), "v1") || strings.Contains(problems[0].String(), "v2") {
			t.Errorf("%s: %s", key, problems[0])
		}
		service.Annotations[key] = want
		if _, problems := RouteIntentOf(service, &corev1.Namespace{}); len(problems) > 0 {
			t.Errorf("the example is invalid: %v", problems)
		}
		service.Annotations[key] = "!"
		if _, problems := RouteIntentOf(service, &corev1.Namespace{}); WithExamples(problems, nil)[0].Advice != general {
			t.Errorf("%s without versions: %v", key, problems)
		}
	}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "web", Annotations: map[string]string{AnnotationSticky: "!"}}}
	_, problems := RouteIntentOf(service, &corev1.Namespace{})
	if got := WithExamples(problems, []string{"blue"}); got[0] != problems[0] {
		t.Errorf("an annotation without versions: %v", got)
	}
}
