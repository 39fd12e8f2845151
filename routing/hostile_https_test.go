// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"math/rand"
	"testing"
	"time"

	networkingapi "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// opensHTTPS gives the ingress gateway the ports of Istio's charts.
func (c *cluster) opensHTTPS() {
	c.https = true
	c.ingress[0].Spec.Ports = []corev1.ServicePort{
		{Port: 80, TargetPort: intstr.FromInt32(8080)}, {Port: 443, TargetPort: intstr.FromInt32(8443)}, {Port: 8066}, {Port: 9443},
	}
}

// httpsStates are the states with HTTPS in which another client begins to edit.
var httpsStates = []state{
	{"exposed with HTTPS", func(c *cluster) {
		fixedVersions(c, "v1", "v2")
		c.annotate("expose=true", "hosts=a.example.com,b.example.com", "tls-credential=app-tls", "weights=v1=90,v2=10")
	}},
	{"exposed with HTTPS and a redirect", func(c *cluster) {
		fixedVersions(c, "v1", "v2")
		c.annotate("expose=true", "tls-credential=app-tls", "https-redirect=true")
	}},
	{"the exposure changes to HTTPS", func(c *cluster) {
		fixedVersions(c, "v1", "v2")
		c.annotate("expose=true", "hosts=a.example.com")
		c.advance(time.Minute)
		c.annotate("tls-credential=app-tls", "https-redirect=true")
	}},
	{"the exposure changes to HTTP", func(c *cluster) {
		fixedVersions(c, "v1", "v2")
		c.annotate("expose=true", "hosts=a.example.com", "tls-credential=app-tls", "https-redirect=true")
		c.advance(time.Minute)
		c.annotate("tls-credential-", "https-redirect-")
	}},
	{"another certificate and host", func(c *cluster) {
		fixedVersions(c, "v1", "v2")
		c.annotate("expose=true", "hosts=a.example.com", "tls-credential=app-tls")
		c.advance(time.Minute)
		c.annotate("tls-credential=new-tls", "hosts=b.example.com")
	}},
	{"an invalid credential", func(c *cluster) {
		fixedVersions(c, "v1", "v2")
		c.annotate("expose=true", "hosts=a.example.com", "tls-credential=app-tls", "https-redirect=true")
		c.advance(time.Minute)
		c.annotate("tls-credential=kubernetes://other/app-tls", "hosts=b.example.com")
	}},
}

// Like TestHostileEditor, for exposures with HTTPS: another client also edits certificates, protocols, and redirects.
func TestHostileEditorOfHTTPS(t *testing.T) {
	for seed := *editSeed; seed < *editSeed+*edits/10; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			h := &hostileWalk{random: rand.New(rand.NewSource(int64(seed))), https: true}
			c := newCluster(t)
			c.opensHTTPS()
			c, state := begin(c, httpsStates[seed%len(httpsStates)], h.random)
			h.walk(t, c, state)
		})
	}
}

func editHTTPS(server *server, pick func(...string) string) string {
	switch pick("certificate", "plain", "mutual", "redirect", "port") {
	case "certificate":
		server.Tls = &networkingapi.ServerTLSSettings{Mode: networkingapi.ServerTLSSettings_SIMPLE, CredentialName: pick("stolen-tls", "kubernetes-gateway://demo/stolen")}
		server.Port.Protocol = "HTTPS"
		return "another certificate"
	case "plain":
		server.Port.Protocol, server.Tls = "HTTP", nil
		return "plain HTTP"
	case "mutual":
		server.Tls = &networkingapi.ServerTLSSettings{Mode: networkingapi.ServerTLSSettings_MUTUAL, CredentialName: "app-tls"}
		server.Port.Protocol = "HTTPS"
		return "client certificates"
	case "redirect":
		server.Port.Protocol, server.Tls = "HTTP", &networkingapi.ServerTLSSettings{HttpsRedirect: true}
		return "a redirect"
	}
	server.Port.Name += "-x"
	return "another name of a port"
}
