// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/routing"
)

func enableCommand() *cobra.Command {
	return namespaceCommand(api.RoutingEnabled, &cobra.Command{
		Use:   "enable NAMESPACE",
		Short: "Enable routes for the Services of a namespace",
		Long: `Sets the label outrigger.dev/routing=enabled on the namespace, and nothing else; Istio's own label, which decides about
sidecars, is unchanged. It first prints the new routes, and which versions stop receiving requests.`,
		Example: `  outrigger enable demo`,
	})
}

func disableCommand() *cobra.Command {
	return namespaceCommand(api.RoutingDisabled, &cobra.Command{
		Use:   "disable NAMESPACE",
		Short: "Remove the routes of a namespace",
		Long: `Sets the label outrigger.dev/routing=disabled on the namespace, and nothing else. The controller then removes its routes
in order: first VirtualServices and Gateways, then, after the propagation delay, the DestinationRules. It first prints how the
shares change, which versions begin to receive traffic, and what is no longer served at gateways.`,
		Example: `  # Which versions would begin to receive traffic?
  outrigger disable demo --dry-run=client

  outrigger disable demo`,
	})
}

func namespaceCommand(mode api.RoutingMode, command *cobra.Command) *cobra.Command {
	var from clusterFlags
	var output writing
	command.RunE = func(command *cobra.Command, args []string) error {
		if err := output.prepare(command); err != nil {
			return err
		}
		name, err := namespaceTypes.parseOne(args)
		if errors.Is(err, errNoArgument) {
			return usagef("name one namespace: %s", command.Use)
		}
		if err == nil {
			err = checkNamespaceName("", name)
		}
		if err != nil {
			return err
		}
		l, err := from.connect(command.Context(), command.ErrOrStderr())
		if err != nil {
			return err
		}
		return l.setRouting(command.Context(), name, mode, output)
	}
	from.register(command, false)
	output.register(command)
	command.ValidArgsFunction = from.complete(firstOf(namespaceNames))
	return command
}

// setRouting prints the effect of the label, sets it, and with --wait waits until the controller has written the routes.
func (l *live) setRouting(ctx context.Context, name string, mode api.RoutingMode, output writing) error {
	namespace := &corev1.Namespace{}
	if err := l.client.Get(ctx, client.ObjectKey{Name: name}, namespace); isForbidden(err) {
		return mayNotGet(name, err)
	} else if apierrors.IsNotFound(err) {
		return noNamespace(name)
	} else if err != nil {
		return fmt.Errorf("read Namespace %s: %w", name, err)
	}
	services, notes, err := l.servicesIn(ctx, name)
	if err != nil {
		return err
	}
	output.note(notes)
	for _, observed := range services {
		for _, line := range diagnose.ForecastMode(observed, mode, l.gaps, l.now()) {
			output.say("%s", line)
		}
	}
	labels := map[string]string{api.LabelRouting: string(mode)}
	if namespace.Labels[api.LabelRouting] == string(mode) {
		output.say("namespace/%s already has the label %s; nothing is written.", name, strings.Join(diagnose.KubectlArguments(labels), " "))
		return l.waitFor(ctx, output, func(ctx context.Context) (string, error) { return l.notWrittenIn(ctx, name) })
	}
	output.say("kubectl label namespace %s %s --overwrite", name, strings.Join(diagnose.KubectlArguments(labels), " "))
	if output.dryRun != dryRunClient {
		patch, err := metadataPatch("labels", labels)
		if err != nil {
			return err
		}
		if err := l.client.Patch(ctx, namespace, patch, output.patchOptions()...); err != nil {
			return mayNotLabel(name, err)
		}
	}
	output.say("namespace/%s labeled%s", name, output.suffix())
	return l.waitFor(ctx, output, func(ctx context.Context) (string, error) { return l.notWrittenIn(ctx, name) })
}

// servicesIn reads every Service of a namespace, sorted by name, and returns notes about what could not be read outside of it.
func (l *live) servicesIn(ctx context.Context, namespace string) ([]routing.Observed, []string, error) {
	s := l.snapshot(namespace, false)
	s.strict = true // a label on the namespace concerns all of it
	names, err := servicesOf(ctx, s, namespace)
	if err != nil {
		return nil, nil, err
	}
	sources := l.sources(s)
	var out []routing.Observed
	for _, name := range names {
		observed, _, err := sources.Gather(ctx, client.ObjectKey{Namespace: namespace, Name: name})
		if err != nil {
			return nil, nil, err
		}
		if observed != nil {
			out = append(out, *observed)
		}
	}
	return out, s.notes(), nil
}

// notWrittenIn returns for which Service of a namespace the controller has not written everything yet, or "" if for none. It ignores
// the propagation delay of removals.
func (l *live) notWrittenIn(ctx context.Context, namespace string) (string, error) {
	services, _, err := l.servicesIn(ctx, namespace)
	if err != nil {
		return "", err
	}
	for _, observed := range services {
		end := observed
		end.Existing = routing.Plan(diagnose.WithoutDelays(observed), l.now()).Objects
		if why := diagnose.NotWritten(observed, end, l.gaps, l.now()); len(why) > 0 {
			return "service/" + observed.Service.Name + ": " + why.String(), nil
		}
	}
	return "", nil
}

// owned returns the Services for which Outrigger's objects exist.
func owned(objects routing.Objects) []client.ObjectKey {
	var out []client.ObjectKey
	for _, object := range objects.All() {
		if name, is := routing.ServiceOf(object); is {
			out = append(out, client.ObjectKey{Namespace: object.GetNamespace(), Name: name})
		}
	}
	slices.SortFunc(out, func(a, b client.ObjectKey) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(out)
}

func asObjects[T routing.Object](list []T) []routing.Object {
	out := make([]routing.Object, len(list))
	for i, object := range list {
		out[i] = object
	}
	return out
}
