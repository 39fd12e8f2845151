// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// LeaseVersionLabel is the label of its Lease in which the leader writes its version, so that it is read without a connection to
// a pod. The labels that the chart sets on the Lease belong to the chart: a GitOps tool would write them back.
const LeaseVersionLabel = "outrigger.dev/version"

// versionWait is how long version waits for a cluster. It prints the version of the binary in any case.
const versionWait = 5 * time.Second

// controllerVersions returns a line for each controller that runs in the system namespace, or one that says why there is none.
func (f *clusterFlags) controllerVersions(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, versionWait)
	defer cancel()
	leases, now, err := f.leases(ctx)
	switch {
	case isForbidden(err):
		return []string{fmt.Sprintf("controller unknown: no permission to list Leases in namespace %s", f.system)}
	case err != nil:
		return []string{"controller unknown: " + withoutAttempt(err).Error()}
	}
	var out []string
	for i := range leases {
		if line := runningVersion(&leases[i], now); line != "" {
			out = append(out, line)
		}
	}
	if len(out) == 0 {
		return []string{fmt.Sprintf("controller unknown: no Lease of a running controller in namespace %s; if it is installed elsewhere, name its namespace with --system-namespace", f.system)}
	}
	slices.Sort(out)
	return out
}

func (f *clusterFlags) leases(ctx context.Context) ([]coordinationv1.Lease, time.Time, error) {
	l, err := f.connect(ctx, io.Discard)
	if err != nil {
		return nil, time.Time{}, err
	}
	var list coordinationv1.LeaseList
	err = l.client.List(ctx, &list, client.InNamespace(f.system))
	return list.Items, l.now(), err
}

// runningVersion describes the controller that holds a Lease, or returns "" if none does. A controller that does not set the label yet
// is described by the name of its pod.
func runningVersion(lease *coordinationv1.Lease, now time.Time) string {
	holder := leader(lease, now)
	version := lease.Labels[LeaseVersionLabel]
	if holder == "" || version == "" && !strings.HasPrefix(lease.Name, "outrigger") {
		return ""
	}
	if version == "" {
		return fmt.Sprintf("controller unknown: pod %s/%s is older than the label %s of its Lease", lease.Namespace, holder, LeaseVersionLabel)
	}
	return fmt.Sprintf("controller %s (pod %s/%s)", version, lease.Namespace, holder)
}
