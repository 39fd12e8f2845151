// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"syscall"
)

// dieWithParent has the kernel kill this process when its parent dies; that outlives exec.
func dieWithParent() error {
	const setParentDeathSignal = 1 // PR_SET_PDEATHSIG, prctl(2)
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, setParentDeathSignal, uintptr(syscall.SIGKILL), 0); errno != 0 {
		return fmt.Errorf("prctl: %w", errno)
	}
	return nil
}

// alive reports whether the process runs. A zombie does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	end := bytes.LastIndexByte(stat, ')') // the name before it may hold anything
	return end >= 0 && end+2 < len(stat) && stat[end+2] != 'Z'
}

// orphaned does nothing: the kernel has sent the signal already.
func orphaned(int) {}
