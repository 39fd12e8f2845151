// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
)

// Two bounds are deviations from Istio, which injects pods of any size: docs/understand/injection.md lists them.
func TestLargePodsDeviate(t *testing.T) {
	istio := Start(t)
	i := installations[0]
	texts := i.configMaps(t, istio)
	config := August.parse(t, i, texts, "enabled")
	large := func(change func(*corev1.PodSpec)) sample {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: "demo"},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "registry.example/app:1"}}},
		}
		change(&pod.Spec)
		return sample{pod: pod}
	}
	proxyOf := func(bytes int) sample {
		return large(func(spec *corev1.PodSpec) {
			env := []corev1.EnvVar{{Name: "LONG", Value: strings.Repeat("x", bytes)}}
			spec.Containers = append(spec.Containers, corev1.Container{Name: "istio-proxy", Image: "auto", Env: env})
		})
	}
	elements := func(many int) sample {
		return large(func(spec *corev1.PodSpec) { spec.Tolerations = make([]corev1.Toleration, many-len(spec.Containers)) })
	}
	for _, c := range []struct {
		what string
		pod  sample
		want inject.Result
		says string
	}{
		{"a proxy of the pod's own near the bound", proxyOf(250 << 10), inject.Injected, ""},
		{"a proxy of the pod's own beyond the bound", proxyOf(256 << 10), inject.Denied, "larger than 256 KiB"},
		{"as many elements as are allowed", elements(250_000), inject.Injected, ""},
		{"one element more", elements(250_001), inject.Denied, "at most 250000 are allowed"},
	} {
		t.Run(c.what, func(t *testing.T) {
			raw := c.pod.raw(t)
			verdict, err := istio.Inject(i.review(texts, "enabled", c.pod, raw))
			if err != nil {
				t.Fatal(err)
			}
			if got := resultOf(verdict); got != inject.Injected {
				t.Fatalf("Istio's answer is %s: %s", got, verdict.Message)
			}
			r := request(i, c.pod)
			answer, err := inject.Review(inject.Received{JSON: raw, NamespaceName: r.Namespace.Name, Namespace: r.Namespace, Path: r.Path}, config)
			if err != nil {
				t.Fatal(err)
			}
			got := fmt.Sprint(answer.Report.Reason, ": ", answer.Report.Message)
			if answer.Report.Result != c.want || c.want == inject.Denied && answer.Report.Reason != api.InjectTooLarge || !strings.Contains(got, c.says) {
				t.Errorf("result %s (%s), want %s with %q", answer.Report.Result, got, c.want, c.says)
			}
		})
	}
}
