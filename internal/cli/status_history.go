// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"strconv"
	"strings"
)

// history prints the decisions that undo can return to.
func (p *tables) history(namespaces []namespaceStatus) {
	if !p.view.wide {
		return
	}
	var rows [][]string
	for _, n := range namespaces {
		for _, s := range n.Services {
			for i, d := range s.History {
				weights := cmp.Or(d.Weights, "-")
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
