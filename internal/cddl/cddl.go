// Package cddl validates CBOR against a grammar in CDDL (RFC 8610). It is for
// tests only.
//
// It knows a subset, and refuses a grammar that uses anything else:
//
//   - rules (name = type, name = ( group )), generic ones included, and comments;
//   - the types uint, int, bool, bstr and tstr, text and unsigned integer
//     literals, ranges of unsigned integers, choices of types, parentheses;
//   - the controls .size (on uint, bstr and tstr) and .regexp (on tstr; the
//     pattern must mean the same to package regexp as in XSD, which its author
//     has to see to);
//   - maps with text keys, each there once or optional (?);
//   - arrays, with the occurrences ?, *, +, n*m, n* and *m, which match greedily.
//
// Entries of a group are separated by commas, and text literals hold no
// backslash. Rules that contain themselves, tags, floats, null, sockets, group
// choices and the other controls are not known. Data with a tag, a duplicate
// map key or invalid UTF-8 is always refused; how the data is encoded is
// otherwise not looked at.
package cddl

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
)

// A Schema is a parsed grammar.
type Schema struct {
	rules map[string]*rule
	order []string
}

type rule struct {
	params []string
	body   node
}

// A node is a textLit, uintLit, interval, *ref, *choice, *control, *container
// or *group.
type node any

type (
	textLit string
	uintLit uint64
	// interval is lo to hi, both included.
	interval struct{ lo, hi uint64 }
	ref      struct {
		name string
		args []node
	}
	choice  struct{ alts []node }
	control struct {
		target node
		op     string
		arg    node
		re     *regexp.Regexp
	}
	container struct {
		array bool
		group *group
	}
	group struct{ entries []entry }
	entry struct {
		min, max uint64
		key      string // only if keyed
		keyed    bool
		value    node
	}
)

const unbounded = ^uint64(0)

// prelude is what RFC 8610, appendix D, defines and this package knows.
var prelude = []string{"uint", "int", "bool", "bstr", "tstr"}

// Parse reads a grammar. It fails if src uses what this package does not know,
// names a rule that is not there, or defines one twice.
func Parse(src string) (*Schema, error) {
	toks, err := scan(src)
	if err != nil {
		return nil, err
	}
	p := &parser{src: src, toks: toks}
	s := &Schema{rules: map[string]*rule{}}
	for p.peek().kind != endOfInput {
		at := p.peek()
		name, r, err := p.rule()
		if err != nil {
			return nil, err
		}
		if s.rules[name] != nil || slices.Contains(prelude, name) {
			return nil, p.fail(at, "rule %s is defined twice", name)
		}
		s.rules[name] = r
		s.order = append(s.order, name)
	}
	for _, name := range s.order {
		if err := s.checkNames(name); err != nil {
			return nil, fmt.Errorf("cddl: rule %s: %w", name, err)
		}
	}
	for _, name := range s.order {
		if err := s.check(s.rules[name], s.rules[name].body, false); err != nil {
			return nil, fmt.Errorf("cddl: rule %s: %w", name, err)
		}
	}
	return s, nil
}

// checkNames reports a rule that contains itself, or a generic parameter with
// the name of a rule.
func (s *Schema) checkNames(name string) error {
	for _, param := range s.rules[name].params {
		if s.rules[param] != nil || slices.Contains(prelude, param) {
			return fmt.Errorf("generic parameter %s has the name of a rule", param)
		}
	}
	recursive := false
	s.visit(s.rules[name].body, map[string]bool{}, func(n node) {
		if r, ok := n.(*ref); ok && r.name == name {
			recursive = true
		}
	})
	if recursive {
		return fmt.Errorf("it contains itself")
	}
	return nil
}

// check reports what is wrong with n, a part of r. Only an entry without a key
// may be a group.
func (s *Schema) check(r *rule, n node, groupOK bool) error {
	switch n := n.(type) {
	case *ref:
		if err := s.checkRef(r, n, groupOK); err != nil {
			return err
		}
	case *control:
		if err := s.checkControl(n); err != nil {
			return err
		}
	case *container:
		if !n.array {
			if err := s.checkMap(n.group, map[string]bool{}); err != nil {
				return err
			}
		}
		return s.checkEntries(r, n.group)
	case *group:
		if !groupOK && n != r.body {
			return fmt.Errorf("a group stands where a type must")
		}
		return s.checkEntries(r, n)
	}
	for _, c := range children(n) {
		if err := s.check(r, c, false); err != nil {
			return err
		}
	}
	return nil
}

func (s *Schema) checkEntries(r *rule, g *group) error {
	for _, e := range g.entries {
		if err := s.check(r, e.value, !e.keyed); err != nil {
			return err
		}
	}
	return nil
}

func (s *Schema) checkRef(r *rule, n *ref, groupOK bool) error {
	var params int
	target := s.rules[n.name]
	switch {
	case slices.Contains(r.params, n.name), slices.Contains(prelude, n.name):
	case target == nil:
		return fmt.Errorf("%s is not defined", n.name)
	default:
		params = len(target.params)
		if _, isGroup := target.body.(*group); isGroup && !groupOK {
			return fmt.Errorf("%s is a group and stands where a type must", n.name)
		}
	}
	if len(n.args) != params {
		return fmt.Errorf("%s has %d generic arguments, must have %d", n.name, len(n.args), params)
	}
	return nil
}

func (s *Schema) checkControl(n *control) error {
	base := ""
	if t, ok := n.target.(*ref); ok {
		base = t.name
	}
	switch n.op {
	case "size":
		if !slices.Contains([]string{"uint", "bstr", "tstr"}, base) {
			return fmt.Errorf(".size needs uint, bstr or tstr before it")
		}
		switch n.arg.(type) {
		case uintLit:
			return nil
		case interval:
			if base != "uint" {
				return nil
			}
		}
		return fmt.Errorf(".size has an argument that is not known")
	case "regexp":
		pattern, ok := n.arg.(textLit)
		if base != "tstr" || !ok {
			return fmt.Errorf(".regexp needs tstr before it and a text after it")
		}
		var err error
		n.re, err = regexp.Compile(`\A(?:` + string(pattern) + `)\z`)
		return err
	}
	return fmt.Errorf("control .%s is not known", n.op)
}

// checkMap reports what is wrong with g as the content of a map.
func (s *Schema) checkMap(g *group, seen map[string]bool) error {
	for _, e := range g.entries {
		if e.keyed {
			if e.max != 1 || e.min > 1 {
				return fmt.Errorf("key %q: a map holds a key once or optionally", e.key)
			}
			if seen[e.key] {
				return fmt.Errorf("key %q stands in a map twice", e.key)
			}
			seen[e.key] = true
			continue
		}
		inner := s.groupOf(e.value)
		if inner == nil {
			return fmt.Errorf("an entry of a map has no key")
		}
		if e.min != 1 || e.max != 1 {
			return fmt.Errorf("a group in a map has an occurrence")
		}
		if err := s.checkMap(inner, seen); err != nil {
			return err
		}
	}
	return nil
}

// groupOf returns the group that n is or names, or nil.
func (s *Schema) groupOf(n node) *group {
	switch n := n.(type) {
	case *group:
		return n
	case *ref:
		if r := s.rules[n.name]; r != nil {
			g, _ := r.body.(*group)
			return g
		}
	}
	return nil
}

func children(n node) []node {
	switch n := n.(type) {
	case *ref:
		return n.args
	case *choice:
		return n.alts
	case *control:
		return []node{n.target, n.arg}
	case *container:
		return []node{n.group}
	case *group:
		nodes := make([]node, 0, len(n.entries))
		for _, e := range n.entries {
			nodes = append(nodes, e.value)
		}
		return nodes
	}
	return nil
}

// visit calls fn for n and what is in it, the rules that it names included,
// each once.
func (s *Schema) visit(n node, seen map[string]bool, fn func(node)) {
	fn(n)
	for _, c := range children(n) {
		s.visit(c, seen, fn)
	}
	if r, ok := n.(*ref); ok && s.rules[r.name] != nil && !seen[r.name] {
		seen[r.name] = true
		s.visit(s.rules[r.name].body, seen, fn)
	}
}

// Rules returns the names of all rules, in their order.
func (s *Schema) Rules() []string { return slices.Clone(s.order) }

// Reachable returns the names of the rules that rule is made of, sorted, its
// own included.
func (s *Schema) Reachable(rule string) []string {
	seen := map[string]bool{}
	s.visit(&ref{name: rule}, seen, func(node) {})
	return slices.Sorted(maps.Keys(seen))
}

// Alternatives returns the names of the rules that rule is a choice of, in
// their order; nil if it is not such a choice.
func (s *Schema) Alternatives(rule string) []string {
	var names []string
	if r := s.rules[rule]; r != nil {
		c, _ := r.body.(*choice)
		if c == nil {
			return nil
		}
		for _, alt := range c.alts {
			n, ok := alt.(*ref)
			if !ok {
				return nil
			}
			names = append(names, n.name)
		}
	}
	return names
}

// Texts returns the text literals that values in rule may have, in their order;
// patterns are not among them.
func (s *Schema) Texts(rule string) []string {
	var texts []string
	patterns := map[string]bool{}
	s.visit(&ref{name: rule}, map[string]bool{}, func(n node) {
		switch n := n.(type) {
		case *control:
			if t, ok := n.arg.(textLit); ok {
				patterns[string(t)] = true
			}
		case textLit:
			if !patterns[string(n)] {
				texts = append(texts, string(n))
			}
		}
	})
	return texts
}

// Keys returns the map keys that data of rule may have, at any depth, sorted.
func (s *Schema) Keys(rule string) []string {
	keys := map[string]bool{}
	s.visit(&ref{name: rule}, map[string]bool{}, func(n node) {
		if g, ok := n.(*group); ok {
			for _, e := range g.entries {
				if e.keyed {
					keys[e.key] = true
				}
			}
		}
	})
	return slices.Sorted(maps.Keys(keys))
}
