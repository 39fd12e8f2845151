// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"

	"outrigger.dev/outrigger/api"
)

func TestFollowConfigPassesValidChanges(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "config.yaml")
	// As the kubelet does: the file is a link to a folder that is replaced.
	write := func(version, text string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(folder, version), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, version, "config.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(version, "config.yaml"), file+".new"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	write("1", "routing: {freeze: false}")
	changes := make(chan bool)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	job := followConfig(file, time.Millisecond, func(config api.Config) { changes <- config.Routing.Freeze }, testr.New(t))
	go func() { ended <- job.Start(ctx) }()
	for _, step := range []struct {
		version, text string
		want          bool
	}{{"2", "routing: {freeze: true}", true}, {"3", "routing: {freeze: false} # again", false}} {
		write(step.version, step.text)
		if got := <-changes; got != step.want {
			t.Errorf("%s: freeze is %v", step.text, got)
		}
	}
	write("4", "routing: {freeze: yes please}") // invalid: it is skipped
	write("5", "routing: {freeze: true}")
	if got := <-changes; !got {
		t.Error("the valid file after an invalid one is lost")
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
