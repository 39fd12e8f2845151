// SPDX-License-Identifier: Apache-2.0

//go:build unix

package cli

import (
	"os/signal"
	"syscall"
)

// ignoreReadStops makes reads of the terminal fail with EIO while the process is in the background of a shell. By default, the system stops
// the process at its first read.
func ignoreReadStops() { signal.Ignore(syscall.SIGTTIN) }
