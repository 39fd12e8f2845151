// SPDX-License-Identifier: Apache-2.0

package api

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Canary is what the user requests with outrigger.dev/canary and the annotations that belong to it.
type Canary struct {
	Version string // to roll out; empty with Auto
	Auto    bool   // each new version is rolled out
	// OnNamespace is true if the Namespace requests it.
	OnNamespace bool
	// Steps are never empty, and the last one is 100 percent.
	Steps    []CanaryStep
	Interval time.Duration // duration of each step that does not set one
	// Checks are nil if the annotation is unset: the defaults depend on whether metrics are configured. They are empty, and not nil, for
	// CanaryReadiness.
	Checks      []CanaryCheck
	MinRequests int           // to the canary within a step, before the step can pass
	Deadline    time.Duration // to pass a step, in addition to the step's own duration
	Paused      bool
}

// CanaryStep is one item of outrigger.dev/canary-steps.
type CanaryStep struct {
	Percent  int32         // of all requests, from 1 to 100
	Duration time.Duration // how long the step is monitored before it can pass
	// HasOwnDuration is true if the duration is written with the step, so that the interval does not apply to it.
	HasOwnDuration bool
}

// CanaryCheck is one item of outrigger.dev/canary-checks: a bound for the value of a metric.
type CanaryCheck struct {
	Metric     string // "error-rate", a percentile such as "p99", or the name of a query in the configuration file
	Comparison string // <, <=, >, >=
	// Bound is in the unit of the metric: a fraction for error-rate, seconds for a percentile. With IsRelative, it is a factor of the
	// default version's value.
	Bound      float64
	IsRelative bool
	// Text is the item as written.
	Text string
}

// CanaryAuto is the value of outrigger.dev/canary that starts a canary for each new version.
const CanaryAuto = "auto"

// CanaryReadiness is the value of outrigger.dev/canary-checks without a check of a metric: the readiness of the pods is checked in any case.
const CanaryReadiness = "readiness"

// MetricErrorRate is the fraction of requests that failed. Percentiles of the latency are named p50, p99, or p99.9.
const MetricErrorRate = "error-rate"

const (
	minCanaryDuration = 10 * time.Second // of a step: at least two evaluations with the shortest interval between them
	maxCanaryDuration = 30 * 24 * time.Hour
	maxCanarySteps    = 100
	maxCanaryChecks   = 20
)

// DefaultCanary returns the canary settings that apply without annotations.
func DefaultCanary() Canary {
	out := Canary{MinRequests: 20, Deadline: time.Hour, Interval: 5 * time.Minute}
	for _, percent := range []int32{5, 20, 50, 100} {
		out.Steps = append(out.Steps, CanaryStep{Percent: percent, Duration: out.Interval})
	}
	return out
}

// ParseCanarySteps parses a value of outrigger.dev/canary-steps, such as "5,25@10m,100". Percentages must rise and end with 100. A step
// without a duration of its own gets the interval.
func ParseCanarySteps(text string, interval time.Duration) ([]CanaryStep, error) {
	items := strings.Split(text, ",")
	if len(items) > maxCanarySteps {
		return nil, fmt.Errorf("it has %d steps, more than %d", len(items), maxCanarySteps)
	}
	var steps []CanaryStep
	for _, item := range items {
		item = strings.TrimSpace(item)
		number, duration, hasDuration := strings.Cut(item, "@")
		number = strings.TrimSuffix(strings.TrimSpace(number), "%")
		percent, err := strconv.ParseUint(number, 10, 32)
		if err != nil || percent < 1 || percent > 100 {
			return nil, fmt.Errorf("step %q: %q is not a whole percentage from 1 to 100", item, number)
		}
		step := CanaryStep{Percent: int32(percent), Duration: interval, HasOwnDuration: hasDuration}
		if hasDuration {
			if step.Duration, err = parseCanaryDuration(strings.TrimSpace(duration)); err != nil {
				return nil, fmt.Errorf("step %q: %w", item, err)
			}
		}
		if n := len(steps); n > 0 && step.Percent <= steps[n-1].Percent {
			return nil, fmt.Errorf("step %q is not larger than the step before it, %d", item, steps[n-1].Percent)
		}
		steps = append(steps, step)
	}
	if last := steps[len(steps)-1].Percent; last != 100 {
		return nil, fmt.Errorf("the last step is %d; it must be 100", last)
	}
	return steps, nil
}

func parseCanaryDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < minCanaryDuration || d > maxCanaryDuration {
		return 0, fmt.Errorf("%q is not a duration from %v to %v, such as 5m", text, ShortDuration(minCanaryDuration), ShortDuration(maxCanaryDuration))
	}
	return d, nil
}

// metricName is the form of a metric in a check.
const metricName = `[A-Za-z][-_.0-9A-Za-z]*`

var (
	canaryCheck = regexp.MustCompile(`^(` + metricName + `)\s*(<=|>=|<|>)\s*(\S+)$`)
	canaryQuery = regexp.MustCompile(`^` + metricName + `$`)
	percentile  = regexp.MustCompile(`^p(\d{1,2}(?:\.\d{1,3})?)$`)
)

// PercentileOf returns the quantile of a metric such as "p99", between 0 and 1; false for other metrics.
func PercentileOf(metric string) (quantile float64, is bool) {
	found := percentile.FindStringSubmatch(metric)
	if found == nil {
		return 0, false
	}
	percent, err := strconv.ParseFloat(found[1], 64)
	return percent / 100, err == nil && percent > 0
}

// ParseCanaryChecks parses a value of outrigger.dev/canary-checks, such as "error-rate<1%,p99<1.5x". The names of the queries in the
// configuration file are valid metrics; others are errors. CanaryReadiness is a list without checks.
func ParseCanaryChecks(text string, queries []string) ([]CanaryCheck, error) {
	if strings.TrimSpace(text) == CanaryReadiness {
		return []CanaryCheck{}, nil
	}
	items := strings.Split(text, ",")
	if len(items) > maxCanaryChecks {
		return nil, fmt.Errorf("it has %d checks, more than %d", len(items), maxCanaryChecks)
	}
	var checks []CanaryCheck
	for _, item := range items {
		check, err := parseCanaryCheck(strings.TrimSpace(item), queries)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(checks, func(other CanaryCheck) bool { return other.Text == check.Text }) {
			return nil, fmt.Errorf("check %q is listed twice", check.Text)
		}
		checks = append(checks, check)
	}
	return checks, nil
}

func parseCanaryCheck(text string, queries []string) (CanaryCheck, error) {
	parts := canaryCheck.FindStringSubmatch(text)
	if text == CanaryReadiness {
		return CanaryCheck{}, fmt.Errorf("%q must be the only item; readiness is always checked", text)
	}
	if parts == nil {
		return CanaryCheck{}, fmt.Errorf("check %q is not of the form metric<bound, such as error-rate<1%% or p99<500ms", text)
	}
	check := CanaryCheck{Metric: parts[1], Comparison: parts[2], Text: parts[1] + parts[2] + parts[3]}
	if err := checkMetric(check.Metric, queries); err != nil {
		return CanaryCheck{}, fmt.Errorf("check %q: %w", text, err)
	}
	if _, is := PercentileOf(check.Metric); (is || check.Metric == MetricErrorRate) && !strings.HasPrefix(check.Comparison, "<") {
		return CanaryCheck{}, fmt.Errorf("check %q: a version with a larger %s would pass; only < and <= are valid", text, check.Metric)
	}
	number, isRelative := strings.CutSuffix(parts[3], "x")
	if isRelative {
		factor, err := parseBound(number)
		if err != nil || factor == 0 {
			return CanaryCheck{}, fmt.Errorf("check %q: %q is not a factor of the default version's value, such as 1.5x", text, parts[3])
		}
		check.Bound, check.IsRelative = factor, true
		return check, nil
	}
	bound, err := parseBoundOf(check.Metric, parts[3])
	if err != nil {
		return CanaryCheck{}, fmt.Errorf("check %q: %w", text, err)
	}
	if bound == 0 && check.Comparison == "<" {
		return CanaryCheck{}, fmt.Errorf("check %q: no value is less than 0; %s<=%s is the smallest bound", text, check.Metric, parts[3])
	}
	check.Bound = bound
	return check, nil
}

// checkedMetrics returns the metrics that canary-checks names.
func checkedMetrics(text string) (metrics []string) {
	for _, item := range strings.Split(text, ",") {
		if parts := canaryCheck.FindStringSubmatch(strings.TrimSpace(item)); parts != nil {
			metrics = append(metrics, parts[1])
		}
	}
	return metrics
}

func checkMetric(metric string, queries []string) error {
	if _, is := PercentileOf(metric); is || metric == MetricErrorRate || slices.Contains(queries, metric) {
		return nil
	}
	known := []string{MetricErrorRate, "p50", "p90", "p95", "p99"}
	for _, name := range queries {
		if !slices.Contains(known, name) { // it replaces a default query
			known = append(known, name)
		}
	}
	for _, name := range known {
		if nearly(metric, name) {
			return fmt.Errorf("unknown metric %q; did you mean %q?", metric, name)
		}
	}
	return fmt.Errorf("unknown metric %q; known metrics: %s", metric, strings.Join(known, ", "))
}

// parseBoundOf parses a bound in the unit of its metric. A query of the configuration file may replace a default metric; its values then
// have the same unit.
func parseBoundOf(metric, text string) (float64, error) {
	if _, is := PercentileOf(metric); is {
		d, err := time.ParseDuration(text)
		if err != nil || d <= 0 {
			return 0, fmt.Errorf("%q is not a latency, such as 500ms", text)
		}
		return d.Seconds(), nil
	}
	number, isPercent := strings.CutSuffix(text, "%")
	bound, err := parseBound(number)
	switch {
	case metric == MetricErrorRate && (err != nil || !isPercent || bound > 100):
		return 0, fmt.Errorf("%q is not a percentage, such as 1%%", text)
	case err != nil || isPercent && metric != MetricErrorRate:
		return 0, fmt.Errorf("%q is not a number", text)
	case isPercent:
		return bound / 100, nil
	}
	return bound, nil
}

func parseBound(text string) (float64, error) {
	number, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(number) || math.IsInf(number, 0) || number < 0 || strings.ContainsAny(text, "xXpP_") {
		return 0, errors.New("not a number that is 0 or greater")
	}
	return number, nil
}

// Passes reports whether a value is within the bound of a check. NaN is not.
func (c CanaryCheck) Passes(value, bound float64) bool {
	switch c.Comparison {
	case "<":
		return value < bound
	case "<=":
		return value <= bound
	case ">":
		return value > bound
	}
	return value >= bound
}
