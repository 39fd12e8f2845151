// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

func undoCommand() *cobra.Command {
	var from clusterFlags
	var how writing
	var to int
	command := &cobra.Command{
		Use:   "undo SERVICE",
		Short: "Return to the weights and default before the last decision",
		Long: `Returns to the decision before the one in effect, by writing the annotations outrigger.dev/weights,
outrigger.dev/default-version, and outrigger.dev/decided-at of the Service. If weights or a default are written that are
not in effect, it removes them instead, so the decision in effect stays.

Outrigger records the last five decisions on its VirtualService and DestinationRule. "outrigger status SERVICE -o wide"
lists them with the numbers that --to takes. A second undo returns to what the first one undid. Match and mirror stay as
they are. A decision that names a version without pods or workloads is refused.`,
		Example: `  # Return to the weights and default before the last decision
  outrigger undo springbootapp

  # List the recorded decisions, and return to the one before the last
  outrigger status springbootapp -o wide
  outrigger undo springbootapp --to=2 --wait`,
		Args: func(command *cobra.Command, args []string) error {
			if err := checkDryRun(command); err != nil {
				return err
			}
			if _, err := serviceWords.takeOnly(args); err != nil {
				return usagef("name the Service: undo SERVICE%s", andWhy(err))
			}
			if command.Flags().Changed("to") && to < 1 {
				return fmt.Errorf("--to=%d: expected 1 for the last decision, 2 for the one before, and so on", to)
			}
			return nil
		},
		RunE: func(command *cobra.Command, args []string) error {
			if err := how.check(command); err != nil {
				return err
			}
			service, err := serviceWords.takeOnly(args)
			if err != nil {
				return err
			}
			l, err := from.connect(command.Context(), command.ErrOrStderr())
			if err != nil {
				return err
			}
			return l.undo(command.Context(), service, to, how)
		},
	}
	from.register(command, true)
	how.register(command)
	command.Flags().IntVar(&to, "to", 0, "number of the recorded decision to return to; 1 is the one before the current decision (default: undo the last change)")
	command.ValidArgsFunction = from.complete(firstOf(serviceNames))
	return command
}

// undo returns to a past decision, or with to=0 undoes the last change.
func (l *live) undo(ctx context.Context, service string, to int, how writing) error {
	s := l.snapshot(l.namespace, false)
	if _, err := servicesOf(ctx, s, l.namespace, service); err != nil {
		return err
	}
	observed, _, err := l.looker(s).Look(ctx, client.ObjectKey{Namespace: l.namespace, Name: service})
	if err != nil {
		return err
	}
	if observed == nil {
		return fmt.Errorf("service %s/%s is being deleted", l.namespace, service)
	}
	if s.gaps.hideRoutes(l.namespace) {
		return fmt.Errorf("undo needs permission to list %s in namespace %s; nothing was written", strings.Join(pluralsOf(routeKinds), ", "), l.namespace)
	}
	back, err := l.undoOf(*observed, to)
	if err != nil {
		return err
	}
	how.say("%s", back.why)
	return l.decide(ctx, back.decision, how)
}

// undoing is a decision that returns to a past one, and the line that says so.
type undoing struct {
	decision
	why string
}

func (l *live) undoOf(observed routing.Observed, to int) (undoing, error) {
	out := undoing{decision: decision{service: observed.Service.Name}}
	decisions := routing.Decisions(observed, l.now())
	if len(decisions) == 0 {
		return out, fmt.Errorf("service %s/%s has no decision to return to: Outrigger has recorded none. To decide: outrigger shift or outrigger promote", observed.Service.Namespace, observed.Service.Name)
	}
	current, waiting := decisions[0], l.notInEffect(observed)
	target := current
	switch {
	case to == 0 && len(waiting) > 0:
		out.why = fmt.Sprintf("service/%s stays at %s: %s is not in effect and is undone", observed.Service.Name, current, strings.Join(waiting, " and "))
	case max(to, 1) >= len(decisions):
		return out, noEarlier(observed, decisions, to)
	default:
		target = decisions[max(to, 1)]
		out.why = fmt.Sprintf("service/%s returns to %s, which was in effect until %s", observed.Service.Name, target, target.Until.UTC().Format("2006-01-02T15:04:05Z"))
	}
	if err := returnable(observed, target); err != nil {
		return out, err
	}
	out.words = map[string]string{api.AnnotationWeights: target.Weights}
	if target.Default != current.Default || slices.ContainsFunc(waiting, func(pair string) bool { return strings.HasPrefix(pair, api.AnnotationDefaultVersion) }) {
		out.words[api.AnnotationDefaultVersion] = target.Default
	}
	if target.Weights != "" {
		if err := api.CheckWeights(target.Weights); err != nil {
			return out, fmt.Errorf("service %s/%s cannot return to %s: %w", observed.Service.Namespace, observed.Service.Name, target, err)
		}
	}
	return out, nil
}

// notInEffect returns the annotations for weights and default that are set but not in effect, as KEY=VALUE.
func (l *live) notInEffect(observed routing.Observed) []string {
	var out []string
	pending := routing.Plan(observed, l.now()).Pending
	for _, key := range []string{api.AnnotationDefaultVersion, api.AnnotationWeights} {
		text := observed.Service.Annotations[key]
		isPending := slices.ContainsFunc(pending, func(p routing.Pending) bool { return p.Key == key })
		if text != "" && (isPending || observed.Intent.Bad[key]) {
			out = append(out, key+"="+text)
		}
	}
	return out
}

// noEarlier returns an error that lists the recorded decisions.
func noEarlier(observed routing.Observed, decisions []routing.Decision, to int) error {
	service := observed.Service.Namespace + "/" + observed.Service.Name
	if len(decisions) == 1 {
		return fmt.Errorf("service %s has no earlier decision to return to; %s is the first recorded decision", service, decisions[0])
	}
	var there []string
	for i, d := range decisions[1:] {
		there = append(there, fmt.Sprintf("%d (%s)", i+1, d))
	}
	return fmt.Errorf("--to=%d: service %s has the earlier decisions %s", to, service, strings.Join(there, ", "))
}

// returnable returns an error if a decision can no longer be written.
func returnable(observed routing.Observed, target routing.Decision) error {
	service := observed.Service.Namespace + "/" + observed.Service.Name
	others := fmt.Sprintf("To choose an older decision: outrigger status -n %s %s -o wide, then undo --to", observed.Service.Namespace, observed.Service.Name)
	if target.IsTooLong {
		return fmt.Errorf("service %s cannot return to %s. %s", service, target, others)
	}
	if len(target.Missing) == 0 {
		return nil
	}
	there := "none of its pods has a version"
	if known := knownVersions(observed); len(known) > 0 {
		there = "it has " + strings.Join(known, ", ")
	}
	return fmt.Errorf("service %s cannot return to %s: it has no version %s; %s. %s", service, target, strings.Join(target.Missing, ", "), there, others)
}
