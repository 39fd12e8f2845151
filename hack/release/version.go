// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"outrigger.dev/outrigger/hack/chart"
)

// unreleased is the changelog's heading between releases.
const unreleased = "Unreleased"

// changelogHeading matches the heading of a version, with or without a date: "## 1.2.3 (2026-12-01)".
var changelogHeading = regexp.MustCompile(`(?m)^## v?(\S+).*\n`)

// notesOf returns what the changelog says under the heading of a version, and that heading: Unreleased if it has none of that
// version.
func notesOf(changelog, version string) (notes, heading string) {
	sections := map[string]string{}
	found := changelogHeading.FindAllStringSubmatchIndex(changelog, -1)
	for i, at := range found {
		end := len(changelog)
		if i+1 < len(found) {
			end = found[i+1][0]
		}
		sections[changelog[at[2]:at[3]]] = strings.TrimSpace(changelog[at[1]:end]) + "\n"
	}
	if notes, is := sections[version]; is {
		return notes, version
	}
	return sections[unreleased], unreleased
}

// newest returns the first heading of a changelog.
func newest(changelog string) string {
	if found := changelogHeading.FindStringSubmatch(changelog); found != nil {
		return found[1]
	}
	return ""
}

// check returns an error unless a tree is ready to be released as a version: the chart has it, and so has the newest heading of
// the changelog.
func check(root, version string) error {
	changelog, err := os.ReadFile(filepath.Join(root, "CHANGELOG.md"))
	if err != nil {
		return err
	}
	own, err := chart.Load(chart.Folder(root))
	if err != nil {
		return err
	}
	var faults []error
	chartVersion, appVersion := own.Version()
	if chartVersion != version {
		faults = append(faults, fmt.Errorf("charts/outrigger/Chart.yaml: version is %s; a release of %s needs %s", chartVersion, version, version))
	}
	if appVersion != version {
		faults = append(faults, fmt.Errorf("charts/outrigger/Chart.yaml: appVersion is %s; a release of %s needs %s", appVersion, version, version))
	}
	if got := newest(string(changelog)); got != version {
		faults = append(faults, fmt.Errorf("CHANGELOG.md: the newest heading is %q; a release of %s needs \"## %s\"", got, version, version))
	}
	return errors.Join(faults...)
}
