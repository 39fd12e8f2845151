package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// endpoint is one HTTP server of the process. It is made listening, so that a taken port stops the start.
type endpoint struct {
	name     string
	listener net.Listener
	server   *http.Server
	ending   atomic.Bool
}

// listen opens an endpoint; tlsConfig is nil for plain HTTP.
func listen(name, address string, handler http.Handler, tlsConfig *tls.Config) (*endpoint, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if tlsConfig != nil {
		listener = tls.NewListener(listener, tlsConfig)
	}
	e := &endpoint{name: name, listener: listener}
	e.server = &http.Server{
		Handler:           e.closing(handler),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       90 * time.Second,
	}
	return e, nil
}

// serve answers until shutdown; it returns nil after one.
func (e *endpoint) serve(logger logr.Logger) error {
	// What a peer does wrong, such as a port scan, is no event of ours.
	e.server.ErrorLog = slog.NewLogLogger(logr.ToSlogHandler(logger.WithValues("endpoint", e.name)), slog.LevelDebug)
	if err := e.server.Serve(e.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("%s: %w", e.name, err)
	}
	return nil
}

// end makes every further answer the last one of its connection, so that callers turn to another replica by
// themselves. Connections that are idle stay: the caller could be using one just now.
func (e *endpoint) end() { e.ending.Store(true) }

// shutdown closes what is idle and returns when every request that has begun is answered, or ctx ends.
func (e *endpoint) shutdown(ctx context.Context) error {
	if err := e.server.Shutdown(ctx); err != nil {
		return fmt.Errorf("%s: requests were cut off: %w", e.name, errors.Join(err, e.server.Close()))
	}
	return nil
}

func (e *endpoint) closing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if e.ending.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, request)
	})
}

// tlsConfig returns the settings of the webhook's server. HTTP/2 is not offered: the API server does not use it for
// webhooks, and it costs a class of attacks.
func tlsConfig(minimum string, certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)) *tls.Config {
	version := uint16(tls.VersionTLS13)
	if minimum == "1.2" {
		version = tls.VersionTLS12
	}
	return &tls.Config{MinVersion: version, GetCertificate: certificate, NextProtos: []string{"http/1.1"}}
}

// readiness is what /readyz answers. Once ready it stays ready until the process ends: what breaks later, a wrong
// caBundle for one, would otherwise take out all replicas together.
type readiness struct {
	checks []readyCheck
	ready  atomic.Bool
	ending atomic.Bool
}

// readyCheck says what is still missing; nil if nothing is.
type readyCheck struct {
	name  string
	check func() error
}

func (r *readiness) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	if err := r.missing(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	_, _ = fmt.Fprintln(w, "ok")
}

func (r *readiness) missing() error {
	if r.ending.Load() {
		return errors.New("shutting down")
	}
	if r.ready.Load() {
		return nil
	}
	var missing []error
	for _, c := range r.checks {
		if err := c.check(); err != nil {
			missing = append(missing, fmt.Errorf("%s: %w", c.name, err))
		}
	}
	if err := errors.Join(missing...); err != nil {
		return err
	}
	r.ready.Store(true)
	return nil
}

func healthHandler(ready *readiness) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ok") })
	mux.Handle("GET /readyz", ready)
	return mux
}

func metricsHandler(registry prometheus.Gatherer, logger logr.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog:      slog.NewLogLogger(logr.ToSlogHandler(logger), slog.LevelError),
		ErrorHandling: promhttp.ContinueOnError,
	}))
	return mux
}
