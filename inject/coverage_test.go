// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1beta1 "istio.io/client-go/pkg/apis/networking/v1beta1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"outrigger.dev/outrigger/api"
)

// lived is what becomes of a pod after it was injected: other admission and the API server add to it.
func lived(pod *corev1.Pod) *corev1.Pod {
	pod = pod.DeepCopy()
	pod.Spec.NodeName, pod.UID, pod.Status.Phase = "node-1", "u-1", corev1.PodRunning
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: "kube-api-access-x7x7x"})
	pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: "vault-agent", Image: "vault:1"})
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			list[i].TerminationMessagePath, list[i].ImagePullPolicy = "/dev/termination-log", corev1.PullIfNotPresent
			list[i].VolumeMounts = append(list[i].VolumeMounts, corev1.VolumeMount{Name: "kube-api-access-x7x7x", MountPath: "/token"})
			list[i].Env = append(list[i].Env, corev1.EnvVar{Name: "ADDED_BY_OTHERS", Value: "x"})
			list[i].Resources.Limits = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2")}
			for j := range list[i].Env {
				if from := list[i].Env[j].ValueFrom; from != nil && from.FieldRef != nil {
					from.FieldRef.APIVersion = "v1"
				}
			}
		}
	}
	return pod
}

func TestStand(t *testing.T) {
	probes := `{metadata: {annotations: {prometheus.io/scrape: "true", prometheus.io/port: "8080"}}, spec: {containers: [{name: app, image: "app:1",
		ports: [{containerPort: 8080}], readinessProbe: {httpGet: {path: /ready, port: 8080}}}]}}`
	valuesWith := func(old, changed string) func(*Source) {
		return func(s *Source) { s.Values = strings.Replace(s.Values, old, changed, 1) }
	}
	configWith := func(old, changed string) func(*Source) {
		return func(s *Source) { s.Config = strings.Replace(s.Config, old, changed, 1) }
	}
	for _, c := range []struct {
		what, pod string
		before    func(*Source)
		never     bool // it was created while no injector answered
		change    func(*corev1.Pod)
		now       func(*Source)
		want      Coverage
		byImage   *Coverage // nil = the same
	}{
		{what: "nothing changed", pod: probes, want: Coverage{State: api.CoverageCovered, Reason: api.CoverageUpToDate}},
		{what: "never injected", pod: probes, never: true, want: Coverage{State: api.CoverageMissing, Reason: api.CoverageNoSidecar}},
		{what: "opted out", pod: `{metadata: {labels: {sidecar.istio.io/inject: "false"}}}`, never: true, want: Coverage{}},
		{what: "the host's network", pod: `{spec: {hostNetwork: true}}`, never: true, want: Coverage{}},
		{what: "a proxy of the user's own", pod: `{spec: {containers: [{name: istio-proxy, image: "envoy:1"}]}}`, never: true,
			want: Coverage{State: api.CoverageCovered, Reason: api.CoverageNotCompared}},
		{what: "an unreadable status", pod: `{}`, change: func(p *corev1.Pod) { p.Annotations[api.AnnotationStatus] = "injected" },
			want: Coverage{State: api.CoverageCovered, Reason: api.CoverageNotCompared}},
		{what: "another tag", pod: probes, now: valuesWith("1.31.1", "1.31.2"), want: Coverage{api.CoverageOutdated, api.CoverageImage,
			[]string{"the image of istio-proxy is registry.example/istio/proxyv2:1.31.1, now registry.example/istio/proxyv2:1.31.2"}}},
		{what: "a mirror in front of the image", pod: `{}`, change: func(p *corev1.Pod) {
			proxy := findProxy(p)
			proxy.Image = "mirror.example/" + proxy.Image
		}, want: Coverage{State: api.CoverageCovered, Reason: api.CoverageUpToDate}},
		{what: "another revision", pod: `{}`, now: func(s *Source) { s.Settings.Revision = "next" },
			want: Coverage{api.CoverageOutdated, api.CoverageRevision, []string{"the revision is default, now next"}}},
		{what: "native by now", pod: `{}`, before: func(s *Source) { s.Settings.NativeSidecars = "disabled" }, now: func(s *Source) { s.Settings.NativeSidecars = "enabled" },
			want: Coverage{api.CoverageOutdated, api.CoverageContainers, []string{"the containers are istio-proxy, now istio-proxy (init)"}}},
		{what: "another argument", pod: `{}`, now: configWith(`"warning"`, `"info"`),
			want:    Coverage{api.CoverageOutdated, api.CoverageConfiguration, []string{"the arguments of istio-proxy have changed"}},
			byImage: &Coverage{State: api.CoverageCovered, Reason: api.CoverageUpToDate}},
		{what: "another mesh configuration", pod: `{}`, now: func(s *Source) { s.Mesh = "defaultConfig: {concurrency: 3}" },
			want:    Coverage{api.CoverageOutdated, api.CoverageConfiguration, []string{"the environment variable PROXY_CONFIG of istio-proxy has changed"}},
			byImage: &Coverage{State: api.CoverageCovered, Reason: api.CoverageUpToDate}},
		{what: "missing, and denied", pod: `{metadata: {annotations: {inject.istio.io/templates: nosuch}}}`, never: true,
			want: Coverage{api.CoverageMissing, api.CoverageDenied, []string{
				`UnknownTemplate: Pod demo/app: metadata.annotations[inject.istio.io/templates] = "nosuch": requested template "nosuch" not found; have extra,named,sidecar,twice. Name templates of Istio's configuration, separated by commas.`}},
			byImage: &Coverage{State: api.CoverageMissing, Reason: api.CoverageNoSidecar}},
	} {
		t.Run(c.what, func(t *testing.T) {
			running := pod(t, c.pod)
			if !c.never {
				running, _ = inject(t, running, parsed(t, c.before))
			}
			running = lived(running)
			if c.change != nil {
				c.change(running)
			}
			kept, request := running.DeepCopy(), Request{Pod: running, Namespace: &corev1.Namespace{}}
			config := parsed(t, c.now)
			got, err := CoverageOf(request, config)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			byImage := c.want
			if c.byImage != nil {
				byImage = *c.byImage
			}
			request.Pod = bareOf(running)
			if got, err = CoverageByImage(request, config); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(byImage, got); diff != "" {
				t.Errorf("by image (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(kept, running); diff != "" {
				t.Errorf("the pod was changed:\n%s", diff)
			}
		})
	}
}

// bareOf is a pod of which only what CoverageByImage needs is there.
func bareOf(running *corev1.Pod) *corev1.Pod {
	out := &corev1.Pod{ObjectMeta: running.ObjectMeta, Spec: corev1.PodSpec{HostNetwork: running.Spec.HostNetwork, OS: running.Spec.OS}}
	for _, lists := range []struct{ from, into *[]corev1.Container }{{&running.Spec.InitContainers, &out.Spec.InitContainers}, {&running.Spec.Containers, &out.Spec.Containers}} {
		for _, c := range *lists.from {
			if c.Name == proxyName {
				*lists.into = append(*lists.into, corev1.Container{Name: c.Name, Image: c.Image})
			}
		}
	}
	out.Spec.Containers = append(out.Spec.Containers, corev1.Container{Name: "app"})
	return out
}

func TestCoversLike(t *testing.T) {
	config := parsed(t, nil)
	nodes := func(versions ...string) Facts {
		facts := Facts{Nodes: map[string]string{}}
		for i, version := range versions {
			facts.Nodes[string(rune('a'+i))] = version
		}
		return facts
	}
	auto := parsed(t, func(s *Source) { s.Settings.NativeSidecars = "auto" })
	for _, c := range []struct {
		what string
		a, b *Config
		want bool
	}{
		{"itself", config, config, true},
		{"the same text", config, parsed(t, nil), true},
		{"another text", config, parsed(t, func(s *Source) { s.Mesh = "trustDomain: x" }), false},
		{"another revision", config, parsed(t, func(s *Source) { s.Settings.Revision = "x" }), false},
		{"one more node of the same age", auto.With(nodes("v1.33.0")), auto.With(nodes("v1.33.0", "v1.34.1")), true},
		{"an old node", auto.With(nodes("v1.33.0")), auto.With(nodes("v1.33.0", "v1.20.0")), false},
		{"a ProxyConfig", config, config.With(Facts{ProxyConfigs: []*networkingv1beta1.ProxyConfig{{}}}), false},
		{"none", config, Unavailable(api.InjectProblem{}), false},
		{"nil", config, nil, false},
	} {
		if got := c.a.CoversLike(c.b); got != c.want {
			t.Errorf("%s: %t", c.what, got)
		}
	}
}

// Facts that change nothing for any pod keep what was worked out.
func TestFactsThatChangeNothingKeepTheConfiguration(t *testing.T) {
	nodes := func(versions ...string) Facts {
		facts := Facts{Nodes: map[string]string{}}
		for i, version := range versions {
			facts.Nodes[string(rune('a'+i))] = version
		}
		return facts
	}
	resource := &networkingv1beta1.ProxyConfig{}
	withResource := func(facts Facts) Facts {
		facts.ProxyConfigs = []*networkingv1beta1.ProxyConfig{resource}
		return facts
	}
	auto := func(s *Source) { s.Settings.NativeSidecars = "auto" }
	for _, c := range []struct {
		what          string
		change        func(*Source)
		before, after Facts
		kept          bool
	}{
		{"the same", auto, nodes("v1.33.0"), nodes("v1.33.0"), true},
		{"a node more", auto, nodes("v1.33.0"), nodes("v1.33.0", "v1.34.0"), true},
		{"a node less", auto, nodes("v1.33.0", "v1.34.0"), nodes("v1.33.0"), true},
		{"the first node", auto, Facts{}, nodes("v1.33.0"), true},
		{"a kubelet is upgraded", auto, nodes("v1.33.0"), nodes("v1.34.0"), true},
		{"one old kubelet more", auto, nodes("v1.30.0"), nodes("v1.30.0", "v1.31.0"), true},
		{"the first old kubelet", auto, nodes("v1.33.0"), nodes("v1.33.0", "v1.31.0"), false},
		{"a new one among old ones, for the pods that name it", auto, nodes("v1.30.0"), nodes("v1.30.0", "v1.34.0"), false},
		{"a new one among old ones leaves", auto, nodes("v1.30.0", "v1.34.0"), nodes("v1.30.0"), false},
		{"nodes where a setting decides", func(s *Source) { s.Settings.NativeSidecars = "enabled" }, nodes("v1.33.0"), nodes("v1.20.0"), true},
		{"the same ProxyConfig", auto, withResource(nodes("v1.33.0")), withResource(nodes("v1.33.0")), true},
		{"a ProxyConfig more", auto, nodes("v1.33.0"), withResource(nodes("v1.33.0")), false},
	} {
		before := parsed(t, c.change).With(c.before)
		if after := before.With(c.after); (after == before) != c.kept {
			t.Errorf("%s: kept is %t, want %t", c.what, after == before, c.kept)
		}
	}
}
