// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/internal/dashboard"
	"outrigger.dev/outrigger/internal/diagnose"
)

// dashboardActions reads and writes for the actions of the dashboard as the commands do. Each call has its own gaps, since calls run at
// the same time.
type dashboardActions struct {
	cluster live
	gaps    diagnose.Gaps // those of the settings
}

var _ dashboard.Actions = dashboardActions{}

// actionsOf returns the actions on a cluster. Call it before anything else reads through l.
func actionsOf(l *live) dashboard.Actions { return dashboardActions{*l, maps.Clone(l.gaps)} }

// in returns the cluster as a command with -n reads it.
func (d dashboardActions) in(namespace string) *live {
	out := d.cluster
	out.namespace, out.gaps = namespace, maps.Clone(d.gaps)
	return &out
}

// Denied returns why the user may not change a Service, or "".
func (d dashboardActions) Denied(ctx context.Context, namespace, service string) (string, error) {
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: namespace, Verb: "patch", Resource: "services", Name: service},
	}}
	if err := d.cluster.client.Create(ctx, review); err != nil {
		return "", fmt.Errorf("it is unknown whether you may change service %s/%s: %w", namespace, service, err)
	}
	if review.Status.Allowed {
		return "", nil
	}
	return mayNotPatch(namespace, service, nil).Error(), nil
}

// Facts reads what an action depends on. A Service that does not exist is an error with its HTTP status.
func (d dashboardActions) Facts(ctx context.Context, namespace, service string) (diagnose.ActionFacts, []string, error) {
	facts, notes, err := d.in(namespace).actionFacts(ctx, service)
	missing, denied := &notThereError{}, &permissionError{}
	switch {
	case errors.As(err, &missing):
		err = &dashboard.Error{Status: http.StatusNotFound, Err: err}
	case errors.As(err, &denied):
		err = &dashboard.Error{Status: http.StatusForbidden, Err: err}
	}
	return facts, notes, err
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
	err = d.cluster.patchService(withoutWarnings(ctx), client.ObjectKeyFromObject(service.Observed.Service), patch, output.patchOptions()...)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return &dashboard.Changed{Err: err}
	}
	return err
}

// Pending returns what is missing until a change is applied.
func (d dashboardActions) Pending(ctx context.Context, change diagnose.Change) (string, error) {
	return d.in(change.Namespace).pendingReason(ctx, change.Forecasts)
}
