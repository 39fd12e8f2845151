// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/diagnose"
)

func leaseOf(namespace, holder string, renewed time.Time) *coordinationv1.Lease {
	at := metav1.NewMicroTime(renewed)
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: api.DefaultConfig().LeaderElection.LeaseName, Labels: map[string]string{LeaseVersionLabel: "1.0.0"}},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: ptr.To(holder), LeaseDurationSeconds: ptr.To[int32](15), RenewTime: &at},
	}
}

// A route that nobody updates looks like any other: after "helm uninstall", status said "routed" and nothing else.
func TestStatusSaysFirstThatNoControllerRuns(t *testing.T) {
	alone := api.DefaultConfig()
	alone.LeaderElection.Enabled = false
	available := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: defaultSystemNamespace, Name: "outrigger", Labels: map[string]string{"app.kubernetes.io/name": "outrigger"}},
		Status:     appsv1.DeploymentStatus{AvailableReplicas: 1},
	}
	injects := api.DefaultConfig()
	injects.Routing.Enabled = false
	remove := "outrigger uninstall-routes --all"
	here := "No controller of Outrigger runs in namespace outrigger-system ("
	pods := "kubectl get deployments,pods -n outrigger-system -l app.kubernetes.io/name=outrigger"
	for name, c := range map[string]struct {
		configs []api.Config
		objects []client.Object
		forbid  string // a kind that the user may not read
		want    []string
		note    string
	}{
		"runs":                  {configs: []api.Config{api.DefaultConfig()}, objects: []client.Object{leaseOf(defaultSystemNamespace, "outrigger-1_x", noon)}},
		"a clock that is ahead": {configs: []api.Config{api.DefaultConfig()}, objects: []client.Object{leaseOf(defaultSystemNamespace, "outrigger-1_x", noon.Add(-time.Minute))}},
		"expired":               {configs: []api.Config{api.DefaultConfig()}, objects: []client.Object{leaseOf(defaultSystemNamespace, "outrigger-1_x", noon.Add(-time.Hour))}, want: []string{here + "no replica holds Lease outrigger-routing)", pods}},
		"released":              {configs: []api.Config{api.DefaultConfig()}, objects: []client.Object{leaseOf(defaultSystemNamespace, "", noon)}, want: []string{here, pods}},
		"no Lease":              {configs: []api.Config{api.DefaultConfig()}, want: []string{here, pods}},
		"no permission":         {configs: []api.Config{api.DefaultConfig()}, forbid: "leases", note: "Lease outrigger-system/outrigger-routing"},
		"uninstalled":           {objects: []client.Object{leaseOf(defaultSystemNamespace, "", noon)}, want: []string{"No Outrigger is installed in namespace outrigger-system", remove}},
		"perhaps elsewhere":     {forbid: "leases", want: []string{"No Outrigger is installed in namespace outrigger-system", "--system-namespace=NAMESPACE", remove}},
		"elsewhere":             {objects: []client.Object{leaseOf("mesh", "outrigger-1_x", noon)}, want: []string{"but one is in namespace mesh", "--system-namespace=mesh"}},
		"without election":      {configs: []api.Config{alone}, objects: []client.Object{available}},
		"without replica":       {configs: []api.Config{alone}, want: []string{here + "no Deployment", pods}},
		"injection only":        {configs: []api.Config{injects}, want: []string{"does not manage routes (routing.enabled=false)"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := shop(t, c.objects...)
			if s.configs = c.configs; len(c.configs) > 0 {
				s.config = c.configs[0]
			}
			deny := func(resource string) error {
				if resource != c.forbid {
					return nil
				}
				return apierrors.NewForbidden(schema.GroupResource{Group: "coordination.k8s.io", Resource: resource}, "", nil)
			}
			s.client = interceptor.NewClient(s.client.(client.WithWatch), interceptor.Funcs{
				Get: func(ctx context.Context, under client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
					if _, is := object.(*coordinationv1.Lease); is && deny("leases") != nil {
						return deny("leases")
					}
					return under.Get(ctx, key, object, options...)
				},
				List: func(ctx context.Context, under client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
					if _, is := list.(*coordinationv1.LeaseList); is && deny("leases") != nil {
						return deny("leases")
					}
					return under.List(ctx, list, options...)
				},
			})
			report, err := s.withControllerState(t.Context(), func(ctx context.Context) (diagnose.StatusReport, error) { return s.status(ctx, false) })
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if err := printStatus(report, tableView{}, &out); err != nil {
				t.Fatal(err)
			}
			first, _, _ := strings.Cut(out.String(), "\n")
			if isTable := strings.HasPrefix(first, "NAMESPACE "); isTable != (len(c.want) == 0) {
				t.Errorf("the first line is %q", first)
			}
			for _, want := range c.want {
				if !strings.Contains(first, want) || !strings.Contains(statusLines(report)["controller:"], want) {
					t.Errorf("%q is not in the first line, %q", want, first)
				}
			}
			if c.note != "" && !strings.Contains(strings.Join(report.Notes, "\n"), c.note) {
				t.Errorf("%q is not in the notes %q", c.note, report.Notes)
			}
		})
	}
}

// Without the permission to read the settings, another Lease may be the controller's.
func TestStatusDoesNotGuessTheNameOfTheLease(t *testing.T) {
	s := shop(t)
	s.gaps.AddKind("ConfigMap", defaultSystemNamespace)
	if got, err := s.notRunning(t.Context()); err != nil || got != "" {
		t.Errorf("%q, %v", got, err)
	}
	if err := s.client.Create(t.Context(), leaseOf(defaultSystemNamespace, "", noon)); err != nil {
		t.Fatal(err)
	}
	if got, err := s.notRunning(t.Context()); err != nil || !strings.Contains(got, "no replica holds Lease") {
		t.Errorf("%q, %v", got, err)
	}
}
