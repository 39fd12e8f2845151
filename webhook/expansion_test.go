// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"outrigger.dev/outrigger/inject"
)

// BenchmarkExpansion reports the peak of live memory for each byte of the body, for the bodies that take the most. It is
// where expansion comes from; TestExpansionIsAnUpperBound holds the constant to it.
func BenchmarkExpansion(b *testing.B) {
	handler := newSidecarHandler(b)
	bodies := worstBodies()
	for _, name := range slices.Sorted(maps.Keys(bodies)) {
		b.Run(name, func(b *testing.B) {
			var worst float64
			for b.Loop() {
				worst = max(worst, measureExpansion(b, handler, bodies[name]))
			}
			b.ReportMetric(worst, "live-B/body-B")
		})
	}
}

// stoppedWorld makes the garbage collector stop everything else. Otherwise it counts whatever is allocated while it runs as live, which
// on a busy machine can be a third more. The setting is read when a process starts.
const stoppedWorld = "gcstoptheworld=1"

// The gate's memory budget is only a bound if no review takes more than it is counted for.
func TestExpansionIsAnUpperBound(t *testing.T) {
	if underRaceDetector {
		t.Skip("the race detector multiplies memory; make test runs this without it")
	}
	if testing.Short() {
		t.Skip("it takes a minute; run without -short")
	}
	if os.Getenv("GODEBUG") != stoppedWorld {
		command := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1")
		command.Env = append(os.Environ(), "GODEBUG="+stoppedWorld)
		if out, err := command.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	handler := newSidecarHandler(t)
	for name, body := range worstBodies() {
		if got := measureExpansion(t, handler, body); got > expansion {
			t.Errorf("%s: a review takes %.1f bytes of live memory for each byte of its body; it is counted as %d", name, got, expansion)
		}
	}
}

func newSidecarHandler(t testing.TB) http.Handler {
	t.Helper()
	config, _, err := inject.Parse(inject.Source{Config: sidecarTemplate, Values: `{"global": {"hub": "registry.example", "tag": "1.31.1"}}`})
	if err != nil {
		t.Fatal(err)
	}
	return (&Handler{Namespaces: named{}, Config: serving{config}, Metrics: NewMetrics(prometheus.NewRegistry()), Log: logr.Discard()}).HTTP()
}

// measureExpansion serves one review and returns its peak of live memory in bytes for each byte of the body. The collector
// runs each time that the heap has grown by a twentieth, so the peak is that exact.
func measureExpansion(t testing.TB, handler http.Handler, body []byte) float64 {
	t.Helper()
	defer debug.SetGCPercent(debug.SetGCPercent(5))
	runtime.GC()
	before := liveBytes()
	done, peak := make(chan struct{}), make(chan uint64)
	go func() {
		highest := uint64(0)
		for {
			highest = max(highest, liveBytes())
			select {
			case <-done:
				peak <- highest
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	request := httptest.NewRequest(http.MethodPost, "/inject", io.NopCloser(bytes.NewReader(body)))
	request.Header.Set("Content-Type", "application/json")
	response := httptest.NewRecorder()
	handler.ServeHTTP(response, request)
	close(done)
	highest := <-peak
	if response.Code != http.StatusOK {
		t.Fatalf("HTTP %d: %.200s", response.Code, response.Body)
	}
	return float64(max(highest, before)-before) / float64(len(body))
}

// liveBytes returns the memory that the last garbage collection found in use.
func liveBytes() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
