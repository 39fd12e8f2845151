// SPDX-License-Identifier: Apache-2.0

package localnode

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// tell writes the status whenever it has changed, until ctx ends. A write that fails is tried again.
func (p *pod) tell(ctx context.Context) {
	p.touch()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.changed:
		}
		if p.publish(ctx) {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(200 * time.Millisecond):
			p.touch()
		}
	}
}

// publish writes the status if it differs from what the API shows; false means that it has to be tried again. It
// is a patch of what a kubelet owns: the conditions of others stay.
func (p *pod) publish(ctx context.Context) bool {
	status := p.status(p.object())
	if reflect.DeepEqual(p.published(), status) {
		return true
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": p.uid}, "status": status})
	if err != nil {
		p.node.log.Printf("pod %s: status: %v", p.key, err)
		return true
	}
	_, err = p.node.client.CoreV1().Pods(p.key.Namespace).Patch(ctx, p.key.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return true // the pod is deleted, or another one has its name, so there is no status to write
	}
	if err != nil {
		if ctx.Err() == nil {
			p.node.log.Printf("pod %s: write its status: %v", p.key, err)
		}
		return false
	}
	p.setPublished(status)
	return true
}

// status composes what the pod's containers say now. Times of transition are kept where the answer is the same as
// before.
func (p *pod) status(object *corev1.Pod) *corev1.PodStatus {
	p.mu.Lock()
	phase, problem, initDone := p.phase, p.problem, p.initDone
	p.mu.Unlock()
	status := &corev1.PodStatus{
		Phase: phase, StartTime: &p.started, PodIP: p.shown, PodIPs: []corev1.PodIP{{IP: p.shown}},
		HostIP: p.node.block.hostIP(), HostIPs: []corev1.HostIP{{IP: p.node.block.hostIP()}},
	}
	var unready []string
	allStarted := true
	for _, c := range p.inits {
		one := c.status(problem)
		status.InitContainerStatuses = append(status.InitContainerStatuses, one)
		if c.sidecar && !one.Ready {
			unready = append(unready, c.spec.Name)
		}
	}
	for _, c := range p.mains {
		one := c.status(problem)
		status.ContainerStatuses = append(status.ContainerStatuses, one)
		if !one.Ready {
			unready = append(unready, c.spec.Name)
		}
		allStarted = allStarted && (one.State.Running != nil || one.State.Terminated != nil || one.LastTerminationState.Terminated != nil)
	}
	over := phase == corev1.PodSucceeded || phase == corev1.PodFailed
	if !over && initDone && allStarted {
		status.Phase = corev1.PodRunning
	}
	reason, message := "", ""
	switch {
	case over && phase == corev1.PodSucceeded:
		reason = "PodCompleted"
	case over:
		reason = "PodFailed"
	case len(unready) > 0:
		reason, message = "ContainersNotReady", fmt.Sprintf("containers with unready status: [%s]", strings.Join(unready, " "))
	}
	ready := reason == ""
	gates, gateMessage := readinessGates(object)
	before := object.Status.Conditions
	if written := p.published(); written != nil {
		before = written.Conditions // the watch may not have brought it back yet
	}
	set := func(kind corev1.PodConditionType, is bool, reason, message string) {
		status.Conditions = append(status.Conditions, condition(before, kind, is, reason, message))
	}
	set(corev1.PodReadyToStartContainers, problem == "" && !over, "", "")
	set(corev1.PodInitialized, initDone || over && phase == corev1.PodSucceeded, "", "")
	set(corev1.ContainersReady, ready, reason, message)
	if ready && !gates {
		set(corev1.PodReady, false, "ReadinessGatesNotReady", gateMessage)
	} else {
		set(corev1.PodReady, ready, reason, message)
	}
	return status
}

func readinessGates(object *corev1.Pod) (bool, string) {
	for _, gate := range object.Spec.ReadinessGates {
		met := false
		for _, c := range object.Status.Conditions {
			met = met || c.Type == gate.ConditionType && c.Status == corev1.ConditionTrue
		}
		if !met {
			return false, fmt.Sprintf("the status of pod readiness gate %q is not \"True\"", gate.ConditionType)
		}
	}
	return true, ""
}

func condition(before []corev1.PodCondition, kind corev1.PodConditionType, is bool, reason, message string) corev1.PodCondition {
	value := corev1.ConditionFalse
	if is {
		value = corev1.ConditionTrue
	}
	since := metav1.Now().Rfc3339Copy()
	for _, old := range before {
		if old.Type == kind && old.Status == value {
			since = old.LastTransitionTime
		}
	}
	return corev1.PodCondition{Type: kind, Status: value, Reason: reason, Message: message, LastTransitionTime: since}
}

func (c *container) status(problem string) corev1.ContainerStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	started := c.isStarted
	status := corev1.ContainerStatus{
		Name: c.spec.Name, Image: c.spec.Image, ImageID: c.spec.Image, Ready: c.isReady, Started: &started,
		RestartCount: c.restarts, State: *c.state.DeepCopy(), LastTerminationState: *c.last.DeepCopy(),
	}
	if c.state.Running != nil || c.state.Terminated != nil {
		status.ContainerID = fmt.Sprintf("process://%s-%s-%d", c.pod.uid, c.spec.Name, c.restarts)
	}
	if problem != "" && status.State.Waiting != nil {
		status.State.Waiting.Message = problem
	}
	return status
}
