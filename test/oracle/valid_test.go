// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"encoding/json"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	kjson "sigs.k8s.io/json"

	"outrigger.dev/outrigger/inject"
)

// serversOwn are the answers that stay the API server's own, since it names what somebody wrote: Istio makes the very same
// pod (injection.md, decision 5: a closed list is denied, all else the API server answers).
var serversOwn = []struct {
	fault  *regexp.Regexp
	wrote  func(before, after *corev1.Pod) bool
	reason string
}{
	{
		regexp.MustCompile(`^spec\.(initContainers|containers)\[\d+\]\.image: Required value`),
		func(before, after *corev1.Pod) bool {
			own := append(slices.Clone(before.Spec.InitContainers), before.Spec.Containers...)
			return slices.ContainsFunc(append(slices.Clone(after.Spec.InitContainers), after.Spec.Containers...), func(c corev1.Container) bool {
				return c.Image == "" && !slices.ContainsFunc(own, func(o corev1.Container) bool { return o.Name == c.Name })
			})
		},
		"a custom template speaks of a container that the pod does not have",
	},
	{
		regexp.MustCompile(`httpGet\.port: Invalid value: 0: `),
		func(before, _ *corev1.Pod) bool { return before.Annotations["status.sidecar.istio.io/port"] != "" },
		"the agent's port is switched off by annotation, and the probes are sent there",
	},
	{
		regexp.MustCompile(`volumeMounts\[\d+\]\.name: Not found: `),
		func(before, _ *corev1.Pod) bool { return before.Annotations["sidecar.istio.io/userVolumeMount"] != "" },
		"an annotation mounts a volume that nobody defines",
	},
	{
		regexp.MustCompile(`^metadata\.labels: Invalid value: .* must be no more than 63 `),
		func(before, _ *corev1.Pod) bool {
			return strings.Contains(before.Annotations["inject.istio.io/templates"], "gateway")
		},
		"Istio's gateway template writes the workload's name as a label, and cuts it nowhere",
	},
	{
		regexp.MustCompile(`^spec\.resources\.(requests|limits)\[`),
		func(before, _ *corev1.Pod) bool { return before.Spec.Resources != nil },
		"the pod's resources as a whole leave no room for the proxy's",
	},
}

// notServersOwn returns the answers that are none of serversOwn.
func notServersOwn(faults []string, before, after *corev1.Pod) []string {
	return slices.DeleteFunc(faults, func(fault string) bool {
		for _, own := range serversOwn {
			if own.fault.MatchString(fault) && own.wrote(before, after) {
				return true
			}
		}
		return false
	})
}

// A pod that the API server accepts before injection it accepts after it, or Outrigger has denied it.
func TestPodsStayValid(t *testing.T) {
	istio, server := August.Start(t), APIServer.Start(t)
	accepted := 0
	for _, i := range installations {
		t.Run(i.String(), func(t *testing.T) {
			texts := i.configMaps(t, istio)
			for _, native := range i.natives {
				config := August.parse(t, i, texts, native)
				for _, s := range corpus(t) {
					faults, judged := staysValid(t, server, config, request(i, s))
					accepted += judged
					if len(faults) > 0 {
						t.Errorf("%s with native sidecars %s: the API server says %s", s.name, native, strings.Join(faults, "; "))
					}
				}
			}
		})
	}
	if accepted < 1000 {
		t.Errorf("only %d pods were accepted before and injected", accepted)
	}
}

func TestGeneratedPodsStayValid(t *testing.T) {
	istio, server := August.Start(t), APIServer.Start(t)
	g := newGenerator(t, rand.New(rand.NewPCG(*seed, 7)))
	accepted := 0
	for done := 0; done < *pairs; done += podsPerInstallation {
		c := g.installation(t, istio)
		config, err := c.parsed(t, c.written(t), August)
		if err != nil {
			continue // istiod refuses it as well
		}
		for range podsPerInstallation {
			pod := g.pod()
			faults, judged := staysValid(t, server, config, request(c.base, sample{pod: pod}))
			accepted += judged
			if len(faults) > 0 {
				t.Errorf("seed %d: the API server says %s of\n%s", *seed, strings.Join(faults, "; "), c.kept(pod, ""))
			}
		}
	}
	if accepted < *pairs/20 {
		t.Errorf("only %d of %d pods were accepted before and injected", accepted, *pairs)
	}
}

// staysValid injects a pod that the API server accepts, and returns what it then says beside serversOwn. judged is 0 for a pod that was not
// accepted, or not injected.
func staysValid(t testing.TB, server *Oracle, config *inject.Config, r inject.Request) (faults []string, judged int) {
	t.Helper()
	said := func(pod *corev1.Pod) []string {
		raw, err := json.Marshal(pod)
		if err != nil {
			t.Fatal(err)
		}
		faults, err := server.Validate(raw)
		if err != nil {
			t.Fatal(err)
		}
		return faults
	}
	if len(said(r.Pod)) > 0 {
		return nil, 0
	}
	after, report, err := inject.Pod(r, config)
	if err != nil {
		t.Fatalf("Pod: %v", err)
	}
	if report.Result != inject.Injected {
		return nil, 0
	}
	return notServersOwn(said(after), r.Pod, after), 1
}

// FuzzPodStaysValid looks for a pod that is valid before injection and invalid after it.
func FuzzPodStaysValid(f *testing.F) {
	istio, server := August.Start(f), APIServer.Start(f)
	var configs []*inject.Config
	var of []installation
	for _, i := range installations {
		texts := i.configMaps(f, istio)
		for _, native := range i.natives {
			configs, of = append(configs, August.parse(f, i, texts, native)), append(of, i)
		}
	}
	for n, s := range corpus(f) {
		f.Add([]byte(s.raw(f)), "sidecar.istio.io/proxyCPU", "100m", "", "", uint16(n))
	}
	f.Fuzz(func(t *testing.T, raw []byte, key, value, secondKey, secondValue string, which uint16) {
		pod := &corev1.Pod{}
		if err := kjson.UnmarshalCaseSensitivePreserveInts(raw, pod); err != nil {
			return
		}
		for k, v := range map[string]string{key: value, secondKey: secondValue} {
			if k == "" {
				continue
			}
			if pod.Annotations == nil {
				pod.Annotations = map[string]string{}
			}
			pod.Annotations[k] = v
		}
		n := int(which) % len(configs)
		faults, _ := staysValid(t, server, configs[n], request(of[n], sample{pod: pod}))
		if len(faults) > 0 {
			t.Errorf("%s: the API server says %s", of[n], strings.Join(faults, "; "))
		}
	})
}
