package spec_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A source is what the declarations of package wire say.
type source struct {
	messages map[string]string   // Go type to name on the wire
	strings  []string            // types whose values are text
	consts   map[string][]string // those types to their constants' values
	evidence []string            // values of the untyped constants EvidenceXXX
}

// parseWire reads package wire's source, so that what is added there can't be
// forgotten here.
func parseWire(t *testing.T) source {
	t.Helper()
	files, err := filepath.Glob("../wire/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("package wire has no source: %v", err)
	}
	src := source{messages: map[string]string{}, consts: map[string][]string{}}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range f.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				src.method(t, decl)
			case *ast.GenDecl:
				for _, spec := range decl.Specs {
					src.spec(t, decl.Tok, spec)
				}
			}
		}
	}
	return src
}

func (s *source) method(t *testing.T, decl *ast.FuncDecl) {
	if decl.Name.Name != "wireName" || decl.Recv == nil {
		return
	}
	typ := decl.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	name := ""
	if ret, ok := decl.Body.List[0].(*ast.ReturnStmt); ok && len(ret.Results) == 1 {
		name = literal(ret.Results[0])
	}
	if name == "" {
		t.Fatalf("wireName of %s does not return a text literal", typ)
	}
	s.messages[typ.(*ast.Ident).Name] = name
}

func (s *source) spec(t *testing.T, tok token.Token, spec ast.Spec) {
	switch spec := spec.(type) {
	case *ast.TypeSpec:
		if base, ok := spec.Type.(*ast.Ident); ok && base.Name == "string" {
			s.strings = append(s.strings, spec.Name.Name)
		}
	case *ast.ValueSpec:
		if tok != token.CONST || len(spec.Values) != 1 {
			return
		}
		value := literal(spec.Values[0])
		if typ, ok := spec.Type.(*ast.Ident); ok {
			if value != "" {
				s.consts[typ.Name] = append(s.consts[typ.Name], value)
			}
		} else if strings.HasPrefix(spec.Names[0].Name, "Evidence") {
			if value == "" {
				t.Fatalf("constant %s is not a text literal", spec.Names[0].Name)
			}
			s.evidence = append(s.evidence, value)
		}
	}
}

// literal returns the text of a text literal, or "".
func literal(e ast.Expr) string {
	if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
		s, _ := strconv.Unquote(lit.Value)
		return s
	}
	return ""
}
