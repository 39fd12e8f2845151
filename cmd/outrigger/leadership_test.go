// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
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
func (c *leaseCluster) replica(t *testing.T, name string, jobs ...*made) (l *leadership, stop func()) {
	t.Helper()
	lock, err := resourcelock.New(resourcelock.LeasesResourceLock, "outrigger-system", "outrigger-routing",
		kubernetes.Interface(c).CoreV1(), kubernetes.Interface(c).CoordinationV1(), resourcelock.ResourceLockConfig{Identity: name})
	if err != nil {
		t.Fatal(err)
	}
	l = &leadership{
		lock: lock, name: "outrigger-routing", log: logr.Discard(), retry: 10 * time.Millisecond,
		timing: api.LeaderElectionConfig{LeaseDuration: 3 * time.Second, RenewDeadline: time.Second, RetryPeriod: 100 * time.Millisecond},
	}
	for _, one := range jobs {
		l.add(one)
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
			var l *leadership
			if elect {
				l, stop = c.replica(t, "a", fails, other)
			} else {
				l = &leadership{log: logr.Discard(), retry: 10 * time.Millisecond}
				l.add(fails)
				l.add(other)
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

// A replica whose API server cannot be reached is alive, says what it waits for, and ends when it is told to.
func TestAReplicaWaitsForAnAPIServerThatIsAway(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for connections to fail")
	}
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	text := "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {token: t}}]\n"
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	config := api.DefaultConfig()
	config.Webhook.Port, config.Health.Address, config.Metrics.Address = freePort(t), fmt.Sprintf(":%d", freePort(t)), "0"
	config.Shutdown.Linger = 10 * time.Millisecond
	p, err := newProcess(config, placement{kubeconfig: kubeconfig, namespace: "outrigger-system", address: "127.0.0.1"}, logr.Discard())
	if err != nil {
		t.Fatalf("it does not start: %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.run(ctx) }()
	r := &running{process: p}
	until(t, "it is alive", func() bool { status, _ := r.get(t, p.others[0], "/healthz"); return status == http.StatusOK })
	for begun := time.Now(); time.Since(begun) < 3*time.Second; time.Sleep(100 * time.Millisecond) {
		select {
		case err := <-ended:
			t.Fatalf("it ended: %v", err)
		default:
		}
		if status, body := r.get(t, p.others[0], "/readyz"); status == http.StatusOK || !strings.Contains(body, "caches") {
			t.Fatalf("readiness says %d %q; want what it waits for", status, body)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v", err)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().(*net.TCPAddr).Port
}
