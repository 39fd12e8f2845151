// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"outrigger.dev/outrigger/api"
)

// The labels from which Istio takes the version that telemetry and Kiali show, in their order.
const (
	labelCanonicalRevision = "service.istio.io/canonical-revision"
	labelAppVersion        = "app.kubernetes.io/version"
	labelVersion           = "version"
)

// telemetry reports the workloads for which telemetry shows another version than the routes, because Istio prefers other labels.
func (s *facts) telemetry() []finding {
	var differ []string
	for _, t := range s.withPods() {
		version := t.labels[s.Intent.VersionLabel]
		if version == "" {
			continue
		}
		revision := cmp.Or(t.labels[labelCanonicalRevision], t.labels[labelAppVersion], t.labels[labelVersion], "latest")
		if revision != version {
			differ = append(differ, fmt.Sprintf("%s, version %s, as %s", t.ref, version, revision))
		}
	}
	if len(differ) == 0 {
		return nil
	}
	slices.Sort(differ)
	return []finding{s.problem(api.RouteTelemetryDiffers, "Telemetry and Kiali show "+strings.Join(differ, "; ")+": Istio prefers the labels "+labelCanonicalRevision+" and "+labelAppVersion+" to "+s.Intent.VersionLabel+".",
		"Label each pod template "+labelCanonicalRevision+" with its version.")}
}
