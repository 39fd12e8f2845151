// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"runtime/debug"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// A binary that was not linked with a version says what the go command recorded.
func TestBuiltVersion(t *testing.T) {
	commit := func(modified string) []debug.BuildSetting {
		return []debug.BuildSetting{{Key: "vcs", Value: "git"}, {Key: "vcs.revision", Value: "f63dc4d134d9aa00"}, {Key: "vcs.modified", Value: modified}}
	}
	for _, c := range []struct {
		what, want, module string
		settings           []debug.BuildSetting
	}{
		{"go install of a release", "1.2.3", "v1.2.3", nil},
		{"go build in a clone", "0.0.0-20261129002655-f63dc4d134d9+dirty", "v0.0.0-20261129002655-f63dc4d134d9+dirty", commit("true")},
		{"a commit alone", "f63dc4d134d9", "(devel)", commit("false")},
		{"a changed commit", "f63dc4d134d9-dirty", "", commit("true")},
		{"without git", "unknown", "(devel)", nil},
	} {
		t.Run(c.what, func(t *testing.T) {
			info := &debug.BuildInfo{Main: debug.Module{Version: c.module}, Settings: c.settings}
			if got := builtVersion(info); got != c.want {
				t.Errorf("want %s, got %s", c.want, got)
			}
		})
	}
}

// The running controller is the one that holds its Lease now.
func TestRunningVersion(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		what, name, holder, want string
		labels                   map[string]string
		renewed                  time.Duration // ago
	}{
		{"it runs", "outrigger-routing", "pod-1_abc", "controller v1.2.3 (pod outrigger-system/pod-1)", map[string]string{LeaseVersionLabel: "v1.2.3"}, time.Second},
		{"it runs under a custom Lease", "mine", "pod-1_abc", "controller v1.2.3 (pod outrigger-system/pod-1)", map[string]string{LeaseVersionLabel: "v1.2.3"}, time.Second},
		{"an older one runs", "outrigger-routing", "pod-1_abc", "controller unknown: pod outrigger-system/pod-1 is older than the label outrigger.dev/version of its Lease", nil, time.Second},
		{"it has ended", "outrigger-routing", "pod-1_abc", "", map[string]string{LeaseVersionLabel: "v1.2.3"}, time.Minute},
		{"it gave the Lease back", "outrigger-routing", "", "", map[string]string{LeaseVersionLabel: "v1.2.3"}, time.Second},
		{"another program's", "other", "pod-1_abc", "", map[string]string{"app.kubernetes.io/version": "v9"}, time.Second},
	} {
		t.Run(c.what, func(t *testing.T) {
			lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "outrigger-system", Name: c.name, Labels: c.labels}}
			lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds = &c.holder, ptr.To[int32](15)
			lease.Spec.RenewTime = ptr.To(metav1.NewMicroTime(now.Add(-c.renewed)))
			if got := runningVersion(lease, now); got != c.want {
				t.Errorf("want %q, got %q", c.want, got)
			}
		})
	}
}
