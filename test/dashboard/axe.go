// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// The npm package for accessibility audits. It is downloaded into the cache folder, and is not part of this repository.
const (
	axeVersion = "4.14.1"
	axeFile    = "package/axe.min.js"
	axeDigest  = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c" // SHA-256 of axeFile
)

// axe returns the script of axe-core.
var axe = sync.OnceValues(func() (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(cache, "axe-core-"+axeVersion+".min.js")
	if text, err := os.ReadFile(path); err == nil && digest(text) == axeDigest {
		return string(text), nil
	}
	text, err := downloadAxe(cache)
	if err != nil {
		return "", fmt.Errorf("no axe-core: %w. Install npm (Debian: apt-get install npm) and run the test with a network once, or copy axe.min.js of axe-core %s to %s", err, axeVersion, path)
	}
	return string(text), os.WriteFile(path, text, 0o644)
})

func digest(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// downloadAxe has npm, which knows the user's registry and proxy, download the package.
func downloadAxe(cache string) ([]byte, error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(cache, "axe-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, "npm", "pack", "axe-core@"+axeVersion, "--silent", "--pack-destination", dir)
	if out, err := command.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("npm pack: %w\n%s", err, out)
	}
	archive, err := os.Open(filepath.Join(dir, "axe-core-"+axeVersion+".tgz"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = archive.Close() }()
	text, err := fileIn(archive, axeFile)
	if err == nil && digest(text) != axeDigest {
		err = fmt.Errorf("%s of axe-core %s has the SHA-256 %s, not %s", axeFile, axeVersion, digest(text), axeDigest)
	}
	return text, err
}

// fileIn returns a file of a packed archive.
func fileIn(archive io.Reader, name string) ([]byte, error) {
	unpacked, err := gzip.NewReader(archive)
	if err != nil {
		return nil, err
	}
	for files := tar.NewReader(unpacked); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("the package has no file %s", name)
		}
		if err != nil {
			return nil, err
		}
		if header.Name == name {
			return io.ReadAll(io.LimitReader(files, 10<<20))
		}
	}
}

// NeedAxe skips the test if axe-core is not in the cache and cannot be downloaded.
func NeedAxe(t testing.TB) {
	t.Helper()
	if _, err := axe(); err != nil {
		t.Skip(err)
	}
}

// violation is a rule of axe-core that elements of the page violate.
type violation struct {
	ID    string
	Help  string
	Nodes []struct {
		HTML           string
		FailureSummary string
	}
}

// Audit returns what axe-core finds on the page, one text for each violated rule.
func (tab *Tab) Audit() []string {
	tab.t.Helper()
	script, err := axe()
	if err != nil {
		tab.t.Fatal(err)
	}
	Eval[bool](tab, script+"\n;true")
	found := Eval[[]violation](tab, `axe.run(document, {resultTypes: ["violations"]}).then(result => result.violations.map(
		v => ({ID: v.id, Help: v.help, Nodes: v.nodes.map(n => ({HTML: n.html.slice(0, 300), FailureSummary: n.failureSummary}))})))`)
	var out []string
	for _, b := range found {
		text := b.ID + ": " + b.Help
		for _, node := range b.Nodes {
			text += "\n  " + node.HTML + "\n  " + strings.ReplaceAll(node.FailureSummary, "\n", "\n    ")
		}
		out = append(out, text)
	}
	return out
}
