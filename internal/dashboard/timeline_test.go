// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Entries of all kinds but Normal have a color of their own.
func TestKindsOfEntriesHaveColors(t *testing.T) {
	t.Parallel()
	style, err := files.ReadFile("static/style.css")
	if err != nil {
		t.Fatal(err)
	}
	one := web()
	one.Events[0].Kind = "Warning"
	for _, entry := range timelineOf(one) {
		if rule := ".timeline li." + entry.Kind + "::before"; !strings.Contains(string(style), rule) {
			t.Errorf("the style has no rule %s", rule)
		}
	}
}

// Events that say the same at the same moment about several objects are one entry. Repetitions, and what differs, stay apart.
func TestEqualEventsAreOneEntry(t *testing.T) {
	t.Parallel()
	const started = "Canary v2 of Service web started: 10% of the requests."
	const aborted = "Canary v2 was aborted at 10%: error-rate 5% (<1%). v1 receives its requests."
	canary := func(object, message string, at time.Time) Event {
		return Event{At: at, Kind: "Normal", Object: object, Reason: "CanaryStarted", Message: message, Count: 1}
	}
	write := func(route, weights string, at time.Time) Event {
		return Event{At: at, Kind: "Normal", Object: "Service web", Related: "VirtualService " + route, Reason: "Updated", Message: "VirtualService " + route + weights, Count: 1}
	}
	entry := func(reason, message string, at time.Time, objects ...string) timelineEntry {
		return timelineEntry{At: at, Kind: "Normal", Objects: objects, Reason: reason, Message: message, Count: 1}
	}
	later := noon.Add(time.Second)
	for name, c := range map[string]struct {
		events []Event
		want   []timelineEntry
	}{
		"none": {},
		"a canary": {
			[]Event{canary("Deployment web-v2", started, later), canary("Service web", started, noon), canary("Deployment web-v2b", started, noon)},
			[]timelineEntry{entry("CanaryStarted", started, later, "Service web", "Deployment web-v2", "Deployment web-v2b")},
		},
		"mesh and gateway": {
			[]Event{write("web-gateway", ": v1=90 v2=10", later), write("web", ": v1=90 v2=10", noon)},
			[]timelineEntry{entry("Updated", "VirtualService web, VirtualService web-gateway: v1=90 v2=10", later, "Service web")},
		},
		"other weights at the gateway": {
			[]Event{write("web-gateway", ": v1=90 v2=10", later), write("web", ": v1=100", noon)},
			[]timelineEntry{entry("Updated", "VirtualService web-gateway: v1=90 v2=10", later, "Service web"), entry("Updated", "VirtualService web: v1=100", noon, "Service web")},
		},
		"removed objects": {
			[]Event{write("web-gateway", "", noon), write("web", "", noon)},
			[]timelineEntry{entry("Updated", "VirtualService web, VirtualService web-gateway", noon, "Service web")},
		},
		"a repetition": {
			[]Event{write("web", ": v1=100", later.Add(time.Second)), write("web", ": v2=100", later), write("web", ": v1=100", noon)},
			[]timelineEntry{
				entry("Updated", "VirtualService web: v1=100", later.Add(time.Second), "Service web"), entry("Updated", "VirtualService web: v2=100", later, "Service web"),
				entry("Updated", "VirtualService web: v1=100", noon, "Service web"),
			},
		},
		"another time": {
			[]Event{canary("Service web", started, noon.Add(time.Hour)), canary("Deployment web-v2", started, noon)},
			[]timelineEntry{entry("CanaryStarted", started, noon.Add(time.Hour), "Service web"), entry("CanaryStarted", started, noon, "Deployment web-v2")},
		},
		"problems, which begin with the object": {
			[]Event{canary("Service web", "Service demo/web: metadata.annotations[x]: no", noon), canary("Service web", "Service demo/other: no", noon.Add(-time.Hour))},
			[]timelineEntry{entry("CanaryStarted", "metadata.annotations[x]: no", noon, "Service web"), entry("CanaryStarted", "Service demo/other: no", noon.Add(-time.Hour), "Service web")},
		},
		"names that continue": {
			[]Event{canary("Service web", "v1", noon), canary("Deployment web", "v10", noon)},
			[]timelineEntry{entry("CanaryStarted", "v1", noon, "Service web"), entry("CanaryStarted", "v10", noon, "Deployment web")},
		},
		"an abort, with advice": {
			[]Event{{At: noon, Kind: "Normal", Object: "Deployment web-v2", Reason: "CanaryAborted", Message: aborted, Count: 1},
				{At: noon, Kind: "Warning", Object: "Service web", Reason: "CanaryAborted", Message: aborted + " To retry it: outrigger canary web --retry", Count: 3}},
			[]timelineEntry{{At: noon, Kind: "Warning", Objects: []string{"Service web", "Deployment web-v2"}, Reason: "CanaryAborted", Message: aborted + " To retry it: outrigger canary web --retry", Count: 3}},
		},
	} {
		if diff := cmp.Diff(c.want, eventEntries("demo", c.events)); diff != "" {
			t.Errorf("%s, -want +got:\n%s", name, diff)
		}
	}
}
