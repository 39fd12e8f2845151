// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"strings"
	"testing"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
)

// exposedElsewhere adds the Gateway and VirtualService with which Outrigger exposes Service theirs of another namespace. The
// objects were created at created, and the hosts, separated by commas, were claimed at claimed.
func exposedElsewhere(c *cluster, namespace, hosts string, created, claimed time.Time) {
	gateway := foreignGateway(c, "", true)
	gateway.Namespace, gateway.CreationTimestamp = namespace, metav1.NewTime(created)
	gateway.Spec.Servers[0].Hosts = nil
	claims := stamps{}
	for _, host := range strings.Split(hosts, ",") {
		gateway.Spec.Servers[0].Hosts = append(gateway.Spec.Servers[0].Hosts, namespace+"/"+host)
		claims[host] = claimed
	}
	vs := &networkingv1.VirtualService{ObjectMeta: *gateway.ObjectMeta.DeepCopy()}
	vs.Name = "theirs-gateway"
	vs.Annotations = map[string]string{api.AnnotationClaimedAt: claims.String()}
	vs.Spec.Hosts, vs.Spec.Gateways = strings.Split(hosts, ","), []string{namespace + "/theirs"}
	c.foreign.Gateways = []*networkingv1.Gateway{gateway}
	c.foreign.VirtualServices = []*networkingv1.VirtualService{vs}
}

// The attacker's objects are older than the victim's; the hosts that it adds to them are not.
func TestALaterClaimInOlderObjectsEndsNothing(t *testing.T) {
	for _, test := range []struct{ victim, claims string }{
		{"two.example.com", "one.example.com,*.example.com"},
		{"two.example.com", "*.example.com"},
		{"two.example.com", "two.example.com"},
		{"two.example.com", "*"},
		{"*.b.example.com", "*.example.com"},
		{"*.b.example.com", "*.b.example.com"},
		{"*", "*"},
	} {
		t.Run(test.victim+" and later "+test.claims, func(t *testing.T) {
			c := twoVersions(t)
			created := c.now
			c.advance(time.Hour)
			c.annotate("expose=true", "hosts="+test.victim)
			c.advance(time.Hour)
			want := c.gates()
			if !strings.Contains(want, "demo/"+test.victim) {
				t.Fatalf("exposed is %q", want)
			}
			c.writes = nil
			exposedElsewhere(c, "attack", test.claims, created, c.now)
			c.advance(time.Hour)
			c.exposed(want)
			c.wrote()
			exposedElsewhere(c, "attack", "one.example.com", created, created)
			c.foreign.Gateways[0].Spec.Servers[0].Hosts = []string{"attack/" + test.claims} // as while the change is written
			c.advance(time.Hour)
			c.exposed(want)
		})
	}
}

// A wildcard is the conflict where another namespace serves a host that it includes, and the Service keeps what it had.
func TestALaterWildcardIsTheConflict(t *testing.T) {
	for _, theirs := range []string{"two.example.com", "*.b.example.com"} {
		for _, test := range []struct{ before, after, want string }{
			{"one.example.com", "one.example.com,*.example.com", "one.example.com"},
			{"one.example.com", "*.example.com", "one.example.com"},
			{"a.unrelated.org", "*.example.com", "a.unrelated.org"},
			{"", "*.example.com", ""},
		} {
			t.Run(theirs+": "+test.before+" then "+test.after, func(t *testing.T) {
				c := twoVersions(t)
				if test.before != "" {
					c.annotate("expose=true", "hosts="+test.before)
				}
				c.advance(time.Minute)
				exposedElsewhere(c, "teamb", theirs, c.now, c.now)
				c.advance(time.Minute)
				before := c.gates()
				c.annotate("expose=true", "hosts="+test.after)
				c.advance(time.Hour)
				c.exposed(before)
				c.namespace.Annotations = map[string]string{api.AnnotationAllowedHosts: "*.example.com,a.unrelated.org"}
				c.advance(time.Hour)
				c.exposed("app-gateway: *.example.com@demo/app; 80: demo/*.example.com") // granted
			})
		}
	}
}

// A name that an administrator granted beside a wildcard stays when the list that granted it is removed.
func TestAWildcardNeverEndsAName(t *testing.T) {
	c := twoVersions(t)
	exposedElsewhere(c, "teamx", "*.example.com", c.now, c.now)
	c.namespace.Annotations = map[string]string{api.AnnotationAllowedHosts: "two.example.com"}
	c.advance(time.Hour)
	c.annotate("expose=true", "hosts=two.example.com")
	c.advance(time.Minute)
	c.exposed("app-gateway: two.example.com@demo/app; 80: demo/two.example.com")
	c.namespace.Annotations = nil
	c.advance(time.Hour)
	c.exposed("app-gateway: two.example.com@demo/app; 80: demo/two.example.com")
}

func TestTheEarlierClaimOfTheSameHostWins(t *testing.T) {
	c := twoVersions(t)
	c.annotate("expose=true", "hosts=two.example.com")
	c.advance(time.Minute)
	exposedElsewhere(c, "teamb", "two.example.com", c.now, c.now.Add(-time.Hour))
	c.advance(time.Minute)
	c.exposed("")
	c.tells(api.RouteHostConflict)
}

func TestAHostBesideARefusedEveryHostStays(t *testing.T) {
	c := twoVersions(t)
	c.annotate("expose=true", "hosts=shop.example.com")
	c.advance(time.Minute)
	exposedElsewhere(c, "teamb", "*", c.now, c.now)
	c.annotate("hosts=*,shop.example.com")
	c.advance(time.Hour)
	c.exposed("app-gateway: shop.example.com@demo/app; 80: demo/shop.example.com")
}
