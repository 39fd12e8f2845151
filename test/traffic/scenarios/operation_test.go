// SPDX-License-Identifier: Apache-2.0

package scenarios

import (
	"fmt"
	"strings"
	"testing"
)

// helmTest runs the chart's test, which calls the webhook as the API server does.
func helmTest(t *testing.T) {
	installed(t)
	s := begin(t, true, "helm-test", "helm test calls the webhook through its Service.")
	out := s.run("helm", "test", "outrigger", "-n", system, "--logs")
	if !strings.Contains(out, "Succeeded") {
		t.Errorf("helm test says:\n%s", out)
	}
	s.note("helm test succeeded, in a namespace with the Pod Security level restricted")
}

// operation upgrades Outrigger and replaces its leader while a route is in use.
func operation(t *testing.T) {
	installed(t)
	s := begin(t, true, "operation", "Outrigger is upgraded, its leader is killed, and all of its replicas are stopped: the route stays, and the next decision applies.")
	s.apply(service(), workload{name: "first", version: "v1", fixed: true}.manifest())
	s.ready()
	s.goLive([]string{"v1"}, workload{name: "second", version: "v2", fixed: true}.manifest())
	s.collect(50)
	s.step("helm upgrade", func() { s.upgrade("--set", "podAnnotations.traffic-test=operation") })
	s.collect(100)
	if cluster.Operator {
		before := s.awaitLeader("")
		s.step("the leader is killed", func() {
			s.run("kubectl", "delete", "pod", before, "-n", system, "--grace-period=0", "--force")
			s.awaitLeader(before)
		})
		s.note("another replica leads")
	}
	s.decide("shift v2=50", []string{"v1", "v2"}, func() { s.outrigger("shift", "web", "v1=50", "v2=50", "--wait") })
	s.wantShare("v2", 0.5, s.everywhere(250))
	if cluster.Operator {
		s.step("Outrigger is stopped", func() { s.scale(0) })
		s.wantShare("v2", 0.5, s.everywhere(200))
		s.step("Outrigger is started", func() { s.scale(2) })
	}
	s.decide("promote v2", []string{"v2"}, func() {
		s.outrigger("promote", "web", "v2", "--wait")
		s.only("", "v2")
	})
	s.collect(100)
}

// upgrade changes the release and returns when its new pods serve.
func (s *Scene) upgrade(args ...string) {
	s.Helper()
	s.run("helm", append([]string{"upgrade"}, release(args...)...)...)
}

// awaitLeader waits until a replica leads that is not the one before, and returns its name.
func (s *Scene) awaitLeader(before string) string {
	s.Helper()
	name := ""
	s.eventually("a replica leads", func() error {
		holder := s.run("kubectl", "get", "lease", "outrigger-routing", "-n", system, "-o", "jsonpath={.spec.holderIdentity}")
		if name, _, _ = strings.Cut(holder, "_"); name == before || name == "" {
			return fmt.Errorf("the leader is %q", name)
		}
		return nil
	})
	return name
}

// scale sets the number of Outrigger's replicas, and waits until they serve or are gone.
func (s *Scene) scale(count int) {
	s.Helper()
	s.run("kubectl", "scale", "deployment/outrigger", "-n", system, fmt.Sprintf("--replicas=%d", count))
	if count > 0 {
		s.run("kubectl", "rollout", "status", "deployment/outrigger", "-n", system, "--timeout=2m")
		return
	}
	s.eventually("no replica is left", func() error {
		if pods := s.replicas(); len(pods) > 0 {
			return fmt.Errorf("there are %q", pods)
		}
		return nil
	})
}

// replicaSelector selects Outrigger's pods, and not those of Helm's hooks.
const replicaSelector = "app.kubernetes.io/name=outrigger,pod-template-hash"

// replicas returns the names of Outrigger's pods.
func (s *Scene) replicas() []string {
	s.Helper()
	return strings.Fields(s.run("kubectl", "get", "pods", "-n", system, "-l", replicaSelector, "-o", "jsonpath={.items[*].metadata.name}"))
}

// outage stops the webhook under each failure policy.
func outage(t *testing.T) {
	disruptive(t)
	installed(t)
	s := begin(t, true, "outage", "Outrigger is stopped: under Fail, new pods are refused until it is back; under Ignore, they start, and a rollout loses no request.")
	s.Cleanup(func() {
		s.afterwards("kubectl", "scale", "deployment/outrigger", "-n", system, "--replicas=2")
		s.afterwards("kubectl", "rollout", "status", "deployment/outrigger", "-n", system, "--timeout=2m")
	})
	s.goLive([]string{"v1"}, service(), workload{name: "web", version: "v1", replicas: 2}.manifest())
	s.step("stopped, Fail", func() { s.scale(0) })
	if _, err := cluster.Command(root, []byte(client("refused", true)), "kubectl", "create", "-n", s.Namespace, "-f", "-"); err == nil || !strings.Contains(err.Error(), "failed calling webhook") {
		t.Errorf("a pod was not refused while the webhook does not answer: %v", err)
	} else {
		s.note("under Fail, a new pod is refused")
	}
	s.collect(100)
	s.step("started", func() { s.scale(2) })
	s.apply(client("accepted", true))
	s.kubectl("wait", "--for=condition=Ready", "pod/accepted", "--timeout=2m")

	s.step("helm upgrade, Ignore", func() { s.upgrade("--set", "webhook.failurePolicy=Ignore") })
	s.step("stopped, Ignore", func() { s.scale(0) })
	s.decide("rollout to v2", []string{"v2"}, func() {
		s.setVersion("web", "v2")
		s.ready()
		s.gone("app=web,version=v1")
		s.only("", "v2")
	})
	s.note("under Ignore, pods start, and the rollout is complete")
	s.collect(100)
	s.step("started", func() { s.scale(2) })
	s.awaitLeader("")
	s.step("helm upgrade, Fail", func() { s.upgrade() })
	s.collect(100)
}
