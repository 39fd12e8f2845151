// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"outrigger.dev/outrigger/api"
)

// ClusterFlag is a flag of kubectl that selects the cluster or the user, such as --context=prod.
type ClusterFlag struct{ Name, Value string }

// ClusterFlags are the flags with which the user selected the cluster. A copied command needs the same flags.
type ClusterFlags []ClusterFlag

// flagNames are the names of kubectl's flags in other programs. A flag that is not listed does not exist there.
var flagNames = map[string]map[string]string{
	"helm": {
		"kubeconfig": "kubeconfig", "context": "kube-context", "as": "kube-as-user", "as-group": "kube-as-group", "server": "kube-apiserver",
		"certificate-authority": "kube-ca-file", "tls-server-name": "kube-tls-server-name", "insecure-skip-tls-verify": "kube-insecure-skip-tls-verify",
	},
	"istioctl": {"kubeconfig": "kubeconfig", "context": "context", "as": "as", "as-group": "as-group"},
}

// Complete adds the flags to each program of a command line, quoted for a shell. It returns a command unchanged if its quotes are not closed.
func (f ClusterFlags) Complete(command string) string {
	words, closed := shellWords(command)
	if len(f) == 0 || !closed {
		return command
	}
	var out []string
	for len(words) > 0 {
		end := slices.Index(words, "|")
		if end < 0 {
			return strings.Join(append(out, f.completed(words)...), " ")
		}
		out = append(append(out, f.completed(words[:end])...), "|")
		words = words[end+1:]
	}
	return strings.Join(out, " ")
}

// CompleteText adds the flags to each command in a text for a terminal, such as an error. Unlike a text for SplitCommands, this one can contain
// words from other sources: a command among them also gets the flags, but no button copies it.
func (f ClusterFlags) CompleteText(text string) string {
	if len(f) == 0 {
		return text
	}
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		var out strings.Builder
		for {
			begin, end := nextCommand(line)
			if begin < 0 {
				break
			}
			out.WriteString(line[:begin] + f.Complete(line[begin:end]))
			line = line[end:]
		}
		lines[i] = out.String() + line
	}
	return strings.Join(lines, "\n")
}

// CompleteError returns the text of an error for a terminal, with the flags added to the commands in it.
func (f ClusterFlags) CompleteError(err error) string {
	var out strings.Builder
	for _, part := range TextOf(err) {
		if part.IsCommand {
			out.WriteString(f.Complete(part.Text))
		} else {
			out.WriteString(f.CompleteText(part.Text))
		}
	}
	return out.String()
}

// completed adds the flags to the words of one program.
func (f ClusterFlags) completed(words []string) []string {
	if len(words) == 0 || !programs.MatchString(words[0]) {
		return words
	}
	out := slices.Clone(words)
	for _, flag := range f {
		name := flag.Name
		if names, differs := flagNames[words[0]]; differs {
			name = names[flag.Name]
		}
		if word := api.ShellWord("--" + name + "=" + flag.Value); name != "" && !slices.Contains(out, word) {
			out = append(out, word)
		}
	}
	return out
}

// shellWords splits a command line into words at the spaces outside quotes. The words keep their quotes. It returns false if a quote is not
// closed.
func shellWords(command string) (words []string, closed bool) {
	var quote byte
	begin := 0
	add := func(end int) {
		if end > begin {
			words = append(words, command[begin:end])
		}
		begin = end + 1
	}
	for i := 0; i < len(command); i++ {
		switch c := command[i]; {
		case quote == 0 && c == ' ':
			add(i)
		case c == '\\' && quote != '\'':
			i++
		case quote == 0 && (c == '\'' || c == '"'):
			quote = c
		case c == quote:
			quote = 0
		}
	}
	add(len(command))
	return words, quote == 0
}

// IsSimpleCommand reports whether a shell runs nothing but the programs at the beginning and after " | ", with the words as they are: outside
// single quotes, the command has no characters with another meaning for a shell, and nowhere does it have hidden characters or line breaks.
func IsSimpleCommand(command string) bool {
	words, closed := shellWords(command)
	if !closed || !utf8.ValidString(command) || strings.ContainsFunc(command, func(r rune) bool {
		return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)
	}) {
		return false
	}
	for _, word := range words {
		bare := quotedText.ReplaceAllString(strings.ReplaceAll(word, `\'`, ""), "")
		if word != "|" && strings.ContainsAny(bare, "'\"\\`$&;|<>()#!*?[]{}~") {
			return false
		}
	}
	return len(words) > 0
}

// quotedText matches a text in single quotes.
var quotedText = regexp.MustCompile(`'[^']*'`)

// TextPart is a piece of a text: a command, or what is around it.
type TextPart struct {
	Text      string
	IsCommand bool
}

// SplitCommands splits a text into the commands that it contains and the rest, without the backquotes and the period that end a command.
// Every word of the text must be Outrigger's own, except names and values that api.ShellWord or %q quotes: other texts, such as errors and
// values of annotations, can contain what looks like a command. A text in double quotes contains none.
func SplitCommands(text string) []TextPart {
	var out []TextPart
	add := func(text string, isCommand bool) {
		if strings.TrimSpace(text) != "" {
			out = append(out, TextPart{text, isCommand})
		}
	}
	for {
		begin, end := nextCommand(text)
		if begin < 0 {
			add(text, false)
			return out
		}
		add(strings.TrimSuffix(text[:begin], "`"), false)
		add(text[begin:end], true)
		text = strings.TrimPrefix(text[end:], "`")
		if rest := strings.TrimPrefix(text, "."); rest == "" || strings.HasPrefix(rest, " ") {
			text = rest
		}
	}
}

var (
	programs = regexp.MustCompile(`^(?:kubectl|outrigger|helm|istioctl)$`)
	// commandBegin matches the beginning of a command to run, after the punctuation or word that introduces it. Elsewhere, a text only
	// mentions a command: "outrigger explain names it".
	commandBegin = regexp.MustCompile("(?:^|[:(`] ?|[:.] |, (?:and|or|then) |\\b(?:[Ss]ee|for|of) )((?:kubectl|outrigger|helm|istioctl) [a-z-])")
	// commandEnd matches what follows a command: the rest of its sentence, or the next one.
	commandEnd = regexp.MustCompile("^(?:`|, [a-z]+ |; |\\.? [A-Z][a-z]+ |\\. [A-Z]|\\.?$)")
)

// nextCommand returns where the first command of a text begins and ends, or -1 if there is none.
func nextCommand(text string) (begin, end int) {
	found := commandBegin.FindStringSubmatchIndex(withoutQuoted(text))
	if found == nil {
		return -1, -1
	}
	begin = found[2]
	open := 0
	for end = begin; end < len(text); end++ {
		switch text[end] {
		case '\'':
			if quoted := strings.IndexByte(text[end+1:], '\''); quoted >= 0 {
				end += quoted + 1
			}
			continue
		case '(':
			open++
		case ')':
			if open--; open < 0 {
				return begin, end
			}
		}
		if commandEnd.MatchString(text[end:]) {
			return begin, end
		}
	}
	return begin, end
}

// withoutQuoted replaces what is in double quotes, as %q writes them, with as many underscores. A quote that is not closed ends with the text.
func withoutQuoted(text string) string {
	out := []byte(text)
	isQuoted := false
	for i := 0; i < len(out); i++ {
		switch {
		case out[i] == '"':
			isQuoted = !isQuoted
		case isQuoted && out[i] == '\\' && i+1 < len(out):
			out[i], out[i+1] = '_', '_'
			i++
		case isQuoted:
			out[i] = '_'
		}
	}
	return string(out)
}
