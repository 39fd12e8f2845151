// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"

	"k8s.io/apimachinery/pkg/util/validation"
)

// objectNames are the names that our objects have or would get.
type objectNames struct {
	destinationRule        string // DestinationRule
	meshRoute              string // VirtualService for callers in the mesh, under the Service's own host alone
	gatewayRoute           string // VirtualService for the exposed hosts, bound to their gateway alone
	gateway                string // Gateway
	conflictingName        string // a foreign object that has the name that is needed; empty if there is none
	conflictingExposedName string // the same for the names that exposure needs
}

// chooseNames keeps the names of existing objects. A new object has the Service's name, with "-auto" appended if a foreign object,
// or one of another Service, has that name.
func (s *facts) chooseNames() objectNames {
	base := s.Service.Name
	var n objectNames
	n.destinationRule = s.freeName(base, "DestinationRule", &n.conflictingName)
	n.meshRoute = s.freeName(base, "VirtualService", &n.conflictingName)
	n.gatewayRoute = s.freeName(base+gatewaySuffix, "VirtualService", &n.conflictingExposedName)
	n.gateway = s.freeName(base, "Gateway", &n.conflictingExposedName)
	return n
}

func (s *facts) freeName(base, kind string, taken *string) string {
	candidates := []string{base, base + autoSuffix}
	has := func(objects []Object, name string) bool {
		return slices.ContainsFunc(objects, func(o Object) bool {
			return KindOf(o) == kind && o.GetNamespace() == s.Service.Namespace && o.GetName() == name
		})
	}
	ours, theirs := s.Existing.All(), s.Foreign.All()
	for _, name := range candidates {
		if has(ours, name) {
			return name
		}
	}
	for _, name := range candidates {
		if kind == "Gateway" && len(validation.IsDNS1123Label(name)) > 0 {
			continue // Istio lets no VirtualService name it
		}
		if !has(theirs, name) && (name == s.Service.Name || !s.ServiceNames[name]) {
			return name
		}
	}
	*taken = kind + " " + s.Service.Namespace + "/" + base
	return ""
}
