// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// creations are pods that are created one after the other by several clients, until they are stopped.
type creations struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu     sync.Mutex
	count  int
	faults []string
}

const (
	creators      = 4
	mostCreations = 20000
)

// keepCreating creates pods in a namespace until stop is called. They are not stored, but every one of them is admitted.
func keepCreating(t *testing.T, ns string) *creations { return keepCreatingEvery(t, ns, 0) }

// keepCreatingEvery does so with a pause after each pod, for what takes long.
func keepCreatingEvery(t *testing.T, ns string, pause time.Duration) *creations {
	ctx, cancel := context.WithCancel(t.Context())
	c := &creations{cancel: cancel}
	t.Cleanup(cancel)
	for range creators {
		c.done.Go(func() {
			for ctx.Err() == nil && c.one(ctx, ns) {
				time.Sleep(pause)
			}
		})
	}
	return c
}

// one creates a pod, and says whether another one may follow.
func (c *creations) one(ctx context.Context, ns string) bool {
	pod := appPod(ns, "p-", nil)
	err := kube.Create(ctx, pod, client.DryRunAll)
	if err == nil && !hasSidecar(pod) {
		err = errors.New("the pod has no sidecar")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if ctx.Err() != nil {
		return false // what was under way when it was stopped says nothing
	}
	c.count++
	if err != nil {
		c.faults = append(c.faults, fmt.Sprintf("pod %d: %v", c.count, err))
	}
	return c.count < mostCreations
}

// stop ends the creations and returns how many there were and what went wrong.
func (c *creations) stop() (count int, faults []string) {
	c.cancel()
	c.done.Wait()
	return c.count, c.faults
}

// appPod returns a pod of one container. change may be nil.
func appPod(ns, generateName string, change func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{}
	pod.Namespace, pod.GenerateName = ns, generateName
	pod.Spec.Containers = []corev1.Container{{Name: "app", Image: "registry.example/app:1"}}
	if change != nil {
		change(pod)
	}
	return pod
}

// Not parallel: the replicas are replaced.
func TestARollingRestartLosesNoPod(t *testing.T) {
	needIstio(t)
	ns := namespace(t, injected)
	waitForPodsOfOutrigger(t, 2)
	traffic := keepCreating(t, ns)
	restartOutrigger(t)
	count, faults := traffic.stop()
	t.Logf("%d pods were created while both replicas were replaced", count)
	if len(faults) > 0 {
		t.Errorf("%d of %d went wrong:\n%s", len(faults), count, strings.Join(faults[:min(5, len(faults))], "\n"))
	}
	if count < 100 {
		t.Errorf("only %d pods were created: that shows nothing", count)
	}
}

// Not parallel: a replica dies.
func TestAKilledReplicaCostsAtMostTheCallsInHand(t *testing.T) {
	needIstio(t)
	ns := namespace(t, injected)
	waitForPodsOfOutrigger(t, 2)
	traffic := keepCreating(t, ns)
	for range 3 {
		kubectl(t, "-n", outriggerNamespace, "delete", "pod", outriggerPods(t)[0].Name, "--grace-period=0", "--force")
		waitForPodsOfOutrigger(t, 2)
	}
	count, faults := traffic.stop()
	leaderOfRouting(t) // the tests that follow need one, and the Lease of a killed one has to end first
	t.Logf("%d pods were created while three replicas were killed, %d calls were lost", count, len(faults))
	if len(faults) > 3*creators {
		t.Errorf("%d of %d calls were lost, more than %d clients had in hand:\n%s", len(faults), count, creators, strings.Join(faults[:5], "\n"))
	}
}

// Not parallel: no replica answers. Pods that need no sidecar, and Outrigger's own, start all the same.
func TestAnOutageHitsNobodyButWhoAskedForASidecar(t *testing.T) {
	needIstio(t)
	ns, plain := namespace(t, injected), namespace(t)
	scaleOutrigger(t, 0)
	defer func() {
		scaleOutrigger(t, 2)
		leaderOfRouting(t)
	}()

	create := func(pod *corev1.Pod) error { return kube.Create(t.Context(), pod, client.DryRunAll) }
	err := create(appPod(ns, "asks-", nil))
	if err == nil || !strings.Contains(err.Error(), "namespace.sidecar-injector.outrigger.dev") {
		t.Errorf("a pod that asks for a sidecar: %v; want it refused, naming the webhook", err)
	}
	for what, change := range map[string]func(*corev1.Pod){
		"opted out by label":      func(p *corev1.Pod) { p.Labels = map[string]string{"sidecar.istio.io/inject": "false"} },
		"opted out by annotation": func(p *corev1.Pod) { p.Annotations = map[string]string{"sidecar.istio.io/inject": "false"} },
		"on the host's network":   func(p *corev1.Pod) { p.Spec.HostNetwork = true },
		"injected already": func(p *corev1.Pod) {
			p.Annotations = map[string]string{"sidecar.istio.io/status": "{}"}
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "istio-proxy", Image: "registry.example/proxyv2:1"})
		},
	} {
		if err := create(appPod(ns, "asks-not-", change)); err != nil {
			t.Errorf("a pod that is %s: %v", what, err)
		}
	}
	if err := create(appPod(plain, "plain-", nil)); err != nil {
		t.Errorf("a pod of a namespace without the label: %v", err)
	}

	failurePolicy(t, "Ignore")
	eventually(t, "failurePolicy Ignore creates the pod without a sidecar", func() error {
		ignored := appPod(ns, "ignored-", nil)
		if err := create(ignored); err != nil || hasSidecar(ignored) {
			return fmt.Errorf("%w, sidecar %t", err, hasSidecar(ignored))
		}
		return nil
	})
	failurePolicy(t, "Fail")
	eventually(t, "failurePolicy Fail refuses again", func() error {
		if create(appPod(ns, "refused-", nil)) == nil {
			return errors.New("it was created")
		}
		return nil
	})

	apply(t, ns, fixed("web-v1", "web", "v1"))
	eventually(t, "the ReplicaSet says why it has no pods", func() error {
		if out := kubectl(t, "-n", ns, "get", "events", "--field-selector", "reason=FailedCreate"); !strings.Contains(out, "sidecar-injector.outrigger.dev") {
			return errors.New(out)
		}
		return nil
	})
	scaleOutrigger(t, 2) // its own pods are asked about by nobody
	for _, pod := range readyPods(t, ns, "app=web", 2) {
		if !hasSidecar(&pod) {
			t.Errorf("pod %s, created after the outage, has no sidecar", pod.Name)
		}
	}
}

// failurePolicy sets the one of all entries.
func failurePolicy(t *testing.T, policy string) {
	t.Helper()
	var operations []string
	for n := range strings.Fields(kubectl(t, "get", "mutatingwebhookconfiguration", "outrigger-sidecar-injector", "-o", "jsonpath={.webhooks[*].name}")) {
		operations = append(operations, fmt.Sprintf(`{"op":"replace","path":"/webhooks/%d/failurePolicy","value":%q}`, n, policy))
	}
	kubectl(t, "patch", "mutatingwebhookconfiguration", "outrigger-sidecar-injector", "--type=json", "-p", "["+strings.Join(operations, ",")+"]")
}
