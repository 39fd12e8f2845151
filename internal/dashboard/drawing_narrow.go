// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"html/template"
	"strings"
)

// The measures of the narrow layout, which is readable on a screen 360 pixels wide.
const (
	narrowWidth = 312.0
	barHeight   = 10.0
)

// narrow draws callers, and below them the rules, each with its versions.
func (r *route) narrow() template.HTML {
	body := &svg{}
	y := r.drawCallersAbove(body, 0)
	y = r.drawRulesBelow(body, y)
	y = r.drawIdleBelow(body, y)

	out := &svg{}
	r.start(out, "narrow", narrowWidth, y+2)
	out.markup.WriteString(body.markup.String())
	out.close("svg")
	return out.html()
}

// drawCallersAbove draws the callers and an arrow to what is below y, which it returns.
func (r *route) drawCallersAbove(out *svg, y float64) float64 {
	for _, c := range r.callers {
		lines, named := c.lines(narrowWidth)
		height := float64(len(lines))*lineHeight + 2*padding - 4
		out.open("g", class("caller"))
		out.hover(strings.TrimSpace(c.name+" "+c.hosts), lines...)
		out.element("rect", append(box(1, y+1, narrowWidth-2, height), attribute{"rx", 8}, class("box"))...)
		for i, line := range lines {
			out.text(padding, y+padding+12+lineHeight*float64(i), line, class(pick(i < named, "name", "detail")))
		}
		out.close("g")
		y += height + 8
	}
	out.element("path", class("request"), attribute{"d", "M156 " + valueText(y-6) + "v16"})
	out.element("path", class("head"), attribute{"d", "M151 " + valueText(y+8) + "l5 8l5 -8z"})
	return y + 16
}

func (r *route) drawRulesBelow(out *svg, y float64) float64 {
	body := &svg{}
	header := r.header(narrowWidth)
	top, height := y, headerHeightOf(header)
	for _, rule := range r.rules {
		height = r.drawRuleBelow(body, rule, top, height)
	}
	if r.moreRules > 0 {
		body.text(padding, top+height+6, "and "+count(r.moreRules, "more rule")+" before the last", class("faint"))
		height += lineHeight
	}
	out.element("rect", append(box(1, top+1, narrowWidth-2, height), attribute{"rx", 8}, class("box panel"))...)
	r.drawHeader(out, header, padding, top)
	out.markup.WriteString(body.markup.String())
	return top + height + spacing
}

// drawRuleBelow draws a rule at a height below the top of the panel: its condition, a bar of its shares, and a line for each version.
func (r *route) drawRuleBelow(out *svg, rule rule, top, height float64) float64 {
	y := top + height
	out.open("g", class("rule"))
	out.element("line", attribute{"x1", 1}, attribute{"x2", narrowWidth - 1}, attribute{"y1", y}, attribute{"y2", y}, class("divider"))
	match, x := rule.match, padding
	if rule.number != "" {
		out.element("circle", attribute{"cx", padding + 9}, attribute{"cy", y + 20}, attribute{"r", 10}, class("number"))
		out.text(padding+9, y+24, rule.number, class("number"), attribute{"text-anchor", "middle"})
		x += 28
	}
	lines := wrap(match, fits(narrowWidth-26), maxMatchLines)
	out.hover(match, lines...)
	for i, line := range lines {
		out.text(x, y+24+lineHeight*float64(i), line, class(pick(rule.number != "", "match", "others")))
	}
	y += padding + 20 + lineHeight*float64(len(lines)-1)
	var segments []segment
	for _, s := range rule.to {
		if s.percent > 0 {
			segments = append(segments, segment{r.classOf(s), s.name, s.percent})
		}
	}
	if len(segments) > 0 {
		drawSegments(out, segments, padding, y+2, narrowWidth-2*padding, barHeight)
	}
	y += barHeight + 8
	for _, s := range rule.to {
		if s.version >= 0 || r.moreVersions == 0 {
			y = r.drawShareBelow(out, s, s.label(), y)
		}
	}
	for _, s := range rule.mirrors {
		y = r.drawShareBelow(out, s, "mirror "+s.label(), y)
	}
	out.close("g")
	return y + 6 - top
}

// drawShareBelow draws a version with its share and pods.
func (r *route) drawShareBelow(out *svg, s share, label string, y float64) float64 {
	out.element("rect", append(box(padding, y+4, 10, 10), attribute{"rx", 2}, class(r.classOf(s)))...)
	out.text(narrowWidth-padding, y+14, label, class("percent"), attribute{"text-anchor", "end"})
	names := wrap(s.name, max(fits(narrowWidth-26-float64(columns(label))*columnWidth), 8), maxNameLines)
	out.hover(s.name, strings.Join(names, ""))
	for _, name := range names {
		out.text(padding+18, y+14, name, class("name"))
		y += lineHeight
	}
	if s.version >= 0 {
		v := r.versions[s.version]
		for _, note := range wrap(strings.Join(v.notes, ", "), fitsDetail(narrowWidth-18), 2) {
			out.text(padding+18, y+12, note, class(pick(v.isReady, "detail", "detail unready")))
			y += lineHeight
		}
	}
	return y + 2
}

// drawIdleBelow names the versions without requests.
func (r *route) drawIdleBelow(out *svg, y float64) float64 {
	for _, v := range r.versions {
		if !v.isIdle {
			continue
		}
		out.open("g", class("version idle "+v.class))
		out.element("rect", append(box(padding, y, 10, 10), attribute{"rx", 2}, class("stripe"))...)
		names := wrap(v.name, fits(narrowWidth-20), maxNameLines)
		out.hover(v.name, strings.Join(names, ""))
		for _, name := range names {
			out.text(padding+18, y+10, name, class("name"))
			y += lineHeight
		}
		for _, note := range wrap("no requests, "+strings.Join(v.notes, ", "), fitsDetail(narrowWidth-18), 2) {
			out.text(padding+18, y+8, note, class(pick(v.isReady, "detail", "detail unready")))
			y += lineHeight
		}
		out.close("g")
		y += 4
	}
	if r.moreVersions > 0 {
		out.text(padding, y+10, "and "+count(r.moreVersions, "more version"), class("faint"))
		y += lineHeight
	}
	return y
}

func (r *route) classOf(s share) string {
	if s.version < 0 {
		return "no-version"
	}
	return r.versions[s.version].class
}
