// SPDX-License-Identifier: Apache-2.0

package outrigger

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// Every relative link in a Markdown file leads to a file of the repository, and its anchor to a heading there.
func TestMarkdownLinksWork(t *testing.T) {
	pages := trackedFiles(t, "*.md")
	if len(pages) < 20 {
		t.Fatalf("only %d pages were found", len(pages))
	}
	links := 0
	for _, page := range pages {
		text := read(t, page)
		for _, link := range markdownLinks(text) {
			links++
			if fault := linkFault(page, link); fault != "" {
				t.Errorf("%s links to %s: %s", page, link, fault)
			}
		}
	}
	if links < 100 {
		t.Errorf("only %d links were found", links)
	}
}

// The index leads to every page.
func TestDocsIndexIsComplete(t *testing.T) {
	index := markdownLinks(read(t, "docs/README.md"))
	for _, page := range trackedFiles(t, "docs/*.md") {
		name := strings.TrimPrefix(page, "docs/")
		if name == "README.md" || strings.HasPrefix(name, "decisions/0") {
			continue
		}
		if !slices.Contains(index, name) {
			t.Errorf("docs/README.md does not link to %s", page)
		}
	}
}

// Every path under docs/ that a source, a message, or a page names exists.
func TestNamedDocsPagesExist(t *testing.T) {
	page := regexp.MustCompile(`\bdocs/[A-Za-z0-9/_-]+\.(?:md|svg|d2)\b`)
	mentions := 0
	for _, file := range trackedFiles(t) {
		if file == "CHANGELOG.md" || file == "docs_links_test.go" {
			continue // history keeps its names
		}
		for _, name := range page.FindAllString(read(t, file), -1) {
			mentions++
			if _, err := os.Stat(name); err != nil {
				t.Errorf("%s names %s, which does not exist", file, name)
			}
		}
	}
	if mentions < 20 {
		t.Errorf("only %d mentions were found", mentions)
	}
}

func TestLinkFaultsAreFound(t *testing.T) {
	for link, fault := range map[string]string{
		"docs/README.md":              "",
		"docs/README.md#reference":    "",
		"https://istio.io":            "",
		"docs/nothing.md":             "no such file",
		"docs/README.md#no-such-part": "no heading with this anchor",
		"#no-such-part":               "no heading with this anchor",
	} {
		if got := linkFault("README.md", link); got != fault {
			t.Errorf("%s: want %q, got %q", link, fault, got)
		}
	}
	headings := "# `expose`, and TLS: a (short) story\n```\n# not a heading\n```\n## Twice\n## Twice\n## [A link](x.md) too_far\n"
	want := map[string]bool{"expose-and-tls-a-short-story": true, "twice": true, "twice-1": true, "a-link-too_far": true}
	if got := anchors(headings); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("want the anchors %v, got %v", want, got)
	}
}

// linkFault says what is wrong with a link of a page; addresses outside the repository are not looked up.
func linkFault(page, link string) string {
	if strings.Contains(link, "://") || strings.HasPrefix(link, "mailto:") {
		return ""
	}
	file, anchor, hasAnchor := strings.Cut(link, "#")
	if file = filepath.Join(filepath.Dir(page), file); link[0] == '#' {
		file = page
	}
	if _, err := os.Stat(file); err != nil {
		return "no such file"
	}
	if !hasAnchor {
		return ""
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	if !anchors(string(text))[anchor] {
		return "no heading with this anchor"
	}
	return ""
}

var (
	fenced     = regexp.MustCompile("(?ms)^ *```.*?^ *```[ \t]*$")
	inlineCode = regexp.MustCompile("`[^`\n]+`")
	linkTarget = regexp.MustCompile(`\]\(([^)\s]+)\)|^ {0,3}\[[^\]]+\]:\s+(\S+)|(?:src|href)="([^"]+)"`)
	linkText   = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	heading    = regexp.MustCompile(`(?m)^#{1,6} +(.+?)\s*$`)
)

// markdownLinks returns the targets of all links and pictures outside code.
func markdownLinks(text string) []string {
	var out []string
	text = inlineCode.ReplaceAllString(fenced.ReplaceAllString(text, ""), "")
	for _, found := range linkTarget.FindAllStringSubmatch(text, -1) {
		out = append(out, found[1]+found[2]+found[3])
	}
	return out
}

// anchors returns the anchors of a page's headings, made as GitHub makes them.
func anchors(text string) map[string]bool {
	out := map[string]bool{}
	for _, found := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		base := slug(linkText.ReplaceAllString(found[1], "$1"))
		anchor := base
		for n := 1; out[anchor]; n++ {
			anchor = fmt.Sprintf("%s-%d", base, n)
		}
		out[anchor] = true
	}
	return out
}

func slug(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, heading)
}

// trackedFiles lists the files of the repository that match, with those that are not committed yet.
func trackedFiles(t *testing.T, patterns ...string) []string {
	t.Helper()
	out, err := exec.Command("git", append([]string{"ls-files", "--cached", "--others", "--exclude-standard", "--"}, patterns...)...).Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	var files []string
	for _, file := range strings.Fields(string(out)) {
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() {
			files = append(files, file)
		}
	}
	return files
}
