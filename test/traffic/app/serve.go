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
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"outrigger.dev/outrigger/test/traffic/load"
)

// serve answers until the context ends, and then finishes the requests in flight.
func serve(ctx context.Context) error {
	tcp, err := net.Listen("tcp", ":7070") //nolint:gosec // a pod serves on its own address
	if err != nil {
		return err
	}
	defer func() { _ = tcp.Close() }()
	go acceptAll(tcp)

	listener, err := net.Listen("tcp", ":9090") //nolint:gosec // a pod serves on its own address
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
	server := &http.Server{Addr: ":8080", Handler: handler(ownVersion()), ReadHeaderTimeout: forever, IdleTimeout: forever}
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

func handler(version string) http.Handler {
	var requests atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(http.ResponseWriter, *http.Request) {})
	// The log is what is left of a pod that ends.
	for _, hook := range []string{"postStart", "preStop"} {
		mux.HandleFunc("/hooks/"+hook, func(http.ResponseWriter, *http.Request) { fmt.Println(hook, "was called") })
	}
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, "# TYPE traffic_app_requests_total counter\ntraffic_app_requests_total{version=%q} %d\n", version, requests.Load())
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		w.Header().Set(load.VersionHeader, version)
		_, _ = fmt.Fprintln(w, version)
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
