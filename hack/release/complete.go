// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"outrigger.dev/outrigger/hack/chart"
)

// checksums is the name of the file with the checksums of all others, as sha256sum writes and checks it.
const checksums = "checksums.txt"

// complete adds to the archives of the commands and of the image, which are in the folder, what else a release has.
func (r Release) complete(root, folder, layout string, out io.Writer) error {
	digest, err := layoutDigest(layout)
	if err != nil {
		return err
	}
	own, err := chart.Own()
	if err != nil {
		return err
	}
	packed, _, err := r.packChart(own, folder, digest)
	if err != nil {
		return err
	}
	manifest, err := packed.Manifest(nil)
	if err != nil {
		return err
	}
	plugin, err := r.krew(folder)
	if err != nil {
		return err
	}
	changelog, err := os.ReadFile(filepath.Join(root, "CHANGELOG.md"))
	if err != nil {
		return err
	}
	notes, heading := notesOf(string(changelog), r.Version)
	if heading == unreleased {
		_, _ = fmt.Fprintf(out, "CHANGELOG.md has no heading for %s; the release notes are those under %q\n", r.Version, unreleased)
	}
	for name, text := range map[string]string{
		"outrigger.yaml":      manifest,
		"krew-outrigger.yaml": plugin,
		"release-notes.md":    notes + r.imageNote(digest),
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := writeChecksums(folder); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "release %s of image %s:%s@%s\n", r.Version, r.Repository, r.Version, digest)
	return err
}

func (r Release) imageNote(digest string) string {
	return fmt.Sprintf("\n### Image\n\n`%s:%s@%s`\n", r.Repository, r.Version, digest)
}

// layoutDigest returns the digest of the only entry of an OCI layout: that of the image for all platforms.
func layoutDigest(layout string) (string, error) {
	data, err := os.ReadFile(filepath.Join(layout, "index.json"))
	if err != nil {
		return "", err
	}
	var index struct{ Manifests []struct{ Digest string } }
	if err := json.Unmarshal(data, &index); err != nil {
		return "", fmt.Errorf("%s: %w", layout, err)
	}
	if len(index.Manifests) != 1 {
		return "", fmt.Errorf("%s has %d entries; want 1", layout, len(index.Manifests))
	}
	return index.Manifests[0].Digest, nil
}

// writeChecksums writes a line for each file of a folder, in the order of their names.
func writeChecksums(folder string) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	var lines []string
	for _, entry := range entries {
		if entry.IsDir() || entry.Name() == checksums {
			continue
		}
		sum, err := sha256Of(filepath.Join(folder, entry.Name()))
		if err != nil {
			return err
		}
		lines = append(lines, sum+"  "+entry.Name()+"\n")
	}
	slices.SortFunc(lines, func(a, b string) int { return strings.Compare(a[64:], b[64:]) })
	return os.WriteFile(filepath.Join(folder, checksums), []byte(strings.Join(lines, "")), 0o644)
}

func sha256Of(file string) (string, error) {
	opened, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer func() { _ = opened.Close() }()
	hash := sha256.New()
	if _, err := io.Copy(hash, opened); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
