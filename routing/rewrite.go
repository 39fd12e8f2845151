// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"strings"

	networkingapi "istio.io/api/networking/v1alpha3"
)

// rewrites reports whether the Service sees another path than the gateway.
func (x exposure) rewrites() bool {
	return x.on && x.rewrite != "" && strings.TrimSuffix(x.rewrite, "/") != strings.TrimSuffix(x.path, "/")
}

// uris are what the gateway takes of paths, and what is put in the place of that; no uri is every path. Istio replaces the
// very text that was matched, so that /hello by / would make //x of /hello/x: then /hello and /hello/… are told apart.
func (x exposure) uris() (matches []*networkingapi.StringMatch, replacement string) {
	if !x.rewrites() {
		if x.path == "" || x.path == "/" {
			return []*networkingapi.StringMatch{nil}, ""
		}
		return []*networkingapi.StringMatch{prefix(x.path)}, ""
	}
	target := strings.TrimSuffix(x.rewrite, "/")
	switch {
	case x.path == "" || x.path == "/":
		return []*networkingapi.StringMatch{nil}, target + "/"
	case strings.HasSuffix(x.path, "/"):
		return []*networkingapi.StringMatch{prefix(x.path)}, target + "/"
	case target == "":
		return []*networkingapi.StringMatch{exact(x.path), prefix(x.path + "/")}, "/"
	}
	return []*networkingapi.StringMatch{prefix(x.path)}, target
}

func prefix(value string) *networkingapi.StringMatch {
	return &networkingapi.StringMatch{MatchType: &networkingapi.StringMatch_Prefix{Prefix: value}}
}
