// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"testing"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
)

func heldRule(name string, subsets ...string) *networkingv1.DestinationRule {
	rule := &networkingv1.DestinationRule{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: name, Annotations: map[string]string{}}}
	rule.Spec.Host = "app.demo.svc.cluster.local"
	for _, subset := range subsets {
		rule.Spec.Subsets = append(rule.Spec.Subsets, &networkingapi.Subset{Name: subset, Labels: map[string]string{"version": subset}})
	}
	return rule
}

func heldRoute(namespace, name string, subsets ...string) *networkingv1.VirtualService {
	vs := &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	rule := &networkingapi.HTTPRoute{}
	for _, subset := range subsets {
		rule.Route = append(rule.Route, &networkingapi.HTTPRouteDestination{Destination: &networkingapi.Destination{Host: "app.demo.svc.cluster.local", Subset: subset}})
	}
	vs.Spec.Http = append(vs.Spec.Http, rule)
	return vs
}

func heldWorld(existing, foreign Objects) Observed {
	return Observed{
		Service:  &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "app"}},
		Existing: existing, Foreign: foreign, Settings: api.RoutingSettings{ClusterDomain: "cluster.local"},
	}
}

func TestRepairsRoute(t *testing.T) {
	otherPods := heldRule("app", "v1")
	otherPods.Spec.Subsets[0].Labels = map[string]string{"version": "v9"}
	hidden := heldRule("app", "v1")
	hidden.Spec.ExportTo = []string{"."}
	ours := []*networkingv1.VirtualService{heldRoute("demo", "app", "v1")}
	for name, test := range map[string]struct {
		existing, foreign Objects
		change            Change
		want              bool
	}{
		"the named subset is missing": {
			existing: Objects{DestinationRules: []*networkingv1.DestinationRule{heldRule("app", "v2")}, VirtualServices: ours},
			change:   Change{Action: Apply, Object: heldRule("app", "v1", "v2")}, want: true,
		},
		"the rule is missing": {existing: Objects{VirtualServices: ours}, change: Change{Action: Create, Object: heldRule("app", "v1")}, want: true},
		"the named subset means other pods": {
			existing: Objects{DestinationRules: []*networkingv1.DestinationRule{otherPods}, VirtualServices: ours},
			change:   Change{Action: Apply, Object: heldRule("app", "v1")}, want: true,
		},
		"the rule is hidden": {
			existing: Objects{DestinationRules: []*networkingv1.DestinationRule{hidden}, VirtualServices: ours},
			change:   Change{Action: Apply, Object: heldRule("app", "v1")}, want: true,
		},
		"a route of another team names it": {
			existing: Objects{DestinationRules: []*networkingv1.DestinationRule{heldRule("app", "v1")}, VirtualServices: ours},
			foreign:  Objects{VirtualServices: []*networkingv1.VirtualService{heldRoute("other", "theirs", "v2")}},
			change:   Change{Action: Apply, Object: heldRule("app", "v1", "v2")}, want: true,
		},
		"another subset is missing": {
			existing: Objects{DestinationRules: []*networkingv1.DestinationRule{heldRule("app", "v1")}, VirtualServices: ours},
			change:   Change{Action: Apply, Object: heldRule("app", "v1", "v2")},
		},
		"the named subset is not wanted": {
			existing: Objects{DestinationRules: []*networkingv1.DestinationRule{heldRule("app", "v2")}, VirtualServices: ours},
			change:   Change{Action: Apply, Object: heldRule("app", "v2", "v3")},
		},
		"a route": {existing: Objects{VirtualServices: ours}, change: Change{Action: Apply, Object: heldRoute("demo", "app", "v1")}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := RepairsRoute(heldWorld(test.existing, test.foreign), test.change); got != test.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

// While one object is held, no other write may send requests nowhere.
func TestMustWait(t *testing.T) {
	gateway := func(hosts ...string) *networkingv1.Gateway {
		out := &networkingv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "app"}}
		out.Spec.Servers = []*networkingapi.Server{{Hosts: hosts, Port: &networkingapi.Port{Number: 80}}}
		return out
	}
	world := heldWorld(Objects{
		DestinationRules: []*networkingv1.DestinationRule{heldRule("app", "v1", "v2")},
		VirtualServices:  []*networkingv1.VirtualService{heldRoute("demo", "app", "v1")},
		Gateways:         []*networkingv1.Gateway{gateway("a.example.com", "b.example.com")},
	}, Objects{})
	ruleHeld := []Change{{Action: Apply, Object: heldRule("app", "v1", "v2", "v3")}}
	routeHeld := []Change{{Action: Apply, Object: heldRoute("demo", "app", "v2")}}
	for name, test := range map[string]struct {
		change Change
		held   []Change
		want   bool
	}{
		"a route that names a subset of the held rule":         {Change{Action: Apply, Object: heldRoute("demo", "app", "v3")}, ruleHeld, true},
		"a route that names a subset that is there":            {Change{Action: Apply, Object: heldRoute("demo", "app", "v2")}, ruleHeld, false},
		"a route that goes":                                    {Change{Action: Delete, Object: heldRoute("demo", "app", "v1")}, ruleHeld, false},
		"the same with nothing held":                           {Change{Action: Apply, Object: heldRoute("demo", "app", "v3")}, nil, false},
		"a rule without a subset that the current route names": {Change{Action: Apply, Object: heldRule("app", "v2")}, routeHeld, true},
		"a rule without another subset":                        {Change{Action: Apply, Object: heldRule("app", "v1")}, routeHeld, false},
		"a rule that goes":                                     {Change{Action: Delete, Object: heldRule("app", "v1", "v2")}, routeHeld, true},
		"a rule with nothing held":                             {Change{Action: Apply, Object: heldRule("app", "v2")}, nil, false},
		"a Gateway with fewer hosts":                           {Change{Action: Apply, Object: gateway("a.example.com")}, routeHeld, true},
		"a Gateway with more hosts":                            {Change{Action: Apply, Object: gateway("a.example.com", "b.example.com", "c.example.com")}, routeHeld, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := MustWait(world, test.change, test.held); got != test.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

func TestFingerprint(t *testing.T) {
	is := heldRule("app", "v1")
	digest := Fingerprint(is)
	tuned := heldRule("app", "v1")
	tuned.Spec.TrafficPolicy = &networkingapi.TrafficPolicy{Tls: &networkingapi.ClientTLSSettings{Mode: networkingapi.ClientTLSSettings_DISABLE}}
	tuned.Labels, tuned.Annotations["example.com/team"], tuned.ResourceVersion = map[string]string{"example.com/team": "theirs"}, "theirs", "7"
	if Fingerprint(tuned) != digest {
		t.Error("what belongs to others counts")
	}
	for name, change := range map[string]func(*networkingv1.DestinationRule){
		"a subset":  func(r *networkingv1.DestinationRule) { r.Spec.Subsets = nil },
		"a record":  func(r *networkingv1.DestinationRule) { r.Annotations[api.AnnotationRecord] = "theirs" },
		"our label": func(r *networkingv1.DestinationRule) { r.Labels = map[string]string{api.LabelManagedBy: "theirs"} },
		"the policy that we put": func(r *networkingv1.DestinationRule) {
			r.Annotations[api.AnnotationInherited] = "x"
			r.Spec.TrafficPolicy = tuned.Spec.TrafficPolicy
		},
	} {
		changed := heldRule("app", "v1")
		change(changed)
		if Fingerprint(changed) == digest {
			t.Errorf("%s does not count", name)
		}
	}
	if lone := heldRoute("demo", "app", "v1"); true {
		digest := Fingerprint(lone)
		lone.Spec.Http[0].Route[0].Weight = 100
		if Fingerprint(lone) != digest {
			t.Error("the weight of a lone destination counts")
		}
	}
	if Fingerprint(nil) != "" {
		t.Error("nothing has a digest")
	}
}
