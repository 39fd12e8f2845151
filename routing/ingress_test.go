// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingk8s "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"outrigger.dev/outrigger/api"
)

// Which Ingresses Istio serves: the annotation decides before the class, and the class whatever the mode is, unless that is OFF.
func TestIngressesThatIstioServes(t *testing.T) {
	theirs := &networkingk8s.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "edge"}, Spec: networkingk8s.IngressClassSpec{Controller: "istio.io/ingress-controller"}}
	nginx := &networkingk8s.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "istio"}, Spec: networkingk8s.IngressClassSpec{Controller: "k8s.io/ingress-nginx"}}
	for _, test := range []struct {
		annotation string // "-" for none
		class      *networkingk8s.IngressClass
		want       string // the modes in which it is served, with the mesh's class istio
		edge       string // with the mesh's class edge
	}{
		{"-", nil, " DEFAULT", " DEFAULT"},
		{"istio", nil, " STRICT DEFAULT", ""},
		{"edge", nil, "", " STRICT DEFAULT"},
		{"", nil, "", ""},
		{"nginx", theirs, "", ""},
		{"istio", nginx, " STRICT DEFAULT", ""},
		{"-", theirs, " STRICT DEFAULT", " STRICT DEFAULT"},
		{"-", nginx, "", ""},
	} {
		ingress := &networkingk8s.Ingress{}
		if test.annotation != "-" {
			ingress.Annotations = map[string]string{annotationIngressClass: test.annotation}
		}
		for class, want := range map[string]string{"": test.want, "edge": test.edge} {
			got := ""
			for _, mode := range []string{IngressOff, IngressStrict, IngressDefault} {
				if (IngressController{Mode: mode, Class: class}).Serves(ingress, test.class) {
					got += " " + mode
				}
			}
			if got != want {
				t.Errorf("annotation %q, IngressClass %v, the mesh's class %q: served in%s, want%s", test.annotation, test.class, class, got, want)
			}
			if (IngressController{Class: class}).Serves(ingress, test.class) != strings.Contains(want, IngressStrict) {
				t.Errorf("annotation %q, IngressClass %v: no mode is not STRICT", test.annotation, test.class)
			}
		}
	}
}

// ingressFor is an Ingress that Istio serves for a host.
func ingressFor(host string) *networkingk8s.Ingress {
	out := &networkingk8s.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}}
	out.Spec.Rules = []networkingk8s.IngressRule{{Host: host, IngressRuleValue: networkingk8s.IngressRuleValue{HTTP: &networkingk8s.HTTPIngressRuleValue{}}}}
	return out
}

func TestTheClassIsLookedUpByName(t *testing.T) {
	ingress := &networkingk8s.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "b"}, Spec: networkingk8s.IngressSpec{IngressClassName: ptr.To("edge")}}
	classes := map[string]*networkingk8s.IngressClass{"edge": {Spec: networkingk8s.IngressClassSpec{Controller: istioIngressController}}}
	one := func(c IngressController, classes map[string]*networkingk8s.IngressClass) int {
		return len(c.ServedIngresses([]*networkingk8s.Ingress{ingress}, classes))
	}
	if one(IngressController{}, classes) != 1 || one(IngressController{}, nil) != 0 || one(IngressController{Mode: IngressDefault}, nil) != 1 {
		t.Error("a class is not found by its name, or one that does not exist counts")
	}
}

func TestIngressesAtTheSameGatewayAreInTheWay(t *testing.T) {
	for what, test := range map[string]struct {
		controller IngressController
		hosts, tls string
		expose     []string
		want       []api.RouteReason
	}{
		"by default":                  {IngressController{}, "a.example.com", "", nil, []api.RouteReason{api.RouteHostConflict}},
		"another host":                {IngressController{}, "b.example.com", "", nil, nil},
		"other gateway pods":          {IngressController{Gateway: "edge"}, "a.example.com", "", nil, nil},
		"the same other gateway pods": {IngressController{Gateway: "edge"}, "a.example.com", "", []string{"gateway-selector=istio=edge"}, []api.RouteReason{api.RouteHostConflict}},
		"another port":                {IngressController{}, "a.example.com", "", []string{"gateway-port=443"}, nil},
		"its TLS port":                {IngressController{}, "a.example.com", "tls", []string{"gateway-port=443"}, []api.RouteReason{api.RouteHostConflict}},
	} {
		t.Run(what, func(t *testing.T) {
			c := twoVersions(t)
			ingress := ingressFor(test.hosts)
			if test.tls != "" {
				ingress.Spec.TLS = []networkingk8s.IngressTLS{{SecretName: "s"}}
			}
			c.ingress[0].Spec.Ports = append(c.ingress[0].Spec.Ports, corev1.ServicePort{Name: "https", Port: 443})
			c.controller, c.ingresses = test.controller, []*networkingk8s.Ingress{ingress}
			c.annotate(append([]string{"expose=true", "hosts=a.example.com"}, test.expose...)...)
			got := slices.DeleteFunc(Plan(c.observe(), c.now).Problems, func(p api.RouteProblem) bool { return p.Reason != api.RouteHostConflict })
			if len(got) != len(test.want) {
				t.Errorf("told %v, want %v", got, test.want)
			}
		})
	}
	if got := fmt.Sprint(IngressHostsOf(&networkingk8s.Ingress{Spec: networkingk8s.IngressSpec{DefaultBackend: &networkingk8s.IngressBackend{}, Rules: []networkingk8s.IngressRule{{Host: "no.paths"}}}})); got != "[]" {
		t.Errorf("what Istio ignores serves %s", got)
	}
}
