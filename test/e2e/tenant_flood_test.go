// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	floodSenders = 8
	victimPods   = 40              // without and during the flood
	floodLimit   = 2 * time.Minute // on a busy machine fewer pods are created during the flood
)

// A tenant sends the most expensive pods that are allowed at full rate. Pods of another namespace are created all the same:
// none is refused, and each gets its sidecar. How long a creation and the webhook's part of it take is logged, not judged:
// the API server decodes and validates the same pods, and this machine may be busy.
func TestTenantFloodsTheWebhook(t *testing.T) {
	needIstio(t)
	attacker, calm, victim := newTenant(t), newTenant(t), newTenant(t)
	expensive := expensivePod(t, attacker.namespace)
	begun := time.Now()
	if err := withoutRateLimit(t, attacker).Create(t.Context(), expensive.DeepCopy(), client.DryRunAll); err != nil {
		t.Fatalf("the expensive pod is not legal: %v", err)
	}
	t.Logf("one expensive pod takes %v", time.Since(begun))
	createPods(t.Context(), t, calm, "without a flood")

	ctx, stop := context.WithTimeout(t.Context(), floodLimit)
	defer stop()
	waitForFlood := flood(ctx, t, attacker, expensive)
	if during := createPods(ctx, t, victim, "during the flood"); during == 0 {
		t.Error("no pod was created during the flood")
	}
	stop()
	waitForFlood()
	logTimes(t, "the webhook's part of the flood", reviewTimes(attacker.namespace))
}

// flood sends a pod from several clients until the context ends. It returns when the first one is answered; the function
// that it returns waits for all clients and logs the answers.
func flood(ctx context.Context, t *testing.T, attacker tenant, pod *corev1.Pod) (wait func()) {
	t.Helper()
	var senders sync.WaitGroup
	var mu sync.Mutex
	answers := map[string]int{}
	first := make(chan struct{}, 1)
	for range floodSenders {
		sender := withoutRateLimit(t, attacker)
		senders.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				pod := pod.DeepCopy()
				pod.Spec.Containers[0].Env[0].Value = fmt.Sprint(n) // or the answer is in the cache
				err := sender.Create(ctx, pod, client.DryRunAll)
				answer := "created"
				if err != nil && ctx.Err() != nil {
					answer = "ended by the test"
				} else if err != nil {
					answer = fmt.Sprintf("%s: %.100v", apierrors.ReasonForError(err), err)
				}
				mu.Lock()
				answers[answer]++
				mu.Unlock()
				select {
				case first <- struct{}{}:
				default:
				}
			}
		})
	}
	<-first
	return func() {
		senders.Wait()
		t.Logf("answers to the flood: %v", answers)
	}
}

// createPods creates pods one after the other, fails for each that is refused or has no sidecar, and logs how long they
// took. It returns how many were created before the context ended.
func createPods(ctx context.Context, t *testing.T, as tenant, when string) int {
	t.Helper()
	creator := withoutRateLimit(t, as)
	var took []time.Duration
	during := 0
	for n := range victimPods {
		pod := podOf(t, as.namespace, "")
		pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "NUMBER", Value: when + fmt.Sprint(n)}}
		begun := time.Now()
		if err := creator.Create(t.Context(), pod); err != nil {
			t.Errorf("%s, pod %d of the other namespace: %v", when, n, err)
			continue
		}
		took = append(took, time.Since(begun))
		if !hasSidecar(pod) {
			t.Errorf("%s, pod %d of the other namespace has no sidecar", when, n)
		}
		if ctx.Err() == nil {
			during++
		}
	}
	logTimes(t, when+", creation in "+as.namespace, took)
	reviews := reviewTimes(as.namespace)
	logTimes(t, when+", the webhook's part", reviews)
	if len(reviews) == 0 || len(reviews) < len(took) {
		t.Errorf("%s: %d pods were created, and the webhook's log has %d", when, len(took), len(reviews))
	}
	return during
}

func logTimes(t *testing.T, what string, took []time.Duration) {
	t.Helper()
	if n := len(took); n > 0 {
		slices.Sort(took)
		t.Logf("%s: %d pods, p50 %v, p99 %v", what, n, took[(n+1)/2-1], took[(99*n+99)/100-1])
	}
}

var reviewLine = regexp.MustCompile(`"duration":"([^"]+)"`)

// reviewTimes returns how long the webhook took for the pods of a namespace, waiting included, as its log says.
func reviewTimes(ns string) []time.Duration {
	var out []time.Duration
	for line := range strings.Lines(outrigger.Logs()) {
		found := reviewLine.FindStringSubmatch(line)
		if found == nil || !strings.Contains(line, fmt.Sprintf("%q:%q", "namespace", ns)) {
			continue
		}
		if took, err := time.ParseDuration(found[1]); err == nil {
			out = append(out, took)
		}
	}
	return out
}

// expensivePod is a pod near the caps, in a request that is nearly as large as the API server accepts.
func expensivePod(t *testing.T, ns string) *corev1.Pod {
	t.Helper()
	pod := podOf(t, ns, "")
	app := &pod.Spec.Containers[0]
	for n := range 20_000 {
		app.Env = append(app.Env, corev1.EnvVar{Name: fmt.Sprintf("V%d", n), Value: "value"})
	}
	for n := range 4_000 {
		name := fmt.Sprintf("v%d", n)
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
		app.VolumeMounts = append(app.VolumeMounts, corev1.VolumeMount{Name: name, MountPath: "/" + name})
	}
	pod.Annotations = map[string]string{"example.com/fill": strings.Repeat("x", 200<<10)}
	return pod
}

// withoutRateLimit returns a client of a tenant that sends as fast as it can.
func withoutRateLimit(t *testing.T, a tenant) client.Client {
	t.Helper()
	config := rest.CopyConfig(cluster.Config)
	config.QPS, config.Timeout = -1, time.Minute
	config.Impersonate = rest.ImpersonationConfig{UserName: a.user, Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + a.namespace, "system:authenticated"}}
	config.WarningHandler, config.WarningHandlerWithContext = nil, rest.NoWarnings{}
	out, err := client.New(config, client.Options{Scheme: kube.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
