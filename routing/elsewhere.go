// SPDX-License-Identifier: Apache-2.0

package routing

import "outrigger.dev/outrigger/api"

// spansClusters reports whether the Service may have endpoints in other clusters of the mesh, by the setting or else by
// what the mesh shows.
func (s *facts) spansClusters() bool {
	return s.Settings.MultiCluster == api.MultiClusterEnabled || s.MultiCluster && s.Settings.MultiCluster != api.MultiClusterDisabled
}

// endpointsElsewhere reports whether a default route would take traffic from endpoints that are not seen here: in a mesh
// of several clusters a Service has pods of other clusters, whose versions are not known here. A word of the user about
// versions is enough for a route, and one that stands stays.
func (s choice) endpointsElsewhere() bool {
	if !s.spansClusters() || s.record.State != "" || s.record.Default.All {
		return false
	}
	if s.wasRouteLost() {
		return false
	}
	for _, vs := range s.ours.routes() {
		if vs == s.ours.mesh || !unpinned(vs) {
			return false
		}
	}
	d := s.Intent.Default
	said := d.OnService && (d.Policy != api.DefaultLiteral || s.within(s.meaningOf(d.Version))) || s.record.By == byUser || len(s.record.Weights) > 0 || !s.impliedDefault().isZero()
	return !said
}

func (s choice) unseenEndpoints() finding {
	return s.problem(api.RouteEndpointsElsewhere,
		"The mesh spans several clusters, and endpoints of the Service in others are not seen: a default route to "+s.record.Default.String()+" could take their traffic away, so none is written.",
		s.deciding(s.podVersions())+" In a mesh of one cluster set routing.multiCluster: disabled.")
}
