// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"testing"
	"time"

	"outrigger.dev/outrigger/api"
)

// With default-deleted=hold, on the Service or its Namespace, deleting the default's workload moves no traffic. An invalid
// value holds as well: it must not move traffic.
func TestADeletedDefaultHoldsItsRoute(t *testing.T) {
	for name, write := range map[string]func(c *cluster){
		"Service":   func(c *cluster) { c.annotate("default-deleted=hold") },
		"Namespace": func(c *cluster) { c.namespace.Annotations = map[string]string{api.AnnotationDefaultDeleted: "hold"} },
		"invalid":   func(c *cluster) { c.annotate("default-deleted=hodl") },
		"invalid on the Namespace": func(c *cluster) {
			c.namespace.Annotations = map[string]string{api.AnnotationDefaultDeleted: "no"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := twoVersions(t)
			c.empty = true
			write(c)
			c.advance(time.Minute)
			c.writes = nil
			c.remove("app-v1")
			c.gone("app-v1")
			c.advance(time.Hour)
			c.has("v1 v2", "v1")
			c.onceTold(api.RouteDefaultVersionGone)
			// A new workload serves as soon as it is ready.
			c.fixed("app-v1", "v1", 2)
			c.ready()
			c.advance(time.Minute)
			c.has("v1 v2", "v1")
			// Choosing another version ends the hold.
			c.remove("app-v1")
			c.gone("app-v1")
			c.annotate("default-version=v2")
			c.settle()
			c.has("v1 v2", "v2")
		})
	}
}

// A slip in an annotation that was valid keeps what it said.
func TestADeletedDefaultFollowsTheLastValidValue(t *testing.T) {
	c := twoVersions(t)
	c.annotate("default-deleted=move")
	c.advance(time.Minute)
	c.annotate("default-deleted=mvoe")
	c.advance(time.Minute)
	c.remove("app-v1")
	c.settle()
	c.has("v1 v2", "v2")
}
