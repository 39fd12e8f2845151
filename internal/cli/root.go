// SPDX-License-Identifier: Apache-2.0

// Package cli contains the commands of the program outrigger. Call Root for the command line and Execute to run it. Commands read flags
// and the cluster, let other packages decide, and print the results.
//
// Each command is in the file of its name; files that begin with that name hold its parts. Commands share live.go, which connects to
// the cluster, snapshot.go, which reads it once, input.go, which reads files, writing.go, which holds the flags and outputs of
// commands that write, and decide.go, which writes a decision about the traffic of Services. traffic.go reads, from a snapshot, what
// the webhook's warnings need to know about routes.
package cli

import (
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

// Root returns the command "outrigger" of this version with all its subcommands, and the additional ones. If the program is
// called kubectl-outrigger, the usage texts show it as a plugin of kubectl.
func Root(program, number string, additional ...*cobra.Command) *cobra.Command {
	version = number
	command := &cobra.Command{
		Use:   "outrigger",
		Short: "Sidecars and version routes for Istio, from labels",
		Long: `Outrigger injects Istio's sidecar as istiod would, from the cluster's own Istio configuration, and keeps
DestinationRules, VirtualServices, and Gateways in step with the "version" labels of running pods.

In a cluster it runs as "outrigger serve", installed by the Helm chart. The other commands show and change what it does.`,
		Example: `  # Inject pods as the webhook would, and apply them
  outrigger inject -f app.yaml | kubectl apply -f -

  # Print the routes that the controller would create for these Services
  outrigger routes -f app.yaml

  # Show the current routes, then send one request in ten to v2
  outrigger status -A
  outrigger shift springbootapp v1=90 v2=10

  # Completion for bash
  source <(outrigger completion bash)`,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	command.SetFlagErrorFunc(flagError)
	command.SetVersionTemplate(versionLine() + "\n")
	command.AddCommand(injectCommand(), uninjectCommand(), diffCommand(), routesCommand(), versionCommand())
	command.AddCommand(additional...)
	command.AddCommand(statusCommand(), dashboardCommand(), coverageCommand(), explainCommand(), shiftCommand(), promoteCommand(), canaryCommand(), undoCommand(), enableCommand(), disableCommand(), uninstallRoutesCommand(), checkCommand(), preDeleteCommand())
	if strings.HasPrefix(filepath.Base(program), "kubectl-") {
		usePluginName(command)
	}
	return command
}

const pluginName = "kubectl outrigger"

// usePluginName changes the examples to commands of kubectl.
func usePluginName(command *cobra.Command) {
	command.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: pluginName}
	var rename func(*cobra.Command)
	rename = func(c *cobra.Command) {
		for _, before := range []string{"  ", "| ", "<("} {
			c.Example = strings.ReplaceAll(c.Example, before+"outrigger ", before+pluginName+" ")
		}
		for _, sub := range c.Commands() {
			rename(sub)
		}
	}
	rename(command)
}
