package routing

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

var edits = flag.Int("edits", 40, "how many random walks to take in which another client edits our objects")

// Another client changes one field of one of our objects, our annotations included, in any state that a cluster reaches.
// A twin that nobody edits says what is right: after the repair, the edited cluster routes as the twin does, unless it
// reports that the edit stays. A subset that a route names is there after the first write.
func TestHostileEditor(t *testing.T) {
	for seed := range *edits {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewSource(int64(seed)))
			c := newCluster(t)
			c.empty = true
			var steps []string
			for range 25 {
				if what := worldStep(c, random); what != "" {
					steps = append(steps, what)
				}
				c.advance(time.Duration(random.Intn(1<<uint(random.Intn(10)))) * time.Second)
				twin := c.clone()
				what := editField(twin, random)
				if what == "" {
					continue
				}
				report := func() { t.Fatalf("%s\nafter:\n%s", what, strings.Join(steps, "\n")) }
				twin.told = map[api.RouteReason]bool{}
				twin.repair(c)
				if t.Failed() {
					report()
				}
				quiet := c.clone()
				quiet.advance(15 * time.Minute)
				twin.advance(15 * time.Minute)
				twin.sameShares(quiet)
				if t.Failed() {
					report()
				}
			}
		})
	}
}

// worldStep is a step of anybody but those who edit our objects.
func worldStep(c *cluster, random *rand.Rand) string {
	before := copyObjects(c.standing)
	what := step(c, random)
	if strings.HasPrefix(what, "edit") {
		c.standing = before
		return ""
	}
	return what
}

func (c *cluster) clone() *cluster {
	twin := *c
	twin.service, twin.namespace = c.service.DeepCopy(), c.namespace.DeepCopy()
	twin.standing, twin.foreign = copyObjects(c.standing), copyObjects(c.foreign)
	twin.workloads, twin.pods = map[WorkloadRef]*Workload{}, map[WorkloadRef]map[string]*PodGroup{}
	for ref, w := range c.workloads {
		copied := *w
		copied.Labels, copied.Selector = maps.Clone(w.Labels), maps.Clone(w.Selector)
		twin.workloads[ref] = &copied
	}
	for ref, groups := range c.pods {
		twin.pods[ref] = map[string]*PodGroup{}
		for version, group := range groups {
			copied := *group
			twin.pods[ref][version] = &copied
		}
	}
	twin.since, twin.left, twin.told = maps.Clone(c.since), maps.Clone(c.left), maps.Clone(c.told)
	twin.writes, twin.problems = slices.Clone(c.writes), slices.Clone(c.problems)
	return &twin
}

// repair lets the plan answer an edit, and compares with the twin.
func (c *cluster) repair(twin *cluster) {
	c.t.Helper()
	c.settle()
	c.sameShares(twin)
	for _, rule := range c.standing.DestinationRules {
		for _, right := range twin.standing.DestinationRules {
			for _, vs := range c.standing.VirtualServices {
				for _, name := range subsetsNamed(vs, "app.demo.svc.cluster.local", "cluster.local") {
					is, must := findSubset(rule, name), findSubset(right, name)
					if is != nil && must != nil && !maps.Equal(is.Labels, must.Labels) {
						c.t.Errorf("%v: subset %s has the labels %v, and stands for %v", c.now, name, is.Labels, must.Labels)
					}
				}
			}
		}
	}
}

// sameShares wants the routes of ours to be the twin's, but where the cluster reports that an edit stays.
func (c *cluster) sameShares(twin *cluster) {
	c.t.Helper()
	for _, right := range twin.standing.VirtualServices {
		if c.reports(right.Name) {
			continue
		}
		if is, must := c.routes(right.Name), routesOf(right); is != must {
			c.t.Errorf("%v: VirtualService %s routes to %q, and to %q without the edit; told %v", c.now, right.Name, is, must, c.problems)
		}
	}
}

// reports reports whether the user was told that a VirtualService of ours is not as decided.
func (c *cluster) reports(name string) bool {
	return slices.ContainsFunc(c.problems, func(p api.RouteProblem) bool {
		switch p.Reason {
		case api.RouteWeightsAdopted, api.RouteRecordEdited: // the latter where it lasts: everything is held
			return true
		case api.RouteHostConflict: // our Gateway without our labels is another author's
			return name == "app-gateway"
		case api.RouteDrifted, api.RouteRouteConflict, api.RouteNameTaken:
			return p.Object.Name == name || p.Object.Kind == "Service"
		}
		return false
	})
}

// editField changes one field of one of our objects, or takes it away, and says which; it returns "" if it found none.
func editField(c *cluster, random *rand.Rand) string {
	objects := c.standing.all()
	if len(objects) == 0 {
		return ""
	}
	object := objects[random.Intn(len(objects))]
	for range 20 {
		var tree map[string]any
		if err := json.Unmarshal(bytesOf(c.t, object), &tree); err != nil {
			c.t.Fatal(err)
		}
		fields := append(fieldsOf(tree["spec"], "spec"), fieldsOf(below(tree, "metadata")["annotations"], "metadata", "annotations")...)
		fields = append(fields, fieldsOf(below(tree, "metadata")["labels"], "metadata", "labels")...)
		fields = append(fields, []string{"metadata", "ownerReferences"})
		path := fields[random.Intn(len(fields))]
		how := mutate(tree, path, random)
		edited, valid := decodeAs(object, tree)
		if !valid || string(bytesOf(c.t, edited)) == string(bytesOf(c.t, object)) {
			continue
		}
		edited.SetResourceVersion(object.GetResourceVersion() + "h")
		c.replaceObject(object, edited)
		if c.editedRoutes = map[string]bool{}; kindOf(object) == "VirtualService" {
			c.editedRoutes[object.GetName()] = true
		}
		return fmt.Sprintf("%s %s: %s %s", kindOf(object), object.GetName(), strings.Join(path, "."), how)
	}
	return ""
}

// fieldsOf are the paths of all fields below a value, and its own.
func fieldsOf(value any, path ...string) [][]string {
	out := [][]string{slices.Clone(path)}
	switch v := value.(type) {
	case map[string]any:
		for _, key := range sortedKeys(v) {
			out = append(out, fieldsOf(v[key], append(slices.Clone(path), key)...)...)
		}
	case []any:
		for i, item := range v {
			out = append(out, fieldsOf(item, append(slices.Clone(path), fmt.Sprint(i))...)...)
		}
	}
	return out
}

// mutate takes the value at a path away or puts another in its place.
func mutate(tree map[string]any, path []string, random *rand.Rand) string {
	var walk func(value any, path []string) any
	how := "removed"
	walk = func(value any, path []string) any {
		if len(path) == 0 {
			var now any
			now, how = anotherValue(value, random)
			return now
		}
		switch v := value.(type) {
		case map[string]any:
			if now := walk(v[path[0]], path[1:]); now == nil {
				delete(v, path[0])
			} else {
				v[path[0]] = now
			}
			return v
		case []any:
			var at int
			if _, err := fmt.Sscan(path[0], &at); err != nil || at >= len(v) {
				return v
			}
			if now := walk(v[at], path[1:]); now == nil {
				return slices.Delete(v, at, at+1)
			} else {
				v[at] = now
			}
			return v
		}
		return value
	}
	walk(tree, path)
	return how
}

func anotherValue(value any, random *rand.Rand) (any, string) {
	if random.Intn(4) == 0 {
		return nil, "removed"
	}
	switch v := value.(type) {
	case string:
		swap := strings.NewReplacer("v1", "v2", "v2", "v1", "v3", "v1", "1.2.3", "1-2-3", "1-2-3", "1.2.3", `"a"`, `"b"`, "Deployment/a", "Deployment/b")
		choices := []string{swap.Replace(v), "v1", "v2", "v3", "1-2-3", "nosuch", "", v + "x", "app", "other", "2027-01-01T00:00:00.000Z v2", "v1=1,v2=1", "Deployment/a", strings.Replace(v, "5", "6", 1)}
		now := choices[random.Intn(len(choices))]
		return now, fmt.Sprintf("%q -> %q", v, now)
	case float64:
		now := float64([]int{0, 1, 50, 99, 100}[random.Intn(5)])
		return now, fmt.Sprint(v, " -> ", now)
	case []any:
		if len(v) == 0 {
			return nil, "removed"
		}
		switch random.Intn(3) {
		case 0:
			out := slices.Clone(v)
			slices.Reverse(out)
			return out, "reversed"
		case 1:
			return append(slices.Clone(v), v[0]), "first repeated"
		}
		return v[1:], "first removed"
	}
	return nil, "removed"
}

// decodeAs makes an object of a tree; it is false for one that the API server would not take.
func decodeAs(object Object, tree map[string]any) (Object, bool) {
	raw, err := json.Marshal(tree)
	if err != nil {
		return nil, false
	}
	edited := object.DeepCopyObject().(Object)
	switch o := edited.(type) {
	case *networkingv1.DestinationRule:
		*o = networkingv1.DestinationRule{}
	case *networkingv1.VirtualService:
		*o = networkingv1.VirtualService{}
	case *networkingv1.Gateway:
		*o = networkingv1.Gateway{}
	}
	if err := json.Unmarshal(raw, edited); err != nil {
		return nil, false
	}
	return edited, isAdmissible(edited)
}

// isAdmissible leaves out what Istio's schemas and validation refuse.
func isAdmissible(object Object) bool {
	switch o := object.(type) {
	case *networkingv1.DestinationRule:
		seen := map[string]bool{}
		for _, subset := range o.Spec.Subsets {
			if subset.GetName() == "" || seen[subset.GetName()] {
				return false
			}
			seen[subset.GetName()] = true
		}
		return o.Spec.Host != ""
	case *networkingv1.VirtualService:
		if len(o.Spec.Hosts) == 0 || len(o.Spec.Http)+len(o.Spec.Tcp) == 0 || slices.Contains(o.Spec.Hosts, "") || slices.Contains(o.Spec.Gateways, "") {
			return false
		}
		for _, d := range destinationsOf(o) {
			if d.GetHost() == "" {
				return false
			}
		}
		for _, http := range o.Spec.Http {
			if len(http.Route) == 0 && http.Delegate == nil || len(http.Route) > 1 && total(http.Route) == 0 {
				return false
			}
		}
		for _, tcp := range o.Spec.Tcp {
			if len(tcp.Route) == 0 || len(tcp.Route) > 1 && total(tcp.Route) == 0 {
				return false
			}
		}
	case *networkingv1.Gateway:
		return len(o.Spec.Servers) > 0 && !slices.ContainsFunc(o.Spec.Servers, func(s *server) bool { return s.GetPort() == nil || len(s.Hosts) == 0 })
	}
	return true
}

func total[D weighted](routes []D) (sum int32) {
	for _, route := range routes {
		sum += route.GetWeight()
	}
	return sum
}

// replaceObject puts an edited object in the place of the one that it was; without our marks it is another author's.
func (c *cluster) replaceObject(was, is Object) {
	ours := Own(is, c.service)
	switch o := is.(type) {
	case *networkingv1.DestinationRule:
		c.standing.DestinationRules, c.foreign.DestinationRules = moved(c.standing.DestinationRules, c.foreign.DestinationRules, was, o, ours)
	case *networkingv1.VirtualService:
		c.standing.VirtualServices, c.foreign.VirtualServices = moved(c.standing.VirtualServices, c.foreign.VirtualServices, was, o, ours)
	case *networkingv1.Gateway:
		c.standing.Gateways, c.foreign.Gateways = moved(c.standing.Gateways, c.foreign.Gateways, was, o, ours)
	}
}

func moved[T Object](standing, foreign []T, was Object, is T, ours bool) (own, others []T) {
	standing = slices.DeleteFunc(slices.Clone(standing), func(o T) bool { return o.GetName() == was.GetName() })
	if ours {
		return append(standing, is), foreign
	}
	return standing, append(slices.Clone(foreign), is)
}
