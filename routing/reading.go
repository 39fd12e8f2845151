// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
)

// Reading describes our existing objects for one Service by versions, not by names of subsets.
type Reading struct {
	// Default is the default for display: "v1", "Deployment/app", "@all", "split", "undecided"; empty if nothing is recorded.
	Default string
	// By is how the default was found: ByFirst, ByOld, ByUser, ByLeft, or ByGone; empty if none is recorded.
	By string
	// StandIn receives the default's traffic while the default's workload is deleted; empty otherwise.
	StandIn string
	// Mesh is true if callers in the mesh are routed by one of our VirtualServices.
	Mesh bool
	// Rules are those of our route in their order; the last has no condition. Empty if there is no route.
	Rules []ReadRule
	// Hosts and Gateways are those under which a gateway serves the Service, as the VirtualServices name them.
	Hosts, Gateways []string
	// Subsets holds the name of the subset of each version that has one.
	Subsets map[string]string
}

// ReadRule is one rule of an existing route.
type ReadRule struct {
	Match string // "end-user=jason"; empty for the rule for all other requests
	To    []ReadShare
	// Mirror are the versions that are sent copies, in natural order.
	Mirror []ReadMirror
}

// Equal reports whether two rules route the same requests to the same versions.
func (r ReadRule) Equal(other ReadRule) bool {
	return r.Match == other.Match && slices.Equal(r.To, other.To) && slices.Equal(r.Mirror, other.Mirror)
}

// ReadMirror is a version that is sent copies of a rule's requests.
type ReadMirror struct {
	Version string
	Percent float64
}

// String returns "v2=10%".
func (m ReadMirror) String() string { return fmt.Sprintf("%s=%v%%", m.Version, m.Percent) }

// ReadShare is where a part of a rule's requests goes.
type ReadShare struct {
	Version string // empty: to every pod of the Service
	Weight  int    // percent as long as the weights of a rule sum to 100
}

// Read describes the existing objects of a Service. Where the Service is reached through a gateway alone, that route is read.
func Read(existing Objects, service *corev1.Service, intent api.RouteIntent, settings api.RoutingSettings) Reading {
	existing = existing.sorted()
	out := Reading{Subsets: map[string]string{}}
	versions := map[string]string{}
	for _, rule := range existing.DestinationRules {
		out.Default, out.By = rule.Annotations[api.AnnotationDefault], recordOf(rule).By
		for _, subset := range rule.Spec.Subsets {
			if version := subset.GetLabels()[intent.VersionLabel]; version != "" {
				out.Subsets[version], versions[subset.GetName()] = subset.GetName(), version
			}
		}
	}
	host := hostOf(service, settings.ClusterDomain)
	var main *networkingv1.VirtualService
	for _, vs := range existing.VirtualServices {
		forMesh := slices.Contains(vs.Spec.Hosts, host)
		if main == nil || forMesh && !out.Mesh {
			main = vs
		}
		out.Mesh = out.Mesh || forMesh
		if bound := boundGateways(vs); len(bound) > 0 {
			out.Gateways = union(out.Gateways, bound)
			out.Hosts = union(out.Hosts, slices.DeleteFunc(slices.Clone(vs.Spec.Hosts), func(h string) bool { return h == host }))
		}
	}
	if main != nil {
		out.Rules = readRules(main, versions)
		if _, standIn, deleted := strings.Cut(main.Annotations[api.AnnotationDefaultGone], " "); deleted {
			out.StandIn = parseMeaning(standIn).String()
		}
		if out.Default == "" {
			out.Default, out.By = main.Annotations[api.AnnotationDefault], recordOf(main).By
		}
	}
	return out
}

// RulesOf returns the rules of a VirtualService, with subsets for versions, each once.
func RulesOf(vs *networkingv1.VirtualService) []ReadRule { return readRules(vs, nil) }

// readRules reads each rule once, however many ports and gateways it is written for.
func readRules(vs *networkingv1.VirtualService, versions map[string]string) []ReadRule {
	var out []ReadRule
	add := func(rule ReadRule) {
		if len(rule.To) > 0 && !slices.ContainsFunc(out, rule.Equal) {
			out = append(out, rule)
		}
	}
	for _, http := range vs.Spec.Http {
		rule := ReadRule{Match: readMatches(http.Match)}
		for _, d := range http.Route {
			rule.To = append(rule.To, readShare(d.Destination, d.Weight, len(http.Route), versions))
		}
		for _, m := range http.Mirrors {
			rule.Mirror = append(rule.Mirror, ReadMirror{versionOr(m.GetDestination(), versions), m.GetPercentage().GetValue()})
		}
		add(rule)
	}
	for _, tcp := range vs.Spec.Tcp {
		rule := ReadRule{Match: readCallers(tcp.Match)}
		for _, d := range tcp.Route {
			rule.To = append(rule.To, readShare(d.Destination, d.Weight, len(tcp.Route), versions))
		}
		add(rule)
	}
	return out
}

func readShare(d *networkingapi.Destination, weight int32, of int, versions map[string]string) ReadShare {
	if of == 1 {
		weight = 100 // a lone destination needs no weight
	}
	return ReadShare{Version: versionOr(d, versions), Weight: int(weight)}
}

// versionOr returns the version of a destination, or the subset's name if it is not ours.
func versionOr(d *networkingapi.Destination, versions map[string]string) string {
	return cmp.Or(versions[d.GetSubset()], d.GetSubset())
}

// readMatches describes the conditions that users write: headers, cookies, query parameters, and callers. Ports, paths, and
// gateways are left out.
func readMatches(matches []*networkingapi.HTTPMatchRequest) string {
	var out []string
	for _, match := range matches {
		var conditions []string
		for _, name := range sortedKeys(match.Headers) {
			if pair, made := api.CookieOf(match.Headers[name].GetRegex()); made && name == "cookie" {
				conditions = append(conditions, "cookie "+pair)
				continue
			}
			conditions = append(conditions, name+readString(match.Headers[name]))
		}
		for _, name := range sortedKeys(match.QueryParams) {
			conditions = append(conditions, "?"+name+readString(match.QueryParams[name]))
		}
		conditions = append(conditions, readSource(match.SourceLabels)...)
		if text := strings.Join(conditions, " and "); text != "" && !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return strings.Join(out, " or ")
}

func readCallers(matches []*networkingapi.L4MatchAttributes) string {
	var out []string
	for _, match := range matches {
		out = append(out, strings.Join(readSource(match.SourceLabels), " and "))
	}
	return strings.Join(slices.Compact(slices.DeleteFunc(out, func(text string) bool { return text == "" })), " or ")
}

func readSource(labels map[string]string) []string {
	var out []string
	for _, name := range sortedKeys(labels) {
		out = append(out, "source "+name+"="+labels[name])
	}
	return out
}

func readString(match *networkingapi.StringMatch) string {
	switch m := match.GetMatchType().(type) {
	case *networkingapi.StringMatch_Exact:
		return "=" + m.Exact
	case *networkingapi.StringMatch_Prefix:
		return "=" + m.Prefix + "*"
	case *networkingapi.StringMatch_Regex:
		return "~" + m.Regex
	}
	return " present"
}

// Shares returns where requests without a matching condition go; empty if we wrote no route.
func (r Reading) Shares() []ReadShare {
	for _, rule := range r.Rules {
		if rule.Match == "" {
			return rule.To
		}
	}
	return nil
}

// WeightOf returns the share of a version of the requests that no condition matches. It is false if the route names no version,
// or there is none: then every pod gets its share.
func (r Reading) WeightOf(version string) (int, bool) {
	shares := r.Shares()
	weight := 0
	for _, share := range shares {
		if share.Version == "" {
			return 0, false
		}
		if share.Version == version {
			weight += share.Weight
		}
	}
	return weight, len(shares) > 0
}

// MirrorOf returns how many percent of the requests that no condition claims are copied to a version.
func (r Reading) MirrorOf(version string) float64 {
	percent := 0.0
	for _, rule := range r.Rules {
		for _, m := range rule.Mirror {
			if rule.Match == "" && m.Version == version {
				percent = m.Percent
			}
		}
	}
	return percent
}

// MatchesOf returns the conditions under which requests go to a version.
func (r Reading) MatchesOf(version string) []string {
	var out []string
	for _, rule := range r.Rules {
		goes := slices.ContainsFunc(rule.To, func(s ReadShare) bool { return s.Version == version })
		if rule.Match != "" && goes && !slices.Contains(out, rule.Match) {
			out = append(out, rule.Match)
		}
	}
	return out
}

// Names returns the versions that the route names in any rule, in natural order.
func (r Reading) Names() []string {
	seen := map[string]bool{}
	for _, rule := range r.Rules {
		for _, share := range rule.To {
			if share.Version != "" {
				seen[share.Version] = true
			}
		}
	}
	return sortedVersions(seen)
}

// String returns the shares of all requests without a matching condition as "v1=90 v2=10"; "every pod" if no version is named, "no
// route" if we wrote none.
func (r Reading) String() string {
	shares := r.Shares()
	if len(shares) == 0 {
		return "no route"
	}
	return sharesLine(shares)
}

// String returns where a rule routes: "v1=90 v2=10", with copies "v1=100 (copied to v2=10%)".
func (r ReadRule) String() string {
	text := sharesLine(r.To)
	for _, m := range r.Mirror {
		text += " (copied to " + m.String() + ")"
	}
	return text
}

func sharesLine(shares []ReadShare) string {
	var out []string
	for _, share := range shares {
		if share.Version == "" {
			return "every pod"
		}
		out = append(out, fmt.Sprintf("%s=%d", share.Version, share.Weight))
	}
	return strings.Join(out, " ")
}
