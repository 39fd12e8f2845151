// SPDX-License-Identifier: Apache-2.0

package alerts

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

type panel struct {
	ID      int
	Type    string
	Title   string
	GridPos struct{ H, W, X, Y int }
	Targets []struct{ Expr, LegendFormat string }
}

type dashboard struct {
	UID, Title  string
	Panels      []panel
	Annotations struct{ List []struct{ Name, Expr string } }
	Templating  struct {
		List []struct{ Name, Definition string }
	}
}

func dashboardOf(t *testing.T) dashboard {
	t.Helper()
	var configMap struct {
		Metadata struct{ Labels map[string]string }
		Data     map[string]string
	}
	if err := yaml.Unmarshal(rendered(t, "dashboard.yaml", "grafanaDashboard.enabled=true"), &configMap); err != nil {
		t.Fatal(err)
	}
	if configMap.Metadata.Labels["grafana_dashboard"] != "1" {
		t.Errorf("Grafana's sidecar does not find it by %v", configMap.Metadata.Labels)
	}
	var out dashboard
	if err := json.Unmarshal([]byte(configMap.Data["outrigger.json"]), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// filledIn is an expression of the dashboard with its variables as Grafana fills them in.
func filledIn(expr string) string {
	return strings.NewReplacer("$job", "outrigger-metrics", "$namespace", "outrigger-system", "$__rate_interval", "2m", "$__interval", "1m").Replace(expr)
}

// documented returns the labels of each metric of docs/reference/metrics.md, which test/e2e compares with a running leader, and the
// beginnings of the names of others.
func documented(t *testing.T) (own map[string][]string, foreign []string) {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(root, "docs/reference/metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	own = map[string][]string{}
	for _, found := range regexp.MustCompile("(?m)^\\| `([a-z_*]+)` \\| (\\w+) \\| ([^|]*) \\|").FindAllStringSubmatch(string(page), -1) {
		name, kind, labels := found[1], found[2], regexp.MustCompile(`\w+`).FindAllString(found[3], -1)
		if prefix, is := strings.CutSuffix(name, "*"); is {
			foreign = append(foreign, prefix)
			continue
		}
		own[name] = labels
		if kind == "histogram" {
			own[name+"_bucket"] = append(slices.Clone(labels), "le")
		}
	}
	return own, foreign
}

// ofTheScrape are labels that Prometheus gives to every series of a replica.
var ofTheScrape = []string{"job", "namespace", "pod", "instance"}

// Whatever the dashboard and the alerts ask for is a metric that there is, with a label that it has; and what Outrigger
// serves is on the dashboard.
func TestWhatIsAskedForIsThere(t *testing.T) {
	own, foreign := documented(t)
	shown := map[string]bool{}
	check := func(where, expr string) {
		for name, labels := range names(t, expr) {
			shown[strings.TrimSuffix(name, "_bucket")] = true
			if strings.HasPrefix(name, "apiserver_admission_webhook_") || slices.ContainsFunc(foreign, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
				continue
			}
			has, is := own[name]
			if !is {
				t.Errorf("%s asks for %s, which docs/reference/metrics.md does not list", where, name)
			}
			for _, label := range labels {
				// A label that the scrape sets, too, has a prefix.
				if !slices.Contains(has, strings.TrimPrefix(label, "exported_")) && !slices.Contains(ofTheScrape, label) {
					t.Errorf("%s asks for the label %s of %s, which has %v", where, label, name, has)
				}
			}
		}
	}
	d := dashboardOf(t)
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			check("panel "+p.Title, filledIn(target.Expr))
		}
	}
	for _, a := range d.Annotations.List {
		check("annotation "+a.Name, filledIn(a.Expr))
	}
	for name := range own {
		if !strings.HasSuffix(name, "_bucket") && !shown[name] {
			t.Errorf("%s is not on the dashboard", name)
		}
	}
	var declared struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	if err := yaml.Unmarshal(alertsOf(t), &declared); err != nil {
		t.Fatal(err)
	}
	for _, rule := range declared.Groups[0].Rules {
		check("alert "+rule.Alert, rule.Expr)
	}
}

// mayBeEmpty are panels that show something only when something is wrong, or whose metrics are not scraped here.
var mayBeEmpty = []string{"Failed calls of the API server", "Current problems, by reason", "Objects written", "Missing and outdated, by reason", "Reconciliations by result",
	"Services in the queue", "Duration of reconciliations", "Memory", "CPU", "Requests to the API server", "Events of workloads", "Certificates not trusted",
	"Running and waiting reviews", "Waiting time of reviews, and rejected reviews", "Memory reserved for reviews", "Contested objects", "Routing Events",
	"Steps", "Evaluations by result", "Query errors by reason", "Duration of queries"}

// Every panel shows something of a healthy Outrigger, with the labels that its legend names, and no two panels overlap.
func TestPanelsShowAHealthyOutrigger(t *testing.T) {
	h := newHistory(t, alertsOf(t))
	r := newReal().reviews(t, source{config: parse(t)}, `"inject.istio.io/templates":"nosuch"`).follows(t, template).covers(t, 98, 0, 0)
	r.also = sound(h.now)
	h.run(t, []target{replica("outrigger-a", r.serves)}, 10*time.Minute)
	ids, taken := map[int]bool{}, map[[2]int]string{}
	for _, p := range dashboardOf(t).Panels {
		if ids[p.ID] {
			t.Errorf("two panels have the id %d", p.ID)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if over := taken[[2]int{x, y}]; over != "" || x >= 24 {
					t.Fatalf("panel %q lies over %q, or beyond the edge", p.Title, over)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		for _, target := range p.Targets {
			expr := filledIn(target.Expr)
			asked := slices.Concat(ofTheScrape, []string{"le"})
			for _, labels := range names(t, expr) {
				asked = append(asked, labels...)
			}
			for _, label := range regexp.MustCompile(`{{(\w+)}}`).FindAllStringSubmatch(target.LegendFormat, -1) {
				if !slices.Contains(asked, label[1]) {
					t.Errorf("the legend of %s names %s, which %s does not have", p.Title, label[1], expr)
				}
			}
			if got := h.value(t, expr); got == 0 && !slices.Contains(mayBeEmpty, p.Title) {
				t.Errorf("panel %s shows nothing: %s", p.Title, expr)
			}
		}
	}
}
