// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/diagnose"
)

func shiftCommand() *cobra.Command {
	return decisionCommand(&cobra.Command{
		Use:   "shift SERVICE VERSION=WEIGHT...",
		Short: "Share a Service's requests between versions",
		Long: `Sets the annotations outrigger.dev/weights and outrigger.dev/decided-at of the Service, and removes outrigger.dev/canary,
which ends a canary that progresses; outrigger.dev/canary=auto stays. The controller then changes the route. Weights are whole numbers and need not sum to 100. A version that is not named gets nothing.

A version that no pod or workload of the Service has is refused, unless you set --pending. The effect is printed first, also
for other Services that select the same pods.`,
		Example: `  # One request in ten to v2
  outrigger shift springbootapp v1=90 v2=10

  # Only print what would be written
  outrigger shift springbootapp v1=90 v2=10 --dry-run=client

  # Return when the route is applied
  outrigger shift springbootapp v1=50 v2=50 --wait`,
	}, versionWeights, func(args []string) (diagnose.Decision, error) {
		service, weights, err := shiftedService(args)
		if err != nil || len(weights) == 0 {
			return diagnose.Decision{}, usagef("name the Service and at least one version with its weight: shift SERVICE v1=90 v2=10%s", reasonOf(err))
		}
		return shiftOf(service, weights)
	})
}

// decisionCommand completes a command that changes the decision for the Service in its first argument. decisionOf parses the
// arguments; suggest completes those after the Service.
func decisionCommand(command *cobra.Command, suggest suggestions, decisionOf func(args []string) (diagnose.Decision, error)) *cobra.Command {
	var from clusterFlags
	var output writing
	var pending, allServices bool
	command.RunE = func(command *cobra.Command, args []string) error {
		if err := output.prepare(command); err != nil {
			return err
		}
		d, err := decisionOf(args)
		if err != nil {
			return err
		}
		d.AllowPending, d.AllServices = pending, allServices
		return runDecision(command, &from, output, d)
	}
	from.register(command, true)
	output.register(command)
	flags := command.Flags()
	flags.BoolVar(&pending, "pending", false, "accept versions that have no pods yet; they take effect when their pods are ready")
	flags.BoolVar(&allServices, "all-services", false, "also change the other Services that select the same pods")
	command.ValidArgsFunction = from.complete(firstOf(serviceNames, suggest))
	return command
}

func runDecision(command *cobra.Command, from *clusterFlags, output writing, d diagnose.Decision) error {
	l, err := from.connect(command.Context(), command.ErrOrStderr())
	if err != nil {
		return err
	}
	return l.applyDecision(command.Context(), d, output)
}

// shiftOf returns the decision to share requests. Commas may replace spaces, as in the annotation.
func shiftOf(service string, args []string) (diagnose.Decision, error) {
	d := diagnose.Decision{Service: service}
	var items []string
	for _, arg := range args {
		for _, item := range strings.Split(arg, ",") {
			name, weight, found := strings.Cut(strings.TrimSpace(item), "=")
			if !found || name == "" || weight == "" {
				return d, usagef("%q is not of the form VERSION=WEIGHT, such as v2=10", item)
			}
			items, d.Versions = append(items, name+"="+weight), append(d.Versions, name)
		}
	}
	d.Annotations = map[string]string{api.AnnotationWeights: strings.Join(items, ",")}
	return d, asUsage(api.CheckWeights(d.Annotations[api.AnnotationWeights]))
}
