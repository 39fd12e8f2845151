// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strconv"
	"strings"
	"time"

	"outrigger.dev/outrigger/routing"
)

// pastStatus is a past decision. undo --to takes its position in the list.
type pastStatus struct {
	Default string `json:"default"`
	Weights string `json:"weights,omitempty"` // empty: the default received everything
	Until   string `json:"until"`
	// Missing lists versions without pods or workloads. If it is not empty, undo refuses the decision.
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

// history prints the decisions that undo can return to.
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
