// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// Each Service of a large file must cost as much as one of a small file: a file of 30 MB once took more than three minutes.
// A step that handles all Services for each of them would multiply the memory by eight here; BenchmarkRoutes has the times.
func TestRoutesAndUninjectAreLinear(t *testing.T) {
	for _, command := range []string{"routes", "uninject"} {
		t.Run(command, func(t *testing.T) {
			allocated := func(services int) uint64 {
				file := manyServices(t, services)
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				runMany(t, command, file)
				runtime.ReadMemStats(&after)
				return (after.TotalAlloc - before.TotalAlloc) / uint64(services)
			}
			allocated(1) // what is made once for the process
			if few, many := allocated(100), allocated(800); 2*many > 3*few {
				t.Errorf("a Service takes %d bytes among 100, and %d among 800", few, many)
			}
		})
	}
}

// BenchmarkRoutes reports the time for one Service in files of different sizes, which must be about the same.
func BenchmarkRoutes(b *testing.B) {
	for _, command := range []string{"routes", "uninject"} {
		for _, n := range []int{500, 1000, 2000} {
			b.Run(fmt.Sprint(command, "/", n), func(b *testing.B) {
				file := manyServices(b, n)
				for b.Loop() {
					runMany(b, command, file)
				}
				b.ReportMetric(float64(b.Elapsed())/1000/float64(b.N)/float64(n), "µs/service")
			})
		}
	}
}

func runMany(t testing.TB, command, file string) {
	t.Helper()
	if status, _, stderr := commandLine(t, command, "-f", file); status != statusDone {
		t.Fatalf("status %d: %s", status, stderr[:min(len(stderr), 500)])
	}
}

// manyServices writes a file of n Services with a Deployment each, every second one exposed with a host of its own.
func manyServices(t testing.TB, n int) string {
	t.Helper()
	var text strings.Builder
	for i := range n {
		exposed := ""
		if i%2 == 0 {
			exposed = fmt.Sprintf(`, annotations: {outrigger.dev/expose: "true", outrigger.dev/hosts: web-%d.example.com}`, i)
		}
		fmt.Fprintf(&text, "---\napiVersion: v1\nkind: Service\nmetadata: {name: web-%d%s}\nspec: {selector: {app: web-%d}, ports: [{name: http, port: 80}]}\n", i, exposed, i)
		fmt.Fprintf(&text, deploymentText, i)
	}
	path := filepath.Join(t.TempDir(), "app.yaml")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
