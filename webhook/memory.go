// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"os"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// LimitMemory makes the garbage collector keep the process under nine tenths of the memory limit of its container, which
// it reads from the cgroup, and returns that limit in bytes; 0 if there is none. GOMEMLIMIT in the environment takes precedence.
// The cgroup has the enforced limit: a variable from the Deployment's limit would have the old one after a resize in place, and the
// node's memory if there is no limit.
func LimitMemory() int64 {
	limit, err := memlimit.FromCgroup()
	if err != nil || limit == 0 || limit > 1<<60 {
		return 0 // no limit, or no cgroup
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(int64(limit) / 10 * 9)
	}
	return int64(limit)
}
