// SPDX-License-Identifier: Apache-2.0

package alerts

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	clientprometheus "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/teststorage"
)

var promQL = parser.NewParser(parser.Options{})

// target is something that Prometheus scrapes: what it serves at the n-th scrape, and the labels that it gets.
type target struct {
	labels map[string]string
	serves func(t *testing.T, scrape int) []byte
}

// replica is a replica of Outrigger as the ServiceMonitor finds it.
func replica(name string, serves func(t *testing.T, scrape int) []byte) target {
	return target{map[string]string{"job": "outrigger-metrics", "namespace": "outrigger-system", "pod": name, "instance": name + ":8080"}, serves}
}

// apiServer is scraped by another job.
func apiServer(serves func(t *testing.T, scrape int) []byte) target {
	return target{map[string]string{"job": "apiserver", "instance": "10.0.0.1:6443"}, serves}
}

// exposed writes what a registry serves.
func exposed(t *testing.T, registry clientprometheus.Gatherer) []byte {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(&out, family); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

const (
	scrapeEvery = 30 * time.Second
	evalEvery   = 30 * time.Second
)

// history is a Prometheus without its servers: a database, an engine and the chart's alerts.
type history struct {
	storage *teststorage.TestStorage
	group   *rules.Group
	engine  *promql.Engine
	now     time.Time
}

func newHistory(t *testing.T, text []byte) *history {
	t.Helper()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	parsed, errs := rulefmt.Parse(text, false, model.UTF8Validation, promQL, quiet)
	if len(errs) > 0 {
		t.Fatal(errors.Join(errs...))
	}
	h := &history{storage: teststorage.New(t), engine: promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute, EnableNegativeOffset: true})}
	t.Cleanup(func() { _ = h.engine.Close() })
	h.now = time.Now().Truncate(scrapeEvery) // certificates and Outrigger's own timestamps are of today
	var alerting []rules.Rule
	for _, r := range parsed.Groups[0].Rules {
		expr, err := promQL.ParseExpr(r.Expr)
		if err != nil {
			t.Fatalf("%s: %v", r.Alert, err)
		}
		alerting = append(alerting, rules.NewAlertingRule(r.Alert, expr, time.Duration(r.For), 0, labels.FromMap(r.Labels), labels.FromMap(r.Annotations), labels.EmptyLabels(), "", true, quiet))
	}
	h.group = rules.NewGroup(rules.GroupOptions{Name: "outrigger", Interval: evalEvery, Rules: alerting, Opts: &rules.ManagerOptions{
		QueryFunc: rules.EngineQueryFunc(h.engine, h.storage), AppendableV2: h.storage, Queryable: h.storage, Context: context.Background(), Logger: quiet,
		NotifyFunc: func(context.Context, string, ...*rules.Alert) {},
	}})
	return h
}

// scrape takes down what the targets serve now.
func (h *history) scrape(t *testing.T, targets []target, n int) {
	t.Helper()
	appender := h.storage.AppenderV2(t.Context())
	for _, one := range targets {
		p, err := textparse.New(one.serves(t, n), "text/plain; version=0.0.4", nil, textparse.ParserOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for {
			entry, err := p.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if entry != textparse.EntrySeries {
				continue
			}
			var l labels.Labels
			p.Labels(&l)
			builder := labels.NewBuilder(l)
			for name, value := range one.labels {
				builder.Set(name, value)
			}
			_, _, value := p.Series()
			if _, err := appender.Append(0, builder.Labels(), 0, h.now.UnixMilli(), value, nil, nil, storage.AppendV2Options{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := appender.Commit(); err != nil {
		t.Fatal(err)
	}
}

// firing is one alert that fires: since when, after the beginning, and what it says.
type firing struct {
	after       time.Duration
	description string
	labels      labels.Labels
}

// run scrapes and evaluates for a while and returns when each alert began to fire.
func (h *history) run(t *testing.T, targets []target, lasts time.Duration) map[string]firing {
	t.Helper()
	fired := map[string]firing{}
	begin := h.now
	for n := 0; h.now.Sub(begin) <= lasts; n++ {
		h.scrape(t, targets, n)
		h.group.Eval(t.Context(), h.now)
		for _, rule := range h.group.AlertingRules() {
			if rule.LastError() != nil {
				t.Fatalf("%s: %v", rule.Name(), rule.LastError())
			}
			for _, alert := range rule.ActiveAlerts() {
				if _, is := fired[rule.Name()]; !is && alert.State == rules.StateFiring {
					fired[rule.Name()] = firing{h.now.Sub(begin), alert.Annotations.Get("description"), alert.Labels}
				}
			}
		}
		h.now = h.now.Add(scrapeEvery)
	}
	return fired
}

// value evaluates an expression as a dashboard does and returns how many series come out.
func (h *history) value(t *testing.T, expr string) int {
	t.Helper()
	query, err := h.engine.NewInstantQuery(t.Context(), h.storage, nil, expr, h.now.Add(-scrapeEvery))
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	defer query.Close()
	result := query.Exec(t.Context())
	if result.Err != nil {
		t.Fatalf("%s: %v", expr, result.Err)
	}
	vector, err := result.Vector()
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	return len(vector)
}

// names returns the metrics of an expression and the labels that it asks of each, sorted.
func names(t *testing.T, expr string) map[string][]string {
	t.Helper()
	parsed, err := promQL.ParseExpr(expr)
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	out := map[string][]string{}
	parser.Inspect(parsed, func(node parser.Node, path []parser.Node) error {
		selector, is := node.(*parser.VectorSelector)
		if !is {
			return nil
		}
		asked := out[selector.Name]
		for _, matcher := range selector.LabelMatchers {
			if matcher.Name != model.MetricNameLabel {
				asked = append(asked, matcher.Name)
			}
		}
		for _, above := range path {
			if aggregate, is := above.(*parser.AggregateExpr); is {
				asked = append(asked, aggregate.Grouping...)
			}
		}
		slices.Sort(asked)
		out[selector.Name] = slices.Compact(asked)
		return nil
	})
	return out
}
