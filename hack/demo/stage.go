// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"time"

	"outrigger.dev/outrigger/hack/install"
)

// patience is how long a command may take to have its effect. It is a bound for failure, never a pause.
const patience = 90 * time.Second

// stage is where the commands run.
type stage struct {
	*screen
	dir         string
	kubeconfig  string
	env         []string
	installed   *install.Installed
	application string // the binary of the application with metrics
	caller      *caller

	background context.Context // of what runs until the demo ends
	stop       func()
	running    sync.WaitGroup
}

// close stops everything that the demo started, except the control plane.
func (s *stage) close() {
	s.stop()
	s.running.Wait()
	s.installed.Close()
}

// check returns an error if the output of a command is not as it should be.
type check func(output string) error

// command is a command line of the story with what its output must be.
type command struct {
	line   string
	shown  []string // words of the output lines to show; if nil, a command that changes nothing is shown only with -v
	checks []check
	wait   bool // repeat the command until the checks pass
	fails  bool // its exit status is not 0
}

// do returns a command that runs once.
func do(line string, checks ...check) command { return command{line: line, checks: checks} }

// until returns a command that is repeated until the checks pass.
func until(line string, checks ...check) command {
	return command{line: line, checks: checks, wait: true}
}

// fails returns a command that runs once, and fails.
func fails(line string, checks ...check) command {
	return command{line: line, checks: checks, fails: true}
}

// show returns the command with the lines of its output that the story shows: those with one of these words. Without words
// only the command is shown.
func (c command) show(words ...string) command {
	c.shown = append([]string{}, words...)
	return c
}

// run runs commands one after the other until one fails, whose whole output it shows.
func (s *stage) run(ctx context.Context, commands ...command) error {
	for _, c := range commands {
		output, err := s.try(ctx, c)
		if err != nil {
			s.command(c.line, output)
			return fmt.Errorf("%s: %w", c.line, err)
		}
		switch {
		case s.verbose:
			s.command(c.line, output)
		case c.shown != nil || isChange(c.line):
			s.command(c.line, linesWith(output, c.shown))
		}
	}
	return nil
}

var change = regexp.MustCompile(`(^|\| )(kubectl (annotate|apply|create|delete|label|patch|rollout restart|scale|set)|helm (install|upgrade|uninstall)|outrigger (canary|disable|enable|promote|shift|undo)) `)

// isChange reports whether a command line changes the cluster, so that the story cannot omit it.
func isChange(line string) bool {
	return change.MatchString(line) && !strings.Contains(line, "--dry-run")
}

// try runs a command, once or until its checks pass.
func (s *stage) try(ctx context.Context, c command) (string, error) {
	deadline := time.Now().Add(patience)
	for {
		output, err := s.output(ctx, c.line)
		switch {
		case c.fails && err == nil:
			err = errors.New("the command succeeded, but should fail")
		case c.fails && ctx.Err() == nil:
			err = nil
		}
		for _, check := range c.checks {
			if err == nil {
				err = check(output)
			}
		}
		switch {
		case err == nil || !c.wait:
			return output, err
		case ctx.Err() != nil || time.Now().After(deadline):
			return output, fmt.Errorf("not within %v: %w", patience, err)
		}
		time.Sleep(100 * time.Millisecond) // between two attempts
	}
}

// output runs a command line in the folder of the demo and returns everything that it printed.
func (s *stage) output(ctx context.Context, line string) (string, error) {
	command := exec.CommandContext(ctx, "sh", "-c", line)
	command.Dir, command.Env = s.dir, s.env
	command.WaitDelay = 5 * time.Second
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	err := command.Run()
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, strings.TrimSpace(output.String()))
	}
	return output.String(), err
}

// linesWith returns the lines that contain one of the words.
func linesWith(text string, words []string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		for _, word := range words {
			if strings.Contains(line, word) {
				out.WriteString(strings.TrimRight(line, "\n") + "\n")
				break
			}
		}
	}
	return out.String()
}
