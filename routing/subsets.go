// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

// subsetTable maps versions to the names of their subsets and back. A name never changes once the subset exists.
type subsetTable struct {
	names    map[string]string // subset name by version
	versions map[string]string // version by subset name
}

var (
	plainVersion  = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)
	dottedVersion = regexp.MustCompile(`^v?[0-9]+(\.[0-9]+)+$`)
)

// SubsetName returns the subset name that a version gets where no other version has it: the version itself if it is a
// lower-case DNS label, dotted numbers with dashes, anything else spelt with dashes and eight digits of its hash.
func SubsetName(version string) string {
	switch {
	case plainVersion.MatchString(version) && len(version) <= 63:
		return version
	case dottedVersion.MatchString(version) && len(version) <= 63:
		return strings.ReplaceAll(version, ".", "-")
	}
	return hashedName(version)
}

// hashedName keeps what can be kept of a version, at most 54 characters, and makes it unique by a hash.
func hashedName(version string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(version) {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			b.WriteRune(r)
		} else if text := b.String(); text != "" && text[len(text)-1] != '-' {
			b.WriteByte('-')
		}
	}
	kept := b.String()
	kept = strings.Trim(kept[:min(len(kept), 54)], "-")
	sum := sha256.Sum256([]byte(version))
	return strings.TrimPrefix(kept+"-"+hex.EncodeToString(sum[:4]), "-")
}

// nameSubsets names the subsets of all versions in use: existing names stay, then versions that are valid names themselves, then
// the others.
func (s *reader) nameSubsets() {
	s.subsets = subsetTable{names: map[string]string{}, versions: map[string]string{}}
	versions := s.versionsInPlay()
	for _, name := range s.ownSubsets() {
		version := s.meaningOfSubset(name, versions)
		if _, named := s.subsets.names[version]; named {
			s.subsets.versions[name] = version
		} else if version != "" {
			s.subsets.put(version, name)
		}
	}
	slices.SortStableFunc(versions, func(a, b string) int {
		return boolOrder(SubsetName(a) == a, SubsetName(b) == b)
	})
	for _, version := range versions {
		if _, named := s.subsets.names[version]; named {
			continue
		}
		name := SubsetName(version)
		if other, clash := s.subsets.versions[name]; clash {
			if m, bound := s.recorded.Names[version]; bound && !m.equal(meaning{Version: version}) && len(s.groupsOf(meaning{Version: version})) == 0 {
				continue // a name for pods that have another version by now
			}
			name = hashedName(version)
			s.report(api.RouteSubsetNameCollision, fmt.Sprintf("Versions %s and %s would both get the subset name %s; %s gets %s.", other, version, SubsetName(version), version, name),
				"Give one of them another version label.")
		}
		s.subsets.put(version, name)
	}
}

func boolOrder(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

func (t subsetTable) put(version, name string) {
	t.names[version], t.versions[name] = name, version
}

// versionOf returns the version of a subset that selects by the version label alone.
func (s *facts) versionOf(subset *networkingapi.Subset) (string, bool) {
	version, has := subset.Labels[s.Intent.VersionLabel]
	return version, has && version != "" && len(subset.Labels) == 1
}

// foreignSubsetOfOurs reports whether another client wrote a subset into our DestinationRule: for ours the time is recorded at
// which they were added. A foreign subset stays.
func (s *facts) foreignSubsetOfOurs(subset *networkingapi.Subset) bool {
	_, ours := s.ours.added[subset.Name]
	return !ours && s.ours.meanings[subset.Name] == ""
}

// versionsInPlay are the versions of the pods, of the record and of the annotations, in natural order.
func (s *facts) versionsInPlay() []string {
	seen := map[string]bool{}
	for _, t := range s.tracks {
		for _, group := range t.groups {
			seen[group.Version] = true
		}
		if t.starts && s.nothingServes() {
			seen[t.next] = true
		}
	}
	for _, version := range s.ours.lastRan {
		seen[version] = true
	}
	for _, m := range s.recorded.meanings() {
		seen[m.Version] = true
	}
	for _, name := range s.writtenNames() {
		seen[name] = true
	}
	delete(seen, "")
	return sortedVersions(seen)
}

func findSubset(rule *networkingv1.DestinationRule, name string) *networkingapi.Subset {
	if rule == nil {
		return nil
	}
	for _, subset := range rule.Spec.Subsets {
		if subset.GetName() == name {
			return subset
		}
	}
	return nil
}

// CompareVersions is the natural order of versions: v2 before v10, 1.2-rc1 before 1.2. A leading v is ignored, numbers compare as
// numbers, what follows a release with a dash is older than the release, and everything else compares by bytes.
func CompareVersions(a, b string) int {
	left, right := versionParts(a), versionParts(b)
	for i := 0; i < len(left) && i < len(right); i++ {
		if c := compareParts(left[i], right[i]); c != 0 {
			return c
		}
	}
	switch {
	case len(left) < len(right):
		return lengthOrder(right[len(left)])
	case len(left) > len(right):
		return -lengthOrder(left[len(right)])
	}
	return strings.Compare(a, b)
}

// lengthOrder is the order of a version and a longer one that goes on with part: 1.2 < 1.2.1, but 1.2-rc1 < 1.2.
func lengthOrder(part string) int {
	if part == "-" {
		return 1
	}
	return -1
}

func compareParts(a, b string) int {
	x, errA := strconv.ParseUint(a, 10, 64)
	y, errB := strconv.ParseUint(b, 10, 64)
	switch {
	case errA == nil && errB == nil && x != y:
		return boolOrder(x < y, x > y)
	case errA == nil && errB == nil:
		return 0
	case a == b:
		return 0
	case a == "-" || b == "-": // a pre-release against a longer release
		return boolOrder(a == "-", b == "-")
	}
	return strings.Compare(a, b)
}

// versionParts splits "v1.2-rc10" into 1, 2, -, rc, 10.
func versionParts(version string) []string {
	if len(version) > 1 && version[0] == 'v' && version[1] >= '0' && version[1] <= '9' {
		version = version[1:]
	}
	var out []string
	kind := func(r rune) int {
		switch {
		case unicode.IsDigit(r):
			return 1
		case r == '.' || r == '_':
			return 2
		case r == '-':
			return 3
		}
		return 4
	}
	last := 0
	for _, r := range version {
		k := kind(r)
		switch {
		case k == 2:
		case k == last && k != 3:
			out[len(out)-1] += string(r)
		default:
			out = append(out, string(r))
		}
		last = k
	}
	return out
}
