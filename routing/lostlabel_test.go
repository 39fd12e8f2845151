// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"testing"
	"time"

	"outrigger.dev/outrigger/api"
)

// An object of ours that lost one label stays ours: the exposure goes on, and the label is written back.
func TestALostLabelEndsNoExposure(t *testing.T) {
	for _, label := range []string{api.LabelManagedBy, api.LabelService} {
		for _, kind := range []string{"VirtualService", "Gateway"} {
			t.Run(kind+" "+label, func(t *testing.T) {
				c := twoVersions(t)
				c.annotate("expose=true", "hosts=a.example.com")
				c.advance(time.Minute)
				var object Object = c.route("app-gateway")
				if kind == "Gateway" {
					object = c.existing.Gateways[0]
				}
				delete(object.GetLabels(), label)
				if !IsOwn(object, c.service) {
					t.Fatal("it is taken for another author's")
				}
				c.advance(time.Minute)
				c.onceTold(api.RouteEditReverted)
				c.exposed("app-gateway: a.example.com@demo/app; 80: demo/a.example.com")
				if kind == "Gateway" {
					object = c.existing.Gateways[0]
				} else {
					object = c.route("app-gateway")
				}
				if object.GetLabels()[label] == "" {
					t.Error("the label is not written back")
				}
			})
		}
	}
}
