// SPDX-License-Identifier: Apache-2.0

package api

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// RouteLimits limit the routing annotations of a Service. 0 means no limit.
type RouteLimits struct {
	AnnotationBytes int // length of one annotation
	MatchItems      int // conditions in the match annotation
	Hosts           int // host names in the hosts annotation
	// CanaryQueries are the names of the queries in the configuration file, which canary-checks may name.
	CanaryQueries []string
	// AnyCanaryQuery accepts any name in canary-checks, because the configuration file is unknown.
	AnyCanaryQuery bool
	// Canary has the settings of a canary without annotations, from the configuration file; nil for DefaultCanary.
	Canary *Canary
}

// CanaryDefaults returns the settings of a canary without annotations. The caller may change them.
func (l RouteLimits) CanaryDefaults() Canary {
	out := DefaultCanary()
	if l.Canary != nil {
		out = *l.Canary
	}
	out.Steps, out.Checks = slices.Clone(out.Steps), slices.Clone(out.Checks)
	return out
}

// DefaultRouteLimits returns the limits of a configuration file that sets none.
func DefaultRouteLimits() RouteLimits { return DefaultConfig().RoutingSettings().Limits }

const (
	// maxNameBytes limits the name of a header, cookie, or query parameter. Envoy rejects a route with a longer query parameter.
	maxNameBytes = 1024
	// maxValueBytes limits a value or path. Envoy rejects longer header values in its configuration.
	maxValueBytes = 16 << 10
	// maxWeightSum keeps the sum of the weights within 32 bits (signed in Istio, unsigned in Envoy), even after each weight is multiplied
	// by 4 to divide it between the versions of a rollout.
	maxWeightSum = 1 << 28
)

// listSeparators are the separators of list annotations. Line breaks and tabs around them are removed, so a value may be a YAML block.
var listSeparators = map[string]*regexp.Regexp{
	AnnotationMatch:           regexp.MustCompile(`\s*;\s*`),
	AnnotationWeights:         regexp.MustCompile(`\s*,\s*`),
	AnnotationMirror:          regexp.MustCompile(`\s*,\s*`),
	AnnotationHosts:           regexp.MustCompile(`\s*,\s*`),
	AnnotationAllowedHosts:    regexp.MustCompile(`\s*,\s*`),
	AnnotationGatewaySelector: regexp.MustCompile(`\s*,\s*`),
	AnnotationCanarySteps:     regexp.MustCompile(`\s*,\s*`),
	AnnotationCanaryChecks:    regexp.MustCompile(`\s*,\s*`),
}

// refusal returns an error if an annotation exceeds a limit, or if Istio or Envoy would reject what is generated from it. It returns nil
// for most syntax errors, which parsing reports.
func (r *reading) refusal(key, text string) error {
	if err := r.limits.checkText(key, text); err != nil {
		return err
	}
	switch text = strings.TrimSpace(text); key {
	case AnnotationMatch:
		return r.refusedMatch(text)
	case AnnotationWeights:
		return refusedWeights(text)
	case AnnotationHosts:
		return r.limits.refusedHosts(text)
	case AnnotationGatewayPort:
		return refusedGatewayPort(text)
	case AnnotationPath, AnnotationPathRewrite:
		return refusedPath(text)
	}
	return nil
}

// checkText checks what applies to every annotation.
func (l RouteLimits) checkText(key, text string) error {
	if l.AnnotationBytes > 0 && len(text) > l.AnnotationBytes {
		return fmt.Errorf("it has %d bytes, more than the %d of routing.maxAnnotationBytes", len(text), l.AnnotationBytes)
	}
	if !utf8.ValidString(text) {
		return errors.New("it is not valid UTF-8")
	}
	text = strings.TrimSpace(text)
	if separator, isList := listSeparators[key]; isList {
		text = separator.ReplaceAllString(text, "")
	}
	for _, r := range text {
		if unicode.IsControl(r) {
			return fmt.Errorf("it contains the control character %U", r)
		}
	}
	return nil
}

func (r *reading) refusedMatch(text string) error {
	items := strings.Split(strings.TrimSuffix(text, ";"), ";")
	if n := r.limits.MatchItems; n > 0 && len(items) > n {
		return fmt.Errorf("it has %d items, more than the %d of routing.maxMatchItems", len(items), n)
	}
	for _, item := range items {
		if name, is := pseudoHeader(item); is {
			return r.reservedHeader(name)
		}
		m, err := parseMatch(strings.TrimSpace(item))
		if err != nil {
			return nil // parsing reports syntax errors
		}
		switch {
		case len(m.Name) > maxNameBytes:
			return fmt.Errorf("the name of a %s has %d bytes; Envoy accepts %d", m.Kind, len(m.Name), maxNameBytes)
		case len(m.Value) > maxValueBytes:
			return fmt.Errorf("the value of %s %s has %d bytes; Envoy accepts %d", m.Kind, m.Name, len(m.Value), maxValueBytes)
		case m.matchesHeader() && reservedHeaders[m.Name] != "":
			return r.reservedHeader(m.Name)
		}
	}
	return nil
}

func (m Match) matchesHeader() bool { return m.Kind == MatchHeader || m.Kind == MatchHeaderPrefix }

// pseudoHeader returns the name in an item such as "v2=header::authority:example.com".
func pseudoHeader(item string) (string, bool) {
	_, condition, _ := strings.Cut(strings.TrimSpace(item), "=")
	for _, kind := range []MatchKind{MatchHeader, MatchHeaderPrefix} {
		if rest, is := strings.CutPrefix(condition, string(kind)+"::"); is {
			name, _, _ := strings.Cut(rest, ":")
			return ":" + strings.ToLower(name), name != ""
		}
	}
	return "", false
}

// reservedHeaders are names that Istio does not match as headers: it ignores them, or Envoy matches a part of the request line. The value
// is the field of a VirtualService for it.
var reservedHeaders = map[string]string{
	"uri": "uri", "path": "uri", ":path": "uri",
	"method": "method", ":method": "method",
	"scheme": "scheme", ":scheme": "scheme",
	"authority": "authority", ":authority": "authority",
}

// reservedHeader returns an error for a reserved name, with what to write instead.
func (r *reading) reservedHeader(name string) error {
	alternative := "match a header that callers set"
	switch field := reservedHeaders[name]; field {
	case "uri":
		alternative = fmt.Sprintf("use %s for the paths that a gateway serves, or match.uri in VirtualService %s-extra", AnnotationPath, r.service.Name)
	case "authority":
		alternative = fmt.Sprintf("use %s for the hosts that a gateway serves, or match.authority in VirtualService %s-extra", AnnotationHosts, r.service.Name)
	case "method", "scheme":
		alternative = fmt.Sprintf("use match.%s in VirtualService %s-extra", field, r.service.Name)
	}
	return fmt.Errorf("header %q is a reserved name and no header: Istio would send every request to the version; %s", name, alternative)
}

func refusedWeights(text string) error {
	weights, err := ParseWeights(text)
	if err != nil {
		return nil // parsing reports syntax errors
	}
	sum := 0
	for _, w := range weights {
		sum += int(w.Weight)
	}
	if sum > maxWeightSum {
		return fmt.Errorf("the weights add up to %d, more than %d", sum, maxWeightSum)
	}
	return nil
}

func (l RouteLimits) refusedHosts(text string) error {
	items := strings.Split(text, ",")
	if l.Hosts > 0 && len(items) > l.Hosts {
		return fmt.Errorf("it has %d hosts, more than the %d of routing.maxHosts", len(items), l.Hosts)
	}
	for _, item := range items {
		if host := strings.TrimSpace(item); host != "" && host != "*" && !strings.Contains(host, ".") {
			return fmt.Errorf("host %q has no domain; Istio accepts full names only, such as %s.example.com", Shorten(host, 63), Shorten(host, 63))
		}
	}
	return nil
}

func refusedPath(text string) error {
	switch {
	case len(text) > maxValueBytes:
		return fmt.Errorf("the path has %d bytes, more than %d", len(text), maxValueBytes)
	case strings.ContainsFunc(text, unicode.IsSpace):
		return errors.New("a path contains no white space; write it percent-encoded")
	}
	return nil
}
