// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/Masterminds/semver/v3"

	"outrigger.dev/outrigger/hack/chart"
)

const root = "../.."

// The binary, the image, the chart, and the changelog have one version, whatever this tree is: released or not.
func TestEverythingHasOneVersion(t *testing.T) {
	version := strings.TrimSpace(command(t, root, "sh", "hack/version.sh"))
	if _, err := semver.StrictNewVersion(version); err != nil {
		t.Errorf("hack/version.sh prints %q: %v", version, err)
	}
	tag, _, _ := strings.Cut(version, "+")

	own, err := chart.Own()
	if err != nil {
		t.Fatal(err)
	}
	chartVersion, appVersion := own.Version()
	if chartVersion != tag || appVersion != tag {
		t.Errorf("the chart has version %s and appVersion %s; the binary has %s", chartVersion, appVersion, tag)
	}

	// What "make image" names the image, and what the chart runs.
	line := command(t, root, "make", "--no-print-directory", "-n", "image")
	repository, imageVersion := flagOf(t, line, "repository"), flagOf(t, line, "version")
	if imageVersion != version {
		t.Errorf("make image builds version %s; want %s", imageVersion, version)
	}
	image, err := own.Image()
	if err != nil {
		t.Fatal(err)
	}
	if want := repository + ":" + tag; image != want {
		t.Errorf("the chart runs %s; \"make image\" makes %s", image, want)
	}
	if build := command(t, root, "make", "--no-print-directory", "-n", "build"); !strings.Contains(build, "-X main.version="+version+`"`) {
		t.Errorf("make build does not build version %s:\n%s", version, build)
	}
	if line := command(t, root, "make", "--no-print-directory", "-n", "chart"); flagOf(t, line, "version") != version || flagOf(t, line, "repository") != repository {
		t.Errorf("make chart packs another version or image:\n%s", line)
	}

	changelog, err := os.ReadFile(filepath.Join(root, "CHANGELOG.md"))
	if err != nil {
		t.Fatal(err)
	}
	want := tag
	if strings.HasSuffix(tag, "-dev") {
		want = unreleased
	}
	if got := newest(string(changelog)); got != want {
		t.Errorf("the newest heading of CHANGELOG.md is %q; version %s needs %q", got, version, want)
	}
}

func TestVersionOfATree(t *testing.T) {
	tree := t.TempDir()
	if err := os.MkdirAll(chart.Folder(tree), 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(chart.Folder(tree), "Chart.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	git := func(args ...string) {
		t.Helper()
		command(t, tree, "git", append([]string{"-c", "user.name=a", "-c", "user.email=a@example.test"}, args...)...)
	}
	expect := func(when, pattern string) {
		t.Helper()
		if got := strings.TrimSpace(command(t, root, "sh", "hack/version.sh", tree)); !regexp.MustCompile("^" + pattern + "$").MatchString(got) {
			t.Errorf("%s: the version is %s; want %s", when, got, pattern)
		}
	}
	write("version: 1.3.0-dev\n")
	expect("without git", `1\.3\.0-dev\+unknown`)
	git("init", "-q")
	git("add", ".")
	git("commit", "-q", "-m", "first")
	expect("on a commit", `1\.3\.0-dev\+[0-9a-f]{12}`)
	git("tag", "other")
	expect("on another tag", `1\.3\.0-dev\+[0-9a-f]{12}`)
	git("tag", "v1.2.3")
	expect("on a release's tag", `1\.2\.3`)
	write("version: 1.3.0-dev\n# changed\n")
	expect("on a release's tag, with changes", `1\.3\.0-dev\+[0-9a-f]{12}\.dirty`)
	git("commit", "-q", "-a", "-m", "second")
	expect("after a release", `1\.3\.0-dev\+[0-9a-f]{12}`)
}

func TestCheckNamesEverythingThatIsNotTheVersion(t *testing.T) {
	tree := t.TempDir()
	if err := os.CopyFS(chart.Folder(tree), os.DirFS(chart.Folder(root))); err != nil {
		t.Fatal(err)
	}
	changelog := filepath.Join(tree, "CHANGELOG.md")
	if err := os.WriteFile(changelog, []byte("# Changelog\n\n## Unreleased\n\n- a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := check(tree, "1.2.3")
	for _, want := range []string{"version is", "appVersion is", `newest heading is "Unreleased"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("check does not report %q: %v", want, err)
		}
	}
	file := filepath.Join(chart.Folder(tree), "Chart.yaml")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data = regexp.MustCompile(`(?m)^(version|appVersion): .*$`).ReplaceAll(data, []byte("$1: 1.2.3"))
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(changelog, []byte("# Changelog\n\n## 1.2.3 (2026-12-01)\n\n- a\n\n## 1.2.2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := check(tree, "1.2.3"); err != nil {
		t.Error(err)
	}
}

// "make release VERSION=banana" once removed the last release and compiled for minutes.
func TestMakeRefusesWhatIsNoVersion(t *testing.T) {
	m := newMakeTree(t, "case \"$*\" in *run*) touch built ;; esac\n")
	for _, target := range []string{"release", "image", "chart"} {
		for _, version := range []string{"banana", "v1.2", "1.2.3-01", "01.2.3", "1.2.3 4", "1.2.3+", "1.2.3;x"} {
			out, err := m.run(t, target, version)
			if want := "VERSION=" + strings.TrimPrefix(version, "v") + " is not a version: expected MAJOR.MINOR.PATCH"; err == nil || !strings.Contains(out, want) {
				t.Errorf("make %s VERSION=%s: %v, and no %q in\n%s", target, version, err, want, out)
			}
		}
	}
	m.wantPrevious(t)
	if m.has("built") || m.has("hack/image/built") {
		t.Error("something was built")
	}
	for _, version := range []string{"v1.2.3", "1.2.3-rc.1", "1.3.0-dev+0123456789ab.dirty"} {
		if out, err := m.run(t, "image", version); err != nil {
			t.Errorf("make image VERSION=%s: %v\n%s", version, err, out)
		}
	}
}

// Whichever step of a release fails, the previous release and its image stay, and the next release that succeeds replaces both.
func TestAFailedReleaseLeavesThePreviousOne(t *testing.T) {
	// In place of Go, a script writes a file where the command would, and fails if its arguments contain what "fails" says.
	m := newMakeTree(t, `fails=$(cat "$(dirname "$0")/fails")
while [ $# -gt 0 ]; do
	case $1 in -o | -binaries) mkdir -p "$2" && touch "$2/new" ;; esac
	case $1 in "$fails") echo "as requested" >&2; exit 1 ;; esac
	shift
done
`)
	for _, fails := range []string{"-archive", "-binaries", "complete"} {
		write(t, filepath.Join(m.folder, "fails"), fails)
		if out, err := m.run(t, "release", "v1.2.3"); err == nil || !strings.Contains(out, "as requested") {
			t.Fatalf("the step with %s does not fail: %v\n%s", fails, err, out)
		}
		m.wantPrevious(t)
		if m.has("bin/release/new") || m.has("bin/image/new") {
			t.Errorf("the step with %s fails, and the folders of the previous release have new files", fails)
		}
	}
	write(t, filepath.Join(m.folder, "fails"), "nothing")
	if out, err := m.run(t, "release", "v1.2.3"); err != nil {
		t.Fatalf("make release: %v\n%s", err, out)
	}
	if m.has("bin/release/previous") || m.has("bin/image/previous") {
		t.Error("files of the previous release are among those of the new one")
	}
	if !m.has("bin/release/new") || !m.has("bin/image/new") || m.has("bin/.release") {
		t.Error("the new release or its image is missing, or the folder that it was built in stays")
	}
}

// makeTree is a folder with the Makefile, a script in place of Go, and a previous release.
type makeTree struct{ folder string }

func newMakeTree(t *testing.T, script string) makeTree {
	t.Helper()
	m := makeTree{t.TempDir()}
	for _, name := range []string{"Makefile", "release.env", "hack/check-version.sh", "hack/version.sh"} {
		data, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(m.folder, name), string(data))
	}
	for _, name := range []string{"bin/release/previous", "bin/image/previous", "hack/image/main.go"} {
		write(t, filepath.Join(m.folder, name), "")
	}
	program := filepath.Join(m.folder, "go")
	write(t, program, "#!/bin/sh\nset -eu\n"+script)
	if err := os.Chmod(program, 0o700); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m makeTree) run(t *testing.T, target, version string) (string, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "make", "--no-print-directory", "GO="+filepath.Join(m.folder, "go"), target, "VERSION="+version)
	command.Dir = m.folder
	command.Env = append(os.Environ(), "MAKEFLAGS=", "MAKELEVEL=", "SOURCE_DATE_EPOCH=1800000000")
	out, err := command.CombinedOutput()
	return string(out), err
}

func (m makeTree) has(name string) bool {
	_, err := os.Stat(filepath.Join(m.folder, filepath.FromSlash(name)))
	return err == nil
}

func (m makeTree) wantPrevious(t *testing.T) {
	t.Helper()
	if !m.has("bin/release/previous") || !m.has("bin/image/previous") {
		t.Error("the previous release or its image was removed")
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestNotesAreThoseOfTheVersion(t *testing.T) {
	const changelog = "# Changelog\n\n## Unreleased\n\n### Added\n\n- new\n\n## 1.1.0 (2026-12-01)\n\n- second\n\n## v1.0.0\n\n- first\n"
	for version, want := range map[string][2]string{
		"1.1.0": {"- second\n", "1.1.0"},
		"1.0.0": {"- first\n", "1.0.0"},
		"1.2.0": {"### Added\n\n- new\n", unreleased},
	} {
		if notes, heading := notesOf(changelog, version); notes != want[0] || heading != want[1] {
			t.Errorf("%s: %q under %q; want %q", version, notes, heading, want)
		}
	}
}

func flagOf(t *testing.T, line, name string) string {
	t.Helper()
	found := regexp.MustCompile(` -` + name + ` (\S+)`).FindStringSubmatch(line)
	if found == nil {
		t.Fatalf("no -%s in %s", name, line)
	}
	return found[1]
}

// command runs a program without the variables of a make around it, and returns what it prints.
func command(t *testing.T, dir, program string, args ...string) string {
	t.Helper()
	run := exec.CommandContext(t.Context(), program, args...)
	run.Dir = dir
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); name != "MAKEFLAGS" && name != "MAKELEVEL" && name != "MFLAGS" && name != "VERSION" {
			run.Env = append(run.Env, variable)
		}
	}
	var stderr strings.Builder
	run.Stderr = &stderr
	out, err := run.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}
