// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheEnvironmentNamesAnotherKubernetes(t *testing.T) {
	t.Setenv("KUBERNETES", "v1.30.14")
	for _, tool := range tools() {
		if tool.module != "kubernetes" {
			continue
		}
		if tool.version != "v1.30.14" || !strings.Contains(tool.link, "gitVersion=v1.30.14 ") || !strings.HasSuffix(tool.link, "gitMinor=30") {
			t.Errorf("%s has version %s and is linked with %s", tool.name, tool.version, tool.link)
		}
		if path := tool.path("cache"); !strings.HasPrefix(path, filepath.Join("cache", "kubernetes-v1.30.14-")) {
			t.Errorf("%s is kept as %s", tool.name, path)
		}
	}
	if Kubernetes() != "v1.30.14" {
		t.Errorf("Kubernetes() = %s", Kubernetes())
	}
}

func TestAnythingElseIsNoRelease(t *testing.T) {
	for _, version := range []string{"1.30.14", "v1.30", "latest", "v1.30.14 => ./x", "v1.30.14\nreplace x => y"} {
		folder := t.TempDir()
		err := kubernetesModule(t.Context(), folder, version)
		if err == nil || !strings.Contains(err.Error(), "KUBERNETES=v1.30.14") {
			t.Errorf("%q: %v", version, err)
		}
		if left, _ := os.ReadDir(folder); len(left) > 0 {
			t.Errorf("%q left files", version)
		}
	}
}

func TestStagingModulesAreReplacedWithTheirReleases(t *testing.T) {
	const published = `module k8s.io/kubernetes

go 1.22.0

require (
	k8s.io/api v0.0.0
	k8s.io/klog/v2 v2.120.1
)

replace k8s.io/mount-utils => ./staging/src/k8s.io/mount-utils

replace (
	k8s.io/api => ./staging/src/k8s.io/api
	k8s.io/code-generator => ./staging/src/k8s.io/code-generator
	example.org/fork => example.org/other v1.0.0
)
`
	const want = `module outrigger.dev/outrigger/hack/tools/kubernetes

go 1.22.0

require k8s.io/kubernetes v1.30.14

replace (
	k8s.io/mount-utils => k8s.io/mount-utils v0.30.14
	k8s.io/api => k8s.io/api v0.30.14
	k8s.io/code-generator => k8s.io/code-generator v0.30.14
)
`
	if got := requireKubernetes(published, "v1.30.14", "v0.30.14"); got != want {
		t.Errorf("the module is\n%s\nwant\n%s", got, want)
	}
}
