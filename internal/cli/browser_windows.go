// SPDX-License-Identifier: Apache-2.0

package cli

import "syscall"

// ownProcessGroup starts a program in its own process group, so that a terminal's Ctrl-C does not end it.
func ownProcessGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}
