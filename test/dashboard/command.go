// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"bufio"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// Command is a running "outrigger dashboard".
type Command struct {
	URL     string // without a path
	Process *os.Process

	t     testing.TB
	input io.Writer
	lines chan string
	notes *output
	files int // that were asked for
}

// output keeps what a process writes.
type output struct {
	mu   sync.Mutex
	text strings.Builder
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

var (
	address = regexp.MustCompile(`http://127\.0\.0\.1:[0-9]+`)
	file    = regexp.MustCompile(`/\S+\.html`)
)

// Start runs the dashboard of a binary until the test ends, and returns when it listens.
func Start(t testing.TB, binary, kubeconfig string, args ...string) *Command {
	t.Helper()
	command := exec.CommandContext(t.Context(), binary, append([]string{"dashboard", "--no-browser"}, args...)...)
	command.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = 10 * time.Second
	c := &Command{t: t, lines: make(chan string, 100), notes: &output{}}
	command.Stderr = c.notes
	input, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	c.input, c.Process = input, command.Process
	go func() {
		defer close(c.lines)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			c.lines <- scanner.Text()
		}
	}()
	t.Cleanup(func() { _ = command.Wait() }) // the test's context, which ends before, interrupts it
	c.URL = c.next(address)
	return c
}

// next returns the next text that the command prints and that matches.
func (c *Command) next(pattern *regexp.Regexp) string {
	c.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case line, open := <-c.lines:
			if !open {
				c.t.Fatalf("outrigger dashboard ended before it printed %s\n%s", pattern, c.notes)
			}
			if found := pattern.FindString(line); found != "" {
				return found
			}
		case <-deadline:
			c.t.Fatalf("outrigger dashboard did not print %s within %v\n%s", pattern, patience, c.notes)
		}
	}
}

// File returns the path of a file that opens the dashboard once. Each call but the first presses Enter for a new one.
func (c *Command) File() string {
	c.t.Helper()
	if c.files++; c.files > 1 {
		if _, err := fmt.Fprintln(c.input); err != nil {
			c.t.Fatal(err)
		}
	}
	return c.next(file)
}

// Open opens the dashboard in a new tab, as its user does: by the file.
func (c *Command) Open() *Tab {
	c.t.Helper()
	tab := NewTab(c.t)
	c.OpenIn(tab)
	return tab
}

// OpenIn opens the dashboard in a tab, with a file of its own.
func (c *Command) OpenIn(tab *Tab) {
	c.t.Helper()
	tab.Go((&url.URL{Scheme: "file", Path: c.File()}).String())
	tab.Want("the first page is open", `location.origin === `+quoted(c.URL)+` && location.pathname === "/" && document.readyState === "complete"`)
}

// Notes returns what the command has written to its standard error.
func (c *Command) Notes() string { return c.notes.String() }
