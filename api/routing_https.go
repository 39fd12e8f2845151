// SPDX-License-Identifier: Apache-2.0

package api

import (
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// The default ports of an exposure.
const (
	HTTPPort  = 80  // plain HTTP, and the redirect to HTTPS
	HTTPSPort = 443 // with a credential
)

// https checks tls-credential and https-redirect against each other and against the other annotations about exposure.
func (r *reading) https(intent *RouteIntent, x *Exposure) {
	if x.TLSCredential != "" && x.Gateway != "" {
		x.TLSCredential = ""
		r.invalidTogether(intent, AnnotationTLSCredential, fmt.Sprintf("Gateway %s has its own certificates", x.Gateway),
			fmt.Sprintf("Name the Secret in that Gateway (spec.servers[].tls.credentialName), or remove %s", AnnotationGateway))
	}
	if _, _, written := r.find(AnnotationGatewayPort); x.TLSCredential != "" && !written {
		x.GatewayPort = HTTPSPort
	}
	if x.HTTPSRedirect {
		x.HTTPSRedirect = false
		switch {
		case intent.Bad[AnnotationTLSCredential]: // reported already
			delete(intent.Texts, AnnotationHTTPSRedirect)
		case x.Gateway != "":
			r.invalidTogether(intent, AnnotationHTTPSRedirect, fmt.Sprintf("Gateway %s decides whether it redirects", x.Gateway),
				fmt.Sprintf("Set spec.servers[].tls.httpsRedirect in that Gateway, or remove %s", AnnotationGateway))
		case x.TLSCredential == "":
			r.invalidTogether(intent, AnnotationHTTPSRedirect, "a redirect to HTTPS requires "+AnnotationTLSCredential,
				fmt.Sprintf("Example: kubectl annotate service -n %s %s %s=%s-tls", r.service.Namespace, r.service.Name, AnnotationTLSCredential, r.service.Name))
		case x.GatewayPort == HTTPPort && !intent.Bad[AnnotationGatewayPort]:
			r.invalidTogether(intent, AnnotationHTTPSRedirect, fmt.Sprintf("%s serves HTTPS on port %d, which the redirect requires for HTTP", AnnotationGatewayPort, HTTPPort),
				fmt.Sprintf("Choose another port, for example %s=%d", AnnotationGatewayPort, HTTPSPort))
		default:
			x.HTTPSRedirect = true
		}
	}
}

// invalidTogether reports an annotation that is invalid in combination with others.
func (r *reading) invalidTogether(intent *RouteIntent, key, what, advice string) {
	text := r.service.Annotations[key]
	intent.Bad[key] = true
	delete(intent.Texts, key)
	r.problems = append(r.problems, RouteProblem{
		Object: r.serviceRef(), Field: AnnotationField(key), Value: text, Reason: RouteInvalidAnnotation,
		Message: "Invalid value: " + what + ". Nothing new is exposed, and an existing exposure is unchanged.",
		Advice:  advice + ".",
	})
}

// parseCredential accepts the plain name of a Secret. Istio reads other forms of credentialName from elsewhere: by a scheme from
// the proxy's own certificate, another namespace, a ConfigMap, or a certificate server; from files; and with the suffix -cacert, the
// certificate of a CA without a key.
func parseCredential(text string) (string, error) {
	if text == "" {
		return "", errors.New("the name of the Secret is empty")
	}
	if scheme, _, has := strings.Cut(text, "://"); has {
		return "", fmt.Errorf("%q begins with %s://; only the plain name of a Secret in the namespace of the gateway's pods is accepted", text, scheme)
	}
	if strings.HasPrefix(text, "file-") {
		return "", fmt.Errorf("%q begins with file-, by which Istio's proxies name certificates in files", text)
	}
	if strings.HasSuffix(text, "-cacert") {
		return "", fmt.Errorf("%q ends with -cacert, by which Istio names the certificate of a CA, without a key", text)
	}
	if len(validation.IsDNS1123Label(text)) > 0 {
		return "", fmt.Errorf("%q is not the name of a Secret: at most 63 lowercase letters, digits, and dashes, with a letter or digit at both ends", text)
	}
	return text, nil
}
