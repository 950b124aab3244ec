package policyfile

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// The classes of errors. Each Error wraps one.
var (
	ErrSize    = errors.New("policy file too large")
	ErrSyntax  = errors.New("not TOML")
	ErrKey     = errors.New("key not known, or there twice")
	ErrMissing = errors.New("key missing")
	ErrType    = errors.New("value of another type")
	ErrValue   = errors.New("value not accepted")
)

// MaxErrors is how many errors of one file are reported.
const MaxErrors = 20

// An Error is one thing that is wrong in a policy file.
type Error struct {
	File   string `json:"file"`
	Line   int    `json:"line"`          // from 1
	Column int    `json:"column"`        // from 1, in characters
	Key    string `json:"key,omitempty"` // the full path, such as snp.measurements[0].digest
	Text   string `json:"text"`          // what was expected, what was found, what to do

	class  error
	offset int
}

// Error returns all of e in one line.
func (e *Error) Error() string {
	if e.Key == "" {
		return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Text)
	}
	return fmt.Sprintf("%s:%d:%d: %s: %s", e.File, e.Line, e.Column, e.Key, e.Text)
}

// Unwrap returns the class of e, such as ErrKey.
func (e *Error) Unwrap() error { return e.class }

// Errors is all that is wrong in a policy file, by line, and no more than
// MaxErrors.
type Errors []*Error

// Error returns a line for each.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns them all.
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i, one := range e {
		all[i] = one
	}
	return all
}

// fail notes an error at an offset.
func (r *reader) fail(offset int, key string, class error, format string, args ...any) {
	r.failed++
	if !r.full() {
		r.errs = append(r.errs, &Error{Key: key, Text: fmt.Sprintf(format, args...), class: class, offset: offset})
	}
}

// full reports whether no more errors are noted, but only counted.
func (r *reader) full() bool { return len(r.errs) >= maxNoted }

// maxNoted bounds what a file that is all wrong can make of itself before its
// first errors by line are known.
const maxNoted = 1000

// errors returns what was noted, by line, or nil.
func (r *reader) errors(file string) error {
	if len(r.errs) == 0 {
		return nil
	}
	slices.SortStableFunc(r.errs, func(a, b *Error) int { return cmp.Compare(a.offset, b.offset) })
	r.errs = r.errs[:min(len(r.errs), MaxErrors)]
	for _, e := range r.errs {
		e.File = file
		before := r.data[:min(e.offset, len(r.data))]
		e.Line = 1 + bytes.Count(before, []byte("\n"))
		e.Column = 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
	}
	if more := r.failed - len(r.errs); more > 0 {
		last := r.errs[len(r.errs)-1]
		last.Text += fmt.Sprintf(" (and %d more errors)", more)
	}
	return Errors(r.errs)
}
