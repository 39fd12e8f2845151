// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestUninstallLeavesWhatWouldMoveTraffic(t *testing.T) {
	s := shop(t, append(runningPods("other", "v1", 1, 1), ingressGateway()...)...)
	s.reconcile("other")
	s.config.Routing.PropagationDelay = time.Millisecond
	if err := s.uninstallRoutes(context.Background(), "", false, s.writing(dryRunNone)); err != nil {
		t.Fatal(err)
	}
	want := `service/app in namespace demo keeps its routes: without them v2 (9 of 10 pods ready) would begin to receive traffic
service/app-internal in namespace demo keeps its routes: without them v2 (9 of 10 pods ready) would begin to receive traffic
virtualservice/other in namespace demo deleted
waiting 1ms for the proxies to forget the routes
destinationrule/other in namespace demo deleted
to remove them all and accept that this moves traffic: outrigger uninstall-routes --all
`
	if diff := cmp.Diff(want, s.out.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	s.systemNamespace = "mesh"
	if err := s.uninstallRoutes(context.Background(), "demo", false, s.writing(dryRunNone)); err != nil || strings.Contains(s.out.String(), "no routes to remove") {
		t.Errorf("only kept routes are left: %v, %q", err, s.out.String())
	}
	s.printed("outrigger uninstall-routes --all -n demo --system-namespace=mesh")
	if err := s.uninstallRoutes(context.Background(), "demo", true, s.writing(dryRunNone)); err != nil {
		t.Fatal(err)
	}
	s.printed("service/app: begins to receive traffic: v2", "virtualservice/app in namespace demo deleted")
	if err := s.uninstallRoutes(context.Background(), "demo", true, s.writing(dryRunNone)); err != nil || s.out.String() != "no routes to remove\n" {
		t.Errorf("%v, %q", err, s.out.String())
	}
}
