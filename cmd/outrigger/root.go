// SPDX-License-Identifier: Apache-2.0

package main

import (
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

// root returns the command with all its subcommands. Under the name kubectl-outrigger it is a plugin of kubectl, and
// shows itself as one.
func root(program string) *cobra.Command {
	command := &cobra.Command{
		Use:   "outrigger",
		Short: "Sidecars and version routes for Istio, from labels alone",
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
	command.AddCommand(injectCommand(), uninjectCommand(), diffCommand(), routesCommand(), serveCommand(), versionCommand())
	command.AddCommand(statusCommand(), coverageCommand(), explainCommand(), shiftCommand(), promoteCommand(), undoCommand(), enableCommand(), disableCommand(), uninstallRoutesCommand(), checkCommand(), preDeleteCommand())
	if strings.HasPrefix(filepath.Base(program), "kubectl-") {
		asPlugin(command)
	}
	return command
}

const pluginName = "kubectl outrigger"

// asPlugin makes the usage texts show what one types with kubectl in front.
func asPlugin(command *cobra.Command) {
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
