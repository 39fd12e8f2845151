// SPDX-License-Identifier: Apache-2.0

package localnode

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// pod is the story of one pod on this node, from the binding to the last process.
type pod struct {
	node         *Node
	key          types.NamespacedName
	uid          types.UID
	dir          string
	number       int
	shown, local string // its address in the API, and the one its processes listen on
	volumes      *volumes

	ending   chan struct{} // closed when the pod is to end: deleted, gone, or the node is switched off
	endOnce  sync.Once
	changed  chan struct{} // capacity 1; signals that the status changed
	started  metav1.Time
	mu       sync.Mutex
	latest   *corev1.Pod
	deadline time.Time // when what still runs is killed; valid after ending
	gone     bool      // no longer in the API
	problem  string    // why the containers wait, e.g. a volume that cannot be made yet
	initDone bool
	phase    corev1.PodPhase // Succeeded or Failed once that is decided
	written  *corev1.PodStatus

	inits []*container // run to their end one after the other, native sidecars excepted
	mains []*container
}

func newPod(n *Node, object *corev1.Pod) (*pod, error) {
	number, err := n.block.take()
	if err != nil {
		return nil, err
	}
	p := &pod{
		node: n, key: types.NamespacedName{Namespace: object.Namespace, Name: object.Name}, uid: object.UID,
		dir: filepath.Join(n.options.Dir, "pods", string(object.UID)), number: number,
		ending: make(chan struct{}), changed: make(chan struct{}, 1), started: metav1.Now(),
		latest: object, phase: corev1.PodPending,
	}
	p.shown, p.local = n.block.pair(number)
	p.volumes = &volumes{pod: p, tokens: map[string]time.Time{}}
	for _, spec := range object.Spec.InitContainers {
		p.inits = append(p.inits, newContainer(p, spec, true))
	}
	for _, spec := range object.Spec.Containers {
		p.mains = append(p.mains, newContainer(p, spec, false))
	}
	p.see(object)
	return p, nil
}

// run runs the pod. It returns when all its processes have ended and the API server has the final status.
func (p *pod) run(ctx context.Context) {
	defer p.node.block.free(p.number)
	defer p.removeDir()
	told := make(chan struct{})
	telling, stopTelling := context.WithCancel(ctx)
	go func() { defer close(told); p.tell(telling) }()
	defer func() { stopTelling(); <-told }()

	go func() {
		<-ctx.Done()
		p.end(0)
	}()
	if finished(p.object()) {
		// A pod that ended before this node process started: nothing to run, only its deletion to confirm.
		p.setPhase(p.object().Status.Phase)
	} else {
		p.setPhase(p.live(ctx))
	}
	select {
	case <-p.ending:
	case <-ctx.Done():
	}
	stopTelling()
	<-told
	p.confirm(ctx)
}

// live runs the containers until none is left, because the pod has ended by itself or is to end, and returns how.
func (p *pod) live(ctx context.Context) corev1.PodPhase {
	if p.isEnding() {
		return corev1.PodFailed
	}
	for _, dir := range []string{p.dir, filepath.Join(p.node.options.Dir, "logs")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			p.node.log.Printf("pod %s: %v", p.key, err)
			return corev1.PodFailed
		}
	}
	if !p.mount(ctx) {
		return corev1.PodFailed
	}
	refreshing, stopRefreshing := context.WithCancel(ctx)
	defer stopRefreshing()
	go p.refresh(refreshing)

	var sidecars []*container
	defer func() {
		// Native sidecars end last, in the opposite order, with the rest of the grace period.
		p.setDeadline(time.Now().Add(p.ownGrace()))
		for _, sidecar := range slices.Backward(sidecars) {
			sidecar.stop()
			<-sidecar.ended
		}
	}()
	for _, c := range p.inits {
		if c.sidecar {
			sidecars = append(sidecars, c)
		}
		if !p.initialize(ctx, c) {
			return corev1.PodFailed
		}
	}
	p.setInitDone()

	for _, c := range p.mains {
		go c.keep(ctx)
	}
	go func() {
		<-p.ending
		for _, c := range p.mains {
			c.stop()
		}
	}()
	succeeded := true
	for _, c := range p.mains {
		<-c.ended
		succeeded = succeeded && c.exitCode() == 0
	}
	if succeeded {
		return corev1.PodSucceeded
	}
	return corev1.PodFailed
}

// mount makes the volumes, trying again until it works or the pod is to end; the reason is in the status meanwhile.
func (p *pod) mount(ctx context.Context) bool {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		err := p.volumes.write(ctx)
		p.setProblem(err)
		if err == nil {
			return true
		}
		p.node.log.Printf("pod %s: %v", p.key, err)
		if !p.pause(wait) {
			return false
		}
	}
}

// refresh brings changed Secrets, ConfigMaps and tokens into the running pod, within 20 seconds.
func (p *pod) refresh(ctx context.Context) {
	tick := time.NewTicker(20 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := p.volumes.write(ctx); err != nil && ctx.Err() == nil {
			p.node.log.Printf("pod %s: refresh: %v", p.key, err)
		}
	}
}

// initialize runs one init container: a native sidecar until it has started, any other until it has ended well. false
// means that the pod cannot go on.
func (p *pod) initialize(ctx context.Context, c *container) bool {
	go c.keep(ctx)
	if c.sidecar {
		select {
		case <-c.up:
			return true
		case <-p.ending:
			return false
		}
	}
	select {
	case <-c.ended:
	case <-p.ending:
		c.stop()
		<-c.ended
	}
	return c.exitCode() == 0
}

// pause waits and returns true, or false when the pod is to end.
func (p *pod) pause(wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-p.ending:
		return false
	case <-timer.C:
		return true
	}
}

func (p *pod) isEnding() bool {
	select {
	case <-p.ending:
		return true
	default:
		return false
	}
}

// see takes note of what the API says now.
func (p *pod) see(object *corev1.Pod) {
	p.mu.Lock()
	p.latest = object
	p.mu.Unlock()
	p.touch() // for the readiness gates
	if object.DeletionTimestamp == nil {
		return
	}
	grace := p.ownGrace()
	if object.DeletionGracePeriodSeconds != nil {
		grace = time.Duration(*object.DeletionGracePeriodSeconds) * time.Second
	}
	p.end(grace)
}

// vanish is for a pod that was taken out of the API without waiting for us.
func (p *pod) vanish() {
	p.mu.Lock()
	p.gone = true
	p.mu.Unlock()
	p.end(0)
}

// end asks for the end; a later call can only shorten the grace period.
func (p *pod) end(grace time.Duration) {
	p.setDeadline(time.Now().Add(grace))
	p.endOnce.Do(func() { close(p.ending) })
	for _, c := range slices.Concat(p.inits, p.mains) {
		c.hurry()
	}
}

// confirm takes the pod out of the API, as a kubelet does when nothing of it runs any more.
func (p *pod) confirm(ctx context.Context) {
	zero := int64(0)
	options := metav1.DeleteOptions{GracePeriodSeconds: &zero, Preconditions: &metav1.Preconditions{UID: &p.uid}}
	p.publish(ctx)
	for ctx.Err() == nil && !p.isGone() {
		err := p.node.client.CoreV1().Pods(p.key.Namespace).Delete(ctx, p.key.Name, options)
		if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) { // a conflict: another pod has the name
			p.node.log.Printf("pod %s: ended", p.key)
			return
		}
		p.node.log.Printf("pod %s: confirm its deletion: %v", p.key, err)
		select {
		case <-ctx.Done():
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func (p *pod) isGone() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gone
}

func (p *pod) removeDir() {
	if err := os.RemoveAll(p.dir); err != nil {
		p.node.log.Printf("pod %s: %v", p.key, err)
	}
}

func (p *pod) object() *corev1.Pod {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.latest
}

func (p *pod) spec() corev1.PodSpec { return p.object().Spec }

// ownGrace is the grace period that the pod asks for.
func (p *pod) ownGrace() time.Duration {
	seconds := int64(30)
	if own := p.spec().TerminationGracePeriodSeconds; own != nil {
		seconds = *own
	}
	return time.Duration(seconds) * time.Second
}

// setDeadline says when what still runs is killed; it can come nearer, never move away.
func (p *pod) setDeadline(deadline time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.deadline.IsZero() || deadline.Before(p.deadline) {
		p.deadline = deadline
	}
}

func (p *pod) killAt() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.deadline
}

func (p *pod) setProblem(err error) {
	p.mu.Lock()
	p.problem = ""
	if err != nil {
		p.problem = err.Error()
	}
	p.mu.Unlock()
	p.touch()
}

func (p *pod) setInitDone() {
	p.mu.Lock()
	p.initDone = true
	p.mu.Unlock()
	p.touch()
}

func (p *pod) setPhase(phase corev1.PodPhase) {
	p.mu.Lock()
	p.phase = phase
	p.mu.Unlock()
	p.touch()
}

// touch says that the status has to be looked at again.
func (p *pod) touch() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

func (p *pod) published() *corev1.PodStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.written
}

func (p *pod) setPublished(status *corev1.PodStatus) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.written = status
}

func finished(object *corev1.Pod) bool {
	return object.Status.Phase == corev1.PodSucceeded || object.Status.Phase == corev1.PodFailed
}
