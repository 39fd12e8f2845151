// SPDX-License-Identifier: Apache-2.0

package process

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

// Endpoint is an HTTP server of the process.
type Endpoint struct {
	name     string
	Listener net.Listener
	Server   *http.Server
	ending   atomic.Bool
}

// Listen opens an endpoint, so that a port in use prevents the start. tlsConfig is nil for plain HTTP.
func Listen(name, address string, handler http.Handler, tlsConfig *tls.Config) (*Endpoint, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if tlsConfig != nil {
		listener = tls.NewListener(listener, tlsConfig)
	}
	e := &Endpoint{name: name, Listener: listener}
	e.Server = &http.Server{
		Handler:           e.closing(handler),
		ReadHeaderTimeout: 10 * time.Second,
		// The API server gives up after at most 30 seconds. A slower caller would hold a connection and memory for nothing.
		ReadTimeout:    30 * time.Second,
		WriteTimeout:   60 * time.Second,
		IdleTimeout:    90 * time.Second,
		MaxHeaderBytes: 64 << 10,
	}
	return e, nil
}

// Serve answers until shutdown; it returns nil after one.
func (e *Endpoint) Serve(logger logr.Logger) error {
	// Mistakes of a peer, such as a port scan, are logged only for debugging.
	e.Server.ErrorLog = slog.NewLogLogger(logr.ToSlogHandler(logger.WithValues("endpoint", e.name)), slog.LevelDebug)
	if err := e.Server.Serve(e.Listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("%s: %w", e.name, err)
	}
	return nil
}

// end makes each further response the last one of its connection, so that callers connect to another replica. Idle connections
// stay, because a caller may be about to use one.
func (e *Endpoint) end() { e.ending.Store(true) }

// shutdown closes idle connections, and returns when all running requests are complete or ctx is done.
func (e *Endpoint) shutdown(ctx context.Context) error {
	if err := e.Server.Shutdown(ctx); err != nil {
		return fmt.Errorf("%s: requests were cut off: %w", e.name, errors.Join(err, e.Server.Close()))
	}
	return nil
}

func (e *Endpoint) closing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if e.ending.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, request)
	})
}

// TLSConfig returns the settings of the webhook's server. HTTP/2 is not offered: the API server does not use it for
// webhooks, and it costs a class of attacks.
//
// With webhook.clientCA, a client certificate is verified if there is one. KnownCallers requires it, with a message that the API server
// passes on. Our own check of the endpoint has none.
func TLSConfig(webhook api.WebhookConfig, certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)) *tls.Config {
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

// KnownCallers accepts requests whose client certificate the configured CA issued to one of the configured names, before it reads
// the request. Without a CA, it accepts all requests.
func KnownCallers(webhook api.WebhookConfig, next http.Handler) http.Handler {
	if webhook.ClientCA == "" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if request.TLS == nil || len(request.TLS.VerifiedChains) == 0 {
			http.Error(w, "a client certificate is required (webhook.clientCA)", http.StatusUnauthorized)
			return
		}
		caller := request.TLS.PeerCertificates[0]
		names := append([]string{caller.Subject.CommonName}, caller.DNSNames...)
		if len(webhook.ClientNames) > 0 && !slices.ContainsFunc(names, func(name string) bool { return slices.Contains(webhook.ClientNames, name) }) {
			http.Error(w, fmt.Sprintf("the client certificate of %q has none of the names in webhook.clientNames", caller.Subject.CommonName), http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, request)
	})
}

// Readiness is the state of /readyz. Once ready, it stays ready until the shutdown. Otherwise, a later fault such as a wrong caBundle
// would make all replicas unready at the same time.
type Readiness struct {
	Checks []ReadyCheck
	ready  atomic.Bool
	ending atomic.Bool
}

// ReadyCheck is a condition of readiness. Check returns nil if it is met.
type ReadyCheck struct {
	Name  string
	Check func() error
}

func (r *Readiness) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	if err := r.missing(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	_, _ = fmt.Fprintln(w, "ok")
}

func (r *Readiness) missing() error {
	if r.ending.Load() {
		return errors.New("shutting down")
	}
	if r.ready.Load() {
		return nil
	}
	var missing []error
	for _, c := range r.Checks {
		if err := c.Check(); err != nil {
			missing = append(missing, fmt.Errorf("%s: %w", c.Name, err))
		}
	}
	if err := errors.Join(missing...); err != nil {
		return err
	}
	r.ready.Store(true)
	return nil
}

// HealthHandler serves /healthz, which always succeeds, and /readyz.
func HealthHandler(ready *Readiness) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ok") })
	mux.Handle("GET /readyz", ready)
	return mux
}

// MetricsHandler serves /metrics. Collectors that fail are logged, and the other metrics are served.
func MetricsHandler(registry prometheus.Gatherer, logger logr.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog:      slog.NewLogLogger(logr.ToSlogHandler(logger), slog.LevelError),
		ErrorHandling: promhttp.ContinueOnError,
	}))
	return mux
}
