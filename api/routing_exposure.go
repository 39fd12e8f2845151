// SPDX-License-Identifier: Apache-2.0

package api

import "slices"

// ExposureKeys returns the annotations that decide together how a Service is exposed: expose and its companions. They
// apply as a whole or not at all.
func ExposureKeys() []string {
	return []string{
		AnnotationExpose, AnnotationHosts, AnnotationGateway, AnnotationGatewaySelector, AnnotationGatewayPort,
		AnnotationTLSCredential, AnnotationHTTPSRedirect, AnnotationPath, AnnotationPathRewrite, AnnotationServicePort,
	}
}

func isExposureKey(key string) bool { return slices.Contains(ExposureKeys(), key) }

// BadExposure returns the invalid annotations about exposure if the Service is to be exposed, or could be meant to be. With
// expose=false, it returns none.
func (i RouteIntent) BadExposure() []string {
	if i.Expose == nil && !i.Bad[AnnotationExpose] {
		return nil
	}
	return slices.DeleteFunc(ExposureKeys(), func(key string) bool { return !i.Bad[key] })
}
