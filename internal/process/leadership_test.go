// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	kubetesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"outrigger.dev/outrigger/api"
)

// leaseCluster has one Lease, and fails while it is away.
type leaseCluster struct {
	*fake.Clientset
	away atomic.Bool
}

func newLeaseCluster() *leaseCluster {
	c := &leaseCluster{Clientset: fake.NewClientset(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "outrigger-system", Name: "outrigger-routing"}})}
	c.PrependReactor("*", "leases", func(kubetesting.Action) (bool, runtime.Object, error) {
		return c.away.Load(), nil, errors.New("the API server does not answer")
	})
	return c
}

func (c *leaseCluster) holder(t *testing.T) string {
	t.Helper()
	lease, err := c.Tracker().Get(coordinationv1.SchemeGroupVersion.WithResource("leases"), "outrigger-system", "outrigger-routing")
	if err != nil {
		t.Fatal(err)
	}
	if holder := lease.(*coordinationv1.Lease).Spec.HolderIdentity; holder != nil {
		return *holder
	}
	return ""
}

// replica is one that leads with these jobs, if it holds the Lease.
func (c *leaseCluster) replica(t *testing.T, name string, jobs ...*made) (l *Leadership, stop func()) {
	t.Helper()
	lock, err := resourcelock.New(resourcelock.LeasesResourceLock, "outrigger-system", "outrigger-routing",
		kubernetes.Interface(c).CoreV1(), kubernetes.Interface(c).CoordinationV1(), resourcelock.ResourceLockConfig{Identity: name})
	if err != nil {
		t.Fatal(err)
	}
	l = &Leadership{
		Lock: lock, Name: "outrigger-routing", Log: logr.Discard(), Retry: 10 * time.Millisecond,
		Timing: api.LeaderElectionConfig{LeaseDuration: 3 * time.Second, RenewDeadline: time.Second, RetryPeriod: 100 * time.Millisecond},
	}
	for _, one := range jobs {
		l.Add(one)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Start(ctx) }()
	stop = func() {
		t.Helper()
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("replica %s ended with %v", name, err)
			}
		case <-time.After(20 * time.Second):
			t.Errorf("replica %s does not end", name)
		}
	}
	return l, stop
}

// made is a job that runs until it is stopped, or fails when it is told to.
type made struct {
	runs    atomic.Int32 // how often it was started
	running atomic.Bool
	fail    chan error
	slow    time.Duration           // how long it takes to end
	ending  func(held string) error // looked at while it ends; may be nil
	holder  func() string
}

func (j *made) Start(ctx context.Context) error {
	j.runs.Add(1)
	j.running.Store(true)
	defer j.running.Store(false)
	select {
	case err := <-j.fail:
		return err
	case <-ctx.Done():
	}
	time.Sleep(j.slow)
	if j.ending != nil {
		return j.ending(j.holder())
	}
	return nil
}

func TestLosingTheLeaseStopsTheJobsAndNotTheProcess(t *testing.T) {
	c := newLeaseCluster()
	routes, count := &made{}, &made{}
	_, stop := c.replica(t, "a", routes, count)
	until(t, "the jobs run", func() bool { return routes.running.Load() && count.running.Load() })
	for range 2 {
		c.away.Store(true)
		until(t, "the jobs stop", func() bool { return !routes.running.Load() && !count.running.Load() })
		c.away.Store(false)
		until(t, "the jobs run again", func() bool { return routes.running.Load() && count.running.Load() })
	}
	if got := routes.runs.Load(); got != 3 {
		t.Errorf("the job was started %d times, want 3", got)
	}
	stop()
	if routes.running.Load() || count.running.Load() {
		t.Error("a job runs on after the end")
	}
}

// The next replica leads as soon as the jobs of the one before have ended, and not earlier.
func TestTheLeaseIsReleasedAfterTheJobs(t *testing.T) {
	c := newLeaseCluster()
	first := &made{slow: 300 * time.Millisecond, holder: func() string { return c.holder(t) }}
	first.ending = func(held string) error {
		if held != "a" {
			return fmt.Errorf("the Lease is held by %q while the job of a ends", held)
		}
		return nil
	}
	_, stop := c.replica(t, "a", first)
	until(t, "a leads", first.running.Load)
	second := &made{}
	_, stopSecond := c.replica(t, "b", second)
	defer stopSecond()
	stop()
	if held := c.holder(t); held == "a" {
		t.Error("a has ended and still holds the Lease: it was not released")
	}
	until(t, "b leads", second.running.Load)
}

func TestAJobThatFailsRunsAgain(t *testing.T) {
	for name, elect := range map[string]bool{"with election": true, "without election": false} {
		t.Run(name, func(t *testing.T) {
			c := newLeaseCluster()
			fails, other := &made{fail: make(chan error)}, &made{}
			_, stop := c.replica(t, "a")
			stop()
			var l *Leadership
			if elect {
				l, stop = c.replica(t, "a", fails, other)
			} else {
				l = &Leadership{Log: logr.Discard(), Retry: 10 * time.Millisecond}
				l.Add(fails)
				l.Add(other)
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- l.Start(ctx) }()
				stop = func() {
					cancel()
					if err := <-ended; err != nil {
						t.Errorf("the jobs end with %v", err)
					}
				}
			}
			defer stop()
			until(t, "the jobs run", func() bool { return fails.running.Load() && other.running.Load() })
			fails.fail <- errors.New("no luck")
			until(t, "both run again", func() bool { return fails.runs.Load() == 2 && other.runs.Load() == 2 && other.running.Load() })
		})
	}
}
