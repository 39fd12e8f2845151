// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A version to which only a match routes loses those requests, and no other version needs to be promoted for them.
func TestLosingWhatAMatchRoutes(t *testing.T) {
	for name, c := range map[string]struct {
		words   []string
		matches []string
		match   string
	}{
		"the only item":   {[]string{"match=v2=header:end-user:jason"}, []string{"end-user=jason"}, ""},
		"one of two":      {[]string{"match=v2=header:end-user:jason;v1=cookie:a:b"}, []string{"end-user=jason"}, "v1=cookie:a:b"},
		"a share as well": {[]string{"match=v2=header:end-user:jason", "weights=v1=50,v2=50", "scaled-to-zero=hold"}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := twoVersions(t)
			cluster.annotate(c.words...)
			cluster.advance(time.Minute)
			loss, lost := PredictStrandedTraffic(cluster.observe(), deploymentRef("app-v2"), false, cluster.now)
			if diff := cmp.Diff(c.matches, loss.Matches); diff != "" || !lost || loss.Versions[0] != "v2" {
				t.Errorf("lost: %t, %+v", lost, loss)
			}
			if c.matches != nil && loss.Match != c.match {
				t.Errorf("the match annotation becomes %q", loss.Match)
			}
		})
	}
}
