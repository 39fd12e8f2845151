// SPDX-License-Identifier: Apache-2.0

package api

import (
	"slices"
	"strings"
)

// NearestRoutingKey returns the key of routing that a misspelt one was probably meant to be: one that differs by a
// slip, or one of its beginning. The domain must be ours or differ by a slip as well.
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
	for _, meant := range []func(name, word string) bool{
		nearly,
		func(name, word string) bool { return strings.HasPrefix(word, name) || strings.HasPrefix(name, word) },
	} {
		for _, known := range RoutingKeys() {
			if _, word, _ := strings.Cut(known.Key, "/"); name != "" && meant(name, word) {
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
	return slips(strings.ToLower(a), strings.ToLower(b)) <= limit
}

// slips counts insertions, deletions, replacements and swaps of neighbours (optimal string alignment).
func slips(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}

// NearestVersion returns the one version that a name was probably meant to be: one that differs in case, in a leading v,
// or in its dots, dashes and underscores; else, of a name with at least four letters, one that differs by a slip in them.
// Numbers are never a slip: v3 is not v2.
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
