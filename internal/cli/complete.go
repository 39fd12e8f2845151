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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/routing"
)

// completionTime is how long a shell waits for names from the cluster.
const completionTime = 3 * time.Second

// suggestions returns what the next argument can be. args are the arguments before it.
type suggestions func(ctx context.Context, l *live, args []string) ([]string, error)

// complete returns the completion for the shell. It suggests nothing if the cluster does not answer; a completion never fails.
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

// firstOf suggests first for the first argument, and next for those after it.
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
	return l.names(ctx, corev1.SchemeGroupVersion.WithKind("Namespace"), "")
}

// names returns the names of the objects of a kind in a namespace, or in all.
func (l *live) names(ctx context.Context, kind schema.GroupVersionKind, namespace string) ([]string, error) {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
	err := l.client.List(ctx, list, client.InNamespace(namespace))
	var out []string
	for i := range list.Items {
		out = append(out, list.Items[i].Name)
	}
	return out, err
}

// versionNames returns the versions of the Service in the first argument.
func versionNames(ctx context.Context, l *live, args []string) ([]string, error) {
	service, rest, err := promotedService(args)
	if err != nil || len(rest) > 0 {
		return nil, err
	}
	return l.versionsOf(ctx, service)
}

// versionWeights returns "v1=", "v2=" for the versions without a weight.
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
	observed, _, err := l.observe(ctx, l.snapshot(l.namespace, false), service)
	if err != nil {
		return nil, err
	}
	return routing.KnownVersions(observed), nil
}

// completeContexts suggests the contexts of the kubeconfig.
func completeContexts(command *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	from := kubeFlags{}
	*from.flags().KubeConfig, _ = command.Flags().GetString("kubeconfig") // every command with --context has it
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
