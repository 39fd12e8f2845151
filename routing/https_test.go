// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"
	"strings"
	"testing"
	"time"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	networkingk8s "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
)

// httpsCluster is a cluster at rest whose ingress gateway has the ports of Istio's charts, and 8066 and 9443.
func httpsCluster(t *testing.T) *cluster {
	t.Helper()
	c := twoVersions(t)
	c.opensHTTPS()
	return c
}

const (
	plainA = "app-gateway: a.example.com@demo/app; 80: demo/a.example.com"
	httpsA = "app-gateway: a.example.com@demo/app; 443: demo/a.example.com with web-tls"
	bothA  = httpsA + "; 80: demo/a.example.com redirected"
)

// Each change of an exposure with HTTPS adds what is new before it removes what was there, and ends in one place.
func TestHTTPSIsAddedBeforeTheOldExposureGoes(t *testing.T) {
	const routeA = "app-gateway: a.example.com@demo/app; "
	for _, test := range []struct {
		before, change  string // separated by spaces
		during, finally string
	}{
		{"hosts=a.example.com", "tls-credential=web-tls", httpsA + "; 80: demo/a.example.com", httpsA},
		{"hosts=a.example.com", "tls-credential=web-tls https-redirect=true", httpsA + "; 80: demo/a.example.com", bothA},
		{"hosts=a.example.com", "tls-credential=web-tls gateway-port=80", routeA + "80: demo/a.example.com with web-tls", routeA + "80: demo/a.example.com with web-tls"},
		{"hosts=a.example.com tls-credential=web-tls", "https-redirect=true", bothA, bothA},
		{"hosts=a.example.com tls-credential=web-tls", "tls-credential-", routeA + "80: demo/a.example.com; 443: demo/a.example.com with web-tls", plainA},
		{"hosts=a.example.com tls-credential=web-tls https-redirect=true", "https-redirect-", bothA, httpsA},
		{"hosts=a.example.com tls-credential=web-tls https-redirect=true", "tls-credential- https-redirect-", routeA + "80: demo/a.example.com; 443: demo/a.example.com with web-tls", plainA},
		{"hosts=a.example.com tls-credential=old-tls", "tls-credential=web-tls", httpsA, httpsA},
		{
			"hosts=b.example.com tls-credential=old-tls", "hosts=a.example.com tls-credential=web-tls",
			"app-gateway: a.example.com,b.example.com@demo/app; 443: demo/a.example.com with web-tls; 443: demo/b.example.com with old-tls", httpsA,
		},
		{
			"hosts=b.example.com", "hosts=a.example.com tls-credential=web-tls https-redirect=true",
			"app-gateway: a.example.com,b.example.com@demo/app; 443: demo/a.example.com with web-tls; 80: demo/a.example.com redirected; 80: demo/b.example.com", bothA,
		},
		{
			"hosts=a.example.com tls-credential=web-tls", "gateway-port=9443",
			routeA + "9443: demo/a.example.com with web-tls; 443: demo/a.example.com with web-tls", routeA + "9443: demo/a.example.com with web-tls",
		},
		{"hosts=a.example.com tls-credential=web-tls https-redirect=true", "expose=false", "", ""},
	} {
		t.Run(test.before+" then "+test.change, func(t *testing.T) {
			c := httpsCluster(t)
			c.annotate(append(strings.Fields(test.before), "expose=true")...)
			c.advance(time.Minute)
			c.annotate(strings.Fields(test.change)...)
			c.settle()
			c.exposed(test.during)
			c.advance(time.Second)
			c.exposed(test.during)
			c.advance(time.Minute)
			c.exposed(test.finally)
			for _, gateway := range c.existing.Gateways {
				names := map[string]bool{}
				for _, server := range gateway.Spec.Servers {
					if names[server.Port.Name] {
						t.Errorf("two servers are named %s", server.Port.Name)
					}
					names[server.Port.Name] = true
				}
			}
			c.writes = nil
			c.advance(time.Hour)
			c.wrote()
		})
	}
}

// theirGateway is a Gateway of somebody else's with one server for the same gateway pods.
func theirGateway(port uint32, protocol, host string, tls *networkingapi.ServerTLSSettings) *networkingv1.Gateway {
	gateway := &networkingv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "theirs"}}
	gateway.Spec.Selector = map[string]string{"istio": "ingressgateway"}
	gateway.Spec.Servers = []*server{{Port: &networkingapi.Port{Number: port, Name: "x", Protocol: protocol}, Hosts: []string{host}, Tls: tls}}
	return gateway
}

var simpleTLS = &networkingapi.ServerTLSSettings{Mode: networkingapi.ServerTLSSettings_SIMPLE, CredentialName: "their-tls"}

// What Istio would merge into something else, or not serve, is refused: a new exposure does not start, and an existing one stays.
func TestHTTPSIsRefusedWhereItsPortsOrHostsAreTaken(t *testing.T) {
	const https, both = "tls-credential=web-tls", "tls-credential=web-tls https-redirect=true"
	redirects := &networkingapi.ServerTLSSettings{HttpsRedirect: true}
	for _, test := range []struct {
		what   string
		hosts  string
		change string
		theirs *networkingv1.Gateway
		around func(*cluster)
		reason api.RouteReason // empty: it is permitted
		key    string
	}{
		{what: "HTTP on its port", change: https, theirs: theirGateway(443, "HTTP", "other/x.example.com", nil), reason: api.RouteGatewayPortConflict, key: api.AnnotationGatewayPort},
		{what: "HTTP on the same port of the pods", change: https, theirs: theirGateway(8443, "HTTP", "other/x.example.com", nil), reason: api.RouteGatewayPortConflict, key: api.AnnotationGatewayPort},
		{what: "TCP on its port", change: https, theirs: theirGateway(443, "TCP", "*", nil), reason: api.RouteGatewayPortConflict, key: api.AnnotationGatewayPort},
		{what: "TCP on the port of the redirect", change: both, theirs: theirGateway(80, "TCP", "*", nil), reason: api.RouteGatewayPortConflict, key: api.AnnotationHTTPSRedirect},
		{what: "HTTPS on the port of the redirect", change: both, theirs: theirGateway(80, "HTTPS", "x.example.com", simpleTLS), reason: api.RouteGatewayPortConflict, key: api.AnnotationHTTPSRedirect},
		{what: "HTTPS for another host", change: https, theirs: theirGateway(443, "HTTPS", "other/x.example.com", simpleTLS)},
		{what: "HTTPS for every host beside a name", change: both, theirs: theirGateway(443, "HTTPS", "*", simpleTLS)},
		{what: "HTTPS for the host", change: https, theirs: theirGateway(443, "HTTPS", "a.example.com", simpleTLS), reason: api.RouteHostConflict, key: api.AnnotationHosts},
		{what: "HTTPS for the host, of a namespace", change: https, theirs: theirGateway(443, "HTTPS", "other/a.example.com", simpleTLS), reason: api.RouteHostConflict, key: api.AnnotationHosts},
		{what: "HTTPS for the host on the same port of the pods", change: https, theirs: theirGateway(8443, "HTTPS", "other/a.example.com", simpleTLS), reason: api.RouteHostConflict, key: api.AnnotationHosts},
		{what: "TLS that is passed on for the host", change: https, theirs: theirGateway(443, "TLS", "a.example.com", &networkingapi.ServerTLSSettings{Mode: networkingapi.ServerTLSSettings_PASSTHROUGH}), reason: api.RouteHostConflict, key: api.AnnotationHosts},
		{what: "HTTPS for every host beside every host", hosts: "*", change: https, theirs: theirGateway(443, "HTTPS", "other/*", simpleTLS), reason: api.RouteHostConflict, key: api.AnnotationHosts},
		{what: "HTTP for the host, which the redirect would change", change: both, theirs: theirGateway(80, "HTTP", "other/a.example.com", nil), reason: api.RouteHostConflict, key: api.AnnotationHosts},
		{what: "HTTP for the host, without a redirect of ours", change: https, theirs: theirGateway(80, "HTTP", "other/a.example.com", nil)},
		{what: "HTTP for every host, which the redirect would change", hosts: "*", change: both, theirs: theirGateway(80, "HTTP", "other/*", nil), reason: api.RouteHostConflict, key: api.AnnotationHosts},
		{what: "a redirect of the host", change: "expose=true", theirs: theirGateway(80, "HTTP", "other/a.example.com", redirects), reason: api.RouteHostConflict, key: api.AnnotationHosts},
		{what: "a redirect of the host on the same port of the pods", change: "gateway-port=8080", theirs: theirGateway(80, "HTTP", "other/a.example.com", redirects), reason: api.RouteHostConflict, key: api.AnnotationHosts},
		{what: "the gateway has no port 443", change: https, around: func(c *cluster) {
			c.ingress[0].Spec.Ports = []corev1.ServicePort{{Port: 80}, {Port: 8066}}
		}, reason: api.RouteGatewayPortUnexposed, key: api.AnnotationGatewayPort},
		{what: "the gateway has no port 80", change: both, around: func(c *cluster) {
			c.ingress[0].Spec.Ports = []corev1.ServicePort{{Port: 443}, {Port: 8066}}
		}, reason: api.RouteGatewayPortUnexposed, key: api.AnnotationHTTPSRedirect},
		{what: "port 443 is not allowed", change: https, around: func(c *cluster) { c.settings.GatewayPorts = []string{"80", "8066"} }, reason: api.RouteGatewayNotAllowed, key: api.AnnotationGatewayPort},
		{what: "port 80 is not allowed", change: both, around: func(c *cluster) { c.settings.GatewayPorts = []string{"443", "8066"} }, reason: api.RouteGatewayNotAllowed, key: api.AnnotationHTTPSRedirect},
		{what: "both ports are one of the pods", change: both + " gateway-port=8080", around: func(c *cluster) { c.settings.GatewayPorts = []string{"1-65535"} }, reason: api.RouteGatewayPortConflict, key: api.AnnotationHTTPSRedirect},
		{what: "an Ingress with a certificate for the host", change: https, around: func(c *cluster) {
			c.ingresses = []*networkingk8s.Ingress{ingressWithTLS("x.example.com", "a.example.com")}
		}, reason: api.RouteHostConflict, key: api.AnnotationHosts},
		{what: "an Ingress with a certificate for every host", hosts: "*", change: https, around: func(c *cluster) {
			c.ingresses = []*networkingk8s.Ingress{ingressWithTLS("x.example.com")}
		}, reason: api.RouteHostConflict, key: api.AnnotationHosts},
		{what: "an Ingress with a certificate for another host", change: https, around: func(c *cluster) {
			c.ingresses = []*networkingk8s.Ingress{ingressWithTLS("x.example.com", "x.example.com")}
		}},
		{what: "an Ingress with the host beside a redirect", change: both, around: func(c *cluster) {
			ingress := ingressWithTLS("a.example.com")
			ingress.Spec.TLS = nil
			c.ingresses = []*networkingk8s.Ingress{ingress}
		}, reason: api.RouteHostConflict, key: api.AnnotationHosts},
	} {
		for _, before := range []string{"", "expose=true gateway-port=8066"} {
			t.Run(test.what+" "+before, func(t *testing.T) {
				c := httpsCluster(t)
				hosts := "hosts=a.example.com"
				if test.hosts != "" {
					hosts = "hosts=" + test.hosts
				}
				if before != "" {
					c.annotate(append(strings.Fields(before), hosts)...)
					c.advance(time.Minute)
				}
				if test.theirs != nil {
					c.foreign.Gateways = []*networkingv1.Gateway{test.theirs}
				}
				if test.around != nil {
					test.around(c)
				}
				c.advance(time.Minute)
				was := c.gates()
				c.annotate("gateway-port-")
				c.annotate(append([]string{"expose=true", hosts}, strings.Fields(test.change)...)...)
				if strings.Contains(test.change, "gateway-port=8080") {
					c.settings.GatewayPorts = []string{"1-65535"}
				}
				c.advance(time.Hour)
				if test.reason == "" {
					if !strings.Contains(c.gates(), "443: demo/a.example.com with web-tls") {
						t.Errorf("exposed is %s: %v", c.gates(), c.problems)
					}
					return
				}
				c.exposed(was)
				if !slices.ContainsFunc(c.problems, func(p api.RouteProblem) bool {
					return p.Reason == test.reason && p.Field == api.AnnotationField(test.key) && p.Value != "" && p.Advice != ""
				}) {
					t.Errorf("%s of %s is not reported: %v", test.reason, test.key, c.problems)
				}
				if before != "" {
					c.tells(test.reason, api.RouteStillExposed)
				}
			})
		}
	}
}

func ingressWithTLS(host string, certified ...string) *networkingk8s.Ingress {
	return &networkingk8s.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "theirs"}, Spec: networkingk8s.IngressSpec{
		TLS:   []networkingk8s.IngressTLS{{Hosts: certified, SecretName: "their-tls"}},
		Rules: []networkingk8s.IngressRule{{Host: host, IngressRuleValue: networkingk8s.IngressRuleValue{HTTP: &networkingk8s.HTTPIngressRuleValue{}}}},
	}}
}

// Whatever else appears later, an exposure with HTTPS stays, unless it lost a race: see TestOneOfTwoProtocolsOnAPortWins.
func TestAnHTTPSExposureStaysBesideLaterGateways(t *testing.T) {
	for _, theirs := range []*networkingv1.Gateway{
		theirGateway(443, "HTTP", "other/a.example.com", nil), theirGateway(443, "HTTPS", "other/a.example.com", simpleTLS),
		theirGateway(80, "HTTP", "other/a.example.com", nil), theirGateway(80, "TCP", "*", nil), theirGateway(443, "TCP", "*", nil),
	} {
		c := httpsCluster(t)
		c.annotate("expose=true", "hosts=a.example.com", "tls-credential=web-tls", "https-redirect=true")
		c.advance(time.Minute)
		c.foreign.Gateways = []*networkingv1.Gateway{theirs}
		c.writes = nil
		c.advance(time.Hour)
		c.exposed(bothA)
		c.wrote()
		c.annotate("tls-credential=builtin://")
		c.advance(time.Hour)
		c.exposed(bothA)
		c.settings.GatewayPorts = []string{"443"} // an administrator's narrowing ends it as a whole
		c.advance(time.Hour)
		c.exposed("")
	}
}

// Two Services that are exposed in the same moment, one with HTTP and one with HTTPS on one port: the older Gateway has the port,
// as in Istio, and both sides come to that answer.
func TestOneOfTwoProtocolsOnAPortWins(t *testing.T) {
	for _, test := range []struct{ ours, protocol string }{
		{"gateway-port=9443 tls-credential=web-tls", "HTTP"}, {"gateway-port=9443", "HTTPS"},
		{"gateway-port=443 tls-credential=web-tls https-redirect=true", "80 HTTPS"},
	} {
		for _, age := range []time.Duration{-time.Hour, time.Hour} {
			c := httpsCluster(t)
			c.annotate(append(strings.Fields(test.ours), "expose=true", "hosts=a.example.com")...)
			c.advance(time.Minute)
			was := c.gates()
			theirs := foreignGateway(c, "x.example.com", true)
			theirs.CreationTimestamp = metav1.NewTime(c.existing.Gateways[0].CreationTimestamp.Add(age))
			port, protocol := uint32(9443), test.protocol
			if number, rest, found := strings.Cut(protocol, " "); found && number == "80" {
				port, protocol = 80, rest
			}
			theirs.Spec.Servers[0].Port = &networkingapi.Port{Number: port, Name: "x", Protocol: protocol}
			if protocol == "HTTPS" {
				theirs.Spec.Servers[0].Tls = simpleTLS
			}
			c.foreign.Gateways = []*networkingv1.Gateway{theirs}
			c.advance(time.Minute)
			c.exposed(was) // another client edited it, as far as is known
			theirs.Annotations = map[string]string{api.AnnotationWritten: gatewayDigest(theirs)}
			c.advance(time.Minute)
			if age > 0 {
				c.exposed(was)
			} else {
				c.exposed("")
			}
			c.tells(api.RouteGatewayPortConflict)
		}
	}
}

// Nobody takes https:// of a host from a Service in another namespace that Outrigger exposes at http://, or the other way around.
func TestHTTPAndHTTPSOfAHostBelongToOneNamespace(t *testing.T) {
	for _, test := range []struct {
		ours, theirs, namespace string
		protocol                string
		free                    bool
	}{
		{"hosts=a.example.com tls-credential=web-tls", "a.example.com", "victim", "80 HTTP", false},
		{"hosts=a.example.com tls-credential=web-tls", "*.example.com", "victim", "8066 HTTP", false},
		{"hosts=a.example.com tls-credential=web-tls", "*", "victim", "80 HTTP", true},
		{"hosts=a.example.com tls-credential=web-tls", "b.example.com", "victim", "80 HTTP", true},
		{"hosts=a.example.com tls-credential=web-tls", "a.example.com", "demo", "80 HTTP", true},
		{"hosts=a.example.com", "a.example.com", "victim", "443 HTTPS", false},
		{"hosts=a.example.com", "a.example.com", "demo", "443 HTTPS", true},
		{"hosts=a.example.com gateway-port=8066", "a.example.com", "victim", "80 HTTP", true},
	} {
		c := httpsCluster(t)
		exposedElsewhere(c, test.namespace, test.theirs, c.now, c.now)
		number, protocol, _ := strings.Cut(test.protocol, " ")
		server := c.foreign.Gateways[0].Spec.Servers[0]
		server.Port = &networkingapi.Port{Number: map[string]uint32{"80": 80, "443": 443, "8066": 8066}[number], Name: "x", Protocol: protocol}
		if protocol == "HTTPS" {
			server.Tls = simpleTLS
		}
		c.advance(time.Minute)
		c.annotate(append(strings.Fields(test.ours), "expose=true")...)
		c.advance(time.Hour)
		if got := c.gates(); test.free != strings.Contains(got, "a.example.com") {
			t.Errorf("%s beside %s of %s/%s: exposed is %q", test.ours, test.protocol, test.namespace, test.theirs, got)
		}
		if !test.free {
			c.tells(api.RouteHostConflict)
		}
	}
}

// A redirect leads from http://host to https://host, which is port 443, whatever port HTTPS has.
func TestARedirectPastThePortIsReported(t *testing.T) {
	for port, told := range map[string]bool{"443": false, "8443": false, "9443": true} {
		c := httpsCluster(t)
		c.annotate("expose=true", "hosts=a.example.com", "tls-credential=web-tls", "https-redirect=true", "gateway-port="+port)
		c.advance(time.Minute)
		if !strings.Contains(c.gates(), port+": demo/a.example.com with web-tls; 80: demo/a.example.com redirected") {
			t.Errorf("port %s: exposed is %s", port, c.gates())
		}
		if told {
			c.tells(api.RouteWithoutEffect)
		} else {
			c.tells()
		}
	}
}

// An edit of the Gateway's certificate is reverted, also while the exposure changes, and no certificate that another client wrote
// into it stays.
func TestAnEditedCertificateIsReverted(t *testing.T) {
	for _, change := range []string{"", "hosts=b.example.com", "tls-credential=new-tls"} {
		c := httpsCluster(t)
		c.annotate("expose=true", "hosts=a.example.com", "tls-credential=web-tls", "https-redirect=true")
		c.advance(time.Minute)
		for _, edit := range []func(*networkingv1.Gateway){
			func(g *networkingv1.Gateway) { g.Spec.Servers[0].Tls.CredentialName = "stolen-tls" },
			func(g *networkingv1.Gateway) {
				g.Spec.Servers[0].Tls.Mode = networkingapi.ServerTLSSettings_PASSTHROUGH
			},
			func(g *networkingv1.Gateway) { g.Spec.Servers[1].Tls = nil },
			func(g *networkingv1.Gateway) { g.Spec.Servers[0].Tls.MinProtocolVersion = 1 },
		} {
			edited := c.existing.Gateways[0].DeepCopy()
			edit(edited)
			c.replaceObject(c.existing.Gateways[0], edited)
			if change != "" {
				c.annotate(change)
			}
			c.settle()
			for _, server := range c.existing.Gateways[0].Spec.Servers {
				tls := server.GetTls()
				if tls.GetCredentialName() == "stolen-tls" || tls.GetMode() == networkingapi.ServerTLSSettings_PASSTHROUGH && !tls.GetHttpsRedirect() || tls.GetMinProtocolVersion() != 0 {
					t.Errorf("%s: after the edit: %v", change, server)
				}
			}
			c.onceTold(api.RouteEditReverted)
			c.advance(time.Minute)
			if change == "" {
				c.exposed(bothA)
			}
		}
	}
}

// A Gateway that the user applied over ours serves the exposure only where it has TLS as well.
func TestAReplacedGatewayServesHTTPS(t *testing.T) {
	for _, tls := range []bool{true, false} {
		c := httpsCluster(t)
		c.annotate("expose=true", "hosts=a.example.com", "tls-credential=web-tls")
		c.advance(time.Minute)
		theirs := theirGateway(443, "HTTPS", "a.example.com", simpleTLS)
		if !tls {
			theirs = theirGateway(443, "HTTP", "a.example.com", nil)
		}
		theirs.Namespace, theirs.Name = "demo", "app"
		c.existing.Gateways, c.foreign.Gateways = nil, []*networkingv1.Gateway{theirs}
		c.advance(time.Hour)
		want := ""
		if tls {
			want = "app-gateway: a.example.com@demo/app"
		}
		c.exposed(want)
	}
}
