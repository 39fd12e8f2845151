// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"
	"strings"
	"testing"
	"time"

	"outrigger.dev/outrigger/api"
)

// invalidExposures are annotations that cannot be read, or name what is not there, each of which has a default that is
// broader than anything that was meant.
var invalidExposures = []string{
	"expose=flase", "expose=", "expose=yes",
	"hosts=https://admin.example.test/", "hosts=admin.example.test:443", "hosts=a.example.com,b_example", "hosts=", "hosts=a.example.com,,",
	"gateway-selector=istio: internal", "gateway-selector=", "gateway=tls-gateway", "gateway=", "gateway-port=https", "gateway-port=0", "gateway-port=70000",
	"path=public/", "path=", "path-rewrite=x", "service-port=none", "service-port=a b",
	"tls-credential=", "tls-credential=kubernetes-gateway://istio-system/web", "tls-credential=builtin://", "tls-credential=web-cacert", "https-redirect=", "https-redirect=perhaps",
}

func TestInvalidAnnotationExposesNothing(t *testing.T) {
	for _, invalid := range invalidExposures {
		t.Run(invalid, func(t *testing.T) {
			c := twoVersions(t)
			if !strings.HasPrefix(invalid, "expose=") {
				c.annotate("expose=true")
			}
			c.annotate(invalid)
			c.advance(time.Hour)
			c.exposed("")
			c.tells(api.RouteInvalidAnnotation)
			c.has("v1 v2", "v1")
		})
	}
}

// The Namespace's defaults are companions, too, and a valid one is no replacement for the Service's.
func TestInvalidDefaultOfTheNamespaceExposesNothing(t *testing.T) {
	for _, test := range []struct{ namespace, service string }{
		{"gateway-port=https", ""}, {"gateway=x", ""}, {"gateway-selector=x", ""},
		{"gateway-port=8066", "gateway-port=https"},
	} {
		c := twoVersions(t)
		key, value, _ := strings.Cut(test.namespace, "=")
		c.namespace.Annotations = map[string]string{"outrigger.dev/" + key: value}
		c.annotate("expose=true", test.service)
		c.advance(time.Hour)
		c.exposed("")
	}
}

// An existing exposure stays exactly as it was, whatever else is written beside what is invalid, through changes of shares and
// rollouts, until the user says something valid.
func TestInvalidAnnotationKeepsAnExposure(t *testing.T) {
	for _, before := range [][]string{
		{"expose=true"},
		{"expose=true", "hosts=a.example.com", "path=/hello", "path-rewrite=/", "gateway-port=8066", "service-port=http"},
		{"expose=true", "hosts=a.example.com", "gateway-port=8066", "tls-credential=web-tls", "https-redirect=true"},
	} {
		for _, invalid := range invalidExposures {
			t.Run(strings.Join(before, " ")+" then "+invalid, func(t *testing.T) {
				c := twoVersions(t)
				c.annotate(before...)
				c.advance(time.Minute)
				was := copyObjects(c.existing)
				c.writes = nil
				c.annotate("hosts=b.example.com", "path=/other", "gateway-port=8080")
				c.annotate(invalid)
				if strings.HasPrefix(invalid, "expose=") {
					c.annotate("hosts=c.example.com")
				}
				c.namespace.Annotations = map[string]string{api.AnnotationGatewaySelector: "istio=other", api.AnnotationGateway: "other/theirs"}
				c.advance(time.Hour)
				c.wrote(applyRule, applyRoute, "Apply VirtualService app-gateway") // all record what is in effect
				c.sameSpecs(was)
				c.tells(api.RouteInvalidAnnotation, api.RouteStillExposed)
				c.annotate("weights=v2=1")
				c.advance(time.Minute)
				if got := c.routes("app-gateway"); got != "v2" {
					t.Errorf("a later decision about versions leads the gateway to %s", got)
				}
				if got, want := boundTo(c.route("app-gateway")), boundTo(was.VirtualServices[1]); got != want {
					t.Errorf("the gateway serves %s, want %s", got, want)
				}
				c.annotate("expose-")
				c.advance(time.Minute)
				c.exposed("")
			})
		}
	}
}

func TestAdministratorsNarrowingAppliesToAHeldExposure(t *testing.T) {
	for name, narrow := range map[string]func(*cluster){
		"routing.expose=disabled":   func(c *cluster) { c.settings.Expose = api.ExposeDisabled },
		"routing.expose=namespaces": func(c *cluster) { c.settings.Expose = api.ExposeNamespaces },
		"routing.gatewaySelectors":  func(c *cluster) { c.settings.GatewaySelectors = []string{"istio=internal"} },
		"routing.gatewayPorts":      func(c *cluster) { c.settings.GatewayPorts = []string{"8066"} },
		"allowed-hosts": func(c *cluster) {
			c.namespace.Annotations = map[string]string{api.AnnotationAllowedHosts: "other.example.com"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := twoVersions(t)
			c.annotate("expose=true", "hosts=a.example.com,b.example.com")
			c.advance(time.Minute)
			c.annotate("gateway-port=https")
			c.advance(time.Minute)
			c.exposed("app-gateway: a.example.com,b.example.com@demo/app; 80: demo/a.example.com,demo/b.example.com")
			narrow(c)
			c.advance(time.Minute)
			c.exposed("")
			if slices.ContainsFunc(c.problems, func(p api.RouteProblem) bool { return p.Reason == api.RouteStillExposed }) {
				t.Error("it is told to be exposed still")
			}
		})
	}
}

// What was refused while it was valid is not exposed by becoming invalid.
func TestInvalidAnnotationExposesNothingThatWasRefused(t *testing.T) {
	c := twoVersions(t)
	theirs := foreignGateway(c, "a.example.com", false)
	c.foreign.Gateways = append(c.foreign.Gateways, theirs)
	c.annotate("expose=true", "hosts=a.example.com")
	c.tells(api.RouteHostConflict)
	c.annotate("path=public/")
	c.foreign.Gateways = nil
	c.advance(time.Hour)
	c.exposed("")
}

// Without a record of what it was written for, an exposure is left as it is.
func TestInvalidAnnotationKeepsAnExposureWithoutARecord(t *testing.T) {
	c := twoVersions(t)
	c.annotate("expose=true", "hosts=a.example.com")
	c.advance(time.Minute)
	c.route("app-gateway").Annotations[api.AnnotationWords] = "?"
	c.annotate("path=public/")
	c.advance(time.Hour)
	c.exposed("app-gateway: a.example.com@demo/app; 80: demo/a.example.com")
}
