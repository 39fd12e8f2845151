// SPDX-License-Identifier: Apache-2.0

// Package metrics is a small Prometheus for clusters whose nodes pull no image: it scrapes at an interval, and answers instant queries of
// Prometheus' HTTP API with Prometheus' own parsers and engine. Its samples are in memory. Call New, then Scrape periodically, and serve the
// Server as an http.Handler.
package metrics

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
)

const (
	scrapeTimeout = time.Second
	queryTimeout  = 5 * time.Second
	maxBytes      = 10 << 20 // of what a target serves
	maxSamples    = 5_000_000
)

// Targets returns the addresses to scrape, each with a port.
type Targets func(context.Context) ([]string, error)

// Host returns all addresses that a name has: the pods, if it is the name of a headless Service.
func Host(hostAndPort string) Targets {
	return func(ctx context.Context) ([]string, error) {
		host, port, err := net.SplitHostPort(hostAndPort)
		if err != nil {
			return nil, fmt.Errorf("target %q: %w", hostAndPort, err)
		}
		found, err := net.DefaultResolver.LookupHost(ctx, host)
		if err != nil {
			return nil, err
		}
		for i := range found {
			found[i] = net.JoinHostPort(found[i], port)
		}
		return found, nil
	}
}

// File returns the addresses in a file, one a line. It is read at each scrape, and may not exist yet.
func File(path string) Targets {
	return func(context.Context) ([]string, error) {
		text, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
		return strings.Fields(string(text)), err
	}
}

// Server scrapes targets and answers queries.
type Server struct {
	targets Targets
	labels  map[string]string
	store   *store
	engine  *promql.Engine
}

// New returns a Server whose series have these labels, besides their own and the target's address as "instance".
func New(targets Targets, labels map[string]string) *Server {
	return &Server{
		targets: targets, labels: labels, store: &store{series: map[string]*series{}},
		engine: promql.NewEngine(promql.EngineOpts{MaxSamples: maxSamples, Timeout: queryTimeout, Parser: parser.NewParser(parser.Options{})}),
	}
}

// value is what a series has now.
type value struct {
	labels labels.Labels
	number float64
}

// Scrape reads all targets once. An error names each target that could not be read; the others are stored.
func (s *Server) Scrape(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, scrapeTimeout)
	defer stop()
	targets, err := s.targets(ctx)
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	faults := make([]error, len(targets))
	for i, target := range targets {
		all.Go(func() {
			began := time.Now()
			values, err := s.read(ctx, target)
			if err != nil {
				faults[i] = fmt.Errorf("target %s: %w", target, err)
				return
			}
			s.store.add(values, began)
		})
	}
	all.Wait()
	return errors.Join(faults...)
}

func (s *Server) read(ctx context.Context, target string) (map[string]value, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+target+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "text/plain; version=0.0.4")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %s", response.Status)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxBytes))
	if err != nil {
		return nil, err
	}
	return s.parse(text, response.Header.Get("Content-Type"), target)
}

func (s *Server) parse(text []byte, contentType, target string) (map[string]value, error) {
	p, err := textparse.New(text, contentType, nil, textparse.ParserOptions{FallbackContentType: "text/plain"})
	if p == nil {
		return nil, err
	}
	out := map[string]value{}
	for {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if entry != textparse.EntrySeries {
			continue
		}
		var own labels.Labels
		p.Labels(&own)
		builder := labels.NewBuilder(own).Set("instance", target)
		for name, text := range s.labels {
			builder.Set(name, text)
		}
		all := builder.Labels()
		if _, _, number := p.Series(); !math.IsNaN(number) {
			out[s.store.key(all)] = value{all, number}
		}
	}
}

// ServeHTTP answers /api/v1/query as Prometheus does, and /-/ready.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/-/ready":
		_, _ = fmt.Fprintln(w, "ready")
	case "/api/v1/query":
		s.answer(w, r)
	default:
		http.Error(w, "only /api/v1/query is served", http.StatusNotFound)
	}
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	fail := func(status int, kind string, err error) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{"status": "error", "errorType": kind, "error": err.Error()})
	}
	query, err := s.engine.NewInstantQuery(r.Context(), s.store, nil, r.FormValue("query"), time.Now())
	if err != nil {
		fail(http.StatusBadRequest, "bad_data", err)
		return
	}
	defer query.Close()
	result := query.Exec(r.Context())
	if result.Err != nil {
		fail(http.StatusUnprocessableEntity, "execution", result.Err)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": map[string]any{"resultType": result.Value.Type(), "result": result.Value}})
}
