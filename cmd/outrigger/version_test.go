package main

import (
	"runtime/debug"
	"testing"
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
		{"go install of a release", "v1.2.3", "v1.2.3", nil},
		{"go build in a clone", "v0.0.0-20261129002655-f63dc4d134d9+dirty", "v0.0.0-20261129002655-f63dc4d134d9+dirty", commit("true")},
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
