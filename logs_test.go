// SPDX-License-Identifier: Apache-2.0

package outrigger

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"
)

// A line of the log has a constant message and keys with values, so that it can be searched for and counted.
func TestLogMessagesAreConstant(t *testing.T) {
	seen := 0
	for _, file := range sourcesOf(t, "webhook", "routing/controller", "certs", "internal/process", "internal/cli", "cmd/outrigger") {
		files := token.NewFileSet()
		parsed, err := parser.ParseFile(files, file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(node ast.Node) bool {
			call, is := node.(*ast.CallExpr)
			if !is {
				return true
			}
			message, is := messageOf(call)
			if !is {
				return true
			}
			seen++
			if literal, is := message.(*ast.BasicLit); !is || literal.Kind != token.STRING {
				t.Errorf("%s: the message is made up; say what varies by keys and values", files.Position(call.Pos()))
			}
			return true
		})
	}
	if seen < 20 {
		t.Errorf("only %d lines of the log were found, so this shows little", seen)
	}
}

// messageOf returns the message of a call of a logger's Info or Error.
func messageOf(call *ast.CallExpr) (ast.Expr, bool) {
	function, is := call.Fun.(*ast.SelectorExpr)
	if !is {
		return nil, false
	}
	at := map[string]int{"Info": 0, "Error": 1}
	index, is := at[function.Sel.Name]
	if !is || len(call.Args) <= index || !isLogger(function.X) {
		return nil, false
	}
	return call.Args[index], true
}

// isLogger goes by the name of what is called: log, Log, logger, log.V(1), logf.FromContext(ctx).
func isLogger(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return strings.HasPrefix(strings.ToLower(e.Name), "log")
	case *ast.SelectorExpr:
		return isLogger(e.Sel)
	case *ast.CallExpr:
		function, is := e.Fun.(*ast.SelectorExpr)
		return is && isLogger(function.X)
	}
	return false
}
