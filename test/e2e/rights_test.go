// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// auditPolicy has the API server note every request of an account of ours, once it is answered or its watch has begun.
const auditPolicy = `
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  userGroups: ["system:serviceaccounts:` + outriggerNamespace + `", "system:serviceaccounts:` + securedNamespace + `"]
- level: None
`

// auditLog is the path of what is noted.
var auditLog string

// right is one thing that an account may do, or did. Empty names and namespaces are all of them.
type right struct{ verb, group, resource, name, namespace string }

func (r right) String() string {
	text := r.verb + " " + r.resource
	if r.group != "" {
		text += "." + r.group
	}
	if r.name != "" {
		text += " " + r.name
	}
	if r.namespace != "" {
		text += " in " + r.namespace
	}
	return text
}

// covers reports whether the right allows a use.
func (r right) covers(use right) bool {
	return r.verb == use.verb && r.group == use.group && r.resource == use.resource &&
		(r.name == "" || r.name == use.name) && (r.namespace == "" || r.namespace == use.namespace)
}

// rightsOf returns the rights that rules give in a namespace, or everywhere.
func rightsOf(t *testing.T, in string, rules []rbacv1.PolicyRule) []right {
	t.Helper()
	var out []right
	for _, rule := range rules {
		if len(rule.ResourceNames) == 0 {
			rule.ResourceNames = []string{""}
		}
		for _, verb := range rule.Verbs {
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					for _, name := range rule.ResourceNames {
						if strings.Contains(verb+group+resource+name, "*") {
							t.Errorf("a right holds a star: %v", rule)
						}
						out = append(out, right{verb, group, resource, name, in})
					}
				}
			}
		}
	}
	return out
}

// granted returns the rights of a ServiceAccount as the chart's objects in the cluster give them, the narrowest first.
func granted(t *testing.T, namespace, account string) []right {
	t.Helper()
	var out []right
	ours := func(subjects []rbacv1.Subject) bool {
		return slices.ContainsFunc(subjects, func(s rbacv1.Subject) bool {
			return s.Kind == rbacv1.ServiceAccountKind && s.Namespace == namespace && s.Name == account
		})
	}
	bindings, wide := &rbacv1.RoleBindingList{}, &rbacv1.ClusterRoleBindingList{}
	if err := errors.Join(kube.List(t.Context(), bindings), kube.List(t.Context(), wide)); err != nil {
		t.Fatal(err)
	}
	for _, binding := range bindings.Items {
		if !ours(binding.Subjects) {
			continue
		}
		role := &rbacv1.Role{}
		if err := kube.Get(t.Context(), client.ObjectKey{Namespace: binding.Namespace, Name: binding.RoleRef.Name}, role); err != nil {
			t.Fatal(err)
		}
		out = append(out, rightsOf(t, binding.Namespace, role.Rules)...)
	}
	for _, binding := range wide.Items {
		if !ours(binding.Subjects) {
			continue
		}
		role := &rbacv1.ClusterRole{}
		if err := kube.Get(t.Context(), client.ObjectKey{Name: binding.RoleRef.Name}, role); err != nil {
			t.Fatal(err)
		}
		out = append(out, rightsOf(t, "", role.Rules)...)
	}
	return out
}

// asker is an account; with a pod it is that account in pods whose names begin so, as those of a hook do.
type asker struct{ namespace, account, pod string }

func (a asker) String() string {
	return strings.TrimSuffix(a.namespace+"/"+a.account+" in pod "+a.pod, " in pod ")
}

// used returns what somebody has asked the API server for so far, and what of it was forbidden; without what was noted
// before a place in the audit log.
func used(t *testing.T, by asker, from int64) (allowed, forbidden map[right]bool) {
	t.Helper()
	allowed, forbidden = map[right]bool{}, map[right]bool{}
	for _, request := range requests(t, by, from) {
		if request.forbidden {
			forbidden[request.right] = true
			continue
		}
		allowed[request.right] = true
	}
	return allowed, forbidden
}

// request is one that the API server has noted.
type request struct {
	right
	forbidden bool
	status    int // of HTTP
}

// requests returns those of somebody, in their order, from a place in the audit log on.
func requests(t *testing.T, by asker, from int64) []request {
	t.Helper()
	file, err := os.Open(auditLog)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if _, err := file.Seek(from, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	var out []request
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var event struct {
			Verb string `json:"verb"`
			User struct {
				Username string              `json:"username"`
				Extra    map[string][]string `json:"extra"`
			} `json:"user"`
			Object *struct {
				APIGroup    string `json:"apiGroup"`
				Resource    string `json:"resource"`
				Subresource string `json:"subresource"`
				Namespace   string `json:"namespace"`
				Name        string `json:"name"`
			} `json:"objectRef"`
			Response struct {
				Code int `json:"code"`
			} `json:"responseStatus"`
			Annotations map[string]string `json:"annotations"`
		}
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			continue // the last line, still being written
		}
		if event.User.Username != userOf(by.namespace, by.account) || event.Object == nil {
			continue // of another account, or about no resource: discovery, which everybody may
		}
		if !strings.HasPrefix(strings.Join(event.User.Extra["authentication.kubernetes.io/pod-name"], ""), by.pod) {
			continue
		}
		use := right{event.Verb, event.Object.APIGroup, event.Object.Resource, event.Object.Name, event.Object.Namespace}
		if event.Object.Subresource != "" {
			use.resource += "/" + event.Object.Subresource
		}
		out = append(out, request{use, event.Annotations["authorization.k8s.io/decision"] == "forbid", event.Response.Code})
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// userOf is the name by which the API server knows a ServiceAccount.
func userOf(namespace, account string) string {
	return "system:serviceaccount:" + namespace + ":" + account
}

// asListed adds to what was watched that it is listed: a client that streams the list through its watch falls back to listing
// where the API server cannot do that.
func asListed(uses map[right]bool) map[right]bool {
	out := maps.Clone(uses)
	for use := range uses {
		if use.verb == "watch" {
			use.verb = "list"
			out[use] = true
		}
	}
	return out
}

// unused returns those of the rights that no use needs. A use needs the narrowest right that covers it.
func unused(rights []right, uses map[right]bool) []string {
	rights = slices.Clone(rights)
	slices.SortStableFunc(rights, func(a, b right) int { return width(a) - width(b) })
	needed := make([]bool, len(rights))
	for use := range uses {
		if i := slices.IndexFunc(rights, func(r right) bool { return r.covers(use) }); i >= 0 {
			needed[i] = true
		}
	}
	var out []string
	for i, r := range rights {
		if !needed[i] {
			out = append(out, r.String())
		}
	}
	slices.Sort(out)
	return out
}

// wide returns those rights to list or watch a kind that were used for single objects by their names alone, which the right
// could hold.
func wide(rights []right, uses map[right]bool) []string {
	var out []string
	for _, r := range rights {
		if r.name != "" || r.verb != "list" && r.verb != "watch" {
			continue
		}
		var names []string
		for use := range uses {
			if r.covers(use) {
				names = append(names, use.name)
			}
		}
		if len(names) > 0 && !slices.Contains(names, "") {
			out = append(out, fmt.Sprintf("%s: only of %v", r, names))
		}
	}
	return out
}

func width(r right) int {
	width := 0
	if r.name == "" {
		width += 2
	}
	if r.namespace == "" {
		width++
	}
	return width
}

// hookRights returns what the hooks of a release are granted, by the last word of the role's name: "delete" while it runs, and
// "test" for good.
func hookRights(t *testing.T, namespace, release string) map[string][]right {
	t.Helper()
	var text string
	for _, part := range []string{"hooks", "manifest"} {
		out, err := cluster.Helm(t.Context(), nil, "get", part, release, "-n", namespace)
		if err != nil {
			t.Fatal(err)
		}
		text += "\n---\n" + out
	}
	out := map[string][]right{}
	for _, document := range strings.Split(text, "\n---\n") {
		var role rbacv1.Role // a ClusterRole has the same fields, but for the namespace
		if err := yaml.Unmarshal([]byte(document), &role); err != nil {
			t.Fatalf("%v in\n%s", err, document)
		}
		if role.Kind == "Role" || role.Kind == "ClusterRole" {
			hook := role.Name[strings.LastIndexByte(role.Name, '-')+1:]
			out[hook] = append(out[hook], rightsOf(t, role.Namespace, role.Rules)...)
		}
	}
	return out
}

// wantHookRightsUsed looks whether a hook that has run used all that it was granted for its time, and nothing beside that and
// what its account may do anyway.
func wantHookRightsUsed(t *testing.T, by asker, hook, standing []right) {
	t.Helper()
	allowed, forbidden := used(t, by, 0)
	if idle := unused(hook, allowed); len(idle) > 0 || len(hook) == 0 {
		t.Errorf("of %d rights of the hook %s never used:\n  %s", len(hook), by, strings.Join(idle, "\n  "))
	}
	wantCovered(t, by, slices.Concat(hook, standing), allowed, forbidden)
}

// wantCovered looks whether somebody asked for more than the rights allow.
func wantCovered(t *testing.T, by asker, rights []right, allowed, forbidden map[right]bool) {
	t.Helper()
	for use := range forbidden {
		t.Errorf("%s: forbidden: %s", by, use)
	}
	for use := range allowed {
		if !slices.ContainsFunc(rights, func(r right) bool { return r.covers(use) }) {
			t.Errorf("%s: allowed by something that is not the chart's: %s", by, use)
		}
	}
}

// noted returns how much the audit log holds by now.
func noted(t *testing.T) int64 {
	t.Helper()
	info, err := os.Stat(auditLog)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// wantEveryRightUsed waits until an account has used all that it may do, and looks whether it tried more since a place in the
// audit log: before that, other tests may have given it other rights. streams says that its clients list by watching.
func wantEveryRightUsed(t *testing.T, namespace, account string, since int64, streams bool) {
	t.Helper()
	by := asker{namespace: namespace, account: account}
	rights := granted(t, namespace, account)
	if len(rights) < 10 {
		t.Fatalf("%s has %d rights; is it the account that Outrigger runs as?", by, len(rights))
	}
	eventually(t, "every right of "+by.String()+" is used", func() error {
		allowed, _ := used(t, by, 0)
		if streams {
			allowed = asListed(allowed)
		}
		if idle := unused(rights, allowed); len(idle) > 0 {
			return fmt.Errorf("granted, and never used: let this test do what needs them, or take them out of the chart:\n  %s", strings.Join(idle, "\n  "))
		}
		return nil
	})
	allowed, forbidden := used(t, by, since)
	if all, _ := used(t, by, 0); len(wide(rights, all)) > 0 {
		t.Errorf("these can be narrowed to names:\n  %s", strings.Join(wide(rights, all), "\n  "))
	}
	wantCovered(t, by, rights, allowed, forbidden)
}

// kindsOfOthers are the kinds that are read where their CRDs are, whoever brings them: each has a right that is used once
// it is there, and here all of them are.
var kindsOfOthers = []struct{ group, version, kind, plural string }{
	{"argoproj.io", "v1alpha1", "Rollout", "rollouts"},
	{"flagger.app", "v1beta1", "Canary", "canaries"},
	{"gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes"},
	{"gateway.networking.k8s.io", "v1", "GRPCRoute", "grpcroutes"},
	{"gateway.networking.k8s.io", "v1alpha2", "TCPRoute", "tcproutes"},
	{"gateway.networking.k8s.io", "v1alpha2", "TLSRoute", "tlsroutes"},
	{"gateway.networking.k8s.io", "v1beta1", "ReferenceGrant", "referencegrants"},
}

// needKindsOfOthers brings the kinds that other tools route by.
func needKindsOfOthers(t *testing.T) {
	t.Helper()
	for _, k := range kindsOfOthers {
		apply(t, "default", fmt.Sprintf(`
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %[4]s.%[1]s, annotations: {api-approved.kubernetes.io: unapproved}}
spec:
  group: %[1]s
  scope: Namespaced
  names: {kind: %[3]s, listKind: %[3]sList, plural: %[4]s, singular: %[5]s}
  versions:
  - name: %[2]s
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`, k.group, k.version, k.kind, k.plural, strings.ToLower(k.kind)))
		kubectl(t, "wait", "--for=condition=Established", "--timeout=60s", "crd/"+k.plural+"."+k.group)
	}
}

// What the chart grants is what Outrigger uses, and nothing more: it does here all that it ever does, with the API server
// taking notes. Whoever adds a right lets this test use it.
func TestRightsAreThoseThatAreUsed(t *testing.T) {
	needIstio(t)
	since := noted(t)
	needKindsOfOthers(t)
	ns := namespace(t, injected)

	// Routes: made, changed and taken back.
	apply(t, ns, service("app")+fixed("app-v1", "app", "v1"))
	kubectl(t, "-n", ns, "annotate", "service", "app", "outrigger.dev/expose=true", "outrigger.dev/hosts=one.example")
	wantRoutes(t, ns, "app", "v1=100")
	apply(t, ns, fixed("app-v2", "app", "v2"))
	wantSubsets(t, ns, "app", "v1 v2")
	kubectl(t, "-n", ns, "annotate", "--overwrite", "service", "app", "outrigger.dev/weights=v1=50,v2=50", "outrigger.dev/hosts=two.example")
	wantRoutes(t, ns, "app", "v1=50 v2=50")
	kubectl(t, "-n", ns, "annotate", "--overwrite", "service", "app", "outrigger.dev/weights=v1=60,v2=40")
	wantRoutes(t, ns, "app", "v1=60 v2=40")
	eventually(t, "the Gateway has the new host alone", func() error {
		gw, err := gateway(ns, "app")
		if err == nil && fmt.Sprint(gw.Spec.Servers[0].Hosts) != "["+ns+"/two.example]" {
			err = fmt.Errorf("it has %v", gw.Spec.Servers[0].Hosts)
		}
		return err
	})
	// What is told twice of one state of the Service changes its Event into a series: here that somebody came later, each time.
	const latecomer = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: latecomer}\n" +
		"spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [two.example]}]}\n"
	there := false
	eventually(t, "what is told once more changes its Event into a series", func() error {
		if there = !there; there {
			apply(t, ns, latecomer)
		} else {
			kubectl(t, "-n", ns, "delete", "gateway.networking.istio.io", "latecomer")
		}
		allowed, _ := used(t, asker{namespace: outriggerNamespace, account: outriggerName}, since)
		for use := range allowed {
			if use.verb == "patch" && use.resource == "events" {
				return nil
			}
		}
		return errors.New("it is not changed")
	})
	kubectl(t, "-n", ns, "label", "service", "app", "outrigger.dev/routing=disabled")

	ownersHear(t, ns)
	wantEveryRightUsed(t, outriggerNamespace, outriggerName, since, true)
}

// Where routing is on, the removal of the release stops its replicas and takes routes away, for which its hook has rights of
// its own. The release is there again afterwards, for the tests that follow.
func TestARemovalUsesTheRightsOfItsHook(t *testing.T) {
	needIstio(t)
	needKindsOfOthers(t)
	ns := namespace(t, injected)
	apply(t, ns, service("lone")+rolling("lone", "lone", "v1")+service("two")+fixed("two-v1", "two", "v1")+fixed("two-v2", "two", "v2")+service("shown")+fixed("shown-v1", "shown", "v1"))
	kubectl(t, "-n", ns, "annotate", "service", "shown", "outrigger.dev/expose=true", "outrigger.dev/hosts=shown.example") // so that Istio's configuration matters
	wantRoutes(t, ns, "shown", "v1=100")
	wantRoutes(t, ns, "lone", "-=100")
	wantRoutes(t, ns, "two", "v1=100")
	standing, hook := granted(t, outriggerNamespace, outriggerName), hookRights(t, outriggerNamespace, outriggerName)["delete"]
	if err := outrigger.Uninstall(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := outrigger.Upgrade(context.Background(), settings); err != nil {
			t.Error(err)
		}
	})
	wantHookRightsUsed(t, asker{outriggerNamespace, outriggerName, outriggerName + "-pre-delete-"}, hook, standing)
	if _, err := virtualService(ns, "lone"); !apierrors.IsNotFound(err) {
		t.Errorf("the route of one workload, whose removal moves nothing: %v; want it gone", err)
	}
	if vs, err := virtualService(ns, "two"); err != nil || routes(vs) != "v1=100" {
		t.Errorf("the route of two workloads, whose removal moves traffic, is %q, %v", routes(vs), err)
	}
}

// ownersHear has pods of owners of every kind denied, and waits until the owners are told.
func ownersHear(t *testing.T, ns string) {
	t.Helper()
	bad := `metadata: {labels: {app: bad}, annotations: {status.sidecar.istio.io/port: many}}
    spec: {restartPolicy: %s, containers: [{name: app, image: registry.example/app:1}]}`
	always, never := fmt.Sprintf(bad, "Always"), fmt.Sprintf(bad, "Never")
	apply(t, ns, `
apiVersion: apps/v1
kind: Deployment
metadata: {name: bad-deployment}
spec:
  selector: {matchLabels: {app: bad}}
  template:
    `+always+`
---
apiVersion: batch/v1
kind: Job
metadata: {name: bad-job}
spec:
  template:
    `+never+`
---
apiVersion: v1
kind: ReplicationController
metadata: {name: bad-controller}
spec:
  replicas: 1
  selector: {app: bad}
  template:
    `+always+`
`)
	for _, owner := range []string{"bad-deployment", "bad-job", "bad-controller"} {
		wantEvent(t, ns, owner, "InvalidAnnotation")
	}
}
