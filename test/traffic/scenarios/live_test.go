// SPDX-License-Identifier: Apache-2.0

package scenarios

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"outrigger.dev/outrigger/test/traffic"
)

// goLive creates the objects, exposes the Service, and starts the loads. These versions may answer.
func (s *Scene) goLive(versions []string, manifests ...string) {
	s.Helper()
	s.apply(append(manifests, client("client", true))...)
	s.ready()
	s.kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=2m")
	if s.record.Outrigger {
		s.kubectl("annotate", "service", "web", "outrigger.dev/expose=true", "outrigger.dev/hosts="+s.Host)
	} else {
		s.apply(plainRoute(s.Host))
	}
	s.permit("", versions)
	s.startLoads()
}

// ready waits until all Deployments have their replicas.
func (s *Scene) ready() {
	s.Helper()
	for name := range strings.FieldsSeq(s.kubectl("get", "deployments", "-o", "name")) {
		s.kubectl("rollout", "status", name, "--timeout=3m")
	}
}

// gone waits until no pod has the labels.
func (s *Scene) gone(selector string) {
	s.Helper()
	s.eventually("no pod has "+selector, func() error {
		if pods := s.kubectl("get", "pods", "-l", selector, "-o", "name"); pods != "" {
			return fmt.Errorf("there are %q", strings.Fields(pods))
		}
		return nil
	})
}

// only waits until all responses on a way come from one version; way is empty for all ways.
func (s *Scene) only(way, version string) {
	s.Helper()
	s.eventually("all responses come from "+version, func() error {
		for on, responses := range s.collect(20) {
			if counts := traffic.Count(responses); (way == "" || way == on) && counts.Versions[version] != counts.Total {
				return fmt.Errorf("%s: %s", on, counts)
			}
		}
		return nil
	})
}

// setVersion changes the version label of the pods of a Deployment.
func (s *Scene) setVersion(deployment, version string) {
	s.Helper()
	s.kubectl("patch", "deployment", deployment, "-p", fmt.Sprintf(`{"spec":{"template":{"metadata":{"labels":{"version":%q}}}}}`, version))
}

const neverChosen = "A new version gets no request until it is chosen; each shift gives it its share, and none is lost."

func besideFixed(t *testing.T) {
	installed(t)
	s := begin(t, true, "beside-fixed", neverChosen)
	newBeside(s, true)
}

func besideRolling(t *testing.T) {
	installed(t)
	s := begin(t, true, "beside-rolling", neverChosen)
	newBeside(s, false)
}

// newBeside creates v2 next to v1, shifts traffic to it in five steps, promotes it, and removes v1.
func newBeside(s *Scene, fixed bool) {
	s.goLive([]string{"v1"}, service(), workload{name: "first", version: "v1", fixed: fixed}.manifest())
	s.step("v2 is created", func() {
		s.apply(workload{name: "second", version: "v2", fixed: fixed}.manifest())
		s.ready()
	})
	s.collect(200)
	s.note("v2 is ready and has no request")
	for _, percent := range []int{10, 30, 50, 75, 90} {
		s.decide(fmt.Sprintf("shift v2=%d", percent), []string{"v1", "v2"}, func() {
			s.outrigger("shift", "web", fmt.Sprintf("v1=%d", 100-percent), fmt.Sprintf("v2=%d", percent), "--wait")
		})
		s.wantShare("v2", float64(percent)/100, s.everywhere(250))
	}
	s.decide("promote v2", []string{"v2"}, func() {
		s.outrigger("promote", "web", "v2", "--wait")
		s.only("", "v2")
	})
	s.collect(150)
	s.step("v1 is deleted", func() {
		s.kubectl("delete", "deployment", "first")
		s.gone("app=web,version=v1")
	})
	s.collect(150)
}

func rollout(t *testing.T, outrigger bool) {
	if outrigger {
		installed(t)
	}
	s := beginPair(t, outrigger, "rollout", "One Deployment changes its version in place: no request is lost, with Outrigger as without it.")
	s.rollOut(workload{name: "web", version: "v1", replicas: 2})
}

func hardRollout(t *testing.T, outrigger bool) {
	if outrigger {
		installed(t)
	}
	s := beginPair(t, outrigger, "rollout-hard", "Pods that stop at once, without a preStop hook, lose requests on any Kubernetes; Outrigger does not change that.")
	s.mayFail("the pods stop before all proxies know of it")
	s.rollOut(workload{name: "web", version: "v1", replicas: 2, hardStop: true})
}

// rollOut changes v1 to v2 in place, and undoes the change to v3 as soon as v3 answers.
func (s *Scene) rollOut(w workload) {
	s.goLive([]string{"v1"}, service(), w.manifest())
	s.decide("rollout to v2", []string{"v2"}, func() {
		s.setVersion(w.name, "v2")
		s.ready()
		s.gone("app=web,version=v1")
		s.only("", "v2")
	})
	s.collect(100)
	s.permit("", []string{"v2", "v3"})
	s.step("rollout to v3", func() {
		s.setVersion(w.name, "v3")
		s.eventually("v3 answers", func() error {
			for _, responses := range s.collect(20) {
				if traffic.Count(responses).Versions["v3"] > 0 {
					return nil
				}
			}
			return errors.New("it does not")
		})
	})
	s.step("rollout undo", func() {
		s.kubectl("rollout", "undo", "deployment/"+w.name)
		s.ready()
		s.gone("app=web,version=v3")
		s.only("", "v2")
	})
	s.permit("", []string{"v2"})
	s.collect(100)
}

func blueGreen(t *testing.T, outrigger bool) {
	if outrigger {
		installed(t)
	}
	s := beginPair(t, outrigger, "blue-green", "The Service's selector switches from blue to green and back, which counts as a decision. Requests in flight may be lost, with and without Outrigger.")
	s.mayFail("all endpoints of the Service are replaced at once")
	s.goLive([]string{"v1"}, service("track: blue"), workload{name: "blue", version: "v1"}.manifest(), workload{name: "green", version: "v2"}.manifest())
	s.collect(100)
	for _, to := range []struct{ track, version string }{{"green", "v2"}, {"blue", "v1"}} {
		s.decide("selector: "+to.track, []string{to.version}, func() {
			s.kubectl("patch", "service", "web", "-p", fmt.Sprintf(`{"spec":{"selector":{"track":%q}}}`, to.track))
			s.only("", to.version)
		})
		s.collect(150)
	}
}

func replicas(t *testing.T, outrigger bool) {
	may := []string{"v1", "v2"}
	if outrigger {
		installed(t)
		may = []string{"v1"}
	}
	s := beginPair(t, outrigger, "replicas", "v1 serves and v2 waits. Without Outrigger, both would get requests; with it, v1 keeps them all while it grows and shrinks.")
	s.apply(service(), workload{name: "first", version: "v1", fixed: true}.manifest())
	s.ready()
	s.goLive(may, workload{name: "second", version: "v2", fixed: true}.manifest())
	s.step("5 replicas of v1", func() {
		s.kubectl("scale", "deployment/first", "--replicas=5")
		s.ready()
	})
	s.collect(150)
	s.step("1 replica of v1", func() {
		s.kubectl("scale", "deployment/first", "--replicas=1")
		s.eventually("one pod is left", func() error {
			if pods := strings.Fields(s.kubectl("get", "pods", "-l", "track=first", "-o", "name")); len(pods) != 1 {
				return fmt.Errorf("there are %d", len(pods))
			}
			return nil
		})
	})
	s.collect(150)
}

func drain(t *testing.T, outrigger bool) {
	disruptive(t)
	may := []string{"v1", "v2"}
	if outrigger {
		installed(t)
		may = []string{"v1"}
	}
	s := beginPair(t, outrigger, "drain", "The node of v1's pods is drained, as far as their PodDisruptionBudget permits, and v2 gets nothing.")
	s.apply(service(), workload{name: "first", version: "v1", fixed: true, replicas: 2}.manifest(), `
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: first}
spec: {minAvailable: 1, selector: {matchLabels: {track: first}}}`)
	s.ready()
	s.goLive(may, workload{name: "second", version: "v2", fixed: true}.manifest())
	node := s.kubectl("get", "pods", "-l", "track=first", "-o", "jsonpath={.items[0].spec.nodeName}")
	s.Cleanup(func() { s.afterwards("kubectl", "uncordon", node) })
	s.step("drain", func() {
		// If there is no other node, the budget keeps the last pod where it is.
		_, err := cluster.Command(root, nil, "kubectl", "drain", node, "--pod-selector=track=first,app=web", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=20s")
		if err != nil && !strings.Contains(err.Error(), "global timeout reached") && !strings.Contains(err.Error(), "timed out") {
			s.Fatal(err)
		}
	})
	s.collect(150)
	s.step("uncordon", func() {
		s.run("kubectl", "uncordon", node)
		s.ready()
	})
	s.collect(150)
}
