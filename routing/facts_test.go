// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// readOnly are the types whose methods write none of their fields: facts are written by the methods of reader alone, and a rule that
// decides otherwise returns another value.
var readOnly = []string{"facts", "defaultDecision", "outcome", "routeRules", "exposureDecision", "exposure", "Observed"}

// builders are the functions that may contain a literal of these types, by type: nothing else makes a decision.
var builders = map[string][]string{
	"facts":           {"read", "ExcludedPorts"},
	"defaultDecision": {"recordedOutcome", "subsetsOnly"},
	"outcome":         {"recordedOutcome", "subsetsOnly", "decide"},
}

// exceptions write a field of their receiver. Each has its reason.
var exceptions = map[string]string{
	"Divide": "it is part of gathering, before a plan",
}

// Facts are written where they are read, and an outcome is built in one piece.
func TestFactsAndDecisionsAreReadOnly(t *testing.T) {
	files := token.NewFileSet()
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	methods, readers, literals := 0, 0, 0
	for _, path := range slices.DeleteFunc(paths, func(path string) bool { return strings.HasSuffix(path, "_test.go") }) {
		file, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, declaration := range file.Decls {
			function, is := declaration.(*ast.FuncDecl)
			if !is || function.Body == nil {
				continue
			}
			receiver, typeName := receiverOf(function)
			if typeName == "reader" {
				readers++
			}
			ast.Inspect(function.Body, func(node ast.Node) bool {
				if literal, is := node.(*ast.CompositeLit); is {
					if name, is := literal.Type.(*ast.Ident); is && builders[name.Name] != nil {
						if literals++; !slices.Contains(builders[name.Name], function.Name.Name) && len(literal.Elts) > 0 {
							t.Errorf("%s builds a %s (%s)", function.Name.Name, name.Name, files.Position(node.Pos()))
						}
					}
				}
				if !slices.Contains(readOnly, typeName) {
					return true
				}
				for _, target := range targetsOf(node) {
					if field := fieldOf(target, receiver); field != "" && exceptions[function.Name.Name] == "" {
						t.Errorf("%s writes the field %s of %s (%s)", function.Name.Name, field, typeName, files.Position(target.Pos()))
					}
				}
				return true
			})
			if slices.Contains(readOnly, typeName) {
				methods++
			}
		}
	}
	if methods < 150 || readers < 20 || literals < 5 {
		t.Errorf("only %d methods, %d methods of reader and %d literals were found: the test no longer finds what it looks for", methods, readers, literals)
	}
}

// receiverOf returns the name and the type of a method's receiver; empty for a function.
func receiverOf(function *ast.FuncDecl) (name, typeName string) {
	if function.Recv == nil {
		return "", ""
	}
	receiver := function.Recv.List[0]
	kind := receiver.Type
	if pointer, is := kind.(*ast.StarExpr); is {
		kind = pointer.X
	}
	if ident, is := kind.(*ast.Ident); is {
		typeName = ident.Name
	}
	if len(receiver.Names) > 0 {
		name = receiver.Names[0].Name
	}
	return name, typeName
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
