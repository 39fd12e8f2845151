// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/internal/diagnose"
)

// evictionFlags holds the flags for evictions.
type evictionFlags struct {
	wanted bool
	max    int
	dryRun string
}

func (e *evictionFlags) register(command *cobra.Command) {
	flags := command.Flags()
	flags.BoolVar(&e.wanted, "evict", false, "evict the pods, so that their controllers create new ones; requires --max")
	flags.IntVar(&e.max, "max", 0, "evict no more pods than this")
	registerDryRun(command, &e.dryRun)
}

func (e *evictionFlags) check(maxGiven bool) error {
	switch {
	case e.wanted && !maxGiven:
		return usagef("--evict needs --max: the maximum number of pods to evict")
	case !e.wanted && (maxGiven || e.dryRun != dryRunNone):
		return usagef("--max and --dry-run require --evict")
	case e.wanted && e.max < 1:
		return usagef("--max=%d: expected a number of pods, at least 1", e.max)
	}
	return nil
}

// evict evicts pods of the report, one of each workload in turn, until --max are evicted or none remains. Pods that are left or
// whose eviction fails do not count.
func (c *coverageReader) evict(ctx context.Context, report *diagnose.CoverageReport, flags evictionFlags) error {
	evicted := 0
	for workload, pod := range report.EvictionOrder() {
		if evicted == flags.max {
			break
		}
		eviction := workload.Keep(pod)
		if eviction == nil {
			result, err := c.evictOne(ctx, pod, flags)
			if err != nil {
				return err
			}
			eviction = &result
		}
		report.Evictions = append(report.Evictions, *eviction)
		if eviction.Result == diagnose.PodEvicted {
			evicted++
		}
	}
	return report.EvictionError()
}

// evictOne requests the eviction of one pod. It returns an error if every other eviction would fail as well.
func (c *coverageReader) evictOne(ctx context.Context, pod *corev1.Pod, flags evictionFlags) (diagnose.Eviction, error) {
	eviction := &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name},
		DeleteOptions: &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &pod.UID}},
	}
	if flags.dryRun == dryRunServer {
		eviction.DeleteOptions.DryRun = []string{metav1.DryRunAll}
	}
	var err error
	if flags.dryRun != dryRunClient {
		err = c.client.SubResource("eviction").Create(ctx, pod, eviction)
	}
	if err != nil && ctx.Err() != nil {
		return diagnose.Eviction{}, ctx.Err()
	}
	out, err := diagnose.EvictionOf(pod, err)
	if out.Result == diagnose.PodEvicted {
		out.Message = strings.TrimSpace((writing{dryRun: flags.dryRun}).suffix())
	}
	return out, err
}
