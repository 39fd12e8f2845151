// SPDX-License-Identifier: Apache-2.0

// Package release tests the life of a Helm release on a real control plane: installed in an earlier state, upgraded,
// tested, rolled back and removed, its pods and hooks running as processes. It has a control plane of its own, because
// removing a release takes routes of every namespace away.
package release

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/hack/controlplane"
)

// system is the namespace of the release, name its name.
const (
	system = "outrigger-system"
	name   = "outrigger"
)

var (
	cluster *controlplane.ControlPlane
	kube    client.Client
)

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	if cluster, err = controlplane.Start(context.Background(), controlplane.Options{Progress: os.Stderr}); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, cluster.Stop()) }()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, networkingv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return 1, err
		}
	}
	if kube, err = client.New(cluster.Config, client.Options{Scheme: scheme}); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// helm runs helm and fails the test when it fails.
func helm(t *testing.T, args ...string) string {
	t.Helper()
	out, err := cluster.Helm(t.Context(), nil, args...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}

// kubectl runs kubectl, with objects as its input, and fails the test when it fails.
func kubectl(t *testing.T, input string, args ...string) string {
	t.Helper()
	out, err := cluster.Kubectl(t.Context(), strings.NewReader(input), args...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}

// eventually asks again until the check has nothing to say.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within a minute: %v", what, err)
		}
	}
}

// says checks that a text holds all of these.
func says(t *testing.T, text string, wanted ...string) {
	t.Helper()
	for _, want := range wanted {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in:\n%s", want, text)
		}
	}
}

func hasSidecar(pod *corev1.Pod) bool {
	return slices.ContainsFunc(slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers), func(c corev1.Container) bool { return c.Name == "istio-proxy" })
}

// createPod lets the API server create a pod in a namespace, as a dry run.
func createPod(ctx context.Context, namespace string) (*corev1.Pod, error) {
	pod := &corev1.Pod{}
	pod.Namespace, pod.GenerateName = namespace, "p-"
	pod.Spec.Containers = []corev1.Container{{Name: "app", Image: "registry.example/app:1"}}
	return pod, kube.Create(ctx, pod, client.DryRunAll)
}

// injects says why a pod of the namespace is not given a sidecar.
func injects(ctx context.Context, namespace string) error {
	pod, err := createPod(ctx, namespace)
	if err == nil && !hasSidecar(pod) {
		err = errors.New("the pod has no sidecar")
	}
	return err
}

// traffic is what clients find out who try something one after the other, until they are stopped.
type traffic struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu     sync.Mutex
	count  int
	faults []string
}

// keep lets four clients try something until the traffic is stopped.
func keep(t *testing.T, try func(context.Context) error) *traffic {
	ctx, cancel := context.WithCancel(t.Context())
	c := &traffic{cancel: cancel}
	t.Cleanup(cancel)
	for range 4 {
		c.done.Go(func() {
			for ctx.Err() == nil {
				err := try(ctx)
				if ctx.Err() != nil {
					return // what was under way when it was stopped says nothing
				}
				c.mu.Lock()
				if c.count++; err != nil {
					c.faults = append(c.faults, fmt.Sprintf("number %d: %v", c.count, err))
				}
				c.mu.Unlock()
			}
		})
	}
	return c
}

// without stops the traffic and fails the test if anything went wrong, or if there was too little of it.
func (c *traffic) without(t *testing.T, what string) {
	t.Helper()
	c.cancel()
	c.done.Wait()
	t.Logf("%s: %d pods, %d faults", what, c.count, len(c.faults))
	if len(c.faults) > 0 {
		t.Errorf("%s: %d of %d went wrong:\n%s", what, len(c.faults), c.count, strings.Join(c.faults[:min(5, len(c.faults))], "\n"))
	}
	if c.count < 50 {
		t.Errorf("%s: only %d pods, which shows nothing", what, c.count)
	}
}
