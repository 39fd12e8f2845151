// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"bytes"
	"math/rand"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"outrigger.dev/outrigger/api"
)

// nextEvery is how many plans that change nothing there are to one whose Next is checked.
const nextEvery = 5

// checkNext checks, for one plan in nextEvery that changes nothing, that a plan at any time before Next has the same result.
func (c *cluster) checkNext(observed Observed, result Result) {
	c.t.Helper()
	if c.rests++; c.quick || c.rests%nextEvery != 0 {
		return
	}
	wait := 1000 * time.Hour
	if !result.Next.IsZero() {
		wait = result.Next.Sub(c.now)
	}
	random := rand.New(rand.NewSource(c.now.UnixNano()))
	for _, after := range []time.Duration{wait - 1, time.Duration(random.Int63n(int64(wait)))} {
		then := Plan(observed, c.now.Add(after))
		if changes := observed.Changes(then); len(changes) > 0 {
			c.t.Fatalf("Next is in %v, but after %v the plan has %d changes:\n%s", wait, after, len(changes), cmp.Diff(text(c.t, result.Objects), text(c.t, then.Objects)))
		}
		// What matters is what is written and reported. A later plan may read less, and a wait that begins with each plan moves Next.
		said, later := result, then
		for _, r := range []*Result{&said, &later} {
			r.Objects, r.Next, r.DependsOn, r.Unwritten = Objects{}, time.Time{}, Dependencies{}, nil
		}
		if !bytes.Equal(bytesOf(c.t, said), bytesOf(c.t, later)) {
			c.t.Fatalf("Next is in %v, but after %v the result is another one:\n%s", wait, after, cmp.Diff(text(c.t, said), text(c.t, later)))
		}
	}
}

// Each of these results changes by time alone, and says when.
func TestNext(t *testing.T) {
	for _, test := range []struct {
		name string
		set  func(c *cluster)
	}{
		{"observed only, workloads that become older than the split age", func(c *cluster) {
			c.service.Labels[api.LabelRouting] = string(api.RoutingObserve)
			c.fixed("a", "v1", 1)
			c.fixed("b", "v2", 1)
			c.ready()
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCluster(t)
			test.set(c)
			for range 20 {
				observed := c.observe()
				result := Plan(observed, c.now)
				c.rests = nextEvery - 1
				if len(observed.Changes(result)) == 0 {
					c.checkNext(observed, result)
				}
				c.settle()
				if c.next.IsZero() {
					return
				}
				c.now = c.next
			}
		})
	}
}
