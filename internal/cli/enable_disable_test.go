// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
)

func (s *liveStage) labeled(mode string) string {
	s.t.Helper()
	if err := s.setRouting(s.t.Context(), "demo", api.RoutingMode(mode), s.writing(dryRunClient)); err != nil {
		s.t.Fatal(err)
	}
	return s.out.String()
}

const disableCommandLines = `kubectl label namespace demo outrigger.dev/routing=disabled --overwrite
namespace/demo labeled (dry run)
`

// Without routes, pods share the requests, which changes the shares of versions even if none begins to receive traffic.
func TestDisablePrintsTheChangeOfShares(t *testing.T) {
	s := shop(t)
	s.annotate("app", "outrigger.dev/weights=v1=70,v2=30")
	s.reconcile("app", "app-internal")
	want := `service/app: v1=70 v2=30 -> by pods
service/app: no version begins to receive traffic
service/app-internal: v1=100 -> by pods
service/app-internal: begins to receive traffic: v2 (9 of 10 pods ready) (now v1=100)
` + disableCommandLines
	if diff := cmp.Diff(want, s.labeled("disabled")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Where a VirtualService of the user takes over, the shares become its shares.
func TestDisableWithAnotherRoute(t *testing.T) {
	s := shop(t)
	for _, ours := range s.look("app").Existing.VirtualServices {
		ours.CreationTimestamp = old()
		if err := s.client.Update(t.Context(), ours); err != nil {
			t.Fatal(err)
		}
	}
	theirs := byHand("theirs", "app")
	theirs.CreationTimestamp = metav1.NewTime(noon)
	if err := s.client.Create(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	s.labeled("disabled")
	s.printed("service/app: v1=100 -> every pod (routed by VirtualService demo/theirs)\n")
}

// Where a VirtualService of the user already routes, nothing begins to receive traffic.
func TestDisableBesideTheRouteInEffect(t *testing.T) {
	theirs := byHand("theirs", "app")
	theirs.CreationTimestamp = metav1.NewTime(noon.Add(-time.Hour))
	s := shop(t, theirs)
	if got := s.labeled("disabled"); strings.Contains(got, "service/app: begins") {
		t.Errorf("printed:\n%s", got)
	}
	s.printed("service/app: every pod (unchanged: VirtualService demo/theirs routes there, and Outrigger does not write it)\n", "service/app-internal: begins to receive traffic: v2")
}

func TestEnableAndDisableWriteNothingTwice(t *testing.T) {
	for mode, want := range map[string]string{
		"disabled": "namespace/demo already has the label outrigger.dev/routing=disabled; nothing is written.\n",
		"enabled":  "namespace/demo already has the label outrigger.dev/routing=enabled; nothing is written.\n",
	} {
		s := newLiveStage(t, demo("outrigger.dev/routing="+mode), serviceOf("other", "other"))
		if diff := cmp.Diff(want, s.labeled(mode)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", mode, diff)
		}
	}
}

// A version that matches still receives some requests.
func TestEnableNamesWhatAVersionStillReceives(t *testing.T) {
	app := serviceOf("app", "app")
	app.Annotations["outrigger.dev/match"] = "v2=header:end-user:jason"
	s := newLiveStage(t, append(append(append(runningPods("app", "v1", 2, 2), runningPods("app", "v2", 1, 1)...), runningPods("app", "v3", 1, 0)...), demo(), app)...)
	want := `service/app: no route -> v1=100
service/app: v2 receives only requests that match end-user=jason (1 of 1 pods ready)
kubectl label namespace demo outrigger.dev/routing=enabled --overwrite
namespace/demo labeled (dry run)
`
	if diff := cmp.Diff(want, s.labeled("enabled")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestEnableSaysWhatComesAndSetsOurLabelAlone(t *testing.T) {
	s := newLiveStage(t, append(append(runningPods("app", "v1", 2, 2), runningPods("app", "v2", 1, 1)...), demo(), serviceOf("app", "app"))...)
	if err := s.setRouting(context.Background(), "demo", "enabled", s.writing(dryRunNone)); err != nil {
		t.Fatal(err)
	}
	want := `service/app: no route -> v1=100
service/app: v2 stops receiving requests (1 of 1 pods ready)
kubectl label namespace demo outrigger.dev/routing=enabled --overwrite
namespace/demo labeled
`
	if diff := cmp.Diff(want, s.out.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"outrigger.dev/routing": "enabled"}, s.namespaceLabels()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestDisableSaysWhoBeginsToReceiveTraffic(t *testing.T) {
	s := shop(t, ingressGateway()...)
	s.annotate("app", "outrigger.dev/expose=true", "outrigger.dev/match=v2=header:end-user:jason")
	s.reconcile("app", "app-internal")
	if err := s.setRouting(context.Background(), "demo", "disabled", s.writing(dryRunClient)); err != nil {
		t.Fatal(err)
	}
	want := `service/app: v1=100 -> by pods
service/app: begins to receive traffic: v2 (9 of 10 pods ready) (now v1=100)
service/app: end-user=jason goes to every pod, no longer to v2
service/app: no longer served at gateway demo/app for *
service/app-internal: v1=100 -> by pods
service/app-internal: begins to receive traffic: v2 (9 of 10 pods ready) (now v1=100)
kubectl label namespace demo outrigger.dev/routing=disabled --overwrite
namespace/demo labeled (dry run)
`
	if diff := cmp.Diff(want, s.out.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"istio-injection": "enabled"}, s.namespaceLabels()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
