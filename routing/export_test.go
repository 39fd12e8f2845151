// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"
	"strings"
	"testing"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
)

// exported wants this exportTo on all our objects that have one; "" for none.
func (c *cluster) exported(want string) {
	c.t.Helper()
	for _, rule := range c.existing.DestinationRules {
		if got := strings.Join(rule.Spec.ExportTo, ","); got != want {
			c.t.Errorf("%v: DestinationRule %s is exported to %q, want %q", c.now, rule.Name, got, want)
		}
	}
	for _, vs := range c.existing.VirtualServices {
		if got := strings.Join(vs.Spec.ExportTo, ","); got != want {
			c.t.Errorf("%v: VirtualService %s is exported to %q, want %q", c.now, vs.Name, got, want)
		}
	}
}

// No caller ever sees the route and not the subsets that it names.
func TestExportToFollowsTheService(t *testing.T) {
	c := twoVersions(t)
	c.exported("")
	for _, step := range []struct {
		to     string
		want   string
		writes []string
	}{
		{".", ".", []string{applyRoute, applyRule}},
		{"other,demo", ".,other", []string{applyRule, applyRoute}},
		{"third", "third", []string{applyRule, applyRoute, applyRule}}, // in between to all three
		{"*,other", "*", []string{applyRule, applyRoute}},
		{"~", ".", []string{applyRoute, applyRule}},
	} {
		c.service.Annotations[api.AnnotationExportTo] = step.to
		c.settle()
		if len(c.writes) != 1 {
			t.Errorf("exported to %q: %v at once, want one write", step.to, c.writes)
		}
		c.advance(time.Hour)
		c.exported(step.want)
		c.wrote(step.writes...)
	}
	delete(c.service.Annotations, api.AnnotationExportTo)
	c.advance(time.Hour)
	c.exported("")
	c.tells()
}

// An annotation over the limit, or without a valid item, changes nothing that exists, and shows nothing new to other
// namespaces.
func TestAnInvalidExportToChangesNothing(t *testing.T) {
	for name, text := range map[string]string{
		"too long": strings.Repeat("a,", api.DefaultRouteLimits().AnnotationBytes) + "*", "typo": "Team_A", "two": "Team_A,B!", "blank": " ",
	} {
		t.Run(name, func(t *testing.T) { invalidExportChangesNothing(t, text) })
	}
}

func invalidExportChangesNothing(t *testing.T, long string) {
	c := twoVersions(t)
	for _, step := range []struct{ before, want string }{{"other,demo", ".,other"}, {"*", "*"}, {"", ""}} {
		c.service.Annotations[api.AnnotationExportTo] = step.before
		if step.before == "" {
			delete(c.service.Annotations, api.AnnotationExportTo)
		}
		c.advance(time.Hour)
		c.exported(step.want)
		c.writes = nil
		c.service.Annotations[api.AnnotationExportTo] = long
		c.tells(api.RouteInvalidAnnotation)
		c.advance(time.Hour)
		c.exported(step.want)
		c.wrote()
	}
	c.existing = Objects{}
	c.advance(time.Hour)
	c.exported(".")
}

// A change that is under way stops where it is: the route, which is hidden first, is not shown again.
func TestAnInvalidExportToStopsAChange(t *testing.T) {
	c := twoVersions(t)
	c.service.Annotations[api.AnnotationExportTo] = "*"
	c.advance(time.Hour)
	c.service.Annotations[api.AnnotationExportTo] = "."
	c.settle() // the route is hidden, the subsets still have to wait
	c.writes = nil
	c.service.Annotations[api.AnnotationExportTo] = "Team_A"
	c.advance(time.Hour)
	c.wrote()
	if to := c.existing.VirtualServices[0].Spec.ExportTo; !slices.Equal(to, []string{"."}) {
		t.Errorf("the route is exported to %v, want . as before", to)
	}
	c.annotate("expose=true") // a new route is visible no further than the existing one
	c.advance(time.Hour)
	for _, vs := range c.existing.VirtualServices {
		if !slices.Equal(vs.Spec.ExportTo, []string{"."}) {
			t.Errorf("VirtualService %s is exported to %v, want .", vs.Name, vs.Spec.ExportTo)
		}
	}
}

// The waits go on under another leader, and other changes of the route do not wait for them.
func TestRouteIsWrittenWhileExportToWaits(t *testing.T) {
	c := twoVersions(t)
	c.service.Annotations[api.AnnotationExportTo] = "."
	c.advance(time.Hour)
	c.writes = nil
	c.service.Annotations[api.AnnotationExportTo] = "*"
	c.settle()
	c.wrote(applyRule)
	c.advance(time.Second)
	c.annotate("weights=v1=90,v2=10")
	c.settle()
	c.has("v1 v2", "v1=90 v2=10")
	if to := c.existing.VirtualServices[0].Spec.ExportTo; len(to) != 1 || to[0] != "." {
		t.Errorf("the route is exported to %v before the subsets were for the propagation delay", to)
	}
	c.wrote(applyRule, applyRoute)
	c.advance(time.Second)
	c.exported("*")
	c.wrote(applyRoute)
}

func TestWhatIsExposedIsExportedToTheGateway(t *testing.T) {
	c := twoVersions(t)
	c.annotate("expose=true")
	c.advance(time.Minute)
	c.exported("*")
	c.tells()
	c.service.Annotations[api.AnnotationExportTo] = "."
	c.tells(api.RouteGatewayNotExported)
	c.advance(time.Hour)
	c.exported(".")
	c.service.Annotations[api.AnnotationExportTo] = ".,istio-system"
	c.tells()
	c.advance(time.Hour)
	c.exported(".,istio-system")
	mine := &networkingv1.DestinationRule{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "mine"}}
	mine.Spec.Host, mine.Spec.ExportTo = "app", []string{"."}
	c.foreign.DestinationRules = append(c.foreign.DestinationRules, mine)
	c.tells(api.RoutePolicyShared, api.RouteGatewayNotExported)
	c.exported(".")
	mine.Spec.ExportTo = nil
	c.tells(api.RoutePolicyShared)
	c.exported("")
	c.service.Annotations[api.AnnotationExportTo] = "." // the routes are seen there, the Service is not
	c.tells(api.RoutePolicyShared, api.RouteGatewayNotExported)
	c.exported("")
	c.foreign.DestinationRules = nil
	c.annotate("expose-")
	delete(c.service.Annotations, api.AnnotationExportTo)
	c.advance(time.Minute)
	c.exported("")
}

func TestNarrows(t *testing.T) {
	for _, test := range []struct {
		was, is string
		want    bool
	}{
		{"", "*", false}, {"*", "", false}, {"", ".", true}, {".", "", false}, {".", "demo", false}, {"a,b", "a", true}, {"a", "a,b", false}, {".", "a", true}, {"a", ".", true},
	} {
		list := func(text string) []string {
			return slices.DeleteFunc(strings.Split(text, ","), func(s string) bool { return s == "" })
		}
		if got := narrows(list(test.was), list(test.is), "demo"); got != test.want {
			t.Errorf("from %q to %q: %t, want %t", test.was, test.is, got, test.want)
		}
	}
}
