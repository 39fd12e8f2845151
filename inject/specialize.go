// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"bytes"
	"slices"
	"text/template"
	"text/template/parse"
)

// specializer replaces the parts of a template that print the same for all pods with common settings (common.go) by what they
// print: a condition becomes its branch, and an action becomes text. Most of what Istio's templates read are the values, the mesh
// configuration, and annotations that few pods have. Without it, executing templates takes most of the time of a review
// (docs/decisions/0031).
type specializer struct {
	original, runner *template.Template
	data             *data           // only commonFields are set
	absent           map[string]bool // annotations that the replaced parts read by name, and that the pods must not have

	declared  []parse.Node    // actions that declare constant variables, in their order
	variables map[string]bool // constant variables
	once      map[string]bool // variables that are declared at one place and never assigned to again
	budget    int             // of evaluations and copies, so that no configuration takes long to parse
}

// commonFields are the fields of a template's data that are the same for all pods with common settings.
var commonFields = map[string]bool{
	"Values": true, "MeshConfig": true, "Revision": true, "CompliancePolicy": true, "InboundTrafficPolicyMode": true,
	"ProxyConfig": true, "NativeSidecars": true, "ProxyImage": true, "ProxyInitImage": true, "ProxyUID": true, "ProxyGID": true,
}

// specialize returns a template that prints the same as t for pods with these common fields and without the absent annotations.
func specialize(t *template.Template, d *data) (specialized *template.Template, absent map[string]bool, err error) {
	if specialized, err = t.Clone(); err != nil {
		return nil, nil, err
	}
	s := &specializer{original: t, data: d, absent: map[string]bool{}, variables: map[string]bool{}, once: declaredOnce(t), budget: 10000}
	if s.runner, err = t.Clone(); err != nil {
		return nil, nil, err
	}
	specialized.Tree = specialized.Copy() // Clone shares the nodes
	specialized.Root.Nodes = s.list(specialized.Root.Nodes, true)
	return specialized, s.absent, nil
}

// declaredOnce returns the names of the variables that have one value from where they are declared to where they end.
func declaredOnce(t *template.Template) map[string]bool {
	once := map[string]bool{}
	for _, part := range t.Templates() {
		if part.Tree == nil {
			continue
		}
		walk(part.Root, func(node parse.Node) {
			if pipe, is := node.(*parse.PipeNode); is {
				for _, variable := range pipe.Decl {
					_, declared := once[variable.Ident[0]]
					once[variable.Ident[0]] = !declared
				}
			}
		})
	}
	return once
}

// list specializes a sequence of nodes, and joins adjacent texts. dotIsRoot means that . is all of the data, as $ is.
func (s *specializer) list(nodes []parse.Node, dotIsRoot bool) []parse.Node {
	var out []parse.Node
	for _, node := range nodes {
		node = s.node(node, dotIsRoot)
		if node == nil {
			continue
		}
		if text, is := node.(*parse.TextNode); is && len(out) > 0 {
			if last, is := out[len(out)-1].(*parse.TextNode); is {
				out[len(out)-1] = &parse.TextNode{NodeType: parse.NodeText, Pos: last.Pos, Text: append(bytes.Clone(last.Text), text.Text...)}
				continue
			}
		}
		out = append(out, node)
	}
	return out
}

// node returns the replacement of a node; nil for nothing.
func (s *specializer) node(node parse.Node, dotIsRoot bool) parse.Node {
	switch node := node.(type) {
	case *parse.ActionNode:
		if s.isConstant(node.Pipe, dotIsRoot) {
			if text, ok := s.run(node); ok {
				return &parse.TextNode{NodeType: parse.NodeText, Pos: node.Pos, Text: text}
			}
		}
		s.declare(node, dotIsRoot)
	case *parse.IfNode:
		return s.condition(node, dotIsRoot)
	case *parse.RangeNode:
		s.branches(&node.BranchNode, false, dotIsRoot)
	case *parse.WithNode:
		s.branches(&node.BranchNode, false, dotIsRoot)
	case *parse.TemplateNode:
		if called := s.original.Lookup(node.Name); called != nil && called.Tree != nil && dotIsRoot && isDot(node.Pipe) && s.spend(100) {
			return s.always(node.Pos, called.Root.CopyList(), true)
		}
	}
	return node
}

func isDot(pipe *parse.PipeNode) bool {
	if pipe == nil || len(pipe.Decl) > 0 || len(pipe.Cmds) != 1 || len(pipe.Cmds[0].Args) != 1 {
		return false
	}
	_, is := pipe.Cmds[0].Args[0].(*parse.DotNode)
	return is
}

// declare notes a variable that is declared once and constant.
func (s *specializer) declare(node *parse.ActionNode, dotIsRoot bool) {
	if len(node.Pipe.Decl) != 1 || node.Pipe.IsAssign || !s.once[node.Pipe.Decl[0].Ident[0]] || !s.hasConstantCommands(node.Pipe, dotIsRoot) {
		return
	}
	if _, ok := s.run(node); ok {
		s.declared = append(s.declared, node.Copy())
		s.variables[node.Pipe.Decl[0].Ident[0]] = true
	}
}

func (s *specializer) branches(b *parse.BranchNode, list, elseList bool) {
	b.List.Nodes = s.list(b.List.Nodes, list)
	if b.ElseList != nil {
		b.ElseList.Nodes = s.list(b.ElseList.Nodes, elseList)
	}
}

func (s *specializer) condition(node *parse.IfNode, dotIsRoot bool) parse.Node {
	if s.isConstant(node.Pipe, dotIsRoot) {
		yes := &parse.ListNode{NodeType: parse.NodeList, Nodes: []parse.Node{&parse.TextNode{NodeType: parse.NodeText, Text: []byte("yes")}}}
		if text, ok := s.run(&parse.IfNode{BranchNode: parse.BranchNode{NodeType: parse.NodeIf, Pipe: node.Pipe, List: yes}}); ok {
			if len(text) > 0 {
				return s.always(node.Pos, node.List, dotIsRoot)
			}
			return s.always(node.Pos, node.ElseList, dotIsRoot)
		}
	}
	s.branches(&node.BranchNode, dotIsRoot, dotIsRoot)
	return node
}

// always returns a node for a list that is always executed: an always true condition, because the scope of a variable that is
// declared in the list ends with the list.
func (s *specializer) always(pos parse.Pos, list *parse.ListNode, dotIsRoot bool) parse.Node {
	if list == nil {
		return nil
	}
	list.Nodes = s.list(list.Nodes, dotIsRoot)
	switch len(list.Nodes) {
	case 0:
		return nil
	case 1:
		if text, is := list.Nodes[0].(*parse.TextNode); is {
			return text
		}
	}
	truth := &parse.CommandNode{NodeType: parse.NodeCommand, Pos: pos, Args: []parse.Node{&parse.BoolNode{NodeType: parse.NodeBool, Pos: pos, True: true}}}
	pipe := &parse.PipeNode{NodeType: parse.NodePipe, Pos: pos, Cmds: []*parse.CommandNode{truth}}
	return &parse.IfNode{BranchNode: parse.BranchNode{NodeType: parse.NodeIf, Pos: pos, Pipe: pipe, List: list}}
}

// isConstant reports whether a node has the same value for all of the pods.
func (s *specializer) isConstant(node parse.Node, dotIsRoot bool) bool {
	switch node := node.(type) {
	case *parse.StringNode, *parse.NumberNode, *parse.BoolNode, *parse.NilNode:
		return true
	case *parse.FieldNode:
		return dotIsRoot && commonFields[node.Ident[0]]
	case *parse.VariableNode:
		return s.variables[node.Ident[0]] || node.Ident[0] == "$" && len(node.Ident) > 1 && commonFields[node.Ident[1]]
	case *parse.IdentifierNode:
		return !isVolatile(node.Ident) && !changers[node.Ident]
	case *parse.ChainNode:
		return s.isConstant(node.Node, dotIsRoot)
	case *parse.PipeNode:
		return len(node.Decl) == 0 && s.hasConstantCommands(node, dotIsRoot)
	}
	return false
}

// hasConstantCommands reports whether a pipeline is constant, whatever it declares.
func (s *specializer) hasConstantCommands(pipe *parse.PipeNode, dotIsRoot bool) bool {
	for _, command := range pipe.Cmds {
		arguments := command.Args
		if key, rest, reads := readsAnnotation(command, dotIsRoot); reads {
			s.absent[key] = true
			arguments = rest
		}
		if slices.ContainsFunc(arguments, func(argument parse.Node) bool { return !s.isConstant(argument, dotIsRoot) }) {
			return false
		}
	}
	return true
}

// readsAnnotation reports whether a command reads one annotation by name. It returns the annotation's key and the arguments that
// remain to be checked.
func readsAnnotation(command *parse.CommandNode, dotIsRoot bool) (key string, rest []parse.Node, reads bool) {
	if len(command.Args) < 3 {
		return "", nil, false
	}
	function, isFunction := command.Args[0].(*parse.IdentifierNode)
	name, isText := command.Args[2].(*parse.StringNode)
	if !isFunction || !isText {
		return "", nil, false
	}
	switch {
	case (function.Ident == "index" || function.Ident == "isset") && len(command.Args) == 3 && isField(command.Args[1], dotIsRoot, "ObjectMeta", "Annotations"):
		return name.Text, nil, true
	case function.Ident == "annotation" && isField(command.Args[1], dotIsRoot, "ObjectMeta"):
		return name.Text, command.Args[3:], true
	}
	return "", nil, false
}

func isField(node parse.Node, dotIsRoot bool, names ...string) bool {
	switch node := node.(type) {
	case *parse.FieldNode:
		return dotIsRoot && slices.Equal(node.Ident, names)
	case *parse.VariableNode:
		return node.Ident[0] == "$" && slices.Equal(node.Ident[1:], names)
	}
	return false
}

func (s *specializer) spend(cost int) bool {
	s.budget -= cost
	return s.budget >= 0
}

// run executes one node with the common data, after the declarations of the constant variables. It is not ok if execution
// fails: the node then stays, and fails when a pod reaches it.
func (s *specializer) run(node parse.Node) (printed []byte, ok bool) {
	if !s.spend(1) {
		return nil, false
	}
	tree := &parse.Tree{Name: "constant", Root: &parse.ListNode{NodeType: parse.NodeList, Nodes: append(slices.Clone(s.declared), node)}}
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
