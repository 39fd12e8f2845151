// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

func versionCommand() *cobra.Command {
	var from clusterFlags
	var clientOnly bool
	command := &cobra.Command{
		Use:   "version",
		Short: "Print the version of this binary and of the running controller",
		Long: `Prints the version of this binary, and the version that the running controller writes on its Lease, or why that is
unknown.`,
		Args: NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := from.kube.check(); err != nil {
				return err
			}
			lines := []string{versionLine()}
			if !clientOnly {
				lines = append(lines, from.controllerVersions(command.Context())...)
			}
			_, err := fmt.Fprintln(command.OutOrStdout(), strings.Join(lines, "\n"))
			return err
		},
	}
	from.register(command, false)
	command.Flags().BoolVar(&clientOnly, "client", false, "print only the version of this binary, without contacting a cluster")
	return command
}

func versionLine() string {
	return fmt.Sprintf("outrigger %s (%s, %s/%s)", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// version is the version of this binary. Root sets it.
var version = "unknown"

// BuildVersion returns the version of this binary: the linked one, or, if that is "unknown", what the go command recorded.
func BuildVersion(linked string) string {
	if info, ok := debug.ReadBuildInfo(); ok && linked == "unknown" {
		return builtVersion(info)
	}
	return linked
}

// builtVersion returns the version that the go command recorded, without its "v": of the module, or else the commit. "unknown" if it
// recorded neither, as in tests and in a source tree without git.
func builtVersion(info *debug.BuildInfo) string {
	if of := info.Main.Version; of != "" && of != "(devel)" {
		return strings.TrimPrefix(of, "v")
	}
	settings := map[string]string{}
	for _, setting := range info.Settings {
		settings[setting.Key] = setting.Value
	}
	revision := settings["vcs.revision"]
	if revision == "" {
		return "unknown"
	}
	out := revision[:min(len(revision), 12)]
	if settings["vcs.modified"] == "true" {
		out += "-dirty"
	}
	return out
}
