// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"

	"github.com/spf13/cobra"

	"outrigger.dev/outrigger/internal/diagnose"
)

// explainService explains the routes of a Service: `outrigger explain service/NAME`.
func explainService(command *cobra.Command, from *clusterFlags, name string, print *explanations) error {
	l, err := from.connect(command.Context(), command.ErrOrStderr())
	if err != nil {
		return err
	}
	s := l.snapshot(l.namespace, false)
	if _, err := servicesOf(command.Context(), s, l.namespace, name); err != nil {
		return err
	}
	observed, problems, err := l.observe(command.Context(), s, name)
	if err != nil {
		return err
	}
	around, err := l.surroundings(command.Context(), s, &observed)
	if err != nil {
		return err
	}
	printNotes(command.ErrOrStderr(), s.notes()...)
	explanation := diagnose.ExplainService(observed, problems, around, l.now())
	return print.add(explanation.Paragraphs, explanation)
}

// servicesToExplain completes service/NAME.
func servicesToExplain(ctx context.Context, l *live, args []string) ([]string, error) {
	names, err := serviceNames(ctx, l, args)
	if err != nil {
		return nil, err
	}
	for i, name := range names {
		names[i] = "service/" + name
	}
	return names, nil
}
