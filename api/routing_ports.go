// SPDX-License-Identifier: Apache-2.0

package api

import "fmt"

// proxyPorts maps the ports that Istio's proxy uses in every pod to their use. A Gateway's server on one would collide with the proxy, or
// publish what is meant only for the cluster.
var proxyPorts = map[uint32]string{
	15000: "its administration interface",
	15001: "outbound traffic",
	15002: "traffic that it refuses",
	15004: "its debug interface",
	15006: "inbound traffic",
	15008: "HBONE tunnels",
	15009: "HBONE tunnels",
	15020: "merged metrics",
	15021: "health checks",
	15053: "DNS",
	15090: "metrics",
}

// IsProxyPort reports whether Istio's proxy uses a port itself, so that no Gateway may serve it.
func IsProxyPort(port uint32) bool { return proxyPorts[port] != "" }

// refusedGatewayPort returns an error for a valid port that a gateway may not use. It returns nil for invalid ports, which parsing reports.
func refusedGatewayPort(text string) error {
	port, err := parsePort(text)
	if err != nil || !IsProxyPort(port) {
		return nil
	}
	return fmt.Errorf("port %d is used by Istio's proxy for %s", port, proxyPorts[port])
}
