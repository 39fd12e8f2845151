// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const commandsPage = "docs/reference/commands.md"

// The page of all commands is generated from the commands themselves.
func TestCommandsPageIsCurrent(t *testing.T) {
	want := commandsReference()
	if *update {
		if err := os.WriteFile(filepath.Join(repository, commandsPage), []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, readRepository(t, commandsPage)); diff != "" {
		t.Errorf("%s differs from the commands; \"make docs\" generates it:\n%s", commandsPage, diff)
	}
}

func commandsReference() string {
	program := root("outrigger")
	var commands []*cobra.Command
	for _, command := range program.Commands() {
		if command.IsAvailableCommand() && command.Name() != "help" {
			commands = append(commands, command)
		}
	}
	common := commonFlags(commands)

	var b strings.Builder
	b.WriteString("# Commands\n\nLook up the arguments, flags, and examples of a command. [Commands for routing](routing-cli.md) and " +
		"[commands for injection](cli.md) explain them with their output. `make docs` generates this page from the source.\n\n" +
		"| command | what it does |\n|---|---|\n")
	for _, command := range commands {
		fmt.Fprintf(&b, "| [`%s`](#outrigger-%s) | %s |\n", command.Name(), command.Name(), cell(command.Short))
	}
	b.WriteString("\n## Common flags\n\nThe commands that contact the cluster have these flags.\n\n")
	table(&b, common)
	for _, command := range commands {
		fmt.Fprintf(&b, "\n## outrigger %s\n\n", command.Name())
		text := command.Long
		if text == "" {
			text = command.Short + "."
		}
		fmt.Fprintf(&b, "```text\n%s\n```\n\n```text\n%s\n```\n", strings.TrimSpace(text), command.UseLine())
		if command.Example != "" {
			fmt.Fprintf(&b, "\n```sh\n%s\n```\n", unindent(command.Example))
		}
		var own []*pflag.Flag
		for _, flag := range flagsOf(command) {
			if !contains(common, flag) {
				own = append(own, flag)
			}
		}
		if len(own) > 0 {
			b.WriteString("\n")
			table(&b, own)
		}
	}
	return b.String()
}

func flagsOf(command *cobra.Command) (flags []*pflag.Flag) {
	command.Flags().VisitAll(func(flag *pflag.Flag) {
		if !flag.Hidden && flag.Name != "help" {
			flags = append(flags, flag)
		}
	})
	return flags
}

// commonFlags returns the flags that at least six commands have with the same text.
func commonFlags(commands []*cobra.Command) (common []*pflag.Flag) {
	count := map[string]int{}
	for _, command := range commands {
		for _, flag := range flagsOf(command) {
			if count[flag.Name+flag.Usage]++; count[flag.Name+flag.Usage] == 6 {
				common = append(common, flag)
			}
		}
	}
	return common
}

func contains(flags []*pflag.Flag, flag *pflag.Flag) bool {
	for _, other := range flags {
		if other.Name == flag.Name && other.Usage == flag.Usage {
			return true
		}
	}
	return false
}

func table(b *strings.Builder, flags []*pflag.Flag) {
	b.WriteString("| flag | default | meaning |\n|---|---|---|\n")
	for _, flag := range flags {
		name := "`--" + flag.Name + "`"
		if flag.Shorthand != "" {
			name = "`-" + flag.Shorthand + "`, " + name
		}
		value := ""
		if flag.DefValue != "" && flag.DefValue != "[]" {
			value = "`" + flag.DefValue + "`"
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", name, value, cell(flag.Usage))
	}
}

// cell makes a text fit into a table: angle brackets are not HTML, and lines do not end the row.
func cell(text string) string {
	return strings.NewReplacer("|", "\\|", "<", "&lt;", "\n", " ").Replace(text)
}

func unindent(text string) string {
	var lines []string
	for line := range strings.Lines(strings.Trim(text, "\n")) {
		lines = append(lines, strings.TrimPrefix(strings.TrimRight(line, "\n"), "  "))
	}
	return strings.Join(lines, "\n")
}
