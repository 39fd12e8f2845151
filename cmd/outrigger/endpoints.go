// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"outrigger.dev/outrigger/api"
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
		// No caller waits longer than the API server, which gives up after 30 seconds at most: who sends or reads more
		// slowly holds a connection, and what is read of him, for nothing.
		ReadTimeout:    30 * time.Second,
		WriteTimeout:   60 * time.Second,
		IdleTimeout:    90 * time.Second,
		MaxHeaderBytes: 64 << 10,
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
//
// A certificate of the caller is checked where one is given and an authority is configured; that one must be given is
// knownCallers' to say, in words that the API server passes on, and our own check of the endpoint needs none.
func tlsConfig(webhook api.WebhookConfig, certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)) *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: certificate, NextProtos: []string{"http/1.1"}}
	if webhook.MinTLSVersion == "1.2" {
		config.MinVersion = tls.VersionTLS12
	}
	if webhook.ClientCA != "" {
		config.ClientCAs, config.ClientAuth = x509.NewCertPool(), tls.VerifyClientCertIfGiven
		config.ClientCAs.AppendCertsFromPEM([]byte(webhook.ClientCA))
	}
	return config
}

// knownCallers lets through whom a certificate of the configured authority names, before anything is read of the request.
// Without an authority it lets everybody through.
func knownCallers(webhook api.WebhookConfig, next http.Handler) http.Handler {
	if webhook.ClientCA == "" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if request.TLS == nil || len(request.TLS.VerifiedChains) == 0 {
			http.Error(w, "a client certificate is wanted, see webhook.clientCA", http.StatusUnauthorized)
			return
		}
		caller := request.TLS.PeerCertificates[0]
		names := append([]string{caller.Subject.CommonName}, caller.DNSNames...)
		if len(webhook.ClientNames) > 0 && !slices.ContainsFunc(names, func(name string) bool { return slices.Contains(webhook.ClientNames, name) }) {
			http.Error(w, fmt.Sprintf("the client certificate of %q is of none of webhook.clientNames", caller.Subject.CommonName), http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, request)
	})
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
