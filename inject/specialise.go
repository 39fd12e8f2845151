package inject

import (
	"bytes"
	"fmt"
	"strconv"
	"text/template"
	"text/template/parse"
)

// Most of what Istio's templates ask is about the values and the mesh, which are the same for every pod. What depends on
// nothing else is worked out once, when the configuration is parsed: a condition becomes true or false, and what is
// printed becomes text.

// specialiser replaces the constant parts of a template by what they come to.
type specialiser struct {
	functions template.FuncMap
	data      *data // of which only constantFields are set
	budget    int   // of evaluations, so that no configuration takes long to parse
}

// constantFields are the fields of a template's data that are the same for every pod.
var constantFields = map[string]bool{"Values": true, "MeshConfig": true, "Revision": true, "CompliancePolicy": true, "InboundTrafficPolicyMode": true}

// scope says what . and $ stand for.
type scope struct{ dotIsRoot, dollarIsRoot bool }

// specialised returns a template that prints the same for every pod of this configuration, or the template itself where
// it cannot be told what is constant.
func (c *Config) specialised(t *parsedTemplate, functions template.FuncMap) (*parsedTemplate, error) {
	if t.sideEffects {
		return t, nil
	}
	copied, err := t.Clone()
	if err != nil {
		return nil, fmt.Errorf("template %q: %w", t.Name(), err)
	}
	s := &specialiser{functions: functions, data: c.constantData(), budget: 10000}
	for _, part := range copied.Templates() {
		if part.Tree == nil || part.Root == nil {
			continue
		}
		root := scope{true, true}
		if part.Name() != t.Name() && !calledWithRoot(copied, part.Name()) {
			root = scope{}
		}
		part.Root.Nodes = s.list(part.Root.Nodes, root)
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

// calledWithRoot says whether a defined template is only called by the main one, outside of range and with, with all of
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

// list specialises nodes that stand one after the other, and joins texts.
func (s *specialiser) list(nodes []parse.Node, at scope) []parse.Node {
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

// node returns what stands in the place of a node; nil for nothing.
func (s *specialiser) node(node parse.Node, at scope) parse.Node {
	switch node := node.(type) {
	case *parse.ActionNode:
		if text, ok := s.printed(node, node.Pipe, at); ok {
			return &parse.TextNode{NodeType: parse.NodeText, Pos: node.Pos, Text: text}
		}
		s.arguments(node.Pipe, at)
	case *parse.IfNode:
		return s.condition(node, at)
	case *parse.RangeNode:
		s.arguments(node.Pipe, at)
		inside := scope{dollarIsRoot: at.dollarIsRoot}
		s.branches(&node.BranchNode, inside, at)
	case *parse.WithNode:
		s.arguments(node.Pipe, at)
		inside := scope{dollarIsRoot: at.dollarIsRoot}
		s.branches(&node.BranchNode, inside, at)
	}
	return node
}

func (s *specialiser) branches(b *parse.BranchNode, list, elseList scope) {
	if b.List != nil {
		b.List.Nodes = s.list(b.List.Nodes, list)
	}
	if b.ElseList != nil {
		b.ElseList.Nodes = s.list(b.ElseList.Nodes, elseList)
	}
}

// condition keeps of a constant condition the branch that is taken, in a condition of its own, because a variable that
// is declared in a branch ends with it.
func (s *specialiser) condition(node *parse.IfNode, at scope) parse.Node {
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
func (s *specialiser) arguments(pipe *parse.PipeNode, at scope) {
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

// constant says whether a node comes to the same for every pod.
func (s *specialiser) constant(node parse.Node, at scope) bool {
	switch node := node.(type) {
	case *parse.StringNode, *parse.NumberNode, *parse.BoolNode, *parse.NilNode:
		return true
	case *parse.FieldNode:
		return at.dotIsRoot && constantFields[node.Ident[0]]
	case *parse.VariableNode:
		return at.dollarIsRoot && node.Ident[0] == "$" && len(node.Ident) > 1 && constantFields[node.Ident[1]]
	case *parse.IdentifierNode:
		return !isVolatile(node.Ident) && !changers[node.Ident]
	case *parse.ChainNode:
		return s.constant(node.Node, at)
	case *parse.PipeNode:
		return s.constantPipe(node, at)
	}
	return false
}

func (s *specialiser) constantPipe(pipe *parse.PipeNode, at scope) bool {
	if pipe == nil || len(pipe.Decl) > 0 {
		return false
	}
	for _, command := range pipe.Cmds {
		for _, argument := range command.Args {
			if !s.constant(argument, at) {
				return false
			}
		}
	}
	return true
}

// printed returns what a constant action prints.
func (s *specialiser) printed(node parse.Node, pipe *parse.PipeNode, at scope) ([]byte, bool) {
	if !s.constantPipe(pipe, at) {
		return nil, false
	}
	return s.run(node, nil)
}

func (s *specialiser) truth(pipe *parse.PipeNode, at scope) (holds, known bool) {
	if !s.constantPipe(pipe, at) {
		return false, false
	}
	yes := &parse.ListNode{NodeType: parse.NodeList, Nodes: []parse.Node{&parse.TextNode{NodeType: parse.NodeText, Text: []byte("yes")}}}
	text, known := s.run(&parse.IfNode{BranchNode: parse.BranchNode{NodeType: parse.NodeIf, Pipe: pipe, List: yes}}, nil)
	return len(text) > 0, known
}

// text returns the value of a constant argument that is a text.
func (s *specialiser) text(argument parse.Node, at scope) (text string, ok bool) {
	if !s.constant(argument, at) {
		return "", false
	}
	capture := func(value any) string { text, ok = value.(string); return "" }
	command := &parse.CommandNode{NodeType: parse.NodeCommand, Args: []parse.Node{parse.NewIdentifier("outriggerCapture"), argument}}
	_, ran := s.run(&parse.ActionNode{NodeType: parse.NodeAction, Pipe: &parse.PipeNode{NodeType: parse.NodePipe, Cmds: []*parse.CommandNode{command}}}, capture)
	return text, ok && ran
}

// run executes one node on the constant data. It is not ok if it fails: then it is to fail where it stands, if it is
// ever reached.
func (s *specialiser) run(node parse.Node, capture func(any) string) (printed []byte, ok bool) {
	if s.budget--; s.budget < 0 {
		return nil, false
	}
	functions := s.functions
	if capture != nil {
		functions = template.FuncMap{"outriggerCapture": capture}
		for name, function := range s.functions {
			functions[name] = function
		}
	}
	tree := &parse.Tree{Name: "constant", Root: &parse.ListNode{NodeType: parse.NodeList, Nodes: []parse.Node{node}}}
	t, err := template.New("constant").Funcs(functions).AddParseTree("constant", tree)
	if err != nil {
		return nil, false
	}
	var out recorder
	if err := t.Execute(&out, s.data); err != nil {
		return nil, false
	}
	return out.text, true
}
