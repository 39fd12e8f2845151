// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// A stranger keeps writing what is its own to the objects that Outrigger keeps, and each write of Outrigger's meets one of
// the stranger's between look and store. The same writes follow each other as where nobody else writes, the end is the same,
// and nothing that the stranger wrote is ever lost.
func TestConflictingWritersInTransitions(t *testing.T) {
	needIstio(t)
	want := undisturbedTransitions(t)
	since := noted(t)
	var theirs *stranger
	got := transitionsIn(t, func(ns string) {
		if theirs == nil {
			theirs = startStranger(t, ns)
		}
	})
	struck := theirs.stop(t)
	if diff := gocmp.Diff(want, got.settled(t)); diff != "" {
		t.Errorf("writes (-alone +beside a stranger):\n%s", diff)
	}
	theirs.wantKept(t, got)

	conflicts := 0
	for _, r := range requests(t, asker{namespace: outriggerNamespace, account: outriggerName}, since) {
		if r.namespace == got.ns && r.verb == "patch" && r.status == http.StatusConflict {
			conflicts++
		}
	}
	t.Logf("the stranger wrote %d times, %d of them within a write of Outrigger's; %d of Outrigger's writes met a conflict", theirs.rounds, struck, conflicts)
	if struck < len(transitions) || conflicts < struck {
		t.Errorf("the stranger struck within %d writes, and %d met a conflict: want one in each of %d transitions, and a conflict for each", struck, conflicts, len(transitions))
	}
}

// stranger is another client, which writes labels, annotations and traffic policies to the objects of a namespace.
type stranger struct {
	ns   string
	ends chan struct{}
	done sync.WaitGroup

	mu     sync.Mutex // held through each write, so that rounds are in the order of the writes
	rounds int
	last   map[string]int  // round of the last write, by kind and name of the object
	tried  map[string]bool // whose next write of Outrigger's is let through
	struck int
	err    error
}

// Of what a stranger writes, the round says which of its writes an object has seen.
const (
	strangersLabel = "example.com/team"
	strangersRound = "example.com/round"
)

// startStranger lets a stranger write to all DestinationRules and VirtualServices that are in a namespace now, until it is
// stopped.
func startStranger(t *testing.T, ns string) *stranger {
	t.Helper()
	s := &stranger{ns: ns, ends: make(chan struct{}), last: map[string]int{}, tried: map[string]bool{}}
	interpose(t, ns, func(r *admissionv1.AdmissionRequest) {
		if r.Operation == admissionv1.Update {
			s.strike(r.Kind.Kind, r.Name)
		}
	})
	var objects []client.Object
	rules, routes := &networkingv1.DestinationRuleList{}, &networkingv1.VirtualServiceList{}
	if err := errors.Join(kube.List(t.Context(), rules, client.InNamespace(ns)), kube.List(t.Context(), routes, client.InNamespace(ns))); err != nil {
		t.Fatal(err)
	}
	for _, rule := range rules.Items {
		objects = append(objects, rule)
	}
	for _, route := range routes.Items {
		objects = append(objects, route)
	}
	if len(objects) == 0 {
		t.Fatal("the stranger found nothing to write to")
	}
	s.done.Go(func() {
		for {
			for _, object := range objects {
				s.mu.Lock()
				s.write(kindOf(object), object.GetName())
				s.mu.Unlock()
			}
			select {
			case <-s.ends:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	t.Cleanup(s.end)
	return s
}

// strike writes within a write of Outrigger's, but for the one with which Outrigger tries again.
func (s *stranger) strike(kind, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	object := kind + " " + name
	if s.tried[object] = !s.tried[object]; s.tried[object] {
		s.struck++
		s.write(kind, name)
	}
}

func (s *stranger) write(kind, name string) {
	s.rounds++
	text := fmt.Sprintf(`{"metadata": {"labels": {%q: "theirs"}, "annotations": {%q: "%d"}}}`, strangersLabel, strangersRound, s.rounds)
	var object client.Object = &networkingv1.VirtualService{}
	if kind == "DestinationRule" {
		object = &networkingv1.DestinationRule{}
		text = strings.TrimSuffix(text, "}") + fmt.Sprintf(`, "spec": {"trafficPolicy": {"connectionPool": {"tcp": {"maxConnections": %d}}}}}`, s.rounds)
	}
	object.SetNamespace(s.ns)
	object.SetName(name)
	if err := kube.Patch(context.Background(), object, client.RawPatch(types.MergePatchType, []byte(text))); err != nil {
		s.err = errors.Join(s.err, fmt.Errorf("round %d, %s %s: %w", s.rounds, kind, name, err))
		return
	}
	s.last[kind+" "+name] = s.rounds
}

func (s *stranger) end() {
	select {
	case <-s.ends:
	default:
		close(s.ends)
	}
	s.done.Wait()
}

// stop ends the writes, and returns within how many of Outrigger's there was one.
func (s *stranger) stop(t *testing.T) (struck int) {
	t.Helper()
	s.end()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		t.Errorf("the stranger could not write: %v", s.err)
	}
	return s.struck
}

// wantKept holds that no write ever took back what the stranger had written before it, and that all of it is there.
func (s *stranger) wantKept(t *testing.T, seen *writes) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	rounds := map[string]int{}
	for _, one := range seen.inOrder() {
		round, err := roundOf(one.is)
		if err != nil {
			t.Errorf("%s at resourceVersion %d: %v", one.object, one.version, err)
		}
		if round < rounds[one.object] {
			t.Errorf("%s at resourceVersion %d has the stranger's round %d, and had %d before", one.object, one.version, round, rounds[one.object])
		}
		rounds[one.object] = round
	}
	if diff := gocmp.Diff(s.last, rounds); diff != "" {
		t.Errorf("the stranger's last writes (-written +there):\n%s", diff)
	}
}

// roundOf returns the stranger's write that an object shows, 0 before the first; an error if it shows half of it.
func roundOf(object client.Object) (int, error) {
	text, there := object.GetAnnotations()[strangersRound]
	if _, labeled := object.GetLabels()[strangersLabel]; labeled != there {
		return 0, fmt.Errorf("the stranger's annotation is there: %t, its label: %t", there, labeled)
	}
	if !there {
		return 0, nil
	}
	round, err := strconv.Atoi(text)
	if err != nil {
		return 0, err
	}
	if rule, is := object.(*networkingv1.DestinationRule); is {
		if most := rule.Spec.GetTrafficPolicy().GetConnectionPool().GetTcp().GetMaxConnections(); int(most) != round {
			return round, fmt.Errorf("the stranger's trafficPolicy allows %d connections, in round %d", most, round)
		}
	}
	return round, nil
}

func kindOf(object client.Object) string {
	if _, is := object.(*networkingv1.DestinationRule); is {
		return "DestinationRule"
	}
	return "VirtualService"
}

// interpose has do called for every write of Outrigger's to DestinationRules and VirtualServices of a namespace that creates
// or updates: when Outrigger has looked and the API server has not stored yet. It returns once the API server asks.
func interpose(t *testing.T, ns string, do func(*admissionv1.AdmissionRequest)) {
	t.Helper()
	var heard atomic.Int32
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		review := &admissionv1.AdmissionReview{}
		if err := json.NewDecoder(r.Body).Decode(review); err != nil || review.Request == nil {
			http.Error(w, fmt.Sprintf("no review: %v", err), http.StatusBadRequest)
			return
		}
		heard.Add(1)
		if review.Request.UserInfo.Username == userOf(outriggerNamespace, outriggerName) {
			do(review.Request)
		}
		review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
		_ = json.NewEncoder(w).Encode(review)
	}))
	t.Cleanup(server.Close)
	fail, none, seconds := admissionregistrationv1.Fail, admissionregistrationv1.SideEffectClassNoneOnDryRun, int32(30)
	hook := &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "e2e-interpose-" + ns},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "interpose.e2e.outrigger.dev", FailurePolicy: &fail, SideEffects: &none, TimeoutSeconds: &seconds, AdmissionReviewVersions: []string{"v1"},
			ClientConfig: admissionregistrationv1.WebhookClientConfig{
				URL:      &server.URL,
				CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
			},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": ns}},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
				Rule: admissionregistrationv1.Rule{
					APIGroups: []string{networkingv1.GroupName}, APIVersions: []string{"*"}, Resources: []string{"destinationrules", "virtualservices"},
				},
			}},
		}},
	}
	if err := kube.Create(t.Context(), hook); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = kube.Delete(context.Background(), hook) })
	eventually(t, "the API server asks what was interposed", func() error {
		if err := kube.Create(t.Context(), foreignRoute(ns, "probe", "probe.example.com"), client.DryRunAll); err != nil {
			return err
		}
		if heard.Load() == 0 {
			return errors.New("it has not asked yet")
		}
		return nil
	})
}

// Where Outrigger is about to create an object, somebody creates one of the same name just before. Theirs is never written
// over, and Outrigger goes on as beside any object of somebody else's.
func TestAForeignObjectIsCreatedWhereOursWouldBe(t *testing.T) {
	needIstio(t)
	route := func(host string) func(ns string) client.Object {
		return func(ns string) client.Object { return foreignRoute(ns, "app", host) }
	}
	for _, test := range []struct {
		what  string
		make  func(ns string) client.Object
		after func(t *testing.T, ns string)
		gone  func(t *testing.T, ns string) // once theirs is; nil if that changes nothing
	}{
		{"a route for another host", route("elsewhere.example.com"), func(t *testing.T, ns string) {
			wantRoutes(t, ns, "app-auto", "v1=100")
			apply(t, ns, fixed("app-v2", "app", "v2"))
			annotate(t, ns, "app", "outrigger.dev/weights=v1=50,v2=50")
			wantRoutes(t, ns, "app-auto", "v1=50 v2=50")
		}, nil},
		{"a route for the same host", route("app"), func(t *testing.T, ns string) {
			wantEvent(t, ns, "app", "RouteConflict")
			apply(t, ns, fixed("app-v2", "app", "v2"))
			wantSubsets(t, ns, "app", "v1 v2")
			if _, err := virtualService(ns, "app-auto"); !apierrors.IsNotFound(err) {
				t.Errorf("a second route for the host was made: %v", err)
			}
		}, func(t *testing.T, ns string) { wantRoutes(t, ns, "app", "v1=100") }},
		{"a rule for another host", func(ns string) client.Object {
			rule := &networkingv1.DestinationRule{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "app"}}
			rule.Spec.Host = "elsewhere.example.com"
			return rule
		}, func(t *testing.T, ns string) {
			wantRoutes(t, ns, "app", "v1=100")
			apply(t, ns, fixed("app-v2", "app", "v2"))
			wantSubsets(t, ns, "app-auto", "v1 v2")
		}, nil},
	} {
		t.Run(test.what, func(t *testing.T) {
			ns, since := namespace(t, "outrigger.dev/routing=enabled"), noted(t)
			theirs := test.make(ns)
			kind, name := kindOf(theirs), theirs.GetName()
			created := make(chan error, 1)
			var once sync.Once
			interpose(t, ns, func(r *admissionv1.AdmissionRequest) {
				if r.Operation == admissionv1.Create && r.Kind.Kind == kind && r.Name == name {
					once.Do(func() { created <- kube.Create(context.Background(), theirs) })
				}
			})
			apply(t, ns, service("app")+fixed("app-v1", "app", "v1"))
			select {
			case err := <-created:
				if err != nil {
					t.Fatal(err)
				}
			case <-time.After(patience):
				t.Fatalf("Outrigger created no %s", kind)
			}
			func() {
				defer wantUntouched(t, theirs) // also where what follows does not come
				test.after(t, ns)
			}()
			late := 0
			for _, r := range requests(t, asker{namespace: outriggerNamespace, account: outriggerName}, since) {
				if r.namespace == ns && r.verb == "create" && r.status == http.StatusConflict {
					late++
				}
			}
			if late == 0 {
				t.Error("no create of Outrigger's came too late: there was no race")
			}
			if test.gone != nil {
				if err := kube.Delete(t.Context(), theirs); err != nil {
					t.Fatal(err)
				}
				test.gone(t, ns)
			}
		})
	}
}

// wantUntouched holds that an object is as it was when it was created.
func wantUntouched(t *testing.T, created client.Object) {
	t.Helper()
	is := created.DeepCopyObject().(client.Object)
	if err := kube.Get(t.Context(), client.ObjectKeyFromObject(created), is); err != nil {
		t.Error(err)
	} else if is.GetUID() != created.GetUID() || is.GetResourceVersion() != created.GetResourceVersion() {
		t.Errorf("theirs was written: %v, was %v", is, created)
	}
}

// foreignRoute is a VirtualService of somebody else's, which leads a host to all pods of it.
func foreignRoute(ns, name, host string) *networkingv1.VirtualService {
	return &networkingv1.VirtualService{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name},
		Spec: networking.VirtualService{
			Hosts: []string{host},
			Http:  []*networking.HTTPRoute{{Route: []*networking.HTTPRouteDestination{{Destination: &networking.Destination{Host: host}}}}},
		},
	}
}
