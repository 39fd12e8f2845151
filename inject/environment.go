// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"regexp"
	"strconv"
	"strings"

	meshconfig "istio.io/api/mesh/v1alpha1"
	corev1 "k8s.io/api/core/v1"
)

// This file derives settings from the pod's environment: native sidecars, images, cluster and network, and OpenShift's users.

const (
	annotationNative    = "sidecar.istio.io/nativeSidecar"
	annotationImageType = "sidecar.istio.io/proxyImageType"
	labelNetwork        = "topology.istio.io/network"
	envNetwork          = "ISTIO_META_NETWORK"
	envCluster          = "ISTIO_META_CLUSTER_ID"
	firstNativeMinor    = 33
)

type nativeMode int

const (
	nativeOff nativeMode = iota
	nativeOn
	nativeAuto
)

// nativeSetting returns the mode of native sidecars from settings, values, and release.
func (c *Config) nativeSetting() nativeMode {
	switch c.settings.NativeSidecars {
	case "enabled":
		return nativeOn
	case "disabled":
		return nativeOff
	case "auto":
		return nativeAuto
	}
	if text, found := c.values.env("ENABLE_NATIVE_SIDECARS"); found {
		switch {
		case text == "true":
			return nativeOn
		case text == "auto" && c.release.nativeByDefault():
			return nativeAuto
		}
		return nativeOff
	}
	if c.release.nativeByDefault() {
		return nativeAuto
	}
	return nativeOff
}

func (c *Config) native(pod *corev1.Pod) bool { return c.nativeOn(pod.Spec.NodeName) }

// nativeOn reports whether the kubelet of a node supports native sidecars. For an empty or unknown name, all nodes must. Without
// any known node, support is assumed.
func (c *Config) nativeOn(node string) bool {
	switch c.nativeSetting() {
	case nativeOn:
		return true
	case nativeOff:
		return false
	}
	if version, known := c.facts.Nodes[node]; known && node != "" {
		return isNativeKubelet(version)
	}
	for _, version := range c.facts.Nodes {
		if !isNativeKubelet(version) {
			return false
		}
	}
	return true
}

var kubeletVersion = regexp.MustCompile(`^v?\d+\.(\d+)`)

func isNativeKubelet(version string) bool {
	found := kubeletVersion.FindStringSubmatch(version)
	if found == nil {
		return false
	}
	minor, err := strconv.Atoi(found[1])
	return err == nil && minor >= firstNativeMinor
}

// image returns hub/name:tag. The image type is a suffix of the tag. It is that of the annotation, even if empty, else of the
// ProxyConfig, else the variant of the values.
func (c *Config) image(name string, annotations map[string]string, config *meshconfig.ProxyConfig) string {
	if name == "" {
		name = "proxyv2"
	}
	global := c.values.typed.Global
	kind := global.Variant
	if image := config.GetImage(); image != nil && (image.ImageType != "" || !c.release.imageTypeFallsBack()) {
		kind = image.ImageType
	}
	if text, written := annotations[annotationImageType]; written {
		kind = text
	}
	return global.Hub + "/" + name + ":" + taggedWith(c.values.tag(), kind)
}

func taggedWith(tag, kind string) string {
	if kind == "" {
		return tag
	}
	for _, suffix := range []string{"-distroless", "-debug"} {
		if cut, found := strings.CutSuffix(tag, suffix); found {
			tag = cut
			break
		}
	}
	if kind == "default" {
		return tag
	}
	return tag + "-" + kind
}

// proxyEnv returns the environment of the proxy about its cluster and network: from the values, overridden by the URL path,
// overridden by the pod's label, even if it is empty.
func (c *Config) proxyEnv(path string, pod *corev1.Pod) map[string]string {
	env := pathParameters(path)
	cluster, network := c.values.typed.Global.MultiCluster.ClusterName, c.values.typed.Global.Network
	if env[envCluster] != "" {
		cluster = env[envCluster]
	}
	if env[envNetwork] != "" {
		network = env[envNetwork]
	}
	if label, labeled := pod.Labels[labelNetwork]; labeled {
		network = label
	}
	if cluster != "" {
		env[envCluster] = cluster
	}
	if network != "" {
		env[envNetwork] = network
	}
	return env
}

// pathParameters parses the parameters after /inject/: key/value/key/value, or the older form :ENV:name=value:ENV:name=value.
func pathParameters(path string) map[string]string {
	out := map[string]string{}
	rest, found := strings.CutPrefix(path, "/inject/")
	if !found {
		return out
	}
	if strings.HasPrefix(rest, ":ENV:") {
		for _, item := range strings.Split(rest, ":ENV:") {
			name, value, isPair := strings.Cut(item, "=")
			if isPair && name != "" && !strings.Contains(value, "=") {
				out[parameterName(name)] = value
			}
		}
		return out
	}
	parts := strings.Split(strings.TrimSuffix(rest, "/"), "/")
	for i := 0; i+1 < len(parts); i += 2 {
		out[parameterName(parts[i])] = strings.ReplaceAll(parts[i+1], "--slash--", "/")
	}
	return out
}

func parameterName(key string) string {
	switch key {
	case "cluster":
		return envCluster
	case "net":
		return envNetwork
	}
	return strings.ToUpper(key)
}

func (c *Config) openShift() bool {
	if c.settings.Platform != "" {
		return c.settings.Platform == "openshift"
	}
	if c.values.typed.Global.Platform != "" {
		return c.values.typed.Global.Platform == "openshift"
	}
	platform, _ := c.values.env("PLATFORM")
	return platform == "openshift"
}

func (c *Config) compliancePolicy() string {
	if c.settings.CompliancePolicy != "" {
		return c.settings.CompliancePolicy
	}
	policy, _ := c.values.env("COMPLIANCE_POLICY")
	return policy
}

const defaultProxyUser = 1337

// proxyUser returns the proxy's user and group: 1337, or on OpenShift the last IDs of the namespace's ranges.
func (c *Config) proxyUser(namespace *corev1.Namespace) (uid, gid int64) {
	uid, gid = defaultProxyUser, defaultProxyUser
	if !c.openShift() || namespace == nil {
		return uid, gid
	}
	facts := userFacts(namespace)
	if last, ok := lastOfBlock(facts[0]); ok {
		uid, gid = last, last
	}
	groups, _, _ := strings.Cut(facts[1], ",")
	if last, ok := lastOfBlock(groups); ok {
		gid = last
	}
	return uid, gid
}

// userFacts returns everything that injection reads from a namespace: OpenShift's ranges of users and groups.
func userFacts(namespace *corev1.Namespace) []string {
	if namespace == nil {
		return []string{"", ""}
	}
	return []string{namespace.Annotations["openshift.io/sa.scc.uid-range"], namespace.Annotations["openshift.io/sa.scc.supplemental-groups"]}
}

// lastOfBlock returns the last ID of "start/size" or "start-end".
func lastOfBlock(block string) (int64, bool) {
	number := func(text string) (int64, bool) {
		n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
		return n, err == nil && n >= 0
	}
	if start, size, found := strings.Cut(block, "/"); found {
		from, okFrom := number(start)
		count, okCount := number(size)
		return from + count - 1, okFrom && okCount && count > 0
	}
	if _, end, found := strings.Cut(block, "-"); found {
		return number(end)
	}
	return 0, false
}

// removeAssignedUser removes, on OpenShift, the user that the platform assigned to the proxy that the pod defines and to the
// application alike. The proxy must run as another user, because the redirection of traffic exempts its user.
func removeAssignedUser(pod *corev1.Pod) {
	proxy := findProxy(pod)
	if proxy == nil || proxy.SecurityContext == nil {
		return
	}
	var application int64
	for _, container := range allContainers(&pod.Spec) {
		if container.Name != proxyName && container.SecurityContext != nil && container.SecurityContext.RunAsUser != nil {
			application = *container.SecurityContext.RunAsUser
		}
	}
	var proxyUser int64
	if proxy.SecurityContext.RunAsUser != nil {
		proxyUser = *proxy.SecurityContext.RunAsUser
	}
	if proxyUser == application {
		proxy.SecurityContext.RunAsUser, proxy.SecurityContext.RunAsGroup = nil, nil
	}
}

// wantsNative returns the value of the annotation if it is exactly true or false, like Istio's injector; otherwise the detected value.
func wantsNative(pod *corev1.Pod, detected bool) bool {
	switch pod.Annotations[annotationNative] {
	case "true":
		return true
	case "false":
		return false
	}
	return detected
}
