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

	"outrigger.dev/outrigger/internal/diagnose"
)

// evicting holds the flags for evictions.
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

// evict evicts pods of the report, one of each workload in turn, until --max are evicted or none remains. Pods that are left or
// whose eviction fails do not count.
func (c *coverer) evict(ctx context.Context, report *diagnose.CoverageReport, how evicting) error {
	evicted, failed, unknown := 0, 0, 0
	for round := 0; ; round++ {
		some := false
		for _, w := range report.Workloads {
			if round >= len(w.PodObjects) {
				continue
			}
			if evicted == how.most {
				return notEvicted(failed, unknown)
			}
			some = true
			status, err := c.evictOne(ctx, &w.PodObjects[round], w, how)
			if err != nil {
				return err
			}
			report.Evictions = append(report.Evictions, status)
			switch {
			case status.Result == diagnose.PodEvicted:
				evicted++
			case status.Result == diagnose.PodFailed:
				failed++
			case w.Next.Unknown != "":
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
func (c *coverer) evictOne(ctx context.Context, pod *corev1.Pod, w diagnose.WorkloadCoverage, how evicting) (diagnose.Eviction, error) {
	out := diagnose.Eviction{Namespace: pod.Namespace, Pod: pod.Name, Result: diagnose.PodLeft}
	if out.Message = diagnose.WhyNotEvicted(pod, w); out.Message != "" {
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
		out.Result, out.Message = diagnose.PodEvicted, strings.TrimSpace(dry)
	case apierrors.IsTooManyRequests(err):
		out.Message = "a PodDisruptionBudget does not allow it now: " + err.Error()
	case apierrors.IsNotFound(err), apierrors.IsConflict(err):
		out.Result, out.Message = diagnose.PodGone, "it was replaced or deleted meanwhile"
	case apierrors.IsForbidden(err):
		return out, fmt.Errorf("evict pod %s/%s: %w", pod.Namespace, pod.Name, err)
	case ctx.Err() != nil:
		return out, ctx.Err()
	default:
		out.Result, out.Message = diagnose.PodFailed, err.Error()
	}
	return out, nil
}
