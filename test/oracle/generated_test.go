// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
)

var (
	pairs = flag.Int("pairs", 500, "how many generated pods TestGeneratedPodsEqualIstios sends to each side")
	seed  = flag.Uint64("seed", 1, "what it draws them by")
)

// podsPerInstallation is how many pods meet one generated configuration.
const podsPerInstallation = 50

// Pods, values, mesh settings and facts of the cluster are drawn at random, and both sides have to make the same of them.
// What they do not is made smaller as long as it differs, and printed as a case to be kept.
func TestGeneratedPodsEqualIstios(t *testing.T) {
	tally := map[string]int{}
	for n, state := range []State{April, August} {
		t.Run(state.Folder, func(t *testing.T) {
			istio := state.Start(t)
			g := newGenerator(t, rand.New(rand.NewPCG(*seed, uint64(n))))
			failures := 0
			for done := 0; done < *pairs/2 && failures < 5; done += podsPerInstallation {
				c := g.installation(t, istio)
				for range min(podsPerInstallation, *pairs/2-done) {
					pod := g.pod()
					outcome := c.compare(t, istio, state, pod)
					tally[outcome.word]++
					if outcome.diff != "" {
						failures++
						c, pod = c.smallest(t, istio, state, pod)
						t.Errorf("seed %d: %s", *seed, c.kept(pod, c.compare(t, istio, state, pod).diff))
					}
				}
			}
		})
	}
	for _, word := range slices.Sorted(maps.Keys(tally)) {
		t.Logf("%6d %s", tally[word], word)
	}
	for _, word := range []string{"injected", "skipped", "denied"} {
		if tally[word] == 0 {
			t.Errorf("no generated pod was %s, so this shows nothing about such pods", word)
		}
	}
}

// generated is a drawn configuration.
type generated struct {
	base         installation
	texts        ConfigMaps
	values, mesh map[string]any // laid over those of the base
	native       string
}

// outcome is what came of one pod on both sides.
type outcome struct {
	word string // what both made of it, or which deliberate difference it is
	diff string // empty if they agree, or differ deliberately
}

// compare sends one pod to both sides.
func (g generated) compare(t *testing.T, istio *Oracle, state State, pod *corev1.Pod) outcome {
	t.Helper()
	s := sample{pod: pod}
	texts := g.written(t)
	verdict, err := istio.Inject(g.base.review(texts, g.native, s, s.raw(t)))
	if err != nil {
		return outcome{word: "refused by istiod's parser"}
	}
	config, err := g.parsed(t, texts, state)
	if err != nil {
		return outcome{"refused by us", fmt.Sprintf("Parse: %v", err)}
	}
	ours, report, err := inject.Pod(request(g.base, s), config)
	if err != nil {
		return outcome{"error", err.Error()}
	}
	want := resultOf(verdict)
	if word := deliberate(t, pod, verdict, report); word != "" {
		return outcome{word: word}
	}
	if report.Result != want {
		return outcome{string(want), fmt.Sprintf("result %s (%s: %s), want %s; Istio says %q", report.Result, report.Reason, report.Message, want, verdict.Message)}
	}
	istios := fields(t, decode(t, verdict.Pod))
	if mine := fields(t, ours); !reflect.DeepEqual(istios, mine) {
		return outcome{string(want), cmp.Diff(istios, mine)}
	}
	return outcome{word: string(want)}
}

// latest is what was parsed last, since many pods meet one configuration.
var latest struct {
	source inject.Source
	facts  string
	config *inject.Config
}

func (g generated) parsed(t *testing.T, texts ConfigMaps, state State) (*inject.Config, error) {
	t.Helper()
	source := inject.Source{
		Config: texts.Config, Values: texts.Values, Mesh: texts.Mesh, Release: "1.31.0", // said outright, since tags are drawn
		Settings: inject.Settings{
			Revision: g.base.settings.Revision, NativeSidecars: g.native, Platform: g.base.settings.Platform, CompliancePolicy: g.base.settings.CompliancePolicy,
		},
	}
	if state.Release != "" {
		source.Release = state.Release
	}
	if latest.config != nil && latest.source == source && latest.facts == g.base.String() {
		return latest.config, nil
	}
	config, _, err := inject.Parse(source)
	if err != nil {
		return nil, err
	}
	latest.source, latest.facts, latest.config = source, g.base.String(), config.With(facts(t, g.base.settings))
	return latest.config, nil
}

// deliberate returns which deliberate difference of Outrigger's this is; empty if it is none. Each is recognised by what
// Istio made of the pod, not by what Outrigger says.
func deliberate(t *testing.T, pod *corev1.Pod, verdict Verdict, report inject.Report) string {
	t.Helper()
	injected := resultOf(verdict) == inject.Injected
	switch {
	case report.Reason == api.InjectWindowsPod && pod.Spec.OS.Name == corev1.Windows:
		return "deliberate: a Windows pod"
	case report.Reason == api.InjectInvalidResult && injected && isInvalid(decode(t, verdict.Pod)):
		return "deliberate: the merge makes an invalid pod"
	case report.Reason == api.InjectUnsafeValue && injected && holdsHostile(decode(t, verdict.Pod)):
		return "deliberate: a value that becomes structure"
	}
	return ""
}

// isInvalid looks for the faults that a merge can make.
func isInvalid(pod *corev1.Pod) bool {
	if len(pod.Spec.Containers) == 0 {
		return true
	}
	names := map[string]bool{}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			c := &list[i]
			if names[c.Name] {
				return true
			}
			names[c.Name] = true
			for _, p := range []*corev1.Probe{c.ReadinessProbe, c.LivenessProbe, c.StartupProbe} {
				if p != nil && count(p.HTTPGet != nil, p.TCPSocket != nil, p.GRPC != nil, p.Exec != nil) > 1 {
					return true
				}
			}
			if slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return e.Value != "" && e.ValueFrom != nil }) {
				return true
			}
			paths, ports := map[string]bool{}, map[string]bool{}
			for _, m := range c.VolumeMounts {
				if paths[m.MountPath] {
					return true
				}
				paths[m.MountPath] = true
			}
			for _, p := range c.Ports {
				if p.Name != "" && ports[p.Name] {
					return true
				}
				ports[p.Name] = true
			}
		}
	}
	volumes := map[string]bool{}
	for i := range pod.Spec.Volumes {
		v := reflect.ValueOf(pod.Spec.Volumes[i].VolumeSource)
		sources := 0
		for k := range v.NumField() {
			sources += count(!v.Field(k).IsNil())
		}
		if volumes[pod.Spec.Volumes[i].Name] || sources > 1 {
			return true
		}
		volumes[pod.Spec.Volumes[i].Name] = true
	}
	return false
}

func count(conditions ...bool) int {
	n := 0
	for _, c := range conditions {
		if c {
			n++
		}
	}
	return n
}

// holdsHostile says whether a pod holds a value that was drawn to break out of what is printed.
func holdsHostile(pod *corev1.Pod) bool {
	for _, texts := range []map[string]string{pod.Labels, pod.Annotations} {
		for _, text := range texts {
			if strings.Contains(text, hostileMark) {
				return true
			}
		}
	}
	return false
}

// written returns the texts with what was drawn laid over them.
func (g generated) written(t *testing.T) ConfigMaps {
	t.Helper()
	texts := g.texts
	texts.Values, texts.Mesh = laidOver(t, texts.Values, g.values), laidOver(t, texts.Mesh, g.mesh)
	return texts
}

// laidOver lays a tree over a YAML text: maps are merged, all else is replaced.
func laidOver(t *testing.T, text string, above map[string]any) string {
	t.Helper()
	if len(above) == 0 {
		return text
	}
	tree := map[string]any{}
	if err := yaml.Unmarshal([]byte(text), &tree); err != nil {
		t.Fatal(err)
	}
	layTree(tree, above)
	out, err := yaml.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func layTree(below, above map[string]any) {
	for key, value := range above {
		sub, is := value.(map[string]any)
		had, both := below[key].(map[string]any)
		if is && both {
			layTree(had, sub)
			continue
		}
		below[key] = value
	}
}

// smallest takes parts out of a case as long as both sides still disagree about it.
func (g generated) smallest(t *testing.T, istio *Oracle, state State, pod *corev1.Pod) (generated, *corev1.Pod) {
	t.Helper()
	differs := func(g generated, tree map[string]any) bool {
		candidate, valid := podFrom(tree)
		return valid && g.compare(t, istio, state, candidate).diff != ""
	}
	tree := treeOf(t, pod)
	for _, part := range []*map[string]any{&g.values, &g.mesh} {
		*part = shrunk(*part, func(smaller map[string]any) bool {
			had := *part
			*part = smaller
			still := differs(g, tree)
			*part = had
			return still
		})
	}
	tree = shrunk(tree, func(smaller map[string]any) bool { return differs(g, smaller) })
	small, _ := podFrom(tree)
	return g, small
}

// shrunk returns a tree from which nothing can be taken without losing what holds for it.
func shrunk(tree map[string]any, holds func(map[string]any) bool) map[string]any {
	for {
		smaller := firstThat(without(tree), holds)
		if smaller == nil {
			return tree
		}
		tree = smaller
	}
}

func firstThat(candidates []any, holds func(map[string]any) bool) map[string]any {
	for _, candidate := range candidates {
		if tree := candidate.(map[string]any); holds(tree) {
			return tree
		}
	}
	return nil
}

// without returns every tree that lacks one member or element of a tree, the largest parts first.
func without(tree any) []any {
	var out []any
	switch tree := tree.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(tree)) {
			smaller := maps.Clone(tree)
			delete(smaller, key)
			out = append(out, smaller)
		}
		for _, key := range slices.Sorted(maps.Keys(tree)) {
			for _, part := range without(tree[key]) {
				smaller := maps.Clone(tree)
				smaller[key] = part
				out = append(out, smaller)
			}
		}
	case []any:
		for i := range tree {
			out = append(out, slices.Delete(slices.Clone(tree), i, i+1))
		}
		for i := range tree {
			for _, part := range without(tree[i]) {
				smaller := slices.Clone(tree)
				smaller[i] = part
				out = append(out, smaller)
			}
		}
	}
	return out
}

func treeOf(t *testing.T, value any) map[string]any {
	t.Helper()
	raw, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	tree := map[string]any{}
	if err := json.Unmarshal(raw, &tree); err != nil {
		t.Fatal(err)
	}
	return tree
}

// podFrom reads a pod that still has what every pod has.
func podFrom(tree map[string]any) (*corev1.Pod, bool) {
	raw, err := json.Marshal(tree)
	if err != nil {
		return nil, false
	}
	pod := &corev1.Pod{}
	if err := json.Unmarshal(raw, pod); err != nil {
		return nil, false
	}
	for _, c := range slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers) {
		if c.Name == "" {
			return nil, false
		}
	}
	return pod, len(pod.Spec.Containers) > 0 && pod.Namespace != ""
}

// kept prints a case so that it can be put into testdata.
func (g generated) kept(pod *corev1.Pod, diff string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "the pod is not Istio's (-Istio +ours):\n%s\n# native sidecars %s, installation %s\n", diff, g.native, g.base)
	for _, part := range []struct {
		name string
		tree any
	}{{"values", g.values}, {"mesh", g.mesh}, {"pod, for inject/testdata/pods", pod}} {
		text, err := yaml.Marshal(part.tree)
		if err != nil {
			text = []byte(err.Error())
		}
		fmt.Fprintf(&b, "# %s\n%s", part.name, text)
	}
	return b.String()
}

// generator draws configurations and pods.
type generator struct {
	random        *rand.Rand
	corpus        []sample // whose parts are mixed
	installations []installation
}

func newGenerator(t *testing.T, random *rand.Rand) *generator {
	t.Helper()
	g := &generator{random: random}
	for _, s := range corpus(t) {
		_, injected := s.pod.Annotations["sidecar.istio.io/status"] // Outrigger keeps what istiod would lose (decision 3)
		if !injected && !strings.HasPrefix(s.name, "hostile.yaml/") {
			g.corpus = append(g.corpus, s)
		}
	}
	for _, i := range installations {
		if i.name != asTheDemo {
			g.installations = append(g.installations, i)
		}
	}
	return g
}

func pick[T any](g *generator, list []T) T { return list[g.random.IntN(len(list))] }

// often is true in one of n cases.
func (g *generator) often(n int) bool { return g.random.IntN(n) == 0 }

// installation draws a configuration.
func (g *generator) installation(t *testing.T, istio *Oracle) generated {
	t.Helper()
	base := pick(g, g.installations)
	out := generated{base: base, texts: base.configMaps(t, istio), native: pick(g, base.natives), values: map[string]any{}, mesh: map[string]any{}}
	for range g.random.IntN(5) {
		layTree(out.values, pick(g, someValues)())
	}
	if global, is := out.values["global"].(map[string]any); is && (base.settings.Platform != "" || base.settings.Nodes != nil) {
		delete(global, "multiCluster") // the oracle knows its one cluster by the default name
	}
	for range g.random.IntN(5) {
		layTree(out.mesh, pick(g, someMesh)())
	}
	return out
}

// nested returns a tree with one value at a path.
func nested(path string, value any) func() map[string]any {
	return func() map[string]any {
		keys := strings.Split(path, "/")
		tree := map[string]any{keys[len(keys)-1]: value}
		for _, key := range slices.Backward(keys[:len(keys)-1]) {
			tree = map[string]any{key: tree}
		}
		return tree
	}
}

var someValues = []func() map[string]any{
	nested("global/hub", "registry.example/other"),
	nested("global/tag", "1.31.2-distroless"),
	nested("global/tag", "1.30.4-debug"),
	nested("global/variant", "distroless"),
	nested("global/variant", "debug"),
	nested("global/logAsJson", true),
	nested("global/imagePullPolicy", "Always"),
	nested("global/imagePullSecrets", []any{"one", "two"}),
	nested("global/network", "net-drawn"),
	nested("global/meshID", "mesh-drawn"),
	nested("global/multiCluster/clusterName", "cluster-drawn"),
	nested("global/caAddress", "ca.example:15012"),
	nested("global/pilotCertProvider", "kubernetes"),
	nested("global/sts/servicePort", 8463),
	nested("global/proxy/image", "registry.example/own/proxy:9"),
	nested("global/proxy/image", "proxy"),
	nested("global/proxy/logLevel", "debug"),
	nested("global/proxy/componentLogLevel", "misc:info"),
	nested("global/proxy/privileged", true),
	nested("global/proxy/enableCoreDump", true),
	nested("global/proxy/holdApplicationUntilProxyStarts", true),
	nested("global/proxy/readinessPeriodSeconds", 3),
	nested("global/proxy/readinessFailureThreshold", 9),
	nested("global/proxy/readinessInitialDelaySeconds", 7),
	nested("global/proxy/startupProbe/enabled", false),
	nested("global/proxy/startupProbe/failureThreshold", 33),
	nested("global/proxy/statusPort", 15022),
	nested("global/proxy/statusPort", 0),
	nested("global/proxy/includeIPRanges", "10.0.0.0/8"),
	nested("global/proxy/excludeIPRanges", "10.1.0.0/16"),
	nested("global/proxy/includeInboundPorts", "80,81"),
	nested("global/proxy/excludeInboundPorts", "82"),
	nested("global/proxy/includeOutboundPorts", "5000"),
	nested("global/proxy/excludeOutboundPorts", "5001,5002"),
	nested("global/proxy/clusterDomain", "cluster.example"),
	nested("global/proxy/resources", map[string]any{"requests": map[string]any{"cpu": "1", "memory": "1Gi"}}),
	nested("global/proxy/resources", map[string]any{"requests": map[string]any{"cpu": "5m"}, "limits": map[string]any{"memory": nil}}),
	nested("global/proxy/lifecycle", map[string]any{"preStop": map[string]any{"exec": map[string]any{"command": []any{"sleep", "5"}}}}),
	nested("global/proxy/seccompProfile", map[string]any{"type": "RuntimeDefault"}),
	nested("global/proxy_init/image", "own-init"),
	nested("sidecarInjectorWebhook/rewriteAppHTTPProbe", false),
	nested("pilot/cni/enabled", true),
	nested("global/nativeNftables", true),
}

var someMesh = []func() map[string]any{
	nested("enablePrometheusMerge", false),
	nested("inboundTrafficPolicy/mode", "LOCALHOST"),
	nested("outboundTrafficPolicy/mode", "REGISTRY_ONLY"),
	nested("trustDomain", "drawn.example"),
	nested("defaultConfig/concurrency", 0),
	nested("defaultConfig/concurrency", 7),
	nested("defaultConfig/statusPort", 15024),
	nested("defaultConfig/holdApplicationUntilProxyStarts", true),
	nested("defaultConfig/proxyMetadata", map[string]any{"DRAWN": "value", "ISTIO_META_DNS_CAPTURE": "true"}),
	nested("defaultConfig/proxyMetadata", map[string]any{"ISTIO_META_ENABLE_HBONE": "true", "EMPTY": ""}),
	nested("defaultConfig/image/imageType", "distroless"),
	nested("defaultConfig/image", map[string]any{}),
	nested("defaultConfig/drainDuration", "50s"),
	nested("defaultConfig/terminationDrainDuration", "9s"),
	nested("defaultConfig/discoveryAddress", "istiod.example:15012"),
	nested("defaultConfig/interceptionMode", "TPROXY"),
	nested("defaultConfig/tracing/zipkin/address", "zipkin.example:9411"),
	nested("defaultConfig/tracing/sampling", 12.5),
	nested("defaultConfig/tracing/customTags", map[string]any{"t": map[string]any{"literal": map[string]any{"value": "<&>"}}}),
	nested("defaultConfig/proxyStatsMatcher/inclusionRegexps", []any{".*drawn.*"}),
	nested("defaultConfig/proxyHeaders/requestId/disabled", true),
	nested("defaultConfig/proxyAdminPort", 15001),
	nested("defaultConfig/statNameLength", 200),
	nested("defaultConfig/extraStatTags", []any{"one", "two"}),
	nested("defaultConfig/runtimeValues", map[string]any{"re2.max_program_size.error_level": "1024"}),
	nested("defaultConfig/gatewayTopology/numTrustedProxies", 2),
	nested("defaultConfig/caCertificatesPem", []any{"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"}),
	nested("defaultConfig/readinessProbe", map[string]any{"periodSeconds": 5, "httpGet": map[string]any{"path": "/", "port": 80}}),
	nested("extensionProviders", []any{map[string]any{"name": "otel", "opentelemetry": map[string]any{
		"service": "otel.example", "port": 4317, "serviceAttributeEnrichment": "OTEL_SEMANTIC_CONVENTIONS",
	}}}),
}

// pod draws a pod by mixing parts of those of the corpus, and parts that are drawn anew.
func (g *generator) pod() *corev1.Pod {
	pod := pick(g, g.corpus).pod.DeepCopy()
	for range g.random.IntN(4) {
		other := pick(g, g.corpus).pod.DeepCopy()
		pick(g, mixtures)(g, pod, other)
	}
	for range g.random.IntN(5) {
		key := pick(g, slices.Sorted(maps.Keys(someAnnotations)))
		if pod.Annotations == nil {
			pod.Annotations = map[string]string{}
		}
		pod.Annotations[key] = pick(g, someAnnotations[key])
	}
	for range g.random.IntN(3) {
		key := pick(g, slices.Sorted(maps.Keys(someLabels)))
		if pod.Labels == nil {
			pod.Labels = map[string]string{}
		}
		pod.Labels[key] = pick(g, someLabels[key])
	}
	pod.Spec.InitContainers = slices.DeleteFunc(slices.Clone(pod.Spec.InitContainers), func(c corev1.Container) bool {
		return slices.ContainsFunc(pod.Spec.Containers, func(other corev1.Container) bool { return other.Name == c.Name })
	}) // the API server refuses a name that is in both lists, whoever injects
	spelled := map[string]bool{}
	for _, key := range slices.Sorted(maps.Keys(pod.Annotations)) {
		name := strings.NewReplacer(".", "_", "/", "_", "-", "_").Replace(key)
		if strings.HasPrefix(name, "prometheus_") && spelled[name] {
			delete(pod.Annotations, key) // of two spellings istiod takes now this one, now that
		}
		spelled[name] = true
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if c := &list[i]; c.Name == "istio-proxy" && c.SecurityContext != nil {
				// On OpenShift istiod takes the group away before it compares with the pod as received, so that its patch by
				// position leaves the group on whichever container comes to stand there.
				c.SecurityContext.RunAsGroup = nil
			}
		}
	}
	return pod
}

// mixtures take something of another pod.
var mixtures = []func(g *generator, pod, other *corev1.Pod){
	func(g *generator, pod, other *corev1.Pod) {
		pod.Annotations = mixed(g, pod.Annotations, other.Annotations)
	},
	func(g *generator, pod, other *corev1.Pod) { pod.Labels = mixed(g, pod.Labels, other.Labels) },
	func(_ *generator, pod, other *corev1.Pod) {
		pod.GenerateName, pod.Name, pod.OwnerReferences = other.GenerateName, other.Name, other.OwnerReferences
	},
	func(_ *generator, pod, other *corev1.Pod) {
		pod.Spec.Containers = united(pod.Spec.Containers, other.Spec.Containers)
	},
	func(_ *generator, pod, other *corev1.Pod) {
		pod.Spec.InitContainers = united(pod.Spec.InitContainers, other.Spec.InitContainers)
	},
	func(g *generator, pod, other *corev1.Pod) {
		to, from := &pod.Spec.Containers[g.random.IntN(len(pod.Spec.Containers))], &other.Spec.Containers[g.random.IntN(len(other.Spec.Containers))]
		to.ReadinessProbe, to.LivenessProbe, to.StartupProbe, to.Lifecycle = from.ReadinessProbe, from.LivenessProbe, from.StartupProbe, from.Lifecycle
	},
	func(g *generator, pod, other *corev1.Pod) {
		to, from := &pod.Spec.Containers[g.random.IntN(len(pod.Spec.Containers))], &other.Spec.Containers[g.random.IntN(len(other.Spec.Containers))]
		to.Ports, to.Env, to.SecurityContext, to.Resources = from.Ports, from.Env, from.SecurityContext, from.Resources
	},
	func(_ *generator, pod, other *corev1.Pod) {
		pod.Spec.SecurityContext, pod.Spec.ServiceAccountName, pod.Spec.ImagePullSecrets = other.Spec.SecurityContext, other.Spec.ServiceAccountName, other.Spec.ImagePullSecrets
	},
	func(_ *generator, pod, other *corev1.Pod) {
		pod.Spec.HostNetwork, pod.Spec.NodeName, pod.Spec.OS, pod.Spec.DNSConfig = other.Spec.HostNetwork, other.Spec.NodeName, other.Spec.OS, other.Spec.DNSConfig
	},
	func(_ *generator, pod, other *corev1.Pod) {
		names := map[string]bool{}
		for _, v := range pod.Spec.Volumes {
			names[v.Name] = true
		}
		for _, v := range other.Spec.Volumes {
			if !names[v.Name] {
				pod.Spec.Volumes = append(pod.Spec.Volumes, v)
			}
		}
	},
	func(_ *generator, pod, other *corev1.Pod) { pod.Namespace = other.Namespace },
}

func mixed(g *generator, texts, others map[string]string) map[string]string {
	out := map[string]string{}
	maps.Copy(out, texts)
	for _, key := range slices.Sorted(maps.Keys(others)) {
		if g.often(2) {
			out[key] = others[key]
		}
	}
	return out
}

// united appends the containers whose names are not there yet.
func united(list, others []corev1.Container) []corev1.Container {
	for _, other := range others {
		if !slices.ContainsFunc(list, func(c corev1.Container) bool { return c.Name == other.Name }) {
			list = append(list, other)
		}
	}
	return list
}

// hostileMark is in every value that was drawn to break out of what a template prints.
const hostileMark = "EVIL"

var someLabels = map[string][]string{
	"sidecar.istio.io/inject":             {"true", "false", "", "True"},
	"istio.io/rev":                        {"default", "canary"},
	"app":                                 {"drawn", "a", strings.Repeat("long", 15) + "x"},
	"app.kubernetes.io/name":              {"of-kubernetes"},
	"app.kubernetes.io/version":           {"v7"},
	"version":                             {"v1", "1", "true"},
	"tier":                                {"tuned"},
	"service.istio.io/canonical-name":     {"canonical"},
	"service.istio.io/canonical-revision": {"latest"},
	"service.istio.io/workload-name":      {"of-label"},
	"topology.istio.io/network":           {"net-of-label", ""},
	"security.istio.io/tlsMode":           {"disabled"},
	"networking.istio.io/tunnel":          {"http"},
	"statefulset.kubernetes.io/pod-name":  {"x-0"},
	"batch.kubernetes.io/job-name":        {"job"},
	"rollouts-pod-template-hash":          {"abc"},
	"deploymentconfig":                    {"config"},
}

var someAnnotations = map[string][]string{
	"sidecar.istio.io/inject":                               {"true", "false", "yes"},
	"inject.istio.io/templates":                             {"sidecar", "gateway", "grpc-agent", "sidecar, ", "none-such", "sidecar,sidecar"},
	"proxy.istio.io/config":                                 {"concurrency: 3", "holdApplicationUntilProxyStarts: true", "proxyMetadata: {A: b, C: \"\"}", "{image: {imageType: debug}}", "statusPort: 15030", "tracing: {}", "nonsense", "concurrency: x", "drainDuration: 1ms", "proxyMetadata: {A: 'x\"EVIL'}", ""},
	"sidecar.istio.io/nativeSidecar":                        {"true", "false", "maybe"},
	"sidecar.istio.io/proxyImage":                           {"registry.example/p:1", "auto"},
	"sidecar.istio.io/proxyImageType":                       {"debug", "distroless", "default", "", "own"},
	"sidecar.istio.io/proxyCPU":                             {"10m", "x"},
	"sidecar.istio.io/proxyMemory":                          {"64Mi", ""},
	"sidecar.istio.io/proxyCPULimit":                        {"1"},
	"sidecar.istio.io/proxyMemoryLimit":                     {"1Gi"},
	"sidecar.istio.io/interceptionMode":                     {"REDIRECT", "TPROXY", "NONE", "none"},
	"sidecar.istio.io/logLevel":                             {"debug", "misc:info,rbac:debug", "x\" EVIL: \"y"},
	"sidecar.istio.io/componentLogLevel":                    {"misc:error"},
	"sidecar.istio.io/agentLogLevel":                        {"default:debug"},
	"sidecar.istio.io/bootstrapOverride":                    {"own-bootstrap"},
	"sidecar.istio.io/userVolume":                           {`{"v":{"emptyDir":{}}}`, `{"v":`, `[{"name":"v","emptyDir":{}}]`},
	"sidecar.istio.io/userVolumeMount":                      {`{"v":{"mountPath":"/v"}}`, `{}`},
	"sidecar.istio.io/capNetBindService":                    {"true", "false"},
	"sidecar.istio.io/rewriteAppHTTPProbers":                {"true", "false", "perhaps"},
	"status.sidecar.istio.io/port":                          {"0", "15022", "-1", "http"},
	"readiness.status.sidecar.istio.io/initialDelaySeconds": {"3", "x"},
	"readiness.status.sidecar.istio.io/periodSeconds":       {"4"},
	"readiness.status.sidecar.istio.io/failureThreshold":    {"5"},
	"readiness.status.sidecar.istio.io/applicationPorts":    {"80,81", ""},
	"traffic.sidecar.istio.io/includeOutboundIPRanges":      {"*", "10.0.0.0/8", "10.0.0.0", ""},
	"traffic.sidecar.istio.io/excludeOutboundIPRanges":      {"10.0.0.0/8,fd00::/8"},
	"traffic.sidecar.istio.io/includeInboundPorts":          {"*", "80", "", "80,x"},
	"traffic.sidecar.istio.io/excludeInboundPorts":          {"81", " 82 "},
	"traffic.sidecar.istio.io/includeOutboundPorts":         {"83"},
	"traffic.sidecar.istio.io/excludeOutboundPorts":         {"84,85"},
	"traffic.sidecar.istio.io/excludeInterfaces":            {"eth1", "eth1, net0"},
	"traffic.sidecar.istio.io/kubevirtInterfaces":           {"vnet0"},
	"istio.io/reroute-virtual-interfaces":                   {"tap0"},
	"k8s.v1.cni.cncf.io/networks":                           {"other", `[{"name":"other"}]`, "default/istio-cni"},
	"prometheus.io/scrape":                                  {"true", "false", "no"},
	"prometheus.io/port":                                    {"9090", "15020", "web", "15090"},
	"prometheus.io/path":                                    {"/m"},
	"prometheus-io/scrape":                                  {"true"},
	"prometheus.istio.io/scrape-targets":                    {"9090:/a,9091", ":/x", "9090", "15020:/m"},
	"prometheus.istio.io/merge-metrics":                     {"true", "false", "x"},
	"prometheus.istio.io/secure-port":                       {"15091"},
	"kubectl.kubernetes.io/default-container":               {"app"},
	"kubectl.kubernetes.io/default-logs-container":          {"app"},
	"apm.datadoghq.com/env":                                 {`{"DD_ENV":"prod"}`, `{`},
	"resource.opentelemetry.io/service.version":             {"of-annotation"},
	"resource.opentelemetry.io/service.namespace":           {"of-annotation"},
	"istio.io/rev":                                          {"written"},
	"example.com/free":                                      {"a \"quoted\" text", "line\nfeed", "back\\slash", "{{ not a template }}", "ä"},
}
