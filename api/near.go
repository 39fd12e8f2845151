// SPDX-License-Identifier: Apache-2.0

package api

import (
	"slices"
	"strings"
)

// NearestRoutingKey returns the routing key that a misspelled one probably stands for: a key with a similar name, or one of which either
// is a prefix of the other. The domain must be outrigger.dev or similar.
func NearestRoutingKey(key string) (KeyDoc, bool) {
	domain, name, has := strings.Cut(key, "/")
	if !has || !strings.HasPrefix(domain, Outrigger) && !nearly(domain, Domain) {
		return KeyDoc{}, false
	}
	for _, known := range RoutingKeys() {
		if _, word, _ := strings.Cut(known.Key, "/"); strings.EqualFold(name, word) {
			return known, true
		}
	}
	for _, similar := range []func(name, word string) bool{
		nearly,
		func(name, word string) bool { return strings.HasPrefix(word, name) || strings.HasPrefix(name, word) },
	} {
		for _, known := range RoutingKeys() {
			if _, word, _ := strings.Cut(known.Key, "/"); name != "" && similar(name, word) {
				return known, true
			}
		}
	}
	return KeyDoc{}, false
}

// nearly reports whether two words differ only by a typing mistake: at most two letters inserted, removed, replaced, or swapped
// with their neighbor, or one in a short word.
func nearly(a, b string) bool {
	limit := 2
	if min(len(a), len(b)) < 6 {
		limit = 1
	}
	return editDistance(strings.ToLower(a), strings.ToLower(b)) <= limit
}

// NearestVersion returns the only version that a misspelled name probably stands for: one that differs in case, in a leading v, or in
// dots, dashes, and underscores; or, if the name has at least four letters, one with similar letters. The digits must be equal: v3
// is not similar to v2.
func NearestVersion(name string, versions []string) (string, bool) {
	if slices.Contains(versions, name) {
		return "", false
	}
	plain := func(version string) string {
		out := strings.NewReplacer(".", "", "-", "", "_", "").Replace(strings.ToLower(version))
		if rest := strings.TrimPrefix(out, "v"); rest != "" && isDigit(rune(rest[0])) {
			return rest
		}
		return out
	}
	digits := func(version string) string {
		return strings.Join(strings.FieldsFunc(version, func(r rune) bool { return !isDigit(r) }), ".")
	}
	letters := func(version string) int { return len(strings.Map(keepLetters, strings.ToLower(version))) }
	for _, near := range []func(version string) bool{
		func(version string) bool { return strings.EqualFold(version, name) },
		func(version string) bool { return plain(version) == plain(name) && digits(version) == digits(name) },
		func(version string) bool {
			return letters(name) >= 4 && digits(version) == digits(name) && nearly(version, name)
		},
		func(version string) bool { return plain(version) == plain(name) && plain(name) != "" },
	} {
		var found []string
		for _, version := range versions {
			if near(version) {
				found = append(found, version)
			}
		}
		if len(found) == 1 {
			return found[0], true
		}
		if len(found) > 1 {
			return "", false
		}
	}
	return "", false
}

func isDigit(r rune) bool { return r >= '0' && r <= '9' }

func keepLetters(r rune) rune {
	if r >= 'a' && r <= 'z' {
		return r
	}
	return -1
}
