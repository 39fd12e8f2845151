// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	"outrigger.dev/outrigger/api"
)

var everyOrder = flag.Bool("orders", false, "play all orders of three events, not one in eight")

// ledger is what users decided, kept beside the planner: which shares are in effect, and what may still come. The names of
// its shares are those of workloads, so that a version that is renamed in place stays itself.
type ledger struct {
	c       *cluster
	written string // the annotation; empty if there is none
	effect  map[string]int
	adopted bool
	version map[string]string // what each workload runs
	ready   map[string]bool
	forgot  bool // nothing has named v2 since it was renamed, so that the name means nobody any more
}

// workloadOf are the names that annotations use, by workload.
var workloadOf = map[string]string{"v1": "app-v1", "v2": "canary", "v3": "app-v3"}

func newLedger(t *testing.T) *ledger {
	c := newCluster(t)
	c.fixed("app-v1", "v1", 2)
	c.rolling("canary", "v2", 2)
	c.ready()
	c.advance(10 * time.Minute)
	l := &ledger{c: c, version: map[string]string{"app-v1": "v1", "canary": "v2"}, ready: map[string]bool{"app-v1": true, "canary": true}, effect: map[string]int{"app-v1": 100}}
	c.empty = true
	l.write("v1=90,v2=10")
	c.advance(time.Minute)
	return l
}

func parseShares(text string) map[string]int {
	out := map[string]int{}
	weights, err := api.ParseWeights(text)
	if err != nil {
		return out
	}
	for _, w := range weights {
		workload := workloadOf[w.Version]
		if workload == "" {
			workload = "nobody called " + w.Version
		}
		out[workload] = int(w.Weight)
	}
	return out
}

func (l *ledger) write(weights string) {
	l.written, l.forgot = weights, l.forgot || !strings.Contains(weights, "v2=")
	l.c.annotate("weights=" + weights)
	l.follow()
}

// shares are those in effect, with the share of what is deleted given to v1, which is the default throughout.
func (l *ledger) shares() map[string]int {
	out := map[string]int{}
	for workload, share := range l.effect {
		if _, runs := l.version[workload]; !runs {
			workload = "app-v1"
		}
		out[workload] += share
	}
	return out
}

// follow takes what is written into effect if every share that would grow is ready.
func (l *ledger) follow() {
	if l.written == "" {
		return
	}
	if strings.Contains(l.written, "v2=") && l.version["canary"] == "v2" {
		l.forgot = false
	}
	now, next := l.shares(), parseShares(l.written)
	if _, names := next["canary"]; names && l.forgot {
		return
	}
	for workload, share := range next {
		if share > now[workload] && !l.ready[workload] {
			return
		}
	}
	l.effect, l.adopted = next, false
}

// route is what must be written, as routes has it.
func (l *ledger) route() string {
	byVersion := map[string]int{}
	for workload, share := range l.shares() {
		if share > 0 {
			byVersion[l.version[workload]] += share
		}
	}
	var out []string
	for _, version := range sortedKeys(byVersion) {
		if len(byVersion) == 1 {
			return version
		}
		out = append(out, fmt.Sprintf("%s=%d", version, byVersion[version]))
	}
	return strings.Join(out, " ")
}

// events are what may happen in any order.
var events = []struct {
	name string
	play func(l *ledger)
}{
	{"the canary is deleted", func(l *ledger) {
		l.c.remove("canary")
		l.c.gone("canary")
		delete(l.version, "canary")
		l.ready["canary"] = false
	}},
	{"the canary is created again", func(l *ledger) {
		if _, runs := l.version["canary"]; runs {
			return
		}
		l.c.rolling("canary", "v2", 2)
		l.c.ready("canary")
		l.version["canary"], l.ready["canary"] = "v2", true
	}},
	{"the canary fails", func(l *ledger) {
		if version, runs := l.version["canary"]; runs {
			l.c.run("canary", version, 2, 0)
			l.ready["canary"] = false
		}
	}},
	{"the canary is restored", func(l *ledger) {
		if version, runs := l.version["canary"]; runs {
			l.c.run("canary", version, 2, 2)
			l.ready["canary"] = true
		}
	}},
	{"the canary is renamed in place", func(l *ledger) {
		if l.version["canary"] == "v2" && l.ready["canary"] { // while nothing of it is ready its share is held where it was
			l.c.template("canary", "v2b")
			l.c.run("canary", "v2", 0, 0)
			l.c.run("canary", "v2b", 2, 2)
			l.version["canary"] = "v2b"
		}
	}},
	{"the weights are removed and shares are set by hand", func(l *ledger) {
		version, runs := l.version["canary"]
		if !runs || !l.ready["canary"] {
			return
		}
		l.forgot = true
		l.c.annotate("weights-")
		l.c.advance(time.Minute)
		l.c.kiali("app", "v1=60", SubsetName(version)+"=40")
		l.written, l.effect, l.adopted = "", map[string]int{"app-v1": 60, "canary": 40}, true
	}},
	{"weights with a typo", func(l *ledger) { l.write("V1=95,v2=5") }},
	{"shift --pending to v3", func(l *ledger) { l.write("v1=50,v3=50") }},
	{"v3 comes", func(l *ledger) {
		l.c.fixed("app-v3", "v3", 2)
		l.c.ready("app-v3")
		l.version["app-v3"], l.ready["app-v3"] = "v3", true
	}},
	{"the Namespace names an unknown default", func(l *ledger) {
		l.c.namespace.Annotations = map[string]string{api.AnnotationDefaultVersion: "v9"}
	}},
	{"a shift", func(l *ledger) { l.write("v1=70,v2=30") }},
	{"the VirtualService is deleted", func(l *ledger) { l.c.existing.VirtualServices = nil }},
	{"the DestinationRule is deleted", func(l *ledger) {
		for name := range l.c.since {
			l.c.since[name] = l.c.now.Add(-time.Hour) // the gap is the user's
		}
		l.c.existing.DestinationRules = nil
	}},
}

// Whatever the order of events: at every moment the route is the one that the decisions so far assign, or the one before.
func TestSharesInEveryOrderOfEvents(t *testing.T) {
	const depth = 3
	var orders func(chosen []int)
	count := 0
	orders = func(chosen []int) {
		if len(chosen) == depth {
			if count++; *everyOrder || count%8 == 0 {
				playOrder(t, chosen)
			}
			return
		}
		for i := range events {
			used := false
			for _, j := range chosen {
				used = used || i == j
			}
			if !used && !t.Failed() {
				orders(append(append([]int(nil), chosen...), i))
			}
		}
	}
	orders(nil)
	t.Logf("%d orders", count)
}

func playOrder(t *testing.T, order []int) {
	t.Helper()
	l := newLedger(t)
	var played []string
	for _, i := range order {
		before := l.route()
		event := events[i]
		played = append(played, event.name)
		event.play(l)
		l.follow()
		after := l.route()
		l.c.watch = func() {
			if got := l.c.routes("app"); got != "none" && got != before && got != after && !strings.Contains(got, "v2b") && !strings.Contains(before+after, "v2b") {
				t.Errorf("a share that nobody decided: %s, between %s and %s, after %s", got, before, after, strings.Join(played, ", "))
			}
		}
		l.c.advance(10 * time.Minute)
		l.c.watch = nil
		if got := l.c.routes("app"); got != after {
			t.Errorf("the route is %s, want %s, after %s", got, after, strings.Join(played, ", "))
			return
		}
	}
}
