// SPDX-License-Identifier: Apache-2.0

package scenarios

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"outrigger.dev/outrigger/test/traffic"
	"outrigger.dev/outrigger/test/traffic/load"
)

const canaryShort = "canary"

// canaryMetrics are the settings routing.metrics: queries over what the application itself serves, so that the proxies need no metrics.
// Only the scenario about canaries has that server, and only canaries query it.
var canaryMetrics = map[string]any{
	"prometheusURL":  "http://metrics.traffic-" + canaryShort + ":9090",
	"scrapeInterval": "1s",
	"queries": map[string]any{
		"requests":   sumOf("increase", "requests_total", ""),
		"error-rate": sumOf("increase", "requests_total", `,code=~"5.."`) + " / " + sumOf("increase", "requests_total", ""),
		"percentile": "histogram_quantile({{ .Quantile }}, " + strings.Replace(sumOf("rate", "request_duration_seconds_bucket", ""), "sum", "sum by (le) ", 1) + ")",
	},
}

// sumOf returns the query of a metric of the application, for a version.
func sumOf(function, metric, labels string) string {
	return "sum(" + function + "(traffic_app_" + metric + `{namespace="{{ .Namespace }}",version="{{ .Version }}"` + labels + "}[{{ .Window }}]))"
}

// canary rolls three versions out, of which only the last one is healthy.
func canary(t *testing.T) {
	installed(t)
	s := begin(t, true, canaryShort, "v2 returns 5% errors, and v3 is slow. Both canaries are aborted in their first step, by the second evaluation, and v1 gets all requests back. v4 is healthy and becomes the default version. No version gets more than the share of its step.")
	s.mayFail("v2 returns errors, which is why it is aborted")
	const usual, slow = `{name: DELAY, value: "20ms"}, `, `{name: DELAY, value: "1500ms"}, `
	s.apply(service(), metricsServer(s.Namespace), workload{name: "first", version: "v1", fixed: true, variables: usual}.manifest())
	s.ready()
	s.goLive([]string{"v1"},
		workload{name: "second", version: "v2", fixed: true, variables: usual + `{name: ERRORS, value: "5"}, `}.manifest(),
		workload{name: "third", version: "v3", fixed: true, variables: slow}.manifest(),
		workload{name: "fourth", version: "v4", fixed: true, variables: usual}.manifest())
	s.kubectl("wait", "--for=condition=Ready", "pod/metrics", "--timeout=2m")
	s.collect(100)

	s.wantAborted("v2", "second", `error-rate [\d.]+% \(<1%\)`)
	s.wantAborted("v3", "third", `p99 [\d.]+x \(<1.5x\)`)
	s.permit("", []string{"v1", "v4"})
	s.step("canary v4", func() {
		s.Log(s.outrigger(canaryCommand("v4", "10s")...))
		s.only("", "v4")
	})
	s.permit("", []string{"v4"})
	s.collect(150)

	s.stopLoads()
	for _, version := range []string{"v2", "v3", "v4"} {
		s.wantSteps(version)
	}
	for _, way := range s.record.Ways {
		others := slices.DeleteFunc(slices.Clone(way.Responses), func(r load.Response) bool {
			return !r.Failed() || r.Version == "v2" && r.Status == http.StatusInternalServerError
		})
		if len(others) > 0 {
			t.Errorf("%s, there are failures besides the errors of v2: %s", way.Name, traffic.Count(others))
		}
	}
}

func canaryCommand(version, interval string) []string {
	return []string{"canary", "web", version, "--steps", "10,50,100", "--interval", interval, "--check", "error-rate<1%", "--check", "p99<1.5x", "--wait"}
}

// wantAborted rolls a version out, and wants it to be aborted in its first step, by the second evaluation, for a reason.
func (s *Scene) wantAborted(version, workload, reason string) {
	s.Helper()
	before := s.evaluations()
	s.permit("", []string{"v1", version})
	s.step("canary "+version, func() {
		out, err := cluster.Command(root, nil, "outrigger", append(canaryCommand(version, "20s"), "-n", s.Namespace)...)
		if err == nil || !regexp.MustCompile(`was aborted at 10%: `+reason+`\n`).MatchString(err.Error()) {
			s.Fatalf("the canary was not aborted at 10%% with %s: %v\n%s", reason, err, out)
		}
	})
	s.step(version+" aborted", func() { s.only("", "v1") })
	s.permit("", []string{"v1"})
	s.collect(150)
	// The evaluation that ends a canary may not be counted.
	after := s.evaluations()
	passed, failed := after["passed"]-before["passed"], after["failed"]-before["failed"]
	if passed != 0 || failed < 1 || failed > 2 {
		s.Errorf("%s was aborted after %d evaluations passed and %d failed; want two that fail", version, passed, failed)
	}
	for _, object := range []string{"Service/web", "Deployment/" + workload} {
		kind, name, _ := strings.Cut(object, "/")
		s.eventually("Event CanaryAborted of "+object, func() error {
			events := s.kubectl("get", "events", "--field-selector", "reason=CanaryAborted,involvedObject.kind="+kind+",involvedObject.name="+name, "-o", "jsonpath={.items[*].message}")
			if !regexp.MustCompile("Canary " + version + " was aborted at 10%: " + reason).MatchString(events) {
				return fmt.Errorf("the Events are %q", events)
			}
			return nil
		})
	}
	s.note("%s was aborted at 10%% when two evaluations in a row had failed", version)
}

// evaluations returns the evaluations of canaries by result, as Outrigger counts them.
func (s *Scene) evaluations() map[string]int {
	s.Helper()
	out := map[string]int{}
	for _, pod := range s.replicas() {
		metrics := s.run("kubectl", "get", "--raw", fmt.Sprintf("/api/v1/namespaces/%s/pods/%s:8080/proxy/metrics", system, pod))
		for _, found := range regexp.MustCompile(`(?m)^outrigger_canary_evaluations_total\{result="(\w+)"\} (\d+)$`).FindAllStringSubmatch(metrics, -1) {
			count := 0
			_, _ = fmt.Sscan(found[2], &count) // the pattern has digits only
			out[found[1]] += count
		}
	}
	return out
}

// wantSteps wants a canary never to have more responses than its step permits. The loads have stopped.
func (s *Scene) wantSteps(version string) {
	s.Helper()
	s.mu.Lock()
	shares := traffic.Shares(s.record.Marks, version)
	s.mu.Unlock()
	received := 0
	for _, share := range shares {
		if share.Percent == 0 {
			continue
		}
		for _, way := range s.record.Ways {
			got, all, err := share.Excess(way.Responses, version, 5)
			if err != nil {
				s.Errorf("%s, %v", way.Name, err)
			}
			received += got
			s.note("%s, %s has %d of %d responses in its step of %d%%", way.Name, version, got, all, share.Percent)
		}
	}
	if received == 0 {
		s.Errorf("canary %s got no request; its shares were %v", version, shares)
	}
}
