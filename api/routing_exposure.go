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

// BadExposure returns the annotations about exposure that are invalid, where the Service is to be exposed or may be meant to
// be. An expose that says false needs no companion.
func (i RouteIntent) BadExposure() []string {
	if i.Expose == nil && !i.Bad[AnnotationExpose] {
		return nil
	}
	return slices.DeleteFunc(ExposureKeys(), func(key string) bool { return !i.Bad[key] })
}
