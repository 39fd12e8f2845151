// SPDX-License-Identifier: Apache-2.0

package jsonpatch

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	patching "github.com/evanphx/json-patch/v5"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestPatchContainsOnlyWhatChanged(t *testing.T) {
	for name, test := range map[string]struct {
		received string
		change   func(*corev1.Pod)
		want     string // operations, one per line
	}{
		"nothing": {
			`{"metadata":{"name":"a"},"spec":{"containers":[{"name":"app","new":1}]},"status":{}}`,
			func(*corev1.Pod) {}, ``,
		},
		"the first annotation": {
			`{"metadata":{"name":"a"}}`,
			func(p *corev1.Pod) { p.Annotations = map[string]string{"a/b~c": "1"} },
			`add /metadata/annotations {"a/b~c":"1"}`,
		},
		"annotations with slash and tilde, sorted": {
			`{"metadata":{"annotations":{"gone/x":"0","stays":"1","z~0":"old"}}}`,
			func(p *corev1.Pod) { p.Annotations = map[string]string{"stays": "1", "z~0": "new", "a/b": "2"} },
			"add /metadata/annotations/a~1b \"2\"\nremove /metadata/annotations/gone~1x\nreplace /metadata/annotations/z~00 \"new\"",
		},
		"annotations that were null": {
			`{"metadata":{"annotations":null}}`,
			func(p *corev1.Pod) { p.Annotations = map[string]string{"a": "1"} },
			`replace /metadata/annotations {"a":"1"}`,
		},
		"a container in front, without noise": {
			`{"spec":{"containers":[{"name":"app","new":{"x":1}}]}}`,
			func(p *corev1.Pod) {
				p.Spec.Containers = slices.Insert(p.Spec.Containers, 0, corev1.Container{Name: "istio-proxy", Image: "p"})
			},
			`add /spec/containers/0 {"image":"p","name":"istio-proxy"}`,
		},
		"a container changed behind one put in": {
			`{"spec":{"containers":[{"name":"app","new":{"x":1},"image":"i"}]}}`,
			func(p *corev1.Pod) {
				p.Spec.Containers[0].Image = "j"
				p.Spec.Containers = slices.Insert(p.Spec.Containers, 0, corev1.Container{Name: "istio-proxy"})
			},
			"add /spec/containers/0 {\"name\":\"istio-proxy\"}\nreplace /spec/containers/1/image \"j\"",
		},
		"a moved container takes its unknown fields and its changes along": {
			`{"spec":{"containers":[{"name":"a","n":1},{"name":"b","n":2},{"name":"c","n":3}]}}`,
			func(p *corev1.Pod) {
				c := p.Spec.Containers
				c[2].Image = "new"
				p.Spec.Containers = []corev1.Container{c[2], c[0], c[1]}
			},
			"remove /spec/containers/2\nadd /spec/containers/0 {\"image\":\"new\",\"n\":3,\"name\":\"c\"}",
		},
		"a container that becomes an init container": {
			`{"spec":{"containers":[{"name":"istio-proxy","n":1},{"name":"app"}]}}`,
			func(p *corev1.Pod) {
				always := corev1.ContainerRestartPolicyAlways
				p.Spec.InitContainers = []corev1.Container{{Name: "istio-init"}, p.Spec.Containers[0]}
				p.Spec.InitContainers[1].RestartPolicy = &always
				p.Spec.Containers = p.Spec.Containers[1:]
			},
			"remove /spec/containers/0\nadd /spec/initContainers [{\"name\":\"istio-init\"},{\"n\":1,\"name\":\"istio-proxy\",\"restartPolicy\":\"Always\"}]",
		},
		"the same beside other init containers": {
			`{"spec":{"containers":[{"name":"istio-proxy","n":1},{"name":"app"}],"initContainers":[{"name":"own","n":2}]}}`,
			func(p *corev1.Pod) {
				p.Spec.InitContainers = []corev1.Container{p.Spec.Containers[0], p.Spec.InitContainers[0]}
				p.Spec.Containers = p.Spec.Containers[1:]
			},
			"remove /spec/containers/0\nadd /spec/initContainers/0 {\"n\":1,\"name\":\"istio-proxy\"}",
		},
		"volumes, env, mounts and ports in their places": {
			`{"spec":{"volumes":[{"name":"v","new":1,"emptyDir":{"newer":2}}],"containers":[{"name":"app","env":[{"name":"A","value":"1","new":1}],"volumeMounts":[{"name":"v","mountPath":"/v","new":1}],"ports":[{"containerPort":80,"new":1}]}]}}`,
			func(p *corev1.Pod) {
				p.Spec.Volumes = slices.Insert(p.Spec.Volumes, 0, corev1.Volume{Name: "istio-envoy", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
				c := &p.Spec.Containers[0]
				c.Env = append(c.Env, corev1.EnvVar{Name: "B", Value: "2"})
				c.Env[0].Value = "3"
				c.VolumeMounts[0].ReadOnly = true
				c.Ports[0].Name = "http"
			},
			"add /spec/containers/0/env/1 {\"name\":\"B\",\"value\":\"2\"}\nreplace /spec/containers/0/env/0/value \"3\"\n" +
				"add /spec/containers/0/ports/0/name \"http\"\nadd /spec/containers/0/volumeMounts/0/readOnly true\n" +
				"add /spec/volumes/0 {\"emptyDir\":{},\"name\":\"istio-envoy\"}",
		},
		"a quantity written otherwise is left": {
			`{"spec":{"containers":[{"name":"app","resources":{"limits":{"cpu":"1000m"},"claimsOfTomorrow":[1]}}]}}`,
			func(p *corev1.Pod) {
				p.Spec.Containers[0].Resources.Limits[corev1.ResourceMemory] = resource.MustParse("1Gi")
			},
			`add /spec/containers/0/resources/limits/memory "1Gi"`,
		},
		"false that was written out": {
			`{"spec":{"hostNetwork":false}}`,
			func(p *corev1.Pod) { p.Spec.HostNetwork = true },
			`replace /spec/hostNetwork true`,
		},
		"a security context with only unknown fields": {
			`{"spec":{"securityContext":{"tomorrow":true}}}`,
			func(p *corev1.Pod) { p.Spec.SecurityContext.FSGroup = new(int64(1337)) },
			`add /spec/securityContext/fsGroup 1337`,
		},
		"a list without names keeps what is equal": {
			`{"spec":{"tolerations":[{"key":"a","new":1},{"key":"b","new":2}]}}`,
			func(p *corev1.Pod) {
				p.Spec.Tolerations = append([]corev1.Toleration{{Key: "c"}}, p.Spec.Tolerations[1])
			},
			"remove /spec/tolerations/0\nadd /spec/tolerations/0 {\"key\":\"c\"}",
		},
		"args": {
			`{"spec":{"containers":[{"name":"app","args":["a","b","a"]}]}}`,
			func(p *corev1.Pod) { p.Spec.Containers[0].Args = []string{"x", "a", "b", "a"} },
			`add /spec/containers/0/args/0 "x"`,
		},
		"everything of a kind goes": {
			`{"spec":{"volumes":[{"name":"v"}],"nodeSelector":{"a":"b"}}}`,
			func(p *corev1.Pod) { p.Spec.Volumes, p.Spec.NodeSelector = nil, nil },
			"remove /spec/nodeSelector\nremove /spec/volumes",
		},
	} {
		t.Run(name, func(t *testing.T) {
			before, after := decodePod(t, []byte(test.received)), decodePod(t, []byte(test.received))
			test.change(after)
			operations, err := Diff([]byte(test.received), before, after)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, printed(t, operations)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			samePod(t, applied(t, []byte(test.received), operations), after)
		})
	}
}

func TestRefusesWhatIsNoObject(t *testing.T) {
	for _, received := range []string{``, `{`, `[]`, `null`, `"pod"`} {
		if operations, err := Diff([]byte(received), &corev1.Pod{}, &corev1.Pod{}); err == nil {
			t.Errorf("%q: got %v, want an error", received, operations)
		}
	}
}

// Very long lists, which any creator of a pod may write, cost no more than their length: the API server shifts the rest of
// a list for each element that is moved, so a list of which most moves is one operation.
func TestLongLists(t *testing.T) {
	const many = 20000
	before := &corev1.Pod{}
	for i := range many {
		before.Spec.Volumes = append(before.Spec.Volumes, corev1.Volume{Name: strconv.Itoa(i)})
	}
	after := before.DeepCopy()
	slices.Reverse(after.Spec.Volumes)
	received, err := json.Marshal(before)
	if err != nil {
		t.Fatal(err)
	}
	operations, err := Diff(received, before, after)
	if err != nil {
		t.Fatal(err)
	}
	if len(operations) != 1 {
		t.Errorf("%d operations, want 1", len(operations))
	}
	samePod(t, applied(t, received, operations), after)
}

// Whatever changes in whatever pod, the patch applied to what was received gives the pod wanted, and every field that
// the types do not know is where it was: on the pod, its containers, volumes, env, mounts.
func FuzzDiff(f *testing.F) {
	for seed := range uint64(400) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		random := rand.New(rand.NewPCG(seed, 1))
		received := randomDocument(t, random)
		before := decodePod(t, received)
		if operations, err := Diff(received, before, before.DeepCopy()); err != nil || len(operations) > 0 {
			t.Fatalf("no change gives %v, %v", operations, err)
		}
		after := changed(random, before)
		operations, err := Diff(received, before, after)
		if err != nil {
			t.Fatal(err)
		}
		result := applied(t, received, operations)
		samePod(t, result, after)
		want := map[string]string{}
		for name, mark := range marks(t, received) {
			if stillThere(after, name) {
				want[name] = mark
			}
		}
		if diff := cmp.Diff(want, marks(t, result)); diff != "" {
			t.Errorf("unknown fields: -want +got\n%s\nreceived %s\npatch %s", diff, received, printed(t, operations))
		}
		again, err := Diff(received, before, after)
		if err != nil || printed(t, again) != printed(t, operations) {
			t.Errorf("the same arguments give another patch (%v)", err)
		}
	})
}

func decodePod(t *testing.T, text []byte) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{}
	if err := json.Unmarshal(text, pod); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return pod
}

func applied(t *testing.T, received []byte, operations []Operation) []byte {
	t.Helper()
	if len(operations) == 0 {
		return received
	}
	text := Encode(operations)
	patch, err := patching.DecodePatch(text)
	if err != nil {
		t.Fatal(err)
	}
	result, err := patch.Apply(received)
	if err != nil {
		t.Fatalf("%v in %s\nof %s", err, text, received)
	}
	return result
}

func samePod(t *testing.T, result []byte, want *corev1.Pod) {
	t.Helper()
	wanted, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(decodePod(t, result))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(wanted), string(got)); diff != "" {
		t.Errorf("the patched pod is not the pod wanted: -want +got\n%s", diff)
	}
}

func printed(t *testing.T, operations []Operation) string {
	t.Helper()
	var lines []string
	for _, operation := range operations {
		line := operation.Op + " " + operation.Path
		if operation.Value != nil {
			var value any // prints the keys sorted
			if err := json.Unmarshal(operation.Value, &value); err != nil {
				t.Fatal(err)
			}
			text, err := json.Marshal(value)
			if err != nil {
				t.Fatal(err)
			}
			line += " " + string(text)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// randomDocument returns the JSON of a pod with a field "unknown" on each part that has a name.
func randomDocument(t *testing.T, random *rand.Rand) []byte {
	t.Helper()
	pod := map[string]any{"metadata": map[string]any{"name": "a", "unknown": "metadata"}, "unknown": "pod"}
	spec := map[string]any{"unknown": "spec"}
	pod["spec"] = spec
	if random.IntN(2) == 0 {
		pod["metadata"].(map[string]any)["annotations"] = []any{nil, map[string]any{}, map[string]any{"a/b": "1", "c~d": "2"}}[random.IntN(3)]
	}
	for _, list := range []string{"containers", "initContainers"} {
		var items []any
		for i := range random.IntN(4) {
			name := fmt.Sprintf("%s-%d", list[:1], i)
			container := map[string]any{"name": name, "unknown": list + name, "resources": []any{map[string]any{}, map[string]any{"limits": map[string]any{"cpu": "1000m"}}, nil}[random.IntN(3)]}
			for _, part := range []struct{ list, key string }{{"env", "name"}, {"volumeMounts", "mountPath"}} {
				var parts []any
				for j := range random.IntN(4) {
					id := fmt.Sprintf("%s-%s-%d", name, part.list, j)
					parts = append(parts, map[string]any{"name": id, part.key: id, "unknown": id})
				}
				if parts != nil || random.IntN(2) == 0 {
					container[part.list] = parts
				}
			}
			items = append(items, container)
		}
		if items != nil || random.IntN(2) == 0 {
			spec[list] = items
		}
	}
	var volumes []any
	for i := range random.IntN(4) {
		name := fmt.Sprintf("v-%d", i)
		volumes = append(volumes, map[string]any{"name": name, "unknown": name, "emptyDir": map[string]any{}})
	}
	spec["volumes"] = volumes
	text, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// changed returns the pod with random changes: parts put in, taken out, moved, moved to the other list, edited.
func changed(random *rand.Rand, pod *corev1.Pod) *corev1.Pod {
	pod = pod.DeepCopy()
	if random.IntN(2) == 0 {
		pod.Annotations = map[string]string{"a/b": strconv.Itoa(random.IntN(2)), "e~1/f": "new"}
	}
	if random.IntN(3) == 0 {
		pod.Spec.HostNetwork = !pod.Spec.HostNetwork
		pod.Spec.SecurityContext = &corev1.PodSecurityContext{}
	}
	if n := len(pod.Spec.Containers); n > 0 && random.IntN(3) == 0 {
		at := random.IntN(n)
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, pod.Spec.Containers[at])
		pod.Spec.Containers = slices.Delete(pod.Spec.Containers, at, at+1)
	}
	pod.Spec.Containers = shaken(random, pod.Spec.Containers, changedContainer, corev1.Container{Name: "istio-proxy", ReadinessProbe: &corev1.Probe{
		ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromInt32(15021)}}}})
	pod.Spec.InitContainers = shaken(random, pod.Spec.InitContainers, changedContainer, corev1.Container{Name: "istio-init", Args: []string{"-p", ""}})
	pod.Spec.Volumes = shaken(random, pod.Spec.Volumes, func(_ *rand.Rand, v *corev1.Volume) { v.EmptyDir = &corev1.EmptyDirVolumeSource{Medium: "Memory"} },
		corev1.Volume{Name: "istio-claim", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{}}}})
	return pod
}

func changedContainer(random *rand.Rand, c *corev1.Container) {
	c.Image = strconv.Itoa(random.IntN(3))
	c.Env = shaken(random, c.Env, func(_ *rand.Rand, e *corev1.EnvVar) { e.Value = "changed" }, corev1.EnvVar{Name: "NEW"})
	c.VolumeMounts = shaken(random, c.VolumeMounts, func(_ *rand.Rand, m *corev1.VolumeMount) { m.ReadOnly = !m.ReadOnly }, corev1.VolumeMount{Name: "new", MountPath: "/new"})
	if random.IntN(3) == 0 {
		c.Resources.Limits = corev1.ResourceList{"cpu": resource.MustParse("2"), "memory": resource.MustParse("1Gi")}
	}
}

func shaken[T any](random *rand.Rand, list []T, edit func(*rand.Rand, *T), added T) []T {
	list = slices.Clone(list)
	for i := range list {
		if random.IntN(3) == 0 {
			edit(random, &list[i])
		}
	}
	if len(list) > 0 && random.IntN(3) == 0 {
		at := random.IntN(len(list))
		list = slices.Delete(list, at, at+1)
	}
	if random.IntN(2) == 0 {
		list = slices.Insert(list, random.IntN(len(list)+1), added)
	}
	if random.IntN(3) == 0 {
		random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	return list
}

// marks returns the unknown fields of a document by the name of the part that they are on.
func marks(t *testing.T, document []byte) map[string]string {
	t.Helper()
	var tree any
	if err := json.Unmarshal(document, &tree); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	var walk func(string, any)
	walk = func(name string, tree any) {
		switch tree := tree.(type) {
		case []any:
			for _, item := range tree {
				walk("", item)
			}
		case map[string]any:
			if own, is := tree["name"].(string); is && name != "metadata" {
				name = own
			}
			if mark, is := tree["unknown"].(string); is {
				out[name] = mark
			}
			for key, value := range tree {
				walk(key, value)
			}
		}
	}
	walk("pod", tree)
	return out
}

// stillThere tells whether the part is still in the pod.
func stillThere(pod *corev1.Pod, name string) bool {
	if name == "pod" || name == "metadata" || name == "spec" {
		return true
	}
	for _, c := range append(slices.Clone(pod.Spec.Containers), pod.Spec.InitContainers...) {
		if c.Name == name ||
			slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == name }) ||
			slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == name }) {
			return true
		}
	}
	return slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == name })
}

func BenchmarkDiff(b *testing.B) {
	for _, containers := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("containers=%d", containers), func(b *testing.B) {
			before := &corev1.Pod{}
			for i := range containers {
				c := corev1.Container{Name: fmt.Sprintf("app-%d", i), Image: "registry.example/app:1"}
				for j := range 20 {
					c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprintf("NAME_%d", j), Value: "value"})
				}
				before.Spec.Containers = append(before.Spec.Containers, c)
			}
			received, err := json.Marshal(before)
			if err != nil {
				b.Fatal(err)
			}
			after := before.DeepCopy()
			after.Annotations = map[string]string{"sidecar.istio.io/status": "{}"}
			after.Spec.Containers = append([]corev1.Container{{Name: "istio-proxy"}}, after.Spec.Containers...)
			after.Spec.Volumes = []corev1.Volume{{Name: "istio-envoy"}}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Diff(received, before, after); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
