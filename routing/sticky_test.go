// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
)

// cookies are the Set-Cookie headers of a VirtualService's last http rule: "v1: ver=v1; Max-Age=3600; …".
func (c *cluster) cookies(name string) string {
	c.t.Helper()
	var out []string
	for _, vs := range c.existing.VirtualServices {
		if vs.Name != name {
			continue
		}
		for i, http := range vs.Spec.Http {
			for _, route := range http.Route {
				if cookie := route.GetHeaders().GetResponse().GetAdd()["Set-Cookie"]; cookie != "" {
					out = append(out, route.Destination.Subset+": "+cookie)
					if i != len(vs.Spec.Http)-1 {
						c.t.Errorf("rule %s gives a cookie: %s", http.Name, cookie)
					}
				}
			}
		}
	}
	return strings.Join(out, "\n")
}

func TestVersionsStickOnlyWhereThereAreTwo(t *testing.T) {
	c := twoVersions(t)
	c.annotate("sticky=cookie:ver:1h")
	c.settle()
	c.has("v1 v2", "v1")
	if got := c.cookies("app"); got != "" {
		t.Errorf("one destination gives %s", got)
	}
	c.annotate("weights=v1=90,v2=10", "match=v2=cookie:beta:1")
	c.tells()
	c.has("v1 v2", "cookie beta=1: v2; cookie ver=v1: v1; cookie ver=v2: v2; v1=90 v2=10")
	want := "v1: ver=v1; Max-Age=3600; Path=/; HttpOnly\nv2: ver=v2; Max-Age=3600; Path=/; HttpOnly"
	if got := c.cookies("app"); got != want {
		t.Errorf("cookies %s, want %s", got, want)
	}
	c.annotate("weights=v1=0,v2=10")
	c.settle()
	c.has("v1 v2", "cookie beta=1: v2; v2")
	c.annotate("weights=v1=1,v2=1", "match=v1=cookie:ver:v2", "mirror=v2=10") // the user's own word about that cookie comes first
	c.settle()
	c.has("v1 v2", "cookie ver=v2: v1; cookie ver=v1: v1 +v2=10; v1=50 v2=50 +v2=10")
	c.annotate("sticky=cookie:ver", "match-", "mirror-")
	c.tells(api.RouteInvalidAnnotation)
	c.has("v1 v2", "cookie ver=v1: v1; cookie ver=v2: v2; v1=50 v2=50")
	c.annotate("sticky-")
	c.settle()
	c.has("v1 v2", "v1=50 v2=50")
}

// A cookie carries the name that was weighed. Callers stay with a workload through its rollout in place.
func TestStickyThroughARollout(t *testing.T) {
	c := newCluster(t)
	c.rolling("stable", "1.0", 4)
	c.ready()
	c.annotate("sticky=cookie:ver:30m")
	c.advance(10 * time.Minute)
	c.rolling("next", "2.0", 2)
	c.ready()
	c.annotate("weights=1.0=50,2.0=50")
	c.advance(time.Minute)
	c.has("1-0 2-0", "cookie ver=1.0: 1-0; cookie ver=2.0: 2-0; 1-0=50 2-0=50")
	c.template("stable", "1.1")
	c.run("stable", "1.1", 2, 2)
	c.run("stable", "1.0", 2, 2)
	c.advance(5 * time.Second)
	c.has("1-0 1-1 2-0", "cookie ver=1.0: 1-0=50 1-1=50; cookie ver=2.0: 2-0; 1-0=25 1-1=25 2-0=50")
	want := "1-0: ver=1.0; Max-Age=1800; Path=/; HttpOnly\n1-1: ver=1.0; Max-Age=1800; Path=/; HttpOnly\n2-0: ver=2.0; Max-Age=1800; Path=/; HttpOnly"
	if got := c.cookies("app"); got != want {
		t.Errorf("cookies %s, want %s", got, want)
	}
	c.run("stable", "1.0", 0, 0)
	c.run("stable", "1.1", 4, 4)
	c.advance(10 * time.Minute)
	c.has("1-1 2-0", "cookie ver=1.0: 1-1; cookie ver=2.0: 2-0; 1-1=50 2-0=50")
}

// Who was with a version that is gone is shared out anew.
func TestStickyVersionGoes(t *testing.T) {
	c := twoVersions(t)
	c.fixed("app-v3", "v3", 2)
	c.ready()
	c.annotate("weights=v1=50,v2=25,v3=25", "sticky=cookie:ver:1h", "expose=true")
	c.advance(time.Minute)
	rules := "cookie ver=v1: v1; cookie ver=v2: v2; cookie ver=v3: v3; v1=50 v2=25 v3=25"
	c.has("v1 v2 v3", rules)
	if at := c.routes("app-gateway"); at != rules || c.cookies("app-gateway") != c.cookies("app") {
		t.Errorf("at the gateway %s", at)
	}
	c.remove("app-v2")
	c.gone("app-v2")
	c.tells(api.RoutePendingVersions)
	c.has("v1 v2 v3", "cookie ver=v1: v1; cookie ver=v3: v3; v1=75 v3=25")
}

func TestTCPDoesNotStick(t *testing.T) {
	c := twoVersions(t)
	c.service.Spec.Ports = []corev1.ServicePort{{Name: "tcp", Port: 5432}}
	c.annotate("sticky=cookie:ver:1h", "weights=v1=1,v2=1")
	c.tells(api.RouteWithoutEffect)
}
