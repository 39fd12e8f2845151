package e2e

import (
	"bufio"
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

// used returns what a ServiceAccount has asked the API server for so far, and what of it was forbidden; without what was noted
// before a place in the audit log.
func used(t *testing.T, namespace, account string, from int64) (allowed, forbidden map[right]bool) {
	t.Helper()
	file, err := os.Open(auditLog)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if _, err := file.Seek(from, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	allowed, forbidden = map[right]bool{}, map[right]bool{}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var event struct {
			Verb string `json:"verb"`
			User struct {
				Username string `json:"username"`
			} `json:"user"`
			Object *struct {
				APIGroup    string `json:"apiGroup"`
				Resource    string `json:"resource"`
				Subresource string `json:"subresource"`
				Namespace   string `json:"namespace"`
				Name        string `json:"name"`
			} `json:"objectRef"`
			Annotations map[string]string `json:"annotations"`
		}
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			continue // the last line, still being written
		}
		if event.User.Username != "system:serviceaccount:"+namespace+":"+account || event.Object == nil {
			continue // of another account, or about no resource: discovery, which everybody may
		}
		use := right{event.Verb, event.Object.APIGroup, event.Object.Resource, event.Object.Name, event.Object.Namespace}
		if event.Object.Subresource != "" {
			use.resource += "/" + event.Object.Subresource
		}
		if event.Annotations["authorization.k8s.io/decision"] == "forbid" {
			forbidden[use] = true
			continue
		}
		allowed[use] = true
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return allowed, forbidden
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

// hookRights returns what the hooks of a release are granted while they run, by the last word of the role's name: "test" or
// "delete".
func hookRights(t *testing.T, namespace, release string) map[string][]right {
	t.Helper()
	text, err := cluster.Helm(t.Context(), nil, "get", "hooks", release, "-n", namespace)
	if err != nil {
		t.Fatal(err)
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

// wantHookRightsUsed looks whether an account of a hook that has run used all that the hook was granted.
func wantHookRightsUsed(t *testing.T, rights []right, namespace, account string) {
	t.Helper()
	allowed, _ := used(t, namespace, account, 0)
	if idle := unused(rights, allowed); len(idle) > 0 || len(rights) == 0 {
		t.Errorf("of %d rights of hooks of %s/%s never used:\n  %s", len(rights), namespace, account, strings.Join(idle, "\n  "))
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
	rights := granted(t, namespace, account)
	if len(rights) < 10 {
		t.Fatalf("%s/%s has %d rights; is it the account that Outrigger runs as?", namespace, account, len(rights))
	}
	eventually(t, "every right of "+namespace+"/"+account+" is used", func() error {
		allowed, _ := used(t, namespace, account, 0)
		if streams {
			allowed = asListed(allowed)
		}
		if idle := unused(rights, allowed); len(idle) > 0 {
			return fmt.Errorf("granted, and never used: let this test do what needs them, or take them out of the chart:\n  %s", strings.Join(idle, "\n  "))
		}
		return nil
	})
	allowed, forbidden := used(t, namespace, account, since)
	if all, _ := used(t, namespace, account, 0); len(wide(rights, all)) > 0 {
		t.Errorf("these can be narrowed to names:\n  %s", strings.Join(wide(rights, all), "\n  "))
	}
	for use := range forbidden {
		t.Errorf("forbidden: %s", use)
	}
	for use := range allowed {
		if !slices.ContainsFunc(rights, func(r right) bool { return r.covers(use) }) {
			t.Errorf("allowed by something that is not the chart's: %s", use)
		}
	}
}

// kindsOfOthers are the kinds that are read where their CRDs are, whoever brings them: each has a right that is used once
// it is there, and here all of them are.
var kindsOfOthers = []struct{ group, version, kind, plural string }{
	{"argoproj.io", "v1alpha1", "Rollout", "rollouts"},
	{"flagger.app", "v1beta1", "Canary", "canaries"},
	{"gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes"},
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
		allowed, _ := used(t, outriggerNamespace, outriggerName, since)
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
