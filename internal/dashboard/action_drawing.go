// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"fmt"
	"html/template"

	"outrigger.dev/outrigger/internal/diagnose"
)

// shareBars draws the share of a version before and after a change, one above the other. The table around it has the numbers.
func shareBars(s diagnose.ShareChange) template.HTML {
	percent := func(share int) int { return min(max(share, 0), 100) }
	return template.HTML(fmt.Sprintf( //nolint:gosec // numbers only
		`<svg class="share-change" viewBox="0 0 100 16" preserveAspectRatio="none" aria-hidden="true"><rect class="track" width="100" height="16"/><rect class="before" y="1" width="%d" height="6"/><rect class="after" y="9" width="%d" height="6"/></svg>`,
		percent(s.Before), percent(s.After)))
}
