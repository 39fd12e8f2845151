// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"slices"
	"strconv"
	"time"
)

// CanarySettings are the settings of canaries, from the configuration file.
type CanarySettings struct {
	Interval         time.Duration // between two evaluations; 0 for DefaultCanaryInterval
	HasMetrics       bool          // metrics are configured
	AutoOnNamespaces bool          // canary=auto applies on a Namespace
}

// DefaultCanaryInterval is the time between two evaluations of a canary.
const DefaultCanaryInterval = 30 * time.Second

// The reasons of the Events about a canary, besides those of Problems.
const (
	CanaryStarted   = "CanaryStarted"
	CanaryStepped   = "CanaryStep"
	CanarySucceeded = "CanarySucceeded"
)

// maxCanaryRequests limits canary-min-requests.
const maxCanaryRequests = 1_000_000_000

// CanaryKeys returns the annotations of canaries.
func CanaryKeys() []string {
	return []string{
		AnnotationCanary, AnnotationCanarySteps, AnnotationCanaryInterval, AnnotationCanaryChecks,
		AnnotationCanaryMinRequests, AnnotationCanaryDeadline, AnnotationCanaryPaused,
	}
}

func isCanaryKey(key string) bool { return slices.Contains(CanaryKeys(), key) }

// canary reads the annotations of canaries. It reads all of them even if no canary is requested, to report their Problems.
func (r *reading) canary(intent *RouteIntent) {
	c := r.limits.CanaryDefaults()
	r.each(intent, AnnotationCanary, func(text string) error {
		if c.Auto = text == CanaryAuto; c.Auto {
			return nil
		}
		if err := checkVersion(text); err != nil {
			return err
		}
		c.Version = text
		return nil
	})
	r.each(intent, AnnotationCanaryInterval, func(text string) error {
		interval, err := parseCanaryDuration(text)
		if err != nil {
			return err
		}
		for i := range c.Steps { // the default ones; those of the Service follow
			if !c.Steps[i].HasOwnDuration {
				c.Steps[i].Duration = interval
			}
		}
		c.Interval = interval
		return nil
	})
	r.each(intent, AnnotationCanarySteps, func(text string) error { return keep(&c.Steps)(ParseCanarySteps(text, c.Interval)) })
	r.each(intent, AnnotationCanaryChecks, func(text string) error {
		queries := r.limits.CanaryQueries
		if r.limits.AnyCanaryQuery {
			queries = checkedMetrics(text)
		}
		return keep(&c.Checks)(ParseCanaryChecks(text, queries))
	})
	r.each(intent, AnnotationCanaryMinRequests, func(text string) error { return keep(&c.MinRequests)(parseCanaryRequests(text)) })
	r.each(intent, AnnotationCanaryDeadline, func(text string) error { return keep(&c.Deadline)(parseCanaryDuration(text)) })
	r.each(intent, AnnotationCanaryPaused, func(text string) error { return keep(&c.Paused)(parseSwitch(text)) })
	if c.Auto || c.Version != "" {
		_, ref, _ := r.find(AnnotationCanary)
		c.OnNamespace = ref.Kind == "Namespace"
		intent.Canary = &c
		return
	}
	for _, key := range CanaryKeys() {
		delete(intent.Texts, key) // without a canary, nothing depends on them
	}
}

func parseCanaryRequests(text string) (int, error) {
	count, err := strconv.ParseUint(text, 10, 32)
	if err != nil || count > maxCanaryRequests {
		return 0, fmt.Errorf("%q is not a whole number from 0 to %d", text, maxCanaryRequests)
	}
	return int(count), nil
}
