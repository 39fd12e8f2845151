// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// cli runs the outrigger command as a user would, with the cluster's kubeconfig, and returns what it prints.
func cli(t *testing.T, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), outrigger.Binary, args...)
	command.Env = append(command.Environ(), "KUBECONFIG="+cluster.Kubeconfig)
	var problems strings.Builder
	command.Stderr = &problems
	out, err := command.Output()
	if err != nil {
		t.Fatalf("outrigger %s: %v\n%s", strings.Join(args, " "), err, problems.String())
	}
	return string(out)
}

func TestRoutesPrintsWhatTheControllerMakes(t *testing.T) {
	t.Parallel()
	needIstio(t)
	for _, file := range []string{"springbootapp/app.yaml", "springbootapp/rolling.yaml", "bookinfo/app.yaml"} {
		t.Run(file, func(t *testing.T) {
			ns := namespace(t, injected)
			file := "../../examples/" + file
			kubectl(t, "-n", ns, "create", "-f", file)
			var documents []*unstructured.Unstructured
			for _, document := range strings.Split(cli(t, "routes", "-n", ns, "-f", file), "\n---\n") {
				printed := &unstructured.Unstructured{}
				if err := yaml.Unmarshal([]byte(document), &printed.Object); err != nil {
					t.Fatal(err)
				}
				if len(printed.Object) > 0 {
					documents = append(documents, printed)
				}
			}
			if len(documents) < 2 {
				t.Fatalf("outrigger routes printed %d objects", len(documents))
			}
			for _, printed := range documents {
				eventually(t, printed.GetKind()+" "+printed.GetName()+" is what was printed", func() error {
					made := &unstructured.Unstructured{}
					made.SetGroupVersionKind(printed.GroupVersionKind())
					if err := kube.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: printed.GetName()}, made); err != nil {
						return err
					}
					if diff := cmp.Diff(printed.Object["spec"], made.Object["spec"], cmp.Transformer("numbers", func(n int64) float64 { return float64(n) })); diff != "" {
						return fmt.Errorf("the specs differ (-printed +made):\n%s", diff)
					}
					return nil
				})
			}
		})
	}
}

func TestInjectedByHandRunsWithoutTheWebhook(t *testing.T) {
	t.Parallel()
	needIstio(t)
	ns := namespace(t)
	apply(t, ns, cli(t, "inject", "-n", ns, "-f", "../../examples/springbootapp/app.yaml"))
	for _, pod := range readyPods(t, ns, "app=springbootapp", 2) {
		if !hasSidecar(&pod) {
			t.Errorf("pod %s has no sidecar", pod.Name)
		}
	}
	if _, err := virtualService(ns, "springbootapp"); !apierrors.IsNotFound(err) {
		t.Errorf("a namespace without a label was routed: %v", err)
	}
}
