// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
)

// Istio puts the replacement in the place of the text that was matched.
func TestTheServiceSeesTheRewrittenPath(t *testing.T) {
	for _, test := range []struct{ path, rewrite, request, want string }{
		{"/", "", "/a", "/a"},
		{"/", "/", "/a", "/a"},
		{"/", "/api", "/a", "/api/a"},
		{"/", "/api/", "/a", "/api/a"},
		{"/hello", "", "/hello/a", "/hello/a"},
		{"/hello", "/hello/", "/hello/a", "/hello/a"},
		{"/hello", "/", "/hello", "/"},
		{"/hello", "/", "/hello/", "/"},
		{"/hello", "/", "/hello/a/b", "/a/b"},
		{"/hello", "/", "/helloworld", "no route"},
		{"/hello", "/api", "/hello", "/api"},
		{"/hello", "/api/", "/hello/a", "/api/a"},
		{"/hello/", "/", "/hello/a", "/a"},
		{"/hello/", "/api", "/hello/a", "/api/a"},
		{"/hello/", "/api", "/hello", "no route"},
	} {
		matches, replacement := exposure{on: true, path: test.path, rewrite: test.rewrite}.uris()
		got := "no route"
		for _, match := range matches {
			text := match.GetExact() + match.GetPrefix()
			switch {
			case match == nil:
				text = "/" // what Istio makes of no match
			case match.GetExact() != "" && text != test.request:
				continue
			}
			rest, taken := strings.CutPrefix(test.request, text)
			if !taken {
				continue
			}
			if got = test.request; replacement != "" {
				got = replacement + rest
			}
			break
		}
		if got != test.want {
			t.Errorf("path %s, rewrite %s: %s is seen as %s, want %s", test.path, test.rewrite, test.request, got, test.want)
		}
	}
}

func TestServicePort(t *testing.T) {
	ports := []corev1.ServicePort{{Name: "http", Port: 8080}, {Name: "admin", Port: 9090}, {Name: "tls", Port: 443}, {Name: "dns", Port: 9090, Protocol: corev1.ProtocolUDP}}
	routesTo := func(c *cluster) uint32 {
		for _, vs := range c.existing.VirtualServices {
			if vs.Name == "app-gateway" {
				return vs.Spec.Http[0].Route[0].Destination.GetPort().GetNumber()
			}
		}
		return 0
	}
	c := twoVersions(t)
	c.service.Spec.Ports = ports
	c.annotate("expose=true", "service-port=9999")
	c.tells(api.RouteInvalidAnnotation, api.RoutePortNotRouted)
	c.exposed("") // never by a slip on another port than was meant
	c.annotate("service-port=tls")
	c.tells(api.RoutePortNotRouted)
	c.exposed("")
	for annotation, want := range map[string]uint32{"service-port-": 8080, "service-port=admin": 9090, "service-port=9090": 9090, "service-port=http": 8080} {
		c.annotate(annotation)
		c.advance(time.Minute)
		c.exposed("app-gateway: *@demo/app; 80: demo/*")
		if got := routesTo(c); got != want {
			t.Errorf("%s: the gateway leads to port %d, want %d", annotation, got, want)
		}
	}
	c.annotate("service-port=admin")
	c.advance(time.Minute)
	c.annotate("service-port=admn")
	c.tells(api.RouteInvalidAnnotation, api.RoutePortNotRouted, api.RouteStillExposed)
	if got := routesTo(c); got != 9090 {
		t.Errorf("after a slip of the pen the gateway leads to port %d", got)
	}
	c.service.Spec.Ports = ports[:1] // the port is gone
	c.tells(api.RouteInvalidAnnotation, api.RouteStillExposed)
	c.exposed("app-gateway: *@demo/app; 80: demo/*")
	if got := routesTo(c); got != 9090 {
		t.Errorf("without its port the Service's exposure leads to port %d", got)
	}
}
