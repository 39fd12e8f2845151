// SPDX-License-Identifier: Apache-2.0

package scenarios

import "testing"

type scenario struct {
	name string
	run  func(*testing.T)
}

// pair is a scenario and whether Outrigger is installed.
func pair(run func(*testing.T, bool), outrigger bool) func(*testing.T) {
	return func(t *testing.T) { run(t, outrigger) }
}

// TestTraffic runs all scenarios, phase by phase. -run can name one of them: those with Outrigger install it if it is not there.
func TestTraffic(t *testing.T) {
	if cluster == nil {
		t.Skip("it needs a cluster with Istio, and E2E_LOAD or E2E_IMAGE for Outrigger's image; run it with: make e2e (docs/testing.md)")
	}
	parallel(t, "without Outrigger", []scenario{
		{"a rollout in place is undone halfway", pair(rollout, false)},
		{"a rollout of pods that stop at once", pair(hardRollout, false)},
		{"the selector switches between blue and green", pair(blueGreen, false)},
		{"v1 grows from 1 to 5 replicas and shrinks again", pair(replicas, false)},
		{"the node of v1 is drained", pair(drain, false)},
	})
	oneByOne(t, "installation", []scenario{{"installing moves no traffic", installing}})
	oneByOne(t, "journey", []scenario{{"the quick start works as written", journey}})
	parallel(t, "with Outrigger", []scenario{
		{"v2 next to a fixed v1 gets what you choose", besideFixed},
		{"v2 next to a rolling v1 gets what you choose", besideRolling},
		{"a rollout in place is undone halfway", pair(rollout, true)},
		{"a rollout of pods that stop at once", pair(hardRollout, true)},
		{"the selector switches between blue and green", pair(blueGreen, true)},
		{"v1 grows from 1 to 5 replicas and shrinks again", pair(replicas, true)},
		{"changing the exposure interrupts no caller", exposure},
		{"hand-written objects replace Outrigger's and leave", foreign},
		{"pods have native and classic sidecars", sidecars},
		{"probes, hooks, metrics, and a Job work under STRICT", strict},
		{"other ports and HTTPS reach v1", ports},
		{"a namespace without a label is injected by hand", byHand},
		{"spans have the names of the workloads", spans},
	})
	// By itself, because a busy node would make a healthy canary slow.
	oneByOne(t, "canary", []scenario{{"failing and slow canaries are aborted, a healthy one is promoted", canary}})
	oneByOne(t, "operation", []scenario{
		{"the node of v1 is drained", pair(drain, true)},
		{"helm test succeeds", helmTest},
		{"upgrading and replacing the leader moves no traffic", operation},
		{"pods are created while replicas and certificates are replaced", admission},
		{"an outage refuses pods under Fail and none under Ignore", outage},
	})
	oneByOne(t, "removal", []scenario{{"uninstalling moves no traffic", uninstalling}})
}

func parallel(t *testing.T, phase string, scenarios []scenario) {
	t.Run(phase, func(t *testing.T) {
		for _, s := range scenarios {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				s.run(t)
			})
		}
	})
}

func oneByOne(t *testing.T, phase string, scenarios []scenario) {
	t.Run(phase, func(t *testing.T) {
		for _, s := range scenarios {
			t.Run(s.name, s.run)
		}
	})
}

// disruptive skips a scenario that disturbs others in the cluster, unless the user named the cluster for that.
func disruptive(t *testing.T) {
	t.Helper()
	if !cluster.Operator {
		t.Skipf("disturbs others in the cluster; to run it, set E2E_DISRUPTIVE=%s", cluster.Context)
	}
}
