// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"text/template/parse"
)

// specializer replaces the constant parts of a template by their values. Most of what Istio's templates read are the values and
// the mesh configuration, which are the same for every pod. What depends on nothing else is evaluated once, when the
// configuration is parsed: a condition becomes its branch, and an action becomes text. Executing templates takes half the
// time of an injection without it (docs/decisions/0026).
type specializer struct {
	data   *data           // only the constant fields are set
	fields map[string]bool // the constant fields
	// withoutAnnotations assumes that pods have none of the annotations that the template reads by name, and notes these in
	// assumedAbsent.
	withoutAnnotations bool
	assumedAbsent      map[string]bool

	declared  []parse.Node    // actions that declare constant variables, in their order
	variables map[string]bool // constant variables
	once      map[string]bool // variables that are declared at one place and never assigned to again

	runner   *template.Template
	captured any
	budget   int // of evaluations, so that no configuration takes long to parse
}

// constantFields are the fields of a template's data that are the same for every pod.
var constantFields = map[string]bool{"Values": true, "MeshConfig": true, "Revision": true, "CompliancePolicy": true, "InboundTrafficPolicyMode": true}

// scope describes the values of . and $.
type scope struct {
	dotIsRoot, dollarIsRoot bool
	dotIsConstant           bool // inside of a range or with over something constant
}

// specialized returns a template that prints the same for every pod of this configuration, or the template itself if it
// changes its data.
func (c *Config) specialized(t *parsedTemplate, functions template.FuncMap) (*parsedTemplate, error) {
	if t.sideEffects {
		return t, nil
	}
	s := newSpecializer(functions, c.constantData(), constantFields)
	copied, err := s.template(t.Template)
	if err != nil {
		return nil, fmt.Errorf("template %q: %w", t.Name(), err)
	}
	return &parsedTemplate{Template: copied, sideEffects: t.sideEffects, volatile: t.volatile, perReplica: t.perReplica}, nil
}

// constantData returns the data of which only the constant fields are set.
func (c *Config) constantData() *data {
	return &data{
		Values: c.values.tree, MeshConfig: c.mesh, Revision: c.settings.Revision,
		CompliancePolicy: c.compliancePolicy(), InboundTrafficPolicyMode: c.inboundTrafficPolicyMode(),
	}
}

func newSpecializer(functions template.FuncMap, d *data, fields map[string]bool) *specializer {
	s := &specializer{data: d, fields: fields, assumedAbsent: map[string]bool{}, variables: map[string]bool{}, budget: 10000}
	s.runner = template.New("constants").Funcs(functions).Funcs(template.FuncMap{"outriggerCapture": func(value any) string { s.captured = value; return "" }})
	return s
}

// template returns a copy of a template with its constant parts replaced.
func (s *specializer) template(t *template.Template) (*template.Template, error) {
	copied, err := t.Clone()
	if err != nil {
		return nil, err
	}
	var parts []*template.Template
	for _, part := range copied.Templates() {
		if part.Tree != nil && part.Root != nil {
			part.Tree = part.Copy() // Clone shares the nodes
			parts = append(parts, part)
		}
	}
	slices.SortFunc(parts, func(a, b *template.Template) int { return strings.Compare(a.Name(), b.Name()) })
	s.once = declaredOnce(parts)
	for _, part := range parts {
		root := scope{dotIsRoot: true, dollarIsRoot: true}
		if part.Name() != t.Name() && !calledWithRoot(copied, part.Name()) {
			root = scope{}
		}
		part.Root.Nodes = s.list(part.Root.Nodes, root)
	}
	for _, part := range parts {
		s.prune(part.Root)
	}
	return copied, nil
}

// declaredOnce returns the names of the variables that have one value from where they are declared to where they end.
func declaredOnce(parts []*template.Template) map[string]bool {
	times := map[string]int{}
	for _, part := range parts {
		walk(part.Root, func(node parse.Node) {
			pipe, is := node.(*parse.PipeNode)
			if !is {
				return
			}
			for _, variable := range pipe.Decl {
				times[variable.Ident[0]]++
			}
		})
	}
	once := map[string]bool{}
	for name, n := range times {
		once[name] = n == 1
	}
	return once
}

// calledWithRoot reports whether a defined template is only called by the main one, outside of range and with, with all of
// the data.
func calledWithRoot(t *template.Template, name string) bool {
	only := true
	for _, part := range t.Templates() {
		if part.Tree == nil {
			continue
		}
		var look func(nodes []parse.Node, at scope)
		look = func(nodes []parse.Node, at scope) {
			for _, node := range nodes {
				switch node := node.(type) {
				case *parse.TemplateNode:
					if node.Name == name {
						only = only && at.dotIsRoot && isDot(node.Pipe)
					}
				case *parse.IfNode:
					look(nodesOf(node.List), at)
					look(nodesOf(node.ElseList), at)
				case *parse.RangeNode:
					look(nodesOf(node.List), scope{})
					look(nodesOf(node.ElseList), at)
				case *parse.WithNode:
					look(nodesOf(node.List), scope{})
					look(nodesOf(node.ElseList), at)
				}
			}
		}
		look(nodesOf(part.Root), scope{dotIsRoot: part.Name() == t.Name()})
	}
	return only
}

func nodesOf(list *parse.ListNode) []parse.Node {
	if list == nil {
		return nil
	}
	return list.Nodes
}

func isDot(pipe *parse.PipeNode) bool {
	if pipe == nil || len(pipe.Decl) > 0 || len(pipe.Cmds) != 1 || len(pipe.Cmds[0].Args) != 1 {
		return false
	}
	_, is := pipe.Cmds[0].Args[0].(*parse.DotNode)
	return is
}

// list specializes a sequence of nodes, and joins adjacent texts.
func (s *specializer) list(nodes []parse.Node, at scope) []parse.Node {
	var out []parse.Node
	for _, node := range nodes {
		node = s.node(node, at)
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
func (s *specializer) node(node parse.Node, at scope) parse.Node {
	switch node := node.(type) {
	case *parse.ActionNode:
		if text, ok := s.printed(node, node.Pipe, at); ok {
			return &parse.TextNode{NodeType: parse.NodeText, Pos: node.Pos, Text: text}
		}
		s.declare(node, at)
		s.arguments(node.Pipe, at)
	case *parse.IfNode:
		return s.condition(node, at)
	case *parse.RangeNode:
		if text, ok := s.printedWhole(node, at); ok {
			return &parse.TextNode{NodeType: parse.NodeText, Pos: node.Pos, Text: text}
		}
		s.arguments(node.Pipe, at)
		inside := scope{dollarIsRoot: at.dollarIsRoot}
		s.branches(&node.BranchNode, inside, at)
	case *parse.WithNode:
		if text, ok := s.printedWhole(node, at); ok {
			return &parse.TextNode{NodeType: parse.NodeText, Pos: node.Pos, Text: text}
		}
		s.arguments(node.Pipe, at)
		inside := scope{dollarIsRoot: at.dollarIsRoot}
		s.branches(&node.BranchNode, inside, at)
	}
	return node
}

// declare notes a variable that is declared once and constant.
func (s *specializer) declare(node *parse.ActionNode, at scope) {
	if len(node.Pipe.Decl) != 1 || node.Pipe.IsAssign || !s.once[node.Pipe.Decl[0].Ident[0]] || !s.constantCommands(node.Pipe, at) {
		return
	}
	if _, ok := s.run(node); ok {
		s.declared = append(s.declared, node.Copy())
		s.variables[node.Pipe.Decl[0].Ident[0]] = true
	}
}

// prune removes the declarations of constant variables that nothing reads.
func (s *specializer) prune(root *parse.ListNode) {
	for {
		read := map[string]bool{}
		walk(root, func(node parse.Node) {
			if variable, is := node.(*parse.VariableNode); is {
				read[variable.Ident[0]] = true
			}
		})
		deleted := false
		var within func(list *parse.ListNode)
		within = func(list *parse.ListNode) {
			if list == nil {
				return
			}
			list.Nodes = slices.DeleteFunc(list.Nodes, func(node parse.Node) bool {
				action, is := node.(*parse.ActionNode)
				unread := is && len(action.Pipe.Decl) == 1 && s.variables[action.Pipe.Decl[0].Ident[0]] && !read[action.Pipe.Decl[0].Ident[0]]
				deleted = deleted || unread
				return unread
			})
			for _, node := range list.Nodes {
				if branch := branchOf(node); branch != nil {
					within(branch.List)
					within(branch.ElseList)
				}
			}
		}
		within(root)
		if !deleted {
			return
		}
	}
}

// branchOf returns what an if, range or with has in common; nil for other nodes.
func branchOf(node parse.Node) *parse.BranchNode {
	switch node := node.(type) {
	case *parse.IfNode:
		return &node.BranchNode
	case *parse.RangeNode:
		return &node.BranchNode
	case *parse.WithNode:
		return &node.BranchNode
	}
	return nil
}

// printedWhole returns what a range or with prints if all in it is constant.
func (s *specializer) printedWhole(node parse.Node, at scope) ([]byte, bool) {
	outside := maps.Clone(s.variables)
	whole := s.whole(node, at)
	s.variables = outside
	if !whole {
		return nil, false
	}
	return s.run(node)
}

// whole reports whether a node prints the same for every pod, whatever it declares.
func (s *specializer) whole(node parse.Node, at scope) bool {
	switch node := node.(type) {
	case *parse.TextNode, *parse.CommentNode:
		return true
	case *parse.ActionNode:
		return !node.Pipe.IsAssign && s.wholePipe(node.Pipe, at)
	case *parse.IfNode:
		return s.wholePipe(node.Pipe, at) && s.wholeList(node.List, at) && s.wholeList(node.ElseList, at)
	case *parse.RangeNode:
		return s.wholePipe(node.Pipe, at) && s.wholeList(node.List, scope{dollarIsRoot: at.dollarIsRoot, dotIsConstant: true}) && s.wholeList(node.ElseList, at)
	case *parse.WithNode:
		return s.wholePipe(node.Pipe, at) && s.wholeList(node.List, scope{dollarIsRoot: at.dollarIsRoot, dotIsConstant: true}) && s.wholeList(node.ElseList, at)
	}
	return false
}

func (s *specializer) wholeList(list *parse.ListNode, at scope) bool {
	return !slices.ContainsFunc(nodesOf(list), func(node parse.Node) bool { return !s.whole(node, at) })
}

// wholePipe reports whether a pipeline is constant. The variables that it declares are constant from here on. Code outside cannot read
// them, since only variables that are declared once count.
func (s *specializer) wholePipe(pipe *parse.PipeNode, at scope) bool {
	if !s.constantCommands(pipe, at) {
		return false
	}
	for _, variable := range pipe.Decl {
		if !s.once[variable.Ident[0]] {
			return false
		}
		s.variables[variable.Ident[0]] = true
	}
	return true
}

func (s *specializer) branches(b *parse.BranchNode, list, elseList scope) {
	if b.List != nil {
		b.List.Nodes = s.list(b.List.Nodes, list)
	}
	if b.ElseList != nil {
		b.ElseList.Nodes = s.list(b.ElseList.Nodes, elseList)
	}
}

// condition replaces a constant condition by its branch, inside an always true condition, because the scope of a variable that
// is declared in a branch ends with the branch.
func (s *specializer) condition(node *parse.IfNode, at scope) parse.Node {
	holds, known := s.truth(node.Pipe, at)
	if !known {
		s.arguments(node.Pipe, at)
		s.branches(&node.BranchNode, at, at)
		return node
	}
	taken := node.List
	if !holds {
		taken = node.ElseList
	}
	if taken == nil {
		return nil
	}
	taken.Nodes = s.list(taken.Nodes, at)
	if len(taken.Nodes) == 0 {
		return nil
	}
	if text, is := taken.Nodes[0].(*parse.TextNode); is && len(taken.Nodes) == 1 {
		return text
	}
	node.Pipe = &parse.PipeNode{
		NodeType: parse.NodePipe, Pos: node.Pipe.Pos, Line: node.Pipe.Line,
		Cmds: []*parse.CommandNode{{NodeType: parse.NodeCommand, Pos: node.Pipe.Pos, Args: []parse.Node{&parse.BoolNode{NodeType: parse.NodeBool, Pos: node.Pipe.Pos, True: true}}}},
	}
	node.List, node.ElseList = taken, nil
	return node
}

// arguments replaces constant texts among the arguments of the commands of a pipeline.
func (s *specializer) arguments(pipe *parse.PipeNode, at scope) {
	if pipe == nil {
		return
	}
	for _, command := range pipe.Cmds {
		for i, argument := range command.Args {
			if inner, is := argument.(*parse.PipeNode); is {
				s.arguments(inner, at)
			}
			switch argument.(type) {
			case *parse.FieldNode, *parse.VariableNode, *parse.PipeNode:
			default:
				continue
			}
			if text, ok := s.text(argument, at); ok {
				command.Args[i] = &parse.StringNode{NodeType: parse.NodeString, Pos: argument.Position(), Quoted: strconv.Quote(text), Text: text}
			}
		}
	}
}
