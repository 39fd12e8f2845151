// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// scrape reads the metrics of one pod of Outrigger as Prometheus does.
func scrape(ctx context.Context, pod *corev1.Pod) (map[string]*dto.MetricFamily, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(outrigger.Node.Address(pod.Status.PodIP), "8080")+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("/metrics answers %s", response.Status)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(response.Body)
}

// scrapeLeader reads the metrics of the pod that leads routing, scrapeHolder those of one that holds a Lease.
func scrapeLeader(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	return scrapeHolder(t, "outrigger-routing")
}

func scrapeHolder(t *testing.T, lease string) map[string]*dto.MetricFamily {
	t.Helper()
	pod := &corev1.Pod{}
	if err := kube.Get(t.Context(), client.ObjectKey{Namespace: outriggerNamespace, Name: holderOf(t, lease)}, pod); err != nil {
		t.Fatal(err)
	}
	families, err := scrape(t.Context(), pod)
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// scrapeLeaderOfACanary reads the metrics while a canary is in progress: one metric has series only then.
func scrapeLeaderOfACanary(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	ns := namespace(t, injected)
	apply(t, ns, service("app")+fixed("app-v1", "app", "v1")+fixed("app-v2", "app", "v2"))
	wantRoutes(t, ns, "app", "v1=100")
	annotate(t, ns, "app", "outrigger.dev/canary=v2")
	var families map[string]*dto.MetricFamily
	eventually(t, "the leader serves the step of the canary", func() error {
		families = scrapeLeader(t)
		if steps := samples(families, "outrigger_canary_step"); steps["namespace="+ns+" service=app"] != 1 {
			return fmt.Errorf("outrigger_canary_step is %v", steps)
		}
		return nil
	})
	return families
}

// samples returns the values of a metric by its labels, "reason=NoSidecar state=missing", but for those that are 0.
func samples(families map[string]*dto.MetricFamily, name string) map[string]float64 {
	out := map[string]float64{}
	for _, m := range families[name].GetMetric() {
		var labels []string
		for _, label := range m.GetLabel() {
			labels = append(labels, label.GetName()+"="+label.GetValue())
		}
		if value := m.GetCounter().GetValue() + m.GetGauge().GetValue(); value != 0 {
			out[strings.Join(labels, " ")] = value
		}
	}
	return out
}

// tableRow is one row of docs/reference/metrics.md.
var tableRow = regexp.MustCompile("(?m)^\\| `([a-z_*]+)` \\| (\\w+) \\| ([^|]*) \\| (.*) \\|$")

// What docs/reference/metrics.md lists is what a leader serves: every name, type, label and help, both ways.
func TestMetricsAreThoseOfThePage(t *testing.T) {
	needIstio(t)
	page, err := os.ReadFile("../../docs/reference/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	want, foreign := map[string]string{}, map[string]bool{}
	for _, found := range tableRow.FindAllStringSubmatch(string(page), -1) {
		name, kind, labels, help := found[1], found[2], strings.Trim(found[3], "` "), found[4]
		if prefix, is := strings.CutSuffix(name, "*"); is {
			foreign[prefix] = false
			continue
		}
		want[name] = strings.Join([]string{kind, strings.ReplaceAll(labels, "`", ""), help}, " | ")
	}
	got := map[string]string{}
	for name, family := range scrapeLeaderOfACanary(t) {
		if !strings.HasPrefix(name, "outrigger_") {
			known := false
			for prefix := range foreign {
				if strings.HasPrefix(name, prefix) {
					foreign[prefix], known = true, true
				}
			}
			if !known {
				t.Errorf("a leader serves %s, which docs/reference/metrics.md has no row for", name)
			}
			continue
		}
		got[name] = strings.Join([]string{strings.ToLower(family.GetType().String()), labelsOf(t, family, want[name]), family.GetHelp()}, " | ")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/reference/metrics.md and a leader (-page +leader):\n%s", diff)
	}
	for prefix, seen := range foreign {
		if !seen {
			t.Errorf("docs/reference/metrics.md lists %s*, and a leader serves none", prefix)
		}
	}
}

// labelsOf returns the labels that all samples have, in the order of the page.
func labelsOf(t *testing.T, family *dto.MetricFamily, row string) string {
	t.Helper()
	var all []string
	for i, m := range family.GetMetric() {
		var names []string
		for _, label := range m.GetLabel() {
			names = append(names, label.GetName())
		}
		slices.SortFunc(names, func(a, b string) int { return strings.Index(row, a) - strings.Index(row, b) })
		if i > 0 && !slices.Equal(names, all) {
			t.Errorf("%s has samples with labels %v and %v", family.GetName(), all, names)
		}
		all = names
	}
	return strings.Join(all, ", ")
}

// askedFor finds the metrics that an expression selects.
var askedFor = regexp.MustCompile(`([a-z_]+)\\?\{`)

// Every series that the chart's alerts and its dashboard ask for is served, by a leader or by an API server that could
// not reach a webhook of ours.
func TestWhatAlertsAndDashboardAskForIsServed(t *testing.T) {
	needIstio(t)
	ns := namespace(t, "e2e=unreachable")
	unreachable := `{name: %s.sidecar-injector.outrigger.dev, clientConfig: {url: "https://127.0.0.1:1/inject"}, failurePolicy: %s, sideEffects: None, admissionReviewVersions: [v1],
  rules: [{operations: [CREATE], apiGroups: [""], apiVersions: [v1], resources: [pods]}], namespaceSelector: {matchLabels: {e2e: unreachable}}}`
	apply(t, ns, "apiVersion: admissionregistration.k8s.io/v1\nkind: MutatingWebhookConfiguration\nmetadata: {name: e2e-unreachable}\nwebhooks:\n- "+
		fmt.Sprintf(unreachable, "ignored", "Ignore")+"\n- "+fmt.Sprintf(unreachable, "refused", "Fail")+"\n")
	t.Cleanup(func() {
		_, _ = cluster.Kubectl(context.Background(), nil, "delete", "mutatingwebhookconfiguration", "e2e-unreachable")
	})
	eventually(t, "the API server cannot call", func() error {
		if err := kube.Create(t.Context(), appPod(ns, "p-", nil), client.DryRunAll); err == nil {
			return errors.New("the pod was created")
		}
		return nil
	})
	parser := expfmt.NewTextParser(model.UTF8Validation)
	served, err := parser.TextToMetricFamilies(strings.NewReader(kubectl(t, "get", "--raw", "/metrics")))
	if err != nil {
		t.Fatal(err)
	}
	for metric, want := range map[string]string{
		// The rejection code is 400 in Kubernetes 1.30 and 503 later; no alert and no panel asks for it.
		"apiserver_admission_webhook_rejection_count": "^error_type=calling_webhook_error name=refused.sidecar-injector.outrigger.dev operation=CREATE rejection_code=[45][0-9]{2} type=admit$",
		"apiserver_admission_webhook_fail_open_count": "^name=ignored.sidecar-injector.outrigger.dev type=admit$",
	} {
		series := regexp.MustCompile(want)
		if got := samples(served, metric); !slices.ContainsFunc(slices.Collect(maps.Keys(got)), series.MatchString) {
			t.Errorf("%s has no series %s; it has %v", metric, want, got)
		}
	}
	maps.Copy(served, scrapeLeaderOfACanary(t))
	seen := 0
	for _, file := range []string{"alerts.yaml", "dashboard.json"} {
		text, err := os.ReadFile("../../charts/outrigger/files/" + file)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range askedFor.FindAllStringSubmatch(string(text), -1) {
			seen++
			if served[found[1]] == nil && served[strings.TrimSuffix(found[1], "_bucket")] == nil {
				t.Errorf("%s asks for %s, which nobody serves", file, found[1])
			}
		}
	}
	if seen < 30 {
		t.Errorf("only %d series were found in the two files, so this shows little", seen)
	}
}

// Pods that lack the sidecar that they should have are counted by the leader, and no longer when they are replaced.
func TestCoverageIsCounted(t *testing.T) {
	needIstio(t)
	ns := namespace(t)
	apply(t, ns, fixed("old", "old", "v1"))
	readyPods(t, ns, "app=old", 2)
	missing := func() float64 {
		return samples(scrapeLeader(t), "outrigger_coverage_pods")["reason=NoSidecar state=missing"]
	}
	becomes := func(what string, want float64) {
		t.Helper()
		eventually(t, what, func() error {
			if got := missing(); got != want {
				return fmt.Errorf("%v are missing, want %v", got, want)
			}
			return nil
		})
	}
	before := missing()
	kubectl(t, "label", "namespace", ns, "istio-injection=enabled")
	becomes("two pods are older than the label", before+2)
	kubectl(t, "rollout", "restart", "deployment/old", "-n", ns)
	becomes("the new pods have sidecars", before)
	eventually(t, "pods are covered", func() error {
		if samples(scrapeLeader(t), "outrigger_coverage_pods")["reason=UpToDate state=covered"] < 2 {
			return errors.New("none is")
		}
		return nil
	})
}

// Where routing is off pods are counted, too, by one replica. Each release counts those that it would inject.
func TestEveryReleaseCountsThePodsOfItsRevision(t *testing.T) {
	needIstio(t)
	r := prepareRelease(t, "counting", map[string]any{"coverage": settings["coverage"], "rbac": map[string]any{"createLease": true}})
	r.install(t)
	const missing, covered = "reason=NoSidecar state=missing", "reason=UpToDate state=covered"
	counted := func(lease, what string) float64 {
		return samples(scrapeHolder(t, lease), "outrigger_coverage_pods")[what]
	}
	becomes := func(why, lease, what string, want float64) {
		t.Helper()
		eventually(t, why, func() error {
			if got := counted(lease, what); got != want {
				return fmt.Errorf("%v pods are counted, want %v", got, want)
			}
			return nil
		})
	}
	const first, second = "outrigger-routing", "outrigger-coverage-counting"
	theirs, ours := namespace(t), namespace(t)
	apply(t, theirs, fixed("old", "old", "v1"))
	apply(t, ours, fixed("old", "old", "v1")+fixed("older", "older", "v1"))
	readyPods(t, theirs, "app=old", 2)
	readyPods(t, ours, "", 4)
	before := counted(first, missing)
	becomes("no pod asks for the revision", second, missing, 0)

	kubectl(t, "label", "namespace", ours, "istio.io/rev=counting")
	becomes("four pods are older than the label of the revision", second, missing, 4)
	kubectl(t, "label", "namespace", theirs, "istio-injection=enabled")
	becomes("the first release counts its own two, and none of those four", first, missing, before+2)
	kubectl(t, "rollout", "restart", "deployment/old", "-n", ours)
	becomes("two pods are new", second, covered, 2)
	becomes("the second release counts none of the first's", second, missing, 2)

	leader := holderOf(t, second)
	for _, pod := range r.pods(t) {
		metrics, err := scrape(t.Context(), &pod)
		if err != nil {
			t.Fatal(err)
		}
		if got := samples(metrics, "outrigger_coverage_pods"); (len(got) > 0) != (pod.Name == leader) {
			t.Errorf("pod %s counts %v, and %s leads", pod.Name, got, leader)
		}
	}
	kubectl(t, "-n", outriggerNamespace, "delete", "lease", second) // as what installs the chart may leave it out
	holderOf(t, second)
	r.usesItsRights(t)
}
