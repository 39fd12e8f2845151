// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"outrigger.dev/outrigger/hack/install"
)

// canaryPage shows commands of the demo with their output, and a command to type afterwards, in blocks that are marked "demo".
const canaryPage = "docs/canary.md"

// The demo tells its whole story, and prints what the page about canaries shows: its commands, and their output. While it stays up, the
// commands of the page work, and the fixed version succeeds.
func TestDemoShowsWhatThePageSays(t *testing.T) {
	root, err := install.Root()
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(canaryPage)))
	if err != nil {
		t.Fatal(err)
	}
	blocks, afterwards := demoBlocks("console", string(page)), demoBlocks("sh", string(page))
	if len(blocks) == 0 || len(afterwards) == 0 {
		t.Fatalf("%s has no blocks marked demo", canaryPage)
	}
	var out bytes.Buffer
	err = run(t.Context(), &screen{out: &out}, func(ctx context.Context, s *stage) error {
		for _, block := range afterwards { // each of them ends with a canary that succeeds
			if err := s.run(ctx, do(block).show(""), until("outrigger status -n "+checkout, contains("canary v2 succeeded")).show("")); err != nil {
				return err
			}
		}
		return s.run(ctx, do("outrigger status springbootapp -n "+shop, contains("canary v2 succeeded")))
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	t.Logf("%s", out.String())
	for _, block := range blocks {
		if missing := missingLine(block, out.String()); missing != "" {
			t.Errorf("%s shows %q, which the demo does not print there", canaryPage, missing)
		}
	}
}

var demoBlock = regexp.MustCompile("(?ms)^```(sh|console) demo\n(.*?)^```$")

// demoBlocks returns the blocks of a language.
func demoBlocks(language, page string) (blocks []string) {
	for _, found := range demoBlock.FindAllStringSubmatch(page, -1) {
		if found[1] == language {
			blocks = append(blocks, found[2])
		}
	}
	return blocks
}

// changing are times, durations, the measured numbers of checks, and addresses.
var changing = regexp.MustCompile(`\d{4}-\d\d-\d\dT[\d:]+Z|\b\d+(\.\d+)?m?s\b|\b\d+(\.\d+)?% \(`)

// missingLine returns the first line of a block that the output does not have; empty if it has all of them, in this order.
func missingLine(block, output string) string {
	plain := func(line string) string {
		return strings.Join(strings.Fields(changing.ReplaceAllString(line, "N ")), " ")
	}
	lines := strings.Split(output, "\n")
	for line := range strings.Lines(block) {
		want := plain(line)
		at := slices.IndexFunc(lines, func(line string) bool { return plain(line) == want })
		if want != "" && want != "…" && at < 0 {
			return strings.TrimSpace(line)
		}
		if at >= 0 {
			lines = lines[at+1:]
		}
	}
	return ""
}

func TestMissingLinesAreFound(t *testing.T) {
	const output = "\n  $ outrigger canary web v2\n    canary v2 1/2 20%  error-rate 5% (<1%)\n    applied (waited 2s for the proxies)\nSaid.\n"
	for block, want := range map[string]string{
		"$ outrigger canary web v2\ncanary v2 1/2 20%  error-rate 4.97% (<1%)\n…\n": "",
		"$ outrigger canary web v2\napplied (waited 500ms for the proxies)\n":       "",
		"canary v2 1/2 30%  error-rate 5% (<1%)\n":                                  "canary v2 1/2 30%  error-rate 5% (<1%)",
		"canary v2 1/2 20%  error-rate 5% (<2%)\n":                                  "canary v2 1/2 20%  error-rate 5% (<2%)",
		"applied (waited 2s for the proxies)\n$ outrigger canary web v2\n":          "$ outrigger canary web v2",
	} {
		if got := missingLine(block, output); got != want {
			t.Errorf("%q: %q is missing; want %q", block, got, want)
		}
	}
	if blocks := demoBlocks("console", "```console demo\na\nb\n```\n```console run\nc\n```\n```sh demo\nd\n```\n"); !slices.Equal(blocks, []string{"a\nb\n"}) {
		t.Errorf("got %q", blocks)
	}
}

// Every command that changes the cluster is shown: a reader could not follow the story otherwise.
func TestChangesAreShown(t *testing.T) {
	for line, want := range map[string]bool{
		"kubectl annotate service springbootapp outrigger.dev/match- -n demo":         true,
		"kubectl create namespace checkout":                                           true,
		"sed 's/v1/v2/' rolling.yaml | kubectl apply -n demo -f -":                    true,
		"helm upgrade outrigger charts/outrigger -n outrigger-system -f metrics.yaml": true,
		"outrigger undo springbootapp -n demo --wait":                                 true,
		"outrigger disable demo --dry-run=client":                                     false,
		"outrigger status -n demo":                                                    false,
		"kubectl get events -n demo --field-selector reason=CanaryAborted":            false,
	} {
		if got := isChange(line); got != want {
			t.Errorf("isChange(%q) = %t", line, got)
		}
		if !want {
			continue
		}
		var out bytes.Buffer
		s := &stage{screen: &screen{out: &out}, dir: t.TempDir()}
		if err := s.run(t.Context(), do("true # | "+line)); err != nil {
			t.Error(err)
		}
		if !strings.Contains(out.String(), "$ true # | "+line) {
			t.Errorf("it is not shown: %q", out.String())
		}
	}
}
