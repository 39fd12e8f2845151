// SPDX-License-Identifier: Apache-2.0

package localnode

import (
	"errors"
	"io"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// process is one run of one container.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended; exit is valid then
	exit exitStatus
}

// exitStatus is the exit code of a process as containers report it: 128+n for signal n.
type exitStatus struct {
	code   int32
	signal int32
}

// startProcess starts a command in its own process group, so that an interrupt at the terminal reaches only this
// process's parent, with both outputs going to out. It dies with this process.
func startProcess(cmd *exec.Cmd, out io.Writer) (*process, error) {
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := startOnKeptThread(cmd); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	go func() {
		p.exit = statusOf(cmd.Wait())
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what it left behind ends with it, as in a container
		close(p.done)
	}()
	return p, nil
}

// signal sends a signal to the process alone, as a container runtime does, or with SIGKILL to all that it started.
func (p *process) signal(sig syscall.Signal) {
	target := p.cmd.Process.Pid
	if sig == syscall.SIGKILL {
		target = -target
	}
	select {
	case <-p.done:
	default:
		_ = syscall.Kill(target, sig)
	}
}

func statusOf(err error) exitStatus {
	if err == nil {
		return exitStatus{}
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return exitStatus{code: 128} // the outputs could not be copied; the process itself is gone
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return exitStatus{code: 128 + int32(status.Signal()), signal: int32(status.Signal())}
	}
	return exitStatus{code: int32(exit.ExitCode())}
}

// starter starts all children from one goroutine that keeps its thread: the kernel sends the parent-death signal when the *thread*
// that started the child ends.
var starter = sync.OnceValue(func() chan<- startRequest {
	requests := make(chan startRequest)
	go func() {
		runtime.LockOSThread()
		for request := range requests {
			request.result <- request.cmd.Start()
		}
	}()
	return requests
})

type startRequest struct {
	cmd    *exec.Cmd
	result chan error
}

func startOnKeptThread(cmd *exec.Cmd) error {
	request := startRequest{cmd: cmd, result: make(chan error, 1)}
	starter() <- request
	return <-request.result
}
