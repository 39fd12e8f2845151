// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"slices"
	"strings"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// handEditOf is what another client did to our objects.
type handEditOf struct {
	what   string
	object Object // as it is now; of several the first; nil if it was deleted
	kind   string
	name   string
	spec   bool // the spec is another
	marks  bool // annotations of ours are others
	all    bool // several objects are edited
}

// edit changes one field of one of our objects, one annotation of all of them, or deletes one. It returns nil where there
// is none, or where the change would be none.
func (h *hostileWalk) edit(c *cluster) *handEditOf {
	objects := c.existing.All()
	if len(objects) == 0 {
		return nil
	}
	object := objects[h.random.Intn(len(objects))]
	switch h.random.Intn(16) {
	case 0:
		if KindOf(object) == "DestinationRule" && len(c.existing.VirtualServices) == 0 {
			return nil // it is the only copy of the record, which is lost
		}
		c.existing = without(c.existing, object)
		return &handEditOf{what: "deleted", kind: KindOf(object), name: object.GetName(), spec: true}
	case 1:
		return h.replace(c, object, h.editOwner)
	case 2:
		return h.replace(c, object, h.editLabels)
	case 3, 4:
		return h.editEverywhere(c)
	case 5:
		return h.replace(c, object, h.restoreOlder)
	case 6:
		return h.replace(c, object, func(o Object) string { o.SetAnnotations(nil); return "all annotations removed" })
	case 7, 8:
		return h.replace(c, object, h.addField)
	case 9, 10, 11:
		return h.replaceField(c, object, "annotations")
	}
	return h.replaceField(c, object, "spec")
}

func without(o Objects, object Object) Objects {
	return Objects{
		DestinationRules: slices.DeleteFunc(slices.Clone(o.DestinationRules), func(rule *networkingv1.DestinationRule) bool { return sameName(rule, object) }),
		VirtualServices:  slices.DeleteFunc(slices.Clone(o.VirtualServices), func(vs *networkingv1.VirtualService) bool { return sameName(vs, object) }),
		Gateways:         slices.DeleteFunc(slices.Clone(o.Gateways), func(gateway *networkingv1.Gateway) bool { return sameName(gateway, object) }),
	}
}

// replace puts an edited copy in the place of an object.
func (h *hostileWalk) replace(c *cluster, object Object, change func(Object) string) *handEditOf {
	edited := object.DeepCopyObject().(Object)
	what := change(edited)
	if what == "" || !isAdmissible(edited) || string(bytesOf(c.t, edited)) == string(bytesOf(c.t, object)) {
		return nil
	}
	edited.SetResourceVersion(object.GetResourceVersion() + "h")
	c.replaceObject(object, edited)
	return &handEditOf{
		what: what, object: edited, kind: KindOf(object), name: object.GetName(), spec: !sameSpecExactly(object, edited),
		marks: pairsText(ownMarks(object.GetAnnotations())) != pairsText(ownMarks(edited.GetAnnotations())),
	}
}

func (h *hostileWalk) editOwner(o Object) string {
	owners := o.GetOwnerReferences()
	if len(owners) == 0 || h.random.Intn(3) == 0 {
		o.SetOwnerReferences(nil)
		return "owner references removed"
	}
	owner := owners[0].DeepCopy()
	what := ""
	switch h.random.Intn(4) {
	case 0:
		owner.UID, what = types.UID("uid-other"), "owner has another uid"
	case 1:
		owner.Name, what = "other", "owner has another name"
	case 2:
		owner.Kind, what = "Deployment", "owner is of another kind"
	default:
		owner.Controller, what = nil, "owner is not the controller"
	}
	o.SetOwnerReferences([]metav1.OwnerReference{*owner})
	return what
}

func (h *hostileWalk) editLabels(o Object) string {
	labels := o.GetLabels()
	if len(labels) == 0 || h.random.Intn(4) == 0 {
		o.SetLabels(nil)
		return "all labels removed"
	}
	key := sortedKeys(labels)[h.random.Intn(len(labels))]
	if h.random.Intn(2) == 0 {
		delete(labels, key)
		return "label " + key + " removed"
	}
	labels[key] = "other"
	return "label " + key + " = other"
}

// editEverywhere edits one annotation in the same way on each object that has it, or takes all annotations off all of them.
func (h *hostileWalk) editEverywhere(c *cluster) *handEditOf {
	var keys []string
	for _, object := range c.existing.All() {
		keys = append(keys, sortedKeys(ownMarks(object.GetAnnotations()))...)
	}
	if len(keys) == 0 {
		return nil
	}
	key := keys[h.random.Intn(len(keys))]
	wipe, remove, text := h.random.Intn(4) == 0, h.random.Intn(3) == 0, ""
	var last *handEditOf
	for _, object := range c.existing.All() {
		is := h.replace(c, object, func(o Object) string {
			annotations := o.GetAnnotations()
			was, has := annotations[key]
			switch {
			case wipe:
				o.SetAnnotations(nil)
				return "all annotations of all objects removed"
			case !has:
				return ""
			case remove:
				delete(annotations, key)
				return key + " removed everywhere"
			}
			if text == "" {
				text = h.otherText(was)
			}
			annotations[key] = text
			return key + " set everywhere to " + text
		})
		if is != nil {
			is.all = last != nil
			last = is
		}
	}
	return last
}

// restoreOlder puts the object as it was a while ago in its place, as a backup or a GitOps tool does.
func (h *hostileWalk) restoreOlder(o Object) string {
	var past []Object
	for _, old := range h.past {
		if sameName(old, o) && old.GetUID() == o.GetUID() {
			past = append(past, old)
		}
	}
	if len(past) == 0 {
		return ""
	}
	old := past[h.random.Intn(len(past))].DeepCopyObject().(Object)
	switch is := o.(type) {
	case *networkingv1.DestinationRule:
		is.Spec = *old.(*networkingv1.DestinationRule).Spec.DeepCopy()
	case *networkingv1.VirtualService:
		is.Spec = *old.(*networkingv1.VirtualService).Spec.DeepCopy()
	case *networkingv1.Gateway:
		is.Spec = *old.(*networkingv1.Gateway).Spec.DeepCopy()
	}
	o.SetAnnotations(old.GetAnnotations())
	o.SetLabels(old.GetLabels())
	o.SetOwnerReferences(old.GetOwnerReferences())
	return "an older copy"
}

// addField writes a field that we do not.
func (h *hostileWalk) addField(o Object) string {
	pick := func(words ...string) string { return words[h.random.Intn(len(words))] }
	switch o := o.(type) {
	case *networkingv1.DestinationRule:
		switch h.random.Intn(6) {
		case 0:
			o.Spec.ExportTo = []string{pick(".", "*", "other", "~")}
			return fmt.Sprint("spec.exportTo = ", o.Spec.ExportTo)
		case 1:
			o.Spec.TrafficPolicy = connections(int32(h.random.Intn(9) + 1))
			return "spec.trafficPolicy"
		case 2:
			o.Spec.Host = pick("app", "other", "other.demo.svc.cluster.local", "*")
			return "spec.host = " + o.Spec.Host
		case 3:
			name := pick("v2", "v3", "1-2-3", "theirs")
			if findSubset(o, name) != nil {
				return ""
			}
			o.Spec.Subsets = append(o.Spec.Subsets, subset(name, "version", pick("v1", "v2", "v3"), nil))
			return "subset " + name + " added"
		}
		if len(o.Spec.Subsets) == 0 {
			return ""
		}
		at := o.Spec.Subsets[h.random.Intn(len(o.Spec.Subsets))]
		if h.random.Intn(2) == 0 {
			at.TrafficPolicy = connections(1)
			return "subset " + at.Name + " has a policy"
		}
		if at.Labels == nil {
			at.Labels = map[string]string{}
		}
		at.Labels["track"] = "stable"
		return "subset " + at.Name + " has one more label"
	case *networkingv1.VirtualService:
		return h.addToRoute(o, pick)
	case *networkingv1.Gateway:
		if len(o.Spec.Servers) == 0 {
			return ""
		}
		server := o.Spec.Servers[0]
		if h.https && h.random.Intn(2) == 0 {
			return editHTTPS(o.Spec.Servers[h.random.Intn(len(o.Spec.Servers))], pick)
		}
		switch h.random.Intn(3) {
		case 0:
			server.Hosts = append(server.Hosts, pick("*", "demo/z.example.com"))
			return "another host"
		case 1:
			server.Tls = &networkingapi.ServerTLSSettings{HttpsRedirect: true}
			return "a redirect"
		}
		o.Spec.Selector = map[string]string{"istio": pick("other", "ingressgateway")}
		return fmt.Sprint("spec.selector = ", o.Spec.Selector)
	}
	return ""
}

func (h *hostileWalk) addToRoute(vs *networkingv1.VirtualService, pick func(...string) string) string {
	switch h.random.Intn(6) {
	case 0:
		vs.Spec.ExportTo = []string{pick(".", "*", "other", "~")}
		return fmt.Sprint("spec.exportTo = ", vs.Spec.ExportTo)
	case 1:
		vs.Spec.Hosts = append(vs.Spec.Hosts, pick("z.example.com", "*", "other"))
		return fmt.Sprint("spec.hosts = ", vs.Spec.Hosts)
	case 2:
		vs.Spec.Gateways = append(vs.Spec.Gateways, pick("mesh", "demo/app", "other/theirs"))
		return fmt.Sprint("spec.gateways = ", vs.Spec.Gateways)
	case 3:
		vs.Spec.Tls = []*networkingapi.TLSRoute{{
			Match: []*networkingapi.TLSMatchAttributes{{SniHosts: slices.Clone(vs.Spec.Hosts)}},
			Route: []*networkingapi.RouteDestination{{Destination: &networkingapi.Destination{Host: "app.demo.svc.cluster.local", Subset: pick("v1", "v2", "nosuch")}}},
		}}
		return "a tls rule"
	}
	if len(vs.Spec.Http) == 0 {
		return ""
	}
	http := vs.Spec.Http[h.random.Intn(len(vs.Spec.Http))]
	d := &networkingapi.Destination{Host: "app.demo.svc.cluster.local", Subset: pick("", "v1", "v2", "v3", "nosuch")}
	switch h.random.Intn(5) {
	case 0:
		http.Mirrors = append(http.Mirrors, &networkingapi.HTTPMirrorPolicy{Destination: d, Percentage: &networkingapi.Percent{Value: 10}})
		return "copies to " + d.Subset
	case 1:
		for i, route := range http.Route {
			if i == 0 && route.Weight == 0 {
				route.Weight = 50
			}
		}
		http.Route = append(http.Route, &networkingapi.HTTPRouteDestination{Destination: d, Weight: 50})
		return "a share for " + d.Subset
	case 2:
		vs.Spec.Http = append([]*networkingapi.HTTPRoute{{
			Match: []*networkingapi.HTTPMatchRequest{{Headers: map[string]*networkingapi.StringMatch{"x": exact("y")}}},
			Route: []*networkingapi.HTTPRouteDestination{{Destination: d}},
		}}, vs.Spec.Http...)
		return "a rule that leads to " + d.Subset
	case 3:
		http.Fault = &networkingapi.HTTPFaultInjection{Abort: &networkingapi.HTTPFaultInjection_Abort{ErrorType: &networkingapi.HTTPFaultInjection_Abort_HttpStatus{HttpStatus: 500}, Percentage: &networkingapi.Percent{Value: 100}}}
		return "a fault"
	}
	http.Retries = &networkingapi.HTTPRetry{Attempts: 2}
	return "retries"
}

// replaceField changes one field below spec or the annotations.
func (h *hostileWalk) replaceField(c *cluster, object Object, part string) *handEditOf {
	for range 20 {
		var tree map[string]any
		if err := json.Unmarshal(bytesOf(c.t, object), &tree); err != nil {
			c.t.Fatal(err)
		}
		fields := fieldsOf(tree["spec"], "spec")
		if part == "annotations" {
			fields = fieldsOf(below(tree, "metadata")["annotations"], "metadata", "annotations")
		}
		path := fields[h.random.Intn(len(fields))]
		how := mutate(tree, path, h.random)
		edited, valid := decodeAs(object, tree)
		if !valid {
			continue
		}
		if is := h.replace(c, object, func(o Object) string { copyInto(o, edited); return strings.Join(path, ".") + " " + how }); is != nil {
			return is
		}
	}
	return nil
}

func copyInto(o, from Object) {
	switch o := o.(type) {
	case *networkingv1.DestinationRule:
		*o = *from.(*networkingv1.DestinationRule).DeepCopy()
	case *networkingv1.VirtualService:
		*o = *from.(*networkingv1.VirtualService).DeepCopy()
	case *networkingv1.Gateway:
		*o = *from.(*networkingv1.Gateway).DeepCopy()
	}
}

// otherText is another text in the place of an annotation's.
func (h *hostileWalk) otherText(was string) string {
	out, _ := anotherValue(was, h.random)
	text, _ := out.(string)
	return text
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
		for _, d := range DestinationsOf(o) {
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

// replaceObject puts an edited object in the place of the one that it was; without our marks, or where it counts as replaced,
// it is another author's.
func (c *cluster) replaceObject(was, is Object) {
	o := c.observe()
	ours := IsOwn(is, c.service) && !o.isReplacedByUser(is)
	switch o := is.(type) {
	case *networkingv1.DestinationRule:
		c.existing.DestinationRules, c.foreign.DestinationRules = moved(c.existing.DestinationRules, c.foreign.DestinationRules, was, o, ours)
	case *networkingv1.VirtualService:
		c.existing.VirtualServices, c.foreign.VirtualServices = moved(c.existing.VirtualServices, c.foreign.VirtualServices, was, o, ours)
	case *networkingv1.Gateway:
		c.existing.Gateways, c.foreign.Gateways = moved(c.existing.Gateways, c.foreign.Gateways, was, o, ours)
	}
}

func moved[T Object](existing, foreign []T, was Object, is T, ours bool) (own, others []T) {
	existing = slices.DeleteFunc(slices.Clone(existing), func(o T) bool { return o.GetName() == was.GetName() })
	if ours {
		return append(existing, is), foreign
	}
	return existing, append(slices.Clone(foreign), is)
}
