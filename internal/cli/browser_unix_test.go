// SPDX-License-Identifier: Apache-2.0

//go:build unix

package cli

import (
	"bufio"
	"context"
	"io"
	"os"
	ossignal "os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"outrigger.dev/outrigger/internal/dashboard"
)

// The browser is not in the process group that Ctrl-C ends, and the end of the dashboard does not end it.
func TestBrowserOutlivesTheDashboard(t *testing.T) { // not parallel: it changes the environment
	folder := t.TempDir()
	const script = `#!/bin/sh
exec 3>"$1.out"
echo $$ >&3
read line <"$1.in"
echo "$line" >&3
`
	for _, name := range []string{"xdg-open", "open"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", folder+string(os.PathListSeparator)+os.Getenv("PATH"))
	file := filepath.Join(folder, "open.html")
	for _, pipe := range []string{file + ".in", file + ".out"} {
		if err := syscall.Mkfifo(pipe, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	if err := openBrowser(ctx, file); err != nil {
		t.Fatal(err)
	}
	opened, err := os.Open(file + ".out")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = opened.Close() }()
	out := bufio.NewReader(opened)
	line, err := out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	id, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if group, err := syscall.Getpgid(id); err != nil || group == syscall.Getpgrp() {
		t.Errorf("the browser's process group is %d (%v), and ours is %d", group, err, syscall.Getpgrp())
	}
	stop()
	in, err := os.OpenFile(file+".in", os.O_RDWR, 0) // does not wait for a reader
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	if _, err := io.WriteString(in, "alive\n"); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(out); err != nil || string(rest) != "alive\n" {
		t.Errorf("the browser has ended: %q %v", rest, err)
	}
}

// A signal ends the dashboard as any other end does: the file with the token does not stay.
func TestSignalsRemoveTheFileOfTheDashboard(t *testing.T) { // not parallel: it sends signals to the process
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if ossignal.Ignored(signal) {
			continue // by the process that has started the tests
		}
		server, err := dashboard.New(dashboard.Options{Address: "127.0.0.1:4000"})
		if err != nil {
			t.Fatal(err)
		}
		input, _ := io.Pipe()
		lines, output := io.Pipe()
		ctx, stop := untilInterrupted(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- launcher{server: server, address: "127.0.0.1:4000", noBrowser: true, in: input, out: output}.run(ctx, nil)
		}()
		printed := bufio.NewReader(lines)
		var file string
		for isFile := false; !isFile; {
			line, err := printed.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			file, isFile = strings.CutPrefix(strings.TrimSpace(line), "Open this file in a browser within 60s: ")
		}
		go func() { _, _ = io.Copy(io.Discard, printed) }()
		if _, err := os.Stat(file); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(os.Getpid(), signal); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		waitUntilGone(t, filepath.Dir(file))
		stop()
	}
}

// A dashboard that nohup has started does not end with its terminal.
func TestSIGHUPStaysIgnored(t *testing.T) { // not parallel: signals are those of the process
	if !ossignal.Ignored(syscall.SIGHUP) {
		ossignal.Ignore(syscall.SIGHUP)
		defer ossignal.Reset(syscall.SIGHUP)
	}
	_, stop := untilInterrupted(t.Context())
	defer stop()
	if !ossignal.Ignored(syscall.SIGHUP) {
		t.Error("it receives SIGHUP")
	}
}
