// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"

	"outrigger.dev/outrigger/inject"
	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/routing"
)

// mesh reads Istio's configuration as the installation does, from the two ConfigMaps of its revision. Where they cannot be read
// or do not parse, Istio's defaults apply, and the reason is noted.
func (l *live) mesh(ctx context.Context, s *snapshot) routing.Mesh {
	flags := istioFlagsOf(l.config.Istio)
	source, _, err := flags.read(ctx, s.client)
	var configured *inject.Config
	if err == nil {
		configured, _, err = inject.Parse(source)
	}
	if isForbidden(err) {
		s.gaps.AddKind("ConfigMap", l.config.Istio.Namespace)
		return routing.Mesh{}
	}
	if err != nil {
		s.sentences[fmt.Sprintf("Istio's configuration is not known (%v); its defaults are assumed for the cluster domain and for Ingresses.", err)] = true
		return routing.Mesh{}
	}
	return diagnose.MeshOf(configured)
}
