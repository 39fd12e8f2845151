// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// WorkloadOf returns the top-level workload that a pod belongs to, found in the pod alone: a ReplicaSet that carries the pod's
// template hash is its Deployment (or Rollout), a pod without a controller is its own workload. It is false for the pods of Jobs
// and CronJobs, which do not serve requests. The API server accepts any text as the kind and name of an owner: one that no object can
// have counts as no controller.
func WorkloadOf(pod *corev1.Pod) (WorkloadRef, bool) {
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil || !canExist(owner) {
		return WorkloadRef{Kind: "Pod", Name: pod.Name}, true
	}
	switch owner.Kind {
	case "Job", "CronJob":
		return WorkloadRef{}, false
	case "ReplicaSet":
		if name, ok := withoutHash(owner.Name, pod.Labels[appsv1.DefaultDeploymentUniqueLabelKey]); ok {
			return WorkloadRef{Kind: "Deployment", Name: name}, true
		}
		if name, ok := withoutHash(owner.Name, pod.Labels["rollouts-pod-template-hash"]); ok {
			return WorkloadRef{Kind: "Rollout", Name: name}, true
		}
	case "ReplicationController":
		if name := pod.Labels["deploymentconfig"]; name != "" {
			return WorkloadRef{Kind: "DeploymentConfig", Name: name}, true
		}
	}
	return WorkloadRef{Kind: owner.Kind, Name: owner.Name}, true
}

// canExist reports whether an object can have the kind and the name of an owner.
func canExist(owner *metav1.OwnerReference) bool {
	return len(validation.IsDNS1035Label(strings.ToLower(owner.Kind))) == 0 && len(validation.IsDNS1123Subdomain(owner.Name)) == 0
}

func withoutHash(name, hash string) (string, bool) {
	if hash == "" {
		return "", false
	}
	short, found := strings.CutSuffix(name, "-"+hash)
	return short, found && short != ""
}

// GroupPods counts pods by workload and version, sorted. Finished pods and pods of Jobs are left out.
func GroupPods(pods []*corev1.Pod, versionLabel string) []PodGroup {
	type key struct {
		ref     WorkloadRef
		version string
	}
	groups, restarts := map[key]*PodGroup{}, map[key]map[string]int{}
	for _, pod := range pods {
		ref, serves := WorkloadOf(pod)
		if !serves || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			continue
		}
		at := key{ref, pod.Labels[versionLabel]}
		group := groups[at]
		if group == nil {
			group = &PodGroup{Workload: ref, Version: at.version}
			groups[at] = group
		}
		since, ready := ReadySince(pod)
		group.Add(pod.CreationTimestamp.Time, since, ready, pod.DeletionTimestamp != nil)
		if pod.DeletionTimestamp != nil {
			continue
		}
		group.AddTemplate(TemplateOf(func(key string) string { return pod.Labels[key] }))
		if count := RestartsOf(pod); count > 0 {
			if restarts[at] == nil {
				restarts[at] = map[string]int{}
			}
			restarts[at][pod.Name] = count
		}
	}
	out := make([]PodGroup, 0, len(groups))
	for at, group := range groups {
		group.SetRestarts(restarts[at])
		out = append(out, *group)
	}
	slices.SortFunc(out, comparePods)
	return out
}

func comparePods(a, b PodGroup) int {
	return cmp.Or(compareRefs(a.Workload, b.Workload), cmp.Compare(a.Version, b.Version))
}

// Add counts one more pod. readySince counts only for a ready pod; a terminating pod is not ready.
func (g *PodGroup) Add(created, readySince time.Time, ready, terminating bool) {
	g.Pods++
	if terminating {
		g.Terminating++
	}
	if g.Created.IsZero() || created.Before(g.Created) {
		g.Created = created
	}
	if !ready {
		return
	}
	g.Ready++
	if g.ReadySince.IsZero() || readySince.Before(g.ReadySince) {
		g.ReadySince = readySince
	}
}

// AddTemplate adds the hash of a pod template; an empty one is none.
func (g *PodGroup) AddTemplate(hash string) {
	if hash == "" || hash == g.Templates { // nearly always
		return
	}
	if known := splitList(g.Templates); !slices.Contains(known, hash) {
		g.Templates = strings.Join(slices.Sorted(slices.Values(append(known, hash))), ",")
	}
}

// SetRestarts sets the number of restarts, by pod.
func (g *PodGroup) SetRestarts(counts map[string]int) {
	if len(counts) == 0 {
		return
	}
	pairs := map[string]string{}
	for pod, count := range counts {
		pairs[pod] = strconv.Itoa(count)
	}
	g.Restarts = pairsText(pairs)
}

// TemplateOf returns the hash of the template that a pod was created from, by its labels; empty if no controller labels it.
func TemplateOf(label func(key string) string) string {
	return cmp.Or(label(appsv1.DefaultDeploymentUniqueLabelKey), label("rollouts-pod-template-hash"), label(appsv1.ControllerRevisionHashLabelKey))
}

// RestartsOf returns the most restarts of any container of a pod.
func RestartsOf(pod *corev1.Pod) int {
	most := int32(0)
	for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for _, status := range list {
			most = max(most, status.RestartCount)
		}
	}
	return int(most)
}

// ReadySince is since when a pod is ready; false if it is not, or ends. A condition without a time is as old as the pod.
func ReadySince(pod *corev1.Pod) (since time.Time, ready bool) {
	if pod.DeletionTimestamp != nil {
		return time.Time{}, false
	}
	at := slices.IndexFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
	if at < 0 {
		return time.Time{}, false
	}
	if since = pod.Status.Conditions[at].LastTransitionTime.Time; since.IsZero() {
		since = pod.CreationTimestamp.Time
	}
	return since, true
}

func compareRefs(a, b WorkloadRef) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
}

// String returns "Deployment/app", the form in which a record names a workload.
func (r WorkloadRef) String() string { return r.Kind + "/" + r.Name }

func refFrom(text string) (WorkloadRef, bool) {
	kind, name, ok := strings.Cut(text, "/")
	return WorkloadRef{Kind: kind, Name: name}, ok && kind != "" && name != ""
}

// kindEntry is the kind of a machine outside of Kubernetes. Each is a separate track.
const kindEntry = "WorkloadEntry"

// EntryLabels returns the labels of a WorkloadEntry, merged as Istio does: those of its metadata win.
func EntryLabels(entry *networkingv1.WorkloadEntry) map[string]string {
	out := maps.Clone(entry.Spec.Labels)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, entry.Labels)
	return out
}

// GroupEntries returns the WorkloadEntries that a selector matches, each as a workload of one pod. It is ready unless
// a health check of Istio reports otherwise.
func GroupEntries(entries []*networkingv1.WorkloadEntry, selector map[string]string, versionLabel string) []PodGroup {
	var out []PodGroup
	for _, entry := range entries {
		labels := EntryLabels(entry)
		if !Selects(selector, labels) {
			continue
		}
		group := PodGroup{Workload: WorkloadRef{Kind: kindEntry, Name: entry.Name}, Version: labels[versionLabel]}
		since, ready := healthySince(entry)
		group.Add(entry.CreationTimestamp.Time, since, ready, entry.DeletionTimestamp != nil)
		out = append(out, group)
	}
	slices.SortFunc(out, func(a, b PodGroup) int { return compareRefs(a.Workload, b.Workload) })
	return out
}

// healthySince is since when a WorkloadEntry receives calls; false if it does not.
func healthySince(entry *networkingv1.WorkloadEntry) (since time.Time, ready bool) {
	since, ready = entry.CreationTimestamp.Time, entry.DeletionTimestamp == nil
	for _, c := range entry.Status.GetConditions() {
		if c.GetType() != "Healthy" {
			continue
		}
		ready = ready && c.GetStatus() != "False"
		if at := c.GetLastTransitionTime(); at.IsValid() && at.AsTime().After(since) {
			since = at.AsTime()
		}
	}
	return since, ready
}

// IsEntry reports whether a workload is a WorkloadEntry.
func (r WorkloadRef) IsEntry() bool { return r.Kind == kindEntry }

// listed reports whether workloads of this kind are all in Observed.Workloads, so that one that is not there is gone. A
// bare pod is there as long as its pod is, and a WorkloadEntry as long as it is.
func (r WorkloadRef) listed() bool {
	switch r.Kind {
	case "Deployment", "StatefulSet", "DaemonSet", "Pod", kindEntry:
		return true
	}
	return false
}

// Selects reports whether a selector matches labels. An empty selector matches nothing, as in a Service.
func Selects(selector, labels map[string]string) bool {
	if len(selector) == 0 {
		return false
	}
	for key, value := range selector {
		if is, has := labels[key]; !has || is != value {
			return false
		}
	}
	return true
}

// KnownVersions returns the versions that the pods of a Service carry, or that the pods of a workload behind it would carry, in
// natural order.
func KnownVersions(observed Observed) []string {
	var out []string
	for _, group := range observed.Pods {
		out = append(out, group.Version)
	}
	for _, w := range observed.Workloads {
		if Selects(observed.Service.Spec.Selector, w.Labels) {
			out = append(out, w.Labels[observed.Intent.VersionLabel])
		}
	}
	out = slices.DeleteFunc(out, func(version string) bool { return version == "" })
	slices.SortFunc(out, CompareVersions)
	return slices.Compact(out)
}
