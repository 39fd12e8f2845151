// SPDX-License-Identifier: Apache-2.0

package outrigger

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/certs"
)

// Every reason that a user may meet has a row that says what it means and what to do, and every row a reason.
func TestEveryInjectReasonIsExplained(t *testing.T) {
	var names []string
	for _, reason := range api.InjectReasons() {
		names = append(names, string(reason.Reason))
	}
	wantRows(t, "injection", names)
}

func TestEveryRouteReasonIsExplained(t *testing.T) {
	var names []string
	for _, reason := range api.RouteReasons() {
		names = append(names, string(reason.Reason))
	}
	wantRows(t, "routing", names)
}

func TestEveryReasonAboutTheCertificateIsExplained(t *testing.T) {
	var names []string
	for _, reason := range certs.NoticeReasons() {
		names = append(names, string(reason))
	}
	wantRows(t, "the certificate", names)
}

// wantRows wants exactly these reasons to have a row in the section about a job.
func wantRows(t *testing.T, job string, names []string) {
	t.Helper()
	text, err := os.ReadFile("docs/reference/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\n## Reasons of "+job+"\n")
	rows, _, _ := strings.Cut(rest, "\n## ")
	explained := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (.+?) \\| (.+?) \\|$").FindAllStringSubmatch(rows, -1) {
		if explained[row[1]] {
			t.Errorf("%s has two rows", row[1])
		}
		explained[row[1]] = true
	}
	for _, name := range names {
		if !explained[name] {
			t.Errorf("docs/reference/troubleshooting.md does not say what to do about %s", name)
		}
		delete(explained, name)
	}
	for name := range explained {
		t.Errorf("docs/reference/troubleshooting.md explains %s, which is no reason of %s", name, job)
	}
}
