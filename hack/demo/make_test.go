// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"outrigger.dev/outrigger/hack/chart"
)

// A terminal sends Ctrl-C to make, its shell, and the demo. The demo ends with 130, and make prints no error about it. A demo
// that fails is an error.
func TestMakeReportsNoErrorAfterCtrlC(t *testing.T) {
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip("make is not installed; install it to run this test, for example with apt-get install make")
	}
	for _, c := range []struct {
		demo        string
		interrupted bool
		fails       bool
	}{
		{"trap 'exit 130' INT\ntouch started\nwhile :; do sleep 0.05; done", true, false},
		{"touch started\nexit 1", false, true},
		{"touch started\nexit 0", false, false},
	} {
		out, err := makeDemo(t, c.demo, c.interrupted)
		if has := strings.Contains(out, "***"); has != c.fails {
			t.Errorf("the demo %q; make ends with %v and prints\n%s", c.demo, err, out)
		}
	}
}

// makeDemo runs "make demo" with a shell script in place of the demo, interrupts it on request once it has started, and returns
// what make prints.
func makeDemo(t *testing.T, demo string, interrupt bool) (string, error) {
	t.Helper()
	root, err := chart.Root()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	started := filepath.Join(dir, "started")
	script := "#!/bin/sh\n" + strings.ReplaceAll(demo, "started", started) + "\n"
	goCommand := "#!/bin/sh\n# in place of: go -C hack build -o FILE ./demo\ncp " + filepath.Join(dir, "script") + " \"$5\"\n"
	for name, text := range map[string]string{"script": script, "go": goCommand} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.CommandContext(t.Context(), "make", "--no-print-directory", "-C", root, "demo", "GO="+filepath.Join(dir, "go"), "CACHE="+dir)
	// The make that runs this test hands its own command line on, in MAKEFLAGS.
	command.Env = slices.DeleteFunc(os.Environ(), func(variable string) bool {
		return strings.HasPrefix(variable, "MAKE") || strings.HasPrefix(variable, "MFLAGS=")
	})
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(started); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the demo does not start:\n%s", out.String())
		}
	}
	if interrupt {
		if err := syscall.Kill(-command.Process.Pid, syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
	}
	err = command.Wait()
	return out.String(), err
}
