// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
)

// evicting says whether and how many pods are evicted.
type evicting struct {
	wanted bool
	most   int
	dryRun string
}

func (e *evicting) register(command *cobra.Command) {
	flags := command.Flags()
	flags.BoolVar(&e.wanted, "evict", false, "evict the pods, so that their controllers create new ones; requires --max")
	flags.IntVar(&e.most, "max", 0, "evict no more pods than this")
	registerDryRun(command, &e.dryRun)
}

func (e *evicting) check(maxGiven bool) error {
	switch {
	case e.wanted && !maxGiven:
		return usagef("--evict needs --max: the number of pods that may be evicted")
	case !e.wanted && (maxGiven || e.dryRun != dryRunNone):
		return usagef("--max and --dry-run require --evict")
	case e.wanted && e.most < 1:
		return usagef("--max=%d: expected a number of pods, at least 1", e.most)
	}
	return nil
}

// evictionStatus is what became of one pod that was to be evicted.
type evictionStatus struct {
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	Result    string `json:"result"` // evicted, left, gone or failed
	Message   string `json:"message,omitempty"`
}

// The results of an eviction.
const (
	podEvicted = "evicted"
	podLeft    = "left"
	podGone    = "gone"
	podFailed  = "failed"
)

// evict evicts pods of the report, one of each workload in turn, until the most have gone or none is left. What is left
// or failed does not count.
func (c *coverer) evict(ctx context.Context, report *coverageReport, how evicting) error {
	evicted, failed, unknown := 0, 0, 0
	for round := 0; ; round++ {
		some := false
		for _, w := range report.Workloads {
			if round >= len(w.pods) {
				continue
			}
			if evicted == how.most {
				return notEvicted(failed, unknown)
			}
			some = true
			status, err := c.evictOne(ctx, &w.pods[round], w, how)
			if err != nil {
				return err
			}
			report.Evictions = append(report.Evictions, status)
			switch {
			case status.Result == podEvicted:
				evicted++
			case status.Result == podFailed:
				failed++
			case w.next.unknown != "":
				unknown++
			}
		}
		if !some {
			return notEvicted(failed, unknown)
		}
	}
}

// notEvicted returns the error for pods whose eviction failed, and for those that were left because of missing permissions.
func notEvicted(failed, unknown int) error {
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

// evictOne asks the API server to evict one pod. An error is one that no other pod would fare better with.
func (c *coverer) evictOne(ctx context.Context, pod *corev1.Pod, w coverageStatus, how evicting) (evictionStatus, error) {
	out := evictionStatus{Namespace: pod.Namespace, Pod: pod.Name, Result: podLeft}
	if out.Message = neverEvicted(pod, w); out.Message != "" {
		return out, nil
	}
	dry := (writing{dryRun: how.dryRun}).suffix()
	eviction := &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name},
		DeleteOptions: &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &pod.UID}},
	}
	if how.dryRun == dryRunServer {
		eviction.DeleteOptions.DryRun = []string{metav1.DryRunAll}
	}
	var err error
	if how.dryRun != dryRunClient {
		err = c.client.SubResource("eviction").Create(ctx, pod, eviction)
	}
	switch {
	case err == nil:
		out.Result, out.Message = podEvicted, strings.TrimSpace(dry)
	case apierrors.IsTooManyRequests(err):
		out.Message = "a PodDisruptionBudget does not allow it now: " + err.Error()
	case apierrors.IsNotFound(err), apierrors.IsConflict(err):
		out.Result, out.Message = podGone, "it was replaced or deleted meanwhile"
	case apierrors.IsForbidden(err):
		return out, fmt.Errorf("evict pod %s/%s: %w", pod.Namespace, pod.Name, err)
	case ctx.Err() != nil:
		return out, ctx.Err()
	default:
		out.Result, out.Message = podFailed, err.Error()
	}
	return out, nil
}

// neverEvicted says why a pod is left without asking; nothing if it may be evicted.
func neverEvicted(pod *corev1.Pod, w coverageStatus) string {
	switch {
	case metav1.GetControllerOfNoCopy(pod) == nil:
		return "no controller would recreate it"
	case w.ref.Kind == "Job":
		return "a Job's pod is not run twice"
	case w.Reason == api.CoverageDenied:
		return "a new pod would be denied"
	}
	switch {
	case w.next.unknown != "":
		return "it is unknown what a new pod would get: " + w.next.unknown
	case w.next.asleep != "":
		return "a new pod would get no sidecar: " + w.next.asleep
	}
	return ""
}
