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

var update = flag.Bool("update", false, "write docs/reference.md anew")

// docs/reference.md is made from what package api says of itself, so no key, setting or reason can lack its row.
func TestReferenceIsCurrent(t *testing.T) {
	want := reference()
	if *update {
		if err := os.WriteFile("docs/reference.md", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("docs/reference.md")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("docs/reference.md is not what package api says (make docs writes it anew):\n%s", diff)
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

func reference() string {
	var b strings.Builder
	b.WriteString("# Reference\n\nMade from the source by `make docs`.\n")
	b.WriteString("\n## Labels and annotations of routing\n\nLabels and annotations of injection are Istio's own: see [injection.md](injection.md).\n\n| key | on | default | values | |\n|---|---|---|---|---|\n")
	for _, key := range api.RoutingKeys() {
		kind := "annotation"
		if key.Label {
			kind = "label"
		}
		row(&b, "`"+key.Key+"`", kind+" of "+strings.Join(key.On, ", "), code(key.Default), key.Values, key.Doc)
	}
	b.WriteString("\n## Reasons of routing\n\nEvents on the Service carry them.\n\n| reason | |\n|---|---|\n")
	for _, reason := range api.RouteReasons() {
		row(&b, "`"+string(reason.Reason)+"`", reason.Doc)
	}
	b.WriteString("\n## Reasons of injection\n\nAudit annotations, metrics, logs and messages carry them.\n\n| reason | |\n|---|---|\n")
	for _, reason := range api.InjectReasons() {
		row(&b, "`"+string(reason.Reason)+"`", reason.Doc)
	}
	b.WriteString("\n## Reasons of coverage\n\nThe metric outrigger_coverage_pods and `outrigger coverage` carry them.\n\n| reason | state | |\n|---|---|---|\n")
	for _, reason := range api.CoverageReasons() {
		var states []string
		for _, state := range reason.States {
			states = append(states, string(state))
		}
		row(&b, "`"+string(reason.Reason)+"`", strings.Join(states, ", "), reason.Doc)
	}
	b.WriteString("\n## The configuration file\n\n`outrigger serve --config FILE`; the chart renders it from its values. An unknown field or a bad value stops the start.\n\n| field | default | values | |\n|---|---|---|---|\n")
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
	page, err := os.ReadFile("docs/injection.md")
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
				t.Errorf("%s reads %s, which docs/injection.md does not name", file, found[1])
			}
		}
	}
	if seen < 20 {
		t.Errorf("only %d keys were found in inject, so this shows little", seen)
	}
}
