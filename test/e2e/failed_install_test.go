// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An installation whose image cannot be pulled fails within two minutes by default, with the name of the Job, and the pods say
// why. Here the check has one second, and the Job 46.
func TestAFailedInstallSaysWhy(t *testing.T) {
	t.Parallel()
	const release = "outrigger-broken"
	ns := namespace(t)
	t.Cleanup(func() {
		if out, err := cluster.Helm(context.Background(), nil, "uninstall", release, "-n", ns, "--no-hooks"); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	began := time.Now()
	out, err := cluster.Helm(t.Context(), nil, "install", release, filepath.Join(outrigger.Root, "charts", "outrigger"), "-n", ns, "-f", outrigger.ValuesFile,
		"--set", "revision=broken,webhook.name=broken,image.tag=missing,postInstallCheck.timeout=1s,webhook.warnings=false,guardRails.enabled=false,rbac.aggregateUserRoles=false,webhook.protectObjects=false")
	if err == nil {
		t.Fatalf("an image that does not exist is installed:\n%s", out)
	}
	says(t, err.Error(), "failed post-install", release+"-check", "DeadlineExceeded")
	if took := time.Since(began); took > 2*time.Minute {
		t.Errorf("it says so after %v", took)
	}
	pods, podsErr := cluster.Kubectl(t.Context(), nil, "get", "pods", "-n", ns)
	if podsErr != nil || !strings.Contains(pods, "Image") {
		t.Errorf("the pods do not name the image: %v\n%s", podsErr, pods)
	}
}
