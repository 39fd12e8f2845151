// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"slices"
	"strings"
	"testing"

	"outrigger.dev/outrigger/internal/diagnose"
)

// Of all sets of flags with at most one action, those that combine an action with settings but no version, or an action other than retry
// with a version, are usage errors. A request that is valid has the action and settings of its flags, and nothing else.
func TestEachCombinationOfCanaryFlags(t *testing.T) {
	others := []string{"--wait", "--pending", "--steps=50,100", "--interval=1m", "--check=p99<1s", "--min-requests=0", "--deadline=1h"}
	for _, action := range append([]string{""}, canaryActions...) {
		for _, versions := range [][]string{nil, {"v2"}, {"auto"}, {"v2", "v3"}} {
			for set := range 1 << len(others) {
				args := append([]string{"app"}, versions...)
				if action != "" {
					args = append(args, "--"+action)
				}
				settings := map[string]string{}
				has := map[string]bool{}
				for i, flag := range others {
					if set&(1<<i) == 0 {
						continue
					}
					args = append(args, flag)
					name, value, isSetting := strings.Cut(strings.TrimPrefix(flag, "--"), "=")
					if has[name] = true; isSetting {
						settings[name] = value
					}
				}
				starts := len(versions) == 1 && (action == "" && (versions[0] != "auto" || !has["wait"]) || action == "retry" && versions[0] != "auto")
				acts := len(versions) == 0 && action != "" && len(settings) == 0 && !has["pending"] && (action != "pause" || !has["wait"])
				request, err := parsedCanary(args...)
				if (err == nil) != (starts || acts) {
					t.Errorf("canary %q: %v", args, err)
					continue
				}
				if err != nil {
					continue
				}
				want := diagnose.ActionCanary
				if action != "" {
					want = diagnose.Action("canary-" + action)
				}
				if request.Action != want || request.Service != "app" || len(request.Settings) != len(settings) || request.AllowPending != has["pending"] || starts != slices.Contains(versions, request.Version) {
					t.Errorf("canary %q: %+v", args, request)
				}
			}
		}
	}
}
