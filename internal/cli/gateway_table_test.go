// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"testing"

	"outrigger.dev/outrigger/internal/diagnose"
)

// The column for certificates is printed only if a gateway has one.
func TestStatusListsTheCertificatesOfGateways(t *testing.T) {
	for _, certificate := range []string{"", "Secret istio-system/web-tls"} {
		gateways := []diagnose.GatewayStatus{{Name: "demo/app", Certificate: certificate}}
		var out strings.Builder
		(&tables{out: &out}).gateways([]diagnose.NamespaceStatus{{Name: "demo", Services: []diagnose.ServiceStatus{{Name: "app", Gateways: gateways}}}})
		if strings.Contains(out.String(), "CERTIFICATE") != (certificate != "") || !strings.Contains(out.String(), certificate) {
			t.Errorf("%q: status prints\n%s", certificate, out.String())
		}
	}
}
