// SPDX-License-Identifier: Apache-2.0

// Command outrigger is the one binary of the project: it serves the webhook and the routing controller in a cluster,
// and prints by hand what they would do.
package main

import "os"

// version is set by the linker in releases; other builds find theirs in the binary.
var version = "unknown"

func main() { os.Exit(execute(root(os.Args[0]), os.Stderr)) }
