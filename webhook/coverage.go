// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/inject"
)

// CoverageOptions are what a Coverage needs to know.
type CoverageOptions struct {
	// Pods returns all running pods by kind. It returns false while they are not known.
	Pods       func() ([]api.PodKind, bool)
	Namespaces NamespaceReader
	Config     ConfigSource
	Entries    PodSelector
	// Interval is how long it rests between two counts.
	Interval   time.Duration
	Registerer prometheus.Registerer // nil = no metrics
	Log        logr.Logger
}

// Coverage counts which pods have the sidecar that they should have, which have none, and which an outdated one. It only
// counts; it runs on the leader.
type Coverage struct {
	options CoverageOptions
	pods    *prometheus.GaugeVec

	known map[any]knownStanding // of the last count, by api.PodKind.ID
	by    *inject.Config        // that it was made by
	held  string                // the last error that was logged
}

// knownStanding is a judgement and what it was made by. It is empty for pods that should have no sidecar.
type knownStanding struct {
	by judgedBy
	covering
}

type covering struct {
	state  api.CoverageState
	reason api.CoverageReason
}

type judgedBy struct {
	namespace string // its resource version
	selected  bool
}

// NewCoverage returns a Coverage that counts nothing until it is started.
func NewCoverage(options CoverageOptions) *Coverage {
	c := &Coverage{options: options, pods: prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "outrigger_coverage_pods",
		Help: "Pods that should have a sidecar, by state (covered, missing, outdated) and reason. Counted by the leader; 0 elsewhere.",
	}, []string{"state", "reason"})}
	c.set(nil)
	if options.Registerer != nil {
		options.Registerer.MustRegister(c.pods)
	}
	return c
}

// Start counts at the interval until the context ends. It runs on the replica that knows the pods, and may be called again
// after it has returned.
func (c *Coverage) Start(ctx context.Context) error {
	defer func() {
		c.known, c.by, c.held = nil, nil, ""
		c.set(nil) // the next leader counts
	}()
	for {
		if err := c.count(ctx); err != nil && ctx.Err() == nil && c.held != err.Error() {
			c.held = err.Error()
			c.options.Log.Error(err, "the sidecars of pods could not be counted; it is tried again")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(c.options.Interval):
		}
	}
}

// count judges every kind of pod that was not judged yet by the configuration and the Namespace as they are.
func (c *Coverage) count(ctx context.Context) error {
	config, err := c.options.Config.Current()
	if err != nil {
		return err
	}
	kinds, known := c.options.Pods()
	if !known {
		return nil
	}
	if !config.CoversLike(c.by) {
		c.known, c.by = nil, config
	}
	counts, now, namespaces := map[covering]int{}, map[any]knownStanding{}, map[string]*corev1.Namespace{}
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
		by := judgedBy{namespace: namespace.ResourceVersion}
		if by.selected, err = c.options.Entries.Selects(ctx, namespace, pod.Labels); err != nil {
			return err
		}
		judged, is := c.known[kind.ID]
		if !is || judged.by != by {
			begun := time.Now()
			if judged, err = judge(pod, namespace, config, by); err != nil {
				return err
			}
			rest(ctx, time.Since(begun))
		}
		now[kind.ID] = judged
		counts[judged.covering] += kind.Pods
	}
	c.known, c.held = now, ""
	c.set(counts)
	return nil
}

// rest leaves the processor to requests: after a change of Istio's configuration, thousands of kinds may have to be judged.
func rest(ctx context.Context, lasts time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(lasts):
	}
}

func judge(pod *corev1.Pod, namespace *corev1.Namespace, config *inject.Config, by judgedBy) (knownStanding, error) {
	out := knownStanding{by: by}
	if !by.selected {
		return out, nil
	}
	standing, err := inject.CoverageByImage(inject.Request{Pod: pod, Namespace: namespace, Path: "/inject"}, config)
	if err != nil {
		return out, fmt.Errorf("coverage: %w", err)
	}
	out.covering = covering{standing.State, standing.Reason}
	return out, nil
}

// set sets the metric, with 0 for what was not counted, so that alerts always have a series.
func (c *Coverage) set(counts map[covering]int) {
	for _, doc := range api.CoverageReasons() {
		for _, state := range doc.States {
			c.pods.WithLabelValues(string(state), string(doc.Reason)).Set(float64(counts[covering{state, doc.Reason}]))
		}
	}
}
