// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// everywhere are values that have the chart make every object that it can.
const everywhere = `{networkPolicy: {enabled: true}, serviceMonitor: {enabled: true}, prometheusRule: {enabled: true}, grafanaDashboard: {enabled: true},
  certManager: {enabled: true}, priorityClassName: system-cluster-critical, rbac: {createLease: true}, tests: {namespace: demo},
  extraObjects: [{apiVersion: v1, kind: ConfigMap, metadata: {name: extra}}]}`

func TestDisabledRendersNothing(t *testing.T) {
	values := parse(t, everywhere)
	if all := documents(render(t, values).Objects); len(all) < 30 {
		t.Fatalf("enabled, it renders only %d objects", len(all))
	}
	values["enabled"] = false
	if rendered := render(t, values); rendered.Objects != "" || rendered.Hooks != "" || strings.TrimSpace(rendered.Notes) != "" {
		t.Errorf("disabled, it renders %+v", rendered)
	}
}

func TestObjectsAreInTheChosenNamespace(t *testing.T) {
	values := parse(t, everywhere)
	values["namespaceOverride"] = "mesh"
	rendered := render(t, values)
	for _, document := range documents(rendered.Objects + rendered.Hooks) {
		if strings.Contains(document, Namespace) {
			t.Errorf("the release's namespace %s is in\n%s", Namespace, document)
		}
	}
}

func TestImages(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0a", 32)
	for values, want := range map[string]string{
		`{}`:                             "outrigger.dev/outrigger:0.1.0-dev",
		`{image: {registry: a.example}}`: "a.example/outrigger:0.1.0-dev",
		`{image: {registry: 'a.example:5000/mirror/'}}`:                                                                "a.example:5000/mirror/outrigger:0.1.0-dev",
		`{global: {imageRegistry: b.example}, image: {registry: a.example, repository: team/outrigger, tag: x}}`:       "b.example/team/outrigger:x",
		`{global: {imageRegistry: b.example}, image: {repository: 'localhost/a/b'}}`:                                   "b.example/a/b:0.1.0-dev",
		`{global: {imageRegistry: b.example}, image: {repository: outrigger}}`:                                         "b.example/outrigger:0.1.0-dev",
		`{global: {imageRegistry: b.example}, image: {repository: 'c.example/d/outrigger', digest: '` + digest + `'}}`: "b.example/d/outrigger@" + digest,
		`{image: {repository: 'c.example:443/d/outrigger'}, global: {otherCharts: read this, imagePullSecrets: []}}`:   "c.example:443/d/outrigger:0.1.0-dev",
	} {
		rendered := render(t, parse(t, values))
		deployment := find[appsv1.Deployment](t, rendered.Objects, "Deployment", "")
		check := find[batchv1.Job](t, rendered.Hooks, "Job", "-check")
		if got := deployment.Spec.Template.Spec.Containers[0].Image; got != want || check.Spec.Template.Spec.Containers[0].Image != want {
			t.Errorf("%s: image %s, of the hook %s; want %s", values, got, check.Spec.Template.Spec.Containers[0].Image, want)
		}
	}
}

// A pod has every secret once, whether it is named for this chart or for all.
func TestPullSecrets(t *testing.T) {
	rendered := render(t, parse(t, `{global: {imagePullSecrets: [a, {name: b}]}, imagePullSecrets: [b, {name: c}]}`))
	for _, spec := range podSpecs(t, rendered) {
		var names []string
		for _, secret := range spec.ImagePullSecrets {
			names = append(names, secret.Name)
		}
		if !slices.Equal(names, []string{"a", "b", "c"}) {
			t.Errorf("pull secrets %q", names)
		}
	}
}

// podSpecs are those of all pods that the chart makes: the Deployment's, and the hooks'.
func podSpecs(t *testing.T, rendered Rendered) []corev1.PodSpec {
	t.Helper()
	return []corev1.PodSpec{
		find[appsv1.Deployment](t, rendered.Objects, "Deployment", "").Spec.Template.Spec,
		find[batchv1.Job](t, rendered.Hooks, "Job", "-check").Spec.Template.Spec,
		find[batchv1.Job](t, rendered.Hooks, "Job", "-pre-delete").Spec.Template.Spec,
		find[corev1.Pod](t, rendered.Hooks, "Pod", "-test").Spec,
	}
}

// The API server fills in this default, and who compares an applied object with the chart would see a difference.
func TestFieldReferencesNameTheirVersion(t *testing.T) {
	for _, spec := range podSpecs(t, render(t, nil)) {
		references := 0
		for _, variable := range spec.Containers[0].Env {
			if variable.ValueFrom == nil || variable.ValueFrom.FieldRef == nil {
				continue
			}
			references++
			if variable.ValueFrom.FieldRef.APIVersion != "v1" {
				t.Errorf("the reference of %s has no apiVersion", variable.Name)
			}
		}
		if references == 0 {
			t.Error("no variable refers to a field")
		}
	}
}

// What decides which pods a Service selects, or whether an object is a hook, is not for common labels and annotations.
func TestReservedKeysAreRefused(t *testing.T) {
	for values, named := range map[string]string{
		`{commonLabels: {app.kubernetes.io/name: a}}`:               "commonLabels: the chart sets the label app.kubernetes.io/name itself",
		`{commonLabels: {app.kubernetes.io/managed-by: outrigger}}`: "commonLabels: the chart sets the label app.kubernetes.io/managed-by itself",
		`{commonLabels: {sidecar.istio.io/inject: "true"}}`:         "commonLabels: the chart sets the label sidecar.istio.io/inject itself",
		`{commonAnnotations: {helm.sh/hook: test}}`:                 "commonAnnotations: helm.sh/hook would make a hook of every object",
		`{global: {imageRegistry: [a]}}`:                            "imageRegistry",
		`{global: {imagePullSecrets: a}}`:                           "imagePullSecrets",
		`{startupProbe: {httpGet: {path: /}}}`:                      "httpGet",
		`{dnsPolicy: clusterFirst}`:                                 "dnsPolicy",
		`{webhook: {name: [a]}}`:                                    "name",
		`{image: {digest: "md5:abc"}}`:                              "digest",
		`{image: {digest: "sha256:abc"}}`:                           "digest",
		`{image: {tag: "a b"}}`:                                     "tag",
		`{image: {registry: "https://registry.example"}}`:           "registry",
		`{global: {imageRegistry: "registry example"}}`:             "imageRegistry",
		`{image: {repository: registry.example/Upper}}`:             "repository",
		`{namespaceOverride: Bad_Name}`:                             "namespaceOverride",
		`{routing: {gatewayPorts: [abc]}}`:                          "gatewayPorts",
	} {
		if _, err := own(t).Render(parse(t, values)); err == nil || !strings.Contains(err.Error(), named) {
			t.Errorf("%s: %v; want it refused, naming %q", values, err, named)
		}
	}
}

// On the host's network the default port is the kubelet's, two replicas do not fit on one node, and names of the cluster are
// resolved all the same.
func TestHostNetwork(t *testing.T) {
	objects := render(t, parse(t, `{hostNetwork: true}`)).Objects
	deployment := find[appsv1.Deployment](t, objects, "Deployment", "")
	spec := deployment.Spec.Template.Spec
	if !spec.HostNetwork || spec.DNSPolicy != corev1.DNSClusterFirstWithHostNet || spec.Containers[0].Ports[0].ContainerPort != 10260 {
		t.Errorf("hostNetwork %t, DNS policy %s, port %d", spec.HostNetwork, spec.DNSPolicy, spec.Containers[0].Ports[0].ContainerPort)
	}
	if rolling := deployment.Spec.Strategy.RollingUpdate; *rolling.MaxUnavailable != intstr.FromInt32(1) || *rolling.MaxSurge != intstr.FromInt32(0) {
		t.Errorf("a new replica needs the node of an old one, and the strategy is %v", rolling)
	}
	if config := find[corev1.ConfigMap](t, objects, "ConfigMap", "-config").Data["config.yaml"]; !strings.Contains(config, "port: 10260\n") {
		t.Errorf("the process listens elsewhere:\n%s", config)
	}
	spec = find[appsv1.Deployment](t, render(t, parse(t, `{hostNetwork: true, dnsPolicy: Default, webhook: {port: 9443}}`)).Objects, "Deployment", "").Spec.Template.Spec
	if spec.DNSPolicy != corev1.DNSDefault || spec.Containers[0].Ports[0].ContainerPort != 9443 {
		t.Errorf("DNS policy %s, port %d; want what the values say", spec.DNSPolicy, spec.Containers[0].Ports[0].ContainerPort)
	}
}

func TestMinAvailableReplacesMaxUnavailable(t *testing.T) {
	for values, want := range map[string]intstr.IntOrString{
		`{podDisruptionBudget: {minAvailable: 0}}`:     intstr.FromInt32(0),
		`{podDisruptionBudget: {minAvailable: "50%"}}`: intstr.FromString("50%"),
	} {
		budget := find[policyv1.PodDisruptionBudget](t, render(t, parse(t, values)).Objects, "PodDisruptionBudget", "")
		if budget.Spec.MaxUnavailable != nil || budget.Spec.MinAvailable == nil || *budget.Spec.MinAvailable != want {
			t.Errorf("%s: the budget is %v", values, budget.Spec)
		}
	}
}

// The check says what is wrong before its Job ends, and Helm says so within two minutes by default.
func TestTheDeadlineOfTheCheckFollowsItsTimeout(t *testing.T) {
	for timeout, want := range map[string]int64{"": 120, "4m": 285, "1m30s": 135, "1h": 3645, "1.5m": 135, "500ms": 46, "2m0.5s": 166} {
		values := Values{}
		if timeout != "" {
			set(values, "postInstallCheck.timeout", timeout)
			set(values, "preDelete.timeout", timeout)
		}
		hooks := render(t, values).Hooks
		if got := *find[batchv1.Job](t, hooks, "Job", "-check").Spec.ActiveDeadlineSeconds; got != want {
			t.Errorf("with the timeout %q the check's Job has %d seconds, want %d", timeout, got, want)
		}
		if got := *find[batchv1.Job](t, hooks, "Job", "-pre-delete").Spec.ActiveDeadlineSeconds; timeout != "" && got != want {
			t.Errorf("with the timeout %q the removal's Job has %d seconds, want %d", timeout, got, want)
		}
	}
}

// "helm test" needs no permission beyond the release's own, unless it is to have the API server create a pod in a namespace.
func TestHelmTestStaysInItsNamespace(t *testing.T) {
	tests := func(values Values) (kinds []string, pod *corev1.Pod) {
		for _, document := range documents(render(t, values).Hooks) {
			if regexp.MustCompile(`helm.sh/hook: test`).MatchString(document) {
				kinds = append(kinds, strings.Split(nameOf(t, document), "/")[0])
			}
		}
		return kinds, find[corev1.Pod](t, render(t, values).Hooks, "Pod", "-test")
	}
	kinds, pod := tests(nil)
	if !slices.Equal(kinds, []string{"Pod"}) || pod.Spec.ServiceAccountName != "outrigger" || !slices.Contains(pod.Spec.Containers[0].Args, "--create=false") {
		t.Errorf("by default helm test makes %q, as account %s, with %q", kinds, pod.Spec.ServiceAccountName, pod.Spec.Containers[0].Args)
	}
	if _, has := pod.Annotations["helm.sh/hook-output-log-policy"]; has {
		t.Error("helm test --logs prints the report of a failure twice")
	}
	values := Values{"tests": Values{"namespace": "demo"}}
	kinds, pod = tests(values) // Helm prints the log once for each hook
	if !slices.Equal(kinds, []string{"Pod"}) || pod.Spec.ServiceAccountName != "outrigger-pod-test" || !slices.Contains(pod.Spec.Containers[0].Args, "--namespace=demo") {
		t.Errorf("with a namespace helm test makes %q, as account %s, with %q", kinds, pod.Spec.ServiceAccountName, pod.Spec.Containers[0].Args)
	}
	if role := find[rbacv1.Role](t, render(t, values).Objects, "Role", "-test"); role.Namespace != "demo" {
		t.Errorf("the Role is in namespace %s", role.Namespace)
	}
}

// Outrigger warns about every key under outrigger.dev/ that it does not know, so the chart writes none on what it checks.
func TestTheChartCausesNoWarning(t *testing.T) {
	rendered := render(t, parse(t, everywhere))
	for _, document := range documents(rendered.Objects + rendered.Hooks) {
		kind := strings.Split(nameOf(t, document), "/")[0]
		if key := regexp.MustCompile(`(?m)^ +outrigger\.dev/[a-z-]+:`).FindString(document); key != "" && slices.Contains([]string{"Deployment", "Job", "Pod", "Service"}, kind) {
			t.Errorf("a %s has the key %s", kind, strings.TrimSpace(key))
		}
	}
}

// Where the API server calls again for pods that a later webhook changed, the condition that excludes injected pods would
// exclude every such call.
func TestReinvocationNeedsInjectedPods(t *testing.T) {
	mutating := func(values string) *admissionregistrationv1.MutatingWebhookConfiguration {
		return find[admissionregistrationv1.MutatingWebhookConfiguration](t, render(t, parse(t, values)).Objects, "MutatingWebhookConfiguration", "")
	}
	for values, want := range map[string][]string{
		`{}`: {"not-host-network", "not-mirror", "not-opted-out", "not-injected"},
		`{webhook: {reinvocationPolicy: IfNeeded}}`: {"not-host-network", "not-mirror", "not-opted-out"},
		`{webhook: {reinvocationPolicy: IfNeeded, matchConditions: [{name: mine, expression: "true"}, {name: not-injected, expression: "true"}]}}`: {"mine"},
	} {
		for _, entry := range mutating(values).Webhooks {
			var names []string
			for _, condition := range entry.MatchConditions {
				names = append(names, condition.Name)
			}
			if !slices.Equal(names, want) {
				t.Errorf("%s: entry %s has the conditions %q, want %q", values, entry.Name, names, want)
			}
		}
	}
}

// The name decides the order of webhooks. Everything that refers to the object follows it.
func TestTheWebhookCanHaveAnotherName(t *testing.T) {
	rendered := render(t, parse(t, `{revision: canary, webhook: {name: zz-sidecars, mutatingWebhookConfigurationAnnotations: {a: b}}}`))
	object := find[admissionregistrationv1.MutatingWebhookConfiguration](t, rendered.Objects, "MutatingWebhookConfiguration", "")
	if object.Name != "zz-sidecars" || object.Annotations["a"] != "b" || object.Labels["outrigger.dev/revision"] != "canary" {
		t.Errorf("the object is called %s, and has the annotations %v and labels %v", object.Name, object.Annotations, object.Labels)
	}
	if strings.Contains(rendered.Objects+rendered.Hooks, "outrigger-sidecar-injector") {
		t.Error("the former name is still used")
	}
	if config := find[corev1.ConfigMap](t, rendered.Objects, "ConfigMap", "-config").Data["config.yaml"]; !strings.Contains(config, "name: zz-sidecars\n") {
		t.Errorf("the process does not learn the name:\n%s", config)
	}
}

// A Helm that was not built as a release takes every cluster for v1.20.0 as long as it renders without one.
func TestKubernetesIsNewEnough(t *testing.T) {
	for _, version := range []string{"v1.20.0", "v1.30.0", "v1.30.0-gke.100", "v1.37.2+k3s1"} {
		if _, err := own(t).RenderOn(version, nil); err != nil {
			t.Errorf("%s: %v", version, err)
		}
	}
	for _, version := range []string{"v1.29.9", "v1.21.0"} {
		if _, err := own(t).RenderOn(version, nil); err == nil || !strings.Contains(err.Error(), "--kube-version 1.30") {
			t.Errorf("%s: %v; want it refused, with the flag that names another version", version, err)
		}
	}
}

// Every block of values on the page about clouds is one that the chart takes, and changes what it renders.
func TestCloudValues(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root(t), "docs", "howto", "clouds.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	defaults, tried := render(t, nil), 0
	for _, block := range blocks {
		if strings.HasPrefix(block[1], "# Application") {
			continue
		}
		tried++
		if render(t, parse(t, block[1])) == defaults {
			t.Errorf("these values change nothing:\n%s", block[1])
		}
	}
	if tried < 7 {
		t.Errorf("only %d blocks of values", tried)
	}
	openshift := render(t, parse(t, "podSecurityContext: {runAsUser: null, runAsGroup: null}"))
	for _, spec := range podSpecs(t, openshift) {
		if spec.SecurityContext.RunAsUser != nil || spec.SecurityContext.RunAsGroup != nil || !*spec.SecurityContext.RunAsNonRoot {
			t.Errorf("on OpenShift a pod asks for %+v", spec.SecurityContext)
		}
	}
}

// In an umbrella chart, the condition of the dependency turns Outrigger off, and the globals of the umbrella apply to it.
func TestInAnUmbrellaChart(t *testing.T) {
	for values, want := range map[string]string{
		`{outrigger: {enabled: false}}`: "",
		`{global: {imageRegistry: mirror.example, other: thing}, outrigger: {replicaCount: 3}}`: "mirror.example/outrigger:0.1.0-dev",
		`{outrigger: {image: {registry: own.example}}}`:                                         "own.example/outrigger:0.1.0-dev",
	} {
		loaded, err := loader.LoadDir(Folder(root(t)))
		if err != nil {
			t.Fatal(err)
		}
		umbrella := &chart.Chart{Metadata: &chart.Metadata{
			APIVersion: chart.APIVersionV2, Name: "platform", Version: "1.0.0",
			Dependencies: []*chart.Dependency{{Name: "outrigger", Version: loaded.Metadata.Version, Condition: "outrigger.enabled"}},
		}}
		umbrella.AddDependency(loaded)
		if err := chartutil.ProcessDependencies(umbrella, parse(t, values)); err != nil {
			t.Fatal(err)
		}
		rendered, err := (&Chart{umbrella}).Render(parse(t, values))
		if err != nil {
			t.Fatal(err)
		}
		image := ""
		if deployment := find[appsv1.Deployment](t, rendered.Objects, "Deployment", ""); deployment != nil {
			image = deployment.Spec.Template.Spec.Containers[0].Image
		}
		if image != want || (want == "") != (rendered.Objects+rendered.Hooks == "") {
			t.Errorf("%s: image %q, want %q; it renders %d bytes", values, image, want, len(rendered.Objects+rendered.Hooks))
		}
	}
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// A value of null removes a key. Either the chart does without it, or Helm says which key is missing. An error at some place in a
// template would help nobody.
func TestNullRemovesAValue(t *testing.T) {
	c, all := own(t), Values{}
	for key, value := range c.loaded.Values {
		values := Values{key: nil}
		section, is := value.(map[string]any)
		if !is {
			all[key] = nil
			continue
		}
		if _, err := c.Render(values); err != nil && !strings.Contains(err.Error(), "missing property '"+key+"'") {
			t.Errorf("%s=null: %v", key, err)
		}
		for below := range section {
			set(all, key+"."+below, nil)
		}
	}
	for _, path := range []string{"guardRails.action", "postInstallCheck.timeout", "preDelete.timeout"} {
		section, key, _ := strings.Cut(path, ".")
		if _, err := c.Render(Values{section: map[string]any{key: nil}}); err == nil || !strings.Contains(err.Error(), "missing property '"+key+"'") {
			t.Errorf("%s=null: %v", path, err)
		}
		delete(all[section].(map[string]any), key)
	}
	if _, err := c.Render(all); err != nil {
		t.Errorf("all values that may be removed: %v", err)
	}
}

func TestMinAvailableLeavesAReplicaToEvict(t *testing.T) {
	for values, want := range map[string]string{
		`{podDisruptionBudget: {minAvailable: 3}}`:                    "podDisruptionBudget.minAvailable is 3, more than replicaCount, 2: no ready replica could ever be evicted",
		`{podDisruptionBudget: {minAvailable: "3"}, replicaCount: 2}`: "Set it to at most 1",
		`{podDisruptionBudget: {minAvailable: 2}}`:                    "",
		`{podDisruptionBudget: {minAvailable: 3}, replicaCount: 1}`:   "", // has no budget
		`{podDisruptionBudget: {minAvailable: "100%"}}`:               "",
	} {
		_, err := own(t).Render(parse(t, values))
		if (err != nil) != (want != "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", values, err, want)
		}
	}
}

// The pods follow routing.freeze while they run, so it does not restart them. They restart for every other setting.
func TestFreezingRestartsNoPod(t *testing.T) {
	checksum := func(values string) (checksum, config string) {
		objects := render(t, parse(t, values)).Objects
		return find[appsv1.Deployment](t, objects, "Deployment", "").Spec.Template.Annotations["checksum/config"], find[corev1.ConfigMap](t, objects, "ConfigMap", "-config").Data["config.yaml"]
	}
	before, _ := checksum(`{}`)
	for values, isSame := range map[string]bool{
		`{routing: {freeze: true}}`: true, `{routing: {freeze: false}}`: true, `{routing: {freeze: true, settle: 7s}}`: false, `{log: {level: debug}}`: false,
	} {
		after, config := checksum(values)
		if (after == before) != isSame {
			t.Errorf("%s: the checksum is %s, before it was %s", values, after, before)
		}
		if strings.Contains(values, "freeze: true") && !strings.Contains(config, "freeze: true\n") {
			t.Errorf("%s: the configuration is\n%s", values, config)
		}
	}
}
