// SPDX-License-Identifier: Apache-2.0

// Package bench compares Outrigger's webhook with Istio's own in one process, over the same requests.
package bench

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// BenchmarkHandler sends reviews to the HTTP handlers.
func BenchmarkHandler(b *testing.B) {
	for _, s := range sizes {
		for _, how := range []change{replicas, distinct, first} {
			bodies, handlers := s.reviews(b, how, s.count), sides(b, how == first)
			for _, side := range slices.Sorted(maps.Keys(handlers)) {
				b.Run(fmt.Sprintf("pod=%s/pods=%s/by=%s", s.name, how, side), func(b *testing.B) {
					b.ReportAllocs()
					warm(b, handlers[side], bodies)
					i, begin := 0, cpuTime(b)
					for b.Loop() {
						post(b, handlers[side], bodies[i%len(bodies)])
						i++
					}
					b.ReportMetric(float64(cpuTime(b)-begin)/float64(b.N), "cpu-ns/op")
				})
			}
		}
	}
}

// BenchmarkTLS sends reviews of tutorial pods by four clients that keep their connections, as the API server does.
// "constant" is a handler that reads the request and answers what Outrigger answers, without looking at it.
func BenchmarkTLS(b *testing.B) {
	for _, how := range []change{replicas, distinct} {
		bodies, handlers := sizes[1].reviews(b, how, sizes[1].count), sides(b, false)
		answer := httptest.NewRecorder()
		handlers["outrigger"].ServeHTTP(answer, newRequest(b, "http://localhost", bodies[0]))
		handlers["constant"] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(answer.Body.Bytes())
		})
		for _, side := range slices.Sorted(maps.Keys(handlers)) {
			b.Run(fmt.Sprintf("pods=%s/by=%s", how, side), func(b *testing.B) {
				server := httptest.NewUnstartedServer(handlers[side])
				server.EnableHTTP2 = true
				server.StartTLS()
				defer server.Close()
				warm(b, server.Config.Handler, bodies)
				response, err := server.Client().Do(newRequest(b, server.URL, bodies[0])) // the connection is there already, too
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, response.Body)
				_ = response.Body.Close()
				var next atomic.Int64
				b.ResetTimer()
				b.SetParallelism(max(1, 4/runtime.GOMAXPROCS(0)))
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						response, err := server.Client().Do(newRequest(b, server.URL, bodies[int(next.Add(1))%len(bodies)]))
						if err != nil {
							b.Error(err)
							return
						}
						text, err := io.ReadAll(response.Body)
						if closing := response.Body.Close(); err != nil || closing != nil || !isPatch(response.StatusCode, text) {
							b.Errorf("HTTP %d: %v %v %.300s", response.StatusCode, err, closing, text)
							return
						}
					}
				})
			})
		}
	}
}

// warm sends the last bodies, so that what is measured is pods of a known shape, or of a known workload.
func warm(b testing.TB, handler http.Handler, bodies [][]byte) {
	for _, body := range bodies[len(bodies)-3:] {
		post(b, handler, body)
	}
}

// cpuTime returns the processor time that this process has used. Unlike the time of day, it does not depend on what else
// the machine does.
func cpuTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func newRequest(b testing.TB, url string, body []byte) *http.Request {
	request, err := http.NewRequest(http.MethodPost, url+"/inject", bytes.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	return request
}

// post sends one body to a handler and sees that the answer is a patch.
func post(b testing.TB, handler http.Handler, body []byte) {
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, newRequest(b, "", body))
	if !isPatch(recorder.Code, recorder.Body.Bytes()) {
		b.Fatalf("HTTP %d: %.300s", recorder.Code, recorder.Body)
	}
}

func isPatch(code int, body []byte) bool {
	return code == http.StatusOK && bytes.Contains(body, []byte(`"patch":"`))
}

var requests = flag.Int("requests", 50_000, "how many requests TestMemoryStaysFlat sends")

// TestMemoryStaysFlat sends pods of all small sizes, three of four replicas, and sees that what is kept stays under the
// bound of the caches.
func TestMemoryStaysFlat(t *testing.T) {
	const cacheLimit, slack = 64 << 20, 16 << 20
	handler := sides(t, false)["outrigger"]
	var kinds [][][]byte
	for _, s := range sizes[:3] {
		kinds = append(kinds, s.reviews(t, replicas, 1000), s.reviews(t, replicas, 1000), s.reviews(t, replicas, 1000), s.reviews(t, distinct, 4000))
	}
	begin := heap()
	for n := range *requests {
		bodies := kinds[n%len(kinds)]
		post(t, handler, bodies[n/len(kinds)%len(bodies)])
		if step := *requests / 10; n%step == step-1 {
			now := heap()
			t.Logf("%9d requests: %5.1f MB more than before", n+1, float64(now-begin)/1e6)
			if now-begin > cacheLimit+slack {
				t.Fatalf("after %d requests %d bytes more are held than before; the caches may hold %d", n+1, now-begin, cacheLimit)
			}
		}
	}
}

// heap returns the bytes that are held.
func heap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
