// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// readingSteps are the functions that may write facts: those that read them, in the first part of Plan.
var readingSteps = []string{
	"survey", "disown", "disowned", "distrustEdited", "distrust", "findOurs", "restoreAdded", "restoreMeant", "readRecord", "readReplacedRecord", "refuseHosts",
	"restoreAnnotations", "holdExposure", "followTimes", "readTracks", "relabel", "nameSubsets", "restoreLastRan",
	"noteForeign", "noteRule", "noteRoute", "noteDelegate", "noteWideRule", "noteDrift", "noteGatewayDrift", "revert",
}

// exceptions write facts after that. Each has its reason.
var exceptions = map[string]string{
	"keepExisting": "the exposure that is kept takes the place of the one that is refused, also for what is rendered and reported",
	"besideClash":  "routes that name a missing subset are written again, as after a detected edit",
}

// Rules are functions of facts: no rule changes them, and what a rule decides is a field of decision.
func TestFactsAreReadOnly(t *testing.T) {
	files := token.NewFileSet()
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var parsed []*ast.File
	for _, path := range slices.DeleteFunc(paths, func(path string) bool { return strings.HasSuffix(path, "_test.go") }) {
		file, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, file)
	}
	fields, writers := map[string]bool{}, map[string]bool{}
	for _, file := range parsed {
		ast.Inspect(file, func(node ast.Node) bool {
			spec, is := node.(*ast.TypeSpec)
			if !is || spec.Name.Name != "facts" && spec.Name.Name != "Observed" {
				return true
			}
			for _, field := range spec.Type.(*ast.StructType).Fields.List {
				for _, name := range field.Names {
					fields[name.Name] = true
				}
			}
			return true
		})
	}
	for _, file := range parsed {
		for _, declaration := range file.Decls {
			function, is := declaration.(*ast.FuncDecl)
			if !is || function.Recv == nil || function.Body == nil {
				continue
			}
			receiver := function.Recv.List[0]
			if pointer, is := receiver.Type.(*ast.StarExpr); !is || !slices.Contains([]string{"facts", "planner"}, pointer.X.(*ast.Ident).Name) {
				continue
			}
			ast.Inspect(function.Body, func(node ast.Node) bool {
				for _, target := range targetsOf(node) {
					if field := fieldOf(target, receiver.Names[0].Name); fields[field] {
						writers[function.Name.Name] = true
						if name := function.Name.Name; !slices.Contains(readingSteps, name) && exceptions[name] == "" {
							t.Errorf("%s writes the fact %s (%s)", name, field, files.Position(target.Pos()))
						}
					}
				}
				return true
			})
		}
	}
	if len(fields) < 40 || len(writers) < 10 {
		t.Errorf("only %d fields and %d writers were found: the test no longer finds what it looks for", len(fields), len(writers))
	}
	for name := range maps.Keys(exceptions) {
		if !writers[name] {
			t.Errorf("%s writes no fact any more", name)
		}
	}
}

// targetsOf returns what a statement writes to.
func targetsOf(node ast.Node) []ast.Expr {
	switch statement := node.(type) {
	case *ast.AssignStmt:
		return statement.Lhs
	case *ast.IncDecStmt:
		return []ast.Expr{statement.X}
	case *ast.CallExpr:
		if name, is := statement.Fun.(*ast.Ident); is && (name.Name == "delete" || name.Name == "clear") {
			return statement.Args[:1]
		}
	case *ast.UnaryExpr:
		if statement.Op == token.AND {
			return []ast.Expr{statement.X}
		}
	}
	return nil
}

// fieldOf returns the field of the receiver that an expression is in; empty if it is in none.
func fieldOf(target ast.Expr, receiver string) string {
	for {
		switch x := target.(type) {
		case *ast.IndexExpr:
			target = x.X
		case *ast.StarExpr:
			target = x.X
		case *ast.ParenExpr:
			target = x.X
		case *ast.SelectorExpr:
			if name, is := x.X.(*ast.Ident); is && name.Name == receiver {
				return x.Sel.Name
			}
			target = x.X
		default:
			return ""
		}
	}
}
