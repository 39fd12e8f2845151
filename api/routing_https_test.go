// SPDX-License-Identifier: Apache-2.0

package api

import (
	"strings"
	"testing"
)

// What contradicts another annotation about exposure is one problem, and marks the annotation that is to be changed.
func TestHTTPSAnnotationsThatContradictOthers(t *testing.T) {
	for _, test := range []struct {
		in        string // separated by spaces
		bad, says string
	}{
		{"https-redirect=true", AnnotationHTTPSRedirect, "requires outrigger.dev/tls-credential"},
		{"https-redirect=true tls-credential=", AnnotationTLSCredential, "the name of the Secret is empty"},
		{"https-redirect=true tls-credential=kubernetes://other/web", AnnotationTLSCredential, "begins with kubernetes://"},
		{"https-redirect=true tls-credential=web-tls gateway-port=80", AnnotationHTTPSRedirect, "serves HTTPS on port 80"},
		{"https-redirect=true tls-credential=web-tls ns:gateway-port=80", AnnotationHTTPSRedirect, "serves HTTPS on port 80"},
		{"https-redirect=true tls-credential=web-tls gateway-port=x", AnnotationGatewayPort, `"x" is not a port`},
		{"tls-credential=web-tls gateway=istio-system/shared", AnnotationTLSCredential, "Gateway istio-system/shared has its own certificates"},
		{"tls-credential=web-tls ns:gateway=istio-system/shared", AnnotationTLSCredential, "Gateway istio-system/shared has its own certificates"},
		{"tls-credential=web-tls https-redirect=true gateway=istio-system/shared", AnnotationTLSCredential, "Gateway istio-system/shared has its own certificates"},
		{"https-redirect=true gateway=istio-system/shared", AnnotationHTTPSRedirect, "Gateway istio-system/shared decides"},
	} {
		intent, problems := RouteIntentOf(objects(append(strings.Fields(test.in), "expose=true")...))
		if len(problems) != 1 || problems[0].Reason != RouteInvalidAnnotation || problems[0].Field != AnnotationField(test.bad) || !strings.Contains(problems[0].Message, test.says) || problems[0].Advice == "" {
			t.Errorf("%s: problems: %v", test.in, problems)
			continue
		}
		if bad := intent.BadExposure(); len(bad) != 1 || bad[0] != test.bad {
			t.Errorf("%s: invalid is %v, want %s", test.in, bad, test.bad)
		}
		if intent.Expose.HTTPSRedirect && test.bad != AnnotationGatewayPort || intent.Texts[test.bad] != "" {
			t.Errorf("%s: redirects %t, texts %v", test.in, intent.Expose.HTTPSRedirect, intent.Texts)
		}
	}
}

func TestRefusedCredentialsSayWhy(t *testing.T) {
	for value, says := range map[string]string{
		"builtin://": "begins with builtin://", "configmap://a/b": "begins with configmap://", "sds://web": "begins with sds://",
		"file-cert:a~b": "begins with file-", "web-cacert": "ends with -cacert", "a/b": "is not the name of a Secret",
	} {
		if _, problems := RouteIntentOf(objects("expose=true", "tls-credential="+value)); len(problems) != 1 || !strings.Contains(problems[0].Message, says) {
			t.Errorf("%s: %v", value, problems)
		}
	}
}
