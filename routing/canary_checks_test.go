// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"outrigger.dev/outrigger/api"
)

var nan = math.NaN()

func TestEvaluateChecks(t *testing.T) {
	for _, test := range []struct {
		name     string
		checks   string
		requests float64
		values   map[string]CanaryValue
		recorded map[string]float64
		want     string // numbers | failed | missing | too few
	}{
		{"within a bound", "error-rate<1%", 100, values("error-rate", 0.002, nan), nil, "error-rate 0.2% (<1%) | | |"},
		{"at a bound that excludes it", "error-rate<1%", 100, values("error-rate", 0.01, nan), nil, "error-rate 1% (<1%) | error-rate 1% (<1%) | |"},
		{"at a bound that includes it", "error-rate<=1%", 100, values("error-rate", 0.01, nan), nil, "error-rate 1% (<=1%) | | |"},
		{"a latency", "p99<500ms", 100, values("p99", 0.48, nan), nil, "p99 480ms (<500ms) | | |"},
		{"a slow one", "p99<500ms", 100, values("p99", 0.75, nan), nil, "p99 750ms (<500ms) | p99 750ms (<500ms) | |"},
		{"a factor", "p99<1.5x", 100, values("p99", 0.11, 0.1), nil, "p99 1.1x (<1.5x) | | |"},
		{"too large a factor", "p99<1.5x", 100, values("p99", 0.2, 0.1), nil, "p99 2x (<1.5x) | p99 2x (<1.5x) | |"},
		{"a recorded baseline", "p99<1.5x", 100, values("p99", 0.2, nan), map[string]float64{"p99": 0.1}, "p99 2x (<1.5x) | p99 2x (<1.5x) | |"},
		{"a current baseline comes first", "p99<1.5x", 100, values("p99", 0.2, 0.2), map[string]float64{"p99": 0.1}, "p99 1x (<1.5x) | | |"},
		{"no baseline at all", "p99<1.5x", 100, values("p99", 0.2, nan), map[string]float64{"p95": 0.1}, "p99 ? (<1.5x) | | p99: the default version has no value |"},
		{"a baseline of 0 errors, below the floor", "error-rate<1.5x", 100, values("error-rate", 0.004, 0), nil, "error-rate 0.4% (<1.5x, of the default version's 0) | | |"},
		{"a baseline of 0 errors, above the floor", "error-rate<=1.5x", 100, values("error-rate", 0.006, 0), nil, "error-rate 0.6% (<=1.5x, of the default version's 0) | error-rate 0.6% (<=1.5x, of the default version's 0) | |"},
		{"a latency beside 0", "p50<1.5x", 100, values("p50", 0.005, 0), nil, "p50 5ms (<1.5x, of the default version's 0) | | |"},
		{"a query beside 0", "queue<2x", 100, values("queue", 3, 0), nil, "queue ? (<2x) | | queue: the default version's value is 0, so a relative bound does not apply |"},
		{"0 beside 0", "queue<2x", 100, values("queue", 0, 0), nil, "queue 0 (<2x, of the default version's 0) | | |"},
		{"a lower bound", "queue>=2", 100, values("queue", 1, nan), nil, "queue 1 (>=2) | queue 1 (>=2) | |"},
		{"a lower factor", "queue>=0.9x", 100, values("queue", 8, 10), nil, "queue 0.8x (>=0.9x) | queue 0.8x (>=0.9x) | |"},
		{"no data", "error-rate<1%", 100, values("error-rate", nan, nan), nil, "error-rate ? (<1%) | | error-rate: no data |"},
		{"a negative value is no data", "error-rate<1%", 100, values("error-rate", -0.5, nan), nil, "error-rate ? (<1%) | | error-rate: no data |"},
		{"an infinite value is no data", "error-rate<1%", 100, values("error-rate", math.Inf(1), nan), nil, "error-rate ? (<1%) | | error-rate: no data |"},
		{"a negative baseline is none", "error-rate<1.5x", 100, values("error-rate", 0.1, -1), nil, "error-rate ? (<1.5x) | | error-rate: the default version has no value |"},
		{"no answer for a metric", "p99<1s", 100, nil, nil, "p99 ? (<1s) | | p99: no data |"},
		{"an error", "p99<1s", 100, map[string]CanaryValue{"p99": {Error: "timeout"}}, nil, "p99 ? (<1s) | | p99: timeout |"},
		{"unknown requests", "error-rate<1%", nan, values("error-rate", 0, nan), nil, "error-rate 0% (<1%) | | the number of requests is unknown |"},
		{"negative requests", "error-rate<1%", -3, values("error-rate", 0, nan), nil, "error-rate 0% (<1%) | | the number of requests is unknown |"},
		{"too few requests", "error-rate<1%", 19.9, values("error-rate", 0, nan), nil, "error-rate 0% (<1%) | | | 19 of 20 requests"},
		{"without requests, no data is expected", "error-rate<1%", 0, values("error-rate", nan, nan), nil, "error-rate ? (<1%) | | | 0 of 20 requests"},
		{"a failure counts with few requests", "error-rate<1%", 2, values("error-rate", 0.5, nan), nil, "error-rate 50% (<1%) | error-rate 50% (<1%) | | 2 of 20 requests"},
		{"a failure counts beside no data", "error-rate<1%,p99<1s", 100, values("error-rate", 0.5, nan), nil, "error-rate 50% (<1%), p99 ? (<1s) | error-rate 50% (<1%) | p99: no data |"},
	} {
		t.Run(test.name, func(t *testing.T) {
			checks, err := api.ParseCanaryChecks(test.checks, []string{"queue"})
			if err != nil {
				t.Fatal(err)
			}
			var missing []string
			got := evaluateChecks(checks, 20, CanarySamples{Requests: test.requests, Values: test.values}, test.recorded)
			for _, m := range got.missing {
				missing = append(missing, m.String())
			}
			text := strings.Join([]string{strings.Join(got.numbers, ", "), strings.Join(got.failed, ", "), strings.Join(missing, ", "), got.tooFew}, " | ")
			if want := strings.ReplaceAll(strings.ReplaceAll(test.want+" ", "| |", "|  |"), "| |", "|  |"); strings.TrimSpace(text) != strings.TrimSpace(want) {
				t.Errorf("got  %s\nwant %s", text, want)
			}
			parts := strings.Split(text, " | ")
			if passes := parts[1] == "" && parts[2] == "" && parts[3] == ""; got.hasPassed() != passes {
				t.Errorf("passed: %t", got.hasPassed())
			}
		})
	}
}

func values(metric string, canary, baseline float64) map[string]CanaryValue {
	return map[string]CanaryValue{metric: {Canary: canary, Baseline: baseline}}
}

func TestEvaluateChecksWithoutLeastRequests(t *testing.T) {
	checks, _ := api.ParseCanaryChecks("error-rate<1%", nil)
	if got := evaluateChecks(checks, 0, CanarySamples{Requests: nan, Values: values("error-rate", 0, nan)}, nil); !got.hasPassed() {
		t.Errorf("%+v", got)
	}
}

func TestBaselinesOf(t *testing.T) {
	checks, _ := api.ParseCanaryChecks("error-rate<1%,p99<1.5x,p95<2x,p50<2x", nil)
	samples := &CanarySamples{Values: map[string]CanaryValue{"error-rate": {Baseline: 1}, "p99": {Baseline: 0.3}, "p95": {Baseline: nan}}}
	got := baselinesOf(samples, checks, map[string]float64{"p99": 0.1, "p95": 0.2, "p90": 0.4})
	if diff := cmp.Diff(map[string]float64{"p99": 0.3, "p95": 0.2}, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if got := baselinesOf(nil, checks[:1], nil); got != nil {
		t.Errorf("%v", got)
	}
}

func TestRecordedRestarts(t *testing.T) {
	restarts := map[string]int{}
	for i := range maxRestarts + 2 {
		restarts[string(rune('a'+i/26))+string(rune('a'+i%26))] = i + 1
	}
	got := recordedRestarts(restarts)
	if len(got) != maxRestarts+1 || got[""] != maxRestarts+2 || got["aa"] != 1 {
		t.Errorf("%d %v", len(got), got[""])
	}
	if recordedRestarts(map[string]int{}) != nil {
		t.Error("no restarts are recorded as something")
	}
}

// A record of a canary that cannot be read does not lose the rest of the record.
func TestCanaryRecordIsReadLeniently(t *testing.T) {
	c := twoVersions(t)
	vs := c.existing.VirtualServices[0]
	text := vs.Annotations[api.AnnotationRecord]
	vs.Annotations[api.AnnotationRecord] = strings.Replace(text, "{", `{"canary":{"version":7},`, 1)
	if r := recordOf(vs); r.Default.Version != "v1" || r.Canary.isActive() {
		t.Errorf("%+v", r)
	}
	active := canaryRecord{Version: "v2", Since: timeText(time.Unix(0, 0)), Percent: 5, Auto: &autoCanaries{Since: "x"}, Ended: []endedCanary{{Version: "v1", State: CanaryAborted, At: "x"}}}
	r := record{Default: meaning{Version: "v1"}, Canary: active}
	vs.Annotations[api.AnnotationRecord] = r.text()
	if diff := cmp.Diff(active, recordOf(vs).Canary); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if text := (record{Default: meaning{Version: "v1"}}).text(); strings.Contains(text, "canary") {
		t.Error(text)
	}
}
