// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"strings"
	"testing"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/internal/diagnose"
)

// pinned is a VirtualService of the user's that routes to one version; with a gateway, for every host there.
func pinned(name, version, gateway string) *networkingv1.VirtualService {
	vs := byHand(name, "app")
	if gateway != "" {
		vs.Spec.Hosts, vs.Spec.Gateways = []string{"*"}, []string{gateway}
	}
	vs.Spec.Http = []*networkingapi.HTTPRoute{{Route: []*networkingapi.HTTPRouteDestination{{Destination: &networkingapi.Destination{Host: "app", Subset: version}}}}}
	return vs
}

func (s *liveStage) printedStatus() string {
	s.t.Helper()
	report, err := s.status(context.Background(), false, "app")
	if err != nil {
		s.t.Fatal(err)
	}
	var out bytes.Buffer
	if err := printStatus(report, tableView{}, &out); err != nil {
		s.t.Fatal(err)
	}
	return out.String()
}

// status and explain show what the proxies have, whoever wrote it.
func TestStatusShowsTheRouteOfTheUser(t *testing.T) {
	s := shop(t, pinned("theirs", "v2", ""), pinned("front", "v1", "front"))
	got := squeeze(s.printedStatus())
	for _, want := range []string{
		"app other route v1 2/2 0 -", "app other route v2 9/10 100 -",
		"app mesh - VirtualService demo/theirs (not Outrigger's) v2=100",
		"app demo/front * VirtualService demo/front (not Outrigger's) v1=100",
		"app demo/front * - - - -", // there is no Gateway demo/front
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in the status:\n%s", want, got)
		}
	}
	for _, wrong := range []string{"by pods", "subsets only"} {
		if strings.Contains(got, wrong) {
			t.Errorf("%q is in the status:\n%s", wrong, got)
		}
	}
	var out bytes.Buffer
	if err := printExplanation(diagnose.ExplainService(s.look("app"), nil, diagnose.Surroundings{}, noon).Paragraphs(), &out); err != nil {
		t.Fatal(err)
	}
	told := squeeze(out.String())
	for _, want := range []string{
		"all requests -> v2", "callers in the mesh v2=100 VirtualService demo/theirs, which Outrigger does not write",
		"callers at gateway demo/front v1=100 VirtualService demo/front, which Outrigger does not write", "gateway demo/front port - *",
	} {
		if !strings.Contains(told, want) {
			t.Errorf("%q is not in the explanation:\n%s", want, told)
		}
	}
}

// shift says whom it does not change, and which VirtualService routes there instead.
func TestShiftNamesTheRouteOfTheUser(t *testing.T) {
	s := shop(t, pinned("front", "v1", "front"))
	if err := s.applyDecision(context.Background(), shifting(t, "app", "v1=50", "v2=50"), s.writing(dryRunNone)); err != nil {
		t.Fatal(err)
	}
	s.printed("service/app in the mesh: v1=100 -> v1=50 v2=50\n",
		"service/app at gateway demo/front: v1=100 (unchanged: VirtualService demo/front routes there, and Outrigger does not write it)\n")

	s = shop(t, pinned("theirs", "v2", ""))
	if err := s.applyDecision(context.Background(), shifting(t, "app", "v1=50", "v2=50"), s.writing(dryRunNone)); err != nil {
		t.Fatal(err)
	}
	s.printed("service/app: v2=100 (unchanged: VirtualService demo/theirs routes there, and Outrigger does not write it)\n")

	// The mesh is the user's, and the gateway is not: it is not called unchanged.
	s = shop(t, append(ingressGateway(), pinned("theirs", "v1", ""))...)
	s.annotate("app", "outrigger.dev/expose=true")
	s.reconcile("app")
	if err := s.applyDecision(context.Background(), shifting(t, "app", "v1=50", "v2=50"), s.writing(dryRunNone)); err != nil {
		t.Fatal(err)
	}
	s.printed("service/app in the mesh: v1=100 (unchanged: VirtualService demo/theirs routes there, and Outrigger does not write it)\n",
		"service/app at gateway demo/app: v1=100 -> v1=50 v2=50\n")
}

func squeeze(text string) string {
	var lines []string
	for _, line := range strings.Split(text, "\n") {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return strings.Join(lines, "\n")
}
