package main

import (
	"strconv"
	"strings"
	"time"

	"outrigger.dev/outrigger/routing"
)

// pastStatus is a decision that was in effect, and that undo --to returns to by its place in the list.
type pastStatus struct {
	Default string `json:"default"`
	Weights string `json:"weights,omitempty"` // empty: the default received everything
	Until   string `json:"until"`
	// Missing are the versions that nothing carries any more, so that undo refuses the decision.
	Missing []string `json:"missing,omitempty"`
	// TooLong is true where the weights were too long to be recorded.
	TooLong bool `json:"tooLong,omitempty"`
}

func historyOf(observed routing.Observed, now time.Time) []pastStatus {
	decisions := routing.Decisions(observed, now)
	var out []pastStatus
	for _, d := range decisions[min(1, len(decisions)):] {
		out = append(out, pastStatus{d.Default, d.Weights, d.Until.UTC().Format(time.RFC3339), d.Missing, d.IsTooLong})
	}
	return out
}

// history lists the decisions that undo returns to.
func (p *tables) history(namespaces []namespaceStatus) {
	if !p.view.wide {
		return
	}
	var rows [][]string
	for _, n := range namespaces {
		for _, s := range n.Services {
			for i, d := range s.History {
				weights := orDash(d.Weights)
				switch {
				case d.TooLong:
					weights = "(too long to be recorded)"
				case len(d.Missing) > 0:
					weights += " (no version " + strings.Join(d.Missing, ", ") + ")"
				}
				rows = append(rows, p.at(n.Name, s.Name, strconv.Itoa(i+1), d.Default, weights, d.Until))
			}
		}
	}
	p.table(p.at("NAMESPACE", "SERVICE", "UNDO --TO", "DEFAULT", "WEIGHTS", "UNTIL"), rows)
}
