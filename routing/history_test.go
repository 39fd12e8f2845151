// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"outrigger.dev/outrigger/api"
)

// decisions are the decision in effect and those before it, one a line.
func (c *cluster) decisions() string {
	var out []string
	for _, d := range Decisions(c.observe(), c.now) {
		text := d.Default
		if d.Weights != "" {
			text += " " + d.Weights
		}
		if len(d.Missing) > 0 {
			text += " missing " + strings.Join(d.Missing, ",")
		}
		out = append(out, text)
	}
	return strings.Join(out, "; ")
}

func (c *cluster) decided(want string) {
	c.t.Helper()
	if got := c.decisions(); got != want {
		c.t.Errorf("%v: decisions\n%s\nwant\n%s", c.now, got, want)
	}
}

func TestHistoryOfDecisions(t *testing.T) {
	c := twoVersions(t)
	c.decided("v1")
	c.annotate("weights=v1=90,v2=10")
	c.advance(time.Minute)
	c.annotate("weights=v1=50,v2=50")
	c.advance(time.Minute)
	c.decided("v1 v1=50,v2=50; v1 v1=90,v2=10; v1")
	c.annotate("default-version=v2", "weights-") // promote: one decision, whatever it takes effect in
	c.advance(time.Minute)
	c.has("v1 v2", "v2")
	c.decided("v2; v1 v1=50,v2=50; v1 v1=90,v2=10; v1")
	c.annotate("default-version=v1", "weights=v1=50,v2=50") // back: the decision moves to the front
	c.advance(time.Minute)
	c.decided("v1 v1=50,v2=50; v2; v1 v1=90,v2=10; v1")
	for _, percent := range []int{60, 70, 80, 85} {
		c.annotate(fmt.Sprintf("weights=v1=%d,v2=%d", percent, 100-percent))
		c.advance(time.Minute)
	}
	c.decided("v1 v1=85,v2=15; v1 v1=80,v2=20; v1 v1=70,v2=30; v1 v1=60,v2=40; v1 v1=50,v2=50; v2")
	until := Decisions(c.observe(), c.now)[1].Until
	if until != c.now.Add(-time.Minute) {
		t.Errorf("the decision before is said to have ended at %v", until)
	}
	// Neither time nor a restart adds anything, and nothing is written for its sake.
	c.writes = nil
	c.advance(time.Hour)
	c.wrote()
}

// A step of a canary is not a decision: a past decision with the same shares stays in the list, with its number.
func TestHistoryDuringACanary(t *testing.T) {
	c := canaryOf(t, "weights=v1=50,v2=50")
	c.advance(time.Minute)
	c.annotate("weights-")
	c.advance(time.Minute)
	c.decided("v1; v1 v1=50,v2=50")
	c.annotate("canary=v2")
	c.settle()
	c.advance(3 * time.Second)
	c.decided("v1 v1=75,v2=25; v1 v1=50,v2=50")
	c.advance(time.Minute)
	c.decided("v1 v1=50,v2=50; v1 v1=50,v2=50")
	c.annotate("canary-")
	c.settle()
	c.decided("v1; v1 v1=50,v2=50")
}

// A decision is recorded in the writes that put the next one into effect.
func TestHistoryCausesNoWrite(t *testing.T) {
	c := twoVersions(t)
	c.advance(time.Minute)
	c.writes = nil
	c.annotate("weights=v1=90,v2=10")
	c.advance(time.Minute)
	c.wrote(applyRule, applyRoute)
	c.annotate("default-version=v2", "weights-")
	c.advance(time.Minute)
	c.wrote(applyRule, applyRoute)
	c.decided("v2; v1 v1=90,v2=10; v1")
}

// What is pending, invalid, provisional or revised within the first seconds was never in effect.
func TestWhatNeverTookEffectIsNoDecision(t *testing.T) {
	c := newCluster(t)
	c.fixed("b", "v2", 1)
	c.advance(time.Second)
	c.fixed("a", "v1", 1) // the default is revised while its record is young
	c.ready()
	c.advance(time.Hour)
	first := c.decisions()
	c.annotate("weights=v1=50,v9=50")
	c.advance(time.Minute)
	c.annotate("weights=bad", "default-version=!")
	c.advance(time.Minute)
	c.annotate("weights-", "default-version-", "default-version=v9")
	c.advance(time.Minute)
	c.decided(first)
	if strings.Contains(first, ";") {
		t.Errorf("decisions before any: %s", first)
	}
}

// A rollout in place is not a decision. Earlier decisions about its workload name the version that it runs now.
func TestHistoryFollowsRollouts(t *testing.T) {
	c := newCluster(t)
	rollingVersions(c, "v1", "v2")
	c.annotate("weights=v1=90,v2=10")
	c.advance(time.Minute)
	c.annotate("default-version=v2", "weights-")
	c.advance(time.Minute)
	c.decided("v2; v1 v1=90,v2=10; v1")
	c.template("a", "v3")
	c.run("a", "v1", 0, 0)
	c.run("a", "v3", 2, 2)
	c.advance(time.Hour)
	c.decided("v2; v3 v3=90,v2=10; v3")
	c.remove("a")
	c.gone("a")
	c.advance(time.Hour)
	c.decided("v2; Deployment/a v1=90,v2=10 missing Deployment/a,v1; Deployment/a missing Deployment/a")
}

// A default that another replaces by itself is in the history, too: with it, undo goes back.
func TestHistoryOfAFailedDefault(t *testing.T) {
	c := twoVersions(t)
	c.empty = true
	c.annotate("default-gone=next", "default-gone-after=10s")
	c.advance(time.Minute)
	c.run("app-v1", "v1", 2, 0)
	c.advance(time.Minute)
	c.has("v1 v2", "v2")
	c.decided("v2; v1")
}

// Each object of ours has the history, and one that lost it gets it back.
func TestHistorySurvives(t *testing.T) {
	for name, edit := range map[string]func(c *cluster){
		"the VirtualService deleted":   func(c *cluster) { c.existing.VirtualServices = nil },
		"the DestinationRule deleted":  func(c *cluster) { c.existing.DestinationRules = nil },
		"annotations removed":          func(c *cluster) { c.route("app").Annotations = nil },
		"the history edited":           func(c *cluster) { editHistory(c.route("app")) },
		"the history edited elsewhere": func(c *cluster) { editHistory(c.existing.DestinationRules[0]) },
	} {
		t.Run(name, func(t *testing.T) {
			c := twoVersions(t)
			c.annotate("weights=v1=90,v2=10")
			c.advance(time.Minute)
			c.annotate("weights=v1=50,v2=50")
			c.advance(time.Minute)
			edit(c)
			c.advance(time.Minute)
			c.decided("v1 v1=50,v2=50; v1 v1=90,v2=10; v1")
			for _, object := range c.existing.All() {
				if len(recordOf(object).History) != 2 {
					t.Errorf("%s has the history %v", KindOf(object), recordOf(object).History)
				}
			}
		})
	}
}

func editHistory(o Object) {
	annotations := o.GetAnnotations()
	annotations[api.AnnotationRecord] = strings.Replace(annotations[api.AnnotationRecord], "v1=90,v2=10", "v1=1,v2=99", 1)
}

// A history that does not parse takes nothing else of the record with it, and one from elsewhere is bounded.
func TestHistoryIsReadSafely(t *testing.T) {
	for text, want := range map[string]int{
		`{"default":"v1","history":"x"}`:                            0,
		`{"default":"v1","history":[{"until":5}]}`:                  0,
		`{"default":"v1","history":[{"until":"x","weights":"v1"}]}`: 0,
		`{"default":"v1","history":[{"until":"x","default":"v2"}]}`: 1,
		`{"default":"v1","history":[{"default":"a"},{"default":"b"},{"default":"c"},{"default":"d"},{"default":"e"},{"default":"f"}]}`: 5,
	} {
		var r record
		if err := json.Unmarshal([]byte(text), &r); err != nil || r.Default.Version != "v1" || len(r.History) != want {
			t.Errorf("%s: %v, %v", text, r, err)
		}
	}
}

// The history is bounded: weights that are too long are not recorded, and are said to be so.
func TestHistoryIsBounded(t *testing.T) {
	var list []recordedDecision
	for i := range 9 {
		d := recordedDecision{Until: "2026-01-02T03:04:05.000Z", Default: meaning{Version: fmt.Sprint("v", i)}}
		for j := range 60 * (i % 2) {
			d.Weights = append(d.Weights, effectiveWeight{name: fmt.Sprintf("a-version-with-a-long-name-%d", j), weight: 1})
		}
		list = append(list, d)
	}
	list[3].Weights = append(list[3].Weights, list[3].Weights...)
	out := bounded(list)
	if size := len(bytesOfJSON(out)); size > maxDecisionBytes || len(out) == 0 || len(out) > maxDecisions {
		t.Errorf("%d decisions of %d bytes", len(out), size)
	}
	var long []bool
	for _, d := range out {
		long = append(long, d.Long)
	}
	if diff := cmp.Diff([]bool{false, false, false, true, false}, long); diff != "" {
		t.Errorf("too long (-want +got):\n%s", diff)
	}
}
