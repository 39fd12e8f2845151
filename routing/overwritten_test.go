// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"
	"testing"
	"time"

	"outrigger.dev/outrigger/api"
)

// A decision that waits for its version is gone once its annotation says something else, valid or not: when the version is
// ready at last, nothing moves, and nothing is reported as pending meanwhile.
func TestAnOverwrittenDecisionNeverTakesEffect(t *testing.T) {
	for name, test := range map[string]struct{ inEffect, pending, invalid []string }{
		"weights":                      {[]string{"weights=v1=90,v2=10"}, []string{"weights=v1=50,v3=50"}, []string{"weights=v1=100x"}},
		"default-version":              {nil, []string{"default-version=v3"}, []string{"default-version=@frist"}},
		"match":                        {[]string{"match=v2=header:a:b"}, []string{"match=v2=header:a:b;v3=header:c:d"}, []string{"match=v3"}},
		"match, its only":              {nil, []string{"match=v3=header:c:d"}, []string{"match=v3"}},
		"match, a condition in effect": {[]string{"match=v2=header:a:b"}, []string{"match=v3=header:a:b"}, []string{"match=v3"}},
		"mirror, instead of another":   {[]string{"mirror=v2=10"}, []string{"mirror=v3=10"}, []string{"mirror=v3"}},
		"mirror":                       {[]string{"mirror=v2=10"}, []string{"mirror=v2=10,v3=10"}, []string{"mirror=v3"}},
		"all at once": {nil, []string{"weights=v1=50,v3=50", "match=v3=header:c:d", "mirror=v3=10"},
			[]string{"weights=v1=100x", "match=v3", "mirror=v3"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := twoVersions(t)
			c.advance(time.Minute)
			c.annotate(test.inEffect...)
			c.advance(time.Minute)
			before := routesOf(findRoute(c.existing, "app"))
			c.annotate(test.pending...)
			c.advance(time.Minute)
			c.annotate(test.invalid...)
			c.advance(time.Minute)
			if slices.ContainsFunc(c.problems, func(p api.RouteProblem) bool { return p.Reason == api.RoutePendingVersions }) {
				t.Errorf("what nobody says any more is pending: %v", c.problems)
			}
			c.fixed("app-v3", "v3", 2)
			c.run("app-v3", "v3", 2, 2)
			c.advance(time.Hour)
			if now := routesOf(findRoute(c.existing, "app")); now != before {
				t.Errorf("the route was\n%s\nand is\n%s", before, now)
			}
			c.annotate(test.pending...) // said again, it holds
			c.advance(time.Minute)
			if now := routesOf(findRoute(c.existing, "app")); now == before {
				t.Errorf("the valid value does not take effect: %v", c.problems)
			}
		})
	}
}
