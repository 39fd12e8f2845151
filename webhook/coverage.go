// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
)

// CoverageOptions are the dependencies of a Coverage.
type CoverageOptions struct {
	// Pods returns all running pods by kind. It returns false while they are not known.
	Pods       func() ([]api.PodKind, bool)
	Namespaces NamespaceReader
	Config     ConfigSource
	Entries    PodSelector
	// Interval is the time between the end of a count and the next one.
	Interval   time.Duration
	Registerer prometheus.Registerer // nil = no metrics
	Log        logr.Logger
}

// Coverage counts which pods have the sidecar that they should have, which have none, and which an outdated one. It only
// counts; it runs on the leader.
type Coverage struct {
	options CoverageOptions
	pods    *prometheus.GaugeVec

	known     map[any]cachedCoverage // of the last count, by api.PodKind.ID
	config    *inject.Config         // that known was computed with
	lastError string                 // the last error that was logged
}

// cachedCoverage is the coverage of a kind of pods and what it was computed from. It is empty for pods that should have no sidecar.
type cachedCoverage struct {
	basis
	stateReason
}

type stateReason struct {
	state  api.CoverageState
	reason api.CoverageReason
}

// basis is what a coverage depends on besides the kind of pods and the configuration.
type basis struct {
	namespace string // its resource version
	selected  bool
}

// NewCoverage returns a Coverage that counts nothing until it is started.
func NewCoverage(options CoverageOptions) *Coverage {
	c := &Coverage{options: options, pods: promauto.With(options.Registerer).NewGaugeVec(prometheus.GaugeOpts{
		Name: "outrigger_coverage_pods",
		Help: "Pods that should have a sidecar, by state (covered, missing, outdated) and reason. Counted by the leader; 0 elsewhere.",
	}, []string{"state", "reason"})}
	c.set(nil)
	return c
}

// Start counts at the interval until the context ends. It runs on the replica that knows the pods, and may be called again
// after it has returned.
func (c *Coverage) Start(ctx context.Context) error {
	defer func() {
		c.known, c.config, c.lastError = nil, nil, ""
		c.set(nil) // the next leader counts
	}()
	for {
		if err := c.count(ctx); err != nil && ctx.Err() == nil && c.lastError != err.Error() {
			c.lastError = err.Error()
			c.options.Log.Error(err, "the sidecars of pods could not be counted; it is tried again")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(c.options.Interval):
		}
	}
}

// count evaluates the kinds of pods that are new, or whose configuration or Namespace changed, and sets the metric.
func (c *Coverage) count(ctx context.Context) error {
	config, err := c.options.Config.Current()
	if err != nil {
		return err
	}
	kinds, known := c.options.Pods()
	if !known {
		return nil
	}
	if !config.CoversLike(c.config) {
		c.known, c.config = nil, config
	}
	counts, next, namespaces := map[stateReason]int{}, map[any]cachedCoverage{}, map[string]*corev1.Namespace{}
	for _, kind := range kinds {
		if ctx.Err() != nil {
			return nil
		}
		pod := kind.Pod()
		namespace := namespaces[pod.Namespace]
		if namespace == nil {
			namespace = c.options.Namespaces.Namespace(ctx, pod.Namespace)
			namespaces[pod.Namespace] = namespace
		}
		now := basis{namespace: namespace.ResourceVersion}
		if now.selected, err = c.options.Entries.Selects(ctx, namespace, pod.Labels); err != nil {
			return err
		}
		evaluated, is := c.known[kind.ID]
		if !is || evaluated.basis != now {
			startedAt := time.Now()
			if evaluated, err = evaluate(pod, namespace, config, now); err != nil {
				return err
			}
			pause(ctx, time.Since(startedAt))
		}
		next[kind.ID] = evaluated
		counts[evaluated.stateReason] += kind.Pods
	}
	c.known, c.lastError = next, ""
	c.set(counts)
	return nil
}

// pause leaves the processor to requests: after a change of Istio's configuration, thousands of kinds may have to be evaluated.
func pause(ctx context.Context, duration time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(duration):
	}
}

func evaluate(pod *corev1.Pod, namespace *corev1.Namespace, config *inject.Config, on basis) (cachedCoverage, error) {
	out := cachedCoverage{basis: on}
	if !on.selected {
		return out, nil
	}
	coverage, err := inject.CoverageByImage(inject.Request{Pod: pod, Namespace: namespace, Path: "/inject"}, config)
	if err != nil {
		return out, fmt.Errorf("coverage: %w", err)
	}
	out.stateReason = stateReason{coverage.State, coverage.Reason}
	return out, nil
}

// set sets the metric, with 0 for what was not counted, so that alerts always have a series.
func (c *Coverage) set(counts map[stateReason]int) {
	for _, doc := range api.CoverageReasons() {
		for _, state := range doc.States {
			c.pods.WithLabelValues(string(state), string(doc.Reason)).Set(float64(counts[stateReason{state, doc.Reason}]))
		}
	}
}
