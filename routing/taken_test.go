// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"outrigger.dev/outrigger/api"
)

// disown sorts what the user replaced out of ours, as the controller does when it reads the cluster.
func (c *cluster) disown() {
	o := c.observe()
	var all Objects
	all.DestinationRules = slices.Concat(c.existing.DestinationRules, c.foreign.DestinationRules)
	all.VirtualServices = slices.Concat(c.existing.VirtualServices, c.foreign.VirtualServices)
	all.Gateways = slices.Concat(c.existing.Gateways, c.foreign.Gateways)
	c.existing.DestinationRules, c.foreign.DestinationRules = sortedOut(&o, c, all.DestinationRules)
	c.existing.VirtualServices, c.foreign.VirtualServices = sortedOut(&o, c, all.VirtualServices)
	c.existing.Gateways, c.foreign.Gateways = sortedOut(&o, c, all.Gateways)
}

func sortedOut[T Object](o *Observed, c *cluster, all []T) (ours, theirs []T) {
	for _, object := range all {
		if IsOwn(object, c.service) && !o.isReplacedByUser(object) {
			ours = append(ours, object)
		} else {
			theirs = append(theirs, object)
		}
	}
	return ours, theirs
}

// release removes our marks from an object of the user, and wants it to be the one that was looked at.
func (c *cluster) release(change Change) {
	c.t.Helper()
	for _, object := range c.foreign.All() {
		if !sameName(object, change.Object) {
			continue
		}
		if object.GetResourceVersion() != change.ResourceVersion {
			c.t.Fatalf("release over resourceVersion %q, it is %q", change.ResourceVersion, object.GetResourceVersion())
		}
		c.uid++
		bare := Released(object, c.service)
		bare.SetResourceVersion(fmt.Sprint(c.uid))
		if !sameSpec(object, bare) {
			c.t.Errorf("the release of %s changes its spec", object.GetName())
		}
		c.foreign = c.foreign.with(bare)
		return
	}
	c.t.Fatalf("release of %s %s, which is not there", KindOf(change.Object), change.Object.GetName())
}

// with returns the objects with one more, or another in the place of the one of its name.
func (o Objects) with(object Object) Objects {
	o = o.without(object)
	switch object := object.(type) {
	case *networkingv1.DestinationRule:
		o.DestinationRules = append(o.DestinationRules, object)
	case *networkingv1.VirtualService:
		o.VirtualServices = append(o.VirtualServices, object)
	case *networkingv1.Gateway:
		o.Gateways = append(o.Gateways, object)
	}
	return o
}

func (o Objects) without(object Object) Objects {
	o.DestinationRules = slices.DeleteFunc(slices.Clone(o.DestinationRules), func(other *networkingv1.DestinationRule) bool { return sameName(other, object) })
	o.VirtualServices = slices.DeleteFunc(slices.Clone(o.VirtualServices), func(other *networkingv1.VirtualService) bool { return sameName(other, object) })
	o.Gateways = slices.DeleteFunc(slices.Clone(o.Gateways), func(other *networkingv1.Gateway) bool { return sameName(other, object) })
	return o
}

// deleteFile deletes the object of the user that a file made.
func (c *cluster) deleteFile(file Object) {
	file = file.DeepCopyObject().(Object)
	file.SetNamespace("demo")
	c.foreign = c.foreign.without(file)
	c.changed()
}

// How a user writes a file over an object.
type writer string

const (
	clientSideApply writer = "kubectl apply"
	serverSideApply writer = "kubectl apply --server-side"
	replace         writer = "kubectl replace"
)

var writers = []writer{clientSideApply, serverSideApply, replace}

// file writes a file of the user's over the object of its name, or creates it.
func (c *cluster) file(how writer, file Object) {
	c.t.Helper()
	file = file.DeepCopyObject().(Object)
	file.SetNamespace("demo")
	c.uid++
	at := slices.IndexFunc(slices.Concat(c.existing.All(), c.foreign.All()), func(o Object) bool { return sameName(o, file) })
	if at >= 0 {
		was := slices.Concat(c.existing.All(), c.foreign.All())[at]
		if rule, is := was.(*networkingv1.DestinationRule); is && how == replace && IsOwn(was, c.service) {
			c.collected = rule.DeepCopy()
		}
		file = over(c.t, how, was, file)
		file.SetUID(was.GetUID())
		file.SetCreationTimestamp(was.GetCreationTimestamp())
		c.existing, c.foreign = c.existing.without(file), c.foreign.without(file)
	} else {
		file.SetUID(types.UID(fmt.Sprint("object-", c.uid)))
		file.SetCreationTimestamp(metav1.NewTime(c.now))
	}
	file.SetResourceVersion(fmt.Sprint(c.uid))
	c.foreign = c.foreign.with(file)
	c.changed()
}

// over is what the API server stores.
func over(t testing.TB, how writer, was, file Object) Object {
	t.Helper()
	if how == replace {
		return file
	}
	out := was.DeepCopyObject().(Object)
	text := bytesOf(t, map[string]any{"metadata": map[string]any{"name": file.GetName(), "namespace": "demo", "labels": file.GetLabels()}, "spec": specOf(t, file)})
	merged := specOf(t, was)
	maps.Copy(merged, specOf(t, file)) // the specs have no deeper objects that are merged
	raw := bytesOf(t, map[string]any{"spec": merged})
	switch o := out.(type) {
	case *networkingv1.DestinationRule:
		o.Spec.Reset()
	case *networkingv1.VirtualService:
		o.Spec.Reset()
	case *networkingv1.Gateway:
		o.Spec.Reset()
	}
	if err := json.Unmarshal(raw, out); err != nil {
		t.Fatal(err)
	}
	if how == clientSideApply {
		annotations := map[string]string{}
		maps.Copy(annotations, out.GetAnnotations())
		annotations[corev1.LastAppliedConfigAnnotation] = string(text)
		out.SetAnnotations(annotations)
		return out
	}
	fields := map[string]any{}
	for key := range specOf(t, file) {
		fields["f:"+key] = map[string]any{}
	}
	owned := &metav1.FieldsV1{}
	owned.SetRawBytes(bytesOf(t, map[string]any{"f:spec": fields}))
	out.SetManagedFields(CompactManagedFields([]metav1.ManagedFieldsEntry{
		{Manager: api.FieldManager, Operation: metav1.ManagedFieldsOperationApply, FieldsV1: owned},
		{Manager: "kubectl", Operation: metav1.ManagedFieldsOperationApply, FieldsV1: owned},
	}))
	return out
}

func specOf(t testing.TB, object Object) map[string]any {
	t.Helper()
	var whole struct {
		Spec map[string]any `json:"spec"`
	}
	if err := json.Unmarshal(bytesOf(t, object), &whole); err != nil {
		t.Fatal(err)
	}
	return whole.Spec
}

// The tutorial's own files, with the Service's name.
func tutorialRoute(shares ...string) *networkingv1.VirtualService {
	vs := &networkingv1.VirtualService{ObjectMeta: metav1.ObjectMeta{Name: "app"}}
	vs.Spec.Hosts, vs.Spec.Gateways = []string{"*"}, []string{"app"}
	http := &networkingapi.HTTPRoute{Match: []*networkingapi.HTTPMatchRequest{{Uri: &networkingapi.StringMatch{MatchType: &networkingapi.StringMatch_Prefix{Prefix: "/"}}}}}
	for _, share := range shares {
		subset, weight, _ := strings.Cut(share, "=")
		d := &networkingapi.HTTPRouteDestination{Destination: &networkingapi.Destination{Host: "app", Subset: subset}}
		if _, err := fmt.Sscan(weight, &d.Weight); err != nil {
			panic(err)
		}
		http.Route = append(http.Route, d)
	}
	vs.Spec.Http = []*networkingapi.HTTPRoute{http}
	return vs
}

func tutorialRule(versions ...string) *networkingv1.DestinationRule {
	rule := &networkingv1.DestinationRule{ObjectMeta: metav1.ObjectMeta{Name: "app"}}
	rule.Spec.Host = "app"
	for _, version := range versions {
		rule.Spec.Subsets = append(rule.Spec.Subsets, &networkingapi.Subset{Name: version, Labels: versionLabel(version)})
	}
	return rule
}

func tutorialGateway(hosts ...string) *networkingv1.Gateway {
	gateway := &networkingv1.Gateway{ObjectMeta: metav1.ObjectMeta{Name: "app"}}
	gateway.Spec.Selector = map[string]string{"istio": "ingressgateway"}
	gateway.Spec.Servers = []*server{{Port: &networkingapi.Port{Number: 80, Name: "http", Protocol: "HTTP"}, Hosts: hosts}}
	return gateway
}

// released wants an object of the user to be free of anything of ours, and to have these shares if it is a VirtualService.
func (c *cluster) released(like Object, shares string) {
	c.t.Helper()
	for _, object := range c.foreign.All() {
		if KindOf(object) != KindOf(like) || object.GetName() != like.GetName() {
			continue
		}
		if carriesMarks(object, c.service) || len(object.GetOwnerReferences()) > 0 || len(ownMarks(object.GetAnnotations())) > 0 || object.GetLabels()[api.LabelService] != "" {
			c.t.Errorf("%v: %s %s still carries our marks: %v %v %v", c.now, KindOf(object), object.GetName(), object.GetLabels(), object.GetAnnotations(), object.GetOwnerReferences())
		}
		if vs, is := object.(*networkingv1.VirtualService); is && routesOf(vs) != shares {
			c.t.Errorf("%v: VirtualService %s of the user has %s, want %s", c.now, vs.Name, routesOf(vs), shares)
		}
		return
	}
	c.t.Errorf("%v: %s %s of the user is not there", c.now, KindOf(like), like.GetName())
}

// The tutorial's files, applied over ours in any order and by any means: the mesh stays pinned, the user routes at the
// gateway, and nothing of the user's is written after the release.
func TestTheTutorialsFilesAreAppliedOverOurs(t *testing.T) {
	files := []Object{tutorialGateway("*"), tutorialRoute("v1=90", "v2=10"), tutorialRule("v1", "v2")}
	for _, how := range writers {
		for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 0, 2}, {1, 2, 0}} {
			for _, pause := range []time.Duration{0, time.Second, time.Minute} {
				t.Run(fmt.Sprint(how, " ", order, " ", pause), func(t *testing.T) {
					c := twoVersions(t)
					c.annotate("expose=true")
					c.advance(time.Minute)
					c.exposed("app-gateway: *@demo/app; 80: demo/*")
					for _, i := range order {
						c.file(how, files[i])
						if pause > 0 {
							c.advance(pause)
						}
					}
					c.advance(time.Minute)
					c.has("v1 v2", "none")
					if got := c.routes("app-auto"); got != "v1" {
						t.Errorf("callers in the mesh are routed to %s", got)
					}
					c.exposed("")
					for _, file := range files {
						c.released(file, "v1=90 v2=10")
					}
					c.tells(api.RouteRouteConflict, api.RoutePolicyShared)
					c.writes = nil
					c.advance(time.Hour)
					c.file(clientSideApply, tutorialRoute("v1=10", "v2=90"))
					c.advance(time.Hour)
					c.wrote()
					c.released(files[1], "v1=10 v2=90")
					// Without these files the exposure returns by itself, and the decisions still apply.
					for _, i := range order {
						c.deleteFile(files[i])
						c.advance(pause)
					}
					c.advance(time.Minute)
					c.exposed("app-gateway: *@demo/app; 80: demo/*")
					if got := c.routes("app-auto"); got != "v1" {
						t.Errorf("callers in the mesh are routed to %s", got)
					}
					c.tells()
				})
			}
		}
	}
}

// exposedAtGateway is a cluster with v1, the default, and v2, exposed on every host.
func exposedAtGateway(r *recorder) {
	r.call("gateway", probe{Gateway: true, Host: "a.example.com", Port: 80, Path: "/hello"})
	r.serving("v1", "v2")
	r.annotate("expose=true")
	r.advance(5 * time.Second)
	r.lead("gateway", "v1")
	r.lands("mesh", "v1", "gateway", "v1")
}

func playFilesOverOurs(r *recorder) {
	exposedAtGateway(r)
	r.file(clientSideApply, tutorialGateway("*"))
	r.advance(time.Minute)
	r.lands("mesh", "v1", "gateway", "v1")
	// Their write takes the mesh's route; ours is back with the next.
	r.lead("mesh", "v1", "v2")
	r.lead("gateway", "v1", "v2")
	r.file(clientSideApply, tutorialRoute("v1=90", "v2=10"))
	r.advance(3 * time.Second)
	r.lead("mesh", "v1")
	r.advance(time.Minute)
	r.lands("mesh", "v1", "gateway", "v1=90 v2=10")
	r.file(clientSideApply, tutorialRule("v1", "v2"))
	r.advance(time.Minute)
	r.lands("mesh", "v1", "gateway", "v1=90 v2=10")
	r.file(clientSideApply, tutorialRoute("v1=10", "v2=90"))
	r.advance(time.Minute)
	r.lands("mesh", "v1", "gateway", "v1=10 v2=90")
	r.lead("mesh", "v1", "v2")
	r.annotate("weights=v1=50,v2=50")
	r.advance(time.Minute)
	r.lands("mesh", "v1=50 v2=50", "gateway", "v1=10 v2=90")
	r.lead("gateway")
	for _, file := range []Object{tutorialRoute(), tutorialRule(), tutorialGateway()} {
		r.deleteFile(file)
		r.advance(time.Minute)
	}
	r.lands("mesh", "v1=50 v2=50", "gateway", "v1=50 v2=50")
}

func playRouteOverOurs(r *recorder) {
	exposedAtGateway(r)
	r.lead("mesh", "v1", "v2")
	r.lead("gateway", "v1", "v2")
	r.file(serverSideApply, tutorialRoute("v1=90", "v2=10"))
	r.advance(3 * time.Second)
	r.lead("mesh", "v1")
	r.advance(time.Minute)
	r.lands("mesh", "v1", "gateway", "v1=90 v2=10")
	r.lead("gateway")
	r.deleteFile(tutorialRoute())
	r.advance(time.Minute)
	r.lead("gateway", "v1")
	r.lands("mesh", "v1", "gateway", "v1")
}

func playReplaced(r *recorder) {
	r.serving("v1", "v2")
	r.lead("mesh", "v1", "v2")
	r.annotate("weights=v1=80,v2=20")
	r.advance(time.Minute)
	r.file(replace, tutorialRoute("v1=90", "v2=10"))
	r.file(replace, tutorialRule("v1", "v2"))
	r.advance(time.Minute)
	r.lands("mesh", "v1=80 v2=20")
	r.annotate("weights-")
	r.advance(3 * time.Second)
	r.lead("mesh", "v1")
	r.lands("mesh", "v1")
}

func playReplacedAway(r *recorder) {
	r.serving("v1", "v2")
	r.lead("mesh", "v1", "v2")
	r.file(replace, tutorialRoute("v1=90", "v2=10"))
	r.file(replace, tutorialRule("v1", "v2"))
	r.collected = nil
	r.advance(time.Hour)
	r.lands("mesh", "v1=50 v2=50") // the loss is reported, and nothing is decided
	r.onceTold(api.RoutePreexistingSplit)
	r.annotate("default-version=v1")
	r.advance(3 * time.Second)
	r.lead("mesh", "v1")
	r.lands("mesh", "v1")
}

// A file without a subset that our route names: the write that follows brings it back.
func TestAFileLeavesOutASubset(t *testing.T) {
	for _, how := range writers {
		c := twoVersions(t)
		c.annotate("weights=v1=50,v2=50")
		c.advance(time.Minute)
		c.writes = nil
		c.file(how, tutorialRule("v1"))
		c.settle()
		c.wrote("Create DestinationRule app-auto")
		c.has("v1 v2", "v1=50 v2=50")
		c.advance(time.Minute)
		c.released(tutorialRule(), "")
		c.has("v1 v2", "v1=50 v2=50")
	}
}

// A Gateway applied over ours that serves something else: ours stands beside it, and requests are served all the while.
func TestAGatewayForOtherHostsIsAppliedOverOurs(t *testing.T) {
	for _, how := range writers {
		every := twoVersions(t)
		every.annotate("expose=true")
		every.advance(time.Minute)
		every.file(how, tutorialGateway("shop.example.com")) // a part of every host
		every.advance(time.Minute)
		every.exposed("app-gateway: *@demo/app-auto; 80: demo/*")
		c := twoVersions(t)
		c.annotate("expose=true", "hosts=a.example.com")
		c.advance(time.Minute)
		c.file(how, tutorialGateway("b.example.com"))
		c.settle()
		c.exposed("app-gateway: a.example.com@demo/app,demo/app-auto; 80: demo/a.example.com")
		c.advance(time.Minute)
		c.exposed("app-gateway: a.example.com@demo/app-auto; 80: demo/a.example.com")
		c.released(tutorialGateway(), "")
	}
}

// What remains an edit: the line between it and a replacement.
func TestWhatIsAnEdit(t *testing.T) {
	weights := func(vs *networkingv1.VirtualService) {
		vs.Spec.Http[0].Route[0].Destination.Subset = "v2"
	}
	elsewhere := func(vs *networkingv1.VirtualService) { vs.Spec.Hosts = []string{"elsewhere.example.com"} }
	labeled := func(vs *networkingv1.VirtualService) {
		weights(vs)
		vs.Annotations[corev1.LastAppliedConfigAnnotation] = string(bytesOf(t, map[string]any{
			"metadata": map[string]any{"labels": map[string]string{api.LabelManagedBy: api.ManagedBy, api.LabelService: "app"}}, "spec": specOf(t, vs)}))
	}
	stale := func(vs *networkingv1.VirtualService) {
		vs.Annotations[corev1.LastAppliedConfigAnnotation] = string(bytesOf(t, map[string]any{"spec": specOf(t, tutorialRoute("v1=1", "v2=1"))}))
	}
	file := func(vs *networkingv1.VirtualService) {
		weights(vs)
		vs.Annotations[corev1.LastAppliedConfigAnnotation] = string(bytesOf(t, map[string]any{"spec": specOf(t, vs)}))
	}
	for _, test := range []struct {
		what  string
		drift string
		edit  func(*networkingv1.VirtualService)
		taken bool
	}{
		{"other shares by kubectl edit", "adopt", weights, false},
		{"a file with our labels, a copy of ours", "adopt", labeled, false},
		{"a file that was written over since", "adopt", stale, false},
		{"a file", "adopt", file, true},
		{"a file, where edits detach", "detach", file, true},
		{"a file, where edits are reverted", "revert", file, false},
		{"another host", "adopt", elsewhere, true},
		{"another host, where edits are reverted", "revert", elsewhere, false},
		{"another host, where what happens to edits is misspelled", "revrt", elsewhere, false},
	} {
		t.Run(test.what, func(t *testing.T) {
			c := twoVersions(t)
			c.annotate("drift=" + test.drift)
			c.advance(time.Minute)
			test.edit(c.existing.VirtualServices[0])
			c.existing.VirtualServices[0].ResourceVersion += "e"
			c.settle()
			if taken := len(c.foreign.VirtualServices) > 0; taken != test.taken {
				t.Errorf("taken: %t, want %t", taken, test.taken)
			}
		})
	}
}

// A file that declares marks of ours keeps them, so that a tool which applies it again and again has nothing to do.
func TestDeclaredMarksStay(t *testing.T) {
	c := twoVersions(t)
	vs := tutorialRoute("v1=90", "v2=10")
	vs.Labels = map[string]string{api.LabelKialiWizard: "traffic_shifting", "team": "a"}
	c.file(clientSideApply, vs)
	is := c.foreign.VirtualServices[0]
	is.Labels[api.LabelKialiWizard] = "traffic_shifting"
	c.advance(time.Minute)
	is = c.foreign.VirtualServices[0]
	if carriesMarks(is, c.service) || is.Labels[api.LabelKialiWizard] == "" || len(is.OwnerReferences) > 0 {
		t.Errorf("released: %v %v", is.Labels, is.OwnerReferences)
	}
	c.writes = nil
	c.advance(time.Hour)
	c.wrote()
}

// An object that an earlier release wrote and left to the user stays as it is: an upgrade moves no traffic. The next
// decision ends that.
func TestAnUpgradeTakesNothing(t *testing.T) {
	c := twoVersions(t)
	vs, rule := c.existing.VirtualServices[0], c.existing.DestinationRules[0]
	for _, object := range []Object{vs, rule} {
		annotations := object.GetAnnotations()
		delete(annotations, api.AnnotationSeal)
		delete(annotations, api.AnnotationSubsets)
		r := recordOf(object)
		r.Revision = 0
		annotations[api.AnnotationRecord] = r.text()
	}
	c.file(clientSideApply, tutorialRoute("v1=90", "v2=10"))
	c.advance(time.Hour)
	c.wrote()
	c.tells(api.RouteDrifted)
	c.annotate("default-version=v1")
	c.advance(time.Minute)
	if got := c.routes("app-auto"); got != "v1" {
		t.Errorf("after a decision, callers in the mesh are routed to %s", got)
	}
	c.released(tutorialRoute(), "v1=90 v2=10")
}

// kubectl delete service: our marks are gone from what the user owns. Routing that ends releases as well.
func TestTheEndOfRoutingReleases(t *testing.T) {
	c := twoVersions(t)
	c.annotate("expose=true")
	c.advance(time.Minute)
	c.service.Labels[api.LabelRouting] = "disabled"
	c.file(clientSideApply, tutorialRoute("v1=90", "v2=10"))
	c.advance(5 * time.Minute)
	c.released(tutorialRoute(), "v1=90 v2=10")
}
