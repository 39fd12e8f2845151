// SPDX-License-Identifier: Apache-2.0

package canaries

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	clientprometheus "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/common/route"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/tsdb"
	apiv1 "github.com/prometheus/prometheus/web/api/v1"
)

// scrapeEvery is the scrape interval of the server.
const scrapeEvery = time.Second

// lookback is how old a sample may be that a query reads, as by default.
const lookback = 5 * time.Minute

// prometheusServer is a Prometheus server: its scraper, its database, and its HTTP API. The program of its module needs a client for each of
// the systems in which it can discover targets, so its parts are started here.
type prometheusServer struct {
	*httptest.Server
	scraper *scrape.Manager
	scraped chan error
	db      *tsdb.DB
}

// startPrometheus starts a server that scrapes one target, a host with its port, and keeps its data in a folder.
func startPrometheus(dir, target string) (*prometheusServer, error) {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	file := filepath.Join(dir, "prometheus.yml")
	text := fmt.Sprintf(`
global: {scrape_interval: %s, scrape_timeout: %[1]s}
scrape_configs:
- job_name: proxies
  static_configs: [{targets: [%q]}]
`, model.Duration(scrapeEvery), target)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	settings, err := config.LoadFile(file, false, log)
	if err != nil {
		return nil, err
	}
	registry := clientprometheus.NewRegistry()
	p := &prometheusServer{scraped: make(chan error, 1)}
	if p.db, err = tsdb.Open(filepath.Join(dir, "data"), log, registry, tsdb.DefaultOptions(), tsdb.NewDBStats()); err != nil {
		return nil, err
	}
	if p.scraper, err = scrape.NewManager(&scrape.Options{DiscoveryReloadInterval: model.Duration(100 * time.Millisecond)}, log, nil, nil, p.db, registry); err != nil {
		return nil, errors.Join(err, p.db.Close())
	}
	if err := p.scraper.ApplyConfig(settings); err != nil {
		return nil, errors.Join(err, p.db.Close())
	}
	targets := make(chan map[string][]*targetgroup.Group, 1)
	for _, job := range settings.ScrapeConfigs {
		targets <- map[string][]*targetgroup.Group{job.JobName: job.ServiceDiscoveryConfigs[0].(discovery.StaticConfig)}
	}
	go func() { p.scraped <- p.scraper.Run(targets) }()
	router := route.New()
	newAPI(settings, p.db, log, registry).Register(router)
	p.Server = httptest.NewServer(http.StripPrefix("/api/v1", router))
	return p, nil
}

// newAPI returns the HTTP API for queries. Rules, alerts, and writing are left out.
func newAPI(settings *config.Config, db *tsdb.DB, log *slog.Logger, registry *clientprometheus.Registry) *apiv1.API {
	const maxSamples, timeout = 50_000_000, 2 * time.Minute
	engine := promql.NewEngine(promql.EngineOpts{
		Logger: log, Reg: registry, MaxSamples: maxSamples, Timeout: timeout, LookbackDelta: lookback, EnableAtModifier: true, EnableNegativeOffset: true,
	})
	always := func(handler http.HandlerFunc) http.HandlerFunc { return handler }
	none := func(context.Context) apiv1.RulesRetriever { return nil }
	return apiv1.NewAPI(engine, db, nil, db, nil, nil, nil, func() config.Config { return *settings }, nil, apiv1.GlobalURLOptions{}, always,
		nil, "", false, false, 0, log, none, 0, 0, 0, false, nil, nil, nil, nil, nil, registry, registry, nil, false, nil, false, false, false,
		lookback, false, false, nil, nil, apiv1.OpenAPIOptions{}, parser.NewParser(parser.Options{}), false, timeout)
}

func (p *prometheusServer) stop() error {
	p.Close()
	p.scraper.Stop()
	return errors.Join(<-p.scraped, p.db.Close())
}
