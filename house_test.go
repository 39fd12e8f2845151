// SPDX-License-Identifier: Apache-2.0

package outrigger

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "outrigger.dev/outrigger"

// importRule is a row of the table in ARCHITECTURE.md: which of our packages a package may reach.
type importRule struct {
	ours   []string // of our packages, directly or not; nil = none
	all    bool     // all of our packages but these:
	except []string
	pure   bool // no Kubernetes client, no clock, no files, no network, no log
}

func (r importRule) allows(name string) bool {
	if r.all {
		return !slices.Contains(r.except, name)
	}
	return slices.Contains(r.ours, name)
}

var (
	ruleRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (.*) \\| (nothing|all|all but `[^`]+`|`[^`]+`(?:, `[^`]+`)*) \\|$")
	quoted  = regexp.MustCompile("`([^`]+)`")
)

// importRulesIn reads the table of packages. A package may also reach what its imports may import.
func importRulesIn(architecture string) map[string]importRule {
	out := map[string]importRule{".": {}}
	for _, row := range ruleRow.FindAllStringSubmatch(architecture, -1) {
		var named []string
		for _, name := range quoted.FindAllStringSubmatch(row[3], -1) {
			named = append(named, name[1])
		}
		r := importRule{pure: strings.HasSuffix(row[2], "(pure)"), all: strings.HasPrefix(row[3], "all")}
		if r.all {
			r.except = named
		} else {
			r.ours = named
		}
		out[row[1]] = r
	}
	for name, r := range out {
		for i := 0; i < len(r.ours); i++ { // grows
			for _, next := range out[r.ours[i]].ours {
				if !slices.Contains(r.ours, next) {
					r.ours = append(r.ours, next)
				}
			}
		}
		out[name] = r
	}
	return out
}

func architectureRules(t *testing.T) map[string]importRule {
	t.Helper()
	text, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	return importRulesIn(string(text))
}

// A pure package must not reach these, however indirectly …
var notReached = []string{"k8s.io/client-go", "sigs.k8s.io/controller-runtime"}

// … nor import these itself, nor call these.
var (
	notImported = []string{"net/http", "os", "log", "log/slog", "github.com/go-logr/logr", "k8s.io/klog/v2", "github.com/prometheus/client_golang/prometheus", "math/rand", "math/rand/v2"}
	notCalled   = []string{"time.Now", "time.Since", "time.Until", "time.After", "time.Sleep"}
)

type listedPackage struct {
	ImportPath string
	Dir        string
	Doc        string
	Imports    []string
	Deps       []string
	GoFiles    []string
}

// own returns the path within our module, and whether the import path is ours at all.
func own(importPath string) (string, bool) {
	if importPath == module {
		return ".", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

func listPackages(t *testing.T) []listedPackage {
	t.Helper()
	command := exec.Command("go", "list", "-json=ImportPath,Dir,Doc,Imports,Deps,GoFiles", "./...")
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []listedPackage
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listedPackage
		if err := decoder.Decode(&p); err == io.EOF {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		if len(p.GoFiles) > 0 {
			packages = append(packages, p)
		}
	}
}

func TestPackagesFollowTheImportRules(t *testing.T) {
	packages, rules := listPackages(t), architectureRules(t)
	seen := map[string]bool{}
	for _, p := range packages {
		name, _ := own(p.ImportPath)
		seen[name] = true
		rule, known := rules[name]
		if !known {
			t.Errorf("package %s has no row in the table of ARCHITECTURE.md: add one, or move the code", name)
			continue
		}
		for _, fault := range faults(name, rule, p) {
			t.Error(fault)
		}
		if strings.TrimSpace(p.Doc) == "" {
			t.Errorf("package %s has no package comment", name)
		}
	}
	for name := range rules {
		if !seen[name] {
			t.Errorf("ARCHITECTURE.md has a row for %s, but there is no such package", name)
		}
	}
}

// faults returns a sentence for everything in p that its rule forbids.
func faults(name string, rule importRule, p listedPackage) []string {
	var out []string
	for _, dep := range p.Deps {
		if ours, is := own(dep); is && !rule.allows(ours) {
			out = append(out, fmt.Sprintf("package %s reaches our package %s; see ARCHITECTURE.md for what it may reach", name, ours))
		}
		if !rule.pure {
			continue
		}
		for _, banned := range notReached {
			if dep == banned || strings.HasPrefix(dep, banned+"/") {
				out = append(out, fmt.Sprintf("package %s is pure and must not reach %s", name, dep))
			}
		}
	}
	if !rule.pure {
		return out
	}
	for _, imported := range p.Imports {
		if slices.Contains(notImported, imported) {
			out = append(out, fmt.Sprintf("package %s is pure and must not import %s", name, imported))
		}
	}
	for _, file := range p.GoFiles {
		out = append(out, forbiddenCalls(name, filepath.Join(p.Dir, file))...)
	}
	return out
}

func forbiddenCalls(name, path string) []string {
	files := token.NewFileSet()
	parsed, err := parser.ParseFile(files, path, nil, 0)
	if err != nil {
		return []string{err.Error()}
	}
	var out []string
	ast.Inspect(parsed, func(node ast.Node) bool {
		selector, ok := node.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if from, ok := selector.X.(*ast.Ident); ok && slices.Contains(notCalled, from.Name+"."+selector.Sel.Name) {
			out = append(out, fmt.Sprintf("package %s is pure and must not use %s.%s (%s)", name, from.Name, selector.Sel.Name, files.Position(node.Pos())))
		}
		return true
	})
	return out
}

// The rules themselves must bite: a made-up package that breaks each of them is told so.
func TestFaultsAreFound(t *testing.T) {
	file := filepath.Join(t.TempDir(), "clock.go")
	if err := os.WriteFile(file, []byte("package x\nimport \"time\"\nvar _ = time.Now()\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	bad := listedPackage{
		Imports: []string{"os"},
		Deps:    []string{module + "/webhook", "k8s.io/client-go/rest"},
		Dir:     filepath.Dir(file), GoFiles: []string{"clock.go"},
	}
	if got := faults("inject", architectureRules(t)["inject"], bad); len(got) != 4 {
		t.Errorf("want one fault each for our package, the client, the import and the clock, got %q", got)
	}
}

func TestImportRulesAreRead(t *testing.T) {
	got := importRulesIn("| package | job | may import |\n|---|---|---|\n| `a` | Job. (pure) | nothing |\n| `b` | Job (a part). | `a` |\n| `c` | Job. | `b` |\n| `d` | Job. | all but `c` |\n| `e` | Job. | all |\n| `f` | nothing |\n")
	want := map[string]importRule{
		".": {}, "a": {pure: true}, "b": {ours: []string{"a"}}, "c": {ours: []string{"b", "a"}},
		"d": {all: true, except: []string{"c"}}, "e": {all: true},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// The product must not require what only its tests and its test control plane need.
func TestProductRequiresNeitherIstioNorKubernetesItself(t *testing.T) {
	text, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for _, banned := range []string{"istio.io/istio ", "k8s.io/kubernetes ", "helm.sh/helm"} {
		if strings.Contains(string(text), banned) {
			t.Errorf("go.mod requires %s", banned)
		}
	}
}
