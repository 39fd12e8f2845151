// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"github.com/spf13/cobra"

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
	}, versionWeights, func(args []string) (diagnose.Request, error) {
		service, weights, err := shiftedService(args)
		if err != nil || len(weights) == 0 {
			return diagnose.Request{}, usagef("name the Service and at least one version with its weight: shift SERVICE v1=90 v2=10%s", reasonOf(err))
		}
		return shiftOf(service, weights)
	})
}

// decisionCommand completes a command that changes the decision for the Service in its first argument. requestOf parses the
// arguments; suggest completes those after the Service.
func decisionCommand(command *cobra.Command, suggest suggestions, requestOf func(args []string) (diagnose.Request, error)) *cobra.Command {
	var from clusterFlags
	var output writing
	var pending, allServices bool
	command.RunE = func(command *cobra.Command, args []string) error {
		if err := output.prepare(command); err != nil {
			return err
		}
		request, err := requestOf(args)
		if err != nil {
			return err
		}
		request.AllowPending, request.AllServices = pending, allServices
		l, err := from.connect(command.Context(), command.ErrOrStderr())
		if err != nil {
			return err
		}
		return l.applyDecision(command.Context(), request, output)
	}
	from.register(command, true)
	output.register(command)
	flags := command.Flags()
	flags.BoolVar(&pending, "pending", false, "accept versions that have no pods yet; they take effect when their pods are ready")
	flags.BoolVar(&allServices, "all-services", false, "also change the other Services that select the same pods")
	command.ValidArgsFunction = from.complete(firstOf(serviceNames, suggest))
	return command
}

// shiftOf returns the request to share requests.
func shiftOf(service string, weights []string) (diagnose.Request, error) {
	request := diagnose.Request{Action: diagnose.ActionShift, Service: service, Weights: weights}
	return request, asUsage(request.Check())
}
