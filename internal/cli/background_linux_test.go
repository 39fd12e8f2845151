// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// In the background of a shell, the dashboard is not stopped when it reads the terminal. The test starts itself as the shell, which starts it
// again in the background.
func TestReadingInTheBackground(t *testing.T) { // not parallel: as the shell or in the background, it is a process of its own
	const variable = "OUTRIGGER_TEST_ROLE"
	again := func(role string, input *os.File, how *syscall.SysProcAttr) *exec.Cmd {
		command := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
		command.Env, command.Stdin, command.Stderr, command.SysProcAttr = append(os.Environ(), variable+"="+role), input, os.Stderr, how
		return command
	}
	fail := func(why string) {
		fmt.Fprintln(os.Stderr, why)
		os.Exit(1)
	}
	switch os.Getenv(variable) {
	case "":
		_, slave := terminal(t)
		if err := again("shell", slave, &syscall.SysProcAttr{Setsid: true, Setctty: true}).Run(); err != nil {
			t.Error(err)
		}
	case "shell":
		job := again("background", os.Stdin, &syscall.SysProcAttr{Setpgid: true})
		if err := job.Start(); err != nil {
			fail(err.Error())
		}
		var status syscall.WaitStatus
		if _, err := syscall.Wait4(job.Process.Pid, &status, syscall.WUNTRACED, nil); err != nil {
			fail(err.Error())
		}
		if status.Stopped() {
			_ = job.Process.Kill()
			fail("it was stopped by " + status.StopSignal().String())
		}
		os.Exit(status.ExitStatus())
	case "background":
		ignoreReadStops()
		if _, err := os.Stdin.Read(make([]byte, 1)); !errors.Is(err, syscall.EIO) {
			fail(fmt.Sprintf("want EIO, got %v", err))
		}
		os.Exit(0)
	}
}
