// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"outrigger.dev/outrigger/inject"
)

// notRecorded are the pods whose earlier state injection does not record, with what is lost.
var notRecorded = map[string]string{
	"own-proxy.yaml/overrides-annotation": "the pod's own annotation of that name: injection writes one of its own, which takes its place",
	"own-proxy.yaml/own-image-and-more":   "at which place among the containers the pod's own proxy stood",
	"own-proxy.yaml/proxy-as-init":        "that the pod's own proxy was an init container",
	"shapes.yaml/socket-volume":           "a volume that nothing but the proxy mounts, named as one of the template's",
	"shapes.yaml/pull-secret-of-both":     "a pull secret that the pod names, and Istio's values as well",
	"templates.yaml/alias":                "a volume that nothing mounts, named as one of the template's",
}

// Taken away and given again, the sidecar is the same: what `outrigger uninject` leaves is the pod before injection.
func TestTakingAwayIsTheWayBack(t *testing.T) {
	istio := August.Start(t)
	samples := corpus(t)
	injected := 0
	for _, i := range installations {
		t.Run(i.String(), func(t *testing.T) {
			texts := i.configMaps(t, istio)
			for _, native := range i.natives {
				config := August.parse(t, i, texts, native)
				for _, s := range samples {
					if s.pod.Annotations["sidecar.istio.io/status"] != "" {
						continue // what it was before is not known
					}
					r := request(i, s)
					after, report, err := inject.Pod(r, config)
					if err != nil {
						t.Fatalf("%s: %v", s.name, err)
					}
					if report.Result != inject.Injected {
						continue
					}
					injected++
					before, was, notes, err := inject.Uninject(after)
					if err != nil || !was {
						t.Fatalf("%s: %v, an injected pod: %t", s.name, err, was)
					}
					r.Pod = before
					again, report, err := inject.Pod(r, config)
					if err != nil || report.Result != inject.Injected {
						t.Errorf("%s: %v, %s: %s", s.name, err, report.Reason, report.Message)
						continue
					}
					if diff := cmp.Diff(fields(t, after), fields(t, again)); diff != "" && len(notes) == 0 && notRecorded[s.name] == "" {
						t.Errorf("%s (-injected +injected again):\n%s", s.name, diff)
					}
				}
			}
		})
	}
	if injected < 1000 {
		t.Errorf("only %d pods were injected and came back", injected)
	}
}
