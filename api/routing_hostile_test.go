// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// hostile holds, for every key of ours and for Istio's exportTo, a value that is accepted and values of an attacker that
// have the right shape. Each must be a Problem and must leave everything else as if the key were not written.
var hostile = map[string]struct {
	valid string
	bad   []string
}{
	LabelRouting:             {"enabled", []string{"enabled.", "Enabled", "enabled,disabled", "off"}},
	AnnotationVersionLabel:   {"app.kubernetes.io/version", []string{"a/b/c", strings.Repeat("a", 64), strings.Repeat("a", 254) + "/version", "/version", "versión", "*"}},
	AnnotationDefaultVersion: {"v1", []string{"@none", strings.Repeat("v", 64), "v1 v2", "v1/../v2", "*", "ｖ1"}},
	AnnotationWeights: {"v1=90,v2=10", []string{
		"v1=16777216", "v1=4294967295", "v1=-1", "v1=1e3", "v1=0x10", "v1=+1", "v1=1,V1=" + strings.Repeat("9", 400), items(",", 17, "v%d=16777215"), "v1=1,v1=1",
	}},
	AnnotationMatch: {"v2=header:end-user:jason", append([]string{
		"v2=query:" + strings.Repeat("q", 1025) + ":1", "v2=header:" + strings.Repeat("h", 1025) + ":1", "v2=header-prefix:" + strings.Repeat("h", 1025) + ":1",
		"v2=cookie:" + strings.Repeat("c", 1025) + ":1", "v2=header:@request.auth.claims.sub:me", "v2=header:@request.auth.claims[sub]:me", "v2=header:a%0Ab:c",
		"v2=header:ä:c", "v2=cookie:a:" + strings.Repeat("*", 512), items(";", 101, "v2=header:a:b%d"), "v2=header:*:b", "v2=source:" + strings.Repeat("v", 64),
		"v2=uri:/:x", "v2=method:GET", "v2=regex:a:.*", "v2=header:a b:c",
	}, reserved()...)},
	AnnotationMirror:          {"v2=10", []string{"v2=101", "v2=1000000000000", "v2=-0.5", "v2=NaN", strings.Repeat("v", 64) + "=1"}},
	AnnotationSticky:          {"cookie:version:1h", []string{"cookie:a;b:1h", "cookie:a=b:1h", "cookie:%25:1h", "cookie:%START_TIME%:1h", "cookie:" + strings.Repeat("a", 65) + ":1h", "cookie:a:9999999h", "cookie:__Secure-a:1h"}},
	AnnotationExpose:          {"true", []string{"TRUE", "1", "true,true", "yes"}},
	AnnotationHosts:           {"a.example.com", []string{"app", "localhost", "a.example.com,app", "*.*.com", "a.*.com", "*a.example.com", "https://a.example.com", "a.example.com:443", "a.example.com/x", "1.2.3.4", "::1", strings.Repeat("a.", 127) + "com", strings.Repeat("a", 64) + ".com", "ä.example.com", items(",", 51, "h%d.example.com")}},
	AnnotationAllowedHosts:    {"a.example.com", []string{"https://a.example.com", "a.*.com", "1.2.3.4", strings.Repeat("a", 64) + ".com"}},
	AnnotationGateway:         {"istio-system/gateway", []string{"gateway", "mesh", "a/b/c", "a/" + strings.Repeat("b", 64), "../b", "a/B", "/b"}},
	AnnotationGatewaySelector: {"istio=ingressgateway", []string{"istio", "=a", "a=b c", strings.Repeat("a", 64) + "=b", "a=" + strings.Repeat("b", 64), "a/b/c=d", "a=b,a=c"}},
	AnnotationGatewayPort:     {"80", []string{"0", "65536", "-1", "4294967376", "80,81", "０", "15000", "15001", "15002", "15004", "15006", "15008", "15009", "15020", "15021", " 15021 ", "15053", "15090"}},
	AnnotationTLSCredential: {"web-tls", []string{"", "Web", "web tls", "web.tls", "web_tls", "-web", strings.Repeat("w", 64), "other/web", "../web", "web,api", "web-cacert", "file-web", "file-cert:/etc/certs/tls.crt~/etc/certs/tls.key", "file-root:system",
		"builtin://", "kubernetes://web", "kubernetes://other/web", "kubernetes-gateway://other/web", "configmap://other/web", "sds://web", "invalid://web", "ＷＥＢ"}},
	AnnotationHTTPSRedirect:     {"false", []string{"TRUE", "1", "301", "yes", "true"}},
	AnnotationPath:              {"/hello", []string{"hello", "/a b", "/a\u00a0b", "/a?b", "/a#b", "/a\u2028b"}},
	AnnotationPathRewrite:       {"/hello", []string{"hello", "/a b", "/a\u00a0b", "/a?b", "/a#b"}},
	AnnotationServicePort:       {"8080", []string{"0", "65536", "web2", strings.Repeat("w", 64), "we b"}},
	AnnotationUnversioned:       {"ignore", []string{"none", "ignore,all"}},
	AnnotationDrift:             {"adopt", []string{"accept", "adopt,revert"}},
	AnnotationEager:             {"false", []string{"FALSE", "0"}},
	AnnotationInheritPolicy:     {"false", []string{"FALSE", "0"}},
	AnnotationSubsetRetention:   {"5m", []string{"9s", "-5m", "1e9h", "9999999999h", "NaNs", "5"}},
	AnnotationUnreadyAfter:      {"2m", []string{"0s", "-2m", "9999999999h", "2"}},
	AnnotationUnreadyPolicy:     {"next", []string{"gone", "next,all"}},
	AnnotationScaledToZero:      {"hold", []string{"keep", "0", "move;hold"}},
	AnnotationDefaultDeleted:    {"hold", []string{"hodl", "move,hold", "HOLD"}},
	AnnotationDecidedAt:         {"2026-01-02T03:04:05Z", []string{"now", "2026-13-02T03:04:05Z", "2026-01-02", "99999999-01-02T03:04:05Z"}},
	AnnotationCanary:            {"v2", []string{"v2 v3", "v2,v3", "@first", "v1/../v2", strings.Repeat("v", 64), "*", "ｖ1"}},
	AnnotationCanarySteps:       {"25,100@10m", []string{"25", "0,100", "100,25", "25,25,100", "1e1,100", "25@,100", "25@1s,100", "25@999999h,100", "101", "-5,100", items(",", 101, "%d"), "25;100", "５,100"}},
	AnnotationCanaryInterval:    {"5m", []string{"5", "9s", "-5m", "9999999999h", "721h", "NaNs"}},
	AnnotationCanaryChecks:      {"error-rate<1%", []string{"error-rate", "error-rate<1", "error-rate<-1%", "error-rate<NaN%", "error-rate<101%", "error-rate<0x", "errors<1%", "p99<500", "p99<-1s", "p0<1s", "p100<1s", "p99<1e999x", "p99=1s", "p99<1s,p99<1s", "rate(x[1m])<1", items(",", 21, "p99<%dms")}},
	AnnotationCanaryMinRequests: {"20", []string{"-1", "1.5", "1e3", "1000000001", "many", "+1"}},
	AnnotationCanaryDeadline:    {"1h", []string{"9s", "1", "-1h", "721h", "never"}},
	AnnotationCanaryPaused:      {"true", []string{"TRUE", "1", "yes"}},
	AnnotationExportTo:          {"other,.", []string{"other,Other", "a.b", strings.Repeat("a", 64), "a b"}},
}

// items repeats a form with a running number.
func items(separator string, count int, form string) string {
	out := make([]string, count)
	for i := range out {
		out[i] = fmt.Sprintf(form, i)
	}
	return strings.Join(out, separator)
}

// reserved are conditions on headers that Istio does not take for headers.
func reserved() []string {
	var out []string
	for name := range reservedHeaders {
		out = append(out, "v2=header:"+name+":x", "v2=header-prefix:"+strings.ToUpper(name)+":x", "v1=header:a:b;v2=header:"+name+":x")
	}
	slices.Sort(out)
	return out
}

// Every key that a user may write has its hostile values; a new key fails here until it has.
func TestHostileValuesAreProblems(t *testing.T) {
	keys := []KeyDoc{{Key: AnnotationExportTo, On: []string{"Service"}}}
	for key := range hostile {
		if !slices.ContainsFunc(append(RoutingKeys(), keys...), func(doc KeyDoc) bool { return doc.Key == key }) {
			t.Errorf("%s is no key", key)
		}
	}
	for _, doc := range append(keys, RoutingKeys()...) {
		values, has := hostile[doc.Key]
		if !has || values.valid == "" || len(values.bad) == 0 {
			t.Errorf("%s has no hostile values", doc.Key)
			continue
		}
		if problems := problemsOf(doc, values.valid); len(problems) > 0 {
			t.Errorf("%s = %q is not accepted: %v", doc.Key, values.valid, problems)
		}
		for _, value := range append(values.bad, garbled(values.valid)...) {
			isRefused(t, doc, value)
		}
		if doc.Label {
			continue // the length of a label is the API server's
		}
		isRefused(t, doc, values.valid+strings.Repeat(" ", DefaultRouteLimits().AnnotationBytes))
	}
}

// garbled are texts that are no text any more, wherever that is.
func garbled(valid string) []string {
	var out []string
	for at := range len(valid) + 1 {
		for _, bad := range []string{"\x00", "\x07", "\x1b", "\x7f", "\xff", "\xc3\x28", "\xed\xa0\x80"} {
			out = append(out, valid[:at]+bad+valid[at:])
		}
	}
	for _, bad := range []string{"\n", "\r", "\t", "\u0085", "\u009b"} {
		out = append(out, valid[:1]+bad+valid[1:])
	}
	return out
}

func problemsOf(doc KeyDoc, value string) []RouteProblem {
	service, namespace := objects(pairOf(doc, value))
	if doc.Key == AnnotationExportTo {
		service, namespace = objects()
		service.Annotations[doc.Key] = value
	}
	if doc.Key != AnnotationExpose {
		service.Annotations[AnnotationExpose] = "false" // else its companions have no effect
	}
	_, problems := RouteIntentOf(service, namespace)
	return problems
}

func pairOf(doc KeyDoc, value string) string {
	name := strings.TrimPrefix(doc.Key, Domain+"/")
	switch {
	case doc.Label:
		return "label:" + doc.Key + "=" + value
	case doc.On[0] == "Namespace" && len(doc.On) == 1:
		return "ns:" + name + "=" + value
	}
	return name + "=" + value
}

func isRefused(t *testing.T, doc KeyDoc, value string) {
	t.Helper()
	service, namespace := objects(pairOf(doc, value), "expose=true")
	if doc.Key == AnnotationExpose {
		service, namespace = objects(pairOf(doc, value))
	}
	if doc.Key == AnnotationExportTo {
		service, namespace = objects("expose=true")
		service.Annotations[doc.Key] = value
	}
	intent, problems := RouteIntentOf(service, namespace)
	if len(problems) == 0 || problems[0].Reason != RouteInvalidAnnotation || !strings.Contains(problems[0].Field, doc.Key) {
		t.Errorf("%s = %q is accepted: %v", doc.Key, Shorten(value, 100), problems)
		return
	}
	said := problems[0].String()
	if len(said) > 2000 || !utf8.ValidString(said) {
		t.Errorf("%s = %q: the message has %d bytes, or is no text", doc.Key, Shorten(value, 100), len(said))
	}
	if doc.Key == AnnotationExportTo || doc.Key == AnnotationAllowedHosts {
		return // what is right in them counts
	}
	without, _ := RouteIntentOf(objects("expose=true"))
	if doc.Label { // an unknown mode moves nothing
		without.Wanted, without.Observe = true, true
	}
	if doc.Key == AnnotationExpose {
		without, _ = RouteIntentOf(objects())
	}
	if !doc.Label && !intent.Bad[doc.Key] {
		t.Errorf("%s = %q is not marked as bad", doc.Key, Shorten(value, 100))
	}
	intent.Bad, without.Bad = nil, nil
	if diff := cmp.Diff(without, intent); diff != "" {
		t.Errorf("%s = %q has an effect:\n%s", doc.Key, Shorten(value, 100), diff)
	}
}

// A name that Istio takes for something else is refused with what to write in its place.
func TestReservedHeadersNameTheAlternative(t *testing.T) {
	for name, says := range map[string]string{
		"method": "match.method in VirtualService app-extra", ":scheme": "match.scheme in VirtualService app-extra",
		":authority": AnnotationHosts, "uri": AnnotationPath, ":path": AnnotationPath, ":protocol": "match a header that callers set",
	} {
		_, problems := RouteIntentOf(objects("match=v2=header:" + name + ":x"))
		if len(problems) != 1 || !strings.Contains(problems[0].Message, says) || !strings.Contains(problems[0].Message, fmt.Sprintf("%q", name)) {
			t.Errorf("%s: %v", name, problems)
		}
	}
	if _, problems := RouteIntentOf(objects("match=v2=header:x-method:x;v2=header:method-x:x;v2=query:method:x;v2=cookie:uri:x")); len(problems) > 0 {
		t.Error(problems)
	}
}

// Line breaks between the items of a list are layout.
func TestListsMayBeWrittenOverSeveralLines(t *testing.T) {
	for _, in := range []string{"weights=v1=90,\n  v2=10\n", "match=v2=header:a:b;\n\tv2=header:c:d;\n", "hosts=a.example.com\r\n, b.example.com", "mirror=v1=1,\nv2=1", "gateway-selector=a=b,\nc=d"} {
		if _, problems := RouteIntentOf(objects(in, "expose=false")); len(problems) > 0 {
			t.Errorf("%q: %v", in, problems)
		}
	}
}

// What an earlier release accepted and recorded is held to the grammar alone.
func TestRecordedTextsAreNotHeldToLimits(t *testing.T) {
	limits := RouteLimits{AnnotationBytes: 100, MatchItems: 1, Hosts: 1}
	in := []string{"expose=true", "match=v2=header:method:x;v1=query:" + strings.Repeat("q", 2000) + ":1", "hosts=app,b.example.com", "path=/a\x01b"}
	service, namespace := objects(in...)
	recorded := map[string]bool{AnnotationMatch: true, AnnotationHosts: true, AnnotationPath: true}
	intent, problems := limits.IntentOf(service, namespace, recorded)
	if len(problems) > 0 || len(intent.Match) != 2 || len(intent.Expose.Hosts) != 2 || intent.Expose.Path != "/a\x01b" {
		t.Errorf("%+v %v", intent, problems)
	}
	if intent, problems := limits.IntentOf(service, namespace, nil); len(problems) != 3 || len(intent.Match) > 0 {
		t.Errorf("%+v %v", intent, problems)
	}
}

func TestLimitsAreThoseOfTheSettings(t *testing.T) {
	limits := RouteLimits{AnnotationBytes: 40, MatchItems: 2, Hosts: 2}
	for in, says := range map[string]string{
		"match=v2=header:a:b;v2=header:c:d":                       "",
		"match=v2=header:a:b;v2=header:c:dddddddddddddddddddd":    "more than the 40 of routing.maxAnnotationBytes",
		"match=v=source:a;v=source:b;v=source:c":                  "3 items, more than the 2 of routing.maxMatchItems",
		"hosts=a.b,c.d,e.f":                                       "3 hosts, more than the 2 of routing.maxHosts",
		"hosts=a.b,c.d":                                           "",
		"ns:allowed-hosts=" + strings.Repeat("a.example.com,", 4): "more than the 40 of routing.maxAnnotationBytes",
	} {
		service, namespace := objects(in, "expose=false")
		_, problems := limits.IntentOf(service, namespace, nil)
		if len(problems) > 0 != (says != "") || len(problems) > 0 && !strings.Contains(problems[0].Message, says) {
			t.Errorf("%s: %v", in, problems)
		}
	}
}
