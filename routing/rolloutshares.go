// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"encoding/json"
	"maps"
	"strconv"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

// changesNoShare reports whether shares differ from the written ones only within a workload that rolls out a version.
func (s *facts) changesNoShare(vs *networkingv1.VirtualService, to []portion) bool {
	return maps.Equal(s.sharesByWorkload(s.writtenShares(vs)), s.sharesByWorkload(to))
}

// writtenShares are the shares of the rules without a condition as we wrote them last.
func (s *facts) writtenShares(vs *networkingv1.VirtualService) []portion {
	var was written
	if err := json.Unmarshal([]byte(vs.Annotations[api.AnnotationWritten]), &was); err != nil {
		return nil
	}
	var out []portion
	weights := parsePairs(was.To)
	for _, name := range sortedKeys(weights) {
		if weight, err := strconv.Atoi(weights[name]); err == nil {
			out = append(out, portion{s.subsets.versions[name], weight})
		}
	}
	return out
}

// sharesByWorkload sums the shares of each workload, in lowest terms. It omits shares of weight 0.
func (s *facts) sharesByWorkload(portions []portion) map[string]int {
	out, divisor := map[string]int{}, 0
	for _, p := range portions {
		if p.weight > 0 {
			out[s.runningAs(p.version).String()] += p.weight
		}
	}
	for _, weight := range out {
		divisor = gcd(divisor, weight)
	}
	for carrier := range out {
		out[carrier] /= divisor
	}
	return out
}
