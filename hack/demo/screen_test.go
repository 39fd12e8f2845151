// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestHeadingsAreNumberedInOrder(t *testing.T) {
	for i, step := range steps {
		if !strings.HasPrefix(step.title, fmt.Sprintf("%d. ", i)) {
			t.Errorf("heading %d is %q", i, step.title)
		}
	}
}

// A step fits on a third of a screen: few commands, each on at most two lines.
func TestStepsAreShort(t *testing.T) {
	most := map[string]int{"9. Roll out a version as a canary": 7} // docs/canary.md shows a canary from its start to its success
	for _, step := range steps {
		shown := 0
		for _, command := range step.commands {
			if command.shown == nil && !isChange(command.line) {
				continue
			}
			if shown++; len(command.line) > 160 {
				t.Errorf("step %q shows a command of %d letters: %s", step.title, len(command.line), command.line)
			}
		}
		if shown > cmp.Or(most[step.title], 3) || shown == 0 && step.walk == nil {
			t.Errorf("step %q shows %d commands", step.title, shown)
		}
	}
}

// A shell that reads what is printed at the end finds the programs and the cluster of the demo.
func TestCommandsAtTheEndWorkAsPrinted(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	const standIn = "#!/bin/sh\necho \"$KUBECONFIG $(basename $0) $*\"\n"
	for _, name := range []string{"outrigger", "kubectl"} {
		if err := os.WriteFile(filepath.Join(dir, "bin", name), []byte(standIn), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	var commands strings.Builder
	for line := range strings.Lines(meanwhile) {
		if strings.HasPrefix(line, "  ") { // the other lines are text
			commands.WriteString(line)
		}
	}
	out, err := exec.CommandContext(t.Context(), "sh", "-ec", enter(dir, "/demo/kubeconfig")+commands.String()).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"/demo/kubeconfig outrigger dashboard -A\n", "/demo/kubeconfig outrigger status -n checkout\n", "/demo/kubeconfig kubectl get destinationrule,virtualservice -n springistiodemo -o yaml\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

const poem = "printf 'one 1\\ntwo 2\\nthree 1\\n'"

func TestTheStoryShowsTheLinesThatMatter(t *testing.T) {
	tests := map[string]struct {
		verbose bool
		want    string
	}{
		"short":   {false, "  $ " + poem + "\n    one 1\n    three 1\n  $ true\n"},
		"verbose": {true, "  $ " + poem + "\n    one 1\n    two 2\n    three 1\n  $ true\n  $ echo unseen\n    unseen\n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			s := &stage{screen: &screen{out: &out, verbose: test.verbose}, dir: t.TempDir()}
			err := s.run(t.Context(), do(poem, contains("two")).show(" 1"), do("true").show(), do("echo unseen", contains("unseen")))
			if err != nil {
				t.Fatal(err)
			}
			if out.String() != test.want {
				t.Errorf("the story is\n%s\nwant\n%s", out.String(), test.want)
			}
		})
	}
}

func TestAFailureIsShownWhole(t *testing.T) {
	for name, failing := range map[string]command{"a check": do(poem, contains("four")), "the command": do(poem + "; false")} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			s := &stage{screen: &screen{out: &out}, dir: t.TempDir()}
			err := s.run(t.Context(), failing, do("echo unseen").show("unseen"))
			if err == nil || !strings.Contains(err.Error(), poem) {
				t.Errorf("the error is %v", err)
			}
			if !strings.Contains(out.String(), "    two 2\n") || strings.Contains(out.String(), "unseen") {
				t.Errorf("the story is\n%s", out.String())
			}
		})
	}
}

func TestACommandIsRepeatedUntilItsChecksPass(t *testing.T) {
	var out strings.Builder
	s := &stage{screen: &screen{out: &out}, dir: t.TempDir()}
	if err := s.run(t.Context(), until("echo x >>file; wc -l <file", contains("3")).show("3")); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(out.String(), "    3\n") {
		t.Errorf("the story is\n%s", out.String())
	}
}

func TestScreen(t *testing.T) {
	var out strings.Builder
	s := &screen{out: &out}
	s.heading("One")
	s.say("a %s\n  b", strings.Repeat("x", 99))
	s.command("echo hi", "hi\nthere")
	s.right("done")
	want := "\nOne\na\n" + strings.Repeat("x", 99) + "\nb\n  $ echo hi\n    hi\n    there\n✓ done\n"
	if out.String() != want {
		t.Errorf("the screen shows\n%q\nwant\n%q", out.String(), want)
	}
}

// On a terminal, progress is one line that is replaced and finally removed. Elsewhere it is plain lines, and few of those that
// only repeat.
func TestProgress(t *testing.T) {
	const input = "building etcd (1 of 7)\n  still building etcd after 20s\n  still building etcd after 2m20s\n  still building etcd after 2m40s\nbuilding helm (7 of 7)"
	tests := map[string]struct {
		terminal bool
		want     string
	}{
		"elsewhere": {false, "building etcd (1 of 7)\n  still building etcd after 2m20s\nbuilding helm (7 of 7)\n"},
		"terminal":  {true, "\r\x1b[Kbuilding etcd (1 of 7)\r\x1b[Kbuilding helm (7 of 7)\r\x1b[K" + strings.Repeat("x", 73) + "… 20s\r\x1b[K"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			// Its own clock, and no redrawing beside the test.
			now := time.Unix(0, 0)
			p := &progress{screen: &screen{out: &out, terminal: test.terminal}, now: func() time.Time { return now }, stop: make(chan struct{})}
			for line := range strings.Lines(input) {
				if _, err := p.Write([]byte(line)); err != nil {
					t.Fatal(err)
				}
				switch {
				case strings.Contains(line, "etcd (1"):
					now = now.Add(20 * time.Second)
				case strings.Contains(line, "after 20s"):
					now = now.Add(silence)
				case strings.Contains(line, "after 2m20s"):
					now = now.Add(20 * time.Second)
				}
			}
			if _, err := p.Write([]byte("\n")); err != nil {
				t.Fatal(err)
			}
			if test.terminal {
				p.current, p.since = strings.Repeat("x", 200), now
				now = now.Add(20 * time.Second)
				p.draw()
			}
			p.close()
			p.close()
			if out.String() != test.want {
				t.Errorf("it shows\n%q\nwant\n%q", out.String(), test.want)
			}
		})
	}
}
