// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
)

func TestEventsComeInTheirOrderAndNoneIsLost(t *testing.T) {
	sent := events.NewFakeRecorder(1000)
	paced := newPacedRecorder(sent, clientgoscheme.Scheme)
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "app", UID: "11"}}
	for i := range 500 {
		paced.Eventf(service, nil, corev1.EventTypeNormal, "Created", "Create", "%s", fmt.Sprint("100% of ", i))
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { paced.run(ctx); close(done) }()
	for i := range eventsAtOnce { // these are not waited for
		if got, want := <-sent.Events, fmt.Sprint("Normal Created 100% of ", i); got != want {
			t.Fatalf("Event %d is %q", i, got)
		}
	}
	cancel()
	<-done
	for i := eventsAtOnce; i < 500; i++ {
		if got, want := <-sent.Events, fmt.Sprint("Normal Created 100% of ", i); got != want {
			t.Fatalf("Event %d is %q", i, got)
		}
	}
	if paced.queue.Len() > 0 {
		t.Error("an Event waits for ever")
	}
}

func TestEventsWaitWhileMoreCome(t *testing.T) {
	paced := newPacedRecorder(events.NewFakeRecorder(1), clientgoscheme.Scheme)
	paced.Eventf(&corev1.Service{}, nil, corev1.EventTypeNormal, "Created", "Create", "one")
	if got := paced.pace(paced.last.Add(quietAfter / 2)); got != eventsWhileBusy {
		t.Errorf("half a second later it is %v a second", got)
	}
	if got := paced.pace(paced.last.Add(quietAfter)); got != eventsPerSecond {
		t.Errorf("a second later it is %v a second", got)
	}
}

// One tenant's flood of Events delays nobody else's, and is bounded.
func TestAFloodOfEventsDelaysNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := &timedRecorder{}
		paced := newPacedRecorder(sent, clientgoscheme.Scheme)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { paced.run(ctx); close(done) }()
		in := func(namespace string) *corev1.Service {
			return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "app", UID: "11"}}
		}
		written := &networkingv1.DestinationRule{ObjectMeta: metav1.ObjectMeta{Namespace: "flood", Name: "app"}}
		written.SetGroupVersionKind(networkingv1.SchemeGroupVersion.WithKind("DestinationRule"))
		for second := range 60 {
			for i := range 100 {
				written.ResourceVersion = fmt.Sprint(100*second + i)
				paced.Eventf(in("flood"), written, corev1.EventTypeNormal, "Updated", "Apply", "%s", fmt.Sprint(i))
				paced.Eventf(in("flood"), nil, corev1.EventTypeWarning, "Contested", fmt.Sprint(second, i), "%s", fmt.Sprint(second, i))
				time.Sleep(10 * time.Millisecond)
			}
			if second%20 == 10 {
				began := time.Now()
				paced.Eventf(in("calm"), nil, corev1.EventTypeNormal, "Created", "Create", "%s", fmt.Sprint("calm ", second))
				time.Sleep(500 * time.Millisecond)
				if at := sent.at("calm", fmt.Sprint("calm ", second)); at.IsZero() || at.Sub(began) > 100*time.Millisecond {
					t.Errorf("second %d: the Event of another namespace was sent after %v, want at once", second, at.Sub(began))
				}
			}
		}
		if got := paced.queue.Len(); got > eventsOfNamespaceQueued {
			t.Errorf("%d Events wait, want at most %d", got, eventsOfNamespaceQueued)
		}
		registry := prometheus.NewRegistry()
		registry.MustRegister(paced.counts)
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		counts := map[string]float64{}
		for _, m := range families[0].GetMetric() {
			counts[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
		}
		if counts["coalesced"] < 5000 || counts["dropped"] < 3000 {
			t.Errorf("of 6000 Events about one write and 6000 others: %v", counts)
		}
		cancel()
		<-done
	})
}

// timedRecorder notes when each Event was sent.
type timedRecorder struct {
	mutex sync.Mutex
	times map[string]time.Time
}

func (r *timedRecorder) Eventf(regarding, _ runtime.Object, _, _, _, note string, args ...any) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.times == nil {
		r.times = map[string]time.Time{}
	}
	r.times[regarding.(*corev1.ObjectReference).Namespace+" "+fmt.Sprintf(note, args...)] = time.Now()
}

func (r *timedRecorder) at(namespace, note string) time.Time {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.times[namespace+" "+note]
}
