// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/internal/dashboard"
	"outrigger.dev/outrigger/internal/diagnose"
)

// dashboardActions implements dashboard.Actions in the same way as the commands.
type dashboardActions struct{ data *dashboardData }

var _ dashboard.Actions = dashboardActions{}

func actionsOf(data *dashboardData) dashboard.Actions { return dashboardActions{data} }

// in returns the cluster as a command for a namespace sees it. It bypasses the watched lists, because writes depend on current objects.
func (d dashboardActions) in(ctx context.Context, namespace string) (*live, error) {
	out, err := d.data.in(ctx, namespace)
	if err == nil {
		out.lists = nil
	}
	return out, err
}

// Denied returns why the user may not change a Service, or "".
func (d dashboardActions) Denied(ctx context.Context, namespace, service string) (string, error) {
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: namespace, Verb: "patch", Resource: "services", Name: service},
	}}
	if err := d.data.cluster.client.Create(ctx, review); err != nil {
		return "", fmt.Errorf("cannot determine whether you may change service %s/%s: %w", namespace, service, err)
	}
	if review.Status.Allowed {
		return "", nil
	}
	return mayNotPatch(namespace, service, nil).Error(), nil
}

// Facts reads what an action depends on. A Service that does not exist is an error with its HTTP status.
func (d dashboardActions) Facts(ctx context.Context, namespace, service string) (diagnose.ActionFacts, []string, error) {
	l, err := d.in(ctx, namespace)
	if err != nil {
		return diagnose.ActionFacts{}, nil, err
	}
	facts, notes, err := l.actionFacts(ctx, service)
	if missing := (*notThereError)(nil); errors.As(err, &missing) {
		return facts, nil, &dashboard.Error{Status: http.StatusNotFound, Err: err}
	}
	return facts, notes, pageError(err)
}

// Write writes the annotations of a Service with the resourceVersion that was read.
func (d dashboardActions) Write(ctx context.Context, service diagnose.Forecast, isDryRun bool) error {
	patch, err := metadataPatchOf("annotations", service.Annotations, service.ResourceVersion())
	if err != nil {
		return err
	}
	output := writing{}
	if isDryRun {
		output.dryRun = dryRunServer
	}
	err = d.data.cluster.patchService(withoutWarnings(ctx), client.ObjectKeyFromObject(service.Observed.Service), patch, output.patchOptions()...)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return &dashboard.Changed{Err: err}
	}
	return err
}

// Pending returns what a change waits for, or nothing if it is applied.
func (d dashboardActions) Pending(ctx context.Context, change diagnose.Change) (diagnose.Text, error) {
	l, err := d.in(ctx, change.Namespace)
	if err != nil {
		return nil, err
	}
	return l.pendingText(ctx, change.Forecasts)
}
