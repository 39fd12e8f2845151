// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write what comes out into the scripts")

func TestMain(m *testing.M) {
	program := func() { os.Exit(Execute(Root(os.Args[0], "unknown"), os.Stderr)) }
	testscript.Main(m, map[string]func(){"outrigger": program, "kubectl-outrigger": program})
}

// The commands, run as a user runs them; each script holds its input and what must come out.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
	})
}

// The sample on the page of the command is the output that the script pins.
func TestDocsShowTheOutputOfDiff(t *testing.T) {
	script, err := txtar.ParseFile(filepath.Join("testdata", "script", "diff.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/reference/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	sample := "    $ outrigger diff -f app.yaml\n"
	for _, file := range script.Files {
		if file.Name == "want.txt" {
			for line := range strings.Lines(string(file.Data)) {
				sample += "    " + line
			}
		}
	}
	if !strings.Contains(string(page), sample) {
		t.Errorf("docs/reference/cli.md does not contain\n%s", sample)
	}
}
