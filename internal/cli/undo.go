// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"outrigger.dev/outrigger/internal/diagnose"
)

func undoCommand() *cobra.Command {
	var from clusterFlags
	var output writing
	var to int
	command := &cobra.Command{
		Use:   "undo SERVICE",
		Short: "Return to the weights and default before the last decision",
		Long: `Returns to the decision before the one in effect, by writing the annotations outrigger.dev/weights,
outrigger.dev/default-version, and outrigger.dev/decided-at of the Service. If weights or a default are written that are
not in effect, it removes them instead, so the decision in effect stays.

Outrigger records the last five decisions on its VirtualService and DestinationRule. "outrigger status SERVICE -o wide"
lists them with the numbers that --to takes. A second undo returns to what the first one undid. Match and mirror stay as
they are. A decision that names a version without pods or workloads is refused.

While a canary progresses, undo aborts it: the default version gets all requests. A canary that waits is removed. The success
of a canary is one decision, so undo returns to the default before it. undo removes outrigger.dev/canary, so that the version
does not start again; outrigger.dev/canary=auto stays. A decision that gives requests to a version whose canary was aborted since,
with its current pod template, is refused.`,
		Example: `  # Return to the weights and default before the last decision
  outrigger undo springbootapp

  # List the recorded decisions, and return to the one before the last
  outrigger status springbootapp -o wide
  outrigger undo springbootapp --to=2 --wait`,
		Args: func(command *cobra.Command, args []string) error {
			if err := checkDryRun(command); err != nil {
				return err
			}
			if _, err := serviceTypes.parseOne(args); err != nil {
				return usagef("name the Service: undo SERVICE%s", reasonOf(err))
			}
			if command.Flags().Changed("to") && to < 1 {
				return fmt.Errorf("--to=%d: expected 1 for the last decision, 2 for the one before, and so on", to)
			}
			return nil
		},
		RunE: func(command *cobra.Command, args []string) error {
			if err := output.prepare(command); err != nil {
				return err
			}
			service, err := serviceTypes.parseOne(args)
			if err != nil {
				return err
			}
			l, err := from.connect(command.Context(), command.ErrOrStderr())
			if err != nil {
				return err
			}
			return l.undo(command.Context(), service, to, output)
		},
	}
	from.register(command, true)
	output.register(command)
	command.Flags().IntVar(&to, "to", 0, "number of the recorded decision to return to; 1 is the one before the current decision (default: undo the last change)")
	command.ValidArgsFunction = from.complete(firstOf(serviceNames))
	return command
}

// undo returns to a past decision, or with to=0 undoes the last change.
func (l *live) undo(ctx context.Context, service string, to int, output writing) error {
	return l.applyDecision(ctx, diagnose.Request{Action: diagnose.ActionUndo, Service: service, To: to}, output)
}
