package cddl

import (
	"fmt"
	"strings"

	"github.com/fxamacker/cbor/v2"
)

var decMode = func() cbor.DecMode {
	m, err := cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF,
		TagsMd:    cbor.TagsForbidden,
		UTF8:      cbor.UTF8RejectInvalid,
	}.DecMode()
	if err != nil {
		panic(err) // a constant option set is wrong
	}
	return m
}()

// Validate reports why data is not exactly one CBOR item that rule allows, or
// nil. The error names the place in the data.
func (s *Schema) Validate(rule string, data []byte) error {
	r := s.rules[rule]
	if r == nil {
		return fmt.Errorf("cddl: rule %s is not defined", rule)
	}
	if _, isGroup := r.body.(*group); isGroup || len(r.params) > 0 {
		return fmt.Errorf("cddl: rule %s is a group or generic: it describes no data by itself", rule)
	}
	var v any
	if err := decMode.Unmarshal(data, &v); err != nil {
		return fmt.Errorf("cddl: %s: %w", rule, err)
	}
	m := &matcher{schema: s}
	if err := m.match(r.body, nil, rule, v); err != nil {
		return fmt.Errorf("cddl: %w", err)
	}
	return nil
}

type matcher struct{ schema *Schema }

// A scope holds the arguments of a generic rule, each with the scope in which
// it was written.
type scope struct {
	args  map[string]node
	outer *scope
}

// resolve follows a reference one step. It returns nil for a name of the prelude.
func (m *matcher) resolve(r *ref, sc *scope) (node, *scope) {
	if sc != nil {
		if n, ok := sc.args[r.name]; ok {
			return n, sc.outer
		}
	}
	def := m.schema.rules[r.name]
	if def == nil {
		return nil, nil
	}
	inner := &scope{args: map[string]node{}, outer: sc}
	for i, param := range def.params {
		inner.args[param] = r.args[i]
	}
	return def.body, inner
}

func (m *matcher) match(n node, sc *scope, path string, v any) error {
	switch n := n.(type) {
	case textLit:
		if v != string(n) {
			return fmt.Errorf("%s: %s is not %q", path, show(v), string(n))
		}
	case uintLit:
		if v != uint64(n) {
			return fmt.Errorf("%s: %s is not %d", path, show(v), uint64(n))
		}
	case interval:
		if u, ok := v.(uint64); !ok || u < n.lo || u > n.hi {
			return fmt.Errorf("%s: %s is not in %d..%d", path, show(v), n.lo, n.hi)
		}
	case *ref:
		if body, inner := m.resolve(n, sc); body != nil {
			return m.match(body, inner, path, v)
		}
		return matchPrelude(n.name, path, v)
	case *choice:
		var all []string
		for _, alt := range n.alts {
			err := m.match(alt, sc, path, v)
			if err == nil {
				return nil
			}
			all = append(all, err.Error())
		}
		return fmt.Errorf("%s: no alternative matches (%s)", path, strings.Join(all, "; "))
	case *control:
		if err := m.match(n.target, sc, path, v); err != nil {
			return err
		}
		return matchControl(n, path, v)
	case *container:
		if n.array {
			return m.matchArray(n.group, sc, path, v)
		}
		return m.matchMap(n.group, sc, path, v)
	default:
		return fmt.Errorf("%s: a group stands where a type must", path)
	}
	return nil
}

func matchPrelude(name, path string, v any) error {
	ok := false
	switch v.(type) {
	case uint64:
		ok = name == "uint" || name == "int"
	case int64:
		ok = name == "int"
	case bool:
		ok = name == "bool"
	case []byte:
		ok = name == "bstr"
	case string:
		ok = name == "tstr"
	}
	if !ok {
		return fmt.Errorf("%s: %s is not a %s", path, show(v), name)
	}
	return nil
}

func matchControl(n *control, path string, v any) error {
	if n.op == "regexp" {
		if !n.re.MatchString(v.(string)) {
			return fmt.Errorf("%s: %s does not match %q", path, show(v), n.arg)
		}
		return nil
	}
	var size uint64
	switch v := v.(type) {
	case uint64:
		if bytes := uint64(n.arg.(uintLit)); bytes < 8 && v>>(8*bytes) != 0 {
			return fmt.Errorf("%s: %d needs more than %d bytes", path, v, bytes)
		}
		return nil
	case []byte:
		size = uint64(len(v))
	case string:
		size = uint64(len(v))
	}
	want, ok := n.arg.(interval)
	if !ok {
		want = interval{uint64(n.arg.(uintLit)), uint64(n.arg.(uintLit))}
	}
	if size < want.lo || size > want.hi {
		return fmt.Errorf("%s: size %d is not in %d..%d", path, size, want.lo, want.hi)
	}
	return nil
}

func (m *matcher) matchMap(g *group, sc *scope, path string, v any) error {
	have, ok := v.(map[any]any)
	if !ok {
		return fmt.Errorf("%s: %s is not a map", path, show(v))
	}
	known := map[any]bool{}
	if err := m.matchMembers(g, sc, path, have, known); err != nil {
		return err
	}
	for key := range have {
		if !known[key] {
			return fmt.Errorf("%s: key %s is not known", path, show(key))
		}
	}
	return nil
}

func (m *matcher) matchMembers(g *group, sc *scope, path string, have map[any]any, known map[any]bool) error {
	for _, e := range g.entries {
		if !e.keyed {
			inner, innerScope := m.groupIn(e.value, sc)
			if err := m.matchMembers(inner, innerScope, path, have, known); err != nil {
				return err
			}
			continue
		}
		known[e.key] = true
		v, ok := have[e.key]
		if !ok {
			if e.min > 0 {
				return fmt.Errorf("%s: key %q is missing", path, e.key)
			}
			continue
		}
		if err := m.match(e.value, sc, path+"."+e.key, v); err != nil {
			return err
		}
	}
	return nil
}

// groupIn returns the group that n is or names, or nil.
func (m *matcher) groupIn(n node, sc *scope) (*group, *scope) {
	switch n := n.(type) {
	case *group:
		return n, sc
	case *ref:
		body, inner := m.resolve(n, sc)
		if g, ok := body.(*group); ok {
			return g, inner
		}
	}
	return nil, nil
}

func (m *matcher) matchArray(g *group, sc *scope, path string, v any) error {
	items, ok := v.([]any)
	if !ok {
		return fmt.Errorf("%s: %s is not an array", path, show(v))
	}
	used, stopped, err := m.matchSequence(g, sc, path, items, 0)
	if err != nil {
		return err
	}
	if used < len(items) {
		if stopped == nil {
			stopped = fmt.Errorf("%s: %d items, only %d match", path, len(items), used)
		}
		return stopped
	}
	return nil
}

// matchSequence matches items from at on with the entries of g, in order. It
// returns where it ended and, if the last entry could have gone on, why it did not.
func (m *matcher) matchSequence(g *group, sc *scope, path string, items []any, at int) (end int, stopped, err error) {
	for _, e := range g.entries {
		stopped = nil
		for n := uint64(0); n < e.max; n++ {
			next, err := m.matchItem(e, sc, path, items, at)
			if err != nil {
				if n < e.min {
					return at, nil, err
				}
				if at < len(items) {
					stopped = err
				}
				break
			}
			if next == at && n >= e.min {
				break // an empty group would match forever
			}
			at = next
		}
	}
	return at, stopped, nil
}

func (m *matcher) matchItem(e entry, sc *scope, path string, items []any, at int) (int, error) {
	if inner, innerScope := m.groupIn(e.value, sc); inner != nil {
		end, _, err := m.matchSequence(inner, innerScope, path, items, at)
		return end, err
	}
	if at >= len(items) {
		return at, fmt.Errorf("%s: %d items, more are needed", path, len(items))
	}
	return at + 1, m.match(e.value, sc, fmt.Sprintf("%s[%d]", path, at), items[at])
}

// show describes v briefly.
func show(v any) string {
	switch v := v.(type) {
	case string:
		return fmt.Sprintf("text %.40q", v)
	case []byte:
		return fmt.Sprintf("byte string of %d bytes", len(v))
	case []any:
		return fmt.Sprintf("array of %d items", len(v))
	case map[any]any:
		return fmt.Sprintf("map of %d pairs", len(v))
	case nil:
		return "null"
	}
	return fmt.Sprintf("%T %v", v, v)
}
