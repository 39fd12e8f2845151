// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package main

import "syscall"

// dieWithParent does nothing: this system has no such signal, and guard kills what was left.
func dieWithParent() error { return nil }

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

// orphaned ends a command whose owner has died.
func orphaned(pid int) { _ = syscall.Kill(pid, syscall.SIGKILL) }
