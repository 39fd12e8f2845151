// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"errors"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
)

// report reports a change of the configuration's state: log, metric, and an Event if there is an object for it.
func (c *IstioConfiguration) report(problem *api.InjectProblem) {
	state := "good"
	if problem != nil {
		state = problem.String()
	}
	if problem == nil && c.seen.Config != "" {
		state += c.seen.Config + "\x00" + c.seen.Values + "\x00" + c.seen.Mesh + "\x00" + c.seen.Settings.Revision
	}
	if state == c.state {
		return
	}
	c.state, c.unreported = state, nil
	c.options.Metrics.state(problem)
	if problem == nil {
		c.options.Log.Info("Istio's configuration is in use", "configMap", c.from.injector.what, "mesh", c.from.mesh.what, "release", c.seen.Release)
		return
	}
	instead := "pods that request a sidecar are denied"
	if c.good != nil {
		instead = "the last good one stays in use"
	}
	c.options.Log.Error(errors.New(problem.String()), "Istio's configuration is not usable", "reason", problem.Reason, "instead", instead)
	c.event(*problem, instead)
}

// event prepares the Event about a problem on its ConfigMap, if that exists. All replicas prepare the same Event for one version of
// the ConfigMap.
func (c *IstioConfiguration) event(problem api.InjectProblem, instead string) {
	about := c.from.injector
	if problem.Object.Name == c.from.mesh.name {
		about = c.from.mesh
	}
	object, err := about.object()
	if c.options.Events == nil || err != nil || object == nil {
		return
	}
	configMap := object.(*corev1.ConfigMap)
	c.unreported = &event{
		about: corev1.ObjectReference{APIVersion: "v1", Kind: "ConfigMap", Namespace: configMap.Namespace, Name: configMap.Name, UID: configMap.UID},
		kind:  corev1.EventTypeWarning, reason: string(problem.Reason), action: "Load",
		note: strings.ToUpper(instead[:1]) + instead[1:] + ". " + problem.String(),
		same: configMap.ResourceVersion + " " + problem.String(),
	}
}

// writeEvent writes the prepared Event, if any.
func (c *IstioConfiguration) writeEvent(ctx context.Context) error {
	if c.unreported == nil {
		return nil
	}
	if _, err := c.options.Events.write(ctx, *c.unreported); err != nil {
		return err
	}
	c.unreported = nil
	return nil
}
