// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Process is a running "outrigger dashboard".
type Process struct {
	URL string // without a path
	PID int

	command *exec.Cmd
	input   io.Writer
	lines   chan string
	notes   *output
	files   int // that were asked for
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
	token   = regexp.MustCompile(`/open\?token=[A-Za-z0-9_%=-]+`)
)

// Run starts the dashboard of a binary, and returns when it listens. The end of the context interrupts it; the caller then calls Wait.
func Run(ctx context.Context, binary, kubeconfig string, args ...string) (*Process, error) {
	command := exec.CommandContext(ctx, binary, append([]string{"dashboard", "--no-browser"}, args...)...)
	command.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = 10 * time.Second
	p := &Process{command: command, lines: make(chan string, 100), notes: &output{}}
	command.Stderr = p.notes
	input, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, err
	}
	p.input, p.PID = input, command.Process.Pid
	go func() {
		defer close(p.lines)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			p.lines <- scanner.Text()
		}
	}()
	p.URL, err = p.next(address)
	return p, err
}

// Wait waits until the process has ended.
func (p *Process) Wait() error { return p.command.Wait() }

// next returns the next text that the command prints and that matches.
func (p *Process) next(pattern *regexp.Regexp) (string, error) {
	deadline := time.After(patience)
	for {
		select {
		case line, open := <-p.lines:
			if !open {
				return "", fmt.Errorf("outrigger dashboard ended before it printed %s\n%s", pattern, p.notes)
			}
			if found := pattern.FindString(line); found != "" {
				return found, nil
			}
		case <-deadline:
			return "", fmt.Errorf("outrigger dashboard did not print %s within %v\n%s", pattern, patience, p.notes)
		}
	}
}

// File returns the path of a file that opens the dashboard once. Each call but the first presses Enter for a new one.
func (p *Process) File() (string, error) {
	if p.files++; p.files > 1 {
		if _, err := fmt.Fprintln(p.input); err != nil {
			return "", err
		}
	}
	return p.next(file)
}

// Link returns the link in a new file, which a browser opens once.
func (p *Process) Link() (string, error) {
	path, err := p.File()
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	found := token.FindString(string(text))
	if found == "" {
		return "", fmt.Errorf("the file %s contains no link:\n%s", path, text)
	}
	return p.URL + found, nil
}
