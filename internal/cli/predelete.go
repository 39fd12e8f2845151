// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func preDeleteCommand() *cobra.Command {
	var from clusterFlags
	var deployment string
	output := writing{dryRun: dryRunNone}
	command := &cobra.Command{
		Use:   "pre-delete",
		Short: "Revert the changes of this release before it is removed; run by the Helm chart",
		Long: `Removes the webhook objects of the release first, so that no pod is refused while its replicas end. If the release manages
routes, the command then stops the replicas, which would recreate the routes, and removes the routes as uninstall-routes
does: those whose removal moves no traffic. The others are unchanged and are printed.`,
		Args:   NoArguments,
		Hidden: true, // helm uninstall runs it; for routes, users have uninstall-routes
		RunE: func(command *cobra.Command, _ []string) error {
			output.out = command.OutOrStdout()
			ctx, cancel := context.WithTimeout(command.Context(), output.timeout)
			defer cancel()
			l, err := from.connect(ctx, command.ErrOrStderr())
			if err != nil {
				return err
			}
			return l.preDelete(ctx, deployment, output)
		},
	}
	from.register(command, false)
	flags := command.Flags()
	flags.StringVar(&deployment, "deployment", "outrigger", "Deployment of the release, in the system namespace")
	flags.DurationVar(&output.timeout, "timeout", 3*time.Minute, "how long all of it may take")
	return command
}

// preDelete reverts the changes of the release.
func (l *live) preDelete(ctx context.Context, deployment string, output writing) error {
	if err := l.removeWebhooks(ctx, output); err != nil {
		return err
	}
	if !l.config.Routing.Enabled {
		return nil
	}
	if err := l.stop(ctx, deployment, output); err != nil {
		return err
	}
	return l.uninstallRoutes(ctx, "", false, output)
}

// removeWebhooks deletes the webhook objects. Their names follow from the revision, so they belong to this release.
func (l *live) removeWebhooks(ctx context.Context, output writing) error {
	for _, webhook := range []struct {
		kind, name, effect string
		object             client.Object
	}{
		{"mutatingwebhookconfiguration", l.config.WebhookConfigurationName(), "Outrigger no longer injects new pods", &admissionregistrationv1.MutatingWebhookConfiguration{}},
		{"validatingwebhookconfiguration", l.config.ValidatorName(), "Outrigger no longer warns when objects are created or changed", &admissionregistrationv1.ValidatingWebhookConfiguration{}},
	} {
		if webhook.name == "" {
			continue
		}
		webhook.object.SetName(webhook.name)
		err := l.client.Delete(ctx, webhook.object)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("delete %s %s: %w", webhook.kind, webhook.name, err)
		}
		output.say("%s/%s deleted: %s", webhook.kind, webhook.name, webhook.effect)
	}
	return nil
}

// stop scales the Deployment to 0 and waits until it has no pods, because a terminating replica still leads.
func (l *live) stop(ctx context.Context, name string, output writing) error {
	deployment := &appsv1.Deployment{}
	err := l.client.Get(ctx, client.ObjectKey{Namespace: l.systemNamespace, Name: name}, deployment)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read Deployment %s: %w", name, err)
	}
	selector, err := metav1.LabelSelectorAsSelector(deployment.Spec.Selector)
	if err != nil {
		return fmt.Errorf("read the selector of Deployment %s: %w", name, err)
	}
	none := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"replicas":0}}`))
	scale := &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Namespace: l.systemNamespace, Name: name}}
	if err := l.client.SubResource("scale").Patch(ctx, deployment, none, client.WithSubResourceBody(scale)); err != nil {
		return fmt.Errorf("scale Deployment %s to 0: %w", name, err)
	}
	output.say("deployment/%s in namespace %s scaled to 0: routes are no longer written", name, l.systemNamespace)
	for {
		pods := &corev1.PodList{}
		if err := l.client.List(ctx, pods, client.InNamespace(l.systemNamespace), client.MatchingLabelsSelector{Selector: selector}); err != nil {
			return fmt.Errorf("list the pods of Deployment %s: %w", name, err)
		}
		if len(pods.Items) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d pods of Deployment %s have not ended: %w", len(pods.Items), name, ctx.Err())
		case <-time.After(500 * time.Millisecond):
		}
	}
}
