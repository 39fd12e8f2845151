// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"outrigger.dev/outrigger/inject"
	"outrigger.dev/outrigger/routing"
)

// MeshOf returns what plans depend on of Istio's configuration.
func MeshOf(istio *inject.Config) routing.Mesh {
	return routing.Mesh{Domain: istio.ClusterDomain(), Ingress: routing.IngressController(istio.IngressController())}
}
