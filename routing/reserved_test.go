// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"strings"
	"testing"
	"time"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	networkingk8s "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"outrigger.dev/outrigger/api"
)

// Hosts of the cluster and of others are never exposed, whatever is named beside them.
func TestHostsOfOthersAreRefused(t *testing.T) {
	for _, host := range []string{
		"*.victim.svc.cluster.local", "payments.victim.svc.cluster.local", "istiod.istio-system.svc.cluster.local", "future.newteam.svc.cluster.local",
		"*.svc.cluster.local", "*.cluster.local", "cluster.local", "x.cluster.local", "app.demo.svc.cluster.local",
		"payments.victim.svc", "*.svc", "*.victim.svc", "*.local", "*.com", "*.io",
		"payments.victim.svc.clusterset.local", "*.clusterset.local", "payments.victim.svc.corp.example", "*.corp.example", "corp.example",
		"api.stripe.example", "payments.victim",
	} {
		for _, hosts := range []string{host, "a.example.com," + host} {
			t.Run(hosts, func(t *testing.T) {
				c := twoVersions(t)
				c.meshDomain = "corp.example"
				c.hostOwners = map[string]string{"api.stripe.example": "ServiceEntry shop/stripe", "payments.victim": "Service victim/payments"}
				c.annotate("expose=true", "hosts="+hosts)
				c.advance(time.Hour)
				c.exposed("")
				c.settle()
				if len(c.problems) == 0 || c.problems[0].Reason != api.RouteHostReserved && c.problems[0].Reason != api.RouteInvalidAnnotation {
					t.Errorf("it says %v", c.problems)
				}
			})
		}
	}
}

// A refused host is like any invalid annotation: the exposure that exists stays as it is.
func TestARefusedHostKeepsTheExposure(t *testing.T) {
	c := twoVersions(t)
	c.annotate("expose=true", "hosts=a.example.com")
	c.advance(time.Minute)
	c.annotate("hosts=payments.victim.svc.cluster.local", "path=/other")
	c.advance(time.Hour)
	c.exposed("app-gateway: a.example.com@demo/app; 80: demo/a.example.com")
	c.tells(api.RouteHostReserved, api.RouteStillExposed)
}

// A ServiceEntry for a host that is exposed already comes later.
func TestAnExposedHostStaysWhenAServiceEntryComes(t *testing.T) {
	c := twoVersions(t)
	c.annotate("expose=true", "hosts=a.example.com")
	c.advance(time.Minute)
	c.hostOwners = map[string]string{"a.example.com": "ServiceEntry shop/a"}
	c.advance(time.Minute)
	c.exposed("app-gateway: a.example.com@demo/app; 80: demo/a.example.com")
	c.tells(api.RouteHostReserved)
}

func TestWildcardsNeedAGrantWhereTheInstallationAllowsNone(t *testing.T) {
	for _, test := range []struct {
		allowed, hosts string
		want           string
	}{
		{"", "*", ""},
		{"", "*.example.com", ""},
		{"*", "*.example.com", ""},
		{"shop.example.com", "*.example.com", ""},
		{"*.example.com", "*.example.com", "app-gateway: *.example.com@demo/app; 80: demo/*.example.com"},
		{"*.example.com", "*.a.example.com", "app-gateway: *.a.example.com@demo/app; 80: demo/*.a.example.com"},
		{"", "a.example.com", "app-gateway: a.example.com@demo/app; 80: demo/a.example.com"},
	} {
		c := twoVersions(t)
		c.settings.AllowWildcardHost = false
		if test.allowed != "" {
			c.namespace.Annotations = map[string]string{api.AnnotationAllowedHosts: test.allowed}
		}
		c.annotate("expose=true", "hosts="+test.hosts)
		c.advance(time.Minute)
		c.exposed(test.want)
	}
}

// A wildcard that an earlier release exposed stays and is told; an administrator's later word ends it.
func TestUpgradeKeepsAWildcardThatIsNoLongerAllowed(t *testing.T) {
	c := twoVersions(t)
	c.advance(11 * time.Minute)
	c.settings.AllowWildcardHost = false
	loadCombined(t, c, "wildcard")
	c.advance(time.Hour)
	c.exposed("app-gateway: *.example.com@demo/app; 80: demo/*.example.com")
	c.tells(api.RouteHostNotAllowed)
	c.settings.AllowWildcardHost = true
	c.advance(time.Minute)
	c.settings.AllowWildcardHost = false
	c.advance(time.Minute)
	c.exposed("")
}

func TestAGrantedNameIsNotBlockedByAWildcard(t *testing.T) {
	for allowed, want := range map[string]string{
		"":              "",
		"*":             "",
		"a.example.com": "app-gateway: a.example.com@demo/app; 80: demo/a.example.com",
		"*.example.com": "app-gateway: a.example.com@demo/app; 80: demo/a.example.com",
	} {
		c := twoVersions(t)
		if allowed != "" {
			c.namespace.Annotations = map[string]string{api.AnnotationAllowedHosts: allowed}
		}
		c.foreign.Gateways = []*networkingv1.Gateway{foreignGateway(c, "other/*.example.com", true)}
		c.annotate("expose=true", "hosts=a.example.com")
		c.advance(time.Minute)
		c.exposed(want)
	}
}

func TestOperatorsListsOfGatewaysAndPorts(t *testing.T) {
	for _, test := range []struct {
		name     string
		set      func(*api.RoutingSettings)
		annotate []string
		want     string
		told     []api.RouteReason
	}{
		{"any selector and a port of the gateway's Service", func(*api.RoutingSettings) {}, []string{"gateway-port=8066"}, "app-gateway: *@demo/app; 8066: demo/*", nil},
		{"a port that no Service has", func(*api.RoutingSettings) {}, []string{"gateway-port=9021"}, "", []api.RouteReason{api.RouteGatewayPortUnexposed}},
		{"a port of the list", func(s *api.RoutingSettings) { s.GatewayPorts = []string{"80", "9000-9100"} }, []string{"gateway-port=9050"}, "app-gateway: *@demo/app; 9050: demo/*", []api.RouteReason{api.RouteGatewayPortUnexposed}},
		{"a port outside the list", func(s *api.RoutingSettings) { s.GatewayPorts = []string{"80"} }, []string{"gateway-port=8066"}, "", []api.RouteReason{api.RouteGatewayNotAllowed}},
		{"labels of the list", func(s *api.RoutingSettings) { s.GatewaySelectors = []string{"istio=ingressgateway"} }, []string{"gateway-selector=istio=ingressgateway,app=a"}, "app-gateway: *@demo/app; 80: demo/*", nil},
		{"labels outside the list", func(s *api.RoutingSettings) { s.GatewaySelectors = []string{"istio=public"} }, nil, "", []api.RouteReason{api.RouteGatewayNotAllowed}},
		{"a Gateway of the list", func(s *api.RoutingSettings) { s.Gateways = []string{"other/*"} }, []string{"gateway=other/theirs"}, "app-gateway: *@other/theirs", nil},
		{"a Gateway outside the list", func(s *api.RoutingSettings) { s.Gateways = []string{"other/shared", "istio-system/*"} }, []string{"gateway=other/theirs"}, "", []api.RouteReason{api.RouteGatewayNotAllowed}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := twoVersions(t)
			theirs := foreignGateway(c, "*", false)
			theirs.Spec.Servers[0].Port.Number = 8888
			c.foreign.Gateways = []*networkingv1.Gateway{theirs}
			test.set(&c.settings)
			c.annotate(append(test.annotate, "expose=true")...)
			c.advance(time.Minute)
			c.tells(test.told...)
			c.exposed(test.want)
		})
	}
}

// Narrowing by the administrator always applies; a port that the gateway's Service loses does not end what exists.
func TestNarrowedGatewaysEndAnExposure(t *testing.T) {
	c := twoVersions(t)
	c.annotate("expose=true", "gateway-port=8066")
	c.advance(time.Minute)
	c.ingress[0].Spec.Ports = c.ingress[0].Spec.Ports[:1]
	c.advance(time.Minute)
	c.exposed("app-gateway: *@demo/app; 8066: demo/*")
	c.tells(api.RouteGatewayPortUnexposed)
	c.settings.GatewayPorts = []string{"80"}
	c.advance(time.Minute)
	c.exposed("")
}

func TestHTTPNextToTLSIsAConflict(t *testing.T) {
	for _, test := range []struct {
		name     string
		port     uint32
		protocol string
		labels   map[string]string
		want     string
	}{
		{"TLS on our port", 8066, "HTTPS", nil, ""},
		{"TCP on our port", 8066, "TCP", nil, ""},
		{"TLS on the port that the gateway's Service leads ours to", 8443, "TLS", nil, ""},
		{"HTTP on our port, another host", 8066, "HTTP", nil, "app-gateway: a.example.com@demo/app; 8066: demo/a.example.com"},
		{"TLS on another port", 443, "HTTPS", nil, "app-gateway: a.example.com@demo/app; 8066: demo/a.example.com"},
		{"TLS on our port of other pods", 8066, "HTTPS", map[string]string{"istio": "internal"}, "app-gateway: a.example.com@demo/app; 8066: demo/a.example.com"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := twoVersions(t)
			c.ingress[0].Spec.Ports = []corev1.ServicePort{{Port: 80}, {Port: 8066, TargetPort: intstr.FromInt32(8443)}}
			theirs := foreignGateway(c, "other.example.com", false)
			theirs.Spec.Servers[0].Port = &networkingapi.Port{Number: test.port, Protocol: test.protocol}
			if test.labels != nil {
				theirs.Spec.Selector = test.labels
			}
			c.foreign.Gateways = []*networkingv1.Gateway{theirs}
			c.annotate("expose=true", "hosts=a.example.com", "gateway-port=8066")
			c.advance(time.Minute)
			c.exposed(test.want)
			if test.want == "" {
				c.tells(api.RouteGatewayPortConflict)
				return
			}
			theirs.Spec.Servers[0].Port = &networkingapi.Port{Number: 8066, Protocol: "TLS"}
			theirs.Spec.Selector = map[string]string{"istio": "ingressgateway"}
			c.advance(time.Minute)
			c.exposed(test.want)
			c.tells(api.RouteGatewayPortConflict)
		})
	}
}

func TestAnIngressHasItsHost(t *testing.T) {
	for _, test := range []struct {
		name     string
		theirs   string
		annotate []string
		want     string
	}{
		{"the same host", "a.example.com", nil, ""},
		{"a wildcard that includes it", "*.example.com", nil, ""},
		{"another host", "b.example.com", nil, "app-gateway: a.example.com@demo/app; 80: demo/a.example.com"},
		{"every host, which is less specific", "*", nil, "app-gateway: a.example.com@demo/app; 80: demo/a.example.com"},
		{"every host twice", "*", []string{"hosts=*"}, ""},
		{"at another port", "a.example.com", []string{"gateway-port=8066"}, "app-gateway: a.example.com@demo/app; 8066: demo/a.example.com"},
		{"at other gateway pods", "a.example.com", []string{"gateway-selector=istio=internal"}, "app-gateway: a.example.com@demo/app; 80: demo/a.example.com"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := twoVersions(t)
			c.ingresses = []*networkingk8s.Ingress{ingressFor(test.theirs)}
			c.annotate(append([]string{"expose=true", "hosts=a.example.com"}, test.annotate...)...)
			c.advance(time.Minute)
			c.exposed(test.want)
			if test.want == "" {
				c.tells(api.RouteHostConflict)
			}
		})
	}
	c := twoVersions(t)
	c.annotate("expose=true", "hosts=a.example.com")
	c.advance(time.Minute)
	c.ingresses = []*networkingk8s.Ingress{ingressFor("a.example.com")}
	c.advance(time.Minute)
	c.exposed("app-gateway: a.example.com@demo/app; 80: demo/a.example.com")
	c.tells(api.RouteHostConflict)
}

// What each new rule would refuse, and an earlier release exposed, stays exposed and is listed.
func TestUpgradeListsWhatIsNoLongerAllowed(t *testing.T) {
	for name, reason := range map[string]api.RouteReason{
		"internal-wildcard":     api.RouteHostReserved,
		"internal-name":         api.RouteHostReserved,
		"single-label-wildcard": api.RouteHostReserved,
		"external-name":         api.RouteHostReserved,
		"closed-port":           api.RouteGatewayPortUnexposed,
		"hosts":                 api.RouteHostConflict,
	} {
		t.Run(name, func(t *testing.T) {
			c := twoVersions(t)
			c.advance(11 * time.Minute)
			loadCombined(t, c, name)
			c.hostOwners = map[string]string{"api.stripe.example": "ServiceEntry shop/stripe"}
			c.ingresses = []*networkingk8s.Ingress{ingressFor("a.example.com")}
			if name == "closed-port" {
				c.ingresses = nil
			}
			served := boundGatewayHosts(c)
			c.advance(time.Hour)
			if got := boundGatewayHosts(c); got != served {
				t.Errorf("gateways serve %s, and served %s", got, served)
			}
			c.tells(reason)
			if got := boundTo(c.route("app")); got != "app.demo.svc.cluster.local@mesh" {
				t.Errorf("the mesh's VirtualService is for %s", got)
			}
		})
	}
}

// boundGatewayHosts is the Gateway's part of an exposure.
func boundGatewayHosts(c *cluster) string {
	return string(bytesOf(c.t, c.existing.Gateways[0].Spec.Servers))
}

// The gateway's Service has port 15021 in every installation, for health checks.
func TestPortsOfTheProxyAreNeitherAcceptedNorRecommended(t *testing.T) {
	c := twoVersions(t)
	c.ingress[0].Spec.Ports = append(c.ingress[0].Spec.Ports, corev1.ServicePort{Port: 15021})
	c.annotate("expose=true", "gateway-port=15021")
	c.tells(api.RouteInvalidAnnotation)
	c.exposed("")
	c.settings.GatewayPorts = []string{"15000-15100"}
	c.advance(time.Minute)
	c.exposed("")
	c.settings.GatewayPorts = nil
	c.annotate("gateway-port=9021")
	c.tells(api.RouteGatewayPortUnexposed)
	for _, p := range c.problems {
		if strings.Contains(p.Advice, "15021") || !strings.Contains(p.Advice, "(80, 8066)") {
			t.Errorf("advice: %s", p.Advice)
		}
	}
}

// What an earlier release exposed at such a port stays, and is reported.
func TestUpgradeKeepsAnExposureAtAPortOfTheProxy(t *testing.T) {
	c := twoVersions(t)
	c.ingress[0].Spec.Ports = append(c.ingress[0].Spec.Ports, corev1.ServicePort{Port: 15021})
	c.annotate("expose=true", "gateway-port=15021")
	c.accepts = map[string]bool{api.AnnotationGatewayPort: true}
	c.advance(time.Minute)
	c.exposed("app-gateway: *@demo/app; 15021: demo/*")
	c.accepts = nil
	c.advance(time.Hour)
	c.exposed("app-gateway: *@demo/app; 15021: demo/*")
	c.tells(api.RouteInvalidAnnotation, api.RouteStillExposed)
}
