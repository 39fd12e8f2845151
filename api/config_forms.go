// SPDX-License-Identifier: Apache-2.0

package api

import (
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// form is a check of text, and what is valid.
type form struct {
	ok    func(string) bool
	right string
}

var (
	releasePattern = regexp.MustCompile(`^[0-9]+\.[0-9]+(\.[0-9]+)?(-[A-Za-z0-9.-]+)?$`)
	wordPattern    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
)

var forms = map[string]form{
	"label":            {isLabel, "a name of at most 63 lowercase letters, digits, and dashes"},
	"labelOrEmpty":     {orEmpty(isLabel), "a name of at most 63 lowercase letters, digits, and dashes, or empty"},
	"subdomain":        {isSubdomain, "a name of lowercase letters, digits, dashes, and dots"},
	"releaseOrEmpty":   {orEmpty(releasePattern.MatchString), "a release such as 1.31 or 1.31.1, in quotes, or empty"},
	"selector":         {isSelector, "labels such as istio=ingressgateway, in quotes"},
	"gateway":          {isGatewayPattern, "a Gateway such as istio-system/shared or istio-system/*, in quotes"},
	"ports":            {isPortRange, "a port such as 80 or 8000-8100, in quotes"},
	"wordOrEmpty":      {orEmpty(wordPattern.MatchString), "a word of letters, digits, dots, dashes, and underscores, or empty"},
	"subdomainOrEmpty": {orEmpty(isSubdomain), "a name of lowercase letters, digits, dashes, and dots, or empty"},
	"hosts":            {isHost, "a DNS name or an IP address"},
	"address":          {isAddress, `host:port, :port, or "0"`},
	"name":             {func(text string) bool { return text != "" }, "a name"},

	"canarySteps":         {areCanarySteps, "rising percentages that end with 100, each with a duration of its own if it differs, such as 5@2m,25,100"},
	"httpURLOrEmpty":      {orEmpty(isHTTPURL), "a URL such as http://prometheus.monitoring:9090, without a query, or empty"},
	"certificatesOrEmpty": {orEmpty(areCertificates), "certificates in PEM, or empty"},
}

func formFault(name, text string) string {
	if name == "" || forms[name].ok(text) {
		return ""
	}
	return forms[name].right
}

func isLabel(text string) bool     { return len(validation.IsDNS1123Label(text)) == 0 }
func isSubdomain(text string) bool { return len(validation.IsDNS1123Subdomain(text)) == 0 }
func isHost(text string) bool      { return net.ParseIP(text) != nil || isSubdomain(text) }

func areCanarySteps(text string) bool {
	_, err := ParseCanarySteps(text, minCanaryDuration)
	return err == nil
}

func isHTTPURL(text string) bool {
	found, err := url.Parse(text)
	return err == nil && (found.Scheme == "http" || found.Scheme == "https") && found.Hostname() != "" && found.RawQuery == "" && found.Fragment == ""
}

func orEmpty(check func(string) bool) func(string) bool {
	return func(text string) bool { return text == "" || check(text) }
}

func isAddress(text string) bool {
	if text == "0" {
		return true
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil || host != "" && !isHost(host) {
		return false
	}
	number, err := strconv.Atoi(port)
	return err == nil && number >= 1 && number <= 65535
}

// areCertificates reports whether the text is one certificate in PEM, or several.
func areCertificates(text string) bool {
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" {
			return false
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return false
		}
		if strings.TrimSpace(string(rest)) == "" {
			return true
		}
	}
}
