// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"errors"
	"fmt"
	"iter"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
)

// Eviction is the result of the eviction of one pod.
type Eviction struct {
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	Result    string `json:"result"` // evicted, left, gone, or failed
	Message   string `json:"message,omitempty"`

	isUnknown bool // the pod was left because it is unknown what a new pod would get
}

// The results of an eviction.
const (
	PodEvicted = "evicted"
	PodLeft    = "left"
	PodGone    = "gone"
	PodFailed  = "failed"
)

// EvictionOrder returns the pods to evict: one of each workload in turn.
func (r *CoverageReport) EvictionOrder() iter.Seq2[*WorkloadCoverage, *corev1.Pod] {
	return func(yield func(*WorkloadCoverage, *corev1.Pod) bool) {
		for round, some := 0, true; some; round++ {
			some = false
			for i := range r.Workloads {
				w := &r.Workloads[i]
				if round >= len(w.podObjects) {
					continue
				}
				some = true
				if !yield(w, &w.podObjects[round]) {
					return
				}
			}
		}
	}
}

// Keep returns the result for a pod of the workload that must not be evicted, or nil if it may be.
func (w *WorkloadCoverage) Keep(pod *corev1.Pod) *Eviction {
	why := w.whyKept(pod)
	if why == "" {
		return nil
	}
	return &Eviction{Namespace: pod.Namespace, Pod: pod.Name, Result: PodLeft, Message: why, isUnknown: w.next.Unknown != ""}
}

func (w *WorkloadCoverage) whyKept(pod *corev1.Pod) string {
	switch {
	case metav1.GetControllerOfNoCopy(pod) == nil:
		return "no controller would recreate it"
	case w.ref.Kind == "Job":
		return "a Job's pod is not run twice"
	case w.Reason == api.CoverageDenied:
		return "a new pod would be denied"
	case w.next.Unknown != "":
		return "it is unknown what a new pod would get: " + w.next.Unknown
	case w.next.NoInjector != "":
		return "a new pod would get no sidecar: " + w.next.NoInjector
	}
	return ""
}

// EvictionOf interprets the response of the API server to an eviction. It returns an error if every other eviction would fail as
// well.
func EvictionOf(pod *corev1.Pod, err error) (Eviction, error) {
	out := Eviction{Namespace: pod.Namespace, Pod: pod.Name, Result: PodEvicted}
	switch {
	case err == nil:
	case apierrors.IsTooManyRequests(err):
		out.Result, out.Message = PodLeft, "a PodDisruptionBudget does not allow it now: "+err.Error()
	case apierrors.IsNotFound(err), apierrors.IsConflict(err):
		out.Result, out.Message = PodGone, "it was replaced or deleted meanwhile"
	case apierrors.IsForbidden(err):
		return out, fmt.Errorf("evict pod %s/%s: %w", pod.Namespace, pod.Name, err)
	default:
		out.Result, out.Message = PodFailed, err.Error()
	}
	return out, nil
}

// EvictionError returns an error if pods could not be evicted, or were not evicted because of missing permissions.
func (r *CoverageReport) EvictionError() error {
	failed, unknown := 0, 0
	for _, e := range r.Evictions {
		switch {
		case e.Result == PodFailed:
			failed++
		case e.isUnknown:
			unknown++
		}
	}
	var parts []string
	if failed > 0 {
		parts = append(parts, fmt.Sprintf("%d pods could not be evicted", failed))
	}
	if unknown > 0 {
		parts = append(parts, fmt.Sprintf("%d pods were not evicted, because it is unknown what new pods would get; docs/understand/security.md lists the permissions that coverage --evict needs", unknown))
	}
	if len(parts) == 0 {
		return nil
	}
	return errors.New(strings.Join(parts, "; "))
}
