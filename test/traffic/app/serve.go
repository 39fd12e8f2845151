// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"outrigger.dev/outrigger/test/traffic/load"
)

// serve answers until the context ends, and then finishes the requests in flight.
func serve(ctx context.Context) error {
	is, err := faultsOf(os.Getenv("ERRORS"), os.Getenv("DELAY"))
	if err != nil {
		return err
	}
	at := os.Getenv("LISTEN")
	tcp, err := net.Listen("tcp", at+":7070")
	if err != nil {
		return err
	}
	defer func() { _ = tcp.Close() }()
	go acceptAll(tcp)

	listener, err := net.Listen("tcp", at+":9090")
	if err != nil {
		return err
	}
	checks := grpc.NewServer()
	defer checks.Stop()
	grpc_health_v1.RegisterHealthServer(checks, health.NewServer())
	go func() { _ = checks.Serve(listener) }()

	// The server closes no connection: a request that the sidecar sends on one at that moment fails. An unused connection is not idle to
	// net/http, but waits for the header of its first request.
	const forever = 24 * time.Hour
	server := &http.Server{Addr: at + ":8080", Handler: handler(ownVersion(), is), ReadHeaderTimeout: forever, IdleTimeout: forever}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		deadline, stop := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer stop()
		stopped <- server.Shutdown(deadline)
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}

// ownVersion returns the version that the responses name.
func ownVersion() string {
	ofImage := map[string]string{"42": "v1", "43": "v2"}
	return cmp.Or(os.Getenv("VERSION"), ofImage[version], version)
}

// faults are what is wrong with a version.
type faults struct {
	errors int // percent of the responses
	delay  time.Duration
}

func faultsOf(errors, delay string) (out faults, err error) {
	if errors != "" {
		if out.errors, err = strconv.Atoi(errors); err != nil || out.errors < 0 || out.errors > 100 {
			return out, fmt.Errorf("ERRORS=%s: expected a percentage from 0 to 100", errors)
		}
	}
	if delay != "" {
		if out.delay, err = time.ParseDuration(delay); err != nil || out.delay < 0 {
			return out, fmt.Errorf("DELAY=%s: expected a duration such as 300ms", delay)
		}
	}
	return out, nil
}

// isError reports whether the n-th response, from 1 on, is an error. They are spread evenly.
func (f faults) isError(n int64) bool {
	return n*int64(f.errors)/100 > (n-1)*int64(f.errors)/100
}

// buckets are far apart, so that a busy machine does not look like a slow version.
var buckets = []float64{0.01, 1, 5}

func handler(version string, is faults) http.Handler {
	own := prometheus.Labels{"version": version}
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "traffic_app_requests_total", Help: "Requests by status.", ConstLabels: own}, []string{"code"})
	durations := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "traffic_app_request_duration_seconds", Help: "Duration of requests.", ConstLabels: own, Buckets: buckets})
	registry := prometheus.NewRegistry()
	registry.MustRegister(requests, durations)
	for _, status := range []int{http.StatusOK, http.StatusInternalServerError} { // increase() does not see the first value of a series
		requests.WithLabelValues(strconv.Itoa(status))
	}
	var count atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(http.ResponseWriter, *http.Request) {})
	// The log is what is left of a pod that ends.
	for _, hook := range []string{"postStart", "preStop"} {
		mux.HandleFunc("/hooks/"+hook, func(http.ResponseWriter, *http.Request) { fmt.Println(hook, "was called") })
	}
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		began, status := time.Now(), http.StatusOK
		if is.isError(count.Add(1)) {
			status = http.StatusInternalServerError
		}
		time.Sleep(is.delay)
		w.Header().Set(load.VersionHeader, version)
		w.WriteHeader(status)
		_, _ = fmt.Fprintln(w, version)
		requests.WithLabelValues(strconv.Itoa(status)).Inc()
		durations.Observe(time.Since(began).Seconds())
	})
	return mux
}

func acceptAll(listener net.Listener) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		_ = connection.Close()
	}
}
