// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/internal/diagnose"
)

// explainService says why the routes of a Service are as they are: `outrigger explain service/NAME`.
func explainService(command *cobra.Command, from *clusterFlags, name string, print *explanations) error {
	if name == "" {
		return errors.New("name the Service: explain service/NAME")
	}
	l, err := from.connect(command.Context(), command.ErrOrStderr())
	if err != nil {
		return err
	}
	s := l.snapshot(l.namespace, false)
	if _, err := servicesOf(command.Context(), s, l.namespace, name); err != nil {
		return err
	}
	observed, problems, err := l.sources(s).Gather(command.Context(), client.ObjectKey{Namespace: l.namespace, Name: name})
	if err != nil {
		return err
	}
	if observed == nil {
		return fmt.Errorf("service %s/%s is being deleted", l.namespace, name)
	}
	around, err := l.surroundings(command.Context(), s, observed)
	if err != nil {
		return err
	}
	printNotes(command.ErrOrStderr(), s.notes()...)
	now := l.now()
	return print.add(func() []diagnose.Paragraph { return diagnose.ExplainService(*observed, problems, around, now) }, diagnose.ServiceData(*observed, problems, around, now))
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
