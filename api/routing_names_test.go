// SPDX-License-Identifier: Apache-2.0

package api

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestNearestVersion(t *testing.T) {
	for _, c := range []struct{ name, versions, want string }{
		{"V1", "v1 v2", "v1"},
		{"Blue", "blue green", "blue"},
		{"geen", "blue green", "green"},
		{"1", "v1 v2", "v1"},
		{"v1.2.3", "v1-2-3 v2", "v1-2-3"},
		{"canry-2", "canary-2 stable-2", "canary-2"},
		{"v3", "v1 v2", ""}, // a number is no slip
		{"v12", "v1 v2", ""},
		{"canary-3", "canary-2", ""},
		{"V1", "v1 v.1", "v1"},
		{"v-1", "v1 v.1", ""}, // one as near as the other
		{"v1", "v1 V1", ""},   // it is there
	} {
		got, found := NearestVersion(c.name, strings.Fields(c.versions))
		if got != c.want || found != (c.want != "") {
			t.Errorf("%s among %s: %q, want %q", c.name, c.versions, got, c.want)
		}
	}
}

func TestUnknownVersionsNameTheCandidate(t *testing.T) {
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "app", Annotations: map[string]string{
		AnnotationWeights: "V1=95,v2=5", AnnotationMatch: "v9=header:a:b", AnnotationDefaultVersion: "v2",
	}}}
	intent, _ := DefaultRouteLimits().IntentOf(service, nil, nil)
	problems := UnknownVersions(ObjectRef{Kind: "Service", Namespace: "demo", Name: "app"}, intent, []string{"v1", "v2"})
	var got []string
	for _, p := range problems {
		got = append(got, p.String())
	}
	want := []string{
		`Service demo/app: metadata.annotations[outrigger.dev/weights] = "V1=95,v2=5": unknown version "V1"; did you mean "v1"? Until there is one, the current route is unchanged. Example: kubectl annotate service -n demo app outrigger.dev/weights=v1=95,v2=5 --overwrite.`,
		`Service demo/app: metadata.annotations[outrigger.dev/match] = "v9=header:a:b": no workload behind the Service has version "v9". Until there is one, the current route is unchanged. Example: kubectl annotate service -n demo app outrigger.dev/match=v1=header:a:b --overwrite.`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// An unknown mode behaves as observe, on a Service and on a Namespace, and says what was probably meant.
func TestUnknownModesObserve(t *testing.T) {
	for value, meant := range map[string]string{"dry-run": "observe", "off": "disabled", "enable": "enabled", "subset-only": "subsets-only", "Disabled": "disabled"} {
		for _, kind := range []string{"Service", "Namespace"} {
			service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "app"}}
			namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "demo", Labels: map[string]string{LabelInjection: "enabled"}}}
			if kind == "Service" {
				service.Labels = map[string]string{LabelRouting: value}
			} else {
				namespace.Labels[LabelRouting] = value
			}
			intent, problems := DefaultRouteLimits().IntentOf(service, namespace, nil)
			if !intent.Observe || intent.Disabled || intent.SubsetsOnly {
				t.Errorf("%s=%s: %+v", kind, value, intent)
			}
			if len(problems) != 1 || problems[0].Object.Kind != kind || !strings.Contains(problems[0].Advice, LabelRouting+"="+meant+" --overwrite") {
				t.Errorf("%s=%s: %v", kind, value, problems)
			}
		}
	}
}

func TestCompanionsWithoutExposeAreReported(t *testing.T) {
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "app", Annotations: map[string]string{AnnotationHosts: "a.example.com"}}}
	_, problems := DefaultRouteLimits().IntentOf(service, nil, nil)
	if len(problems) != 1 || problems[0].Reason != RouteWithoutEffect || problems[0].Field != AnnotationField(AnnotationHosts) {
		t.Errorf("%v", problems)
	}
	service.Annotations[AnnotationExpose] = "false" // chosen
	if _, problems := DefaultRouteLimits().IntentOf(service, nil, nil); len(problems) > 0 {
		t.Errorf("%v", problems)
	}
}

func TestUnknownKindsOfMatchNameTheCandidate(t *testing.T) {
	for text, want := range map[string]string{
		"v2=heder:end-user:jason": `unknown kind of match "heder"` + ` (did you mean "header"?)`,
		"v2=cokie:a:b":            `unknown kind of match "cokie" (did you mean "cookie"?)`,
		"v2=path:/a:b":            `"path:/a:b" is none of header`,
	} {
		if _, err := ParseMatches(text); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
