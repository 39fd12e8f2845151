// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// release is Istio's minor release, 24 for 1.24; 0 where it is unknown.
type release int

func (r release) String() string { return fmt.Sprintf("1.%d", int(r)) }

var version = regexp.MustCompile(`^v?1\.(\d+)([.\-+].*)?$`)

func parseRelease(text string) release {
	found := version.FindStringSubmatch(text)
	if found == nil || strings.HasPrefix(text, "1.0.0") {
		return 0 // 1.0.0 is what a chart says that no release build has filled in
	}
	minor, err := strconv.Atoi(found[1])
	if err != nil || minor < 11 {
		return 0
	}
	return release(minor)
}

// IsRelease reports whether a text names a release of Istio, such as 1.31.1.
func IsRelease(text string) bool { return parseRelease(text) != 0 }

// ReleaseOf returns Istio's release as its chart wrote it in the labels of the ConfigMap istio-sidecar-injector; empty if
// they do not say. The chart of Istio's source tree says 1.0.0, which means nothing.
func ReleaseOf(labels map[string]string) string {
	release := labels["app.kubernetes.io/version"]
	if chart, is := strings.CutPrefix(labels["helm.sh/chart"], "istiod-"); is && release == "" {
		release = chart
	}
	if release == "1.0.0" {
		return ""
	}
	return release
}

// findRelease finds Istio's release: what is said outright, the proxy's tag, else words that appeared in the templates
// with a release.
func findRelease(source Source, values values) release {
	if r := parseRelease(source.Release); r != 0 {
		return r
	}
	if r := parseRelease(values.tag()); r != 0 {
		return r
	}
	for _, word := range []struct {
		text string
		release
	}{
		{".ProxyInitImage", 31}, {"otelResourceAttributes", 30}, {"agentgateway", 29}, {`env "ENABLE_NATIVE_SIDECARS"`, 26},
		{".NativeSidecars", 27}, {"reroute-virtual-interfaces", 25},
	} {
		if strings.Contains(source.Config, word.text) {
			return word.release
		}
	}
	return 0
}

// What releases do differently. An unknown release is treated as the newest, except where that could deny a pod which
// an older release takes.

// looseChoice: the choice label was read as any spelling of a YAML boolean, and any other text was a no.
func (r release) looseChoice() bool { return r != 0 && r <= 26 }

// nativeByDefault: kubelets decide about native sidecars unless a setting says otherwise.
func (r release) nativeByDefault() bool { return r == 0 || r >= 27 }

// rewritesHooks: the agent serves lifecycle hooks.
func (r release) rewritesHooks() bool { return r == 0 || r >= 25 }

// scrapeTargets: several Prometheus targets, checked ports, and the secure port.
func (r release) scrapeTargets() bool { return r >= 31 }

// validatesInterfaces: names of network interfaces are checked.
func (r release) validatesInterfaces() bool { return r >= 30 }

// imageTypeFallsBack: an image message without a type leaves the variant of the values in force.
func (r release) imageTypeFallsBack() bool { return r == 0 || r >= 31 }
