// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	istiocharts "outrigger.dev/outrigger/hack/istio"
	"outrigger.dev/outrigger/internal/manifest"
)

// sample is a pod of the corpus, as an injector receives it.
type sample struct {
	name string // "probes.yaml/tcp-and-grpc"
	pod  *corev1.Pod
}

// raw is the pod as the API server sends it.
func (s sample) raw(t testing.TB) json.RawMessage {
	t.Helper()
	encoded, err := json.Marshal(s.pod)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

// corpus reads the pods of all examples and of inject/testdata/pods, each as its controller and the API server make it.
func corpus(t testing.TB) []sample {
	t.Helper()
	own, err := filepath.Glob("../../inject/testdata/pods/*.yaml")
	if err != nil || len(own) == 0 {
		t.Fatalf("no pods found in inject/testdata/pods: %v", err)
	}
	var samples []sample
	for _, file := range examples(t) {
		story := filepath.Base(filepath.Dir(file)) + "/" + filepath.Base(file)
		samples = append(samples, samplesOf(t, file, story)...)
	}
	for _, file := range own {
		samples = append(samples, samplesOf(t, file, filepath.Base(file))...)
	}
	return samples
}

// examples are the paths of the examples' manifests.
func examples(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("../../examples/*/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples found: %v", err)
	}
	return files
}

// samplesOf reads the pods of one file.
func samplesOf(t testing.TB, file, name string) []sample {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := manifest.Read(bytes.NewReader(content))
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	var samples []sample
	for _, object := range stream.Objects() {
		template, err := object.Template()
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if template == nil {
			continue
		}
		raw, err := template.JSON()
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		var pod corev1.Pod
		decoder := json.NewDecoder(bytes.NewReader(raw))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&pod); err != nil {
			t.Fatalf("%s: %s: %v", file, object, err)
		}
		owned(&pod, object.Kind, object.Name)
		defaulted(&pod)
		samples = append(samples, sample{name: name + "/" + object.Name, pod: &pod})
	}
	return samples
}

// owned fills in what the controller of the kind writes into the pods that it makes of a template.
func owned(pod *corev1.Pod, kind, name string) {
	pod.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
	own := func(apiVersion, kind, name string) {
		yes := true
		pod.GenerateName = name + "-"
		pod.OwnerReferences = []metav1.OwnerReference{{
			APIVersion: apiVersion, Kind: kind, Name: name, UID: "11111111-2222-3333-4444-555555555555",
			Controller: &yes, BlockOwnerDeletion: &yes,
		}}
	}
	label := func(key, value string) {
		if pod.Labels == nil {
			pod.Labels = map[string]string{}
		}
		pod.Labels[key] = value
	}
	const hash = "7d4b9c6f5d"
	switch kind {
	case "Deployment":
		own("apps/v1", "ReplicaSet", name+"-"+hash)
		label("pod-template-hash", hash)
	case "ReplicaSet", "DaemonSet", "StatefulSet":
		own("apps/v1", kind, name)
		if kind == "StatefulSet" {
			pod.Name = name + "-0"
			label("statefulset.kubernetes.io/pod-name", name+"-0")
			label("apps.kubernetes.io/pod-index", "0")
		}
		if kind != "ReplicaSet" {
			label("controller-revision-hash", hash)
		}
	case "ReplicationController":
		own("v1", kind, name)
	case "CronJob":
		name += "-29383380"
		fallthrough
	case "Job":
		own("batch/v1", "Job", name)
		label("batch.kubernetes.io/job-name", name)
		label("job-name", name)
	}
}

// defaulted fills in what the API server and its ServiceAccount admission put into every pod before webhooks see it.
func defaulted(pod *corev1.Pod) {
	spec := &pod.Spec
	if pod.Namespace == "" {
		pod.Namespace = "demo"
	}
	setDefault(&spec.RestartPolicy, corev1.RestartPolicyAlways)
	setDefault(&spec.DNSPolicy, corev1.DNSClusterFirst)
	setDefault(&spec.SchedulerName, corev1.DefaultSchedulerName)
	setDefault(&spec.ServiceAccountName, "default")
	spec.DeprecatedServiceAccount = spec.ServiceAccountName
	if spec.SecurityContext == nil {
		spec.SecurityContext = &corev1.PodSecurityContext{}
	}
	if spec.TerminationGracePeriodSeconds == nil {
		spec.TerminationGracePeriodSeconds = pointer(int64(30))
	}
	for _, containers := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range containers {
			defaultedContainer(&containers[i])
		}
	}
	for i := range spec.Volumes {
		if source := spec.Volumes[i].Secret; source != nil {
			source.DefaultMode = pointer(int32(0o644))
		}
		if source := spec.Volumes[i].Projected; source != nil {
			source.DefaultMode = pointer(int32(0o644))
		}
	}
	mountToken(spec)
	for _, key := range []string{"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"} {
		spec.Tolerations = append(spec.Tolerations, corev1.Toleration{
			Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: pointer(int64(300)),
		})
	}
}

func defaultedContainer(c *corev1.Container) {
	setDefault(&c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
	setDefault(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	if c.ImagePullPolicy == "" {
		c.ImagePullPolicy = corev1.PullIfNotPresent
		if !strings.Contains(c.Image, ":") {
			c.ImagePullPolicy = corev1.PullAlways
		}
	}
	for i := range c.Ports {
		setDefault(&c.Ports[i].Protocol, corev1.ProtocolTCP)
	}
	for _, probe := range []*corev1.Probe{c.ReadinessProbe, c.LivenessProbe, c.StartupProbe} {
		if probe == nil {
			continue
		}
		setDefault(&probe.TimeoutSeconds, 1)
		setDefault(&probe.PeriodSeconds, 10)
		setDefault(&probe.SuccessThreshold, 1)
		setDefault(&probe.FailureThreshold, 3)
		if probe.GRPC != nil && probe.GRPC.Service == nil {
			probe.GRPC.Service = pointer("")
		}
		defaultedHTTP(probe.HTTPGet)
	}
	if c.Lifecycle != nil {
		for _, hook := range []*corev1.LifecycleHandler{c.Lifecycle.PostStart, c.Lifecycle.PreStop} {
			if hook != nil {
				defaultedHTTP(hook.HTTPGet)
			}
		}
	}
}

func defaultedHTTP(get *corev1.HTTPGetAction) {
	if get != nil {
		setDefault(&get.Path, "/")
		setDefault(&get.Scheme, corev1.URISchemeHTTP)
	}
}

// mountToken adds the volume with the service account's token and mounts it into every container.
func mountToken(spec *corev1.PodSpec) {
	const volume, path = "kube-api-access-x7k2p", "/var/run/secrets/kubernetes.io/serviceaccount"
	for _, containers := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range containers {
			containers[i].VolumeMounts = append(containers[i].VolumeMounts,
				corev1.VolumeMount{Name: volume, ReadOnly: true, MountPath: path})
		}
	}
	spec.Volumes = append(spec.Volumes, corev1.Volume{Name: volume, VolumeSource: corev1.VolumeSource{
		Projected: &corev1.ProjectedVolumeSource{
			DefaultMode: pointer(int32(0o644)),
			Sources: []corev1.VolumeProjection{
				{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: pointer(int64(3607))}},
				{ConfigMap: &corev1.ConfigMapProjection{
					LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"},
					Items:                []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}},
				}},
				{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{
					{Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"}},
				}}},
			},
		},
	}})
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func pointer[T any](value T) *T { return &value }

// installation is an Istio that pods come to: an IstioOperator document and what its istiod sees of the cluster.
type installation struct {
	name     string // file in testdata/istio, or asTheDemo
	aspect   string // what differs from the file alone; may be empty
	natives  []string
	settings Review // all but the pod and what the file says
	aliases  string // put in front of the injector's config, since the chart has no value for it
}

// String names the installation in the tests' output.
func (i installation) String() string {
	if i.aspect == "" {
		return i.name
	}
	return i.name + "," + i.aspect
}

// asTheDemo is the installation of the demo and of the end-to-end tests: the charts as Helm renders them.
const asTheDemo = "as the demo"

// onAndOff are the two outcomes of the detection of native sidecars.
var onAndOff = []string{"enabled", "disabled"}

const proxyConfigs = `
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: for-all, namespace: istio-system, creationTimestamp: "2026-01-01T00:00:00Z"}
spec: {concurrency: 4, environmentVariables: {FROM: root, ONLY_ROOT: "1"}}
---
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: younger-for-all, namespace: istio-system, creationTimestamp: "2026-02-01T00:00:00Z"}
spec: {concurrency: 5}
---
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: for-demo, namespace: demo, creationTimestamp: "2026-01-01T00:00:00Z"}
spec: {environmentVariables: {FROM: demo}, image: {imageType: distroless}}
---
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: for-tuned, namespace: demo, creationTimestamp: "2026-01-01T00:00:00Z"}
spec: {selector: {matchLabels: {tier: tuned}}, concurrency: 0, environmentVariables: {FROM: workload}}
`

// installations are those that every pod of the corpus is sent to.
var installations = []installation{
	{name: "default", natives: onAndOff},
	{name: asTheDemo, natives: onAndOff},
	{name: "cni", natives: onAndOff},
	{name: "multus", natives: []string{"enabled"}},
	{name: "hold-in-mesh", natives: onAndOff},
	{name: "hold-in-values", natives: onAndOff},
	{name: "network", natives: onAndOff},
	{name: "rich-mesh", natives: onAndOff},
	{name: "tproxy-in-mesh", natives: []string{"enabled"}},
	{name: "rich-values", natives: onAndOff},
	{name: "datadog", natives: []string{"disabled"}},
	{name: "policy-disabled", natives: []string{"enabled"}},
	{name: "selectors", natives: []string{"disabled"}},
	{name: "custom-templates", natives: onAndOff, aliases: "aliases: {both: [sidecar, init-first], gateway: [gateway]}\n"},
	{name: "revision", natives: []string{"enabled"}, settings: Review{Revision: "canary"}},
	{name: "default", aspect: "called by path", natives: []string{"enabled"},
		settings: Review{Path: "/inject/cluster/c--slash--1/net/net-of-path/own_key/own value/"}},
	{name: "network", aspect: "called by old path", natives: []string{"disabled"},
		settings: Review{Path: "/inject/:ENV:cluster=c2:ENV:net=n2:ENV:ISTIO_META_X="}},
	{name: "default", aspect: "fips", natives: []string{"enabled"}, settings: Review{CompliancePolicy: "fips-140-3"}},
	{name: "default", aspect: "new nodes", natives: []string{"auto"},
		settings: Review{Nodes: map[string]string{"new": "v1.37.2", "also-new": "v1.33.0+k3s1"}}},
	{name: "default", aspect: "an old node", natives: []string{"auto"},
		settings: Review{Nodes: map[string]string{"new": "v1.37.2", "old": "v1.32.9-gke.1"}}},
	{name: "default", aspect: "proxyconfigs", natives: onAndOff, settings: Review{ProxyConfigs: proxyConfigs}},
	{name: "default", aspect: "openshift", natives: onAndOff, settings: Review{Platform: "openshift",
		NamespaceAnnotations: map[string]string{
			"openshift.io/sa.scc.uid-range":           "1000740000/10000",
			"openshift.io/sa.scc.supplemental-groups": "1000750000/10000,1000760000/10000",
		}}},
	{name: "default", aspect: "openshift without annotations", natives: []string{"disabled"}, settings: Review{Platform: "openshift"}},
}

// configMaps renders the installation's ConfigMaps.
func (i installation) configMaps(t testing.TB, istio *Oracle) ConfigMaps {
	t.Helper()
	if i.name == asTheDemo {
		files, err := istiocharts.InjectionFiles(nil)
		if err != nil {
			t.Fatalf("%s: %v", i, err)
		}
		return ConfigMaps{Config: string(files.Config), Values: string(files.Values), Mesh: string(files.Mesh)}
	}
	operator, err := os.ReadFile(filepath.Join("testdata", "istio", i.name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	texts, err := istio.ConfigMaps(string(operator))
	if err != nil {
		t.Fatalf("%s: %v", i, err)
	}
	texts.Config = i.aliases + texts.Config
	return texts
}

// review is the admission review of a pod in this installation.
func (i installation) review(texts ConfigMaps, native string, s sample, raw json.RawMessage) Review {
	r := i.settings
	r.ConfigMaps, r.NativeSidecars, r.Pod, r.Namespace = texts, native, raw, s.pod.Namespace
	return r
}
