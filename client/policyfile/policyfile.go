// Package policyfile reads policies from files: one readable TOML file says
// which evidence is good enough, in the words of attest.Policy.
//
// A file that says nothing refuses everything. What it leaves open it leaves
// open in so many words: by the word "any", or by a key that begins with allow_.
// Whatever is not understood is an error, with its line, so that nothing of a
// policy is passed over. Template makes a policy to start from, in which each key
// is explained.
package policyfile

import (
	"fmt"
	"time"

	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/wire"
)

const (
	// MaxSize is the largest file, in bytes.
	MaxSize = 1 << 20
	// MaxGrace is the longest grace period for expired collateral.
	MaxGrace = 90 * 24 * time.Hour
)

// Parse reads a policy file. Its name is for errors alone: these are Errors, or
// an *Error that wraps ErrSize. On any error the policy is the zero one, which
// refuses everything.
func Parse(name string, data []byte) (attest.Policy, error) {
	if len(data) > MaxSize {
		return attest.Policy{}, &Error{File: name, Line: 1, Column: 1, class: ErrSize,
			Text: fmt.Sprintf("expected at most %d bytes, found %d", MaxSize, len(data))}
	}
	r := newReader(data)
	p := r.policy()
	if err := r.errors(name); err != nil {
		return attest.Policy{}, err
	}
	return p, nil
}

func newReader(data []byte) *reader {
	return &reader{data: data[:len(data):len(data)], keys: map[string][]string{}}
}

func (r *reader) policy() attest.Policy {
	root := r.tree()
	if root == nil {
		return attest.Policy{}
	}
	var p attest.Policy
	t := r.table(root, "")
	t.version()
	p.AllowSimulated = t.bool("allow_simulated")
	p.AllowDebug = t.bool("allow_debug")
	p.AllowUnchecked = t.bool("allow_unchecked")
	p.Grace = t.duration("grace", MaxGrace)
	var profiles []string
	for _, profile := range wire.Profiles() {
		profiles = append(profiles, string(profile))
	}
	p.Profiles = t.words("log_profiles", "a log profile", profiles, nil)
	t.notEmpty("log_profiles", "only production is accepted")
	p.Known = t.knownInputs()
	p.SNP = sub(t, attest.SNP, (*table).snp)
	p.TDX = sub(t, attest.TDX, (*table).tdx)
	p.SGX = sub(t, attest.SGX, (*table).sgx)
	p.CCA = sub(t, attest.CCA, (*table).cca)
	p.Nitro = sub(t, attest.Nitro, (*table).nitro)
	p.TPM = sub(t, attest.TPM, (*table).tpm)
	t.done()
	r.structure()
	return p
}

func (t *table) version() {
	v := t.need("version", "version = 1, the version of this format")
	if v != nil && t.r.is(v, unstable.Integer, "1, the version of this format") && v.text != "1" {
		t.r.fail(v.offset, v.key, ErrValue, "expected 1, found %s: another version of this program may read it", cut(v.text))
	}
}

// sub reads a table within t; nil if it is not there.
func sub[T any](t *table, name string, read func(*table, *T)) *T {
	v := t.get(name)
	if v == nil || !t.r.is(v, tableKind, "a table: ["+join(t.v.key, name)+"]") {
		return nil
	}
	of := new(T)
	within := t.r.table(v, join(t.path, name))
	read(within, of)
	within.done()
	return of
}

// knownInputs reads the list known.
func (t *table) knownInputs() []attest.Reference {
	f := form{what: "a measurement", sizes: []int{32, 48, 64}}
	var refs []attest.Reference
	for _, v := range t.list("known", "a list of tables: [[known]] for each") {
		if t.r.is(v, tableKind, `a table: { name = "...", digest = "..." }`) {
			known := t.r.table(v, "known[*]")
			refs = append(refs, known.named(f, true))
			known.done()
		}
	}
	return refs
}
