// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/internal/diagnose"
)

// clockDifference is how far the clock of the caller may be ahead of the cluster's before a Lease seems to have expired.
const clockDifference = 2 * time.Minute

// notRunning returns what to say if no controller updates routes; empty if one runs, or if the caller has no permission to see
// whether one does, which is recorded as a gap.
func (l *live) notRunning(ctx context.Context) (string, error) {
	unknown := l.areSettingsHidden()
	switch {
	case len(l.configs) == 0 && !unknown:
		return l.notInstalled(ctx)
	case len(l.configs) > 0 && !l.config.Routing.Enabled:
		return fmt.Sprintf("The Outrigger in namespace %s does not manage routes (routing.enabled=false). Existing routes are unchanged.", l.systemNamespace), nil
	case !l.config.LeaderElection.Enabled:
		return l.noReplica(ctx)
	}
	name := l.config.LeaderElection.LeaseName
	lease := &coordinationv1.Lease{}
	err := l.client.Get(ctx, client.ObjectKey{Namespace: l.systemNamespace, Name: name}, lease)
	switch {
	case isForbidden(err):
		l.gaps.AddObject("Lease", l.systemNamespace, name)
		return "", nil
	case apierrors.IsNotFound(err) && unknown:
		return "", nil // the settings may name another Lease
	case err != nil && !apierrors.IsNotFound(err):
		return "", fmt.Errorf("read Lease %s: %w", name, err)
	case err == nil && leader(lease, l.now().Add(-clockDifference)) != "":
		return "", nil
	}
	return l.notRunningHere("no replica holds Lease " + name), nil
}

// frozen says that routes are frozen; empty if they are not.
func (l *live) frozen() string {
	if !l.config.Routing.Freeze {
		return ""
	}
	return fmt.Sprintf("Routes are frozen (routing.freeze=true in namespace %s): canaries stay at their step, and routes change only where a subset is missing. "+
		"To end that: helm upgrade outrigger charts/outrigger -n %s --reset-then-reuse-values --set routing.freeze=false", l.systemNamespace, l.systemNamespace)
}

// notInstalled is for a system namespace without settings of Outrigger.
func (l *live) notInstalled(ctx context.Context) (string, error) {
	elsewhere, err := l.elsewhere(ctx)
	switch {
	case isForbidden(err):
		return fmt.Sprintf("No Outrigger is installed in namespace %s. If it is installed in another namespace, add --system-namespace=NAMESPACE. "+
			"Otherwise nothing updates existing routes; to remove them: %s", l.systemNamespace, l.uninstallAll("")), nil
	case err != nil:
		return "", err
	case len(elsewhere) > 0:
		return fmt.Sprintf("No Outrigger is installed in namespace %s, but one is in namespace %s. To read its settings, add --system-namespace=%s.", l.systemNamespace, elsewhere[0], elsewhere[0]), nil
	}
	return fmt.Sprintf("No Outrigger is installed in namespace %s, and none runs elsewhere: nothing updates existing routes. Install it again, or remove the routes: %s",
		l.systemNamespace, l.uninstallAll("")), nil
}

// noReplica returns the message for an installation without leader election, which has no Lease.
func (l *live) noReplica(ctx context.Context) (string, error) {
	deployments, err := l.deployments(ctx)
	if isForbidden(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("list the Deployments of namespace %s: %w", l.systemNamespace, err)
	}
	if slices.ContainsFunc(deployments, func(d appsv1.Deployment) bool { return d.Status.AvailableReplicas > 0 }) {
		return "", nil
	}
	return l.notRunningHere("no Deployment of it has an available replica"), nil
}

func (l *live) notRunningHere(why string) string {
	return fmt.Sprintf("No controller of Outrigger runs in namespace %s (%s): existing routes are unchanged, and nothing updates them. "+
		"To see why: kubectl get deployments,pods -n %s -l app.kubernetes.io/name=outrigger", l.systemNamespace, why, l.systemNamespace)
}

// withControllerState adds to the report that no controller runs, if that is the case.
func (l *live) withControllerState(ctx context.Context, read func(context.Context) (diagnose.StatusReport, error)) (diagnose.StatusReport, error) {
	notRunning, err := l.notRunning(ctx) // first, since the report lists what could not be read
	if err != nil {
		return diagnose.StatusReport{}, err
	}
	report, err := read(ctx)
	report.NotRunning = notRunning
	return report, err
}
