// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

var update = flag.Bool("update", false, "write testdata/reach.txtar anew; read what it says before you believe it")

// golden is one case of package routing: what a user has, and the objects that come of it in the end.
type golden struct {
	name    string
	comment string
	input   []byte
	objects []byte
}

// goldens reads all cases of package routing.
func goldens(t *testing.T) []golden {
	t.Helper()
	paths, err := filepath.Glob("../../routing/testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	var out []golden
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		g := golden{name: strings.TrimSuffix(filepath.Base(path), ".txtar"), comment: string(archive.Comment)}
		for _, file := range archive.Files {
			switch file.Name {
			case "in.yaml":
				g.input = file.Data
			case "objects.yaml":
				g.objects = file.Data
			}
		}
		out = append(out, g)
	}
	return out
}

// accepted are the messages that the case's comment foresees, a line "IST0109 VirtualService other/theirs" each: they are
// about what is foreign there.
func (g golden) accepted() []string {
	var out []string
	for line := range strings.Lines(g.comment) {
		if strings.HasPrefix(line, "IST") {
			out = append(out, strings.TrimSpace(line))
		}
	}
	slices.Sort(out)
	return out
}

// Istio's analyzers and its validation, all of them, have nothing to say about any golden output of package routing but
// what the case itself says.
func TestAnalyzersSayNothingAboutGoldens(t *testing.T) {
	istio := Start(t)
	for _, g := range goldens(t) {
		t.Run(g.name, func(t *testing.T) {
			found := g.analyze(t, istio)
			var got []string
			for _, f := range found {
				got = append(got, f.Code+" "+f.Resource)
			}
			slices.Sort(got)
			if diff := gocmp.Diff(g.accepted(), slices.Compact(got)); diff != "" {
				t.Errorf("-accepted in the comment +found:\n%s%v", diff, found)
			}
		})
	}
}

// analyze returns what Istio's analyzers and validation find in the case as a cluster.
func (g golden) analyze(t *testing.T, istio *Oracle) []Finding {
	t.Helper()
	var made []any
	for _, object := range objectsOf(t, g.objects) {
		made = append(made, object)
	}
	cluster, err := Cluster("demo", withContainers(t, g.input), made...)
	if err != nil {
		t.Fatal(err)
	}
	found, err := istio.AnalyzeYAML(cluster)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// withContainers gives the Deployments of a case what a real one has.
func withContainers(t *testing.T, input []byte) []byte {
	t.Helper()
	var out []string
	for _, fields := range objectsOf(t, input) {
		if fields["kind"] == "Deployment" {
			template := fields["spec"].(map[string]any)["template"].(map[string]any)
			template["spec"] = map[string]any{"containers": []any{map[string]any{"name": "app", "image": "registry.example/app:1"}}}
		}
		document, err := yaml.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(document))
	}
	return []byte(strings.Join(out, "---\n"))
}

// The same for inputs that are made up, with any annotation beside any other; and no call leads to what is not there.
func TestGeneratedRoutesAreTaken(t *testing.T) {
	istio := Start(t)
	all, err := recorded()
	if err != nil {
		t.Fatal(err)
	}
	files := all.generated.Files
	if len(files) < 2*30 {
		t.Fatalf("only %d files", len(files))
	}
	for i := 0; i+1 < len(files); i += 2 {
		g := golden{name: files[i].Name, input: files[i].Data, objects: files[i+1].Data}
		t.Run(g.name, func(t *testing.T) {
			for _, f := range g.analyze(t, istio) {
				if kind, _, _ := strings.Cut(f.Resource, " "); slices.Contains([]string{"DestinationRule", "VirtualService", "Gateway"}, kind) {
					t.Error(f)
				}
			}
			c := g.settled(t)
			section := c.follow(t, istio, strings.Join(c.suggestedCalls(), "\n"))
			for line := range strings.Lines(section) {
				meshRefused := strings.Contains(line, "-> refused") && !strings.HasPrefix(line, "gateway") && !strings.Contains(line, "expects HTTP")
				if strings.Contains(line, "missing") || strings.Contains(line, "this oracle knows no") || meshRefused {
					t.Error(line)
				}
			}
			if t.Failed() {
				t.Logf("%s---\n%s", g.input, g.objects)
			}
		})
	}
}

// Every case of package routing has a section in testdata/reach.txtar, with a line for each call: who makes it, what is
// called, and which versions it reaches by what istiod sends to the caller's proxy.
//
//	demo     http app.demo.svc.cluster.local:8080/path header:value  -> v1=90 v2=10
//
// The caller is a namespace, or "gateway". Missing sections are written with calls that the objects suggest.
func TestCallsReachTheirVersions(t *testing.T) {
	const file = "testdata/reach.txtar"
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for _, f := range archive.Files {
		sections[f.Name] = string(f.Data)
	}
	istio := Start(t)
	got := &txtar.Archive{Comment: archive.Comment}
	for _, g := range goldens(t) {
		t.Run(g.name, func(t *testing.T) {
			section, has := sections[g.name]
			if !has && !*update {
				t.Errorf("%s says nothing about this case: go test -run %s -update writes it; read it then", file, t.Name())
			}
			c := g.settled(t)
			if !has {
				section = strings.Join(c.suggestedCalls(), "\n")
			}
			text := c.follow(t, istio, section)
			got.Files = append(got.Files, txtar.File{Name: g.name, Data: []byte(text)})
			if diff := gocmp.Diff(section, text); diff != "" && !*update {
				t.Errorf("-want +got:\n%s", diff)
			}
			delete(sections, g.name)
		})
	}
	for name := range sections {
		t.Errorf("%s has a section %s, there is no such case", file, name)
	}
	if *update {
		if err := os.WriteFile(file, txtar.Format(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// settledCase is a golden as a cluster.
type settledCase struct {
	service      *corev1.Service
	versionLabel string
	pods         []routing.PodGroup
	made         routing.Objects
	documents    []string // Istio's objects, ours and foreign
}

func (g golden) settled(t *testing.T) settledCase {
	t.Helper()
	c := settledCase{versionLabel: "version"}
	namespace := &corev1.Namespace{}
	var deployments []*appsv1.Deployment
	for _, fields := range slices.Concat(objectsOf(t, g.input), objectsOf(t, g.objects)) {
		encoded, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		into := func(object any) {
			if err := json.Unmarshal(encoded, object); err != nil {
				t.Fatal(err)
			}
		}
		switch fields["kind"] {
		case "Namespace":
			into(namespace)
		case "Service":
			c.service = &corev1.Service{}
			into(c.service)
		case "Deployment":
			deployment := &appsv1.Deployment{}
			into(deployment)
			deployments = append(deployments, deployment)
		default:
			if version, _ := fields["apiVersion"].(string); strings.HasPrefix(version, "gateway.networking.k8s.io/") {
				continue // the discovery server is started without a controller for Gateway API
			}
			document, err := yaml.Marshal(fields)
			if err != nil {
				t.Fatal(err)
			}
			c.documents = append(c.documents, string(document))
		}
	}
	intent, _ := api.RouteIntentOf(c.service, namespace)
	c.versionLabel = intent.VersionLabel
	for _, d := range deployments {
		c.pods = append(c.pods, routing.PodGroup{
			Workload: routing.WorkloadRef{Kind: "Deployment", Name: d.Name}, Version: d.Spec.Template.Labels[intent.VersionLabel], Pods: 1, Ready: 1,
		})
	}
	for _, fields := range objectsOf(t, g.objects) {
		encoded, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		switch fields["kind"] {
		case "DestinationRule":
			rule := &networkingv1.DestinationRule{}
			if err := json.Unmarshal(encoded, rule); err != nil {
				t.Fatal(err)
			}
			c.made.DestinationRules = append(c.made.DestinationRules, rule)
		case "VirtualService":
			vs := &networkingv1.VirtualService{}
			if err := json.Unmarshal(encoded, vs); err != nil {
				t.Fatal(err)
			}
			c.made.VirtualServices = append(c.made.VirtualServices, vs)
		case "Gateway":
			gateway := &networkingv1.Gateway{}
			if err := json.Unmarshal(encoded, gateway); err != nil {
				t.Fatal(err)
			}
			c.made.Gateways = append(c.made.Gateways, gateway)
		}
	}
	return c
}

// follow makes the calls of a section, one a line, and returns the section with what comes of them.
func (c settledCase) follow(t *testing.T, istio *Oracle, section string) string {
	t.Helper()
	book := newAddressBook()
	documents, err := book.running(c.service, c.versionLabel, c.pods)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	var calls []Call
	for line := range strings.Lines(section) {
		line, _, _ := strings.Cut(strings.TrimSpace(line), " -> ")
		call, err := c.callOf(line)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		lines, calls = append(lines, line), append(calls, call)
	}
	state := strings.Join(slices.Concat([]string{surroundings}, documents, c.documents), "---\n")
	outcomes, err := istio.Reach(state, calls)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for i, line := range lines {
		fmt.Fprintf(&out, "%s -> %s\n", line, book.describe(calls[i], outcomes[i]))
	}
	return out.String()
}

// describe says which versions a call reaches, and what else becomes of it.
func (b *addressBook) describe(c Call, o Outcome) string {
	out := []string{b.text(o)}
	if o.Refused != "" {
		out = append(out, "("+o.Refused+")")
	}
	for _, mirror := range o.Mirrors {
		to := b.shares([]Portion{{Cluster: mirror.Cluster, Percent: 100, Missing: mirror.Missing, Endpoints: mirror.Endpoints}})
		out = append(out, fmt.Sprintf("mirrored %v%% to %s", mirror.Percent, sharesText(to)))
	}
	if o.Path != "" && o.Path != cmp.Or(c.Path, "/") {
		out = append(out, "as "+o.Path)
	}
	for _, portion := range o.To {
		if portion.SetCookie != "" {
			out = append(out, "set-cookie "+portion.SetCookie)
		}
	}
	return strings.Join(out, ", ")
}

// callOf reads "demo http host:8080/path header:value"; a header's value is written as in a URL.
func (c settledCase) callOf(line string) (Call, error) {
	fields := strings.Fields(line)
	if len(fields) < 3 {
		return Call{}, fmt.Errorf("a call is: caller, http or tcp, host:port/path, headers")
	}
	call := Call{Address: c.service.Spec.ClusterIP, TCP: fields[1] == "tcp"}
	switch fields[0] {
	case "demo":
		call.From = beside
	case "other":
		call.From = elsewhere
	case "gateway":
		call.From, call.Address = ingress, ""
	default:
		namespace, labels, _ := strings.Cut(fields[0], ":") // demo:version=v2
		key, value, _ := strings.Cut(labels, "=")
		call.From = Caller{Namespace: namespace, Address: "10.9.0.4", Labels: map[string]string{"app": "caller", key: value}}
	}
	host, rest, _ := strings.Cut(fields[2], ":")
	port, path, hasPath := strings.Cut(rest, "/")
	number, err := strconv.ParseInt(port, 10, 32)
	if err != nil {
		return Call{}, err
	}
	call.Host, call.Port, call.Headers = host, int32(number), map[string]string{}
	if hasPath {
		call.Path = "/" + path
	}
	for _, header := range fields[3:] {
		name, value, _ := strings.Cut(header, ":")
		if call.Headers[name], err = url.PathUnescape(value); err != nil {
			return Call{}, err
		}
	}
	return call, nil
}

// suggestedCalls are those that a reader of the case would ask about: every port from two namespaces, every condition of
// a rule, every host of a gateway.
func (c settledCase) suggestedCalls() []string {
	host := c.service.Name + "." + c.service.Namespace + ".svc.cluster.local"
	conditions := map[condition]bool{{}: true}
	paths := map[string]bool{"/": true}
	for _, vs := range c.made.VirtualServices {
		for _, rule := range vs.Spec.Http {
			for _, m := range rule.Match {
				conditions[conditionOf(m)] = true
				if path := m.GetUri().GetPrefix() + m.GetUri().GetExact(); path != "" {
					paths[path] = true
				}
			}
		}
	}
	ordered := slices.SortedFunc(maps.Keys(conditions), func(a, b condition) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	var out []string
	for _, port := range c.service.Spec.Ports {
		if port.Protocol == corev1.ProtocolUDP {
			continue
		}
		for _, caller := range []string{"demo", "other"} {
			for _, when := range ordered {
				out = append(out, when.call(caller, fmt.Sprintf("%s:%d/", host, port.Port)))
			}
			if !strings.HasPrefix(port.Name, "http") {
				out = append(out, fmt.Sprintf("%s tcp %s:%d", caller, host, port.Port))
			}
		}
	}
	for _, vs := range c.made.VirtualServices {
		for _, name := range vs.Spec.Hosts {
			if name == host {
				continue
			}
			name = strings.Replace(name, "*", "any.example.org", 1)
			for _, path := range slices.Sorted(maps.Keys(paths)) {
				for _, when := range ordered {
					if when.labels == "" { // a gateway is no version of ours
						out = append(out, when.call("gateway", fmt.Sprintf("%s:%d%s", name, c.gatewayPort(), path)))
					}
				}
			}
		}
	}
	return out
}

// condition is what a call must have for a match: labels of the caller, a query, headers.
type condition struct{ labels, query, headers string }

func (c condition) call(caller, address string) string {
	return strings.TrimSpace(fmt.Sprintf("%s%s http %s%s %s", caller, c.labels, address, c.query, c.headers))
}

// conditionOf says what a call needs so that the match takes it.
func conditionOf(m *networkingapi.HTTPMatchRequest) condition {
	var out condition
	for _, name := range slices.Sorted(maps.Keys(m.Headers)) {
		text := m.Headers[name].GetExact()
		if prefix := m.Headers[name].GetPrefix(); prefix != "" {
			text = prefix + "more"
		}
		if regex := m.Headers[name].GetRegex(); regex != "" { // a cookie among others
			_, cookie, _ := strings.Cut(regex, ")?")
			cookie, _, _ = strings.Cut(cookie, "(")
			text = "other=1; " + strings.ReplaceAll(cookie, `\`, "")
		}
		out.headers = strings.TrimSpace(out.headers + " " + name + ":" + url.PathEscape(text))
	}
	for _, name := range slices.Sorted(maps.Keys(m.QueryParams)) {
		out.query += "&" + url.QueryEscape(name) + "=" + url.QueryEscape(m.QueryParams[name].GetExact())
	}
	if out.query != "" {
		out.query = "?" + out.query[1:]
	}
	for _, key := range slices.Sorted(maps.Keys(m.SourceLabels)) {
		out.labels = ":" + key + "=" + m.SourceLabels[key]
	}
	return out
}

func (c settledCase) gatewayPort() uint32 {
	for _, gateway := range c.made.Gateways {
		for _, server := range gateway.Spec.Servers {
			return server.GetPort().GetNumber()
		}
	}
	return 80
}
