package routing

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"outrigger.dev/outrigger/api"
)

// A release whose rules refuse what an earlier one accepted moves nothing: the recorded texts stay in effect, through
// rollouts too, until the user writes something that is accepted.
func TestUpgradeOverRefusedAnnotationsMovesNothing(t *testing.T) {
	c := twoVersions(t)
	long := strings.Repeat("q", 1025)
	c.accepts = map[string]bool{api.AnnotationMatch: true, api.AnnotationPath: true}
	c.annotate("weights=v1=90,v2=10", "match=v2=header:method:x;v1=query:"+long+":1", "expose=true", "hosts=a.example.com,b.example.com", "path=/a\x01b")
	c.advance(time.Minute)
	before := string(bytesOf(t, c.standing))
	for _, holds := range []string{`"prefix":"/a\u0001b"`, `"method":{"exact":"x"}`, long, "b.example.com"} {
		if !strings.Contains(before, holds) {
			t.Fatalf("no %q in\n%s", holds, before)
		}
	}

	c.accepts = nil
	c.settings.Limits = api.RouteLimits{AnnotationBytes: 30, MatchItems: 1, Hosts: 1}
	c.writes = nil
	c.advance(time.Minute)
	c.tells(api.RouteInvalidAnnotation, api.RouteStillExposed)
	c.wrote()
	if diff := cmp.Diff(before, string(bytesOf(t, c.standing))); diff != "" {
		t.Errorf("the upgrade moves something:\n%s", diff)
	}

	c.annotate("expose-", "hosts-", "path-", "match=v2=header:x:y", "weights=v2=1")
	c.advance(time.Minute)
	c.tells()
	c.has("v1 v2", "x=y: v2; v2")
}
