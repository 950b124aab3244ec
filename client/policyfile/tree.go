package policyfile

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

const (
	maxValues = 1 << 16 // in a file, tables and lists included
	maxDepth  = 8       // of tables and lists in each other
)

// A value is one of a file, and where it stands.
type value struct {
	key    string // the full path; of an item of a list, the list's with its index
	depth  int    // how many tables and lists it is in
	offset int    // of the key; of an item of a list, of itself
	kind   unstable.Kind
	text   string // of a string what it says, of what is no table and no list as it stands

	names  []string // of a table, in order
	fields map[string]*value
	items  []*value // of a list
}

const (
	tableKind = unstable.Table
	listKind  = unstable.Array
)

func newTable(key string, depth, offset int) *value {
	return &value{key: key, depth: depth, offset: offset, kind: tableKind, fields: map[string]*value{}}
}

// join is the path of a key in a table.
func join(table, name string) string {
	if strings.ContainsFunc(name, func(r rune) bool {
		return !(r == '_' || r == '-' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z')
	}) || name == "" {
		name = fmt.Sprintf("%.64q", name)
	}
	if len(name) > 70 {
		name = name[:64] + "..."
	}
	if table == "" {
		return name
	}
	return table + "." + name
}

// tree returns the file's values as one table. Whatever is wrong is noted. It
// returns nil if there is nothing that more could be said of.
func (r *reader) tree() *value {
	root := newTable("", 0, 0)
	p := unstable.Parser{}
	p.Reset(r.data)
	current := root
	for p.NextExpression() && r.values <= maxValues {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table:
			current = r.open(root, e.Key(), false)
		case unstable.ArrayTable:
			current = r.open(root, e.Key(), true)
		case unstable.KeyValue:
			r.set(current, e)
		}
	}
	var syntax *unstable.ParserError
	switch err := p.Error(); {
	case r.values > maxValues:
		r.errs, r.failed = nil, 0
		r.fail(0, "", ErrSize, "expected at most %d values, found more; leave out what no longer runs", maxValues)
	case errors.As(err, &syntax):
		r.errs, r.failed = nil, 0 // the rest follows from it
		offset := min(max(cap(r.data)-cap(syntax.Highlight), 0), len(r.data))
		r.fail(offset, "", ErrSyntax, "not TOML: %s", syntax.Message)
	case err != nil:
		r.fail(0, "", ErrSyntax, "not TOML: %v", err)
	case !r.tooDeep:
		return root
	}
	return nil
}

// structure has the TOML library judge what its parser of expressions does not,
// such as a table that is opened twice.
func (r *reader) structure() {
	err := toml.Unmarshal(r.data, &map[string]any{})
	if err == nil {
		return
	}
	var decode *toml.DecodeError
	offset := 0
	if errors.As(err, &decode) {
		line, column := decode.Position()
		for range line - 1 {
			offset += strings.IndexByte(string(r.data[offset:]), '\n') + 1
		}
		offset += column - 1
	}
	// An error that is noted for the same place says more.
	if !slices.ContainsFunc(r.errs, func(e *Error) bool { return r.line(e.offset) == r.line(offset) }) {
		r.fail(offset, "", ErrSyntax, "not TOML: %s", strings.TrimPrefix(err.Error(), "toml: "))
	}
}

// line is the number of lines before offset.
func (r *reader) line(offset int) int {
	if r.full() {
		return 0 // nobody reads it
	}
	return bytes.Count(r.data[:offset], []byte("\n"))
}

// open returns the table that a header opens, or one that leads nowhere.
func (r *reader) open(root *value, key unstable.Iterator, list bool) *value {
	at := root
	for key.Next() {
		n := key.Node()
		offset := int(n.Raw.Offset)
		next := r.step(at, string(n.Data), offset, list && key.IsLast())
		if next == nil {
			return newTable("", 0, offset)
		}
		at = next
	}
	return at
}

// step returns the table of that name in a table, or the last of a list of
// tables, made if it is not there; nil if what is there is something else.
func (r *reader) step(at *value, name string, offset int, item bool) *value {
	path := join(at.key, name)
	if at.depth >= maxDepth {
		r.deep(offset, path)
		return nil
	}
	v := at.fields[name]
	if v == nil {
		v = newTable(path, at.depth+1, offset)
		if item {
			v = &value{key: path, depth: at.depth + 1, offset: offset, kind: listKind}
		}
		r.put(at, name, v)
	}
	switch {
	case v.kind == listKind && item:
		next := newTable(fmt.Sprintf("%s[%d]", path, len(v.items)), v.depth+1, offset)
		v.items = append(v.items, next)
		r.values++
		return next
	case v.kind == listKind && len(v.items) > 0 && v.items[len(v.items)-1].kind == tableKind:
		return v.items[len(v.items)-1]
	case v.kind == tableKind && !item:
		return v
	}
	r.fail(offset, path, ErrKey, "is there already, at line %d, as something else", 1+r.line(v.offset))
	return nil
}

func (r *reader) deep(offset int, path string) {
	r.tooDeep = true
	r.fail(offset, path, ErrKey, "expected at most %d tables and lists within each other", maxDepth)
}

func (r *reader) put(at *value, name string, v *value) {
	r.values++
	at.names = append(at.names, name)
	at.fields[name] = v
}

// set sets a key of a table to its value.
func (r *reader) set(at *value, e *unstable.Node) {
	key := e.Key()
	for key.Next() {
		n := key.Node()
		name, offset := string(n.Data), int(n.Raw.Offset)
		if !key.IsLast() {
			if at = r.step(at, name, offset, false); at == nil {
				return
			}
			continue
		}
		path := join(at.key, name)
		if there := at.fields[name]; there != nil {
			r.fail(offset, path, ErrKey, "is there already, at line %d: give each key once", 1+r.line(there.offset))
			return
		}
		r.put(at, name, r.value(path, at.depth+1, offset, e.Value()))
	}
}

// value returns the value of a node.
func (r *reader) value(path string, depth, offset int, n *unstable.Node) *value {
	v := &value{key: path, depth: depth, offset: offset, kind: n.Kind, text: string(n.Data)}
	if (n.Kind == unstable.Array || n.Kind == unstable.InlineTable) && depth > maxDepth {
		r.deep(offset, path)
		return v
	}
	switch n.Kind {
	case unstable.Array:
		for items := n.Children(); items.Next() && r.values <= maxValues; {
			r.values++
			item, at := items.Node(), offset
			if item.Raw.Length > 0 { // a list's own place is not told
				at = int(item.Raw.Offset)
			}
			v.items = append(v.items, r.value(fmt.Sprintf("%s[%d]", path, len(v.items)), depth+1, at, item))
		}
	case unstable.InlineTable:
		v.kind, v.fields = tableKind, map[string]*value{}
		for fields := n.Children(); fields.Next() && r.values <= maxValues; {
			r.set(v, fields.Node())
		}
	}
	return v
}
