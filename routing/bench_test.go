// SPDX-License-Identifier: Apache-2.0

package routing

import "testing"

// BenchmarkPlan plans for a Service with two versions as it does most often: when nothing has changed, and when nothing
// stands yet.
func BenchmarkPlan(b *testing.B) {
	for _, c := range []struct {
		name   string
		stands bool
	}{{"nothing has changed", true}, {"nothing stands", false}} {
		b.Run(c.name, func(b *testing.B) {
			cluster := twoVersions(b)
			observed := cluster.observe()
			if !c.stands {
				observed.Existing = Objects{}
			}
			b.ReportAllocs()
			for b.Loop() {
				result := Plan(observed, cluster.now)
				if changes := Diff(observed.Existing, result.Objects); (len(changes) == 0) != c.stands {
					b.Fatalf("%d changes", len(changes))
				}
			}
		})
	}
}
