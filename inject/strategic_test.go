// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

// FuzzMerge compares the merge of Go values with the library's merge of trees over random pods and templates: names that occur twice,
// elements without their merge key, nulls, other types, unknown fields, lists of scalars, and directives.
func FuzzMerge(f *testing.F) {
	for seed := range uint64(2000) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		random := rand.New(rand.NewPCG(seed, 1))
		pod := randomPod(t, random)
		template := randomTree(random, random.IntN(3) == 0)
		before := pod.DeepCopy()
		text := []byte(asText(template))
		rendered, err := parseRendered(text)
		if err != nil {
			t.Fatal(err)
		}
		want, wantErr := mergeTree(pod, template)
		got, err := rendered.mergedInto(pod)
		if (err != nil) != (wantErr != nil) {
			t.Fatalf("error %v, the library's %v\npod %s\ntemplate %s", err, wantErr, asText(pod), text)
		}
		if diff := cmp.Diff(asText(before), asText(pod)); diff != "" {
			t.Fatalf("the pod was changed:\n%s\ntemplate %s", diff, text)
		}
		if err != nil {
			return
		}
		if diff := cmp.Diff(asText(want), asText(got)); diff != "" {
			t.Fatalf("the library's result (-) differs:\n%s\npod %s\ntemplate %s", diff, asText(pod), text)
		}
	})
}

// randomPod returns a pod without empty lists: the library omits them.
func randomPod(t *testing.T, random *rand.Rand) *corev1.Pod {
	pod, out := &corev1.Pod{}, &corev1.Pod{}
	for fromTree(randomTree(random, false), pod) != nil {
		pod = &corev1.Pod{}
	}
	if err := fromTree(pod, out); err != nil {
		t.Fatal(err)
	}
	return out
}

func asText(tree any) string {
	text, err := json.Marshal(tree)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// randomTree returns a tree of a pod; a directed one may hold directives.
func randomTree(random *rand.Rand, directed bool) map[string]any {
	names := func() string { return string(rune('a' + random.IntN(5))) }
	elements := func(key string, more func(map[string]any)) []any {
		out := []any{}
		for range random.IntN(7) {
			element := map[string]any{key: names()}
			switch random.IntN(60) {
			case 0:
				delete(element, key)
			case 1:
				element["value"] = nil
			}
			if directed && random.IntN(8) == 0 {
				element["$patch"] = []any{"delete", "replace", "merge"}[random.IntN(3)]
			}
			more(element)
			out = append(out, element)
		}
		return out
	}
	leaf := func(element map[string]any) { element["value"] = fmt.Sprint(random.IntN(9)) }
	container := func(c map[string]any) {
		if random.IntN(2) == 0 {
			c["env"] = elements("name", leaf)
		}
		if random.IntN(3) == 0 {
			c["args"] = []any{names(), names()}
		}
		if random.IntN(3) == 0 {
			c["volumeMounts"] = elements("mountPath", func(e map[string]any) { e["name"] = names() })
		}
		if random.IntN(4) == 0 {
			c["securityContext"] = map[string]any{"runAsUser": float64(random.IntN(3)), "capabilities": map[string]any{"drop": []any{names()}}, "privileged": nil}
		}
		if random.IntN(9) == 0 {
			c["image"] = map[string]any{"no": "text"}
		}
	}
	spec := map[string]any{"containers": elements("name", container), "hostNetwork": random.IntN(2) == 0}
	if random.IntN(2) == 0 {
		spec["initContainers"] = elements("name", container)
	}
	if random.IntN(2) == 0 {
		spec["volumes"] = elements("name", func(v map[string]any) { v["emptyDir"] = map[string]any{"medium": names()} })
	}
	switch random.IntN(8) {
	case 0:
		spec["volumes"] = nil
	case 1:
		spec["tomorrow"] = map[string]any{"unknown": names()}
	case 2:
		spec["tolerations"] = elements("key", leaf)
	case 3:
		spec["containers"] = map[string]any{"no": "list"}
	}
	metadata := map[string]any{"labels": map[string]any{names(): names()}}
	if random.IntN(2) == 0 {
		metadata["finalizers"] = []any{names(), names(), names()}
	}
	if directed && random.IntN(4) == 0 {
		spec["$retainKeys"] = []any{"containers", "volumes", "initContainers", "hostNetwork"}
	}
	return map[string]any{"metadata": metadata, "spec": spec}
}

// Pods of absurd size are injected as others are. The library's merge takes minutes for these; this one takes its time
// from their length, and so does everything else.
func TestAbsurdPodsAreInjected(t *testing.T) {
	config := parsed(t, func(s *Source) { s.Settings.MaxContainers, s.Settings.MaxVolumes = 1000000, 1000000 })
	containers := func(many int) (out []corev1.Container) {
		for i := range many {
			out = append(out, corev1.Container{Name: fmt.Sprint("c", i), Image: "registry.example/c:1"})
		}
		return out
	}
	for name, change := range map[string]func(*corev1.Pod){
		"volumes": func(p *corev1.Pod) {
			for i := range 20000 {
				p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: fmt.Sprint("v", i)})
			}
		},
		"volumes of the same names": func(p *corev1.Pod) {
			for i := range 20000 {
				p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: fmt.Sprint("v", i/2)})
			}
		},
		"init containers": func(p *corev1.Pod) { p.Spec.InitContainers = containers(8000) },
		"containers":      func(p *corev1.Pod) { p.Spec.Containers = containers(30000) },
		"variables of the proxy": func(p *corev1.Pod) {
			proxy := corev1.Container{Name: proxyName, Image: "auto"}
			for i := range 6000 {
				proxy.Env = append(proxy.Env, corev1.EnvVar{Name: fmt.Sprint("E", i%4000), Value: "x"})
			}
			p.Spec.Containers = append(p.Spec.Containers, proxy)
		},
		"names in the status of an earlier injection": func(p *corev1.Pod) {
			p.Spec.Containers = containers(5000)
			p.Annotations = map[string]string{"sidecar.istio.io/status": asText(map[string]any{"containers": make([]string, 50000)})}
		},
		"containers that an earlier injection recorded": func(p *corev1.Pod) {
			p.Annotations = map[string]string{"sidecar.istio.io/status": "{}", annotationOverrides: asText(overrides{Containers: containers(20000)})}
		},
		"values of a ProxyConfig": func(p *corev1.Pod) {
			text := "proxyMetadata:\n"
			for i := range 8000 {
				text += fmt.Sprintf("  K%d: v%d\n", i, i)
			}
			p.Annotations = map[string]string{annotationProxyConfig: text}
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: proxyName, Image: "auto"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := pod(t, "")
			change(p)
			raw, err := json.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := Review(Received{JSON: raw, Namespace: &corev1.Namespace{}}, config)
			if err != nil || answer.Report.Result != Injected {
				t.Fatalf("%v %+v", err, answer.Report)
			}
		})
	}
}
