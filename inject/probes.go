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
// mutual TLS. Those that cannot be resolved are redirected, too, and fail.
func (j *job) rewriteProbes() error {
	proxy := findProxy(j.merged)
	if proxy == nil || !j.wantsRewrite() {
		return nil
	}
	probers, agent := map[string]*prober{}, j.probePort()
	for _, c := range allContainers(&j.merged.Spec) {
		if c.Name == proxyName {
			continue
		}
		ports := portsByName(c)
		for _, h := range handlersOf(c) {
			p := h.prober()
			if p == nil || h.what == aHook && !j.release.rewritesHooks() {
				continue
			}
			if j.resolve(p, ports) {
				probers[h.path] = p
			}
			*h.httpGet = toAgent(*h.httpGet, h.path, agent)
			*h.tcpSocket, *h.grpc = nil, nil
		}
	}
	if len(probers) == 0 {
		return nil
	}
	return j.setProbers(proxy, probers)
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

// handler is a probe or a hook of a container.
type handler struct {
	field     string // such as readinessProbe
	what      string // aProbe or aHook
	path      string // on which the agent runs it
	timeout   int32
	httpGet   **corev1.HTTPGetAction
	tcpSocket **corev1.TCPSocketAction
	grpc      **corev1.GRPCAction
}

const aProbe, aHook = "probe", "hook"

func handlersOf(c *corev1.Container) []handler {
	var out []handler
	for _, p := range []struct {
		field, kind string
		*corev1.Probe
	}{{"readinessProbe", "readyz", c.ReadinessProbe}, {"livenessProbe", "livez", c.LivenessProbe}, {"startupProbe", "startupz", c.StartupProbe}} {
		if p.Probe != nil {
			out = append(out, handler{p.field, aProbe, "/app-health/" + c.Name + "/" + p.kind, p.TimeoutSeconds, &p.HTTPGet, &p.TCPSocket, &p.GRPC})
		}
	}
	if c.Lifecycle == nil {
		return out
	}
	for _, h := range []struct {
		field, kind string
		*corev1.LifecycleHandler
	}{{"lifecycle.postStart", "poststartz", c.Lifecycle.PostStart}, {"lifecycle.preStop", "prestopz", c.Lifecycle.PreStop}} {
		if h.LifecycleHandler != nil {
			out = append(out, handler{h.field, aHook, "/app-lifecycle/" + c.Name + "/" + h.kind, 0, &h.HTTPGet, &h.TCPSocket, new(*corev1.GRPCAction)})
		}
	}
	return out
}

// prober returns a copy of the handler for the agent; nil if the agent cannot run it.
func (h handler) prober() *prober {
	switch {
	case *h.httpGet != nil:
		return &prober{HTTPGet: (*h.httpGet).DeepCopy(), TimeoutSeconds: h.timeout}
	case *h.tcpSocket != nil:
		return &prober{TCPSocket: (*h.tcpSocket).DeepCopy(), TimeoutSeconds: h.timeout}
	case *h.grpc != nil:
		return &prober{GRPC: (*h.grpc).DeepCopy(), TimeoutSeconds: h.timeout}
	}
	return nil
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
	for _, c := range allContainers(&injected.Spec) {
		for _, h := range handlersOf(c) {
			if *h.httpGet != nil {
				replaced[(*h.httpGet).Path] = true
			}
		}
	}
	out := map[string]string{}
	for _, c := range allContainers(&before.Spec) {
		for _, h := range handlersOf(c) {
			if name := h.portName(); name != "" && replaced[h.path] {
				if _, known := portsByName(c)[name]; known {
					out[h.path] = name
				}
			}
		}
	}
	return out
}

// portName returns the port that the handler names; "" if it has a number, or none.
func (h handler) portName() string {
	if p := h.prober(); p != nil && p.port() != nil && p.port().Type == intstr.String {
		return p.port().StrVal
	}
	return ""
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
			maps.Copy(probers, old)
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
