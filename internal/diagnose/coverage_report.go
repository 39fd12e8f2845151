// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
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

	PodObjects []corev1.Pod        `json:"-"` // their metadata alone
	Ref        routing.WorkloadRef `json:"-"`
	Next       Successor           `json:"-"`
}

// Successor is what prevents a new pod from getting the sidecar; both fields are empty if nothing does.
type Successor struct {
	Asleep  string // why no injector would answer
	Unknown string // why it is unknown what a new pod would get
}

// WorkloadOf returns the workload of a pod as users know it, also the Job of a pod that is meant to complete.
func WorkloadOf(pod *corev1.Pod) routing.WorkloadRef {
	ref, serves := routing.WorkloadOf(pod)
	if owner := metav1.GetControllerOfNoCopy(pod); !serves && owner != nil {
		ref = routing.WorkloadRef{Kind: owner.Kind, Name: owner.Name}
	}
	return ref
}

// ReplaceCommand returns the command that replaces the pods of a workload, or "" if new pods would be denied or come without it.
func ReplaceCommand(ref routing.WorkloadRef, namespace string, reason api.CoverageReason) string {
	if reason == api.CoverageDenied || ref.Kind == "Job" {
		return ""
	}
	return restartCommand(ref, namespace)
}

// CoverageUnchecked is the state of a pod with a sidecar that cannot be compared with a new one.
const CoverageUnchecked api.CoverageState = "unchecked"

// CoverageWithoutConfig returns the state of a pod that should have a sidecar, if Istio's configuration cannot be read.
func CoverageWithoutConfig(pod *corev1.Pod) inject.Coverage {
	switch {
	case HasSidecar(pod):
		return inject.Coverage{State: CoverageUnchecked}
	case lacksSidecar(pod):
		return inject.Coverage{State: api.CoverageMissing, Reason: api.CoverageNoSidecar}
	}
	return inject.Coverage{}
}

// Eviction is what became of one pod that was to be evicted.
type Eviction struct {
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	Result    string `json:"result"` // evicted, left, gone, or failed
	Message   string `json:"message,omitempty"`
}

// WhyNotEvicted says why a pod is left without asking; nothing if it may be evicted.
func WhyNotEvicted(pod *corev1.Pod, w WorkloadCoverage) string {
	switch {
	case metav1.GetControllerOfNoCopy(pod) == nil:
		return "no controller would recreate it"
	case w.Ref.Kind == "Job":
		return "a Job's pod is not run twice"
	case w.Reason == api.CoverageDenied:
		return "a new pod would be denied"
	}
	switch {
	case w.Next.Unknown != "":
		return "it is unknown what a new pod would get: " + w.Next.Unknown
	case w.Next.Asleep != "":
		return "a new pod would get no sidecar: " + w.Next.Asleep
	}
	return ""
}

// The results of an eviction.
const (
	PodEvicted = "evicted"
	PodLeft    = "left"
	PodGone    = "gone"
	PodFailed  = "failed"
)
