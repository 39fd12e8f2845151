// SPDX-License-Identifier: Apache-2.0

package outrigger

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A doc comment begins with the name that it documents, so that a renamed declaration takes its comment along.
func TestDocCommentsBeginWithTheName(t *testing.T) {
	documented := 0
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "testdata" || len(entry.Name()) > 1 && strings.HasPrefix(entry.Name(), ".")):
			return filepath.SkipDir
		case entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		count, faults := misnamed(file)
		documented += count
		for _, fault := range faults {
			t.Errorf("%s: %s", files.Position(fault.at), fault.text)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if documented < 1000 {
		t.Errorf("only %d documented declarations were found: the test no longer finds what it looks for", documented)
	}
}

var (
	goComment    = regexp.MustCompile(`(?m)(?:^|\s)//\s.*$`)
	commentsTest = regexp.MustCompile(`\bTest[A-Z]\w+`)
)

// A test that a comment names exists in a module of the repository. Like for -run, the beginning of the name is enough.
func TestCommentsNameExistingTests(t *testing.T) {
	known, named := slices.Collect(maps.Keys(knownNames(t)["test"])), 0
	for _, file := range trackedFiles(t, "*.go") {
		for _, comment := range goComment.FindAllString(read(t, file), -1) {
			for _, name := range commentsTest.FindAllString(comment, -1) {
				if named++; !slices.ContainsFunc(known, func(test string) bool { return strings.HasPrefix(test, name) }) {
					t.Errorf("%s: a comment names %s, which does not exist", file, name)
				}
			}
		}
	}
	if named < 5 {
		t.Errorf("only %d comments that name a test were found", named)
	}
}

type commentFault struct {
	at   token.Pos
	text string
}

// misnamed returns the doc comments of a file that begin with something else than the declared name, and how many it checked. A
// comment on a group of constants or variables documents the group.
func misnamed(file *ast.File) (checked int, faults []commentFault) {
	check := func(doc *ast.CommentGroup, name *ast.Ident) {
		if doc == nil || strings.TrimSpace(doc.Text()) == "" {
			return
		}
		checked++
		first := strings.TrimRight(strings.Fields(doc.Text())[0], ",.:;")
		if first != name.Name && strings.TrimSuffix(first, "'s") != name.Name {
			faults = append(faults, commentFault{doc.Pos(), fmt.Sprintf("the comment on %s begins with %q", name.Name, first)})
		}
	}
	for _, declaration := range file.Decls {
		switch d := declaration.(type) {
		case *ast.FuncDecl:
			check(d.Doc, d.Name)
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					if !d.Lparen.IsValid() {
						check(d.Doc, s.Name)
					}
					check(s.Doc, s.Name)
				case *ast.ValueSpec:
					if !d.Lparen.IsValid() && len(s.Names) == 1 {
						check(d.Doc, s.Names[0])
					}
				}
			}
		}
	}
	return checked, faults
}

func TestMisnamedCommentsAreFound(t *testing.T) {
	source := "package p\n\n// existing are our objects.\ntype ourObjects struct{}\n\n// findObjects finds them.\nfunc findObjects() {}\n\n// The order of all.\nvar order = 1\n"
	file, err := parser.ParseFile(token.NewFileSet(), "p.go", source, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	if checked, faults := misnamed(file); checked != 3 || len(faults) != 2 || faults[0].text != `the comment on ourObjects begins with "existing"` {
		t.Errorf("%d comments were checked, and these faults were found: %v", checked, faults)
	}
}
