// SPDX-License-Identifier: Apache-2.0

package api

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWordsThatLookLikeInjectionAndAreNone(t *testing.T) {
	pod, namespace := ObjectRef{Kind: "Pod", Namespace: "demo", Name: "web-*"}, ObjectRef{Kind: "Namespace", Name: "demo"}
	for name, test := range map[string]struct {
		object              ObjectRef
		labels, annotations map[string]string
		want                []string // reason and sentence
	}{
		"right words on a pod": {
			object:      pod,
			labels:      map[string]string{"sidecar.istio.io/inject": "true", "app": "web", "istio.io/rev": "canary", "topology.istio.io/network": "n"},
			annotations: map[string]string{"sidecar.istio.io/inject": "false", "proxy.istio.io/config": "{}", "sidecar.istio.io/nativeSidecar": "true", "sidecar.istio.io/rewriteAppHTTPProbers": "T"},
		},
		"right words on a Namespace": {
			object:      namespace,
			labels:      map[string]string{"istio-injection": "disabled", "istio.io/rev": "canary", "outrigger.dev/routing": "enabled"},
			annotations: map[string]string{"outrigger.dev/no-such": "routing tells of it"},
		},
		"other meshes and tools": {
			object:      pod,
			labels:      map[string]string{"sidecar.opentelemetry.io/inject": "true", "kuma.io/sidecar-injection": "enabled"},
			annotations: map[string]string{"linkerd.io/inject": "enabled", "sidecar.jaegertracing.io/inject": "true", "vault.hashicorp.com/agent-inject": "true"},
		},
		"misspelled label of a pod": {
			object: pod, labels: map[string]string{"sidecar.istio.io/injct": "true"},
			want: []string{"MisspelledKey Pod demo/web-*: metadata.labels[sidecar.istio.io/injct] = \"true\": nothing reads it; it looks like sidecar.istio.io/inject. Write sidecar.istio.io/inject."},
		},
		"misspelled annotations of a pod, in the order of their keys": {
			object: pod, annotations: map[string]string{"sidecar.isto.io/proxyCPU": "1", "proxy.istio.io/confg": "{}", "traffic.sidecar.istio.io/excludeinboundports": "80"},
			want: []string{
				"MisspelledKey Pod demo/web-*: metadata.annotations[proxy.istio.io/confg] = \"{}\": nothing reads it; it looks like proxy.istio.io/config. Write proxy.istio.io/config.",
				"MisspelledKey Pod demo/web-*: metadata.annotations[sidecar.isto.io/proxyCPU] = \"1\": nothing reads it; it looks like sidecar.istio.io/proxyCPU. Write sidecar.istio.io/proxyCPU.",
				"MisspelledKey Pod demo/web-*: metadata.annotations[traffic.sidecar.istio.io/excludeinboundports] = \"80\": nothing reads it; it looks like traffic.sidecar.istio.io/excludeInboundPorts. Write traffic.sidecar.istio.io/excludeInboundPorts.",
			},
		},
		"misspelled key of a Namespace": {
			object: namespace, labels: map[string]string{"istio-injecton": "enabled"},
			want: []string{"MisspelledKey Namespace demo: metadata.labels[istio-injecton] = \"enabled\": nothing reads it; it looks like istio-injection. Write istio-injection."},
		},
		"misspelled value of a Namespace": {
			object: namespace, labels: map[string]string{"istio-injection": "enable"},
			want: []string{"MisspelledKey Namespace demo: metadata.labels[istio-injection] = \"enable\": only enabled injects; with \"enable\", pods of this Namespace get no sidecar. kubectl label namespace demo istio-injection=enabled --overwrite"},
		},
		"the pod's word on a Namespace": {
			object: namespace, labels: map[string]string{"sidecar.istio.io/inject": "true"},
			want: []string{"MisplacedKey Namespace demo: metadata.labels[sidecar.istio.io/inject] = \"true\": it is read on pods, not on a Namespace. Label the Namespace istio-injection=enabled."},
		},
		"the Namespace's label as an annotation": {
			object: namespace, annotations: map[string]string{"istio-injection": "enabled"},
			want: []string{"MisplacedKey Namespace demo: metadata.annotations[istio-injection] = \"enabled\": it is read as a label, not as an annotation. Label the Namespace with it."},
		},
		"the Namespace's word on a pod": {
			object: pod, labels: map[string]string{"istio-injection": "enabled"},
			want: []string{"MisplacedKey Pod demo/web-*: metadata.labels[istio-injection] = \"enabled\": it is read on a Namespace, not on pods. Label the pod template sidecar.istio.io/inject=true."},
		},
		"an annotation as a label": {
			object: pod, labels: map[string]string{"sidecar.istio.io/proxyCPU": "1"},
			want: []string{"MisplacedKey Pod demo/web-*: metadata.labels[sidecar.istio.io/proxyCPU] = \"1\": it is read as an annotation, not as a label. Write it under metadata.annotations."},
		},
		"choices that are neither": {
			object: pod, annotations: map[string]string{"sidecar.istio.io/nativeSidecar": "True", "sidecar.istio.io/rewriteAppHTTPProbers": "yes"},
			want: []string{
				"UnreadableChoice Pod demo/web-*: metadata.annotations[sidecar.istio.io/nativeSidecar] = \"True\": it is neither true nor false, so it counts as absent. Set it to \"true\" or \"false\", in quotes and in lowercase.",
				"UnreadableChoice Pod demo/web-*: metadata.annotations[sidecar.istio.io/rewriteAppHTTPProbers] = \"yes\": it is neither true nor false, so it counts as absent. Set it to \"true\" or \"false\", in quotes and in lowercase.",
			},
		},
		"a key of routing on a pod": {
			object: pod, annotations: map[string]string{"outrigger.dev/weights": "v1=1"},
			want: []string{"MisplacedKey Pod demo/web-*: metadata.annotations[outrigger.dev/weights] = \"v1=1\": it is read on a Service, not on pods. Write it there."},
		},
		"what inject records": {object: pod, annotations: map[string]string{AnnotationProbePorts: "{}"}},
		"unknown keys of our own": {
			object: pod, annotations: map[string]string{"outrigger.dev/weight": "v1=1", "outrigger.dev/inject": "true"},
			want: []string{
				"UnknownKey Pod demo/web-*: metadata.annotations[outrigger.dev/inject] = \"true\": Outrigger has no such key. Correct or remove it; docs/reference/annotations.md lists all keys.",
				"UnknownKey Pod demo/web-*: metadata.annotations[outrigger.dev/weight] = \"v1=1\": Outrigger has no such key. It looks like outrigger.dev/weights, which is read on a Service or a Namespace, not on pods.",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, problem := range InjectKeyProblems(test.object, test.labels, test.annotations) {
				got = append(got, string(problem.Reason)+" "+problem.String())
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestValuesThatWereMeantToEnable(t *testing.T) {
	for value, want := range map[string]bool{
		"enabled": false, "disabled": false, "disable": false, "false": false, "no": false, "": false, "off": false,
		"enable": true, "Enabled": true, "enabeld": true, "true": true, "True": true, "yes": true, "on": true,
	} {
		if got := looksEnabled(value); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"inject", "inject", 0}, {"injct", "inject", 1}, {"inejct", "inject", 1}, {"injects", "inject", 1}, {"unject", "inject", 1},
		{"ijnetc", "inject", 2}, {"sidecar", "gateway", 5}, {"nject", "injects", 2}, {"a", "abcd", 3},
	} {
		if got := editDistance(test.a, test.b); got != test.want {
			t.Errorf("%q and %q: %d, want %d", test.a, test.b, got, test.want)
		}
	}
}

func TestEveryReasonHasItsAdvice(t *testing.T) {
	for _, reason := range InjectReasons() {
		if reason.Reason.Advice() == "" {
			t.Errorf("%s has no advice", reason.Reason)
		}
	}
}
