// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

var (
	refusedKind     = schema.GroupKind{Group: networkingv1.GroupName, Kind: "VirtualService"}
	refusedResource = schema.GroupResource{Group: networkingv1.GroupName, Resource: "virtualservices"}
)

// answers are what the API server may say to a write, and whether it is of no use to repeat it.
var answers = map[string]struct {
	err     error
	refused bool
	advice  string
}{
	"invalid":                 {apierrors.NewInvalid(refusedKind, "app0", nil), true, "annotations"},
	"denied by a policy":      {apierrors.NewForbidden(refusedResource, "app0", errors.New("ValidatingAdmissionPolicy 'no-routes' denied request")), true, "policy"},
	"no permission":           {apierrors.NewForbidden(refusedResource, "app0", errors.New(`the account "outrigger" cannot create resource "virtualservices"`)), true, "Grant"},
	"denied by a webhook":     {apierrors.NewBadRequest(`admission webhook "validation.istio.io" denied the request: no`), true, "policy"},
	"too large":               {apierrors.NewRequestEntityTooLargeError("limit is 3145728"), true, "Shorten"},
	"too large for etcd":      {apierrors.NewInternalError(errors.New("etcdserver: request is too large")), true, "Shorten"},
	"too large for a message": {apierrors.NewInternalError(errors.New("trying to send message larger than max (2097153 vs. 2097152)")), true, "Shorten"},
	"unauthorized":            {apierrors.NewUnauthorized("token expired"), false, ""},
	"conflict":                {apierrors.NewConflict(refusedResource, "app0", errors.New("changed")), false, ""},
	"too many requests":       {apierrors.NewTooManyRequests("later", 1), false, ""},
	"timeout":                 {apierrors.NewTimeoutError("slow", 1), false, ""},
	"request timeout":         {&apierrors.StatusError{ErrStatus: metav1.Status{Code: http.StatusRequestTimeout}}, false, ""},
	"a webhook that is away":  {apierrors.NewInternalError(errors.New("failed calling webhook: connection refused")), false, ""},
	"unavailable":             {apierrors.NewServiceUnavailable("starting"), false, ""},
	"no connection":           {errAway, false, ""},
}

// What the API server rejects is a Problem with one Event, is not tried again at once, and keeps nothing else from being
// written; anything else is retried.
func TestRefusedWritesAreProblems(t *testing.T) {
	for what, answer := range answers {
		t.Run(what, func(t *testing.T) {
			f := newFleet(t)
			f.services = f.services[:1]
			recorder := events.NewFakeRecorder(1000)
			f.reporter.recorder = recorder
			tries := 0
			f.before = func(_ string, o client.Object) error {
				if o.GetObjectKind().GroupVersionKind().Kind != "VirtualService" {
					return nil
				}
				tries++
				return answer.err
			}
			f.deploy("v1", "v1", true, "a", 2)
			f.seePods()
			request := reconcile.Request{NamespacedName: f.services[0]}
			var last reconcile.Result
			var err error
			for range 40 {
				f.now = f.now.Add(time.Second)
				last, err = f.Reconcile(context.Background(), request)
			}
			if tries == 0 {
				t.Fatal("nothing was tried")
			}
			if !answer.refused {
				if err == nil && (last.RequeueAfter == 0 || last.RequeueAfter > time.Second) {
					t.Errorf("it is not retried: %+v", last)
				}
				return
			}
			if err != nil || last.RequeueAfter < time.Minute || last.RequeueAfter > refusedAgain {
				t.Errorf("after a refusal: %+v, %v", last, err)
			}
			var rules networkingv1.DestinationRuleList
			f.must(f.cluster.List(context.Background(), &rules))
			if len(rules.Items) != 1 {
				t.Errorf("%d DestinationRules", len(rules.Items))
			}
			told := 0
			for range len(recorder.Events) {
				if event := <-recorder.Events; strings.Contains(event, string(api.RouteWriteRefused)) {
					told++
					if !strings.HasPrefix(event, "Warning") || !strings.Contains(event, answer.advice) || !strings.Contains(event, "VirtualService demo/app0") {
						t.Error(event)
					}
				}
			}
			if told != 1 {
				t.Errorf("%d Events", told)
			}
			f.before = nil
			f.settle()
			if f.specs(); !strings.Contains(f.specs(), "VirtualService app0") {
				t.Errorf("once it is accepted: %s", f.specs())
			}
		})
	}
}

// noRouteWithoutGateway fails the test where a route is bound to a Gateway that does not exist.
func (f *fleet) noRouteWithoutGateway(verb string) {
	f.t.Helper()
	var gateways networkingv1.GatewayList
	var routes networkingv1.VirtualServiceList
	f.must(f.cluster.List(context.Background(), &gateways))
	f.must(f.cluster.List(context.Background(), &routes))
	existing := map[string]bool{"mesh": true}
	for _, gateway := range gateways.Items {
		existing[gateway.Name], existing[gateway.Namespace+"/"+gateway.Name] = true, true
	}
	for _, vs := range routes.Items {
		for _, gateway := range vs.Spec.Gateways {
			if !existing[gateway] {
				f.t.Errorf("after a %s, VirtualService %s is bound to Gateway %s, which does not exist", verb, vs.Name, gateway)
			}
		}
	}
}

// exposedElsewhere are steps after "expose" in the journey: the route moves to an existing Gateway and back to ours.
var exposedElsewhere = []step{
	{"expose by an existing Gateway", func(f *fleet) {
		f.annotate(map[string]string{api.AnnotationDefaultVersion: "v2", api.AnnotationExpose: "true", api.AnnotationHosts: "app.example.com", api.AnnotationGateway: "demo/shared"})
	}},
	{"expose by our Gateway again", func(f *fleet) {
		f.annotate(map[string]string{api.AnnotationDefaultVersion: "v2", api.AnnotationExpose: "true", api.AnnotationHosts: "app.example.com"})
	}},
}

// While a write is rejected, writes that the old object does not allow, and those that need the new one, wait. All are made once
// it is accepted.
func TestRefusedWritesHoldRemovalsBack(t *testing.T) {
	exposed := 1 + slices.IndexFunc(journey, func(s step) bool { return s.what == "expose" })
	steps := slices.Concat(journey[:exposed], exposedElsewhere, journey[exposed:])
	for kind, verbs := range map[string][]string{ // the writes of each that the steps need
		"VirtualService": {"create", "patch", "delete"}, "DestinationRule": {"patch"}, "Gateway": {"create", "delete"},
	} {
		f := newFleet(t)
		f.services = f.services[:1]
		f.options.Settings.GatewayPorts = []string{"80"} // no gateway runs here
		shared := &networkingv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "shared"}}
		shared.Spec.Selector = map[string]string{"istio": "shared"}
		shared.Spec.Servers = []*networkingapi.Server{{Port: &networkingapi.Port{Number: 80, Name: "http", Protocol: "HTTP"}, Hosts: []string{"app.example.com"}}}
		f.create(shared)
		settled := f.specs()
		f.after = func(verb string, _ client.Object) error {
			f.noRouteWithoutSubset(verb)
			f.noRouteWithoutGateway(verb)
			return nil
		}
		f.deploy("v1", "v1", true, "a", 2)
		f.settle()
		refusals := map[string]int{}
		for _, step := range steps {
			step.do(f)
			f.before = func(verb string, o client.Object) error {
				if o.GetObjectKind().GroupVersionKind().Kind != kind {
					return nil
				}
				refusals[verb]++
				return apierrors.NewForbidden(refusedResource, o.GetName(), errors.New("denied"))
			}
			f.seePods()
			for range 30 {
				f.now = f.now.Add(3 * time.Second)
				if _, err := f.Reconcile(context.Background(), reconcile.Request{NamespacedName: f.services[0]}); err != nil {
					t.Errorf("%s, %s: %v", kind, step.what, err)
				}
			}
			f.before = nil
			f.settle()
			if specs := f.specs(); strings.HasPrefix(step.what, "expose by") && !strings.Contains(specs, `gateways:"demo/`) {
				t.Errorf("%s, %s: nothing is bound to a Gateway: %s", kind, step.what, specs)
			}
		}
		for _, verb := range verbs {
			if refusals[verb] == 0 {
				t.Errorf("%s: no %s was refused", kind, verb)
			}
		}
		if specs := f.specs(); specs != settled {
			t.Errorf("%s: in the end %s", kind, specs)
		}
	}
}

// Within one plan, too: what an object in its old form may need stays while its change is refused.
func TestARefusedRouteKeepsWhatItNeeds(t *testing.T) {
	f := newFleet(t)
	f.services = f.services[:1]
	f.deploy("v1", "v1", true, "a", 2)
	f.deploy("v2", "v2", true, "b", 2)
	f.settle()
	observed, _, err := f.gather(context.Background(), f.services[0])
	f.must(err)
	route, rule := observed.Existing.VirtualServices[0].DeepCopy(), observed.Existing.DestinationRules[0].DeepCopy()
	route.Spec.Http[0].Route[0].Destination.Subset = "v2"
	rule.Spec.Subsets = rule.Spec.Subsets[1:]
	changes := routing.Diff(observed.Existing, routing.Objects{DestinationRules: []*networkingv1.DestinationRule{rule}, VirtualServices: []*networkingv1.VirtualService{route}})
	if len(changes) != 2 || changes[1].Object.GetName() != rule.Name || !changes[1].Removes {
		t.Fatalf("changes %+v", changes)
	}
	f.before = func(_ string, o client.Object) error {
		if o.GetObjectKind().GroupVersionKind().Kind == "VirtualService" {
			return apierrors.NewForbidden(refusedResource, o.GetName(), errors.New("denied"))
		}
		return nil
	}
	done, err := f.apply(context.Background(), observed, changes)
	if err != nil || done.again || len(done.problems) != 1 || done.problems[0].Reason != api.RouteWriteRefused {
		t.Errorf("%+v %v", done, err)
	}
	after := &networkingv1.DestinationRule{}
	f.must(f.cluster.Get(context.Background(), client.ObjectKeyFromObject(rule), after))
	if len(after.Spec.Subsets) != 2 {
		t.Errorf("subsets %v", after.Spec.Subsets)
	}
}
