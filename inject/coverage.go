// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"outrigger.dev/outrigger/api"
)

// Coverage compares a running pod with the pod that injection would make now.
type Coverage struct {
	// State is empty for a pod that should have no sidecar.
	State  api.CoverageState
	Reason api.CoverageReason
	// Details lists what differs, or why a new pod would be denied.
	Details []string
}

// CoverageOf compares a running pod with what Pod would make of it now. The caller must know that a webhook matches the pod. It
// ignores what other admission plugins add, and what describes the pod rather than the configuration. An error is not caused by
// the user.
func CoverageOf(running Request, config *Config) (Coverage, error) {
	return coverageOf(running, config, false)
}

// CoverageByImage is CoverageOf for a pod that has only its metadata, hostNetwork, operating system, and proxy image. It detects another
// revision, image, or container, but no other change of configuration.
func CoverageByImage(running Request, config *Config) (Coverage, error) {
	return coverageOf(running, config, true)
}

// CoversLike reports whether both configurations give every pod the same Coverage: they have the same source and equivalent facts.
func (c *Config) CoversLike(other *Config) bool {
	if c == nil || other == nil || c == other {
		return c == other
	}
	return c.source == other.source && (c.unavailable == nil) == (other.unavailable == nil) && c.hasSameFacts(other)
}

// hasSameFacts reports whether two configurations of the same text have facts that give every pod the same result: the same
// ProxyConfigs, and nodes that support native sidecars for the same pods.
func (c *Config) hasSameFacts(other *Config) bool {
	if !slices.Equal(c.facts.ProxyConfigs, other.facts.ProxyConfigs) || c.nativeOn("") != other.nativeOn("") {
		return false
	}
	for _, nodes := range []map[string]string{c.facts.Nodes, other.facts.Nodes} {
		for node := range nodes {
			if c.facts.Nodes[node] != other.facts.Nodes[node] && c.nativeOn(node) != other.nativeOn(node) {
				return false
			}
		}
	}
	return true
}

func coverageOf(running Request, config *Config, imageOnly bool) (Coverage, error) {
	if decided, _ := config.decide(running.Pod); !decided.inject {
		return Coverage{}, nil
	}
	created, injected, _, err := Uninject(running.Pod)
	if err != nil || !injected && findProxy(running.Pod) != nil {
		return Coverage{State: api.CoverageCovered, Reason: api.CoverageNotCompared}, nil //nolint:nilerr // an unreadable annotation is not our error
	}
	if !injected && imageOnly && config.unavailable == nil {
		return Coverage{State: api.CoverageMissing, Reason: api.CoverageNoSidecar}, nil
	}
	now, report, err := Pod(Request{Pod: AsCreated(created), Namespace: running.Namespace, Path: running.Path}, config)
	if err != nil {
		return Coverage{}, fmt.Errorf("deciding about a new pod in the place of %s: %w", PodRef(running.Pod), err)
	}
	out := Coverage{State: api.CoverageMissing, Reason: api.CoverageNoSidecar}
	if injected {
		out = Coverage{State: api.CoverageCovered, Reason: api.CoverageUpToDate}
	}
	switch {
	case report.Result == Denied && imageOnly && injected:
		// The pod has a sidecar. It may be denied only because this copy of it is incomplete.
	case report.Result == Denied:
		if injected {
			out.State = api.CoverageOutdated
		}
		out.Reason, out.Details = api.CoverageDenied, []string{sentenceOf(report)}
	case injected && report.Result == Injected:
		if reason, details := differences(running.Pod, now, imageOnly); len(details) > 0 {
			out = Coverage{api.CoverageOutdated, reason, details}
		}
	}
	return out, nil
}

func sentenceOf(report Report) string { return string(report.Reason) + ": " + report.Message }

// AsCreated returns a pod as it was when it was created: without its status and, if a controller created it, without its node and its
// generated name.
func AsCreated(pod *corev1.Pod) *corev1.Pod {
	out := pod.DeepCopy()
	out.Status, out.UID, out.ResourceVersion, out.CreationTimestamp, out.ManagedFields = corev1.PodStatus{}, types.UID(""), "", metav1.Time{}, nil
	if metav1.GetControllerOfNoCopy(pod) != nil {
		out.Spec.NodeName = ""
		if out.GenerateName != "" {
			out.Name = ""
		}
	}
	return out
}

// differences compares a running pod with the pod that injection would return now. The reason is that of the most important difference.
func differences(running, now *corev1.Pod, imageOnly bool) (api.CoverageReason, []string) {
	var was, is status
	for pod, into := range map[*corev1.Pod]*status{running: &was, now: &is} {
		if err := json.Unmarshal([]byte(pod.Annotations[api.AnnotationStatus]), into); err != nil {
			return "", nil
		}
	}
	var reason api.CoverageReason
	var details []string
	differ := func(why api.CoverageReason, format string, args ...any) {
		reason = cmp.Or(reason, why)
		details = append(details, fmt.Sprintf(format, args...))
	}
	if was.Revision != is.Revision {
		differ(api.CoverageRevision, "the revision is %s, now %s", cmp.Or(was.Revision, "none"), cmp.Or(is.Revision, "none"))
	}
	type pair struct{ was, is *corev1.Container }
	var pairs []pair
	for _, name := range slices.Concat(is.InitContainers, is.Containers) {
		if p := (pair{findInPod(running, name), findInPod(now, name)}); p.was != nil && p.is != nil {
			pairs = append(pairs, p)
		}
	}
	for _, p := range pairs {
		if !sameImage(p.was.Image, p.is.Image) {
			differ(api.CoverageImage, "the image of %s is %s, now %s", p.is.Name, p.was.Image, p.is.Image)
		}
	}
	if !sameNames(was.InitContainers, is.InitContainers) || !sameNames(was.Containers, is.Containers) {
		differ(api.CoverageContainers, "the containers are %s, now %s", containersOf(was), containersOf(is))
	}
	for _, p := range pairs {
		if imageOnly {
			break
		}
		if !slices.Equal(p.was.Command, p.is.Command) || !slices.Equal(p.was.Args, p.is.Args) {
			differ(api.CoverageConfiguration, "the arguments of %s have changed", p.is.Name)
		}
		for _, name := range changedEnv(p.was.Env, p.is.Env) {
			differ(api.CoverageConfiguration, "the environment variable %s of %s has changed", name, p.is.Name)
		}
	}
	return reason, details
}

// sameImage reports whether two image references are equal, apart from the prefix of a registry mirror that another webhook added.
func sameImage(running, now string) bool {
	return running == now || strings.HasSuffix(running, "/"+now)
}

func sameNames(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

func containersOf(s status) string {
	names := slices.Clone(s.Containers)
	for _, name := range s.InitContainers {
		names = append(names, name+" (init)")
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// podSpecificEnv are variables that describe the pod, which other webhooks may have changed after injection.
var podSpecificEnv = map[string]bool{
	envProbers: true, "ISTIO_PROMETHEUS_ANNOTATIONS": true, "ISTIO_META_APP_CONTAINERS": true, "ISTIO_META_POD_PORTS": true,
	"ISTIO_META_OWNER": true, "ISTIO_META_WORKLOAD_NAME": true,
}

// changedEnv returns the names of the variables that injection would set to other values. It ignores variables that others added.
func changedEnv(running, now []corev1.EnvVar) []string {
	was := map[string]corev1.EnvVar{}
	for _, env := range running {
		was[env.Name] = withAPIDefaults(env)
	}
	is := map[string]corev1.EnvVar{}
	for _, env := range now {
		is[env.Name] = withAPIDefaults(env) // the last one with a name counts
	}
	var out []string
	seen := make(map[string]bool, len(now))
	for _, env := range now {
		before, has := was[env.Name]
		if podSpecificEnv[env.Name] || strings.HasPrefix(env.Name, "ISTIO_METAJSON_") || seen[env.Name] {
			continue
		}
		seen[env.Name] = true
		if !has || !equality.Semantic.DeepEqual(before, is[env.Name]) {
			out = append(out, env.Name)
		}
	}
	return out
}

// withAPIDefaults returns a variable with the defaults that the API server sets.
func withAPIDefaults(env corev1.EnvVar) corev1.EnvVar {
	if env.ValueFrom == nil || env.ValueFrom.FieldRef == nil || env.ValueFrom.FieldRef.APIVersion != "" {
		return env
	}
	from := *env.ValueFrom
	from.FieldRef = &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: env.ValueFrom.FieldRef.FieldPath}
	env.ValueFrom = &from
	return env
}
