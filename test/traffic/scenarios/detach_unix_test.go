// SPDX-License-Identifier: Apache-2.0

//go:build unix

package scenarios

import (
	"os/exec"
	"syscall"
)

// detach puts a command into a process group of its own, so that Ctrl-C does not end it before what it began is complete.
func detach(command *exec.Cmd) { command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
