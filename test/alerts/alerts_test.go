// SPDX-License-Identifier: Apache-2.0

package alerts

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/hack/controlplane"
	"sigs.k8s.io/yaml"
)

const root = "../.."

// rendered returns what Helm makes of one template of the chart.
func rendered(t *testing.T, template string, values ...string) []byte {
	t.Helper()
	assets, err := controlplane.Build(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"template", "outrigger", filepath.Join(root, "charts/outrigger"), "-n", "outrigger-system", "--kube-version", controlplane.KubernetesVersion, "-s", "templates/" + template}
	for _, value := range values {
		args = append(args, "--set", value)
	}
	out, err := exec.CommandContext(t.Context(), assets["helm"], args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return out
}

// alertsOf returns the alerts of the chart as a rule file of Prometheus.
func alertsOf(t *testing.T, values ...string) []byte {
	t.Helper()
	var object struct {
		Spec json.RawMessage `json:"spec"`
	}
	if err := yaml.Unmarshal(rendered(t, "prometheusrule.yaml", append(values, "prometheusRule.enabled=true")...), &object); err != nil {
		t.Fatal(err)
	}
	return object.Spec
}

// sound is what a healthy leader serves besides what its own code does here, in the form of a scrape.
func sound(now time.Time) string {
	return fmt.Sprintf(`outrigger_certificate_expiry_timestamp_seconds{certificate="serving"} %d
outrigger_certificate_expiry_timestamp_seconds{certificate="ca"} %d
outrigger_certificate_mismatch 0
leader_election_master_status{name="outrigger-routing"} 1
outrigger_routing_problems{reason="PendingVersions"} 0
outrigger_routing_problems{reason="ServiceSkipped"} 4
controller_runtime_reconcile_errors_total{controller="routing"} 3
`, now.Add(12*time.Hour).Unix(), now.Add(3650*24*time.Hour).Unix())
}

// with returns the text with one line in the place of the one that begins the same.
func with(text, line string) string {
	name := line[:strings.LastIndex(line, " ")+1]
	var out []string
	found := false
	for _, old := range strings.SplitAfter(text, "\n") {
		if strings.HasPrefix(old, name) {
			old, found = line+"\n", true
		}
		out = append(out, old)
	}
	if !found {
		panic("nothing begins with " + name)
	}
	return strings.Join(out, "")
}

func TestAHealthyOutriggerFiresNothing(t *testing.T) {
	h := newHistory(t, alertsOf(t))
	r := newReal().reviews(t, source{config: parse(t)}, "").follows(t, template).covers(t, 98, 2, 10)
	r.also = sound(h.now)
	other := newReal().follows(t, template)
	other.also = with(sound(h.now), `leader_election_master_status{name="outrigger-routing"} 0`)
	fired := h.run(t, []target{replica("outrigger-a", r.serves), replica("outrigger-b", other.serves)}, 3*time.Hour)
	for alert, f := range fired {
		t.Errorf("%s fires after %v: %s", alert, f.after, f.description)
	}
	if got := h.value(t, `sum(rate(outrigger_injection_total{result="injected"}[5m]))`); got != 1 {
		t.Fatal("the series of the real metrics are not there, so this shows nothing")
	}
}

// Every alert of the chart fires in its case, when its time has elapsed and not before, and says what is wrong.
func TestEveryAlertFires(t *testing.T) {
	text := alertsOf(t)
	var declared struct {
		Groups []struct {
			Rules []struct{ Alert, For string }
		}
	}
	if err := yaml.Unmarshal(text, &declared); err != nil {
		t.Fatal(err)
	}
	broken := func(change func(t *testing.T, r *real, now time.Time)) func(*testing.T, time.Time) []target {
		return func(t *testing.T, now time.Time) []target {
			r := newReal()
			r.also = sound(now)
			change(t, r, now)
			return []target{replica("outrigger-a", r.serves)}
		}
	}
	line := func(line string) func(*testing.T, time.Time) []target {
		return broken(func(t *testing.T, r *real, now time.Time) {
			r.follows(t, template)
			r.also = with(r.also, line)
		})
	}
	cases := map[string]struct {
		targets func(t *testing.T, now time.Time) []target
		says    string
	}{
		"OutriggerDown": {targets: func(*testing.T, time.Time) []target { return nil }, says: "No replica has been scraped"},
		"OutriggerUnreachable": {targets: func(_ *testing.T, now time.Time) []target {
			return append(healthy(t, now), apiServer(func(_ *testing.T, n int) []byte {
				return fmt.Appendf(nil, `apiserver_admission_webhook_rejection_count{error_type="calling_webhook_error",name="namespace.sidecar-injector.outrigger.dev",operation="CREATE",rejection_code="503",type="admit"} %d
apiserver_admission_webhook_rejection_count{error_type="no_error",name="rev.namespace.sidecar-injector.outrigger.dev",operation="CREATE",rejection_code="400",type="admit"} %d
`, 2*n, n)
			}))
		}, says: "failed to call Outrigger 10 times"},
		"OutriggerInjectionFails": {targets: broken(func(t *testing.T, r *real, _ time.Time) {
			r.follows(t, template).reviews(t, source{err: errNotKnown}, "")
		}), says: "28 requests failed in the last five minutes with the reason Error"},
		"OutriggerPodsDenied": {targets: broken(func(t *testing.T, r *real, _ time.Time) {
			r.follows(t, template).reviews(t, source{config: parse(t)}, `"inject.istio.io/templates":"nosuch"`)
		}), says: "100 pods were denied in the last ten minutes with the reason UnknownTemplate"},
		"OutriggerSlow": {targets: broken(func(t *testing.T, r *real, _ time.Time) {
			r.follows(t, template)
			r.slow = true
		}), says: "takes longer than"},
		"OutriggerConfigurationNotUsed": {targets: broken(func(t *testing.T, r *real, _ time.Time) {
			r.follows(t, strings.Replace(template, "spec:", "spec: {{ .NoSuch", 1))
		}), says: "does not use Istio's current configuration"},
		"OutriggerConfigurationDiffers": {targets: func(t *testing.T, now time.Time) []target {
			other := newReal().follows(t, strings.Replace(template, "proxyv2:1", "proxyv2:2", 1))
			other.also = sound(now)
			return append(healthy(t, now), replica("outrigger-b", other.serves))
		}, says: "used different configurations"},
		"OutriggerCertificateExpires": {targets: func(t *testing.T, now time.Time) []target {
			return line(fmt.Sprintf(`outrigger_certificate_expiry_timestamp_seconds{certificate="serving"} %d`, now.Add(2*time.Hour).Unix()))(t, now)
		}, says: "The serving certificate expires in 1h 55m"},
		"OutriggerCertificateMismatch": {targets: line(`outrigger_certificate_mismatch 1`), says: "cannot call at least one replica"},
		"OutriggerSidecarsMissing": {targets: broken(func(t *testing.T, r *real, _ time.Time) {
			r.follows(t, template).covers(t, 90, 10, 0)
		}), says: "90% of the pods that should have a sidecar have one"},
		"OutriggerSidecarsOutdated": {targets: broken(func(t *testing.T, r *real, now time.Time) {
			r.follows(t, template).covers(t, 40, 0, 60)
			r.also = with(r.also, fmt.Sprintf(`outrigger_certificate_expiry_timestamp_seconds{certificate="serving"} %d`, now.Add(48*time.Hour).Unix()))
		}), says: "60% of the sidecars"},
		"OutriggerNoLeader":     {targets: line(`leader_election_master_status{name="outrigger-routing"} 0`), says: "no replica has updated routes"},
		"OutriggerRoutingStuck": {targets: line(`outrigger_routing_problems{reason="PendingVersions"} 2`), says: "2 routing problems with the reason PendingVersions"},
		"OutriggerCanaryAborted": {targets: broken(func(t *testing.T, r *real, _ time.Time) {
			r.follows(t, template)
			r.also += `outrigger_routing_problems{reason="CanaryAborted"} 1` + "\n"
		}), says: "Services with an aborted canary: 1."},
		"OutriggerCanaryStuck": {targets: broken(func(t *testing.T, r *real, _ time.Time) {
			r.follows(t, template)
			r.also += `outrigger_routing_problems{reason="CanaryNoData"} 3` + "\n"
		}), says: "Canaries have been held, without data, or with too few requests for 30 minutes (now: 3). Reason: CanaryNoData."},
		"OutriggerContested": {targets: broken(func(t *testing.T, r *real, _ time.Time) {
			r.follows(t, template)
			r.also += `outrigger_contested_objects{kind="DestinationRule",manager="argocd-controller"} 3` + "\n"
		}), says: "the field manager argocd-controller has reverted 3 objects of kind DestinationRule"},
		"OutriggerRoutingFails": {targets: broken(func(t *testing.T, r *real, _ time.Time) {
			r.follows(t, template)
			failed := 0
			before := r.also
			r.each = func() {
				failed++
				r.also = with(before, fmt.Sprintf(`controller_runtime_reconcile_errors_total{controller="routing"} %d`, failed))
			}
		}), says: "20 attempts to update the routes of a Service failed"},
	}
	for _, rule := range declared.Groups[0].Rules {
		if _, is := cases[rule.Alert]; !is {
			t.Errorf("no case fires %s", rule.Alert)
		}
	}
	for alert, c := range cases {
		t.Run(alert, func(t *testing.T) {
			at := slices.IndexFunc(declared.Groups[0].Rules, func(r struct{ Alert, For string }) bool { return r.Alert == alert })
			if at < 0 {
				t.Fatal("the chart has no such alert")
			}
			after, err := time.ParseDuration(declared.Groups[0].Rules[at].For)
			if err != nil {
				t.Fatal(err)
			}
			h := newHistory(t, text)
			fired := h.run(t, c.targets(t, h.now), after+15*time.Minute)
			f, is := fired[alert]
			switch {
			case !is:
				t.Fatal("it does not fire")
			case f.after < after || f.after > after+time.Minute+evalEvery:
				t.Errorf("it fires after %v, not %v", f.after, after)
			case !strings.Contains(f.description, c.says):
				t.Errorf("it says %q, not %q", f.description, c.says)
			case f.labels.Get("severity") == "":
				t.Error("it has no severity")
			}
			delete(fired, alert)
			for other := range fired {
				t.Errorf("%s fires too", other)
			}
		})
	}
}

func healthy(t *testing.T, now time.Time) []target {
	r := newReal().follows(t, template)
	r.also = sound(now)
	return []target{replica("outrigger-a", r.serves)}
}

// The values of the chart disable alerts, set thresholds, and select series.
func TestAlertsFollowTheValues(t *testing.T) {
	text := string(alertsOf(t, "prometheusRule.disabled={OutriggerSlow}", "prometheusRule.thresholds.coverage=0.5", "prometheusRule.selector=cluster=\"a\"",
		"prometheusRule.ruleLabels.severity=page", "routing.enabled=false", "leaderElection.leaseName=other"))
	for _, not := range []string{"OutriggerSlow", "OutriggerNoLeader", "OutriggerRoutingStuck", `\u003c 0.95`, `job=\"`, `"severity":"critical"`} {
		if strings.Contains(text, not) {
			t.Errorf("%s is still there", not)
		}
	}
	for _, is := range []string{"OutriggerDown", "OutriggerSidecarsMissing", `\u003c 0.5"`, `absent(outrigger_istio_configuration_valid{cluster=\"a\"})`, `"severity":"page"`} {
		if !strings.Contains(text, is) {
			t.Errorf("%s is not there:\n%s", is, text)
		}
	}
	if text := string(alertsOf(t, "coverage.interval=0s")); strings.Contains(text, "OutriggerSidecars") {
		t.Errorf("there are alerts about what is not counted:\n%s", text)
	}
}

// Every alert has a section on the page, and the page has no others.
func TestEveryAlertHasItsRunbook(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs/reference/metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, found := range regexp.MustCompile(`"alert":"(\w+)"`).FindAllSubmatch(alertsOf(t), -1) {
		want = append(want, string(found[1]))
	}
	for _, found := range regexp.MustCompile(`(?m)^### (Outrigger\w+)$`).FindAllSubmatch(page, -1) {
		got = append(got, string(found[1]))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the chart's alerts and the headings of docs/reference/metrics.md (-chart +page):\n%s", diff)
	}
}

// The reasons that alerts select exist.
func TestAlertsSelectExistingReasons(t *testing.T) {
	known := map[string]bool{}
	for _, doc := range api.RouteReasons() {
		known[string(doc.Reason)] = true
	}
	for _, doc := range api.InjectReasons() {
		known[string(doc.Reason)] = true
	}
	seen := 0
	for _, found := range regexp.MustCompile(`reason(?:=|!=|=~)\\\\?"([\w|]+)\\\\?"`).FindAllSubmatch(alertsOf(t), -1) {
		for _, word := range strings.Split(string(found[1]), "|") {
			if seen++; !known[word] {
				t.Errorf("an alert selects the reason %s, which does not exist", word)
			}
		}
	}
	if seen < 4 {
		t.Errorf("only %d reasons were found", seen)
	}
}
