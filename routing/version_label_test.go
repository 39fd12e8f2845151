// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"maps"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

// labelWords are values of the version label, right and wrong ones.
var labelWords = []string{
	"version-label=pod-template-hash", "version-label=Version", "version-label=nosuch", "version-label=app", "version-label=track",
	"version-label=a b", "version-label=" + labelAlias, "version-label=version", "version-label-",
}

// twoTracks is a Service app with the Deployments app-v1 and app-v2, all pods ready for as long as age.
func twoTracks(t *testing.T, age time.Duration) *cluster {
	c := newCluster(t)
	c.fixed("app-v1", "v1", 2)
	c.advance(time.Second)
	c.ready()
	c.advance(10 * time.Second)
	c.fixed("app-v2", "v2", 1)
	c.ready()
	c.advance(age)
	return c
}

// served is where our routes send requests: the share and the pods of each destination, as Istio selects them by the labels
// of the subsets.
func (c *cluster) served() string {
	var out []string
	for _, vs := range c.existing.VirtualServices {
		for _, http := range vs.Spec.Http {
			for i, route := range http.Route {
				if len(http.Route) == 1 || route.Weight > 0 {
					out = append(out, fmt.Sprintf("%s %s %d%%: %s", vs.Name, readMatches(http.Match), weightIn(http.Route, i), c.reached(route.Destination.Subset)))
				}
			}
			for _, m := range http.Mirrors {
				out = append(out, fmt.Sprintf("%s copies %v%%: %s", vs.Name, m.Percentage.Value, c.reached(m.Destination.Subset)))
			}
		}
	}
	slices.Sort(out)
	return strings.Join(slices.Compact(out), "\n")
}

func weightIn(routes []*networkingapi.HTTPRouteDestination, i int) int32 {
	if len(routes) == 1 {
		return 100
	}
	return routes[i].Weight
}

// reached are the pods that a subset selects, sorted; all pods for no subset.
func (c *cluster) reached(name string) string {
	labels := map[string]string{"app": "app"}
	if name != "" {
		labels = nil
		for _, rule := range c.existing.DestinationRules {
			if subset := findSubset(rule, name); subset != nil {
				labels = subset.Labels
			}
		}
	}
	var out []string
	for _, group := range c.groups() {
		if Selects(labels, c.labelsOf(group.Workload, group.Version, nil)) {
			out = append(out, group.Workload.String()+" "+group.Version)
		}
	}
	return strings.Join(out, ", ")
}

func (c *cluster) recordedDefault() string {
	for _, rule := range c.existing.DestinationRules {
		return recordOf(rule).Default.String() + " by " + recordOf(rule).By
	}
	return ""
}

// A version label that would move a share is held, and taking it back finds the route as it was.
func TestVersionLabelIsHeld(t *testing.T) {
	for _, age := range []time.Duration{20 * time.Second, 10 * time.Minute} {
		for _, weights := range []string{"", "weights=v1=90,v2=10"} {
			for _, place := range []string{"Service", "Namespace"} {
				for _, word := range labelWords[:6] {
					t.Run(fmt.Sprint(age, " ", weights, " ", place, " ", word), func(t *testing.T) {
						c := twoTracks(t, age)
						if weights != "" {
							c.annotate(weights)
							c.advance(time.Minute)
						}
						served, record := c.served(), c.recordedDefault()
						unchanged := func(when string) {
							t.Helper()
							if diff := cmp.Diff(served, c.served()); diff != "" {
								t.Errorf("%s: the route moved (-want +got):\n%s", when, diff)
							}
							if got := c.recordedDefault(); got != record {
								t.Errorf("%s: the record is %s, want %s", when, got, record)
							}
						}
						key, value, _ := strings.Cut(word, "=")
						marks := c.service.Annotations
						if place == "Namespace" {
							c.namespace.Annotations = map[string]string{}
							marks = c.namespace.Annotations
						}
						c.watch = func() { unchanged("while " + word + " is written") }
						marks["outrigger.dev/"+key] = value
						c.advance(10 * time.Minute)
						reason := api.RouteVersionLabelHeld
						if strings.HasSuffix(word, "hash") || strings.Contains(word, " b") {
							reason = api.RouteInvalidAnnotation
						}
						c.tells(reason)
						delete(marks, "outrigger.dev/"+key)
						c.advance(10 * time.Minute)
						c.tells()
						c.annotate("weights-", "default-version=v2")
						c.watch = nil
						c.advance(time.Minute)
						c.has("v1 v2", "v2")
					})
				}
			}
		}
	}
}

// A label with the same partition of the pods is followed in one write of the DestinationRule: every subset keeps its name
// and its pods, and the names in the annotations keep their meaning.
func TestVersionLabelIsFollowed(t *testing.T) {
	for _, same := range []bool{true, false} {
		t.Run(fmt.Sprint("the same names: ", same), func(t *testing.T) {
			c := twoTracks(t, 10*time.Minute)
			c.sameAlias = same
			c.annotate("weights=v1=90,v2=10")
			c.advance(time.Minute)
			served := c.served()
			c.writes = nil
			c.watch = func() {
				if diff := cmp.Diff(served, c.served()); diff != "" {
					t.Errorf("the route moved (-want +got):\n%s", diff)
				}
			}
			c.annotate("version-label=" + labelAlias)
			c.settle()
			if got := c.existing.DestinationRules[0].Spec.Subsets[0].Labels; !maps.Equal(got, map[string]string{labelAlias: c.alias("v1")}) {
				t.Errorf("subset v1 has the labels %v", got)
			}
			c.wrote("Apply DestinationRule app", "Apply VirtualService app")
			c.advance(10 * time.Minute)
			if same {
				c.tells()
			} else {
				c.tells(api.RouteVersionSucceeded, api.RouteTelemetryDiffers) // the annotation still has the names before
			}
			c.watch = nil
			c.annotate("weights=" + c.alias("v1") + "=50," + c.alias("v2") + "=50")
			c.advance(time.Minute)
			c.has("v1 v2", "v1=50 v2=50")
			c.template("app-v1", "v1")
			c.annotate("version-label-", "weights=v1=10,v2=90")
			c.advance(time.Minute)
			c.has("v1 v2", "v1=10 v2=90")
			if got := c.existing.DestinationRules[0].Spec.Subsets[0].Labels; !maps.Equal(got, map[string]string{"version": "v1"}) {
				t.Errorf("subset v1 has the labels %v", got)
			}
			c.tells()
		})
	}
}

// The pods get the new label by a rollout, as in practice: the label is held until the last pod has it.
func TestVersionLabelWaitsForPods(t *testing.T) {
	c := twoTracks(t, 10*time.Minute)
	c.labels = map[string]map[string]string{"app-v1": {"track": "stable"}}
	served := c.served()
	c.annotate("version-label=track")
	c.advance(time.Minute)
	c.tells(api.RouteVersionLabelHeld)
	if diff := cmp.Diff(served, c.served()); diff != "" {
		t.Errorf("the route moved (-want +got):\n%s", diff)
	}
	c.labels["app-v2"] = map[string]string{"track": "canary"}
	c.advance(time.Minute)
	c.tells(api.RouteTelemetryDiffers)
	if diff := cmp.Diff(served, c.served()); diff != "" {
		t.Errorf("the route moved (-want +got):\n%s", diff)
	}
	c.annotate("default-version=canary")
	c.advance(time.Minute)
	c.has("v2 v1", "v2")
}

// Without a route, a label applies at once, and one that no pod has is reported.
func TestVersionLabelWithoutRoute(t *testing.T) {
	c := newCluster(t)
	c.annotate("version-label=nosuch")
	c.fixed("app-v1", "v1", 1)
	c.ready()
	c.advance(time.Minute)
	c.has("", "none")
	c.tells(api.RouteVersionLabelHeld)
	c.annotate("version-label=app")
	c.tells(api.RouteServiceSkipped)
	c.annotate("version-label=" + labelAlias)
	c.advance(time.Minute)
	c.has("release-v1", "-")
	c.tells(api.RouteTelemetryDiffers)
}

// A release that did not record the label made routes by any of them.
func TestVersionLabelOfOldRecords(t *testing.T) {
	for _, label := range []string{"version", labelAlias} {
		c := newCluster(t)
		c.empty, c.sameAlias = true, true
		c.annotate("version-label=" + label)
		c.fixed("app-v1", "v1", 1)
		c.ready()
		c.advance(10 * time.Second)
		c.fixed("app-v2", "v2", 1)
		c.ready()
		c.advance(10 * time.Minute)
		for _, object := range c.existing.All() {
			r := recordOf(object)
			r.VersionLabel = ""
			object.GetAnnotations()[api.AnnotationRecord] = r.text()
			object.GetAnnotations()[api.AnnotationSeal] = seal(object.GetAnnotations())
		}
		served := c.served()
		c.annotate("version-label=nosuch")
		c.advance(10 * time.Minute)
		c.tells(api.RouteVersionLabelHeld)
		if diff := cmp.Diff(served, c.served()); diff != "" {
			t.Errorf("%s: the route moved (-want +got):\n%s", label, diff)
		}
	}
}

// Whatever users write into the version label, in any state that a cluster reaches, and after they take it back: every
// destination keeps its share and its pods, and the default stays what it was.
func TestRandomVersionLabels(t *testing.T) {
	for seed := range versionLabelWalks {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewSource(int64(seed)))
			c := newCluster(t)
			c.empty = true
			var steps []string
			for range 15 {
				before := copyObjects(c.existing)
				what := step(c, random)
				if strings.HasPrefix(what, "edit") {
					c.existing = before
				}
				steps = append(steps, what)
				c.advance(time.Duration(random.Intn(1<<uint(random.Intn(10)))) * time.Second)
				c.advance(2 * time.Minute)
				if len(c.existing.VirtualServices) == 0 || !c.isRecorded() {
					continue
				}
				twin, quiet := c.clone(), c.clone()
				for range 4 {
					word := labelWords[random.Intn(len(labelWords))]
					steps = append(steps, word)
					twin.annotate(word)
					wait := time.Duration(random.Intn(400)) * time.Second
					twin.advance(wait)
					quiet.advance(wait)
					twin.sameServed(quiet, steps)
				}
				twin.annotate("version-label-")
				twin.advance(time.Minute)
				quiet.advance(time.Minute)
				twin.sameServed(quiet, append(steps, "back"))
				if t.Failed() {
					return
				}
			}
		})
	}
}

// isRecorded reports whether a default is recorded for the present Service.
func (c *cluster) isRecorded() bool {
	return slices.ContainsFunc(c.existing.DestinationRules, func(rule *networkingv1.DestinationRule) bool {
		r, owner := recordOf(rule), controllerOf(rule)
		return !r.isZero() && r.State == "" && owner != nil && owner.UID == c.service.UID
	})
}

func (c *cluster) sameServed(quiet *cluster, steps []string) {
	c.t.Helper()
	if diff := cmp.Diff(quiet.served(), c.served()); diff != "" {
		c.t.Errorf("%v: the version label moved the route (-want +got):\n%s\nafter:\n%s\ntold %v", c.now, diff, strings.Join(steps, "\n"), c.problems)
	}
}
