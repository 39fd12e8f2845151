// SPDX-License-Identifier: Apache-2.0

package outrigger

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"outrigger.dev/outrigger/api"
)

var update = flag.Bool("update", false, "write the generated pages of docs/reference")

// generated lists the pages of docs/reference that are made from what package api says of itself, so no key, setting, or
// reason can lack its row.
var generated = map[string]func() string{
	"docs/reference/annotations.md": annotationsPage,
	"docs/reference/reasons.md":     reasonsPage,
	"docs/reference/settings.md":    settingsPage,
}

func TestReferenceIsCurrent(t *testing.T) {
	for file, page := range generated {
		want := page()
		if *update {
			if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s differs from package api; \"make docs\" generates it:\n%s", file, diff)
		}
	}
}

// A reason that is declared and not listed would never reach the reference.
func TestEveryReasonIsListed(t *testing.T) {
	listed := map[string]bool{}
	for _, reason := range api.InjectReasons() {
		listed["Inject "+string(reason.Reason)] = true
	}
	for _, reason := range api.RouteReasons() {
		listed["Route "+string(reason.Reason)] = true
	}
	for _, reason := range api.CoverageReasons() {
		listed["Coverage "+string(reason.Reason)] = true
	}
	declared := 0
	for _, file := range []string{"api/injection.go", "api/routing_reasons.go", "api/coverage.go"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range regexp.MustCompile(`(Inject|Route|Coverage)Reason += "(\w+)"`).FindAllStringSubmatch(string(text), -1) {
			declared++
			if !listed[found[1]+" "+found[2]] {
				t.Errorf("%s declares the reason %s, but its list lacks it", file, found[2])
			}
		}
	}
	if declared != len(listed) {
		t.Errorf("%d reasons are declared, %d are listed", declared, len(listed))
	}
}

func annotationsPage() string {
	var b strings.Builder
	b.WriteString("# Labels and annotations\n\nLook up a label or annotation under `outrigger.dev/`: where you set it, its default, and its values. " +
		"`make docs` generates this page from the source.\n\n" +
		"Injection is controlled with Istio's own labels and annotations: see [injection](../understand/injection.md).\n\n" +
		"| key | on | default | values | meaning |\n|---|---|---|---|---|\n")
	for _, key := range api.RoutingKeys() {
		kind := "annotation"
		if key.Label {
			kind = "label"
		}
		row(&b, "`"+key.Key+"`", kind+" of "+strings.Join(key.On, ", "), code(key.Default), key.Values, key.Doc)
	}
	return b.String()
}

func reasonsPage() string {
	var b strings.Builder
	b.WriteString("# Reasons\n\nLook up what a reason means. [Troubleshooting](troubleshooting.md) says what to do about each. " +
		"`make docs` generates this page from the source.\n" +
		"\n## Reasons of routing\n\nYou see them in Events on the Service, in `outrigger status`, and in metrics.\n\n| reason | meaning |\n|---|---|\n")
	for _, reason := range api.RouteReasons() {
		row(&b, "`"+string(reason.Reason)+"`", reason.Doc)
	}
	b.WriteString("\n## Reasons of injection\n\nYou see them in warnings, denials, `outrigger explain`, audit annotations, metrics, and logs.\n\n| reason | meaning |\n|---|---|\n")
	for _, reason := range api.InjectReasons() {
		row(&b, "`"+string(reason.Reason)+"`", reason.Doc)
	}
	b.WriteString("\n## Reasons of coverage\n\nYou see them in `outrigger coverage` and in the metric `outrigger_coverage_pods`.\n\n| reason | state | meaning |\n|---|---|---|\n")
	for _, reason := range api.CoverageReasons() {
		var states []string
		for _, state := range reason.States {
			states = append(states, string(state))
		}
		row(&b, "`"+string(reason.Reason)+"`", strings.Join(states, ", "), reason.Doc)
	}
	return b.String()
}

func settingsPage() string {
	var b strings.Builder
	b.WriteString("# Settings\n\nLook up a field of the configuration file, which `outrigger serve --config FILE` reads. " +
		"The chart renders the file from values with the same names ([all values](../../charts/outrigger/README.md)). " +
		"With an unknown field or an invalid value, Outrigger does not start. `make docs` generates this page from the source.\n\n" +
		"| field | default | values | meaning |\n|---|---|---|---|\n")
	for _, field := range api.DefaultConfig().Fields() {
		values := field.Type
		if len(field.Values) > 0 {
			values = strings.Join(field.Values, ", ")
		}
		row(&b, "`"+field.Path+"`", code(field.Default), values, field.Doc)
	}
	return b.String()
}

func row(b *strings.Builder, cells ...string) {
	for i, cell := range cells {
		cells[i] = strings.ReplaceAll(cell, "|", "\\|")
	}
	fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
}

func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + text + "`"
}

// Every annotation and label that injection reads in its own code, beside the templates, stands on the page for users.
func TestInjectionPageNamesWhatIsRead(t *testing.T) {
	page, err := os.ReadFile("docs/understand/injection.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("inject/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files of inject: %v", err)
	}
	key := regexp.MustCompile(`"((?:[a-z0-9-]+\.)*(?:istio\.io|prometheus\.io)/[A-Za-z-]+)"`)
	seen := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range key.FindAllStringSubmatch(string(text), -1) {
			seen++
			_, name, _ := strings.Cut(found[1], "/")
			if !strings.Contains(string(page), found[1]) && !strings.Contains(string(page), "`"+name+"`") {
				t.Errorf("%s reads %s, which docs/understand/injection.md does not name", file, found[1])
			}
		}
	}
	if seen < 20 {
		t.Errorf("only %d keys were found in inject, so this shows little", seen)
	}
}
