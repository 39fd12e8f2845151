// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
)

// A change of the annotations that is refused, for whatever reason, leaves an existing exposure as it is.
func TestARefusedChangeKeepsTheExposure(t *testing.T) {
	for _, before := range [][]string{
		{"expose=true", "hosts=a.example.com", "path=/hello"},
		{"expose=true", "hosts=a.example.com", "gateway=other/shared"},
	} {
		for _, test := range []struct {
			change string // separated by spaces
			reason api.RouteReason
			around func(*cluster)
		}{
			{"gateway- gateway-selector=istio=ingresgateway", api.RouteGatewayUnmatched, func(c *cluster) { c.ingress = nil }},
			{"gateway- gateway-selector=istio=ingressgateway,app=x", api.RouteGatewayUnmatched, func(c *cluster) { c.ingress = nil }},
			{"gateway- gateway-selector=istio=ingresgateway", api.RouteGatewayUnmatched, func(c *cluster) { c.ingress, c.settings.GatewayPorts = nil, []string{"80"} }},
			{"gateway=teamx/nosuch", api.RouteGatewayNotFound, nil},
			{"gateway- gateway-port=8443", api.RouteGatewayPortUnexposed, nil},
			{"gateway- gateway-port=8443", api.RouteGatewayPortUnexposed, func(c *cluster) { c.settings.GatewayPorts = []string{"80", "8443"} }},
			{"gateway- gateway-port=8066", api.RouteGatewayPortConflict, func(c *cluster) {
				tls := foreignGateway(c, "x.example.com", false)
				tls.Name, tls.Spec.Servers[0].Port = "tls", &networkingapi.Port{Number: 8066, Protocol: "HTTPS"}
				c.foreign.Gateways = append(c.foreign.Gateways, tls)
			}},
			{"gateway- gateway-port=8066", api.RouteGatewayNotAllowed, func(c *cluster) { c.settings.GatewayPorts = []string{"80"} }},
			{"gateway- gateway-selector=istio=public", api.RouteGatewayNotAllowed, func(c *cluster) { c.settings.GatewaySelectors = []string{"istio=ingressgateway"} }},
			{"gateway=third/theirs", api.RouteGatewayNotAllowed, func(c *cluster) { c.settings.Gateways = []string{"other/*"} }},
			{"hosts=taken.example.com", api.RouteHostConflict, nil},
			{"hosts=b.example.com,taken.example.com", api.RouteHostConflict, nil},
			{"hosts=*,b.example.com", api.RouteHostNotAllowed, func(c *cluster) { c.settings.AllowWildcardHost = false }},
			{"hosts=bank.example.org", api.RouteHostNotAllowed, func(c *cluster) {
				c.namespace.Annotations = map[string]string{api.AnnotationAllowedHosts: "*.example.com"}
			}},
			{"gateway=other/shared hosts=unserved.example.net", api.RouteGatewayHostMissing, nil},
			{"service-port=tls", api.RoutePortNotRouted, nil},
		} {
			t.Run(strings.Join(before, " ")+" then "+test.change, func(t *testing.T) {
				c := twoVersions(t)
				c.service.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 8080}, {Name: "tls", Port: 8443}}
				shared := foreignGateway(c, "*.example.com", false)
				shared.Name = "shared"
				shared.Spec.Servers[0].Port.Number = 8888
				c.foreign.Gateways = []*networkingv1.Gateway{shared}
				c.annotate(before...)
				c.advance(time.Minute)
				taken := shared.DeepCopy()
				taken.Name, taken.Spec.Servers[0].Hosts, taken.Spec.Servers[0].Port.Number = "taken", []string{"taken.example.com"}, 80
				theirs := &networkingv1.VirtualService{}
				theirs.Namespace, theirs.Name = "third", "theirs"
				theirs.Spec.Hosts, theirs.Spec.Gateways = []string{"taken.example.com"}, []string{"other/shared"}
				c.foreign.Gateways = append(c.foreign.Gateways, taken)
				c.foreign.VirtualServices = []*networkingv1.VirtualService{theirs}
				if test.around != nil {
					test.around(c)
				}
				c.advance(time.Minute)
				was := copyObjects(c.existing)
				c.writes = nil
				c.annotate(strings.Fields(test.change)...)
				c.advance(time.Hour)
				c.wrote()
				if diff := cmp.Diff(text(t, was), text(t, c.existing)); diff != "" {
					t.Errorf("it changed:\n%s", diff)
				}
				for _, reason := range []api.RouteReason{test.reason, api.RouteStillExposed} {
					if !slices.ContainsFunc(c.problems, func(p api.RouteProblem) bool { return p.Reason == reason && p.Value != "" }) {
						t.Errorf("%s is not reported: %v", reason, c.problems)
					}
				}
				for _, p := range c.problems {
					if strings.Contains(p.Message, "Service is not exposed") {
						t.Errorf("false message: %s", p.Message)
					}
				}
				c.annotate("weights=v2=1") // versions still follow
				c.advance(time.Minute)
				if got := c.routes("app-gateway"); got != "v2" {
					t.Errorf("the gateway routes to %s", got)
				}
				c.settings.Expose = api.ExposeDisabled
				c.advance(time.Minute)
				c.exposed("")
			})
		}
	}
}

func TestAdministratorsNarrowingAppliesToARefusedChange(t *testing.T) {
	for name, narrow := range map[string]func(*cluster){
		"routing.expose=disabled":   func(c *cluster) { c.settings.Expose = api.ExposeDisabled },
		"routing.expose=namespaces": func(c *cluster) { c.settings.Expose = api.ExposeNamespaces },
		"routing.gatewaySelectors":  func(c *cluster) { c.settings.GatewaySelectors = []string{"istio=internal"} },
		"routing.gatewayPorts":      func(c *cluster) { c.settings.GatewayPorts = []string{"8066"} },
		"routing.allowWildcardHost": func(c *cluster) { c.settings.AllowWildcardHost = false },
		"allowed-hosts": func(c *cluster) {
			c.namespace.Annotations = map[string]string{api.AnnotationAllowedHosts: "other.example.com"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := twoVersions(t)
			c.annotate("expose=true", "hosts=*.a.example.com")
			c.advance(time.Minute)
			c.annotate("gateway=teamx/nosuch")
			c.advance(time.Minute)
			c.exposed("app-gateway: *.a.example.com@demo/app; 80: demo/*.a.example.com")
			narrow(c)
			c.advance(time.Minute)
			c.exposed("")
		})
	}
}

// What the exposure depends on may vanish: its gateway, the Gateway that it names, or a host of that.
func TestAnExposureOutlivesItsGateway(t *testing.T) {
	for name, vanish := range map[string]func(*cluster){
		"the gateway's Service":        func(c *cluster) { c.ingress = nil },
		"the Gateway":                  func(c *cluster) { c.foreign.Gateways = nil },
		"the host from the Gateway":    func(c *cluster) { c.foreign.Gateways[0].Spec.Servers[0].Hosts = []string{"x.example.com"} },
		"the Service's last HTTP port": func(c *cluster) { c.service.Spec.Ports[0].Name = "tls" },
	} {
		for _, at := range []string{"gateway=", "gateway=other/theirs"} {
			t.Run(name+" "+at, func(t *testing.T) {
				c := twoVersions(t)
				c.foreign.Gateways = []*networkingv1.Gateway{foreignGateway(c, "*.example.com", false)}
				c.foreign.Gateways[0].Spec.Servers[0].Port.Number = 8888
				c.annotate("expose=true", "hosts=a.example.com")
				if at != "gateway=" {
					c.annotate(at)
				}
				c.advance(time.Minute)
				was := c.gates()
				vanish(c)
				c.advance(time.Hour)
				c.exposed(was)
			})
		}
	}
}

// Without a record of what it was written for, an exposure is left as it is.
func TestARefusedChangeKeepsAnExposureWithoutARecord(t *testing.T) {
	c := twoVersions(t)
	c.annotate("expose=true", "hosts=a.example.com")
	c.advance(time.Minute)
	c.route("app-gateway").Annotations[api.AnnotationWords] = "?"
	c.annotate("gateway=teamx/nosuch")
	c.advance(time.Hour)
	c.exposed("app-gateway: a.example.com@demo/app; 80: demo/a.example.com")
	c.annotate("expose-")
	c.advance(time.Minute)
	c.exposed("")
}

// A gateway without a Service is used where the administrator lists ports; changes of its exposures take effect.
func TestChangesAtAGatewayWithoutAService(t *testing.T) {
	c := twoVersions(t)
	c.ingress, c.settings.GatewayPorts = nil, []string{"80", "8000-9000"}
	c.annotate("expose=true", "hosts=a.example.com")
	c.advance(time.Minute)
	c.annotate("hosts=b.example.com")
	c.advance(time.Minute)
	c.exposed("app-gateway: b.example.com@demo/app; 80: demo/b.example.com")
	c.annotate("gateway-port=8104")
	c.advance(time.Minute)
	c.exposed("app-gateway: b.example.com@demo/app; 8104: demo/b.example.com")
	c.annotate("gateway-selector=istio=ingresgateway")
	c.advance(time.Minute)
	c.exposed("app-gateway: b.example.com@demo/app; 8104: demo/b.example.com")
}
