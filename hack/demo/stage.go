package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"outrigger.dev/outrigger/hack/install"
)

// patience is how long a step may take to show its effect. It is a bound for failure, never a pause.
const patience = 90 * time.Second

// stage is where the commands run.
type stage struct {
	*screen
	dir       string
	env       []string
	installed *install.Installed
}

// check looks at the output of a command and says what is not as it should be.
type check func(output string) error

// do shows a command, runs it, and shows what came back, which the checks must like.
func (s *stage) do(ctx context.Context, line string, checks ...check) error {
	output, err := s.run(ctx, line)
	s.command(line, output)
	if err != nil {
		return fmt.Errorf("%s: %w", line, err)
	}
	return verdict(line, output, checks)
}

// until runs a command again and again until the checks like what comes back, and shows the command with that output.
func (s *stage) until(ctx context.Context, line string, checks ...check) error {
	deadline := time.Now().Add(patience)
	for {
		output, err := s.run(ctx, line)
		if err == nil {
			err = verdict(line, output, checks)
		}
		if err == nil {
			s.command(line, output)
			return nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			s.command(line, output)
			return fmt.Errorf("not within %v: %w", patience, err)
		}
		time.Sleep(100 * time.Millisecond) // between two looks
	}
}

func verdict(line, output string, checks []check) error {
	for _, check := range checks {
		if err := check(output); err != nil {
			return fmt.Errorf("%s: %w", line, err)
		}
	}
	return nil
}

// run runs a command line in the folder of the demo and returns all that it printed.
func (s *stage) run(ctx context.Context, line string) (string, error) {
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
