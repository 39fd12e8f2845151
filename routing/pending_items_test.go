// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"outrigger.dev/outrigger/api"
)

// Items of match and mirror that wait are listed with what they wait for and a fix, while the copies that were sent before go on.
func TestPendingItemsOfMatchAndMirror(t *testing.T) {
	for name, c := range map[string]struct {
		before, word string
		want         Pending
		advice       string
		route        string
	}{
		"match, a near miss": {"match=v2=header:end-user:jason", "match=V2=header:end-user:jason;v1=cookie:a:b",
			Pending{api.AnnotationMatch, "V2=header:end-user:jason;v1=cookie:a:b", []string{`unknown version "V2"; did you mean "v2"?`}},
			"Example: kubectl annotate service -n demo app 'outrigger.dev/match=v2=header:end-user:jason;v1=cookie:a:b' --overwrite.", "end-user=jason: v2"},
		"match, no pods": {"match=v2=header:end-user:jason", "match=v9=header:end-user:jason",
			Pending{api.AnnotationMatch, "v9=header:end-user:jason", []string{"v9 (no pods)"}}, "three quarters of the pods are ready", "end-user=jason: v2; v1"},
		"mirror, a near miss": {"mirror=v2=10", "mirror=V2=50",
			Pending{api.AnnotationMirror, "V2=50", []string{`unknown version "V2"; did you mean "v2"?`}}, "outrigger.dev/mirror=v2=50 --overwrite.", "v1 +v2=10"},
		"mirror, no pods": {"mirror=v2=10", "mirror=v9=50",
			Pending{api.AnnotationMirror, "v9=50", []string{"v9 (no pods)"}}, "three quarters of the pods are ready", "v1 +v2=10"},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := twoVersions(t)
			cluster.annotate(c.before)
			cluster.advance(time.Minute)
			cluster.annotate(c.word)
			cluster.advance(time.Minute)
			plan := Plan(cluster.observe(), cluster.now)
			if diff := cmp.Diff([]Pending{c.want}, plan.Pending); diff != "" {
				t.Errorf("pending (-want +got):\n%s", diff)
			}
			if !slices.ContainsFunc(plan.Problems, func(p api.RouteProblem) bool {
				return p.Reason == api.RoutePendingVersions && p.Field == api.AnnotationField(c.want.Key) && strings.Contains(p.Message, c.want.Missing[0]) && strings.Contains(p.Advice, c.advice)
			}) {
				t.Errorf("problems: %v", plan.Problems)
			}
			if got := cluster.routes("app"); !strings.HasPrefix(got, c.route) {
				t.Errorf("the route is %s", got)
			}
		})
	}
}
