// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"outrigger.dev/outrigger/api"
)

// canaryWatch checks after every write what must always be true of a canary.
type canaryWatch struct {
	*cluster
	steps  []int // percentages
	shares map[string]int
	grown  map[string]time.Time
	ended  map[string]bool // "v2 t2": versions with their templates that must not start again
	active string          // the canary that progressed before
	rate   float64         // of errors, or NaN
	retry  bool            // the user decided to retry the canary that ended
	grew   int
}

const stepOfWalk = time.Minute

func newCanaryWatch(t *testing.T, seed int) *canaryWatch {
	w := &canaryWatch{cluster: twoVersions(t), steps: []int{10, 40, 100}, shares: map[string]int{}, grown: map[string]time.Time{}, ended: map[string]bool{}}
	w.templates, w.restarts = map[string]string{"app-v1": "t1", "app-v2": "t2", "app-v3": "t3"}, map[string]string{}
	w.fixed("app-v3", "v3", 3)
	w.ready()
	w.quick, w.empty = seed%4 != 0, true
	w.settings.Canary.HasMetrics = seed%3 != 0
	w.metrics = func(CanaryQuery) CanarySamples {
		return CanarySamples{Requests: 100, Values: values(api.MetricErrorRate, w.rate, 0.001)}
	}
	w.annotate("canary-steps=10,40,100", "canary-interval=1m", "canary-deadline=5m", "match=v2=header:beta:1")
	w.advance(10 * time.Minute)
	w.watch = w.check
	return w
}

func (w *canaryWatch) check() {
	w.t.Helper()
	if len(w.existing.VirtualServices) == 0 {
		return
	}
	vs := w.existing.VirtualServices[0]
	r := recordOf(vs)
	c := r.Canary
	if c.isActive() && c.Version != w.active {
		if key := c.Version + " " + strings.Join(c.Templates, ","); w.ended[key] && !w.retry {
			w.t.Errorf("%v: canary %s starts again", w.now, key)
		}
		w.retry = false
	}
	if w.active = c.Version; len(c.Ended) > 0 {
		w.ended[c.Ended[0].Version+" "+strings.Join(c.Ended[0].Templates, ",")] = true
	}
	if w.service.Annotations[api.AnnotationMatch] != "" && !strings.HasPrefix(routesOf(vs), "beta=1: v2; ") {
		w.t.Errorf("%v: the match is missing: %s", w.now, routesOf(vs))
	}
	shares := map[string]int{}
	http := vs.Spec.Http[len(vs.Spec.Http)-1]
	for _, route := range http.Route {
		if shares[route.Destination.Subset] = int(route.Weight); len(http.Route) == 1 {
			shares[route.Destination.Subset] = 100
		}
	}
	for version, share := range shares {
		if version == r.Default.String() {
			continue
		}
		if !c.isActive() || c.Version != version || share > int(c.Percent) {
			w.t.Errorf("%v: %s has %d%%, and the record says %s", w.now, version, share, r.text())
		}
		if before := w.shares[version]; share > before {
			w.grow(version, before, share)
		}
	}
	w.shares = shares
}

// grow checks that a canary may have more than before.
func (w *canaryWatch) grow(version string, before, share int) {
	w.t.Helper()
	w.grew++
	if next := w.steps[slices.Index(w.steps, before)+1]; share != next {
		w.t.Errorf("%v: %s goes from %d%% to %d%%, want %d%%", w.now, version, before, share, next)
	}
	group := w.pods[w.ref("app-"+version)][version]
	if w.settings.Canary.HasMetrics && !(w.rate < 0.01) && before > 0 || group == nil || group.Ready == 0 {
		w.t.Errorf("%v: %s goes from %d%% to %d%% while it fails: error rate %v, pods %+v", w.now, version, before, share, w.rate, group)
	}
	if before > 0 && w.now.Sub(w.grown[version]) < stepOfWalk {
		w.t.Errorf("%v: %s goes from %d%% to %d%% after %v", w.now, version, before, share, w.now.Sub(w.grown[version]))
	}
	w.grown[version] = w.now
}

// Whatever happens: a canary never gets more than its step, takes one step after another, each for its time, gets no more while it fails
// or without data, has nothing after its end, and starts again only by decision. Nothing but the objects is kept between plans.
func TestRandomCanaries(t *testing.T) {
	grew := 0
	for seed := range *walks / 10 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewSource(int64(seed)))
			w := newCanaryWatch(t, seed)
			var steps []string
			for range 50 {
				steps = append(steps, w.step(random))
				w.settle()
				w.planEarly(random)
				w.advance(time.Duration(random.Intn(90)) * time.Second)
				if t.Failed() {
					t.Fatalf("after:\n%s", strings.Join(steps, "\n"))
				}
			}
			grew += w.grew
		})
	}
	if seeds := *walks / 10; seeds >= 5 && grew < 2*seeds {
		t.Errorf("canaries took only %d steps", grew)
	}
}

// planEarly plans at a random time before the next one that the plan asked for: nothing changes.
func (w *canaryWatch) planEarly(random *rand.Rand) {
	w.t.Helper()
	if w.next.IsZero() {
		return
	}
	was := w.now
	w.now = w.now.Add(time.Duration(random.Int63n(int64(w.next.Sub(w.now)))))
	observed := w.observe()
	if changes := observed.Changes(Plan(observed, w.now)); len(changes) > 0 {
		w.t.Errorf("%v: a plan before Next, %v, changes %v", w.now, w.next, changes)
	}
	w.now = was
}

func (w *canaryWatch) step(random *rand.Rand) string {
	pick := func(words ...string) string { return words[random.Intn(len(words))] }
	version := pick("v1", "v2", "v2", "v3")
	name := "app-" + version
	kind := random.Intn(14)
	if len(w.existing.VirtualServices) > 0 && recordOf(w.existing.VirtualServices[0]).Default.String() == version && (kind == 6 || kind == 12) {
		return "nothing" // what a default without pods does is tested elsewhere
	}
	switch kind {
	case 0, 1, 2:
		word := pick("canary=v1", "canary=v2", "canary=v2", "canary=v3", "canary-", "canary=auto", "canary=?")
		w.annotate(word)
		w.retry = w.retry && word != "canary-"
		return word
	case 3:
		w.retry = w.service.Annotations[api.AnnotationCanary] != ""
		w.annotate(w.decidedAt())
		return "retry"
	case 4, 5:
		w.rate = []float64{0, 0, 0, 0.002, 0.5, nan, -1}[random.Intn(7)]
		w.asked = CanaryQuery{}
		return fmt.Sprint("error rate ", w.rate)
	case 6:
		pods := 1 + random.Intn(4)
		ready := random.Intn(pods + 1)
		if w.workloads[w.ref(name)] == nil {
			return "nothing"
		}
		w.run(name, version, pods, ready)
		return fmt.Sprintf("run %s %d/%d", name, ready, pods)
	case 7, 8:
		w.ready()
		w.restarts[name] = ""
		return "all ready"
	case 9:
		w.templates[name] = pick("t2", "t3", "t4", "t2,t4")
		return name + " has template " + w.templates[name]
	case 10:
		word := pick("canary-paused=true", "canary-paused=false", "canary-paused-", "canary-steps=", "canary-steps=10,40,100", "canary-steps=10,40,100")
		w.annotate(word)
		return word
	case 11:
		observed := w.observe()
		changes := observed.Changes(Plan(observed, w.now))
		for _, change := range changes[:random.Intn(len(changes)+1)] {
			w.apply(change)
			w.check()
		}
		w.now = w.now.Add(time.Duration(random.Intn(5)) * time.Hour)
		return "the leader is killed, and the next one begins later"
	case 12:
		switch w.remove(name); random.Intn(3) {
		case 0:
			w.gone(name)
		case 1:
			w.gone(name)
			w.fixed(name, version, 2)
			return name + " is created again"
		}
		return name + " is removed"
	case 13:
		if random.Intn(2) == 0 && len(w.existing.VirtualServices) > 0 {
			w.existing.VirtualServices = nil
			return "the VirtualService is deleted"
		}
		w.existing.DestinationRules = nil
		w.settle()
		return "the DestinationRule is deleted"
	}
	return "nothing"
}
