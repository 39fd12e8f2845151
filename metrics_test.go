// SPDX-License-Identifier: Apache-2.0

package outrigger

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const metricsFile = "docs/reference/metrics.md"

// metricsTable is where the page has the table that is made from the source.
var metricsTable = regexp.MustCompile(`(?s)(<!-- metrics: made by make docs -->\n).*?(<!-- end -->\n)`)

// The page lists every metric with its type, labels and help; test/e2e compares the same table with a running leader.
func TestMetricsPageIsCurrent(t *testing.T) {
	page, err := os.ReadFile(metricsFile)
	if err != nil {
		t.Fatal(err)
	}
	if !metricsTable.Match(page) {
		t.Fatalf("%s has no table between the two marks", metricsFile)
	}
	var table strings.Builder
	table.WriteString("| metric | type | labels | |\n|---|---|---|---|\n")
	metrics := metricsOfSource(t)
	if len(metrics) < 10 {
		t.Fatalf("only %d metrics were found in the source", len(metrics))
	}
	for _, m := range metrics {
		row(&table, "`"+m.name+"`", m.kind, m.labels, m.help)
	}
	want := metricsTable.ReplaceAllString(string(page), "${1}"+strings.ReplaceAll(table.String(), "$", "$$")+"${2}")
	if *update {
		if err := os.WriteFile(metricsFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, string(page)); diff != "" {
		t.Errorf("%s is not what the source says (make docs writes it anew):\n%s", metricsFile, diff)
	}
}

type metric struct{ name, kind, labels, help string }

// metricsOfSource finds the calls that make metrics, sorted by name.
func metricsOfSource(t *testing.T) []metric {
	t.Helper()
	var out []metric
	for _, file := range sourcesOf(t, "webhook", "routing/controller", "certs", "internal/contest", "internal/process", "internal/cli", "cmd/outrigger") {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(node ast.Node) bool {
			if call, is := node.(*ast.CallExpr); is {
				if m, is := metricOf(call); is {
					out = append(out, m)
				}
			}
			return true
		})
	}
	slices.SortFunc(out, func(a, b metric) int { return strings.Compare(a.name, b.name) })
	return out
}

// sourcesOf returns the Go files of packages but for their tests.
func sourcesOf(t *testing.T, folders ...string) []string {
	t.Helper()
	var out []string
	for _, folder := range folders {
		files, err := filepath.Glob(folder + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatalf("no files in %s: %v", folder, err)
		}
		for _, file := range files {
			if !strings.HasSuffix(file, "_test.go") {
				out = append(out, file)
			}
		}
	}
	return out
}

// metricOf reads prometheus.NewCounterVec(prometheus.CounterOpts{…}, []string{…}), the same of promauto, and its like.
func metricOf(call *ast.CallExpr) (metric, bool) {
	function, is := call.Fun.(*ast.SelectorExpr)
	if !is || !strings.HasPrefix(function.Sel.Name, "New") || len(call.Args) == 0 {
		return metric{}, false
	}
	options, is := call.Args[0].(*ast.CompositeLit)
	if !is {
		return metric{}, false
	}
	if kind, is := options.Type.(*ast.SelectorExpr); !is || fmt.Sprint(kind.X) != "prometheus" {
		return metric{}, false
	}
	m := metric{kind: strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(function.Sel.Name, "New"), "Vec"))}
	for _, element := range options.Elts {
		if field, is := element.(*ast.KeyValueExpr); is {
			switch fmt.Sprint(field.Key) {
			case "Name":
				m.name = textOf(field.Value)
			case "Help":
				m.help = textOf(field.Value)
			}
		}
	}
	if len(call.Args) > 1 {
		if labels, is := call.Args[1].(*ast.CompositeLit); is {
			var names []string
			for _, label := range labels.Elts {
				names = append(names, "`"+textOf(label)+"`")
			}
			m.labels = strings.Join(names, ", ")
		}
	}
	return m, m.name != ""
}

func textOf(e ast.Expr) string {
	literal, is := e.(*ast.BasicLit)
	if !is {
		return "not a literal"
	}
	text, err := strconv.Unquote(literal.Value)
	if err != nil {
		return err.Error()
	}
	return text
}
