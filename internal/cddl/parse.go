package cddl

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

type tokenKind int

const (
	endOfInput tokenKind = iota
	ident
	number
	text
	ctl
	symbol
)

type token struct {
	kind       tokenKind
	val        string
	start, end int
}

// scanners are tried in this order. A name may not hold "..", which RFC 8610
// allows and readers take for a range.
var scanners = []struct {
	kind tokenKind
	re   *regexp.Regexp
}{
	{ident, regexp.MustCompile(`^[A-Za-z@_$](?:[-.]?[A-Za-z0-9@_$])*`)},
	{number, regexp.MustCompile(`^(?:0x[0-9A-Fa-f]+|0|[1-9][0-9]*)`)},
	{text, regexp.MustCompile(`^"[^"\\\x00-\x1f\x7f]*"`)},
	{ctl, regexp.MustCompile(`^\.[A-Za-z]+`)},
	{symbol, regexp.MustCompile(`^(?:\.\.\.|\.\.|[=/(){}\[\]<>,:?*+])`)},
}

var (
	blank = regexp.MustCompile(`^(?:[ \r\n]+|;[^\n]*\n)+`)
	// glued must not follow a number: 1.5, 0b1, 12ab.
	glued = regexp.MustCompile(`^(?:[A-Za-z0-9@_$]|\.[0-9])`)
)

func scan(src string) ([]token, error) {
	src += "\n"
	var toks []token
	at := 0
next:
	for {
		at += len(blank.FindString(src[at:]))
		if at == len(src) {
			return append(toks, token{kind: endOfInput, start: at, end: at}), nil
		}
		for _, s := range scanners {
			val := s.re.FindString(src[at:])
			if val == "" || s.kind == number && glued.MatchString(src[at+len(val):]) {
				continue
			}
			toks = append(toks, token{s.kind, val, at, at + len(val)})
			at += len(val)
			continue next
		}
		return nil, failAt(src, at, "this is not in the known subset of CDDL: %.20q", src[at:])
	}
}

func failAt(src string, at int, format string, args ...any) error {
	line := 1 + strings.Count(src[:min(at, len(src))], "\n")
	return fmt.Errorf("cddl: line %d: %s", line, fmt.Sprintf(format, args...))
}

type parser struct {
	src  string
	toks []token
	pos  int
}

func (p *parser) peek() token { return p.toks[p.pos] }

func (p *parser) next() token {
	t := p.toks[p.pos]
	if t.kind != endOfInput {
		p.pos++
	}
	return t
}

// is reports whether the next token is the symbol val.
func (p *parser) is(val string) bool { return p.peek().kind == symbol && p.peek().val == val }

func (p *parser) accept(val string) bool {
	if p.is(val) {
		p.pos++
		return true
	}
	return false
}

func (p *parser) expect(val string) error {
	if !p.accept(val) {
		return p.fail(p.peek(), "expected %q, found %q", val, p.peek().val)
	}
	return nil
}

func (p *parser) fail(t token, format string, args ...any) error {
	return failAt(p.src, t.start, format, args...)
}

func (p *parser) rule() (string, *rule, error) {
	name := p.next()
	if name.kind != ident {
		return "", nil, p.fail(name, "expected the name of a rule, found %q", name.val)
	}
	r := &rule{}
	if p.accept("<") {
		for {
			t := p.next()
			if t.kind != ident || slices.Contains(r.params, t.val) {
				return "", nil, p.fail(t, "expected the name of a generic parameter, found %q", t.val)
			}
			r.params = append(r.params, t.val)
			if !p.accept(",") {
				break
			}
		}
		if err := p.expect(">"); err != nil {
			return "", nil, err
		}
	}
	if err := p.expect("="); err != nil {
		return "", nil, err
	}
	body, err := p.typeOrGroup()
	r.body = body
	return name.val, r, err
}

// typeOrGroup parses a type, or, where that fails, a group in parentheses.
func (p *parser) typeOrGroup() (node, error) {
	start := p.pos
	n, err := p.typ()
	if err == nil || p.toks[start].val != "(" {
		return n, err
	}
	reached := p.pos
	p.pos = start + 1
	g, groupErr := p.group(")")
	if groupErr != nil && p.pos < reached {
		return nil, err
	}
	return g, groupErr
}

func (p *parser) typ() (node, error) {
	first, err := p.type1()
	if err != nil || !p.is("/") {
		return first, err
	}
	c := &choice{alts: []node{first}}
	for p.accept("/") {
		alt, err := p.type1()
		if err != nil {
			return nil, err
		}
		c.alts = append(c.alts, alt)
	}
	return c, nil
}

func (p *parser) type1() (node, error) {
	left, err := p.type2()
	if err != nil {
		return nil, err
	}
	op := p.peek()
	switch {
	case op.kind == ctl:
		p.pos++
		right, err := p.type2()
		return &control{target: left, op: op.val[1:], arg: right}, err
	case p.accept(".."), p.accept("..."):
		right, err := p.type2()
		if err != nil {
			return nil, err
		}
		lo, okLo := left.(uintLit)
		hi, okHi := right.(uintLit)
		if op.val == "..." {
			okHi = okHi && hi > 0
			hi--
		}
		if !okLo || !okHi || lo > hi {
			return nil, p.fail(op, "a range must go from one unsigned integer up to another")
		}
		return interval{uint64(lo), uint64(hi)}, nil
	}
	return left, nil
}

func (p *parser) type2() (node, error) {
	t := p.next()
	switch {
	case t.kind == text:
		return textLit(t.val[1 : len(t.val)-1]), nil
	case t.kind == number:
		v, err := strconv.ParseUint(t.val, 0, 64)
		if err != nil {
			return nil, p.fail(t, "%v", err)
		}
		return uintLit(v), nil
	case t.kind == ident:
		return p.reference(t)
	case t.kind == symbol && t.val == "(":
		n, err := p.typ()
		if err != nil {
			return nil, err
		}
		return n, p.expect(")")
	case t.kind == symbol && t.val == "{":
		g, err := p.group("}")
		return &container{group: g}, err
	case t.kind == symbol && t.val == "[":
		g, err := p.group("]")
		return &container{array: true, group: g}, err
	}
	return nil, p.fail(t, "expected a type, found %q", t.val)
}

func (p *parser) reference(name token) (node, error) {
	r := &ref{name: name.val}
	if !p.accept("<") {
		return r, nil
	}
	for {
		arg, err := p.type1()
		if err != nil {
			return nil, err
		}
		r.args = append(r.args, arg)
		if !p.accept(",") {
			return r, p.expect(">")
		}
	}
}

// group parses entries up to the closing symbol.
func (p *parser) group(closing string) (*group, error) {
	g := &group{}
	for !p.accept(closing) {
		e, err := p.entry()
		if err != nil {
			return nil, err
		}
		g.entries = append(g.entries, e)
		if !p.is(closing) {
			if err := p.expect(","); err != nil {
				return nil, err
			}
		}
	}
	return g, nil
}

func (p *parser) entry() (entry, error) {
	e := entry{min: 1, max: 1}
	if err := p.occurrence(&e); err != nil {
		return e, err
	}
	key := p.peek()
	if (key.kind == ident || key.kind == text) && p.toks[p.pos+1].val == ":" && p.toks[p.pos+1].kind == symbol {
		e.keyed = true
		e.key = strings.Trim(key.val, `"`)
		p.pos += 2
		var err error
		e.value, err = p.typ()
		return e, err
	}
	var err error
	e.value, err = p.typeOrGroup()
	return e, err
}

// occurrence parses what stands before an entry, if anything. Bounds touch the
// asterisk: [* 5] is any number of fives.
func (p *parser) occurrence(e *entry) error {
	t, after := p.peek(), p.toks[min(p.pos+1, len(p.toks)-1)]
	switch {
	case p.accept("?"):
		e.min = 0
		return nil
	case p.accept("+"):
		e.max = unbounded
		return nil
	case t.kind == number && after.kind == symbol && after.val == "*" && after.start == t.end:
		n, err := strconv.ParseUint(t.val, 0, 64)
		if err != nil {
			return p.fail(t, "%v", err)
		}
		e.min = n
		p.pos++
	case p.is("*"):
		e.min = 0
	default:
		return nil
	}
	star := p.next()
	e.max = unbounded
	if t := p.peek(); t.kind == number && t.start == star.end {
		n, err := strconv.ParseUint(t.val, 0, 64)
		if err != nil {
			return p.fail(t, "%v", err)
		}
		e.max = n
		p.pos++
	}
	if e.min > e.max {
		return p.fail(star, "occurrence from %d to %d", e.min, e.max)
	}
	return nil
}
