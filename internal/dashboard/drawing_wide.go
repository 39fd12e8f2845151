// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"cmp"
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"
)

// The measures of the wide layout: three columns of boxes with room for lines between them.
const (
	wideWidth    = 920.0
	callersX     = 0.0
	callersWidth = 210.0
	rulesX       = 258.0
	rulesWidth   = 286.0
	versionsX    = 712.0
	versionWidth = 208.0

	lineHeight   = 18.0
	padding      = 12.0
	spacing      = 14.0
	headerHeight = 36.0
	columnWidth  = 7.9  // of a character of the monospaced font
	labelHeight  = 23.0 // of the label of a line, with a gap
	detailWidth  = 6.9  // of a character of the proportional font in host names, which have few wide letters

	// The most lines of a text; the rest is in the tooltip and in the description.
	maxNameLines  = 3
	maxMatchLines = 5
)

// placed is a box of the drawing.
type placed struct {
	y, height float64
	lines     []string
	named     int // how many of the lines are the name
}

func (p placed) middle() float64 { return p.y + p.height/2 }

// port returns the height at which one of several lines meets the box.
func (p placed) port(index, of int) float64 {
	return p.y + p.height*(float64(index)+1)/(float64(of)+1)
}

// edge is a line from a rule to a version.
type edge struct {
	rule, version int
	share
	mirrors bool
}

// wide draws callers, rules, and versions from left to right.
func (r *route) wide() template.HTML {
	edges := r.edges()
	callers, callersHeight := r.placeCallers()
	rules, panelHeight := r.placeRules(edges)
	versions, versionsHeight := r.placeVersions(edges)
	height := max(callersHeight, panelHeight, versionsHeight)
	move(callers, (height-callersHeight)/2)
	move(rules, (height-panelHeight)/2)
	move(versions, (height-versionsHeight)/2)
	panelY := (height - panelHeight) / 2

	out := &svg{}
	header := headerHeightOf(r.header(rulesWidth))
	r.start(out, "wide", wideWidth, height+2)
	for i, c := range r.callers {
		r.drawCaller(out, c, callers[i], panelY+header/2)
	}
	for _, e := range edges {
		drawEdge(out, e, r.versions[e.version].class, edges, rules, versions)
	}
	r.drawPanel(out, panelY, panelHeight, rules)
	for i, v := range r.versions {
		drawVersion(out, v, versions[i])
	}
	if r.moreVersions > 0 {
		out.text(versionsX, height-4, "and "+count(r.moreVersions, "more version"), class("faint"))
	}
	for _, e := range edges { // labels last, above all lines
		drawLabel(out, e, edges, versions)
	}
	out.close("svg")
	return out.html()
}

func move(boxes []placed, by float64) {
	for i := range boxes {
		boxes[i].y += by
	}
}

// edges returns the lines of the drawing, those of a rule in the order of the versions.
func (r *route) edges() []edge {
	var out []edge
	for i, rule := range r.rules {
		first := len(out)
		for _, to := range rule.to {
			out = append(out, edge{i, to.version, to, false})
		}
		for _, m := range rule.mirrors {
			out = append(out, edge{i, m.version, m, true})
		}
		slices.SortStableFunc(out[first:], func(a, b edge) int { return cmp.Compare(a.version, b.version) })
	}
	return slices.DeleteFunc(out, func(e edge) bool { return e.version < 0 })
}

// fits returns how many characters of a name fit into a box, and fitsDetail how many of a detail.
func fits(width float64) int { return int((width - 2*padding) / columnWidth) }

func fitsDetail(width float64) int { return int((width - 2*padding) / detailWidth) }

// header returns the lines with the name of the Service.
func (r *route) header(width float64) []string {
	return wrap("Service "+r.service, fits(width), maxNameLines)
}

func headerHeightOf(lines []string) float64 { return headerHeight + lineHeight*float64(len(lines)-1) }

func (r *route) drawHeader(out *svg, lines []string, x, y float64) {
	out.open("g", class("header"))
	out.hover("Service "+r.service, lines...)
	for i, line := range lines {
		out.text(x, rounded(y+headerHeight-13+lineHeight*float64(i)), line, class("name"))
	}
	out.close("g")
}

// lines returns the texts in the box of a caller, and how many of them are its name.
func (c caller) lines(width float64) (lines []string, named int) {
	lines = wrap(c.name, fits(width), maxNameLines)
	named = len(lines)
	if c.hosts != "" {
		lines = append(lines, wrap(c.hosts, fitsDetail(width), 4)...)
	}
	if c.ownRoute != "" {
		lines = append(lines, wrap("own route: "+c.ownRoute, fitsDetail(width), 2)...)
	}
	return lines, named
}

func (r *route) placeCallers() (out []placed, height float64) {
	for _, c := range r.callers {
		p := placed{y: height}
		p.lines, p.named = c.lines(callersWidth)
		p.height = float64(len(p.lines))*lineHeight + 2*padding
		out, height = append(out, p), height+p.height+spacing
	}
	return out, height - spacing
}

func (r *route) placeRules(edges []edge) (out []placed, height float64) {
	height = headerHeightOf(r.header(rulesWidth))
	for i, rule := range r.rules {
		p := placed{y: height, lines: wrap(rule.match, fits(rulesWidth-26), maxMatchLines)}
		outgoing := 0
		for _, e := range edges {
			if e.rule == i {
				outgoing++
			}
		}
		p.height = max(float64(len(p.lines))*lineHeight+2*padding, float64(outgoing)*12+8)
		out, height = append(out, p), height+p.height
	}
	if r.moreRules > 0 {
		height += lineHeight + padding
	}
	return out, height
}

func (r *route) placeVersions(edges []edge) (out []placed, height float64) {
	for i, v := range r.versions {
		p := placed{y: height, lines: wrap(v.name, fits(versionWidth-8), maxNameLines)}
		p.named = len(p.lines)
		for _, note := range v.notes {
			p.lines = append(p.lines, wrap(note, fitsDetail(versionWidth-8), 2)...)
		}
		if v.isIdle {
			p.lines = append(p.lines, "no requests")
		}
		incoming := 0
		for _, e := range edges {
			if e.version == i {
				incoming++
			}
		}
		p.height = max(float64(len(p.lines))*lineHeight+2*padding-4, float64(incoming+1)*labelHeight)
		out, height = append(out, p), height+p.height+spacing
	}
	height -= spacing
	if r.moreVersions > 0 {
		height += lineHeight + spacing
	}
	return out, height
}

func (r *route) drawCaller(out *svg, c caller, p placed, to float64) {
	if c.ownRoute == "" {
		x1, x2 := callersX+callersWidth, rulesX-7
		out.element("path", class("request"), attribute{"d", curve(x1, p.middle(), x2, to)})
		out.element("path", class("head"), attribute{"d", arrow(x2, to)})
	}
	out.open("g", class("caller"))
	out.hover(c.name+" "+c.hosts+" "+c.ownRoute, p.lines...)
	out.element("rect", append(box(callersX+1, p.y+1, callersWidth-2, p.height), attribute{"rx", 8}, class("box"))...)
	for i, line := range p.lines {
		out.text(callersX+padding, p.y+padding+lineHeight*float64(i)+14, line, class(pick(i < p.named, "name", "detail")))
	}
	out.close("g")
}

func (r *route) drawPanel(out *svg, y, height float64, rules []placed) {
	out.element("rect", append(box(rulesX+1, y+1, rulesWidth-2, height), attribute{"rx", 8}, class("box panel"))...)
	r.drawHeader(out, r.header(rulesWidth), rulesX+padding, y)
	for i, rule := range r.rules {
		p := rules[i]
		out.open("g", class("rule"))
		out.hover(rule.match, p.lines...)
		out.element("line", attribute{"x1", rulesX + 1}, attribute{"x2", rulesX + rulesWidth - 1}, attribute{"y1", rounded(p.y)}, attribute{"y2", rounded(p.y)}, class("divider"))
		x := rulesX + padding
		if rule.number != "" {
			out.element("circle", attribute{"cx", x + 9}, attribute{"cy", rounded(p.middle())}, attribute{"r", 10}, class("number"))
			out.text(x+9, rounded(p.middle()+4), rule.number, class("number"), attribute{"text-anchor", "middle"})
		}
		top := p.middle() - float64(len(p.lines))*lineHeight/2
		for j, line := range p.lines {
			out.text(pickNumber(rule.number != "", x+28, x), rounded(top+lineHeight*float64(j)+13), line, class(pick(rule.number != "", "match", "others")))
		}
		out.close("g")
	}
	if r.moreRules > 0 {
		out.text(rulesX+padding, rounded(y+height-10), "and "+count(r.moreRules, "more rule")+" before the last", class("faint"))
	}
}

func drawVersion(out *svg, v routedVersion, p placed) {
	out.open("g", class("version "+v.class+pick(v.isIdle, " idle", "")))
	out.hover(v.name, strings.Join(p.lines[:p.named], ""))
	out.element("rect", append(box(versionsX+1, p.y+1, versionWidth-2, p.height), attribute{"rx", 8}, class("box"))...)
	out.element("rect", append(box(versionsX+1, p.y+1, 6, p.height), attribute{"rx", 3}, class("stripe"))...)
	x := versionsX + padding + 8
	for i, line := range p.lines {
		classes := "detail"
		switch {
		case i < p.named:
			classes = "name"
		case i == p.named && !v.isReady:
			classes = "detail unready"
		}
		out.text(x, p.y+padding+12+lineHeight*float64(i), line, class(classes))
	}
	out.close("g")
}

// ports returns where an edge leaves its rule and meets its version.
func ports(e edge, edges []edge, rules, versions []placed) (from, to float64) {
	var outgoing, incoming []edge
	for _, other := range edges {
		if other.rule == e.rule {
			outgoing = append(outgoing, other)
		}
		if other.version == e.version {
			incoming = append(incoming, other)
		}
	}
	if rules != nil {
		from = rules[e.rule].port(slices.Index(outgoing, e), len(outgoing))
	}
	return from, versions[e.version].port(slices.Index(incoming, e), len(incoming))
}

func drawEdge(out *svg, e edge, colors string, edges []edge, rules, versions []placed) {
	from, to := ports(e, edges, rules, versions)
	classes := "edge " + colors
	width := 1.5 + 7*math.Min(e.percent, 100)/100
	switch {
	case e.mirrors:
		classes, width = classes+" mirror", 2
	case e.percent <= 0:
		classes, width = classes+" zero", 1.5
	}
	x1, x2 := rulesX+rulesWidth, versionsX-8
	out.element("path", class(classes), attribute{"d", curve(x1, from, labelRight-e.labelWidth(), to) + "H" + valueText(x2)}, attribute{"stroke-width", rounded(width)})
	out.element("path", class("head "+colors), attribute{"d", arrow(x2, to)})
}

func drawLabel(out *svg, e edge, edges []edge, versions []placed) {
	_, y := ports(e, edges, nil, versions)
	text, width := e.label(), e.labelWidth()
	if e.mirrors {
		text = "mirror " + text
	}
	out.element("rect", append(box(labelRight-width, rounded(y-10), width, 20), attribute{"rx", 10}, class("label"))...)
	out.text(labelRight-width/2, rounded(y+4.5), text, class("label"), attribute{"text-anchor", "middle"})
}

// labelRight is where the labels of lines end, before the arrowheads.
const labelRight = versionsX - 20

func (e edge) labelWidth() float64 {
	if e.mirrors {
		return 96
	}
	return 50
}

// curve returns the path of a line that leaves and arrives horizontally.
func curve(x1, y1, x2, y2 float64) string {
	middle := (x1 + x2) / 2
	return fmt.Sprintf("M%v %vC%v %v %v %v %v %v", rounded(x1), rounded(y1), rounded(middle), rounded(y1), rounded(middle), rounded(y2), rounded(x2), rounded(y2))
}

// arrow returns the path of an arrowhead to the right.
func arrow(x, y float64) string {
	return fmt.Sprintf("M%v %vl8 5l-8 5z", rounded(x), rounded(y-5))
}

func pick(first bool, a, b string) string {
	if first {
		return a
	}
	return b
}

func pickNumber(first bool, a, b float64) float64 {
	if first {
		return a
	}
	return b
}
