// SPDX-License-Identifier: Apache-2.0

package localnode

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// How long a container that ended waits before it runs again: doubled each time, forgotten after a run of that length.
// A kubelet begins at 10 seconds; a test has no such time.
const (
	firstBackoff = 250 * time.Millisecond
	lastBackoff  = 10 * time.Second
)

// container is the story of one container: run, and run again as the restart policy says.
type container struct {
	pod     *pod
	spec    corev1.Container
	init    bool
	sidecar bool
	restart corev1.RestartPolicy

	stopping  chan struct{} // closed when it is to end and not to come back
	hurried   chan struct{} // capacity 1; signals a running termination that the deadline is now earlier
	up        chan struct{} // closed when it has started once (its startup probe included)
	ended     chan struct{} // closed when it will not run again
	stopOnce  sync.Once
	upOnce    sync.Once
	mu        sync.Mutex
	state     corev1.ContainerState
	last      corev1.ContainerState
	restarts  int32
	isStarted bool
	isReady   bool
}

func newContainer(p *pod, spec corev1.Container, init bool) *container {
	c := &container{
		pod: p, spec: spec, init: init, restart: p.spec().RestartPolicy,
		stopping: make(chan struct{}), hurried: make(chan struct{}, 1), up: make(chan struct{}), ended: make(chan struct{}),
	}
	c.sidecar = init && spec.RestartPolicy != nil && *spec.RestartPolicy == corev1.ContainerRestartPolicyAlways
	switch {
	case c.sidecar:
		c.restart = corev1.RestartPolicyAlways
	case init && c.restart == corev1.RestartPolicyAlways:
		c.restart = corev1.RestartPolicyOnFailure // an init container that ended well is done
	}
	c.state.Waiting = &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}
	if init || len(p.spec().InitContainers) > 0 {
		c.state.Waiting.Reason = "PodInitializing"
	}
	return c
}

// keep runs the container until it is done by its restart policy, or stopped.
func (c *container) keep(ctx context.Context) {
	defer close(c.ended)
	for wait := firstBackoff; !c.isStopping(); {
		began := time.Now()
		code, ran := c.once(ctx)
		// What could not be started is tried again whatever the policy says, as a kubelet does.
		if ran && (c.restart == corev1.RestartPolicyNever || c.restart == corev1.RestartPolicyOnFailure && code == 0) {
			return
		}
		if c.isStopping() {
			return
		}
		if time.Since(began) > lastBackoff {
			wait = firstBackoff
		}
		c.backOff(wait)
		if !c.pause(wait) {
			return
		}
		wait = min(2*wait, lastBackoff)
	}
}

// once runs the container one time and returns its exit code; ran is false if it could not be started.
func (c *container) once(ctx context.Context) (code int32, ran bool) {
	line, env, reason, err := c.pod.commandLine(ctx, c.spec)
	if err != nil {
		c.cannotStart(reason, err)
		return 0, false
	}
	out, err := os.OpenFile(c.pod.node.logPath(c.pod.key.Namespace, c.pod.key.Name, c.spec.Name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		c.cannotStart("CreateContainerError", err)
		return 0, false
	}
	defer func() { _ = out.Close() }()
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Env, cmd.Dir = env, c.pod.dir
	if c.spec.WorkingDir != "" && c.spec.WorkingDir != "/" {
		cmd.Dir = c.pod.volumes.place(c.spec, c.spec.WorkingDir)
	}
	run, err := startProcess(cmd, out)
	if err != nil {
		c.cannotStart("RunContainerError", err)
		return 0, false
	}
	began := metav1.Now()
	c.running(began)
	c.log("started, pid %d, at %s", cmd.Process.Pid, c.pod.local)

	probing, stopProbing := context.WithCancel(ctx)
	unhealthy := make(chan string, 1)
	var probers sync.WaitGroup
	probers.Go(func() { c.probe(probing, unhealthy) })
	select {
	case <-run.done:
	case <-c.stopping:
		c.terminate(run, c.pod.killAt)
	case why := <-unhealthy:
		c.log("restarted: %s", why)
		deadline := time.Now().Add(c.pod.ownGrace())
		c.terminate(run, func() time.Time { return deadline })
	}
	stopProbing()
	probers.Wait()
	c.terminated(began, run.exit)
	c.log("ended with code %d", run.exit.code)
	return run.exit.code, true
}

// terminate ends a process: preStop, SIGTERM, and SIGKILL when the deadline has passed.
func (c *container) terminate(run *process, deadline func() time.Time) {
	if c.spec.Lifecycle != nil && c.spec.Lifecycle.PreStop != nil && c.preStop(run, *c.spec.Lifecycle.PreStop, deadline) {
		return
	}
	run.signal(syscall.SIGTERM)
	if c.waitUntil(run, deadline) {
		return
	}
	c.log("killed: it did not end within its grace period")
	run.signal(syscall.SIGKILL)
	<-run.done
}

// waitUntil waits for the end of the process and returns true, or false at the deadline, which may come nearer.
func (c *container) waitUntil(run *process, deadline func() time.Time) bool {
	for {
		timer := time.NewTimer(time.Until(deadline()))
		select {
		case <-run.done:
			timer.Stop()
			return true
		case <-c.hurried:
			timer.Stop()
		case <-timer.C:
			return false
		}
	}
}

// preStop runs the hook; it returns true if the process has ended meanwhile.
func (c *container) preStop(run *process, hook corev1.LifecycleHandler, deadline func() time.Time) bool {
	switch {
	case hook.Sleep != nil:
		until := time.Now().Add(time.Duration(hook.Sleep.Seconds) * time.Second)
		return c.waitUntil(run, func() time.Time {
			if end := deadline(); end.Before(until) {
				return end
			}
			return until
		})
	case hook.HTTPGet != nil:
		ctx, cancel := context.WithDeadline(context.Background(), deadline())
		defer cancel()
		if err := c.httpGet(ctx, *hook.HTTPGet); err != nil {
			c.log("preStop: %v", err)
		}
	default:
		c.log("preStop: only sleep and httpGet are run on a local node")
	}
	return false
}

// stop asks for the end.
func (c *container) stop() { c.stopOnce.Do(func() { close(c.stopping) }) }

// hurry says that the deadline may have come nearer.
func (c *container) hurry() {
	select {
	case c.hurried <- struct{}{}:
	default:
	}
}

func (c *container) isStopping() bool {
	select {
	case <-c.stopping:
		return true
	default:
		return false
	}
}

func (c *container) pause(wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-c.stopping:
		return false
	case <-timer.C:
		return true
	}
}

func (c *container) running(began metav1.Time) {
	c.mu.Lock()
	c.state = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: began}}
	c.isStarted, c.isReady = false, false
	c.mu.Unlock()
	c.pod.touch()
}

func (c *container) terminated(began metav1.Time, exit exitStatus) {
	reason := "Completed"
	if exit.code != 0 {
		reason = "Error"
	}
	c.mu.Lock()
	c.state = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: exit.code, Signal: exit.signal, Reason: reason, StartedAt: began, FinishedAt: metav1.Now(),
	}}
	c.isStarted, c.isReady = false, c.init && !c.sidecar && exit.code == 0
	c.mu.Unlock()
	c.pod.touch()
}

// cannotStart shows why.
func (c *container) cannotStart(reason string, err error) {
	c.log("%s: %v", reason, err)
	c.mu.Lock()
	c.state = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: err.Error()}}
	c.mu.Unlock()
	c.pod.touch()
}

// backOff moves the state of an ended run to "last" and counts the restart to come. A container that could not start
// keeps its reason and its count.
func (c *container) backOff(wait time.Duration) {
	c.mu.Lock()
	if c.state.Terminated != nil {
		c.last = c.state
		c.restarts++
		c.state = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{
			Reason: "CrashLoopBackOff", Message: fmt.Sprintf("back-off %v before it runs again", wait),
		}}
	}
	c.mu.Unlock()
	c.pod.touch()
}

func (c *container) isRunning() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.Running != nil
}

func (c *container) setStarted(started bool) {
	c.mu.Lock()
	c.isStarted = started
	c.mu.Unlock()
	if started {
		c.upOnce.Do(func() { close(c.up) })
	}
	c.pod.touch()
}

func (c *container) setReady(ready bool) {
	c.mu.Lock()
	c.isReady = ready
	c.mu.Unlock()
	c.pod.touch()
}

// exitCode is the code of the last run; a container that never ran has failed.
func (c *container) exitCode() int32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state.Terminated == nil {
		return 128
	}
	return c.state.Terminated.ExitCode
}

func (c *container) log(format string, args ...any) {
	c.pod.node.log.Printf("pod %s: container %s: %s", c.pod.key, c.spec.Name, fmt.Sprintf(format, args...))
}
