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

// Standing compares a running pod with the pod that injection would make now.
type Standing struct {
	// State is empty for a pod that should have no sidecar.
	State  api.CoverageState
	Reason api.CoverageReason
	// Details lists what differs, or why a new pod would be denied.
	Details []string
}

// Stand compares a running pod with what Pod would make of it now. The caller must know that a webhook matches the pod. Stand
// ignores what other admission plugins add, and what describes the pod instead of the configuration. An error is not caused
// by the user.
func Stand(running Request, config *Config) (Standing, error) { return stand(running, config, false) }

// StandByImage does as Stand, with a pod of which only its metadata, whether it is on the host's network, its operating
// system and its proxy's image are there: it sees another revision, image or container, and no other configuration.
func StandByImage(running Request, config *Config) (Standing, error) {
	return stand(running, config, true)
}

// StandsAs reports whether both configurations judge every pod alike, by what they are made of: the same text of Istio's, the
// same ProxyConfigs, and nodes that allow the same.
func (c *Config) StandsAs(other *Config) bool {
	if c == nil || other == nil || c == other {
		return c == other
	}
	return c.source == other.source && (c.unavailable == nil) == (other.unavailable == nil) && c.decidesAs(other)
}

// decidesAs reports whether two configurations of the same text have facts that give every pod the same result: the same
// ProxyConfigs, and nodes that support native sidecars for the same pods.
func (c *Config) decidesAs(other *Config) bool {
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

func stand(running Request, config *Config, imageAlone bool) (Standing, error) {
	if decided, _ := config.decide(running.Pod); !decided.inject {
		return Standing{}, nil
	}
	created, injected, _, err := Removed(running.Pod)
	if err != nil || !injected && findProxy(running.Pod) != nil {
		return Standing{State: api.CoverageCovered, Reason: api.CoverageNotCompared}, nil //nolint:nilerr // an annotation that nobody can read is no error of ours
	}
	if !injected && imageAlone && config.unavailable == nil {
		return Standing{State: api.CoverageMissing, Reason: api.CoverageNoSidecar}, nil
	}
	now, report, err := Pod(Request{Pod: AsCreated(created), Namespace: running.Namespace, Path: running.Path}, config)
	if err != nil {
		return Standing{}, fmt.Errorf("deciding about a new pod in the place of %s: %w", podRef(running.Pod), err)
	}
	out := Standing{State: api.CoverageMissing, Reason: api.CoverageNoSidecar}
	if injected {
		out = Standing{State: api.CoverageCovered, Reason: api.CoverageUpToDate}
	}
	switch {
	case report.Result == Denied && imageAlone && injected:
		// What denies may be what the pod lacks here; it has a sidecar.
	case report.Result == Denied:
		if injected {
			out.State = api.CoverageOutdated
		}
		out.Reason, out.Details = api.CoverageDenied, []string{sentenceOf(report)}
	case injected && report.Result == Injected:
		if reason, details := differences(running.Pod, now, imageAlone); len(details) > 0 {
			out = Standing{api.CoverageOutdated, reason, details}
		}
	}
	return out, nil
}

func sentenceOf(report Report) string { return string(report.Reason) + ": " + report.Message }

// AsCreated returns a pod without what it became after it was created: its status, its node, and, where a controller
// made it, the name that the API server gave it.
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

// differences compares what injection made of a pod with what it would make now. The reason is that of the gravest one.
func differences(running, now *corev1.Pod, imageAlone bool) (api.CoverageReason, []string) {
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
		differ(api.CoverageRevision, "the revision is %s, now %s", orNone(was.Revision), orNone(is.Revision))
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
		if imageAlone {
			break
		}
		if !slices.Equal(p.was.Command, p.is.Command) || !slices.Equal(p.was.Args, p.is.Args) {
			differ(api.CoverageConfiguration, "the arguments of %s are others now", p.is.Name)
		}
		for _, name := range otherEnv(p.was.Env, p.is.Env) {
			differ(api.CoverageConfiguration, "the environment variable %s of %s is another now", name, p.is.Name)
		}
	}
	return reason, details
}

func orNone(revision string) string {
	if revision == "" {
		return "none"
	}
	return revision
}

// sameImage takes a name with a registry's mirror in front, which other admission puts there, for the same image.
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

// ofThePod are variables that say something of the pod, which other admission may have changed after injection.
var ofThePod = map[string]bool{
	envProbers: true, "ISTIO_PROMETHEUS_ANNOTATIONS": true, "ISTIO_META_APP_CONTAINERS": true, "ISTIO_META_POD_PORTS": true,
	"ISTIO_META_OWNER": true, "ISTIO_META_WORKLOAD_NAME": true,
}

// otherEnv returns the names of variables that injection would set otherwise. What else is there others have set.
func otherEnv(running, now []corev1.EnvVar) []string {
	was := map[string]corev1.EnvVar{}
	for _, env := range running {
		was[env.Name] = asServed(env)
	}
	is := map[string]corev1.EnvVar{}
	for _, env := range now {
		is[env.Name] = asServed(env) // of two with the same name the last one counts
	}
	var out []string
	seen := make(map[string]bool, len(now))
	for _, env := range now {
		before, has := was[env.Name]
		if ofThePod[env.Name] || strings.HasPrefix(env.Name, "ISTIO_METAJSON_") || seen[env.Name] {
			continue
		}
		seen[env.Name] = true
		if !has || !equality.Semantic.DeepEqual(before, is[env.Name]) {
			out = append(out, env.Name)
		}
	}
	return out
}

// asServed returns a variable with the default that the API server writes.
func asServed(env corev1.EnvVar) corev1.EnvVar {
	if env.ValueFrom == nil || env.ValueFrom.FieldRef == nil || env.ValueFrom.FieldRef.APIVersion != "" {
		return env
	}
	from := *env.ValueFrom
	from.FieldRef = &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: env.ValueFrom.FieldRef.FieldPath}
	env.ValueFrom = &from
	return env
}
