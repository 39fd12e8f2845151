// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"outrigger.dev/outrigger/test/traffic/load"
)

// Record is what one run of a scenario saw.
type Record struct {
	Name      string     `json:"name"`           // a sentence
	File      string     `json:"file"`           // name of its files, without the extension
	Beside    string     `json:"beside"`         // File of the same run without Outrigger; empty if there is none
	Outrigger bool       `json:"outrigger"`      // whether Outrigger was installed
	Claim     string     `json:"claim"`          // what the scenario shows, for the page
	Notes     []string   `json:"notes"`          // what was checked, with counts
	Ways      []Way      `json:"ways"`           // in the order in which they are drawn
	Marks     []Mark     `json:"marks"`          // in the order of time
	Passed    bool       `json:"passed"`         // whether the test passed
	Lossy     string     `json:"lossy"`          // why responses may fail; empty if none may
	Decisions []Decision `json:"decisions"`      // in the order of time
	Start     time.Time  `json:"start,omitzero"` // when the load began
	End       time.Time  `json:"end,omitzero"`   // when the load ended
}

// Way is one way into the Service, with all of its responses in the order in which they were sent.
type Way struct {
	Name      string          `json:"name"` // "at the gateway", "in the mesh"
	Responses []load.Response `json:"responses"`
}

// Mark is a time at which something was done or written.
type Mark struct {
	At   time.Time `json:"at"`
	Kind string    `json:"kind"` // Step, or the kind of the object that was written
	Text string    `json:"text"`
}

// Step is the kind of a Mark that a scenario sets itself; other marks name the kind of an object.
const Step = "step"

// Decision says which versions may answer from a time on, until the next decision for the same way.
type Decision struct {
	At       time.Time `json:"at"`
	Way      string    `json:"way"` // empty for all
	Versions []string  `json:"versions"`
}

// Write writes the record as JSON into a folder.
func (r *Record) Write(folder string) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, r.File+".json"), text, 0o644)
}

// ReadRecord reads what Write wrote.
func ReadRecord(file string) (*Record, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	r := &Record{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return r, nil
}

// allowed reports whether a decision let the version answer at some time between the two. The route may change while a request is
// in flight, so a response counts as correct if either side of the change allows it.
func (r *Record) allowed(way, version string, sent, received time.Time) bool {
	var in []Decision
	for _, d := range r.Decisions {
		if d.Way == "" || d.Way == way {
			in = append(in, d)
		}
	}
	for i, d := range in {
		ended := i+1 < len(in) && !in[i+1].At.After(sent)
		if !ended && !d.At.After(received) && slices.Contains(d.Versions, version) {
			return true
		}
	}
	return false
}
