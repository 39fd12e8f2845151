// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

// traceReceiver is a collector that takes spans over OTLP/HTTP and keeps what was decided about pods, by their namespace.
type traceReceiver struct {
	*httptest.Server
	mu      sync.Mutex
	decided map[string]map[string]bool // "result reason"
	faults  []string
}

func newTraceReceiver() *traceReceiver {
	r := &traceReceiver{decided: map[string]map[string]bool{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		message := &collector.ExportTraceServiceRequest{}
		if err == nil {
			err = proto.Unmarshal(body, message)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if err != nil {
			r.faults = append(r.faults, err.Error())
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		r.keep(message)
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	return r
}

func (r *traceReceiver) keep(message *collector.ExportTraceServiceRequest) {
	for _, resource := range message.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			for _, span := range scope.Spans {
				of := map[string]string{}
				for _, a := range span.Attributes {
					of[a.Key] = a.Value.GetStringValue()
				}
				namespace := of["k8s.namespace.name"]
				if r.decided[namespace] == nil {
					r.decided[namespace] = map[string]bool{}
				}
				r.decided[namespace][of["outrigger.result"]+" "+of["outrigger.reason"]] = true
			}
		}
	}
}

// What the pods of the chart decide reaches the collector that the chart's values name.
func TestAdmissionsReachACollector(t *testing.T) {
	needIstio(t)
	ns := namespace(t, injected)
	if _, err := created(t, ns, "web"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the span arrives", func() error {
		traces.mu.Lock()
		defer traces.mu.Unlock()
		if len(traces.faults) > 0 {
			t.Fatal(traces.faults)
		}
		if !traces.decided[ns]["injected PolicyEnabled"] {
			return errors.New("it has not")
		}
		return nil
	})
}
