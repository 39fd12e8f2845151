// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"slices"
	"text/template/parse"
)

// constant reports whether a node has the same value for every pod.
func (s *specializer) constant(node parse.Node, at scope) bool {
	switch node := node.(type) {
	case *parse.StringNode, *parse.NumberNode, *parse.BoolNode, *parse.NilNode:
		return true
	case *parse.DotNode:
		return at.dotIsConstant
	case *parse.FieldNode:
		return at.dotIsConstant || at.dotIsRoot && s.fields[node.Ident[0]]
	case *parse.VariableNode:
		return s.variables[node.Ident[0]] || at.dollarIsRoot && node.Ident[0] == "$" && len(node.Ident) > 1 && s.fields[node.Ident[1]]
	case *parse.IdentifierNode:
		return !isVolatile(node.Ident) && !changers[node.Ident]
	case *parse.ChainNode:
		return s.constant(node.Node, at)
	case *parse.PipeNode:
		return s.constantPipe(node, at)
	}
	return false
}

func (s *specializer) constantPipe(pipe *parse.PipeNode, at scope) bool {
	return pipe != nil && len(pipe.Decl) == 0 && s.constantCommands(pipe, at)
}

func (s *specializer) constantCommands(pipe *parse.PipeNode, at scope) bool {
	if pipe == nil {
		return false
	}
	for _, command := range pipe.Cmds {
		arguments := command.Args
		if key, rest, reads := s.readsAnnotation(command, at); reads {
			s.assumedAbsent[key] = true
			arguments = rest
		}
		for _, argument := range arguments {
			if !s.constant(argument, at) {
				return false
			}
		}
	}
	return true
}

// readsAnnotation reports whether a command reads one annotation by name that the pods do not have. It returns the annotation's key
// and the arguments that remain to be checked.
func (s *specializer) readsAnnotation(command *parse.CommandNode, at scope) (key string, rest []parse.Node, reads bool) {
	if !s.withoutAnnotations || len(command.Args) < 3 {
		return "", nil, false
	}
	function, isFunction := command.Args[0].(*parse.IdentifierNode)
	name, isText := command.Args[2].(*parse.StringNode)
	if !isFunction || !isText {
		return "", nil, false
	}
	switch {
	case (function.Ident == "index" || function.Ident == "isset") && len(command.Args) == 3 && isField(command.Args[1], at, "ObjectMeta", "Annotations"):
		return name.Text, nil, true
	case function.Ident == "annotation" && isField(command.Args[1], at, "ObjectMeta"):
		return name.Text, command.Args[3:], true
	}
	return "", nil, false
}

// isField reports whether a node is a field of the data.
func isField(node parse.Node, at scope, names ...string) bool {
	switch node := node.(type) {
	case *parse.FieldNode:
		return at.dotIsRoot && slices.Equal(node.Ident, names)
	case *parse.VariableNode:
		return at.dollarIsRoot && node.Ident[0] == "$" && slices.Equal(node.Ident[1:], names)
	}
	return false
}

// printed returns what a constant action prints.
func (s *specializer) printed(node parse.Node, pipe *parse.PipeNode, at scope) ([]byte, bool) {
	if !s.constantPipe(pipe, at) {
		return nil, false
	}
	return s.run(node)
}

func (s *specializer) truth(pipe *parse.PipeNode, at scope) (holds, known bool) {
	if !s.constantPipe(pipe, at) {
		return false, false
	}
	yes := &parse.ListNode{NodeType: parse.NodeList, Nodes: []parse.Node{&parse.TextNode{NodeType: parse.NodeText, Text: []byte("yes")}}}
	text, known := s.run(&parse.IfNode{BranchNode: parse.BranchNode{NodeType: parse.NodeIf, Pipe: pipe, List: yes}})
	return len(text) > 0, known
}

// text returns the value of a constant argument that is a string.
func (s *specializer) text(argument parse.Node, at scope) (text string, ok bool) {
	if !s.constant(argument, at) {
		return "", false
	}
	s.captured = nil
	command := &parse.CommandNode{NodeType: parse.NodeCommand, Args: []parse.Node{parse.NewIdentifier("outriggerCapture"), argument}}
	_, ran := s.run(&parse.ActionNode{NodeType: parse.NodeAction, Pipe: &parse.PipeNode{NodeType: parse.NodePipe, Cmds: []*parse.CommandNode{command}}})
	text, ok = s.captured.(string)
	return text, ok && ran
}

// run executes one node with the constant data, after the declarations of the constant variables. It is not ok if execution
// fails: the node then stays, and fails when a pod reaches it.
func (s *specializer) run(node parse.Node) (printed []byte, ok bool) {
	if s.budget--; s.budget < 0 {
		return nil, false
	}
	nodes := append(slices.Clone(s.declared), node)
	tree := &parse.Tree{Name: "constant", Root: &parse.ListNode{NodeType: parse.NodeList, Nodes: nodes}}
	t, err := s.runner.AddParseTree("constant", tree)
	if err != nil {
		return nil, false
	}
	var out recorder
	if err := t.Execute(&out, s.data); err != nil {
		return nil, false
	}
	return out.text, true
}
