// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package scenarios

import "os/exec"

func detach(*exec.Cmd) {}
