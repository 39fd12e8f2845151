// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/routing"
)

func shifting(t *testing.T, service string, words ...string) diagnose.Request {
	t.Helper()
	d, err := shiftOf(service, words)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func promoting(t *testing.T, service, version string) diagnose.Request {
	t.Helper()
	d, err := promotionOf(service, version)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestShiftChangesTheAnnotationsAlone(t *testing.T) {
	s := shop(t)
	if err := s.applyDecision(context.Background(), shifting(t, "app", "v1=90", "v2=10"), s.writing(dryRunNone)); err != nil {
		t.Fatal(err)
	}
	want := `service/app: v1=100 -> v1=90 v2=10
    version v2: 9 of 10 pods ready
kubectl annotate service -n demo app outrigger.dev/decided-at=2026-01-02T12:00:00Z outrigger.dev/weights=v1=90,v2=10 --overwrite
service/app-internal selects the same pods: v1=100
    This does not change them. To change them too, add --all-services.
service/app annotated
`
	if diff := cmp.Diff(want, s.out.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"outrigger.dev/decided-at": "2026-01-02T12:00:00Z", "outrigger.dev/weights": "v1=90,v2=10"}, s.annotations("app")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := s.annotations("app-internal"); len(got) > 0 {
		t.Errorf("the other Service was annotated: %v", got)
	}
}

// If the API server would reject the change of one of several Services, none is written. If a write fails nevertheless, the error says which
// Services were written.
func TestPartialWritesOfSeveralServicesAreReported(t *testing.T) {
	for name, c := range map[string]struct {
		refusesDryRun bool
		want          string
		isWritten     bool
	}{
		"the dry run is refused": {true, "nothing was written: annotate service demo/app-internal: ", false},
		"the write is refused":   {false, "annotate service demo/app-internal: things is forbidden: <nil>; service/app was changed", true},
	} {
		t.Run(name, func(t *testing.T) {
			s := shop(t)
			s.through(interceptor.Funcs{Patch: func(ctx context.Context, with client.WithWatch, object client.Object, patch client.Patch, options ...client.PatchOption) error {
				set := client.PatchOptions{}
				if set.ApplyOptions(options); object.GetName() == "app-internal" && (c.refusesDryRun || len(set.DryRun) == 0) {
					return forbidden
				}
				return with.Patch(ctx, object, patch, options...)
			}})
			request := promoting(t, "app", "v2")
			request.AllServices = true
			err := s.applyDecision(t.Context(), request, s.writing(dryRunNone))
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
			if written := s.annotations("app"); (len(written) > 0) != c.isWritten || strings.Contains(s.out.String(), "app annotated") != c.isWritten {
				t.Errorf("%v:\n%s", written, s.out.String())
			}
		})
	}
}

func TestPromoteTakesTheWeightsAway(t *testing.T) {
	s := shop(t)
	if err := s.applyDecision(context.Background(), shifting(t, "app", "v1=90,v2=10"), s.writing(dryRunNone)); err != nil {
		t.Fatal(err)
	}
	s.reconcile("app", "app-internal")
	d := promoting(t, "app", "v2")
	d.AllServices = true
	if err := s.applyDecision(context.Background(), d, s.writing(dryRunNone)); err != nil {
		t.Fatal(err)
	}
	s.printed("service/app: v1=90 v2=10 -> v2=100\n", "removes outrigger.dev/weights (was v1=90,v2=10)\n", "service/app-internal: v1=100 -> v2=100\n",
		"outrigger.dev/default-version=v2 outrigger.dev/weights- --overwrite", "service/app-internal annotated\n")
	for name, decidedAt := range map[string]string{"app": "2026-01-02T12:00:01Z", "app-internal": "2026-01-02T12:00:00Z"} {
		if diff := cmp.Diff(map[string]string{"outrigger.dev/decided-at": decidedAt, "outrigger.dev/default-version": "v2"}, s.annotations(name)); diff != "" {
			t.Errorf("%s, -want +got:\n%s", name, diff)
		}
	}
}

func TestWhatMakesNoSenseIsRefusedAndWritesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		decision func(*testing.T) diagnose.Request
		want     string
	}{
		"an unknown version":  {func(t *testing.T) diagnose.Request { return shifting(t, "app", "v1=1", "v3=1") }, "service demo/app has no version v3; it has v1, v2. --pending writes the name anyway"},
		"an unknown default":  {func(t *testing.T) diagnose.Request { return promoting(t, "app", "v9") }, "has no version v9"},
		"an unknown Service":  {func(t *testing.T) diagnose.Request { return promoting(t, "ap", "v2") }, "namespace demo has no Service ap; it has app, app-internal, other"},
		"a Service of no pod": {func(t *testing.T) diagnose.Request { return promoting(t, "other", "v2") }, "none of its pods has the label version"},
	} {
		t.Run(name, func(t *testing.T) {
			s := shop(t)
			err := s.applyDecision(context.Background(), c.decision(t), s.writing(dryRunNone))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if got := s.annotations("app"); len(got) > 0 {
				t.Errorf("written: %v", got)
			}
		})
	}
}

func TestWordsThatDoNotParse(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"v1"}, `"v1" is not of the form VERSION=WEIGHT`},
		{[]string{"v1=ninety"}, "is not a whole number"},
		{[]string{"v1=-1"}, "is not a whole number"},
		{[]string{"v1=0", "v2=0"}, "all weights are 0"},
		{[]string{"v1=1", "v1=2"}, "version v1 is named twice"},
		{[]string{"v 1=1"}, "cannot be the value of a label"},
	} {
		if _, err := shiftOf("app", c.args); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.args, err, c.want)
		}
	}
	if _, err := promotionOf("app", "v2=10"); err == nil || !strings.Contains(err.Error(), "shift app v2=10") {
		t.Errorf("promote v2=10: %v", err)
	}
	if _, err := promotionOf("app", "@highest"); err != nil {
		t.Errorf("promote @highest: %v", err)
	}
}

func TestDryRunsWriteNothing(t *testing.T) {
	for mode, want := range map[string]string{dryRunClient: "service/app annotated (dry run)\n", dryRunServer: "service/app annotated (server dry run)\n"} {
		s := shop(t)
		if err := s.applyDecision(context.Background(), shifting(t, "app", "v2=1"), s.writing(mode)); err != nil {
			t.Fatal(err)
		}
		s.printed("service/app: v1=100 -> v2=100\n", want)
		if got := s.annotations("app"); len(got) > 0 {
			t.Errorf("--dry-run=%s has written %v", mode, got)
		}
	}
}

func TestAVersionThatIsToCome(t *testing.T) {
	s := shop(t)
	d := shifting(t, "app", "v1=50", "v3=50")
	d.AllowPending = true
	if err := s.applyDecision(context.Background(), d, s.writing(dryRunNone)); err != nil {
		t.Fatal(err)
	}
	s.printed("service/app: v1=100 -> v1=50 v3=50 when v3 has a ready pod\n", "version v3 has no pods; until some are ready, the current route is unchanged\n")
	s.reconcile("app")
	if why, err := s.pendingReason(context.Background(), []diagnose.Forecast{{Observed: s.look("app")}}); err != nil || !strings.Contains(why, "v3 (no pods)") {
		t.Errorf("%q, %v", why, err)
	}
}

func TestWaitSaysWhatItWaitsFor(t *testing.T) {
	s := shop(t)
	if err := s.applyDecision(context.Background(), shifting(t, "app", "v1=1", "v2=1"), s.writing(dryRunNone)); err != nil {
		t.Fatal(err)
	}
	forecasts := []diagnose.Forecast{{Observed: s.look("app")}}
	why, err := s.pendingReason(context.Background(), forecasts)
	if err != nil || !strings.Contains(why, "service/app: the current route is v1=100 and will be v1=50 v2=50; VirtualService app is not written yet. If this does not change, Outrigger is not running") {
		t.Errorf("%q, %v", why, err)
	}
	output := s.writing(dryRunNone)
	output.wait, output.timeout = true, time.Millisecond
	err = s.waitFor(context.Background(), output, func(ctx context.Context) (string, error) { return s.pendingReason(ctx, forecasts) })
	if err == nil || !strings.Contains(err.Error(), "written, but not applied within 1ms: service/app: the current route is v1=100") {
		t.Errorf("%v", err)
	}
	s.reconcile("app", "app-internal")
	if why, err := s.pendingReason(context.Background(), forecasts); err != nil || why != "" {
		t.Errorf("%q, %v", why, err)
	}
	s.config.Routing.PropagationDelay = 0
	output.timeout = time.Second
	if err := s.waitFor(context.Background(), output, func(ctx context.Context) (string, error) { return s.pendingReason(ctx, forecasts) }); err != nil {
		t.Error(err)
	}
	s.printed("applied (waited ")
}

func TestPromoteEndsASplit(t *testing.T) {
	objects := append(runningPods("app", "v1", 1, 1), runningPods("app", "v2", 1, 1)...)
	s := newLiveStage(t, append(objects, demo("istio-injection=enabled"), serviceOf("app", "app"))...)
	s.config.Routing.SplitAge = 0 // all of it is old
	s.reconcile("app")
	if err := s.applyDecision(context.Background(), promoting(t, "app", "v2"), s.writing(dryRunNone)); err != nil {
		t.Fatal(err)
	}
	s.printed("service/app: no route -> v2=100\n")
}

func TestWaitSaysThatNoRouteFollows(t *testing.T) {
	s := shop(t, byHand("theirs", "app"))
	why, err := s.pendingReason(context.Background(), []diagnose.Forecast{{Observed: s.look("app")}})
	if err != nil || !strings.Contains(why, "VirtualService demo/theirs routes every pod in the mesh, and Outrigger does not write it.") {
		t.Errorf("%q, %v", why, err)
	}
}

// While a VirtualService of the user keeps the gateway on another version, a decision is not applied, and it is named.
func TestWaitNamesTheVirtualServiceThatRoutesOtherwise(t *testing.T) {
	theirs := byHand("front", "*")
	theirs.Spec.Gateways = []string{"front"}
	theirs.Spec.Http = []*networkingapi.HTTPRoute{{Route: []*networkingapi.HTTPRouteDestination{{Destination: &networkingapi.Destination{Host: "app", Subset: "v1"}}}}}
	s := shop(t, theirs)
	if err := s.applyDecision(context.Background(), promoting(t, "app", "v2"), s.writing(dryRunNone)); err != nil {
		t.Fatal(err)
	}
	s.reconcile("app", "app-internal")
	forecasts := []diagnose.Forecast{{Observed: s.look("app")}}
	why, err := s.pendingReason(context.Background(), forecasts)
	if err != nil || !strings.Contains(why, "VirtualService demo/front routes v1=100 at gateway demo/front, and Outrigger does not write it.") ||
		!strings.Contains(why, "kubectl delete virtualservices.networking.istio.io -n demo front") {
		t.Errorf("%q, %v", why, err)
	}
	if err := s.client.Delete(context.Background(), theirs); err != nil {
		t.Fatal(err)
	}
	s.reconcile("app", "app-internal")
	if why, err := s.pendingReason(context.Background(), forecasts); err != nil || why != "" {
		t.Errorf("%q, %v", why, err)
	}
}

func (s *liveStage) namespaceLabels() map[string]string {
	s.t.Helper()
	namespace := &corev1.Namespace{}
	if err := s.client.Get(context.Background(), client.ObjectKey{Name: "demo"}, namespace); err != nil {
		s.t.Fatal(err)
	}
	return namespace.Labels
}

// A route that was edited by hand stays as it is, so a decision that it does not follow fails and writes nothing.
func TestShiftFailsWhereTheRouteWasEditedByHand(t *testing.T) {
	s := shop(t)
	s.editByHand("app")
	if report, err := s.status(t.Context(), false, "app"); err != nil || report.Namespaces[0].Services[0].State != diagnose.StateDetached {
		t.Errorf("status: %+v, %v", report, err)
	}
	for name, d := range map[string]diagnose.Request{"shift": shifting(t, "app", "v1=90", "v2=10"), "promote": promoting(t, "app", "v2")} {
		err := s.applyDecision(t.Context(), d, s.writing(dryRunNone))
		if err == nil || !strings.Contains(err.Error(), "nothing was written: VirtualService demo/app routes v1=100 in the mesh; it was edited by hand") ||
			!strings.Contains(err.Error(), "kubectl annotate service -n demo app outrigger.dev/drift=revert --overwrite") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := s.annotations("app"); len(got) > 0 {
		t.Errorf("written: %v", got)
	}
	// Of other Services over the same pods it is left alone, and named.
	d := shifting(t, "app-internal", "v1=90", "v2=10")
	d.AllServices = true
	if err := s.applyDecision(t.Context(), d, s.writing(dryRunNone)); err != nil {
		t.Fatal(err)
	}
	s.printed("service/app is skipped: VirtualService demo/app routes v1=100 in the mesh, and was edited by hand\n", "service/app-internal annotated\n")

	// The fix that the error names works.
	s.annotate("app", "outrigger.dev/drift=revert")
	if err := s.applyDecision(t.Context(), shifting(t, "app", "v1=90", "v2=10"), s.writing(dryRunNone)); err != nil {
		t.Fatal(err)
	}
	s.reconcile("app", "app-internal")
	if why, err := s.pendingReason(t.Context(), []diagnose.Forecast{{Observed: s.look("app")}}); err != nil || why != "" {
		t.Errorf("%q, %v", why, err)
	}
}

// editByHand adds a host to the VirtualService of a Service, as kubectl edit does.
func (s *liveStage) editByHand(name string) {
	s.t.Helper()
	vs := &networkingv1.VirtualService{}
	if err := s.client.Get(s.t.Context(), client.ObjectKey{Namespace: "demo", Name: name}, vs); err != nil {
		s.t.Fatal(err)
	}
	vs.Spec.Hosts = append(vs.Spec.Hosts, "app.example.com")
	if err := s.client.Update(s.t.Context(), vs); err != nil {
		s.t.Fatal(err)
	}
}

func TestADecisionThatChangesNothingIsNotWritten(t *testing.T) {
	s := shop(t)
	s.annotate("app", "outrigger.dev/weights=v1=90,v2=10", "outrigger.dev/decided-at=2026-01-01T00:00:00Z")
	s.reconcile("app", "app-internal")
	if err := s.applyDecision(t.Context(), shifting(t, "app", "v1=90", "v2=10"), s.writing(dryRunNone)); err != nil {
		t.Fatal(err)
	}
	s.printed("service/app: v1=90 v2=10 (unchanged)\n", "The annotations already have these values; nothing is written.\n")
	if got := s.annotations("app")["outrigger.dev/decided-at"]; got != "2026-01-01T00:00:00Z" || strings.Contains(s.out.String(), "annotated") {
		t.Errorf("decided-at=%s\n%s", got, s.out.String())
	}

	// The same annotations are a decision again where the route is another one.
	s.editShares("app", 50)
	if err := s.applyDecision(t.Context(), shifting(t, "app", "v1=90", "v2=10"), s.writing(dryRunNone)); err != nil {
		t.Fatal(err)
	}
	if got := s.annotations("app")["outrigger.dev/decided-at"]; got != "2026-01-02T12:00:00Z" {
		t.Errorf("decided-at=%s\n%s", got, s.out.String())
	}

	s.annotate("app", "outrigger.dev/weights=", "outrigger.dev/default-version=v2", "outrigger.dev/decided-at=2026-01-01T00:00:00Z")
	s.reconcile("app", "app-internal")
	if err := s.applyDecision(t.Context(), promoting(t, "app", "v2"), s.writing(dryRunNone)); err != nil {
		t.Fatal(err)
	}
	if got := s.annotations("app")["outrigger.dev/decided-at"]; got != "2026-01-01T00:00:00Z" {
		t.Errorf("promote: decided-at=%s\n%s", got, s.out.String())
	}
}

// editShares changes the share of the first version by hand.
func (s *liveStage) editShares(name string, percent int32) {
	s.t.Helper()
	vs := &networkingv1.VirtualService{}
	if err := s.client.Get(s.t.Context(), client.ObjectKey{Namespace: "demo", Name: name}, vs); err != nil {
		s.t.Fatal(err)
	}
	vs.Spec.Http[len(vs.Spec.Http)-1].Route[0].Weight, vs.Spec.Http[len(vs.Spec.Http)-1].Route[1].Weight = percent, 100-percent
	if err := s.client.Update(s.t.Context(), vs); err != nil {
		s.t.Fatal(err)
	}
}

// What another client has decided meanwhile is not what was waited for.
func TestWaitFailsWhenAnotherClientDecides(t *testing.T) {
	s := shop(t)
	s.annotate("app", "outrigger.dev/weights=v1=1")
	s.reconcile("app", "app-internal")
	wanted := map[string]string{"outrigger.dev/weights": "v1=90,v2=10"}
	if _, err := s.pendingReason(t.Context(), []diagnose.Forecast{{Observed: s.look("app"), Annotations: wanted}}); err == nil || !strings.Contains(err.Error(), "another client set the annotation outrigger.dev/weights=v1=1") {
		t.Errorf("%v", err)
	}
	wanted = map[string]string{"outrigger.dev/default-version": "v1", "outrigger.dev/weights": ""}
	if _, err := s.pendingReason(t.Context(), []diagnose.Forecast{{Observed: s.look("app"), Annotations: wanted}}); err == nil || !strings.Contains(err.Error(), "another client removed the annotation outrigger.dev/default-version") {
		t.Errorf("%v", err)
	}
}

// Annotations that hold the route where it is are not a decision that applies.
func TestWaitWhileAnotherAnnotationIsInvalid(t *testing.T) {
	for _, invalid := range []string{"outrigger.dev/match=v2=haeder:a:b", "outrigger.dev/mirror=v2=many", "outrigger.dev/sticky=always", "outrigger.dev/version-label=a b", "outrigger.dev/service-port=nosuch", "outrigger.dev/expose=flase", "outrigger.dev/drift=no", "outrigger.dev/default-version=v 1"} {
		s := shop(t)
		s.annotate("app", "outrigger.dev/weights=v1=90,v2=10", invalid)
		s.reconcile("app", "app-internal")
		observed := s.look("app")
		why, err := s.pendingReason(t.Context(), []diagnose.Forecast{{Observed: observed}})
		if at := routing.InEffect(observed, noon)[0].String(); err != nil || (why == "") != (at == "v1=90 v2=10") {
			t.Errorf("%s: the route is %s, and it says %q, %v", invalid, at, why, err)
		}
	}
}
