// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"outrigger.dev/outrigger/api"
)

// canaryResult is the result of one evaluation, with numbers for messages. It failed if a check failed, whatever else is known. It
// passed if nothing is missing and enough requests were seen. Otherwise it says nothing about the canary.
type canaryResult struct {
	numbers []string       // of each check: "error-rate 0.2% (<1%)"
	failed  []string       // the numbers of the checks that failed
	missing []missingValue // why checks could not be evaluated
	tooFew  string         // why the requests are too few; empty if they are enough
}

// missingValue says why an evaluation has no value of a metric, or of any metric if it names none. It is also in the record.
type missingValue struct {
	Metric string `json:"metric,omitempty"`
	Reason string `json:"reason,omitempty"` // empty if it is only known that there are no data
}

// String returns the metric with the reason: "error-rate: the metrics server has no series for v2".
func (m missingValue) String() string {
	why := cmp.Or(m.Reason, "no data")
	if m.Metric == "" {
		return why
	}
	return m.Metric + ": " + why
}

// lack returns the reason without the metric, which the numbers of the checks name.
func (m missingValue) lack() string {
	if m.Reason == "" {
		return "no data"
	}
	return "no data: " + m.Reason
}

func (r canaryResult) hasFailed() bool { return len(r.failed) > 0 }

func (r canaryResult) hasPassed() bool {
	return len(r.failed) == 0 && len(r.missing) == 0 && r.tooFew == ""
}

// lack says what is missing for the evaluation to pass: "no data: the metrics server has no series for v2", or "5 of 20 requests".
func (r canaryResult) lack() string {
	if len(r.missing) == 0 {
		return r.tooFew
	}
	return r.missing[0].lack()
}

// text returns the numbers of all checks.
func (r canaryResult) text() string { return api.Shorten(strings.Join(r.numbers, ", "), maxCanaryText) }

// Floors are the bounds of a relative check whose baseline is 0: a single slow or failed request would otherwise fail it.
const (
	floorErrorRate = 0.005
	floorLatency   = 0.010 // seconds
)

// evaluateChecks compares samples with the checks and with the least number of requests. Relative checks use the recorded baseline if
// the default version has no value now. A value that is NaN, infinite, or negative is none.
func evaluateChecks(checks []api.CanaryCheck, minRequests int, samples CanarySamples, recorded map[string]float64) canaryResult {
	var out canaryResult
	if minRequests > 0 && samples.Requests < float64(minRequests) && isValue(samples.Requests) {
		out.tooFew = fmt.Sprintf("%.0f of %d requests", math.Floor(samples.Requests), minRequests)
	}
	for _, check := range checks {
		value, has := samples.Values[check.Metric]
		if !has {
			value = CanaryValue{Canary: math.NaN(), Baseline: math.NaN()}
		}
		bound, number, why, has := boundOf(check, value, recorded)
		switch {
		case !has:
			if out.tooFew == "" || value.Error != "" { // without requests there are no values
				out.missing = append(out.missing, missingValue{check.Metric, why})
			}
			out.numbers = append(out.numbers, check.Metric+" ? ("+boundText(check)+")")
		case !check.Passes(value.Canary, bound):
			out.failed = append(out.failed, number)
			out.numbers = append(out.numbers, number)
		default:
			out.numbers = append(out.numbers, number)
		}
	}
	if minRequests > 0 && !isValue(samples.Requests) { // after the checks, whose values say more about the cause
		out.missing = append(out.missing, missingValue{Reason: "the number of requests is unknown"})
	}
	return out
}

// boundOf returns the bound of a check, and the value with the bound as a text. If there is no value or no bound, has is false, and why
// is the reason of a missingValue.
func boundOf(check api.CanaryCheck, value CanaryValue, recorded map[string]float64) (bound float64, number, why string, has bool) {
	name := check.Metric
	switch {
	case value.Error != "":
		return 0, "", api.Shorten(value.Error, maxCanaryText), false
	case !isValue(value.Canary):
		return 0, "", "", false
	case !check.IsRelative:
		return check.Bound, fmt.Sprintf("%s %s (%s)", name, MetricText(name, value.Canary), boundText(check)), "", true
	}
	baseline := value.Baseline
	if !isValue(baseline) {
		if baseline, has = recorded[name]; !has {
			return 0, "", "the default version has no value", false
		}
	}
	if baseline > 0 {
		return check.Bound * baseline, fmt.Sprintf("%s %sx (%s)", name, numberText(value.Canary/baseline), boundText(check)), "", true
	}
	isUpper := strings.HasPrefix(check.Comparison, "<")
	floor := floorOf(name)
	switch {
	case !isUpper:
		bound = 0
	case floor > 0:
		bound = floor
	case value.Canary > 0: // its unit is unknown
		return 0, "", "the default version's value is 0, so a relative bound does not apply", false
	default:
		bound = math.SmallestNonzeroFloat64 // equal to the default version
	}
	return bound, fmt.Sprintf("%s %s (%s, of the default version's 0)", name, MetricText(name, value.Canary), boundText(check)), "", true
}

func floorOf(metric string) float64 {
	if _, is := api.PercentileOf(metric); is {
		return floorLatency
	}
	if metric == api.MetricErrorRate {
		return floorErrorRate
	}
	return 0
}

func isValue(value float64) bool { return !math.IsNaN(value) && !math.IsInf(value, 0) && value >= 0 }

// baselinesOf returns the recorded values of the default version, with those of the samples in the place of older ones.
func baselinesOf(samples *CanarySamples, checks []api.CanaryCheck, recorded map[string]float64) map[string]float64 {
	out := map[string]float64{}
	for _, check := range checks {
		if !check.IsRelative {
			continue
		}
		if value, has := recorded[check.Metric]; has {
			out[check.Metric] = value
		}
		if samples != nil {
			if value, has := samples.Values[check.Metric]; has && value.Error == "" && isValue(value.Baseline) {
				out[check.Metric] = value.Baseline
			}
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// boundText returns a check without its metric: "<1%".
func boundText(check api.CanaryCheck) string { return strings.TrimPrefix(check.Text, check.Metric) }

// MetricText returns a value in the unit of its metric: "0.2%", "480ms".
func MetricText(metric string, value float64) string {
	if _, is := api.PercentileOf(metric); is && value < math.MaxInt64/float64(time.Second) {
		return time.Duration(value * float64(time.Second)).Round(100 * time.Microsecond).String()
	}
	if metric == api.MetricErrorRate {
		return numberText(100*value) + "%"
	}
	return numberText(value)
}

func numberText(value float64) string { return strconv.FormatFloat(value, 'g', 3, 64) }
