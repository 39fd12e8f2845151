// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/internal/diagnose"
)

// checkNamespaceExists returns an error if a namespace does not exist. It returns nil if the user has no permission to read it.
func (l *live) checkNamespaceExists(ctx context.Context, namespace string) error {
	err := l.client.Get(ctx, client.ObjectKey{Name: namespace}, &corev1.Namespace{})
	switch {
	case apierrors.IsNotFound(err):
		return noNamespace(namespace)
	case isForbidden(err):
		return nil
	case err != nil:
		return fmt.Errorf("read Namespace %s: %w", namespace, err)
	}
	return nil
}

func noNamespace(namespace string) error { return notThere("namespace %s does not exist", namespace) }

// checkInstalledHere returns an error if no Outrigger is installed in the system namespace, but one is in another: then nothing in the
// system namespace shows whether it runs. namespace is the one whose routes are removed, empty for all.
func (l *live) checkInstalledHere(ctx context.Context, namespace string) error {
	if len(l.configs) > 0 || l.areSettingsHidden() {
		return nil // installed here, or reported as unknown when the Lease is read
	}
	places, err := l.elsewhere(ctx)
	if isForbidden(err) {
		return l.unknownElsewhere(namespace)
	}
	if err != nil {
		return err
	}
	for _, place := range places {
		return fmt.Errorf("no Outrigger is installed in namespace %s, but one is in namespace %s; nothing was removed. Add --system-namespace=%s", l.systemNamespace, place, place)
	}
	return nil
}

// elsewhere returns the other namespaces in which an Outrigger is installed or runs, sorted. The error is that of a missing
// permission if the user may not list Leases.
func (l *live) elsewhere(ctx context.Context) ([]string, error) {
	places := map[string]bool{}
	var objects admissionregistrationv1.MutatingWebhookConfigurationList
	if err := l.client.List(ctx, &objects); err != nil && !isForbidden(err) {
		return nil, fmt.Errorf("list the MutatingWebhookConfigurations: %w", err)
	}
	for _, entry := range diagnose.InjectorEntries(objects.Items) {
		if service := entry.Webhook.ClientConfig.Service; entry.Injector == diagnose.Outrigger && service != nil {
			places[service.Namespace] = true
		}
	}
	var leases coordinationv1.LeaseList
	if err := l.client.List(ctx, &leases); err != nil {
		return nil, fmt.Errorf("list the Leases: %w", err)
	}
	for i := range leases.Items {
		lease := &leases.Items[i]
		_, isOurs := lease.Labels[LeaseVersionLabel]
		if (isOurs || lease.Name == l.config.LeaderElection.LeaseName) && leader(lease, l.now()) != "" {
			places[lease.Namespace] = true
		}
	}
	delete(places, l.systemNamespace)
	return slices.Sorted(maps.Keys(places)), nil
}

// unknownElsewhere returns the error for a user who has no permission to see whether Outrigger runs in another namespace.
func (l *live) unknownElsewhere(namespace string) error {
	where := ""
	if namespace != "" {
		where = " -n " + namespace
	}
	return fmt.Errorf("no Outrigger is installed in namespace %s, and you have no permission to list Leases in all namespaces, so it is unknown whether one runs elsewhere; nothing was removed. "+
		"If it is installed in another namespace: outrigger uninstall-routes%s --system-namespace=NAMESPACE", l.systemNamespace, where)
}
