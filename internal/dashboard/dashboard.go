// SPDX-License-Identifier: Apache-2.0

// Package dashboard serves the pages of `outrigger dashboard`. Call New with an address and the sources of data, pass each reading of the
// cluster to Server.Update, serve the Server at that address, and give the user's browser the token of Server.NewToken.
//
// The package does not access the cluster: Server.Update provides the Overview and the frame of every page, Data what the pages about
// one object and Injection show, and Actions reads and writes for the user's actions.
package dashboard

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"outrigger.dev/outrigger/internal/diagnose"
)

// Options configure a Server.
type Options struct {
	Address  string                // host:port that the Server listens on; requests to any other host are refused
	Scope    string                // what the pages show: "namespace demo", "all namespaces"
	Cluster  string                // the context of the kubeconfig; empty if it has no name
	Flags    diagnose.ClusterFlags // flags that select the cluster; the commands on the pages contain them
	ReadOnly bool                  // offer and accept no actions
	Data     Data
	Actions  Actions // nil for no actions
	Now      func() time.Time
}

// Data reads what the pages about one object and the page Injection show; Server.Update provides everything else. Errors with an HTTP status are of
// type *Error.
type Data interface {
	// Service returns the details of a Service.
	Service(ctx context.Context, namespace, name string) (*Service, error)
	// Injection returns the workloads without a sidecar, or with an outdated one.
	Injection(ctx context.Context) (*diagnose.CoverageReport, error)
	// Explain returns why a workload gets a sidecar or none.
	Explain(ctx context.Context, namespace, kind, name string) (*Explanation, error)
}

// Service is the output of `explain -o json` for a Service, with the objects that belong to it.
type Service struct {
	diagnose.ServiceExplanation
	ResourceVersion string
	Explanation     []diagnose.Paragraph // as explain prints it
	Workloads       []Workload
	Events          []Event              // newest first
	EventsFailure   string               // why the Events could not be read; empty if they could
	Manifests       []Manifest           // the generated objects
	Metrics         *Metrics             // nil if no metrics are configured
	Facts           diagnose.ActionFacts // for the actions that the page offers
	Notes           []string             // what the user has no permission to read, and which permission is missing
}

// Workload is a workload behind a Service.
type Workload struct {
	diagnose.WorkloadStatus
	Images  []string
	Created time.Time // of its oldest pod; zero without pods
}

// Event is an Event about a Service or an object behind it.
type Event struct {
	At      time.Time
	Kind    string // Normal, Warning
	Object  string // "Service web"
	Related string // "VirtualService web"; empty without one
	Reason  string
	Message string
	Count   int
}

// Manifest is an object as YAML.
type Manifest struct{ Kind, Name, YAML string }

// Explanation is the output of explain for a workload.
type Explanation struct {
	diagnose.InjectionExplanation
	Paragraphs []diagnose.Paragraph
	Notes      []string
}

// Error is an error with the HTTP status of the page that shows it.
type Error struct {
	Status int
	Err    error
}

func (e *Error) Error() string { return e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

// Server is the HTTP handler of the dashboard.
type Server struct {
	Options
	cookie   string // its name contains the port, because browsers send cookies to all ports of a host
	pages    *pages
	readable http.Handler // pages that are updated live
	handler  http.Handler // everything that needs a session
	sessions sessions
	readings readings
	details  detailCache
	previews previews
	streams  atomic.Int64 // pages that are updated live
	noLinks  atomic.Bool  // see EndLinks
}

// New returns a Server. It has no data until Update is called.
func New(options Options) (*Server, error) {
	host, port, err := net.SplitHostPort(options.Address)
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("address %s: expected a loopback address, such as 127.0.0.1:8080", options.Address)
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	templates, err := parsePages(options)
	if err != nil {
		return nil, err
	}
	if options.Actions == nil {
		options.ReadOnly = true
	}
	s := &Server{Options: options, cookie: "outrigger-" + port, pages: templates}
	s.readings.init()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.overview)
	mux.HandleFunc("GET /services/{namespace}/{name}", limited(s.service))
	mux.HandleFunc("GET /injection", s.injection)
	mux.HandleFunc("GET /injection/{namespace}/{kind}/{name}", s.explain)
	mux.HandleFunc("GET /changes/{id}", limited(s.changePage))
	mux.HandleFunc("GET /", s.unknown)
	s.readable = mux
	all := http.NewServeMux()
	all.Handle("GET /", s.readable)
	all.HandleFunc("GET /events", s.events)
	all.HandleFunc("GET /actions/{namespace}/{name}/{verb}", limited(s.actionForm)) // not live, so that no update replaces the user's input
	all.HandleFunc("POST /actions/{namespace}/{name}/{verb}", limited(s.previewAction))
	all.HandleFunc("POST /changes/{id}", s.confirmChange)
	s.handler = all
	return s, nil
}

// limited limits how long a page waits for the cluster.
func limited(page http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), readTimeout)
		defer cancel()
		page(w, r.WithContext(ctx))
	}
}

// ServeHTTP answers a request, after the checks of security.go.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.guard(w, r, s.handler)
}
