// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"testing"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// A URL has the scheme, the host, and the port that answer; where nothing answers there is none.
func TestURLOfAGateway(t *testing.T) {
	balancer := func(ip, name string) *corev1.Service {
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "ingress"}}
		s.Spec.Ports = []corev1.ServicePort{{Port: 80, NodePort: 30080}, {Port: 443}, {Port: 9000, TargetPort: intstr.FromInt32(8066)}}
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: ip, Hostname: name}}
		return s
	}
	node := balancer("", "")
	node.Status.LoadBalancer.Ingress = nil
	server := func(port uint32, protocol string, tls *networkingapi.ServerTLSSettings, hosts ...string) *networkingapi.Server {
		return &networkingapi.Server{Port: &networkingapi.Port{Number: port, Protocol: protocol}, Tls: tls, Hosts: hosts}
	}
	simple, passed, redirect := &networkingapi.ServerTLSSettings{Mode: networkingapi.ServerTLSSettings_SIMPLE}, &networkingapi.ServerTLSSettings{}, &networkingapi.ServerTLSSettings{HttpsRedirect: true}
	plain, secure := server(80, "HTTP", nil, "*"), server(443, "HTTPS", simple, "*")
	ip := balancer("203.0.113.5", "")
	for name, c := range map[string]struct {
		behind        *corev1.Service
		servers       []*networkingapi.Server
		host          string
		preferredPort uint32
		want          string
	}{
		"load balancer":               {ip, []*networkingapi.Server{plain}, "*", 80, "http://203.0.113.5/hello"},
		"IPv6":                        {balancer("2001:db8::5", ""), []*networkingapi.Server{plain}, "*", 80, "http://[2001:db8::5]/hello"},
		"named host":                  {ip, []*networkingapi.Server{plain}, "app.example.com", 80, "http://app.example.com/hello"},
		"node port":                   {node, []*networkingapi.Server{plain}, "*", 80, "http://192.0.2.7:30080/hello"},
		"hosts below a domain":        {balancer("", "lb.example.com"), []*networkingapi.Server{plain}, "*.example.com", 80, ""},
		"one of them has a server":    {ip, []*networkingapi.Server{server(80, "HTTP", nil, "a.example.com")}, "*.example.com", 80, "http://a.example.com/hello"},
		"any host, one has a server":  {ip, []*networkingapi.Server{server(80, "HTTP", nil, "a.example.com")}, "*", 80, "http://a.example.com/hello"},
		"TLS alone":                   {ip, []*networkingapi.Server{secure}, "app.example.com", 80, "https://app.example.com/hello"},
		"a redirect to TLS":           {ip, []*networkingapi.Server{server(80, "HTTP", redirect, "*"), secure}, "app.example.com", 80, "https://app.example.com/hello"},
		"a redirect to nothing":       {ip, []*networkingapi.Server{server(80, "HTTP", redirect, "*"), server(443, "HTTPS", simple, "other.example.com")}, "app.example.com", 80, ""},
		"both, plain is asked for":    {ip, []*networkingapi.Server{secure, plain}, "app.example.com", 80, "http://app.example.com/hello"},
		"both, TLS is asked for":      {ip, []*networkingapi.Server{plain, secure}, "app.example.com", 443, "https://app.example.com/hello"},
		"TLS at another port":         {ip, []*networkingapi.Server{server(8066, "HTTPS", simple, "*")}, "app.example.com", 80, "https://app.example.com:9000/hello"},
		"TLS that is passed on":       {ip, []*networkingapi.Server{server(443, "HTTPS", passed, "*")}, "app.example.com", 80, ""},
		"TCP":                         {ip, []*networkingapi.Server{server(80, "TCP", nil, "*")}, "*", 80, ""},
		"no server for the host":      {ip, []*networkingapi.Server{server(80, "HTTP", nil, "other.example.com")}, "app.example.com", 80, ""},
		"a server for others' routes": {ip, []*networkingapi.Server{server(80, "HTTP", nil, "elsewhere/*")}, "app.example.com", 80, ""},
		"a server for our routes":     {ip, []*networkingapi.Server{server(80, "HTTP", nil, "demo/*")}, "app.example.com", 80, "http://app.example.com/hello"},
		"port is not open":            {ip, []*networkingapi.Server{server(8077, "HTTP", nil, "*")}, "*", 8077, ""},
		"no servers":                  {ip, nil, "*", 80, ""},
	} {
		t.Run(name, func(t *testing.T) {
			gateway := &networkingv1.Gateway{}
			gateway.Namespace, gateway.Name, gateway.Spec.Servers = "demo", "front", c.servers
			path := routing.Path{Gateway: "demo/front", Hosts: []string{c.host}, Object: api.ObjectRef{Kind: "VirtualService", Namespace: "demo", Name: "app"}}
			observed := routing.Observed{Intent: api.RouteIntent{Expose: &api.Exposure{Path: "/hello", GatewayPort: c.preferredPort}}}
			around := Surroundings{Gateways: []*networkingv1.Gateway{gateway}, Ingress: []Ingress{{[]*corev1.Service{c.behind}}}, Node: "192.0.2.7"}
			if got := gatewaysOf(observed, []routing.Path{path}, around); len(got) != 1 || got[0].URL != c.want {
				t.Errorf("%+v, want %q", got, c.want)
			}
		})
	}
}

// The certificate of the URL is a Secret in the namespace of the gateway's pods, which only Istio reads.
func TestCertificateOfAGateway(t *testing.T) {
	front := func(namespace string) *corev1.Service {
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "ingress"}}
		s.Namespace = namespace
		s.Spec.Ports = []corev1.ServicePort{{Port: 80}, {Port: 443}}
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "203.0.113.5"}}
		return s
	}
	for _, test := range []struct {
		credential string
		behind     []*corev1.Service
		want       string
	}{
		{"web-tls", []*corev1.Service{front("istio-system")}, "Secret istio-system/web-tls"},
		{"web-tls", []*corev1.Service{front("istio-system"), front("istio-system")}, "Secret istio-system/web-tls"},
		{"web-tls", []*corev1.Service{front("east"), front("west")}, "Secret east/web-tls and west/web-tls"},
		{"web-tls", nil, "Secret web-tls in the namespace of the gateway's pods"},
		{"kubernetes-gateway://shop/web-tls", []*corev1.Service{front("istio-system")}, ""},
		{"", []*corev1.Service{front("istio-system")}, ""},
	} {
		gateway := &networkingv1.Gateway{}
		gateway.Namespace, gateway.Name = "demo", "app"
		gateway.Spec.Servers = []*networkingapi.Server{
			{Port: &networkingapi.Port{Number: 443, Protocol: "HTTPS"}, Hosts: []string{"demo/app.example.com"}, Tls: &networkingapi.ServerTLSSettings{Mode: networkingapi.ServerTLSSettings_SIMPLE, CredentialName: test.credential}},
			{Port: &networkingapi.Port{Number: 80, Protocol: "HTTP"}, Hosts: []string{"demo/app.example.com"}, Tls: &networkingapi.ServerTLSSettings{HttpsRedirect: true}},
		}
		path := routing.Path{Gateway: "demo/app", Hosts: []string{"app.example.com"}, Object: api.ObjectRef{Kind: "VirtualService", Namespace: "demo", Name: "app"}}
		observed := routing.Observed{Intent: api.RouteIntent{Expose: &api.Exposure{Path: "/", GatewayPort: 443, TLSCredential: test.credential, HTTPSRedirect: true}}}
		around := Surroundings{Gateways: []*networkingv1.Gateway{gateway}, Ingress: []Ingress{{test.behind}}}
		got := gatewaysOf(observed, []routing.Path{path}, around)
		if len(got) != 1 || got[0].Certificate != test.want || got[0].Port != 443 {
			t.Errorf("%s: %+v, want certificate %q", test.credential, got, test.want)
		}
		if len(test.behind) > 0 && got[0].URL != "https://app.example.com" {
			t.Errorf("URL %q", got[0].URL)
		}
		if rows := gatewayRows(got); (len(rows[0]) == 5) != (test.want != "") {
			t.Errorf("%s: explain says %v", test.credential, rows)
		}
	}
}
