// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
	"outrigger.dev/outrigger/routing"
)

// CoverageReport is the result of coverage, in the form of -o json.
type CoverageReport struct {
	// Pods counts the pods that should have a sidecar.
	Pods struct {
		Covered  int `json:"covered"`
		Missing  int `json:"missing"`
		Outdated int `json:"outdated"`
		// Unchecked is the number of pods whose sidecar could not be compared with that of a new pod.
		Unchecked int `json:"unchecked,omitempty"`
	} `json:"pods"`
	Workloads []WorkloadCoverage `json:"workloads"`
	Evictions []Eviction         `json:"evictions,omitempty"`
	Notes     []string           `json:"notes,omitempty"`
}

// WorkloadCoverage is a group of pods of one workload with the same state, reason, and details.
type WorkloadCoverage struct {
	Namespace string             `json:"namespace"`
	Workload  string             `json:"workload"` // Deployment/app
	State     api.CoverageState  `json:"state"`
	Reason    api.CoverageReason `json:"reason"`
	Details   []string           `json:"details,omitempty"`
	Pods      []string           `json:"pods"`
	Of        int                `json:"of"` // pods of the workload, covered or not
	// Command replaces the pods. It is empty if that would not help.
	Command string `json:"command,omitempty"`

	podObjects []corev1.Pod // only their metadata
	ref        routing.WorkloadRef
	next       Successor
}

// Successor is what prevents a new pod from getting the sidecar. Both fields are empty if nothing does.
type Successor struct {
	NoInjector string // why no injector would answer
	Unknown    string // why it is unknown what a new pod would get
}

// PodCoverage is the coverage of one pod, and what prevents a pod that replaces it from getting the sidecar.
type PodCoverage struct {
	Pod *corev1.Pod
	inject.Coverage
	Next Successor
}

// CoverageUnchecked is the state of a pod with a sidecar that cannot be compared with a new one.
const CoverageUnchecked api.CoverageState = "unchecked"

// CoverageByLabel returns the coverage of a pod if the webhook objects cannot be read: whether it has a sidecar, if the label of its
// Namespace requests one.
func CoverageByLabel(pod *corev1.Pod, namespace *corev1.Namespace) PodCoverage {
	if !requestsInjection(namespace) {
		return PodCoverage{Pod: pod}
	}
	return coverageWithoutConfig(pod, "you have no permission to read the webhook objects")
}

// CoverageWithoutConfig returns the coverage of a pod that should have a sidecar, if Istio's configuration cannot be read.
func CoverageWithoutConfig(pod *corev1.Pod) PodCoverage {
	return coverageWithoutConfig(pod, "you have no permission to read Istio's configuration")
}

func coverageWithoutConfig(pod *corev1.Pod, why string) PodCoverage {
	out := PodCoverage{Pod: pod, Next: Successor{Unknown: why}}
	switch {
	case HasSidecar(pod):
		out.State = CoverageUnchecked
	case lacksSidecar(pod):
		out.State, out.Reason = api.CoverageMissing, api.CoverageNoSidecar
	}
	return out
}

// FactsOfSuccessor returns which entries match a pod that replaces a running one.
func FactsOfSuccessor(ctx context.Context, entries []Entry, running *corev1.Pod, namespace *corev1.Namespace) *PodFacts {
	created, _, _, err := inject.Uninject(running)
	if err != nil {
		created = running // its annotation about the sidecar is invalid, which inject.CoverageOf reports
	}
	return &PodFacts{Namespace: namespace, Entries: MatchingEntries(ctx, entries, inject.AsCreated(created), namespace)}
}

// Successor returns why the injector of a new pod would not answer, or why that is unknown.
func (s *PodFacts) Successor(gaps Gaps) Successor {
	entry := s.Injector()
	if entry == nil || entry.Injector != Outrigger {
		return Successor{}
	}
	switch s.Answer() {
	case NoAnswer:
		if entry.failurePolicy() == admissionregistrationv1.Ignore && s.Matching(Istiod) != nil {
			return Successor{} // istiod injects the pod
		}
		return Successor{NoInjector: s.howToAnswer()}
	case UnknownAnswer:
		why := "it is unknown whether a replica of Outrigger is ready"
		if service := entry.Webhook.ClientConfig.Service; service != nil && gaps.Hides(service.Namespace, "EndpointSlice") {
			why = "you have no permission to read EndpointSlices in namespace " + service.Namespace + ", so " + why
		}
		return Successor{Unknown: why}
	}
	return Successor{}
}

// AddNamespace counts the pods of a namespace, and adds a WorkloadCoverage for each group of pods of a workload that lack the sidecar
// for the same reason.
func (r *CoverageReport) AddNamespace(namespace string, pods []PodCoverage) {
	groups, counts := map[string]*WorkloadCoverage{}, map[routing.WorkloadRef]int{}
	for _, p := range pods {
		switch p.State {
		case "":
			continue // it should have no sidecar
		case api.CoverageCovered:
			r.Pods.Covered++
		case api.CoverageMissing:
			r.Pods.Missing++
		case api.CoverageOutdated:
			r.Pods.Outdated++
		case CoverageUnchecked:
			r.Pods.Unchecked++
		}
		ref := workloadOf(p.Pod)
		if counts[ref]++; p.State == api.CoverageCovered || p.State == CoverageUnchecked {
			continue
		}
		key := strings.Join(append([]string{ref.String(), string(p.State), string(p.Reason)}, p.Details...), "\x00")
		group := groups[key]
		if group == nil {
			group = &WorkloadCoverage{
				Namespace: namespace, Workload: ref.String(), State: p.State, Reason: p.Reason, Details: p.Details,
				Command: replaceCommand(ref, namespace, p.Reason), ref: ref, next: p.Next,
			}
			groups[key] = group
		}
		group.next.Unknown = cmp.Or(group.next.Unknown, p.Next.Unknown)
		group.Pods, group.podObjects = append(group.Pods, p.Pod.Name), append(group.podObjects, *p.Pod)
	}
	var out []WorkloadCoverage
	for _, group := range groups {
		group.Of = counts[group.ref]
		out = append(out, *group)
	}
	slices.SortFunc(out, func(a, b WorkloadCoverage) int {
		return cmp.Or(cmp.Compare(a.State, b.State), cmp.Compare(a.Workload, b.Workload), cmp.Compare(a.Reason, b.Reason), slices.Compare(a.Details, b.Details))
	})
	r.Workloads = append(r.Workloads, out...)
}

// CoverageMetadata returns the part of a pod that AddNamespace and evictions need. A whole pod takes much more memory.
func CoverageMetadata(pod *corev1.Pod) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, GenerateName: pod.GenerateName, OwnerReferences: pod.OwnerReferences, Labels: pod.Labels,
	}}
}

// workloadOf returns the workload of a pod as users know it, also the Job of a pod that is meant to complete.
func workloadOf(pod *corev1.Pod) routing.WorkloadRef {
	ref, serves := routing.WorkloadOf(pod)
	if owner := metav1.GetControllerOfNoCopy(pod); !serves && owner != nil {
		ref = routing.WorkloadRef{Kind: owner.Kind, Name: owner.Name}
	}
	return ref
}

// replaceCommand returns the command that replaces the pods of a workload, or "" if new pods would be denied, or the pods of a Job.
func replaceCommand(ref routing.WorkloadRef, namespace string, reason api.CoverageReason) string {
	if reason == api.CoverageDenied || ref.Kind == "Job" {
		return ""
	}
	return restartCommand(ref, namespace)
}

// Remedy returns the command that gives the pods the sidecar, or in parentheses what happens otherwise.
func (w WorkloadCoverage) Remedy() string {
	switch {
	case w.Command != "":
		return w.Command
	case w.Reason == api.CoverageDenied:
		return fmt.Sprintf("(%s in namespace %s: fix what denies its new pods first; outrigger explain names it)", w.Workload, w.Namespace)
	}
	return fmt.Sprintf("(%s in namespace %s: its next pod gets the sidecar)", w.Workload, w.Namespace)
}
