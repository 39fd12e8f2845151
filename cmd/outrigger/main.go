// SPDX-License-Identifier: Apache-2.0

// Command outrigger is the only binary of the project. This package connects the parts of "outrigger serve"; all other commands
// are in internal/cli.
package main

//go:generate go test -run TestCommandsPageIsCurrent . -update

import (
	"os"

	"github.com/spf13/cobra"

	"outrigger.dev/outrigger/internal/cli"
)

// version is set by the linker in releases. Other builds read theirs from the binary.
var version = "unknown"

func init() { version = cli.BuildVersion(version) }

func main() { os.Exit(cli.Execute(root(os.Args[0]), os.Stderr)) }

// root returns the command line: all commands, and serve.
func root(program string) *cobra.Command { return cli.Root(program, version, serveCommand()) }
