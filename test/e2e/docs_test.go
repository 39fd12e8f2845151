// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// guides are the pages whose blocks marked "run" are run, in the order in which a new user reads them.
var guides = []string{"README.md", "docs/howto/shift.md", "docs/howto/match.md", "docs/howto/mirror.md", "docs/howto/sticky.md",
	"docs/howto/expose.md", "docs/howto/blue-green.md", "docs/howto/roll-back.md"}

// The README's example and the how-to pages work as written: each command succeeds, and prints what the page shows. Only times,
// durations, and the spaces of tables may differ. It does not run in parallel, because one page exposes every host.
func TestDocsCommandsRun(t *testing.T) {
	needIstio(t)
	shell := newDocsShell(t)
	setUp := 0
	for _, line := range readmeExample(t) {
		setUp++
		shell.once(t, line)
	}
	if setUp != 3 {
		t.Fatalf("the README's quick start creates the example with %d commands, not 3", setUp)
	}
	t.Cleanup(func() {
		_, _ = cluster.Kubectl(context.Background(), nil, "delete", "namespace", "springistiodemo", "--wait=false")
	})
	wantRoutes(t, "springistiodemo", "springbootapp", "v1=100")
	readyPods(t, "springistiodemo", "app=springbootapp", 2)
	for _, page := range guides {
		t.Run(strings.TrimSuffix(filepath.Base(page), ".md"), func(t *testing.T) {
			blocks := runnableBlocks(readDocs(t, page))
			if len(blocks) == 0 {
				t.Fatalf("%s has no block marked run", page)
			}
			for _, block := range blocks {
				for _, step := range block {
					shell.run(t, step)
				}
			}
		})
		if t.Failed() {
			return // the next page begins where this one ends
		}
		if page == "README.md" {
			shell.once(t, "outrigger promote springbootapp v1 -n springistiodemo --wait")
		}
	}
}

func TestRunnableBlocksAreFound(t *testing.T) {
	got := runnableBlocks("```sh\nno\n```\n```sh run\na\nb\n```\n1. x\n   ```console run\n   $ c\n   out\n     put\n   $ d\n   ```\n")
	want := [][]docsStep{{{command: "a"}, {command: "b"}}, {{command: "c", output: []string{"out", "put"}}, {command: "d"}}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("want %q, got %q", want, got)
	}
	step := docsStep{output: []string{"written at 2026-11-24T09:38:27Z", "a   b", "applied (waited 2s for the proxies)"}}
	if missing := step.missing("x\nwritten at 2027-01-02T03:04:05Z\n  a b\n…\napplied (waited 500ms for the proxies)\n"); missing != "" {
		t.Errorf("%q was found missing", missing)
	}
	if missing := step.missing("a b\nwritten at 2027-01-02T03:04:05Z\n"); missing != "a   b" {
		t.Errorf("the order matters: got %q", missing)
	}
}

type docsStep struct {
	command string
	output  []string
}

var runnableBlock = regexp.MustCompile("(?ms)^ *```(sh|console) run\n(.*?)^ *```$")

// runnableBlocks returns the steps of a page's blocks that are marked "run".
func runnableBlocks(page string) (blocks [][]docsStep) {
	for _, found := range runnableBlock.FindAllStringSubmatch(page, -1) {
		var steps []docsStep
		for line := range strings.Lines(strings.ReplaceAll(found[2], "\\\n", " ")) {
			line = strings.TrimSpace(line)
			command, prompted := strings.CutPrefix(line, "$ ")
			switch {
			case line == "" || line == "…":
			case prompted || found[1] == "sh":
				steps = append(steps, docsStep{command: command})
			case len(steps) > 0:
				last := &steps[len(steps)-1]
				last.output = append(last.output, line)
			}
		}
		blocks = append(blocks, steps)
	}
	return blocks
}

var changing = regexp.MustCompile(`\d{4}-\d\d-\d\dT[\d:]+Z|\d+(\.\d+)?m?s\b`)

// missing returns the first line of the page's output that the real output does not have, in the same order.
func (s docsStep) missing(output string) string {
	plain := func(line string) string { return cells(changing.ReplaceAllString(line, "TIME")) }
	lines := strings.Split(plain(output), "\n")
	for _, want := range s.output {
		for {
			if len(lines) == 0 {
				return want
			}
			line := lines[0]
			if lines = lines[1:]; line == plain(want) {
				break
			}
		}
	}
	return ""
}

// docsShell runs commands in the folder of the repository, with outrigger and kubectl in the path.
type docsShell struct{ env []string }

func newDocsShell(t *testing.T) *docsShell {
	t.Helper()
	bin := t.TempDir()
	for name, program := range map[string]string{"outrigger": outrigger.Binary, "kubectl": cluster.Assets["kubectl"]} {
		if err := os.Symlink(program, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	env := append(os.Environ(), cluster.Env()...)
	return &docsShell{env: append(env, "PATH="+bin+":"+os.Getenv("PATH"))}
}

func (s *docsShell) output(t *testing.T, line string) (string, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", line)
	command.Dir, command.Env = outrigger.Root, s.env
	out, err := command.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", line, err, out)
	}
	return string(out), nil
}

func (s *docsShell) once(t *testing.T, line string) string {
	t.Helper()
	out, err := s.output(t, line)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// run runs a step. What only reads is repeated until it prints what the page shows.
func (s *docsShell) run(t *testing.T, step docsStep) {
	t.Helper()
	check := func(out string) error {
		if missing := step.missing(out); missing != "" {
			return fmt.Errorf("%s does not print %q, but:\n%s", step.command, missing, out)
		}
		return nil
	}
	if !regexp.MustCompile(`^(outrigger (status|explain|check|coverage)|kubectl (get|describe)) `).MatchString(step.command) {
		if err := check(s.once(t, step.command)); err != nil {
			t.Fatal(err)
		}
		return
	}
	eventually(t, step.command, func() error {
		out, err := s.output(t, step.command)
		if err != nil {
			return err
		}
		return check(out)
	})
}

// readmeExample returns the commands of the README's quick start that create the example.
func readmeExample(t *testing.T) (lines []string) {
	t.Helper()
	_, section, _ := strings.Cut(readDocs(t, "README.md"), "\n## Quick start")
	section, _, _ = strings.Cut(section, "\n## ")
	for line := range strings.Lines(section) {
		if strings.HasPrefix(line, "kubectl ") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

func readDocs(t *testing.T, page string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(outrigger.Root, page))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
