// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"regexp"
	"strings"
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

// Complete adds the flags to each program of a command line, quoted for a shell.
func (f ClusterFlags) Complete(command string) string {
	if len(f) == 0 {
		return command
	}
	parts := strings.Split(command, " | ")
	for i, part := range parts {
		parts[i] = f.completed(part)
	}
	return strings.Join(parts, " | ")
}

func (f ClusterFlags) completed(command string) string {
	program, _, _ := strings.Cut(command, " ")
	if !programs.MatchString(program) {
		return command
	}
	for _, flag := range f {
		name := flag.Name
		if names, differs := flagNames[program]; differs {
			name = names[flag.Name]
		}
		if word := shellWord("--" + name + "=" + flag.Value); name != "" && !strings.Contains(command+" ", " "+word+" ") {
			command += " " + word
		}
	}
	return command
}

// CompleteIn adds the flags to each command in a text.
func (f ClusterFlags) CompleteIn(text string) string {
	if len(f) == 0 {
		return text
	}
	var out strings.Builder
	for {
		begin, end := nextCommand(text)
		if begin < 0 {
			out.WriteString(text)
			return out.String()
		}
		out.WriteString(text[:begin] + f.Complete(text[begin:end]))
		text = text[end:]
	}
}

// TextPart is a piece of a text: a command, or what is around it.
type TextPart struct {
	Text      string
	IsCommand bool
}

// SplitCommands splits a text into the commands that it contains and the rest, without the backquotes and the period that end a command.
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
	commandBegin = regexp.MustCompile("(?:^|[:(`] ?|[:.] |, (?:or|then) |\\b(?:[Ss]ee|for|of) )((?:kubectl|outrigger|helm|istioctl) [a-z-])")
	// commandEnd matches what follows a command: the rest of its sentence, or the next one.
	commandEnd = regexp.MustCompile("^(?:`|, [a-z]+ |; |\\.? [A-Z][a-z]+ |\\. [A-Z]|\\.?$)")
)

// nextCommand returns where the first command of a text begins and ends, or -1 if there is none.
func nextCommand(text string) (begin, end int) {
	found := commandBegin.FindStringSubmatchIndex(text)
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
