// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

const (
	annotationRewriteProbes = "sidecar.istio.io/rewriteAppHTTPProbers"
	annotationStatusPort    = "status.sidecar.istio.io/port"
	envProbers              = "ISTIO_KUBE_APP_PROBERS"
)

// prober is a probe or hook that the agent runs instead of the kubelet.
type prober struct {
	HTTPGet        *corev1.HTTPGetAction   `json:"httpGet,omitempty"`
	TCPSocket      *corev1.TCPSocketAction `json:"tcpSocket,omitempty"`
	GRPC           *corev1.GRPCAction      `json:"grpc,omitempty"`
	TimeoutSeconds int32                   `json:"timeoutSeconds,omitempty"`
}

// rewriteProbes points the kubelet's probes and hooks to the agent, which runs them from inside the pod, because the kubelet cannot use
// mutual TLS.
func (j *job) rewriteProbes() error {
	proxy := findProxy(j.merged)
	if proxy == nil || !j.wantsRewrite() {
		return nil
	}
	probers := map[string]*prober{}
	for _, list := range [][]corev1.Container{j.merged.Spec.InitContainers, j.merged.Spec.Containers} {
		for i := range list {
			if list[i].Name != proxyName {
				j.collect(&list[i], probers)
			}
		}
	}
	if len(probers) > 0 {
		if err := j.setProbers(proxy, probers); err != nil {
			return err
		}
	}
	port := j.probePort()
	for _, list := range [][]corev1.Container{j.merged.Spec.InitContainers, j.merged.Spec.Containers} {
		for i := range list {
			if list[i].Name != proxyName {
				j.redirect(&list[i], port)
			}
		}
	}
	return nil
}

func (j *job) wantsRewrite() bool {
	if rewrite, err := strconv.ParseBool(j.merged.Annotations[annotationRewriteProbes]); err == nil {
		return rewrite
	}
	return j.values.rewriteProbes()
}

// probePort returns the port on which the agent serves the kubelet's probes.
func (j *job) probePort() int32 {
	port := j.mesh.GetDefaultConfig().GetStatusPort()
	if text, written := j.merged.Annotations[annotationStatusPort]; written {
		number, err := strconv.ParseInt(strings.TrimSpace(text), 10, 32)
		if err != nil {
			number = 0 // the annotation is valid, so a template wrote this
		}
		return int32(number)
	}
	return port
}

func healthPath(container, kind string) string    { return "/app-health/" + container + "/" + kind }
func lifecyclePath(container, kind string) string { return "/app-lifecycle/" + container + "/" + kind }

// collect adds the probes and hooks of a container that the agent takes over.
func (j *job) collect(c *corev1.Container, into map[string]*prober) {
	ports := portsByName(c)
	add := func(path string, p *prober) {
		if p != nil && j.resolve(p, ports) {
			into[path] = p
		}
	}
	add(healthPath(c.Name, "readyz"), probeOf(c.ReadinessProbe))
	add(healthPath(c.Name, "livez"), probeOf(c.LivenessProbe))
	add(healthPath(c.Name, "startupz"), probeOf(c.StartupProbe))
	if c.Lifecycle != nil && j.release.rewritesHooks() {
		add(lifecyclePath(c.Name, "prestopz"), hookOf(c.Lifecycle.PreStop))
		add(lifecyclePath(c.Name, "poststartz"), hookOf(c.Lifecycle.PostStart))
	}
}

// port returns the port of an HTTP or TCP handler; nil if there is none.
func (p *prober) port() *intstr.IntOrString {
	switch {
	case p.HTTPGet != nil:
		return &p.HTTPGet.Port
	case p.TCPSocket != nil:
		return &p.TCPSocket.Port
	}
	return nil
}

// portsByName returns the numbers of a container's ports by name.
func portsByName(c *corev1.Container) map[string]int32 {
	ports := map[string]int32{}
	for _, port := range c.Ports {
		if port.Name != "" {
			ports[port.Name] = port.ContainerPort
		}
	}
	return ports
}

// NamedProbePorts returns the port names of probes and hooks that injection replaced by numbers, keyed by the path of the probe or hook
// in the injected pod. Injection does not record the names, because Istio's agent accepts only numbers.
func NamedProbePorts(before, injected *corev1.Pod) map[string]string {
	replaced := map[string]bool{}
	for _, c := range allContainers(injected) {
		for _, p := range probersOf(c) {
			if p.HTTPGet != nil {
				replaced[p.HTTPGet.Path] = true
			}
		}
	}
	out := map[string]string{}
	for _, c := range allContainers(before) {
		for path, p := range probersOf(c) {
			if port := p.port(); port != nil && port.Type == intstr.String && replaced[path] {
				if _, known := portsByName(c)[port.StrVal]; known {
					out[path] = port.StrVal
				}
			}
		}
	}
	return out
}

func allContainers(pod *corev1.Pod) []*corev1.Container {
	var out []*corev1.Container
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			out = append(out, &list[i])
		}
	}
	return out
}

// probersOf returns the probes and hooks of a container by the paths that replace them.
func probersOf(c *corev1.Container) map[string]*prober {
	out := map[string]*prober{
		healthPath(c.Name, "readyz"): probeOf(c.ReadinessProbe), healthPath(c.Name, "livez"): probeOf(c.LivenessProbe), healthPath(c.Name, "startupz"): probeOf(c.StartupProbe),
	}
	if c.Lifecycle != nil {
		out[lifecyclePath(c.Name, "prestopz")], out[lifecyclePath(c.Name, "poststartz")] = hookOf(c.Lifecycle.PreStop), hookOf(c.Lifecycle.PostStart)
	}
	maps.DeleteFunc(out, func(_ string, p *prober) bool { return p == nil })
	return out
}

func probeOf(probe *corev1.Probe) *prober {
	switch {
	case probe == nil:
		return nil
	case probe.HTTPGet != nil:
		return &prober{HTTPGet: probe.HTTPGet.DeepCopy(), TimeoutSeconds: probe.TimeoutSeconds}
	case probe.TCPSocket != nil:
		return &prober{TCPSocket: probe.TCPSocket.DeepCopy(), TimeoutSeconds: probe.TimeoutSeconds}
	case probe.GRPC != nil:
		return &prober{GRPC: probe.GRPC.DeepCopy(), TimeoutSeconds: probe.TimeoutSeconds}
	}
	return nil
}

func hookOf(hook *corev1.LifecycleHandler) *prober {
	switch {
	case hook == nil:
		return nil
	case hook.HTTPGet != nil:
		return &prober{HTTPGet: hook.HTTPGet.DeepCopy()}
	case hook.TCPSocket != nil:
		return &prober{TCPSocket: hook.TCPSocket.DeepCopy()}
	}
	return nil
}

// resolve replaces a named port by its number. It reports false if there is nothing to do for the agent: the container has no port of
// that name, or the probe already points to the agent.
func (j *job) resolve(p *prober, ports map[string]int32) bool {
	if p.GRPC != nil {
		return true
	}
	port := p.port()
	if port.Type == intstr.String {
		number, known := ports[port.StrVal]
		*port = intstr.FromInt32(number)
		return known
	}
	return port.IntVal != j.mesh.GetDefaultConfig().GetStatusPort()
}

// setProbers writes the probes and hooks to the proxy's environment. Entries of an earlier injection win, because the probes they
// describe have already been rewritten.
func (j *job) setProbers(proxy *corev1.Container, probers map[string]*prober) error {
	at := slices.IndexFunc(proxy.Env, func(e corev1.EnvVar) bool { return e.Name == envProbers })
	if j.wasInjected && at >= 0 {
		var old map[string]*prober
		if err := json.Unmarshal([]byte(proxy.Env[at].Value), &old); err == nil {
			for path, p := range old {
				probers[path] = p
			}
		}
	}
	text, err := json.Marshal(probers)
	if err != nil {
		return fmt.Errorf("writing the probers: %w", err)
	}
	if j.wasInjected && at >= 0 {
		proxy.Env[at].Value = string(text)
		return nil
	}
	proxy.Env = append(proxy.Env, corev1.EnvVar{Name: envProbers, Value: string(text)})
	return nil
}

// redirect points the probes and hooks of a container to the agent, including those that could not be collected.
func (j *job) redirect(c *corev1.Container, port int32) {
	for kind, probe := range map[string]*corev1.Probe{"readyz": c.ReadinessProbe, "livez": c.LivenessProbe, "startupz": c.StartupProbe} {
		if probe == nil || probe.HTTPGet == nil && probe.TCPSocket == nil && probe.GRPC == nil {
			continue
		}
		probe.HTTPGet = toAgent(probe.HTTPGet, healthPath(c.Name, kind), port)
		probe.TCPSocket, probe.GRPC = nil, nil
	}
	if c.Lifecycle == nil || !j.release.rewritesHooks() {
		return
	}
	for kind, hook := range map[string]*corev1.LifecycleHandler{"prestopz": c.Lifecycle.PreStop, "poststartz": c.Lifecycle.PostStart} {
		if hook == nil || hook.HTTPGet == nil && hook.TCPSocket == nil {
			continue
		}
		hook.HTTPGet = toAgent(hook.HTTPGet, lifecyclePath(c.Name, kind), port)
		hook.TCPSocket = nil
	}
}

// toAgent keeps the host, headers, and scheme, except HTTPS, which the agent does not serve.
func toAgent(get *corev1.HTTPGetAction, path string, port int32) *corev1.HTTPGetAction {
	if get == nil {
		get = &corev1.HTTPGetAction{}
	}
	get.Path, get.Port = path, intstr.FromInt32(port)
	if get.Scheme == corev1.URISchemeHTTPS {
		get.Scheme = corev1.URISchemeHTTP
	}
	return get
}
