// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"fmt"
	"html/template"
	"math"
	"slices"
	"strconv"
	"strings"

	"outrigger.dev/outrigger/internal/diagnose"
)

// versionColors is the number of colors that style.css has for versions: classes version-1 to version-8.
const versionColors = 8

// versionClass returns the class with the color of the version at an index of the versions of a Service, so that a version has
// one color on all pages.
func versionClass(versions []diagnose.VersionStatus, index int) string {
	if versions[index].Version == "" {
		return "no-version"
	}
	return fmt.Sprintf("version-%d", index%versionColors+1)
}

// segment is the part of a bar that belongs to a version.
type segment struct {
	class, label string
	part         float64 // the parts of a bar need not sum to 100
}

// weightBar draws the share of each version in the requests that no rule matches. If no route shares them, it draws the share of
// each version in the ready pods, in the class "unrouted". It returns "" if nothing can receive requests.
func weightBar(versions []diagnose.VersionStatus) template.HTML {
	var weighted, byPods []segment
	for i, v := range versions {
		name := nameOf(v.Version)
		if v.Weight != nil && *v.Weight > 0 {
			weighted = append(weighted, segment{versionClass(versions, i), fmt.Sprintf("%s %d%%", name, *v.Weight), float64(*v.Weight)})
		}
		if v.Ready > 0 {
			byPods = append(byPods, segment{versionClass(versions, i), fmt.Sprintf("%s %s", name, count(v.Ready, "ready pod")), float64(v.Ready)})
		}
	}
	if len(weighted) > 0 {
		return bar(weighted, "bar", "Share of requests: ")
	}
	if slices.ContainsFunc(versions, func(v diagnose.VersionStatus) bool { return v.Weight != nil }) {
		return "" // the route sends requests only to versions that are not listed
	}
	return bar(byPods, "bar unrouted", "No route; requests go to all ready pods: ")
}

func bar(segments []segment, classes, title string) template.HTML {
	if len(segments) == 0 {
		return ""
	}
	var labels []string
	sum := 0.0
	for _, s := range segments {
		labels, sum = append(labels, s.label), sum+s.part
	}
	title += strings.Join(labels, ", ")
	out := &svg{}
	out.open("svg", class(classes), attribute{"role", "img"}, attribute{"viewBox", "0 0 100 10"}, attribute{"preserveAspectRatio", "none"}, attribute{"aria-label", printable(title)})
	out.content("title", title)
	drawSegments(out, segments, 0, 0, 100, 10)
	x := 0.0
	for _, s := range segments[:len(segments)-1] { // a line between two segments, so that the ends of the bar stay round
		x += 100 * s.part / sum
		out.element("line", attribute{"x1", rounded(x)}, attribute{"x2", rounded(x)}, attribute{"y1", 0}, attribute{"y2", 10}, class("gap"))
	}
	out.close("svg")
	return out.html()
}

// drawSegments draws segments side by side, in the proportion of their parts.
func drawSegments(out *svg, segments []segment, x, y, width, height float64) {
	sum := 0.0
	for _, s := range segments {
		sum += s.part
	}
	for _, s := range segments {
		wide := width * s.part / sum
		out.element("rect", append(box(rounded(x), y, rounded(wide), height), class(s.class))...)
		x += wide
	}
}

// canaryTrack draws the steps of a canary: those that have passed, the current one, and those to come. It returns "" for a canary
// that does not progress.
func canaryTrack(canary diagnose.CanaryStatus) template.HTML {
	const maxSteps = 40 // the text beside the track has the number of steps in any case
	if !canary.IsProgressing() || canary.Steps < 1 || canary.Steps > maxSteps {
		return ""
	}
	title := fmt.Sprintf("Canary %s: %s, %d%% of the requests", canary.Version, canary.Position(), canary.Percent)
	out := &svg{}
	width := float64(canary.Steps)*20 - 2 // without the gap after the last step
	out.open("svg", class("track"), attribute{"role", "img"}, attribute{"viewBox", "0 0 " + valueText(width) + " 8"}, attribute{"preserveAspectRatio", "none"}, attribute{"aria-label", printable(title)})
	out.content("title", title)
	for step := 1; step <= canary.Steps; step++ {
		state := "ahead"
		switch {
		case step < canary.Step:
			state = "passed"
		case step > canary.Step:
		case len(canary.Failing) > 0:
			state = "current failing"
		case canary.Paused || canary.IsFrozen || canary.EndsAs != "":
			state = "current paused"
		default:
			state = "current"
		}
		out.element("rect", append(box(float64(step-1)*20, 0, 18, 8), class(state))...)
	}
	out.close("svg")
	return out.html()
}

// nameOf returns the name of a version in texts.
func nameOf(version string) string {
	if version == "" {
		return "pods without a version"
	}
	return version
}

// count returns "1 ready pod" or "2 ready pods".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

// rounded keeps coordinates short.
func rounded(x float64) float64 { return math.Round(x*100) / 100 }
