// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"outrigger.dev/outrigger/api"
)

// Uninject returns an injected pod as it was before injection: without what the status annotation lists, and with the probes, hooks,
// Prometheus annotations, and custom containers that injection recorded. Defaults that injection sets and does not record are removed
// if they still have the default value. For a pod that was not injected, it returns the pod itself and false. The notes say what
// could not be restored. An error means that an annotation is unreadable.
func Uninject(pod *corev1.Pod) (before *corev1.Pod, injected bool, notes []string, err error) {
	text, injected := pod.Annotations[api.AnnotationStatus]
	if !injected {
		return pod, false, nil, nil
	}
	r := removal{pod: pod.DeepCopy(), env: map[string]string{}}
	if err := json.Unmarshal([]byte(text), &r.status); err != nil {
		return pod, true, nil, fmt.Errorf("annotation %s %q is not what an injector writes: %w", api.AnnotationStatus, text, err)
	}
	if text, written := pod.Annotations[annotationOverrides]; written {
		if err := json.Unmarshal([]byte(text), &r.recorded); err != nil {
			return pod, true, nil, fmt.Errorf("annotation %s is not what an injector writes: %w", annotationOverrides, err)
		}
	}
	if text, written := pod.Annotations[api.AnnotationProbePorts]; written {
		if err := json.Unmarshal([]byte(text), &r.portNames); err != nil {
			return pod, true, nil, fmt.Errorf("annotation %s is not what an injector writes: %w", api.AnnotationProbePorts, err)
		}
	}
	if proxy := findProxy(r.pod); proxy != nil {
		for _, env := range proxy.Env {
			r.env[env.Name] = env.Value
		}
	}
	if err := r.restoreProbes(); err != nil {
		return pod, true, nil, err
	}
	if err := r.restorePrometheus(); err != nil {
		return pod, true, nil, err
	}
	r.dropContainers()
	r.dropMetadata()
	slices.Sort(r.notes)
	return r.pod, true, r.notes, nil
}

// removal is the removal of an injection, in progress.
type removal struct {
	pod      *corev1.Pod
	status   status
	recorded overrides
	env      map[string]string // of the proxy
	// portNames are the port names of probes and hooks, by the path that replaced them.
	portNames map[string]string
	notes     []string
}

// restoreProbes restores the probes and hooks that the agent runs for the kubelet.
func (r *removal) restoreProbes() error {
	probers := map[string]*prober{}
	if text := r.env[envProbers]; text != "" {
		if err := json.Unmarshal([]byte(text), &probers); err != nil {
			return fmt.Errorf("env %s of container %s is not what an injector writes: %w", envProbers, proxyName, err)
		}
	}
	for _, c := range allContainers(&r.pod.Spec) {
		for _, h := range handlersOf(c) {
			if was := r.originalOf(*h.httpGet, h.path, probers); was != nil {
				r.restorePort(c, h.path, was)
				*h.httpGet, *h.tcpSocket, *h.grpc = was.HTTPGet, was.TCPSocket, was.GRPC
			}
		}
	}
	return nil
}

// restorePort restores the port name of a probe or hook, if it is recorded and still has the same number.
func (r *removal) restorePort(c *corev1.Container, path string, p *prober) {
	port := p.port()
	if port == nil {
		return
	}
	if number, is := portsByName(c)[r.portNames[path]]; is && number == port.IntVal {
		*port = intstr.FromString(r.portNames[path])
	}
}

// originalOf returns what was recorded of a handler that injection redirected to the agent; nil if it was not redirected. If it was
// and nothing is recorded, it also returns nil, and adds a note.
func (r *removal) originalOf(get *corev1.HTTPGetAction, path string, probers map[string]*prober) *prober {
	if get == nil || get.Path != path {
		return nil
	}
	if probers[path] == nil {
		r.notes = append(r.notes, fmt.Sprintf("%s was a probe or hook on a port name that its container does not have; its own path and port were not recorded", path))
	}
	return probers[path]
}

// restorePrometheus restores the application's own Prometheus annotations.
func (r *removal) restorePrometheus() error {
	pod := r.pod
	if path, written := prometheusAnnotation(pod, prometheusPath); written && path == "/stats/prometheus" {
		clearPrometheus(pod)
	}
	if port, written := pod.Annotations["prometheus.istio.io/secure-port"]; written && port == r.env["ENVOY_SECURE_MERGED_METRICS_PORT"] {
		delete(pod.Annotations, "prometheus.istio.io/secure-port")
	}
	text := r.env["ISTIO_PROMETHEUS_ANNOTATIONS"]
	if text == "" {
		return nil
	}
	var was scraping
	if err := json.Unmarshal([]byte(text), &was); err != nil {
		return fmt.Errorf("env ISTIO_PROMETHEUS_ANNOTATIONS of container %s is not what an injector writes: %w", proxyName, err)
	}
	if len(was.Targets) > 0 {
		var targets []string
		for _, target := range was.Targets {
			targets = append(targets, target.Port+":"+target.Path)
		}
		annotate(pod, annotationTargets, strings.Join(targets, ","))
		was.Port, was.Path = "", ""
	}
	for _, a := range []struct{ key, value string }{{"prometheus.io/scrape", was.Scrape}, {"prometheus.io/port", was.Port}, {"prometheus.io/path", was.Path}} {
		if a.value != "" {
			annotate(pod, a.key, a.value)
		}
	}
	return nil
}

// dropContainers removes what the status lists, and restores the user's own containers of the same names.
func (r *removal) dropContainers() {
	spec := &r.pod.Spec
	withImage := func(c corev1.Container) corev1.Container {
		if c.Image == "" {
			c.Image = "auto" // injection records the container without an image
		}
		return c
	}
	var ofContainers []corev1.Container
	ofInit := map[string]corev1.Container{}
	for _, c := range r.recorded.InitContainers {
		if c.Name == proxyName {
			ofContainers = append(ofContainers, withImage(c)) // users write a native sidecar among the containers
		} else {
			ofInit[c.Name] = withImage(c)
		}
	}
	without := func(list []corev1.Container, names []string, recorded map[string]corev1.Container) []corev1.Container {
		var out []corev1.Container
		listed := setOf(names)
		for _, c := range list {
			was, is := recorded[c.Name]
			switch {
			case is:
				out = append(out, was)
			case !listed[c.Name]:
				out = append(out, c)
			}
		}
		return out
	}
	recorded := map[string]corev1.Container{}
	for _, c := range r.recorded.Containers {
		recorded[c.Name] = withImage(c)
	}
	spec.InitContainers = without(spec.InitContainers, r.status.InitContainers, ofInit)
	spec.Containers = append(without(spec.Containers, r.status.Containers, recorded), ofContainers...)
	mounted, volumes, pulls := mountedBy(spec), setOf(r.status.Volumes), setOf(r.status.ImagePullSecrets)
	spec.Volumes = slices.DeleteFunc(spec.Volumes, func(v corev1.Volume) bool {
		return volumes[v.Name] && !mounted[v.Name] // the pod's own volume may have this name
	})
	spec.ImagePullSecrets = slices.DeleteFunc(spec.ImagePullSecrets, func(s corev1.LocalObjectReference) bool { return pulls[s.Name] })
	if len(spec.Volumes) == 0 {
		spec.Volumes = nil
	}
	if len(spec.ImagePullSecrets) == 0 {
		spec.ImagePullSecrets = nil
	}
}

func mountedBy(spec *corev1.PodSpec) map[string]bool {
	mounted := map[string]bool{}
	for _, c := range allContainers(spec) {
		for _, mount := range c.VolumeMounts {
			mounted[mount.Name] = true
		}
	}
	return mounted
}

// dropMetadata removes labels and annotations with the values that injection would set again.
func (r *removal) dropMetadata() {
	pod := r.pod
	_, workload := workloadOf(pod)
	name := cmp.Or(pod.Labels["app.kubernetes.io/name"], pod.Labels["app"], workload.Name)
	name = strings.TrimSuffix(name[:min(len(name), 63)], "-") // as Istio's template truncates it
	for key, value := range map[string]string{
		"security.istio.io/tlsMode":           "istio",
		"networking.istio.io/tunnel":          "http",
		"service.istio.io/canonical-name":     name,
		"service.istio.io/canonical-revision": cmp.Or(pod.Labels["app.kubernetes.io/version"], pod.Labels["version"], "latest"),
	} {
		if pod.Labels[key] == value {
			delete(pod.Labels, key)
		}
	}
	if network, written := pod.Labels[labelNetwork]; written {
		r.notes = append(r.notes, fmt.Sprintf("label %s=%s is kept: it is not recorded whether injection set it", labelNetwork, network))
	}
	app := ""
	if len(pod.Spec.Containers) > 0 {
		app = pod.Spec.Containers[0].Name
	}
	for key, value := range map[string]string{
		"istio.io/rev": r.status.Revision,
		"kubectl.kubernetes.io/default-container":      app,
		"kubectl.kubernetes.io/default-logs-container": app,
		"k8s.v1.cni.cncf.io/networks":                  multusNetwork,
	} {
		if pod.Annotations[key] == value {
			delete(pod.Annotations, key)
		}
	}
	if networks, cut := strings.CutSuffix(pod.Annotations["k8s.v1.cni.cncf.io/networks"], ", "+multusNetwork); cut {
		pod.Annotations["k8s.v1.cni.cncf.io/networks"] = networks
	}
	delete(pod.Annotations, api.AnnotationStatus)
	delete(pod.Annotations, annotationOverrides)
	delete(pod.Annotations, api.AnnotationProbePorts)
	if len(pod.Labels) == 0 {
		pod.Labels = nil
	}
	if len(pod.Annotations) == 0 {
		pod.Annotations = nil
	}
}

// multusNetwork is the network that Istio's template adds if its CNI plugin runs under Multus.
const multusNetwork = "default/istio-cni"
