// SPDX-License-Identifier: Apache-2.0

package api

import "slices"

// ExposureKeys returns expose and the annotations that belong to it. They apply together or not at all.
func ExposureKeys() []string {
	return []string{
		AnnotationExpose, AnnotationHosts, AnnotationGateway, AnnotationGatewaySelector, AnnotationGatewayPort,
		AnnotationTLSCredential, AnnotationHTTPSRedirect, AnnotationPath, AnnotationPathRewrite, AnnotationServicePort,
	}
}

func isExposureKey(key string) bool { return slices.Contains(ExposureKeys(), key) }

// BadExposure returns the invalid annotations about exposure, unless expose=false.
func (i RouteIntent) BadExposure() []string {
	if i.Expose == nil && !i.Bad[AnnotationExpose] {
		return nil
	}
	return slices.DeleteFunc(ExposureKeys(), func(key string) bool { return !i.Bad[key] })
}
