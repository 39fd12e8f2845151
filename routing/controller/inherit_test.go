// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"testing"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func policyOf(n int32) *networkingapi.TrafficPolicy {
	return &networkingapi.TrafficPolicy{ConnectionPool: &networkingapi.ConnectionPoolSettings{
		Tcp:  &networkingapi.ConnectionPoolSettings_TCPSettings{MaxConnections: n},
		Http: &networkingapi.ConnectionPoolSettings_HTTPSettings{Http1MaxPendingRequests: 5},
	}}
}

// A policy that we copied follows its source and goes with it, whoever wrote what by which kind of write; once
// somebody else has a hand in it, it is theirs, whole.
func TestAnInheritedPolicyIsOursOnlyAsLongAsNobodyElseWritesIt(t *testing.T) {
	s := newStage(t, nil)
	wide := &networkingv1.DestinationRule{ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: "mesh"}}
	wide.Spec.Host, wide.Spec.TrafficPolicy = "*.local", policyOf(9)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.writer.Create(t.Context(), wide))
	limits := func(what string, tcp, http int32) {
		t.Helper()
		s.settle()
		pool := s.rule().Spec.GetTrafficPolicy().GetConnectionPool()
		if pool.GetTcp().GetMaxConnections() != tcp || pool.GetHttp().GetHttp1MaxPendingRequests() != http {
			t.Errorf("%s: %v, want %d and %d", what, pool, tcp, http)
		}
	}
	limits("at first", 9, 5)
	must(s.writer.Delete(t.Context(), wide))
	limits("without it, after a create", 0, 0)
	wide.ResourceVersion = ""
	must(s.writer.Create(t.Context(), wide))
	limits("again", 9, 5)
	wide.Spec.TrafficPolicy = policyOf(8)
	must(s.writer.Update(t.Context(), wide))
	limits("changed", 8, 5)
	must(s.writer.Delete(t.Context(), wide))
	limits("without it, after an apply", 0, 0)
	wide.ResourceVersion = ""
	must(s.writer.Create(t.Context(), wide))
	limits("once more", 8, 5)
	bare := s.rule()
	bare.Annotations = nil // as Kiali saves it
	must(s.writer.Update(t.Context(), bare, client.FieldOwner("kiali")))
	wide.Spec.TrafficPolicy = policyOf(6)
	must(s.writer.Update(t.Context(), wide))
	limits("without annotations", 6, 5)

	mine := s.rule()
	mine.Spec.TrafficPolicy.ConnectionPool.Tcp.MaxConnections = 7
	must(s.writer.Update(t.Context(), mine, client.FieldOwner("kubectl")))
	limits("edited", 7, 5)
	must(s.writer.Delete(t.Context(), wide))
	limits("edited, without its source", 7, 5)
	s.annotate(map[string]string{"outrigger.dev/default-version": "v2"})
	limits("edited, when something else is written", 7, 5)
}

func (s *stage) rule() *networkingv1.DestinationRule {
	s.t.Helper()
	rule := &networkingv1.DestinationRule{}
	if err := s.sources.reader.Get(s.t.Context(), service.NamespacedName, rule); err != nil {
		s.t.Fatal(err)
	}
	return rule
}
