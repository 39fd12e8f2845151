// SPDX-License-Identifier: Apache-2.0

package outrigger

import (
	"strings"
	"testing"
)

const licenseLine = "// SPDX-License-Identifier: Apache-2.0\n\n"

// Each Go file names the license of the repository in its first line, so that a copy of one file carries it.
func TestGoFilesNameTheirLicense(t *testing.T) {
	if !strings.Contains(read(t, "LICENSE"), "Apache License\n                           Version 2.0") {
		t.Fatal("LICENSE is not the Apache License 2.0, which the Go files name")
	}
	files := trackedFiles(t, "*.go")
	if len(files) < 500 {
		t.Fatalf("only %d files were found", len(files))
	}
	for _, file := range files {
		if !strings.Contains(file, "testdata/") && !strings.HasPrefix(read(t, file), licenseLine) {
			t.Errorf("%s does not begin with the line %q and an empty line", file, strings.TrimSpace(licenseLine))
		}
	}
}
