// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"slices"
	"strings"
	"text/template"
	"text/template/parse"
)

// parsedTemplate is a template with the traits that were found when it was parsed.
type parsedTemplate struct {
	*template.Template
	sideEffects bool // calls functions that change their arguments, so it gets a copy of the data
	volatile    bool // calls functions that return something else each time, so nothing of it is kept
	// perReplica means that it reads what differs between the replicas of a workload, so replicas do not share an answer.
	perReplica bool
}

func newParsedTemplate(t *template.Template) *parsedTemplate {
	out := &parsedTemplate{Template: t}
	for _, part := range t.Templates() {
		if part.Tree != nil {
			walk(part.Root, out.note)
		}
	}
	return out
}

func (t *parsedTemplate) note(node parse.Node) {
	switch node := node.(type) {
	case *parse.CommandNode:
		t.noteCommand(node)
	case *parse.ChainNode:
		t.noteFields(node.Field)
	case *parse.FieldNode:
		t.noteFields(node.Ident)
	case *parse.VariableNode:
		t.noteFields(node.Ident[1:])
	case *parse.IdentifierNode:
		t.sideEffects = t.sideEffects || changers[node.Ident]
		t.volatile = t.volatile || isVolatile(node.Ident)
	}
}

// changers are functions that change their first argument.
var changers = map[string]bool{"set": true, "unset": true, "merge": true, "mergeOverwrite": true, "mustMerge": true, "mustMergeOverwrite": true}

// isVolatile reports whether a function may return something else each time.
func isVolatile(function string) bool {
	switch function {
	case "now", "ago", "uuidv4", "bcrypt", "htpasswd", "derivePassword", "encryptAES", "shuffle":
		return true
	}
	for _, prefix := range []string{"date", "rand", "gen"} {
		if strings.HasPrefix(function, prefix) {
			return true
		}
	}
	return false
}

// noteFields checks a field chain for protobuf setters and for fields in which the replicas of a workload differ.
func (t *parsedTemplate) noteFields(names []string) {
	for i, name := range names {
		setter := strings.HasPrefix(name, "Set") || strings.HasPrefix(name, "Reset")
		t.sideEffects = t.sideEffects || setter
		switch name {
		case "Volumes", "VolumeMounts":
			t.perReplica = true // the volume of the service account's token has a random name
		case "Name", "UID", "CreationTimestamp":
			t.perReplica = t.perReplica || i > 0 && names[i-1] == "ObjectMeta"
		}
	}
}

// noteCommand checks whether a command gets the whole ObjectMeta. Only the function annotation reads no more than one annotation of it.
func (t *parsedTemplate) noteCommand(node *parse.CommandNode) {
	if function, is := node.Args[0].(*parse.IdentifierNode); is && function.Ident == "annotation" {
		return
	}
	for _, argument := range node.Args {
		field, is := argument.(*parse.FieldNode)
		variable, isVariable := argument.(*parse.VariableNode)
		whole := is && slices.Equal(field.Ident, []string{"ObjectMeta"}) || isVariable && slices.Equal(variable.Ident[1:], []string{"ObjectMeta"})
		t.perReplica = t.perReplica || whole
	}
}

func walk(node parse.Node, visit func(parse.Node)) {
	branch := func(b *parse.BranchNode) {
		walk(b.Pipe, visit)
		walk(b.List, visit)
		walk(b.ElseList, visit)
	}
	switch node := node.(type) {
	case *parse.ListNode:
		if node != nil {
			for _, below := range node.Nodes {
				walk(below, visit)
			}
		}
	case *parse.PipeNode:
		if node != nil {
			visit(node)
			for _, command := range node.Cmds {
				walk(command, visit)
			}
		}
	case *parse.ActionNode:
		walk(node.Pipe, visit)
	case *parse.CommandNode:
		visit(node)
		for _, argument := range node.Args {
			walk(argument, visit)
		}
	case *parse.ChainNode:
		visit(node)
		walk(node.Node, visit)
	case *parse.TemplateNode:
		walk(node.Pipe, visit)
	case *parse.IfNode:
		branch(&node.BranchNode)
	case *parse.RangeNode:
		branch(&node.BranchNode)
	case *parse.WithNode:
		branch(&node.BranchNode)
	default:
		visit(node)
	}
}
