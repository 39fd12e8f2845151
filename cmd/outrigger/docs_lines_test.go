// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const repository = "../.."

// docsPages lists the Markdown files for users, relative to the repository. The changelog is history.
func docsPages(t *testing.T) []string {
	t.Helper()
	var pages []string
	err := filepath.WalkDir(repository, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(repository, path)
		if entry.IsDir() && (entry.Name() == ".git" || entry.Name() == "testdata" || name == "bin" || name == "dist") {
			return filepath.SkipDir
		}
		if strings.HasSuffix(name, ".md") && name != "CHANGELOG.md" {
			pages = append(pages, name)
		}
		return nil
	})
	if err != nil || len(pages) < 20 {
		t.Fatalf("%d pages: %v", len(pages), err)
	}
	return pages
}

var (
	fence        = regexp.MustCompile("^ *```([a-z]*)")
	span         = regexp.MustCompile("`([^`\n]+)`")
	listItem     = regexp.MustCompile(`^ *([-*+]|\d+\.) `)
	commandWords = []string{"outrigger", "bin/outrigger", "kubectl", "helm", "make", "go"}
)

// commandLines returns what a page shows as commands: the lines of blocks with a prompt or a known command, and such spans.
func commandLines(text string) (lines []string) {
	language, inFence, before, inList := "", false, "", false
	prompts := false // the block has prompts, so its other lines are output
	text = strings.ReplaceAll(text, "\\\n", " ")
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if found := fence.FindStringSubmatch(line); found != nil {
			inFence, language, prompts = !inFence, found[1], false
			continue
		}
		code := strings.TrimSpace(line)
		if listItem.MatchString(line) {
			inList = true
		} else if line != "" && line[0] != ' ' {
			inList = false
		}
		indented := !inFence && strings.HasPrefix(line, "    ") && (!inList || strings.HasPrefix(line, "        ")) && before == ""
		switch {
		case inFence && slices.Contains([]string{"", "sh", "bash", "console"}, language), indented:
			command, prompted := strings.CutPrefix(code, "$ ")
			prompts = prompts || prompted
			if prompted || !prompts && language != "console" && startsCommand(command) {
				lines = append(lines, command)
			}
		case !inFence:
			for _, found := range span.FindAllStringSubmatch(line, -1) {
				if startsCommand(found[1]) {
					lines = append(lines, found[1])
				}
			}
		}
		if !indented {
			before, prompts = code, prompts && inFence
		}
	}
	return lines
}

func startsCommand(text string) bool {
	word, rest, _ := strings.Cut(text, " ")
	return slices.Contains(commandWords, word) && rest != ""
}

// shellCommands splits a line of a shell into its commands, and them into words without quotes. Substitutions stay one word.
func shellCommands(line string) [][]string {
	var out [][]string
	var words []string
	var word strings.Builder
	inWord, quote, depth := false, rune(0), 0
	endWord := func() {
		if inWord {
			words = append(words, word.String())
		}
		inWord = false
		word.Reset()
	}
	endCommand := func() {
		endWord()
		if len(words) > 0 {
			out = append(out, words)
		}
		words = nil
	}
	for i, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case r == '(' && strings.HasSuffix(line[:i], "$") || depth > 0 && r == '(':
			depth++
			word.WriteRune(r)
		case depth > 0 && r == ')':
			depth--
			word.WriteRune(r)
		case depth > 0:
			word.WriteRune(r)
		case r == '#' && !inWord:
			endCommand()
			return out
		case r == ' ' || r == '\t':
			endWord()
		case strings.ContainsRune("|;&", r):
			endCommand()
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	endCommand()
	return out
}

func readRepository(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
