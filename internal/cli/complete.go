// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/routing"
)

// completionTime is how long a shell may wait for names out of the cluster.
const completionTime = 3 * time.Second

// suggestions returns what may stand next on a command line, from the cluster; args are the words before.
type suggestions func(ctx context.Context, l *live, args []string) ([]string, error)

// complete makes suggestions ready for the shell. A cluster that does not answer has none: a completion never fails.
func (f *clusterFlags) complete(suggest suggestions) cobra.CompletionFunc {
	return func(command *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(context.Background(), completionTime)
		defer cancel()
		l, err := f.connect(ctx, io.Discard)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		all, err := suggest(ctx, l, args)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		directive := cobra.ShellCompDirectiveNoFileComp
		out := slices.DeleteFunc(all, func(word string) bool { return !strings.HasPrefix(word, begun) })
		if slices.ContainsFunc(out, func(word string) bool { return strings.HasSuffix(word, "=") || strings.HasSuffix(word, "/") }) {
			directive |= cobra.ShellCompDirectiveNoSpace
		}
		return out, directive
	}
}

// firstOf suggests for the first word only, and then from the next for those that follow.
func firstOf(first suggestions, next ...suggestions) suggestions {
	return func(ctx context.Context, l *live, args []string) ([]string, error) {
		switch {
		case len(args) == 0:
			return first(ctx, l, args)
		case len(next) > 0:
			return next[0](ctx, l, args)
		}
		return nil, nil
	}
}

func serviceNames(ctx context.Context, l *live, _ []string) ([]string, error) {
	return servicesOf(ctx, l.snapshot(l.namespace, false), l.namespace)
}

func namespaceNames(ctx context.Context, l *live, _ []string) ([]string, error) {
	var list corev1.NamespaceList
	if err := l.client.List(ctx, &list); err != nil {
		return nil, err
	}
	var out []string
	for i := range list.Items {
		out = append(out, list.Items[i].Name)
	}
	return out, nil
}

// versionNames are the versions of the Service that is the first word.
func versionNames(ctx context.Context, l *live, args []string) ([]string, error) {
	service, rest, err := promotedService(args)
	if err != nil || len(rest) > 0 {
		return nil, err
	}
	return l.versionsOf(ctx, service)
}

// versionWeights are "v1=", "v2=" for the versions that are not weighed yet.
func versionWeights(ctx context.Context, l *live, args []string) ([]string, error) {
	service, rest, err := shiftedService(args)
	if err != nil {
		return nil, err
	}
	versions, err := l.versionsOf(ctx, service)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, version := range versions {
		if !slices.ContainsFunc(rest, func(word string) bool { return strings.HasPrefix(word, version+"=") }) {
			out = append(out, version+"=")
		}
	}
	return out, nil
}

func (l *live) versionsOf(ctx context.Context, service string) ([]string, error) {
	observed, _, err := l.looker(l.snapshot(l.namespace, false)).Look(ctx, client.ObjectKey{Namespace: l.namespace, Name: service})
	if err != nil || observed == nil {
		return nil, err
	}
	return routing.KnownVersions(*observed), nil
}

// completeContexts suggests the contexts of the kubeconfig.
func completeContexts(command *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	from := kubeFlags{}
	*from.flags().KubeConfig, _ = command.Flags().GetString("kubeconfig") // it is there wherever --context is
	raw, err := from.loading().RawConfig()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for name := range raw.Contexts {
		out = append(out, name)
	}
	slices.Sort(out)
	return out, cobra.ShellCompDirectiveNoFileComp
}
