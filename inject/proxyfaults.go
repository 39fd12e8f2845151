// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	meshconfig "istio.io/api/mesh/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"
)

// proxyFaults lists what is wrong with a ProxyConfig. The rules are exactly those of Istio's validation.
type proxyFaults []string

// proxyConfigFaults returns what is wrong with a complete ProxyConfig.
func proxyConfigFaults(p *meshconfig.ProxyConfig) []string {
	var f proxyFaults
	f.check(p.ConfigPath != "", "configPath must be set")
	f.check(p.BinaryPath != "", "binaryPath must be set")
	_, byTracing := p.ClusterName.(*meshconfig.ProxyConfig_TracingServiceName_)
	f.check(byTracing || p.GetServiceCluster() != "", "serviceCluster must be set")
	drain := p.DrainDuration.AsDuration()
	f.check(drain >= time.Second && drain%time.Second == 0, "drainDuration must be whole seconds, at least 1s")
	f.checkAddress("discoveryAddress", p.DiscoveryAddress)
	if p.StatsdUdpAddress != "" {
		f.checkAddress("statsdUdpAddress", p.StatsdUdpAddress)
	}
	if address := p.EnvoyMetricsServiceAddress; address != "" { //nolint:staticcheck // deprecated, but Istio still validates it
		f.checkAddress("envoyMetricsServiceAddress", address)
	}
	if address := p.GetEnvoyMetricsService().GetAddress(); address != "" {
		f.checkAddress("envoyMetricsService.address", address)
	}
	if address := p.GetEnvoyAccessLogService().GetAddress(); address != "" {
		f.checkAddress("envoyAccessLogService.address", address)
	}
	f.check(p.ProxyAdminPort >= 1 && p.ProxyAdminPort <= 65535, "proxyAdminPort must be between 1 and 65535, it is %d", p.ProxyAdminPort)
	f.check(p.StatusPort >= 1 && p.StatusPort <= 65535, "statusPort must be between 1 and 65535, it is %d", p.StatusPort)
	policies := []meshconfig.AuthenticationPolicy{meshconfig.AuthenticationPolicy_NONE, meshconfig.AuthenticationPolicy_MUTUAL_TLS}
	f.check(slices.Contains(policies, p.ControlPlaneAuthPolicy), "controlPlaneAuthPolicy must be NONE or MUTUAL_TLS, it is %s", p.ControlPlaneAuthPolicy)
	f.tracing(p.Tracing)
	f.privateKeyProvider(p.PrivateKeyProvider)
	f.connectionSettings(p.ConnectionSettings)
	return f
}

func (f *proxyFaults) check(ok bool, format string, args ...any) {
	if !ok {
		*f = append(*f, fmt.Sprintf(format, args...))
	}
}

func (f *proxyFaults) checkAddress(name, address string) {
	if fault := addressFault(address); fault != "" {
		*f = append(*f, fmt.Sprintf("%s %q: %s", name, address, fault))
	}
}

func (f *proxyFaults) tracing(tracing *meshconfig.Tracing) {
	onNode := func(address string) string { return strings.Replace(address, "$(HOST_IP)", "127.0.0.1", 1) }
	if lightstep := tracing.GetLightstep(); lightstep != nil {
		f.checkAddress("tracing.lightstep.address", lightstep.Address)
		f.check(lightstep.AccessToken != "", "tracing.lightstep.accessToken must be set")
	}
	if zipkin := tracing.GetZipkin(); zipkin != nil {
		f.checkAddress("tracing.zipkin.address", onNode(zipkin.Address))
	}
	if datadog := tracing.GetDatadog(); datadog != nil {
		f.checkAddress("tracing.datadog.address", onNode(datadog.Address))
	}
	f.tracingTLS(tracing.GetTlsSettings())
	for name, tag := range tracing.GetCustomTags() {
		f.check(tag != nil, "tracing.customTags.%s must have a value", name)
	}
}

func (f *proxyFaults) tracingTLS(tls *networking.ClientTLSSettings) {
	const field = "tracing.tlsSettings"
	simple, mutual := tls.GetMode() == networking.ClientTLSSettings_SIMPLE, tls.GetMode() == networking.ClientTLSSettings_MUTUAL
	credential, ca := tls.GetCredentialName(), tls.GetCaCertificates()
	f.check(!strings.HasPrefix(credential, "configmap://"), field+".credentialName must not be a ConfigMap, since a proxy's configuration has no namespace")
	if tls.GetInsecureSkipVerify().GetValue() && (simple || mutual) {
		f.check(ca == "" && tls.GetSubjectAltNames() == nil && (mutual || credential == ""),
			field+": with insecureSkipVerify there must be no caCertificates, no subjectAltNames and, with mode SIMPLE, no credentialName")
	}
	switch {
	case (simple || mutual) && credential != "":
		f.check(tls.ClientCertificate == "" && ca == "" && tls.PrivateKey == "" && tls.CaCrl == "",
			field+": with credentialName there must be no clientCertificate, caCertificates, privateKey and caCrl")
	case mutual:
		f.check(tls.ClientCertificate != "", field+".clientCertificate must be set with mode MUTUAL")
		f.check(tls.PrivateKey != "", field+".privateKey must be set with mode MUTUAL")
	}
}

func (f *proxyFaults) privateKeyProvider(provider *meshconfig.PrivateKeyProvider) {
	if provider == nil {
		return
	}
	var delay *durationpb.Duration
	switch provider := provider.Provider.(type) {
	case *meshconfig.PrivateKeyProvider_Cryptomb:
		delay = provider.Cryptomb.GetPollDelay()
	case *meshconfig.PrivateKeyProvider_Qat:
		delay = provider.Qat.GetPollDelay()
	default:
		f.check(false, "privateKeyProvider must name a provider, cryptomb or qat")
		return
	}
	f.check(delay.GetSeconds() != 0 || delay.GetNanos() != 0, "privateKeyProvider needs a pollDelay that is not 0")
}

func (f *proxyFaults) connectionSettings(c *meshconfig.ProxyConfig_ConnectionSettings) {
	if c == nil {
		return
	}
	for _, duration := range []struct {
		name  string
		value *durationpb.Duration
	}{
		{"httpIdleTimeout", c.HttpIdleTimeout}, {"httpMaxConnectionDuration", c.HttpMaxConnectionDuration}, {"httpDrainTimeout", c.HttpDrainTimeout},
		{"httpRequestTimeout", c.HttpRequestTimeout}, {"httpRequestHeadersTimeout", c.HttpRequestHeadersTimeout},
		{"httpStreamIdleTimeout", c.HttpStreamIdleTimeout}, {"httpMaxStreamDuration", c.HttpMaxStreamDuration},
	} {
		f.check(duration.value.AsDuration() >= 0, "connectionSettings.%s must not be negative", duration.name)
	}
	for _, number := range []struct {
		name    string
		value   *wrapperspb.Int32Value
		atLeast int32
	}{
		{"listenerPerConnectionBufferLimitBytes", c.ListenerPerConnectionBufferLimitBytes, 0},
		{"clusterPerConnectionBufferLimitBytes", c.ClusterPerConnectionBufferLimitBytes, 0},
		{"httpMaxConcurrentStreams", c.HttpMaxConcurrentStreams, 1},
		{"http2InitialStreamWindowSize", c.Http2InitialStreamWindowSize, 65535},
		{"http2InitialConnectionWindowSize", c.Http2InitialConnectionWindowSize, 65535},
		{"listenerConnectionLimit", c.ListenerConnectionLimit, 1},
		{"globalDownstreamConnectionLimit", c.GlobalDownstreamConnectionLimit, 1},
	} {
		f.check(number.value == nil || number.value.Value >= number.atLeast, "connectionSettings.%s must be at least %d", number.name, number.atLeast)
	}
}

// hostLabel matches one label of a host name by Istio's rules.
var hostLabel = regexp.MustCompile(`^[a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?$`)

// addressFault returns what is wrong with host:port; "" if it is valid.
func addressFault(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "must be host:port"
	}
	if number, err := strconv.Atoi(port); err != nil || number < 1 || number > 65535 {
		return "the port must be between 1 and 65535"
	}
	if _, err := netip.ParseAddr(host); err != nil && !isHostName(host) {
		return "the host must be a host name or an IP address"
	}
	return ""
}

// isHostName reports whether a text is a host name. Its last label must not be a number, and may be empty.
func isHostName(text string) bool {
	labels := strings.Split(text, ".")
	last := labels[len(labels)-1]
	if _, err := strconv.Atoi(last); err == nil || text == "" || len(text) > 255 {
		return false
	}
	if last == "" {
		labels = labels[:len(labels)-1]
	}
	return !slices.ContainsFunc(labels, func(label string) bool { return !hostLabel.MatchString(label) })
}
