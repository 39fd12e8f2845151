// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"testing"
	"time"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
)

func connections(n int32) *networkingapi.TrafficPolicy {
	if n == 0 {
		return nil
	}
	return &networkingapi.TrafficPolicy{ConnectionPool: &networkingapi.ConnectionPoolSettings{Tcp: &networkingapi.ConnectionPoolSettings_TCPSettings{MaxConnections: n}}}
}

func wideRule(namespace, name, host string, n int32, exportTo ...string) *networkingv1.DestinationRule {
	return &networkingv1.DestinationRule{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, CreationTimestamp: metav1.NewTime(time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC))},
		Spec:       networkingapi.DestinationRule{Host: host, TrafficPolicy: connections(n), ExportTo: exportTo},
	}
}

// limit is the number of connections that our DestinationRule allows, 0 if it has no policy.
func (c *cluster) limit() int32 {
	return c.existing.DestinationRules[0].Spec.GetTrafficPolicy().GetConnectionPool().GetTcp().GetMaxConnections()
}

func (c *cluster) limits(want int32) {
	c.t.Helper()
	c.settle()
	if got := c.limit(); got != want {
		c.t.Errorf("%v: our policy is %d, want %d", c.now, got, want)
	}
}

func TestPolicyIsInheritedAndKeptInStep(t *testing.T) {
	c := newCluster(t)
	wide := wideRule("istio-system", "mesh", "*.local", 99)
	c.foreign.DestinationRules = []*networkingv1.DestinationRule{wide}
	c.fixed("app-v1", "v1", 1)
	c.ready()
	c.advance(time.Minute)
	c.limits(99)
	c.tells(api.RoutePolicyInherited)
	c.wrote(createRule, createRoute) // with the first write: it was never without
	wide.Spec.TrafficPolicy = connections(98)
	c.limits(98)
	c.wrote(applyRule)
	// A nearer one takes over, and gives back.
	c.foreign.DestinationRules = append(c.foreign.DestinationRules, wideRule("demo", "near", "*.demo.svc.cluster.local", 33))
	c.limits(33)
	c.foreign.DestinationRules = c.foreign.DestinationRules[:1]
	c.limits(98)
	c.annotate("inherit-policy=false")
	c.limits(0)
	c.tells()
	c.annotate("inherit-policy-")
	c.limits(98)
	// Somebody takes it away: it is copied again.
	c.existing.DestinationRules[0].Spec.TrafficPolicy = nil
	c.limits(98)
	c.advance(time.Hour)
	// On the way out it stays to the end.
	c.service.Labels[api.LabelRouting] = "disabled"
	c.limits(98)
	c.advance(time.Hour)
	c.has("", "none")
	delete(c.service.Labels, api.LabelRouting)
	c.advance(time.Minute)
	c.foreign.DestinationRules = nil
	c.limits(0)
	c.tells()
}

func TestAPolicyOfTheUsersIsNeverWrittenOver(t *testing.T) {
	t.Run("that was there before", func(t *testing.T) {
		c := twoVersions(t)
		c.existing.DestinationRules[0].Spec.TrafficPolicy = connections(7)
		c.foreign.DestinationRules = []*networkingv1.DestinationRule{wideRule("istio-system", "mesh", "*.local", 99)}
		c.limits(7)
		c.wrote()
		c.tells()
		c.existing.DestinationRules[0].Spec.TrafficPolicy = nil
		c.limits(99)
	})
	t.Run("that is made of ours", func(t *testing.T) {
		c := twoVersions(t)
		wide := wideRule("istio-system", "mesh", "*.local", 99)
		c.foreign.DestinationRules = []*networkingv1.DestinationRule{wide}
		c.limits(99)
		c.existing.DestinationRules[0].Spec.TrafficPolicy = connections(7)
		c.limits(7)
		wide.Spec.TrafficPolicy = connections(98)
		c.limits(7)
		c.fixed("app-v3", "v3", 1)
		c.advance(time.Hour)
		c.has("v1 v2 v3", "v1")
		c.limits(7)
		c.foreign.DestinationRules = nil
		c.annotate("inherit-policy=false")
		c.limits(7)
		c.tells()
		// Made the same again, it is followed again.
		c.annotate("inherit-policy-")
		c.foreign.DestinationRules = []*networkingv1.DestinationRule{wide}
		c.existing.DestinationRules[0].Spec.TrafficPolicy = connections(98)
		c.limits(98)
		wide.Spec.TrafficPolicy = connections(97)
		c.limits(97)
	})
	t.Run("but what only its hash makes another is ours", func(t *testing.T) {
		c := twoVersions(t)
		wide := wideRule("istio-system", "mesh", "*.local", 99)
		c.foreign.DestinationRules = []*networkingv1.DestinationRule{wide}
		c.limits(99)
		c.existing.DestinationRules[0].Annotations[api.AnnotationInherited] = "istio-system/mesh 00000000"
		c.limits(99)
		wide.Spec.TrafficPolicy = connections(98)
		c.limits(98)
	})
	t.Run("that somebody else applies as well", func(t *testing.T) {
		c := twoVersions(t)
		wide := wideRule("istio-system", "mesh", "*.local", 99)
		c.foreign.DestinationRules = []*networkingv1.DestinationRule{wide}
		c.limits(99)
		c.existing.DestinationRules[0].ManagedFields = []metav1.ManagedFieldsEntry{
			{Manager: api.FieldManager, FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:trafficPolicy":{}}}`)},
			{Manager: "argocd", FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:trafficPolicy":{}}}`)},
		}
		wide.Spec.TrafficPolicy = connections(98)
		c.limits(99)
	})
}

func TestWhichPolicyIsInherited(t *testing.T) {
	old := func(rule *networkingv1.DestinationRule) *networkingv1.DestinationRule {
		rule.CreationTimestamp = metav1.NewTime(time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC))
		return rule
	}
	for i, test := range []struct {
		rules []*networkingv1.DestinationRule
		want  int32
	}{
		{[]*networkingv1.DestinationRule{wideRule("demo", "a", "*", 1), wideRule("demo", "b", "*.cluster.local", 2), wideRule("demo", "c", "*.local", 3)}, 2},
		{[]*networkingv1.DestinationRule{wideRule("istio-system", "a", "*.demo.svc.cluster.local", 1), wideRule("demo", "b", "*", 2)}, 2},
		{[]*networkingv1.DestinationRule{wideRule("istio-system", "a", "app.demo.svc.cluster.local", 1), wideRule("istio-system", "b", "*.demo.svc.cluster.local", 2)}, 1},
		{[]*networkingv1.DestinationRule{wideRule("istio-system", "a", "*.local", 1, ".")}, 0},
		{[]*networkingv1.DestinationRule{wideRule("istio-system", "a", "*.local", 1, "other")}, 0},
		{[]*networkingv1.DestinationRule{wideRule("istio-system", "a", "*.local", 1, "demo", "other")}, 1},
		{[]*networkingv1.DestinationRule{wideRule("demo", "a", "*.local", 1, ".")}, 1},
		{[]*networkingv1.DestinationRule{wideRule("other", "a", "*.local", 1)}, 0},
		{[]*networkingv1.DestinationRule{wideRule("demo", "a", "*.local", 0), wideRule("istio-system", "b", "*.local", 2)}, 0}, // Istio stops there
		{[]*networkingv1.DestinationRule{wideRule("demo", "a", "*.local", 1), old(wideRule("demo", "b", "*.local", 2))}, 2},
		{[]*networkingv1.DestinationRule{wideRule("demo", "a", "*.local", 1), old(wideRule("demo", "b", "*.local", 0))}, 1},
		{[]*networkingv1.DestinationRule{wideRule("demo", "a", "*.local", 1), wideRule("demo", "b", "app", 0)}, 0}, // merged with ours
		{[]*networkingv1.DestinationRule{wideRule("demo", "a", "*.other.svc.cluster.local", 1)}, 0},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			c := twoVersions(t)
			c.foreign.DestinationRules = test.rules
			c.limits(test.want)
		})
	}
}

func TestWideRulesOfCallersAreToldOnce(t *testing.T) {
	c := twoVersions(t)
	for i := range 9 {
		c.foreign.DestinationRules = append(c.foreign.DestinationRules, wideRule(fmt.Sprint("callers-", i), "all", "*.local", 1))
	}
	c.tells(api.RouteShadowedInNamespaces)
	if len(c.problems) != 1 {
		t.Errorf("told %d times", len(c.problems))
	}
}
