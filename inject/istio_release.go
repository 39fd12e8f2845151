// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// release is Istio's minor version: 24 for 1.24, 0 if it is unknown.
type release int

func (r release) String() string { return fmt.Sprintf("1.%d", int(r)) }

var version = regexp.MustCompile(`^v?1\.(\d+)([.\-+].*)?$`)

func parseRelease(text string) release {
	found := version.FindStringSubmatch(text)
	if found == nil || strings.HasPrefix(text, "1.0.0") {
		return 0 // Istio's chart says 1.0.0 unless a release build sets the version
	}
	minor, err := strconv.Atoi(found[1])
	if err != nil || minor < 11 {
		return 0
	}
	return release(minor)
}

// IsRelease reports whether a text names a release of Istio, such as 1.31.1.
func IsRelease(text string) bool { return parseRelease(text) != 0 }

// ReleaseOf returns Istio's release from the labels that its chart sets on the ConfigMap istio-sidecar-injector; "" if they have none.
// The chart in Istio's source tree says 1.0.0, which is ignored.
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

// findRelease determines Istio's release from Source.Release, else from the proxy's tag, else from text that a release added to the
// templates.
func findRelease(source Source, values values) release {
	if r := parseRelease(source.Release); r != 0 {
		return r
	}
	if r := parseRelease(values.tag()); r != 0 {
		return r
	}
	for _, introduced := range []struct {
		text string
		release
	}{
		{".ProxyInitImage", 31}, {"otelResourceAttributes", 30}, {"agentgateway", 29}, {`env "ENABLE_NATIVE_SIDECARS"`, 26},
		{".NativeSidecars", 27}, {"reroute-virtual-interfaces", 25},
	} {
		if strings.Contains(source.Config, introduced.text) {
			return introduced.release
		}
	}
	return 0
}

// Differences between releases. An unknown release is treated as the newest, except where that could deny a pod that an older release
// accepts.

// acceptsYAMLBooleans reports whether sidecar.istio.io/inject accepts any spelling of a YAML boolean, and any other text means no.
func (r release) acceptsYAMLBooleans() bool { return r != 0 && r <= 26 }

// nativeByDefault reports whether native sidecars are used where kubelets support them, unless a setting says otherwise.
func (r release) nativeByDefault() bool { return r == 0 || r >= 27 }

// rewritesHooks reports whether the agent runs lifecycle hooks.
func (r release) rewritesHooks() bool { return r == 0 || r >= 25 }

// scrapeTargets reports whether the agent supports several Prometheus targets, port checks, and the secure port.
func (r release) scrapeTargets() bool { return r >= 31 }

// validatesInterfaces reports whether names of network interfaces are validated.
func (r release) validatesInterfaces() bool { return r >= 30 }

// imageTypeFallsBack reports whether an image message without a type uses the variant of the values.
func (r release) imageTypeFallsBack() bool { return r == 0 || r >= 31 }
