// SPDX-License-Identifier: Apache-2.0

package canaries

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"outrigger.dev/outrigger/api"
)

// steps are two of the shortest steps that are allowed.
const steps = "50@10s,100@10s"

// A healthy version is promoted, and one that fails is aborted with the number of its check, from what a Prometheus server scraped.
func TestCanaries(t *testing.T) {
	fast, slow := 40*time.Millisecond, 400*time.Millisecond
	healthy := behavior{latency: fast}
	// failing fails every n-th request.
	failing := func(n int, change func(*behavior)) behavior {
		out := behavior{latency: fast, everyNth: n, code: "503"}
		if change != nil {
			change(&out)
		}
		return out
	}
	for _, test := range []struct {
		name        string
		v1, v2      behavior
		checks      string
		want        string  // Events: CanarySucceeded or CanaryAborted
		number      string  // the pattern of a number in its message
		least, most float64 // of the number
	}{
		{"healthy absolute", healthy, healthy, "error-rate<1%,p99<300ms", api.CanarySucceeded, `error-rate (\S+)% \(<1%\), p99 \S+ms \(<300ms\)`, 0, 0},
		{"healthy relative", healthy, healthy, "error-rate<=1.5x,p99<1.5x", api.CanarySucceeded, `p99 (\S+)x \(<1.5x\)`, 0.9, 1.1},
		{"as many errors as before", failing(20, nil), failing(20, nil), "error-rate<=2x", api.CanarySucceeded, `error-rate (\S+)x \(<=2x\)`, 0.4, 2},
		{"errors", healthy, failing(10, nil), "error-rate<1%", string(api.RouteCanaryAborted), `aborted at 50%: error-rate (\S+)% \(<1%\)`, 3, 20},
		{"more errors than before", failing(40, nil), failing(5, nil), "error-rate<=1.5x", string(api.RouteCanaryAborted), `aborted at 50%: error-rate (\S+)x \(<=1.5x\)`, 3, 20},
		{"errors of gRPC", healthy, failing(10, func(b *behavior) { b.code, b.grpc = "200", "14" }), "error-rate<1%", string(api.RouteCanaryAborted), `aborted at 50%: error-rate (\S+)% \(<1%\)`, 3, 20},
		{"requests that reach no pod", healthy, failing(10, func(b *behavior) { b.flags, b.isBlocked = "UF", true }), "error-rate<1%", string(api.RouteCanaryAborted), `aborted at 50%: error-rate (\S+)% \(<1%\)`, 3, 20},
		{"slow absolute", healthy, behavior{latency: slow}, "p99<300ms", string(api.RouteCanaryAborted), `aborted at 50%: p99 (\S+)ms \(<300ms\)`, 250, 500},
		{"slow relative", healthy, behavior{latency: slow}, "error-rate<1%,p99<1.5x", string(api.RouteCanaryAborted), `aborted at 50%: p99 (\S+)x \(<1.5x\)`, 5, 20},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			key := newService(t, 200, test.v1, test.v2)
			annotate(t, key, map[string]string{api.AnnotationCanary: "v2", api.AnnotationCanarySteps: steps, api.AnnotationCanaryChecks: test.checks})
			reason, message := event(t, key, api.CanarySucceeded, string(api.RouteCanaryAborted))
			if reason != test.want {
				t.Fatalf("%s: %s", reason, message)
			}
			t.Log(message)
			wantRoute(t, key, map[bool]string{true: "v2=100", false: "v1=100"}[test.want == api.CanarySucceeded])
			found := regexp.MustCompile(test.number).FindStringSubmatch(message)
			if found == nil {
				t.Fatalf("the message has no %s: %s", test.number, message)
			}
			if number, err := strconv.ParseFloat(found[1], 64); err != nil || number < test.least || number > test.most {
				t.Errorf("%v is not from %v to %v: %s", found[1], test.least, test.most, message)
			}
		})
	}
}

// With few requests, a step is extended, until there are enough.
func TestCanariesWithFewRequests(t *testing.T) {
	t.Parallel()
	key := newService(t, 1, behavior{latency: time.Millisecond}, behavior{latency: time.Millisecond})
	annotate(t, key, map[string]string{api.AnnotationCanary: "v2", api.AnnotationCanarySteps: steps})
	_, message := event(t, key, string(api.RouteCanaryFewRequests)) // the time of the step has elapsed
	t.Log(message)
	if got := routeOf(t, key); got != "v1=50 v2=50" {
		t.Errorf("the route is %s", got)
	}
	traffic.change(key, func(f *flow) { f.perSecond = 200 })
	event(t, key, api.CanarySucceeded)
	wantRoute(t, key, "v2=100")
}

// A version whose series end in the middle of a step does not pass it with what was counted before.
func TestCanariesWhoseSeriesEnd(t *testing.T) {
	t.Parallel()
	key := newService(t, 200, behavior{latency: time.Millisecond}, behavior{latency: time.Millisecond})
	annotate(t, key, map[string]string{api.AnnotationCanary: "v2", api.AnnotationCanarySteps: steps})
	wantRoute(t, key, "v1=50 v2=50")
	eventually(t, "v2 is counted", func() error {
		sent := 0
		traffic.change(key, func(f *flow) { sent = f.versions["v2"].sent })
		if sent < 200 {
			return fmt.Errorf("%d requests", sent)
		}
		return nil
	})
	hide := func(isHidden bool) {
		traffic.change(key, func(f *flow) { f.versions["v2"].isHidden = isHidden })
	}
	hide(true)
	_, message := event(t, key, string(api.RouteCanaryNoData))
	if !strings.Contains(message, "the metrics server has no series for v2") {
		t.Error(message)
	}
	// An evaluation after the time of the step records since when it could pass.
	eventually(t, "the deadline is counted", func() error {
		if text := recordOf(t, key); !strings.Contains(text, `"lateAt"`) {
			return fmt.Errorf("the record is %s", text)
		}
		return nil
	})
	if got := routeOf(t, key); got != "v1=50 v2=50" {
		t.Errorf("the route is %s", got)
	}
	hide(false)
	event(t, key, api.CanarySucceeded)
	wantRoute(t, key, "v2=100")
}

// The API server is away when a step has passed its time. The controller tries to write, and the share stays. Then it takes its remaining steps,
// one after the other.
func TestCanariesWithoutTheAPIServer(t *testing.T) {
	key := newService(t, 200, behavior{latency: time.Millisecond}, behavior{latency: time.Millisecond})
	annotate(t, key, map[string]string{api.AnnotationCanary: "v2", api.AnnotationCanarySteps: "25@10s,50@10s,100@10s"})
	wantRoute(t, key, "v1=75 v2=25")
	eventually(t, "the first numbers are recorded", func() error { // so that the next write is that of a step
		if text := recordOf(t, key); !strings.Contains(text, `"result"`) {
			return fmt.Errorf("the record is %s", text)
		}
		return nil
	})
	restore := toAPI.cut(t)
	eventually(t, "the controller tries to write the next step", func() error {
		if count := toAPI.refused("PATCH", key.Namespace); count < 3 {
			return fmt.Errorf("%d writes were refused", count)
		}
		return nil
	})
	if got := routeOf(t, key); got != "v1=75 v2=25" {
		t.Errorf("without the API server, the route is %s", got)
	}
	restore()
	var seen []string
	eventually(t, "the canary has all requests", func() error {
		got := routeOf(t, key)
		if !slices.Contains(seen, got) {
			seen = append(seen, got)
		}
		if got != "v2=100" {
			return fmt.Errorf("the route is %s", got)
		}
		return nil
	})
	if diff := cmp.Diff([]string{"v1=75 v2=25", "v1=50 v2=50", "v2=100"}, seen); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
	event(t, key, api.CanarySucceeded)
}
