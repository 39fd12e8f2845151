// SPDX-License-Identifier: Apache-2.0

package api

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"k8s.io/apimachinery/pkg/util/validation"
)

// MatchKind is the part of a request that a Match compares.
type MatchKind string

// The kinds of Match, as users write them.
const (
	MatchHeader       MatchKind = "header"        // a request header equals the value
	MatchHeaderPrefix MatchKind = "header-prefix" // a request header begins with the value
	MatchCookie       MatchKind = "cookie"        // a cookie has the value
	MatchQuery        MatchKind = "query"         // a parameter of the URL's query has the value
	MatchSource       MatchKind = "source"        // the caller is a pod whose version is the value; in the mesh only
)

// Match is one item of the match annotation: requests that match it go to the version. Two items have the same condition if their kinds,
// names, and values are equal.
type Match struct {
	Version string
	Kind    MatchKind
	Name    string // of the header (lower case), cookie or parameter; empty for MatchSource
	Value   string
}

// maxRegex is Istio's limit for the length of a regular expression.
const maxRegex = 1024

// CookieRegex returns a regular expression (RE2) that matches a whole Cookie header with this cookie and value.
func CookieRegex(name, value string) string {
	return cookieBefore + regexp.QuoteMeta(name+"="+value) + cookieAfter
}

const (
	cookieBefore = `^(.*;\s*)?`
	cookieAfter  = `(\s*;.*)?$`
)

var escapedRune = regexp.MustCompile(`\\([^A-Za-z0-9])`)

// CookieOf returns the "name=value" of a regular expression from CookieRegex; false for other regular expressions.
func CookieOf(regex string) (string, bool) {
	rest, begins := strings.CutPrefix(regex, cookieBefore)
	rest, ends := strings.CutSuffix(rest, cookieAfter)
	pair := escapedRune.ReplaceAllString(rest, "$1")
	return pair, begins && ends && regexp.QuoteMeta(pair) == rest
}

// String returns the item as it is written: "v2=header:end-user:jason", "v2=source:v2".
func (m Match) String() string {
	words := []string{string(m.Kind)}
	if m.Kind != MatchSource {
		words = append(words, escape(m.Name))
	}
	return m.Version + "=" + strings.Join(append(words, escape(m.Value)), ":")
}

// Excludes reports whether no request can satisfy both conditions.
func (m Match) Excludes(other Match) bool {
	if m.Name != other.Name || m.Value == other.Value {
		return false
	}
	isHeader := func(kind MatchKind) bool { return kind == MatchHeader || kind == MatchHeaderPrefix }
	if isHeader(m.Kind) && isHeader(other.Kind) {
		return !m.Covers(other) && !other.Covers(m)
	}
	return m.Kind == other.Kind && (m.Kind == MatchQuery || m.Kind == MatchSource)
}

// Covers reports whether this condition matches every request that the other one matches.
func (m Match) Covers(other Match) bool {
	switch {
	case m.Name != other.Name:
		return false
	case m.Kind == MatchHeaderPrefix && (other.Kind == MatchHeader || other.Kind == MatchHeaderPrefix):
		return strings.HasPrefix(other.Value, m.Value)
	}
	return m.Kind == other.Kind && m.Value == other.Value
}

// covered reports items that never match, because an earlier item covers them.
func (r *reading) covered(intent *RouteIntent) {
	for i, later := range intent.Match {
		at := slices.IndexFunc(intent.Match[:i], func(m Match) bool { return m.Covers(later) })
		if at < 0 {
			continue
		}
		r.problems = append(r.problems, RouteProblem{
			Object: r.serviceRef(), Field: AnnotationField(AnnotationMatch), Value: intent.Texts[AnnotationMatch], Reason: RouteWithoutEffect,
			Message: fmt.Sprintf("%s receives nothing: %s comes before it and takes the same requests.", later, intent.Match[at]),
			Advice:  "Write it first, or take it out.",
		})
	}
}

const matchForms = "header:name:value, header-prefix:name:value, cookie:name:value, query:name:value, source:version"

// ParseMatches parses a value of the match annotation.
func ParseMatches(text string) ([]Match, error) {
	var out []Match
	for _, item := range strings.Split(strings.TrimSuffix(text, ";"), ";") {
		match, err := parseMatch(strings.TrimSpace(item))
		if err != nil {
			return nil, err
		}
		out = append(out, match)
	}
	return out, nil
}

func parseMatch(item string) (Match, error) {
	version, condition, found := strings.Cut(item, "=")
	if !found {
		return Match{}, fmt.Errorf("%q is not of the form version=condition; a condition is one of %s", item, matchForms)
	}
	if err := checkVersion(version); err != nil {
		return Match{}, err
	}
	kind, rest, _ := strings.Cut(condition, ":")
	match := Match{Version: version, Kind: MatchKind(kind)}
	if match.Kind == MatchSource {
		match.Value = rest
		return match, checkVersion(rest)
	}
	name, value, found := strings.Cut(rest, ":")
	if !found || !slices.Contains([]MatchKind{MatchHeader, MatchHeaderPrefix, MatchCookie, MatchQuery}, match.Kind) {
		return Match{}, unknownCondition(condition, kind)
	}
	for _, part := range []struct {
		text string
		into *string
	}{{name, &match.Name}, {value, &match.Value}} {
		plain, err := unescape(part.text)
		if err != nil {
			return Match{}, err
		}
		*part.into = plain
	}
	if match.Kind == MatchHeader || match.Kind == MatchHeaderPrefix {
		match.Name = strings.ToLower(match.Name)
	}
	return match, match.check()
}

// unknownCondition returns an error for a condition of unknown form, with the kind that it probably stands for.
func unknownCondition(condition, kind string) error {
	for _, known := range []MatchKind{MatchHeader, MatchHeaderPrefix, MatchCookie, MatchQuery, MatchSource} {
		if kind != string(known) && nearly(kind, string(known)) {
			return fmt.Errorf("unknown kind of match %q (did you mean %q?)", kind, known)
		}
	}
	return fmt.Errorf("%q is none of %s", condition, matchForms)
}

// check returns an error if no request can satisfy the condition.
func (m Match) check() error {
	switch {
	case m.Name == "":
		return fmt.Errorf("the %s has no name", m.Kind)
	case m.Value == "":
		return fmt.Errorf("the value of %s %s is empty", m.Kind, m.Name)
	case strings.ContainsFunc(m.Name+m.Value, unicode.IsControl):
		return fmt.Errorf("%s %s holds a control character", m.Kind, m.Name)
	}
	switch m.Kind {
	case MatchHeader, MatchHeaderPrefix:
		if faults := validation.IsHTTPHeaderName(m.Name); len(faults) > 0 {
			return fmt.Errorf("%q is not the name of a header", m.Name)
		}
	case MatchCookie:
		if !isCookieName(m.Name) {
			return fmt.Errorf("%q is not the name of a cookie", m.Name)
		}
		if strings.Contains(m.Value, ";") {
			return errors.New("the value of a cookie has no ;")
		}
		if long := len(CookieRegex(m.Name, m.Value)); long > maxRegex {
			return fmt.Errorf("cookie %s is too long: Istio matches it with a regular expression of %d characters, and takes %d", m.Name, long, maxRegex)
		}
	case MatchQuery:
		if strings.ContainsAny(m.Name, "&=# ") || strings.ContainsAny(m.Value, "&# ") {
			return fmt.Errorf("%q cannot be in the query of a URL; write it as it stands there, with %%25 for each %%", m.Name+"="+m.Value)
		}
	}
	return nil
}

var cookieName = regexp.MustCompile("^[-!#$%&'*+.^_`|~0-9A-Za-z]+$")

func isCookieName(name string) bool { return cookieName.MatchString(name) }

var (
	escaping  = strings.NewReplacer("%", "%25", ";", "%3B")
	escapes   = strings.NewReplacer("%3B", "", "%3b", "", "%25", "")
	unescaper = strings.NewReplacer("%3B", ";", "%3b", ";", "%25", "%")
)

func escape(text string) string { return escaping.Replace(text) }

// unescape decodes %3B and %25. Any other % is an error.
func unescape(text string) (string, error) {
	if strings.Contains(escapes.Replace(text), "%") {
		return "", fmt.Errorf("in %q a %% is neither %%3B nor %%25", text)
	}
	return unescaper.Replace(text), nil
}
