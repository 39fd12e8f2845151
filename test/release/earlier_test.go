// SPDX-License-Identifier: Apache-2.0

package release

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"outrigger.dev/outrigger/hack/install"
)

// earlier is the commit at which the main job was done. Whoever installed that must be able to upgrade.
const earlier = "1074ba4746f7daf6745f14d5427442f1cf6d085d"

// earlierRelease packs the chart of that commit and builds its binary.
func earlierRelease(t *testing.T) (chart, binary string) {
	t.Helper()
	return releaseAt(t, earlier)
}

// releaseAt packs the chart of a commit and builds its binary.
func releaseAt(t *testing.T, commit string) (chart, binary string) {
	t.Helper()
	root, err := install.Root()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("git", "-C", root, "cat-file", "-e", commit+"^{commit}").CombinedOutput(); err != nil {
		t.Fatalf("commit %s is not in this clone, and upgrading from it cannot be tested; a shallow clone gets it by: git fetch --unshallow\n%s", commit, out)
	}
	source := t.TempDir()
	var stderr bytes.Buffer
	archive := exec.Command("git", "-C", root, "archive", "--format=tar", commit)
	archive.Stderr = &stderr
	text, err := archive.Output()
	if err != nil {
		t.Fatalf("git archive %s: %v\n%s", commit, err, stderr.String())
	}
	if err := unpack(text, source); err != nil {
		t.Fatal(err)
	}
	if binary, err = install.BuildFrom(t.Context(), source, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	packed := t.TempDir()
	helm(t, "package", filepath.Join(source, "charts", "outrigger"), "--destination", packed)
	charts, err := filepath.Glob(filepath.Join(packed, "outrigger-*.tgz"))
	if err != nil || len(charts) != 1 {
		t.Fatalf("helm package made %q: %v", charts, err)
	}
	return charts[0], binary
}

// unpack writes the files of a tar archive that git made into a folder.
func unpack(text []byte, dir string) error {
	for reader := tar.NewReader(bytes.NewReader(text)); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		content, err := io.ReadAll(reader)
		if err != nil {
			return err
		}
		path := filepath.Join(dir, filepath.FromSlash(strings.TrimPrefix(header.Name, "/")))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, content, 0o644)); err != nil {
			return err
		}
	}
}
