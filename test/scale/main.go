// SPDX-License-Identifier: Apache-2.0

// Command scale measures routing on a real API server: how long the first objects take beside a program that only
// creates the same ones, how much memory the pods cost, how soon an annotation is an object, and what pods that come
// and go cost. Nodes and kubelets are not needed: the pods are made bound to a node and said to be ready.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// size is how many Services, versions of each and pods of each version there are.
type size struct{ services, versions, pods int }

func (s size) String() string {
	return fmt.Sprintf("%d×%d×%d (%d pods)", s.services, s.versions, s.pods, s.services*s.versions*s.pods)
}

var sizes = map[string]size{"small": {100, 2, 3}, "middle": {1000, 3, 5}, "large": {5000, 4, 5}, canariesAlone: {maxCanaries, 2, 3}, dashboardAlone: {5000, 2, 2}}

// canariesAlone is the size with which only canaries are measured.
const canariesAlone = "canaries"

// The goals (docs/understand/scale.md). Missing one is not an error.
const (
	goalRatio    = 1.2
	goalHeapMB   = 120
	goalMemoryMB = 250
)

func main() {
	flags := flag.NewFlagSet("scale", flag.ExitOnError) // libraries have put theirs into the common one
	child := flags.Bool("controller", false, "be the controller that is measured (used by the command itself)")
	kubeconfig := flags.String("kubeconfig", "", "with -controller: the cluster")
	delays := flags.Bool("delays", false, "with -controller: the waiting times as they are by default, instead of none")
	standby := flags.Bool("standby", false, "with -controller: do not lead")
	profiles := flags.String("profiles", "", "a folder for a CPU profile of each controller, and one of the heap where it is measured")
	metricsURL := flags.String("metrics", "", "with -controller: the metrics server that canaries are evaluated with")
	name := flags.String("size", "small", "small, middle, or large; canaries or dashboard measures only those")
	rounds := flags.Int("rounds", 3, "how often the first start and the floor are measured, in turn")
	_ = flags.Parse(os.Args[1:]) // it exits by itself
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log.SetLogger(logr.Discard())
	var err error
	if *child {
		err = profiled(*profiles, func() error {
			return beController(ctx, *kubeconfig, controllerOptions{profiles: *profiles, metricsURL: *metricsURL, delays: *delays, standby: *standby})
		})
	} else if s, known := sizes[*name]; known {
		err = measure(ctx, s, *rounds, *profiles, *name)
	} else {
		err = fmt.Errorf("-size %s: expected small, middle, large, canaries, or dashboard", *name)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// measure creates the cluster and takes all measurements, or only those for which the size exists.
func measure(ctx context.Context, s size, rounds int, profiles, name string) (err error) {
	fmt.Printf("services × versions × pods: %s\n", s)
	w, err := newWorld(ctx, s)
	if err != nil {
		return err
	}
	w.rounds, w.profiles = rounds, profiles
	defer func() {
		if stopErr := w.stop(); err == nil {
			err = stopErr
		}
	}()
	began := time.Now()
	if err := w.populate(ctx); err != nil {
		return err
	}
	fmt.Printf("made in %v\n", time.Since(began).Round(time.Second))
	steps := []func(context.Context) error{w.coldStarts, w.restart, w.shifts, w.churn, w.transitions, w.canaries, w.standby, w.withDelays}
	switch name {
	case canariesAlone:
		steps = []func(context.Context) error{w.canaries}
	case dashboardAlone:
		steps = []func(context.Context) error{w.dashboards}
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// coldStarts has the controller and the floor create the objects in turn, and leaves the last controller running.
func (w *world) coldStarts(ctx context.Context) error {
	var outrigger, floor []time.Duration
	for round := range w.rounds {
		taken, total, err := w.coldStart(ctx)
		if err != nil {
			return err
		}
		outrigger = append(outrigger, taken)
		fmt.Printf("first start %d: %v from the first object to the last, %v from the start of the process\n", round+1, taken.Round(time.Millisecond), total.Round(time.Millisecond))
		if err := w.wantWrites(ctx, "first start", 2*w.services); err != nil {
			return err
		}
		now, err := w.controller.look(ctx, false)
		if err != nil {
			return err
		}
		fmt.Printf("  %d writes, %d reconciles, %.2f s of CPU\n", now.Writes, now.Reconciles, now.CPU)
		if err := w.controller.stop(); err != nil {
			return err
		}
		bodies, err := w.takeRoutes(ctx)
		if err != nil {
			return err
		}
		if taken, err = w.createAll(ctx, bodies); err != nil {
			return err
		}
		floor = append(floor, taken)
		fmt.Printf("floor %d: %v\n", round+1, taken.Round(time.Millisecond))
		if round == w.rounds-1 {
			break // they are what a controller would have written
		}
		if _, err = w.takeRoutes(ctx); err != nil {
			return err
		}
	}
	fmt.Printf("wall time: median %v, floor %v, ratio %.2f (goal %.1f)\n", median(outrigger).Round(time.Millisecond), median(floor).Round(time.Millisecond),
		median(outrigger).Seconds()/median(floor).Seconds(), goalRatio)
	if err := w.startController(ctx); err != nil {
		return err
	}
	if err := w.controller.reconciled(ctx, w.services); err != nil {
		return err
	}
	return w.wantWrites(ctx, "another leader on the floor's objects", 0)
}

func median(all []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// coldStart starts a controller on a cluster without routes, and returns how long the objects took, from the first to
// the last and in all.
func (w *world) coldStart(ctx context.Context, flags ...string) (taken, total time.Duration, err error) {
	arrivals, err := w.watchRoutes(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer arrivals.stop()
	began := time.Now()
	if err := w.startController(ctx, flags...); err != nil {
		return 0, 0, err
	}
	if err := arrivals.wait(ctx, 2*w.services); err != nil {
		return 0, 0, err
	}
	return arrivals.last.Sub(arrivals.first), arrivals.last.Sub(began), nil
}

// shifts annotates one Service after the other and waits for its route.
func (w *world) shifts(ctx context.Context) error {
	if err := w.controller.quiet(ctx); err != nil {
		return err
	}
	before, err := w.controller.look(ctx, false)
	if err != nil {
		return err
	}
	var taken []time.Duration
	for i := range min(w.services, 300) {
		d, err := w.shift(ctx, i)
		if err != nil {
			return err
		}
		taken = append(taken, d)
	}
	if err := w.controller.quiet(ctx); err != nil {
		return err
	}
	slices.Sort(taken)
	fmt.Printf("annotation to object, %d Services: p50 %v, p99 %v\n", len(taken),
		taken[len(taken)/2].Round(time.Millisecond), taken[len(taken)*99/100].Round(time.Millisecond))
	after, err := w.controller.look(ctx, false)
	if err != nil {
		return err
	}
	if got := after.Writes - before.Writes; got != 2*len(taken) { // the VirtualService, and the record of the weights on the DestinationRule
		return fmt.Errorf("shifting %d Services was %d writes", len(taken), got)
	}
	return nil
}

// churn replaces pods by others of the same version.
func (w *world) churn(ctx context.Context) error {
	before, err := w.controller.look(ctx, false)
	if err != nil {
		return err
	}
	began := time.Now()
	events, err := w.replacePods(ctx)
	if err != nil {
		return err
	}
	if err := w.controller.quiet(ctx); err != nil {
		return err
	}
	after, err := w.controller.look(ctx, false)
	if err != nil {
		return err
	}
	per := 10000 / float64(events)
	fmt.Printf("%d pod events in %v; per 10,000: %.0f reconciles, %.2f s of CPU, %.0f writes\n", events, time.Since(began).Round(time.Second),
		per*float64(after.Reconciles-before.Reconciles), per*(after.CPU-before.CPU), per*float64(after.Writes-before.Writes))
	if after.Writes != before.Writes {
		return fmt.Errorf("pods that come and go were %d writes", after.Writes-before.Writes)
	}
	return nil
}

// restart starts another controller on the objects that stand.
func (w *world) restart(ctx context.Context) error {
	if err := w.controller.stop(); err != nil {
		return err
	}
	began := time.Now()
	if err := w.startController(ctx); err != nil {
		return err
	}
	if err := w.controller.reconciled(ctx, w.services); err != nil {
		return err
	}
	took := time.Since(began)
	pods := w.services * w.versions * w.pods
	if err := w.controller.counted(ctx, pods); err != nil { // so that what is kept for it is measured as well
		return err
	}
	counted := time.Since(began)
	now, err := w.controller.look(ctx, true)
	if err != nil {
		return err
	}
	fmt.Printf("restart: every Service looked at after %v, %d writes; live heap %d MB (goal %d), resident %d MB, at most %d MB (goal %d)\n",
		took.Round(time.Millisecond), now.Writes, now.LiveHeapMB, goalHeapMB, now.ResidentMB, now.PeakMB, goalMemoryMB)
	fmt.Printf("sidecars of %d pods counted after %v\n", now.Counted, counted.Round(time.Millisecond))
	if now.Covered != pods {
		return fmt.Errorf("%d of %d pods have the right sidecar; all of them were made with it", now.Covered, pods)
	}
	return w.wantWrites(ctx, "restart", 0)
}

// standby starts a replica that does not lead, since somebody else holds the Lease, and tells what it keeps.
func (w *world) standby(ctx context.Context) error {
	if err := w.controller.stop(); err != nil {
		return err
	}
	other, day, now := "another", int32(24*60*60), metav1.NowMicro()
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: standbyLease}, Spec: coordinationv1.LeaseSpec{
		HolderIdentity: &other, LeaseDurationSeconds: &day, AcquireTime: &now, RenewTime: &now,
	}}
	if _, err := w.kube.CoordinationV1().Leases(metav1.NamespaceDefault).Create(ctx, lease, metav1.CreateOptions{}); err != nil {
		return err
	}
	if err := w.startController(ctx, "-standby"); err != nil {
		return err
	}
	if err := w.controller.quiet(ctx); err != nil {
		return err
	}
	is, err := w.controller.look(ctx, true)
	if err != nil {
		return err
	}
	fmt.Printf("a replica that does not lead: %d reconciles, live heap %d MB, resident %d MB\n", is.Reconciles, is.LiveHeapMB, is.ResidentMB)
	if is.Reconciles+is.Counted > 0 {
		return fmt.Errorf("it has looked at %d Services and counted %d pods", is.Reconciles, is.Counted)
	}
	return w.controller.stop()
}

// withDelays is a cold start with the waiting times that users have.
func (w *world) withDelays(ctx context.Context) error {
	if _, err := w.takeRoutes(ctx); err != nil {
		return err
	}
	_, total, err := w.coldStart(ctx, "-delays")
	if err != nil {
		return err
	}
	fmt.Printf("cold start with the default waiting times: %v from the start of the process\n", total.Round(time.Millisecond))
	return w.controller.stop()
}

func (w *world) wantWrites(ctx context.Context, what string, want int) error {
	if err := w.controller.quiet(ctx); err != nil {
		return err
	}
	now, err := w.controller.look(ctx, false)
	if err == nil && now.Writes != want {
		err = fmt.Errorf("%s: %d writes, not %d", what, now.Writes, want)
	}
	return err
}
