// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"time"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

func (c *cluster) freeze(on bool) {
	c.t.Helper()
	c.settings.Freeze = on
	c.settle()
}

func (c *cluster) reportsNo(reason api.RouteReason) {
	c.t.Helper()
	for _, p := range c.problems {
		if p.Reason == reason {
			c.t.Error(p)
		}
	}
}

var bothObjects = []string{"Apply DestinationRule app", "Apply VirtualService app"}

// A freeze stops the clock of the step, as a pause does. That is one write of each object when it begins, and none until it ends.
func TestFreezeStopsTheClockOfTheStep(t *testing.T) {
	for _, test := range []struct {
		name           string
		before, during func(c *cluster)
		left           time.Duration
	}{
		{"ten seconds after the step began", nil, nil, 50 * time.Second},
		{"while the version is not ready", nil, func(c *cluster) {
			c.run("app-v2", "v2", 2, 0)
			c.settle()
			c.advance(time.Hour)
			c.run("app-v2", "v2", 2, 2)
		}, 50 * time.Second},
		{"twice", func(c *cluster) { c.freeze(true); c.advance(time.Hour); c.freeze(false); c.advance(5 * time.Second) }, nil, 45 * time.Second},
		{"during a pause that ends with it", func(c *cluster) { c.annotate("canary-paused=true"); c.settle(); c.advance(20 * time.Minute) },
			func(c *cluster) { c.annotate("canary-paused-") }, 50 * time.Second},
		{"and a pause within it", nil, func(c *cluster) {
			c.annotate("canary-paused=true")
			c.settle()
			c.advance(time.Hour)
			c.annotate("canary-paused-")
		}, 50 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, hasMetrics := range []bool{false, true} {
				c := canaryOf(t, "canary=v2")
				if hasMetrics {
					c.measured(0)
				}
				c.settle()
				c.advance(10 * time.Second)
				if test.before != nil {
					test.before(c)
				}
				before := copyObjects(c.existing)
				c.writes = nil
				c.freeze(true)
				c.wrote(bothObjects...)
				c.sameSpecs(before)
				c.advance(2 * time.Hour)
				if test.during != nil {
					test.during(c)
				}
				c.advance(time.Hour)
				c.wrote()
				c.isCanary("v2 progressing 1/3 25%", "v1=75 v2=25")
				c.freeze(false)
				c.isCanary("v2 progressing 1/3 25%", "v1=75 v2=25")
				c.advance(test.left - time.Second)
				c.isCanary("v2 progressing 1/3 25%", "v1=75 v2=25")
				c.advance(2 * time.Second)
				c.isCanary("v2 progressing 2/3 50%", "v1=50 v2=50")
			}
		})
	}
}

// A canary that fails before, during, and after a freeze is aborted by the first evaluation after it, which is the second failure in a row.
func TestFailureBeforeAFreeze(t *testing.T) {
	c := started(t)
	c.measured(0.5)
	c.settle()
	for recordOf(c.existing.VirtualServices[0]).Canary.Failing == "" {
		c.now = c.next
		c.settle()
	}
	c.freeze(true)
	c.advance(5 * time.Hour)
	c.isCanary("v2 progressing 2/3 50%", "v1=50 v2=50")
	c.freeze(false)
	c.isCanary("v2 aborted", "v1")
}

// If a freeze begins between the writes of a step, the step begins when its route has been written.
func TestFreezeBetweenTheWritesOfAStep(t *testing.T) {
	c := canaryOf(t, "canary=v2")
	c.settle()
	c.advance(59*time.Second + 500*time.Millisecond)
	c.now = c.next
	observed := c.observe()
	c.apply(observed.Changes(Plan(observed, c.now))[0])
	c.writes = nil
	c.freeze(true)
	c.advance(2 * time.Hour)
	c.wrote("Apply DestinationRule app") // that there is a freeze
	c.reportsNo(api.RouteRecordEdited)
	c.isCanary("v2 progressing 2/3 50%", "v1=75 v2=25")
	c.freeze(false)
	c.isCanary("v2 progressing 2/3 50%", "v1=50 v2=50")
	c.advance(2*time.Minute - time.Second)
	c.isCanary("v2 progressing 2/3 50%", "v1=50 v2=50")
	c.advance(2 * time.Second)
	c.isCanary("v2 progressing 3/3 100%", "v2")
}

// If only the route for the ingress remains during a freeze, a problem says what callers in the mesh reach.
func TestMeshRouteIsDeletedDuringAFreeze(t *testing.T) {
	c := canaryOf(t, "canary=v2", "expose=true", "hosts=a.example.com")
	c.settle()
	c.freeze(true)
	c.existing.VirtualServices = slices.DeleteFunc(c.existing.VirtualServices, func(vs *networkingv1.VirtualService) bool { return vs.Name == "app" })
	c.advance(time.Hour)
	c.tellsAlso(api.RouteFrozen, "VirtualService app does not exist. Until the freeze ends, requests from the mesh go to the ready pods of all versions.")
	c.freeze(false)
	c.reportsNo(api.RouteFrozen)
	c.isCanary("v2 progressing 1/3 25%", "v1=75 v2=25")
}

// If a leader stops between the writes with which a freeze begins, the next one completes them: each object is written once.
func TestFreezeBeginsBetweenTwoLeaders(t *testing.T) {
	for _, isExposed := range []bool{false, true} {
		for written := range 3 {
			t.Run(fmt.Sprintf("exposed %v, %d written", isExposed, written), func(t *testing.T) {
				t.Parallel()
				c := canaryOf(t, "canary=v2")
				wanted := slices.Clone(bothObjects)
				if isExposed {
					c.annotate("expose=true", "hosts=a.example.com")
					wanted = append(wanted, "Apply VirtualService app-gateway")
				}
				c.settle()
				c.advance(10 * time.Second)
				before := copyObjects(c.existing)
				c.settings.Freeze, c.writes = true, nil
				observed := c.observe()
				changes := observed.Changes(Plan(observed, c.now))
				if len(changes) != len(wanted) {
					t.Fatalf("%d changes", len(changes))
				}
				for _, change := range changes[:written] {
					c.apply(change)
				}
				c.settle()
				slices.Sort(c.writes)
				slices.Sort(wanted)
				c.wrote(wanted...)
				c.sameSpecs(before)
				c.advance(time.Hour)
				c.wrote()
				c.reportsNo(api.RouteRecordEdited)
				c.existing.DestinationRules = nil
				c.settle()
				c.freeze(false)
				c.isCanary("v2 progressing 1/3 25%", "v1=75 v2=25")
				c.advance(49 * time.Second)
				c.isCanary("v2 progressing 1/3 25%", "v1=75 v2=25")
				c.advance(2 * time.Second)
				c.isCanary("v2 progressing 2/3 50%", "v1=50 v2=50")
			})
		}
	}
}

// An object that another client edited is not written during a freeze, and fields of other clients remain theirs.
func TestFreezeWritesNoMoreThanTheRecord(t *testing.T) {
	c := started(t)
	vs, rule := c.existing.VirtualServices[0], c.existing.DestinationRules[0]
	vs.Annotations["example.com/tool"], rule.Labels["team"] = "x", "a"
	rule.Spec.TrafficPolicy = &networkingapi.TrafficPolicy{}
	c.settings.Freeze = true
	result := Plan(c.observe(), c.now)
	for _, object := range result.Objects.All() {
		if object.GetAnnotations()["example.com/tool"] != "" || object.GetLabels()["team"] != "" || trustOf(object) != sealed ||
			object.GetObjectKind().GroupVersionKind().Kind != KindOf(object) {
			t.Errorf("%s: %v %v", KindOf(object), object.GetLabels(), object.GetAnnotations())
		}
	}
	if result.Objects.DestinationRules[0].Spec.TrafficPolicy != nil {
		t.Error("the traffic policy of another client is applied")
	}
	for _, change := range c.observe().Changes(result) {
		if !change.KeepsSpec {
			t.Errorf("%s %s changes its spec", change.Action, KindOf(change.Object))
		}
	}
	vs.Spec.Http[0].Retries = &networkingapi.HTTPRetry{Attempts: 7}
	vs.ResourceVersion += "e"
	c.writes = nil
	c.settle()
	c.advance(time.Hour)
	c.wrote("Apply DestinationRule app") // that there is a freeze
	c.freeze(false)
	c.tellsAlso(api.RouteCanaryHeld, "First restore the route")
}

// All decisions made during a freeze take effect together: when it ends, or at once if the route is deleted. Until then, none of them is
// recorded, not even on a DestinationRule that is repaired.
func TestDecisionsDuringAFreezeTakeEffectTogether(t *testing.T) {
	losses := map[string]func(c *cluster){
		"nothing is lost":                    func(*cluster) {},
		"the VirtualService is deleted":      func(c *cluster) { c.existing.VirtualServices = nil },
		"the DestinationRule is deleted":     func(c *cluster) { c.existing.DestinationRules = nil },
		"both are deleted one after another": func(c *cluster) { c.existing.DestinationRules = nil; c.settle(); c.existing.VirtualServices = nil },
		"a subset is removed": func(c *cluster) {
			c.existing.DestinationRules[0].Spec.Subsets = c.existing.DestinationRules[0].Spec.Subsets[:1]
		},
	}
	for name, lose := range losses {
		for _, test := range []struct {
			decision       []string
			status, routes string
		}{
			{[]string{"default-version=v3", "canary-", "decided"}, "none", "v3"},
			{[]string{"default-version=v3", "decided"}, "v2 aborted", "v3"},
			{[]string{"default-version=v3"}, "v2 aborted", "v3"},
			{[]string{"default-version=v2", "canary-", "decided"}, "none", "v2"},
			{[]string{"weights=v1=90,v3=10", "canary-", "decided"}, "none", "v1=90 v3=10"},
			{[]string{"canary-"}, "none", "v1"},
		} {
			t.Run(name+": "+strings.Join(test.decision, " "), func(t *testing.T) {
				t.Parallel()
				c := started(t)
				c.empty = true
				c.fixed("app-v3", "v3", 2)
				c.ready()
				c.settle()
				c.spread()
				c.freeze(true)
				c.advance(time.Minute)
				c.watch = func() {
					if is := c.routes("app"); !slices.Contains([]string{"none", "v1=50 v2=50", test.routes}, is) {
						t.Errorf("%v: routes %s", c.now, is)
					}
				}
				for _, pair := range test.decision {
					if pair == "decided" {
						pair = c.decidedAt()
					}
					c.annotate(pair)
				}
				c.settle()
				c.tellsAlso(api.RouteFrozen, "Without that, Outrigger would change")
				lose(c)
				c.settle()
				c.advance(time.Minute)
				c.reportsNo(api.RouteRecordEdited)
				if strings.Contains(name, "the VirtualService is") || strings.Contains(name, "both") {
					c.isCanary(test.status, test.routes)
				} else if got := c.routes("app"); got != "v1=50 v2=50" {
					t.Errorf("routes %s", got)
				}
				c.freeze(false)
				c.spread()
				c.isCanary(test.status, test.routes)
			})
		}
	}
}

// A Service that is recreated during a freeze, while the objects of the previous one remain, is treated as without a freeze: it gets its first
// route when it is created, and keeps that. Only its canary starts later. Before, its versions counted as a split when the freeze ended.
func TestServiceIsRecreatedDuringAFreeze(t *testing.T) {
	for name, rate := range map[string]float64{"the canary progresses": nan, "the canary was aborted": 0.5} {
		for _, isOrphan := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				c := started(t)
				c.empty = true
				c.measured(rate)
				c.settle()
				c.advance(5 * time.Minute)
				before, annotations := c.routes("app"), c.service.Annotations
				c.freeze(true)
				c.createService()
				c.service.Annotations = annotations
				if isOrphan {
					for _, object := range c.existing.All() {
						object.SetOwnerReferences(nil)
					}
				}
				c.watch = func() {
					if is := c.routes("app"); is != before && is != "v1" && (c.settings.Freeze || is != "v1=75 v2=25") {
						t.Errorf("%v: routes %s", c.now, is)
					}
				}
				c.settle()
				c.isCanary("v2 waiting", "v1")
				for _, object := range c.existing.All() {
					if owner := controllerOf(object); owner == nil || owner.UID != c.service.UID {
						t.Errorf("the owner of %s is %v", KindOf(object), owner)
					}
				}
				c.writes = nil
				c.advance(20 * time.Minute)
				c.wrote()
				c.isCanary("v2 waiting", "v1")
				c.freeze(false)
				c.isCanary("v2 progressing 1/3 25%", "v1=75 v2=25") // the previous canaries were those of the other Service
				c.advance(5 * time.Minute)
				if rate == 0.5 {
					c.isCanary("v2 aborted", "v1")
				}
			})
		}
	}
}

// Weights that are written during a freeze next to a canary have no effect until a later decision, as at any other time, even if the canary
// is ended during the same freeze.
func TestWeightsWrittenDuringAFreezeAreNotADecision(t *testing.T) {
	for _, test := range []struct {
		name   string
		end    []string
		routes string
	}{
		{"the canary is ended", []string{"canary-"}, "v1"},
		{"and paused", []string{"canary-", "canary-paused=true"}, "v1"},
		{"the canary is ended with a decision", []string{"canary-", "decided"}, "v1=10 v2=90"},
		{"another default is chosen", []string{"canary-", "default-version=v2"}, "v1=10 v2=90"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := started(t)
			c.freeze(true)
			c.annotate("weights=v1=10,v2=90")
			c.tellsAlso(api.RouteWithoutEffect, "These weights have no effect while it progresses or after it has ended.")
			c.advance(time.Minute)
			for _, pair := range test.end {
				if pair == "decided" {
					pair = c.decidedAt()
				}
				c.annotate(pair)
			}
			c.settle()
			c.freeze(false)
			c.advance(time.Hour)
			c.isCanary("none", test.routes)
			if test.routes == "v1" {
				c.tellsAlso(api.RouteWithoutEffect, "This value has no effect, because it is from before canary v2 was aborted.")
				c.annotate(c.decidedAt())
				c.settle()
				c.isCanary("none", "v1=10 v2=90")
			}
		})
	}
	t.Run("the freeze begins between the writes of a step", func(t *testing.T) {
		t.Parallel()
		c := canaryOf(t, "canary=v2")
		c.settle()
		c.advance(59*time.Second + 500*time.Millisecond)
		c.now = c.next
		observed := c.observe()
		c.apply(observed.Changes(Plan(observed, c.now))[0])
		c.freeze(true)
		c.advance(time.Minute)
		c.annotate("weights=v1=10,v2=90")
		c.tellsAlso(api.RouteWithoutEffect, "These weights have no effect while it progresses or after it has ended.")
		c.annotate("canary-")
		c.settle()
		c.freeze(false)
		c.advance(time.Hour)
		c.isCanary("none", "v1")
	})
	t.Run("a pause is not a freeze", func(t *testing.T) {
		t.Parallel()
		c := started(t)
		c.annotate("canary-paused=true")
		c.settle()
		c.freeze(true)
		c.freeze(false)
		c.annotate("canary-", "canary-paused-", "weights=v1=90,v2=10")
		c.settle()
		c.isCanary("none", "v1=90 v2=10")
	})
}

// A decided-at far in the future that is written during a freeze is recorded as refused: it has no effect if the freeze ends after that time.
func TestDecisionFarInTheFutureDuringAFreeze(t *testing.T) {
	c := started(t)
	c.annotate("canary-")
	c.settle()
	c.advance(time.Minute)
	c.freeze(true)
	before := copyObjects(c.existing)
	c.writes = nil
	c.annotate("canary=v2", c.inTheFuture(48*time.Hour))
	c.settle()
	c.wrote(bothObjects...)
	c.sameSpecs(before)
	c.tellsAlso(api.RouteInvalidAnnotation, "It has no effect, even when that time comes.")
	c.advance(50 * time.Hour)
	c.wrote()
	c.freeze(false)
	c.advance(time.Hour)
	c.isCanary("v2 aborted", "v1")
	c.annotate(c.decidedAt())
	c.settle()
	c.isCanary("v2 progressing 1/3 25%", "v1=75 v2=25")
}

// Whatever happens around freezes, a canary satisfies TestRandomCanaries, no route changes during a freeze, and its time does not count for a
// step.
func TestRandomFreezes(t *testing.T) {
	for seed := range *walks / 10 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewSource(int64(seed)))
			w := newCanaryWatch(t, seed)
			var steps []string
			for range 50 {
				began, step := w.now, ""
				switch random.Intn(12) {
				case 0, 1:
					step, w.settings.Freeze = "freeze", true
				case 2, 3:
					step, w.settings.Freeze = "thaw", false
				case 4:
					step = []string{"decided-at-", "decided-at=2025-01-01T00:00:00Z", w.inTheFuture(48 * time.Hour), "decided-at=x"}[random.Intn(4)]
					w.annotate(step)
				case 5:
					step = "default-version=v" + fmt.Sprint(1+random.Intn(3))
					w.annotate(step, w.decidedAt())
					w.retry = w.service.Annotations[api.AnnotationCanary] != "" // if that is the value already
				default:
					step = w.step(random)
				}
				steps = append(steps, step)
				before := w.routes("app")
				w.settle()
				if w.settings.Freeze && before != "none" && w.routes("app") != before {
					t.Errorf("%v: %s during a freeze, before %s", w.now, w.routes("app"), before)
				}
				w.planEarly(random)
				w.advance(time.Duration(random.Intn(90)) * time.Second)
				for version := range w.grown {
					if w.settings.Freeze {
						w.grown[version] = w.grown[version].Add(w.now.Sub(began))
					}
				}
				if t.Failed() {
					t.Fatalf("after:\n%s", strings.Join(steps, "\n"))
				}
			}
		})
	}
}

// A decision during a freeze about the default version or the weights remains one if another client restores the annotations before the freeze
// ends: its decided-at neither retries an aborted canary nor resumes one that progresses. That takes one write.
func TestDecisionDuringAFreezeIsNoRetry(t *testing.T) {
	for _, test := range []struct {
		name             string
		decide, restored []string
	}{
		{"the canary is removed", []string{"canary-", "default-version=v1"}, []string{"canary=v2"}},
		{"the canary is removed with auto", []string{"canary-", "default-version=v1"}, []string{"canary=auto"}},
		{"another default version", []string{"default-version=v3"}, []string{"default-version=v1"}},
		{"weights", []string{"weights=v1=50,v3=50"}, []string{"weights-"}},
	} {
		for _, isActive := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, active %v", test.name, isActive), func(t *testing.T) {
				t.Parallel()
				for _, isFrozen := range []bool{false, true} {
					c := canaryOf(t, "default-version=v1", "canary=v2")
					c.fixed("app-v3", "v3", 2)
					c.ready()
					c.settle()
					c.advance(20 * time.Second)
					if !isActive {
						c.run("app-v2", "v2", 2, 0)
						c.settle()
						c.advance(2 * time.Minute)
						c.isCanary("v2 aborted", "v1")
						c.run("app-v2", "v2", 2, 2)
						c.settle()
						c.advance(time.Minute)
					}
					c.freeze(isFrozen)
					c.writes = nil
					c.annotate(append(slices.Clone(test.decide), c.decidedAt())...)
					c.settle()
					if isFrozen {
						c.wrote(bothObjects...)
					}
					c.advance(time.Minute)
					c.annotate(test.restored...)
					c.settle()
					c.advance(time.Minute)
					if isFrozen {
						c.wrote()
					}
					c.freeze(false)
					c.advance(20 * time.Second)
					c.isCanary("v2 aborted", "v1")
					c.annotate(c.decidedAt())
					c.settle()
					c.isCanary("v2 progressing 1/3 25%", "v1=75 v2=25")
				}
			})
		}
	}
}

// A decision during a freeze to apply superseded settings again does so, even if the canary is restored before the freeze ends.
func TestDecisionDuringAFreezeRevivesSettings(t *testing.T) {
	for _, isFrozen := range []bool{false, true} {
		c := canaryOf(t, "default-version=v1", "canary=v2")
		c.fixed("app-v3", "v3", 2)
		c.ready()
		c.settle()
		c.advance(10 * time.Minute)
		c.isCanary("v2 succeeded", "v2")
		c.annotate("canary=v3")
		c.settle()
		c.isCanary("v3 progressing 1/3 25%", "v2=75 v3=25")
		c.freeze(isFrozen)
		c.annotate("canary-", c.decidedAt())
		c.settle()
		c.advance(time.Minute)
		c.annotate("canary=v3")
		c.settle()
		c.freeze(false)
		c.advance(time.Minute)
		c.isCanary("v3 aborted", "v1")
	}
}
