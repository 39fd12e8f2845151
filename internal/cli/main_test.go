// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
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
