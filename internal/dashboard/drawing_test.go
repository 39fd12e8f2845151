// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"encoding/xml"
	"errors"
	"fmt"
	"html/template"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"outrigger.dev/outrigger/internal/diagnose"
)

func weight(w int) *int { return &w }

// canaryService has what a drawing can show: gateways, rules, a canary, copies, and an idle version.
func canaryService() diagnose.ServiceExplanation {
	return diagnose.ServiceExplanation{
		Kind: "Service", Namespace: "shop", ServiceStatus: diagnose.ServiceStatus{
			Name: "checkout", State: diagnose.StateRouted, Default: "v1",
			Versions: []diagnose.VersionStatus{
				{Version: "v1", Ready: 3, Pods: 3, Weight: weight(80)},
				{Version: "v2", Ready: 2, Pods: 2, Weight: weight(20)},
				{Version: "v3", Ready: 0, Pods: 1, Weight: weight(0)},
				{Version: "v4", Ready: 1, Pods: 1, Weight: weight(0)},
			},
			Gateways: []diagnose.GatewayStatus{{Name: "istio-ingress/public", Hosts: []string{"shop.example.com"}}},
			Canary:   &diagnose.CanaryStatus{Version: "v2", State: "progressing", Step: 2, Steps: 4, Percent: 20},
		},
		Rules: []diagnose.RuleStatus{
			{Match: "x-tester=yes", To: []diagnose.ShareStatus{{Version: "v3", Weight: 100}}},
			{Match: "cookie beta=true and source app=frontend or user-agent~.*Firefox.*", To: []diagnose.ShareStatus{{Version: "v2", Weight: 100}}},
			{To: []diagnose.ShareStatus{{Version: "v1", Weight: 80}, {Version: "v2", Weight: 20}}, Mirror: []diagnose.MirrorStatus{{Version: "v3", Percent: 10}}},
		},
	}
}

// element is a parsed element of a drawing.
type element struct {
	XMLName  xml.Name
	Attrs    []xml.Attr `xml:",any,attr"`
	Text     string     `xml:",chardata"`
	Children []element  `xml:",any"`
}

func (e element) attribute(name string) string {
	for _, a := range e.Attrs {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// all returns the element and those in it.
func (e element) all() []element {
	out := []element{e}
	for _, child := range e.Children {
		out = append(out, child.all()...)
	}
	return out
}

// parse returns the elements of each drawing in a markup, which must be well-formed.
func parse(t *testing.T, markup template.HTML) []element {
	t.Helper()
	var out []element
	for decoder := xml.NewDecoder(strings.NewReader(string(markup))); ; {
		var root element
		err := decoder.Decode(&root)
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, markup)
		}
		if root.XMLName.Local != "svg" {
			t.Errorf("an element <%s> is outside of a drawing", root.XMLName.Local)
		}
		out = append(out, root)
	}
}

// textsOf returns the texts that a drawing shows.
func textsOf(drawing element) []string {
	var out []string
	for _, e := range drawing.all() {
		if e.XMLName.Local == "text" {
			out = append(out, e.Text)
		}
	}
	return out
}

// wantSafe checks that a markup has no element or attribute that executes, and none that the pages' policy forbids.
func wantSafe(t *testing.T, drawings []element) {
	t.Helper()
	elements := strings.Fields("svg title desc g rect circle line path text")
	attributes := strings.Fields("class role viewBox preserveAspectRatio aria-label aria-labelledby id x y width height rx cx cy r x1 x2 y1 y2 d text-anchor stroke-width")
	for _, drawing := range drawings {
		for _, e := range drawing.all() {
			if !slices.Contains(elements, e.XMLName.Local) {
				t.Errorf("there is an element <%s>", e.XMLName.Local)
			}
			for _, a := range e.Attrs {
				if !slices.Contains(attributes, a.Name.Local) {
					t.Errorf("<%s> has an attribute %s=%q", e.XMLName.Local, a.Name.Local, a.Value)
				}
			}
		}
	}
}

func TestADrawingShowsWhereRequestsGo(t *testing.T) {
	drawings := parse(t, routeDrawing(canaryService()))
	wantSafe(t, drawings)
	if len(drawings) != 2 {
		t.Fatalf("there are %d drawings, not a wide and a narrow one", len(drawings))
	}
	for _, drawing := range drawings {
		shown := strings.Join(textsOf(drawing), "\n")
		for _, text := range []string{"Callers in the mesh", "istio-ingress/public", "shop.example.com", "Service shop/checkout", "x-tester=yes", "all other requests", "80%", "20%", "100%", "mirror 10%"} {
			if !strings.Contains(shown, text) {
				t.Errorf("%s does not show %q:\n%s", drawing.attribute("class"), text, shown)
			}
		}
		for _, version := range []string{"v1", "v2", "v3", "v4"} {
			if !slices.Contains(textsOf(drawing), version) {
				t.Errorf("%s does not show %s:\n%s", drawing.attribute("class"), version, shown)
			}
		}
	}
	if wide := textsOf(drawings[0]); !slices.Contains(wide, "default version") || !slices.Contains(wide, "canary, step 2 of 4") || !slices.Contains(wide, "0 of 1 pods ready") || !slices.Contains(wide, "no requests") {
		t.Errorf("the wide drawing shows %q", wide)
	}
}

// A screen reader gets the title and the sentences of a drawing, under identifiers that are unique on the page.
func TestADrawingIsDescribed(t *testing.T) {
	const description = "Requests from: Callers in the mesh; Gateway istio-ingress/public for shop.example.com. x-tester=yes: v3 100%. " +
		"cookie beta=true and source app=frontend or user-agent~.*Firefox.*: v2 100%. all other requests: v1 80%, v2 20%, mirrored to v3 10%. " +
		"v1: 3 of 3 pods ready, default version. v2: 2 of 2 pods ready, canary, step 2 of 4. v3: 0 of 1 pods ready. v4: 1 of 1 pods ready, no requests."
	ids := map[string]string{}
	for _, drawing := range parse(t, routeDrawing(canaryService())) {
		if drawing.attribute("role") != "img" {
			t.Errorf("the role of %s is %q", drawing.attribute("class"), drawing.attribute("role"))
		}
		own := map[string]string{}
		for _, e := range drawing.all() {
			if id := e.attribute("id"); id != "" {
				if _, again := ids[id]; again {
					t.Errorf("two elements have the id %s", id)
				}
				ids[id], own[id] = e.Text, e.Text
			}
		}
		var read []string
		for id := range strings.FieldsSeq(drawing.attribute("aria-labelledby")) {
			read = append(read, own[id])
		}
		if got := strings.Join(read, ": "); got != "Where requests to Service shop/checkout go: "+description {
			t.Errorf("%s is read as\n%s", drawing.attribute("class"), got)
		}
	}
}

func TestADrawingWithoutRouteSaysEveryPod(t *testing.T) {
	service := canaryService()
	service.Rules, service.Canary = nil, nil
	for i := range service.Versions {
		service.Versions[i].Weight = nil
	}
	for _, drawing := range parse(t, routeDrawing(service)) {
		shown := textsOf(drawing)
		if !slices.Contains(shown, "every pod") || !slices.Contains(shown, "all requests") || slices.Contains(shown, "v1") || strings.Contains(strings.Join(shown, " "), "no requests") {
			t.Errorf("%s shows %q", drawing.attribute("class"), shown)
		}
	}
}

func TestADrawingClaimsNothingThatIsUnknown(t *testing.T) {
	service := canaryService()
	service.State, service.Rules = diagnose.StateUnknown, nil
	if markup := routeDrawing(service); markup != "" {
		t.Errorf("unknown routes are drawn as %s", markup)
	}
}

func TestADrawingNamesARouteOfItsOwn(t *testing.T) {
	service := canaryService()
	service.Routes = []diagnose.PathStatus{
		{At: "mesh", Object: "VirtualService shop/mine", Shares: "v1=80 v2=20"},
		{At: "istio-ingress/public", Object: "VirtualService shop/checkout", Outrigger: true, Shares: "v1=100"},
	}
	for _, drawing := range parse(t, routeDrawing(service)) {
		if shown := textsOf(drawing); !slices.Contains(shown, "own route: v1=100") {
			t.Errorf("%s shows %q", drawing.attribute("class"), shown)
		}
		description := drawing.Children[1].Text
		for _, want := range []string{"Gateway istio-ingress/public has another route: v1=100. ", "The rules are those of VirtualService shop/mine, which Outrigger does not write."} {
			if !strings.Contains(description, want) {
				t.Errorf("the description of %s is %s", drawing.attribute("class"), description)
			}
		}
	}
}

// hostile is a text that executes, breaks out, or reorders what is around it, if it is not escaped.
const hostile = "\"'><script>alert(1)</script></svg><img src=x onerror=alert(1)> style=\"x\"\u202e\x00 ]]>--> &lt;"

func TestHostileTextsAreDrawnAsTexts(t *testing.T) {
	service := diagnose.ServiceExplanation{Namespace: hostile, ServiceStatus: diagnose.ServiceStatus{
		Name: hostile, State: hostile, Default: hostile,
		Versions: []diagnose.VersionStatus{{Version: hostile, Ready: 1, Pods: 1, Weight: weight(100)}, {Version: "v1"}},
		Gateways: []diagnose.GatewayStatus{{Name: hostile, Hosts: []string{hostile}}},
		Routes:   []diagnose.PathStatus{{At: hostile, Object: hostile, Shares: hostile}, {At: "mesh", Object: hostile, Shares: "x"}},
		Canary:   &diagnose.CanaryStatus{Version: hostile, State: "progressing", Step: 1, Steps: 2, Reason: hostile},
	}, Rules: []diagnose.RuleStatus{{Match: hostile, To: []diagnose.ShareStatus{{Version: hostile, Weight: 100}}, Mirror: []diagnose.MirrorStatus{{Version: hostile, Percent: 1}}}}}
	for name, markup := range map[string]template.HTML{"route": routeDrawing(service), "bar": weightBar(service.Versions), "track": canaryTrack(*service.Canary)} {
		drawings := parse(t, markup)
		wantSafe(t, drawings)
		if !strings.Contains(string(markup), "&lt;script&gt;") {
			t.Errorf("the drawing %s does not contain the text", name)
		}
		if strings.ContainsAny(string(markup), "\u202e\x00") {
			t.Errorf("the drawing %s contains characters that reorder or hide texts", name)
		}
	}
}

var number = regexp.MustCompile(`-?[0-9.]+`)

// However much a Service has, its drawing is of limited size, and no box or text leaves it.
func TestADrawingHasLimits(t *testing.T) {
	service := canaryService()
	service.Name = strings.Repeat("long-name-", 30)
	service.Gateways[0].Hosts = []string{strings.Repeat("a-long-host.", 50) + "example.com", "*.example.org"}
	service.Rules, service.Versions = nil, nil
	var all []diagnose.ShareStatus
	for i := range 100 {
		version := fmt.Sprintf("v%d-%s", i+1, strings.Repeat("界", 40))
		service.Versions = append(service.Versions, diagnose.VersionStatus{Version: version, Ready: i, Pods: 100, Weight: weight(1)})
		service.Rules = append(service.Rules, diagnose.RuleStatus{Match: fmt.Sprintf("x-%d=%s", i, strings.Repeat("value", i)), To: []diagnose.ShareStatus{{Version: version, Weight: 100}}})
		all = append(all, diagnose.ShareStatus{Version: version, Weight: 1})
	}
	service.Rules = append(service.Rules, diagnose.RuleStatus{To: all})
	markup := routeDrawing(service)
	if len(markup) > 100_000 {
		t.Errorf("the drawing has %d bytes", len(markup))
	}
	for _, drawing := range parse(t, markup) {
		size := number.FindAllString(drawing.attribute("viewBox"), -1)
		width, height := value(t, size[2]), value(t, size[3])
		for _, e := range drawing.all() {
			switch e.XMLName.Local {
			case "rect":
				if x, y := value(t, e.attribute("x")), value(t, e.attribute("y")); x < 0 || y < 0 || x+value(t, e.attribute("width")) > width || y+value(t, e.attribute("height")) > height {
					t.Errorf("a box of %s is outside of %vx%v: %v", drawing.attribute("class"), width, height, e.Attrs)
				}
			case "text":
				start, long := value(t, e.attribute("x")), float64(columns(e.Text))*columnWidth
				if strings.HasPrefix(e.attribute("class"), "detail") {
					long = float64(columns(e.Text)) * detailWidth
				}
				if e.attribute("text-anchor") == "end" {
					start -= long
				}
				if e.attribute("text-anchor") != "middle" && (start < 0 || start+long > width) {
					t.Errorf("a text of %s is outside of %v: %q from %v to %v", drawing.attribute("class"), width, e.Text, start, start+long)
				}
			}
		}
		shown := strings.Join(textsOf(drawing), "\n")
		for _, text := range []string{"and 89 more rules before the last", "and 88 more versions", "all other requests"} {
			if !strings.Contains(shown, text) {
				t.Errorf("%s does not show %q", drawing.attribute("class"), text)
			}
		}
	}
}

func value(t *testing.T, text string) (out float64) {
	t.Helper()
	if _, err := fmt.Sscan(text, &out); err != nil {
		t.Fatalf("%q is no number: %v", text, err)
	}
	return out
}

func TestBars(t *testing.T) {
	type shown struct {
		label string
		parts []string // class and width
	}
	for name, test := range map[string]struct {
		versions []diagnose.VersionStatus
		want     shown
	}{
		"by weight": {
			[]diagnose.VersionStatus{{Version: "v1", Ready: 9, Weight: weight(90)}, {Version: "v2", Weight: weight(0)}, {Version: "v3", Weight: weight(10)}},
			shown{"Share of requests: v1 90%, v3 10%", []string{"version-1 90", "version-3 10"}},
		},
		"by pods, without a route": {
			[]diagnose.VersionStatus{{Version: "v1", Ready: 1}, {Version: "v2"}, {Ready: 3}},
			shown{"No route; requests go to all ready pods: v1 1 ready pod, pods without a version 3 ready pods", []string{"version-1 25", "no-version 75"}},
		},
		"nothing receives": {[]diagnose.VersionStatus{{Version: "v1"}}, shown{}},
		"no versions":      {nil, shown{}},
	} {
		t.Run(name, func(t *testing.T) {
			var got shown
			for _, drawing := range parse(t, weightBar(test.versions)) {
				got.label = drawing.attribute("aria-label")
				for _, e := range drawing.all() {
					if e.XMLName.Local == "rect" {
						got.parts = append(got.parts, e.attribute("class")+" "+e.attribute("width"))
					}
				}
			}
			if got.label != test.want.label || !slices.Equal(got.parts, test.want.parts) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestTracks(t *testing.T) {
	for name, test := range map[string]struct {
		canary diagnose.CanaryStatus
		want   string
	}{
		"progressing": {diagnose.CanaryStatus{State: "progressing", Step: 2, Steps: 3}, "passed, current, ahead"},
		"paused":      {diagnose.CanaryStatus{State: "progressing", Step: 1, Steps: 2, Paused: true}, "current paused, ahead"},
		"frozen":      {diagnose.CanaryStatus{State: "progressing", Step: 1, Steps: 2, IsFrozen: true}, "current paused, ahead"},
		"failing":     {diagnose.CanaryStatus{State: "progressing", Step: 2, Steps: 2, Failing: []string{"x"}}, "passed, current failing"},
		"aborted":     {diagnose.CanaryStatus{State: "aborted", Step: 2}, ""},
		"too long":    {diagnose.CanaryStatus{State: "progressing", Step: 2, Steps: 1000}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, drawing := range parse(t, canaryTrack(test.canary)) {
				for _, e := range drawing.all() {
					if e.XMLName.Local == "rect" {
						got = append(got, e.attribute("class"))
					}
				}
			}
			if strings.Join(got, ", ") != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// A name is shown in full where there is room for it, in any layout.
func TestNamesAreShownInFull(t *testing.T) {
	service := canaryService()
	service.Namespace, service.Name = "production-frontend", "checkout-and-payment-api"
	service.Gateways[0] = diagnose.GatewayStatus{Name: "istio-ingress/public-gateway-europe", Hosts: []string{"checkout.shop.example.com", "www.shop.example.com"}}
	names := map[string]string{"v2": "v2-2026-11-30-4f2a91c", "v4": "feature-checkout-redesign-with-vouchers"}
	for i := range service.Versions {
		v := &service.Versions[i]
		if name := names[v.Version]; name != "" {
			v.Version = name
		}
	}
	service.Canary.Version, service.Canary.Paused, service.Canary.Step = names["v2"], true, 0
	for i := range service.Rules {
		for j := range service.Rules[i].To {
			if to := &service.Rules[i].To[j]; names[to.Version] != "" {
				to.Version = names[to.Version]
			}
		}
	}
	for _, drawing := range parse(t, routeDrawing(service)) {
		shown := strings.ReplaceAll(strings.Join(textsOf(drawing), ""), " ", "")
		for _, name := range []string{"production-frontend/checkout-and-payment-api", "istio-ingress/public-gateway-europe", "checkout.shop.example.com,www.shop.example.com", names["v2"], names["v4"], "canary,beforestep1of4,paused"} {
			if !strings.Contains(shown, name) {
				t.Errorf("%s cuts %s:\n%s", drawing.attribute("class"), name, strings.Join(textsOf(drawing), "\n"))
			}
		}
	}
}

func TestTextsAreWrappedAndCut(t *testing.T) {
	for _, test := range []struct {
		text         string
		limit, lines int
		want         []string
	}{
		{"short", 10, 2, []string{"short"}},
		{"", 10, 2, []string{""}},
		{"two words here", 9, 2, []string{"two words", "here"}},
		{"two words here", 9, 1, []string{"two word…"}},
		{"averylongword", 5, 2, []string{"avery", "long…"}},
		{"averylongword", 5, 3, []string{"avery", "longw", "ord"}},
		{"Service production-frontend/checkout", 22, 3, []string{"Service", "production-frontend/", "checkout"}},
		{"v2-2026-11-30", 10, 2, []string{"v2-2026-", "11-30"}},
		{"in a-name-and-more", 9, 3, []string{"in", "a-name-", "and-more"}},
		{"1-23456789", 5, 2, []string{"1-234", "56789"}},
		{"界界界", 4, 1, []string{"界…"}},
	} {
		if got := wrap(test.text, test.limit, test.lines); !slices.Equal(got, test.want) {
			t.Errorf("wrap(%q, %d, %d) = %q, want %q", test.text, test.limit, test.lines, got, test.want)
		}
	}
}
