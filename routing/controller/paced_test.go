package controller

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	if paced.isWaiting() {
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
