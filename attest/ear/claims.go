package ear

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/redoubt-tee/redoubt/attest/cmw"
	"github.com/redoubt-tee/redoubt/attest/internal/strictjson"
)

// A dialect is the names of the claims of a profile.
type dialect struct {
	verifier, evidence, status, vector, policy string
}

func dialectOf(profile string) dialect {
	if profile == Profile2023 {
		return dialect{"ear.verifier-id", "ear.raw-evidence", "ear.status", "ear.trustworthiness-vector", "ear.appraisal-policy-id"}
	}
	return dialect{"ear_verifier_id", "ear_raw_evidence", "ear_status", "ear_trustworthiness_vector", "ear_appraisal_policy_ids"}
}

// Nonces have padding, so that they are never too short for the draft.
var nonces = base64.URLEncoding.Strict()

// Claims returns the result as a claims-set in JSON, with the names in a fixed
// order.
func (r *Result) Claims() ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	d := dialectOf(r.Profile)
	set := map[string]any{
		"eat_profile": r.Profile,
		"iat":         r.Issued.Unix(),
		d.verifier:    map[string]string{"developer": r.Verifier.Developer, "build": r.Verifier.Build},
	}
	if !r.Expires.IsZero() {
		set["exp"] = r.Expires.Unix()
	}
	if r.Nonce != nil {
		set["eat_nonce"] = nonces.EncodeToString(r.Nonce)
	}
	if r.Evidence != nil {
		raw, err := r.rawEvidence()
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrMalformed, d.evidence, err)
		}
		set[d.evidence] = raw
	}
	submods := map[string]any{}
	for _, name := range r.names() {
		a := r.Attesters[name]
		submods[name] = a.claims(d, r.Profile)
	}
	set["submods"] = submods
	data, err := json.Marshal(set)
	if err == nil {
		err = strictjson.Check(data) // what Parse would not read is not written
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return data, nil
}

func (r *Result) rawEvidence() (any, error) {
	if r.Profile == Profile2023 {
		return base64.RawURLEncoding.EncodeToString(r.Evidence), nil
	}
	return json.RawMessage(r.Evidence), checkRecord(r.Evidence)
}

// checkRecord checks that data is a conceptual message wrapper in JSON.
func checkRecord(data []byte) error {
	m, err := cmw.Parse(data)
	switch {
	case err != nil:
		return err
	case m.Form != cmw.JSON || m.IsCollection():
		return fmt.Errorf("a %v as %v, must be a record as JSON", m.Type(), m.Form)
	}
	return nil
}

func (a *Appraisal) claims(d dialect, profile string) map[string]any {
	set := map[string]any{d.status: a.Status.String()}
	vector := map[string]Claim{}
	for _, e := range a.Vector.elements() {
		if *e.claim != 0 {
			vector[e.name] = *e.claim
		}
	}
	if len(vector) > 0 {
		set[d.vector] = vector
	}
	switch {
	case len(a.Policies) == 0:
	case profile == Profile2023:
		set[d.policy] = a.Policies[0]
	default:
		set[d.policy] = a.Policies
	}
	return set
}

// Parse reads a claims-set that is not signed. Claims of other names are passed
// over, as the draft demands.
func Parse(data []byte) (*Result, error) {
	r, err := parse(data)
	if err == nil {
		err = r.check()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return r, nil
}

// A reader takes members of an object, and remembers the first error.
type reader struct {
	members map[string]json.RawMessage
	err     error
}

func read(data []byte) *reader {
	list, err := strictjson.Object(data)
	r := &reader{map[string]json.RawMessage{}, err}
	for _, m := range list {
		r.members[m.Name] = m.Value
	}
	return r
}

func (r *reader) fail(name string, err error) {
	if r.err == nil {
		r.err = fmt.Errorf("%s: %w", name, err)
	}
}

var errMissing = errors.New("is missing")

// text returns a member that must be a string, or "" if it may be missing and is.
func (r *reader) text(name string, must bool) string {
	value, ok := r.members[name]
	if !ok {
		if must {
			r.fail(name, errMissing)
		}
		return ""
	}
	s, err := strictjson.String(value)
	if err == nil && s == "" {
		err = errors.New("is empty")
	}
	if err != nil {
		r.fail(name, err)
	}
	return s
}

// seconds returns a member that must be a time in whole seconds since 1970. The
// profile of 2023 was written with exponents by some.
func (r *reader) seconds(name, profile string, must bool) time.Time {
	value, ok := r.members[name]
	if !ok {
		if must {
			r.fail(name, errMissing)
		}
		return time.Time{}
	}
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil && profile == Profile2023 && len(value) < 32 && strings.Trim(string(value), "0123456789.e+") == "" {
		n, err = whole(string(value))
	}
	if err != nil || n <= 0 || n > math.MaxInt32*4 {
		r.fail(name, fmt.Errorf("%.32q, must be a time in whole seconds", value))
		return time.Time{}
	}
	return time.Unix(n, 0).UTC()
}

func whole(s string) (int64, error) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f > 1<<53 {
		return 0, errors.New("not a number of this size")
	}
	n, accuracy := big.NewFloat(f).Int64()
	if accuracy != big.Exact {
		return 0, errors.New("not a whole number")
	}
	return n, nil
}

func parse(data []byte) (*Result, error) {
	set := read(data)
	r := &Result{Profile: set.text("eat_profile", true), Attesters: map[string]Appraisal{}}
	if set.err != nil {
		return nil, set.err
	}
	if r.Profile != Profile2023 && r.Profile != ProfileDraft05 {
		return nil, r.check()
	}
	d := dialectOf(r.Profile)
	r.Issued, r.Expires = set.seconds("iat", r.Profile, true), set.seconds("exp", r.Profile, false)
	if nonce := set.text("eat_nonce", false); nonce != "" && set.err == nil {
		r.Nonce, set.err = decodeNonce(nonce)
	}
	verifier := read(set.members[d.verifier])
	r.Verifier = VerifierID{verifier.text("developer", true), verifier.text("build", true)}
	if verifier.err != nil {
		set.fail(d.verifier, verifier.err)
	}
	if value, ok := set.members[d.evidence]; ok {
		if err := r.setEvidence(value); err != nil {
			set.fail(d.evidence, err)
		}
	}
	submods := read(set.members["submods"])
	for name, value := range submods.members {
		a, err := parseAppraisal(value, d, r.Profile)
		if err != nil {
			submods.fail(fmt.Sprintf("%.64q", name), err)
		}
		r.Attesters[name] = a
	}
	if submods.err != nil {
		set.fail("submods", submods.err)
	}
	return r, set.err
}

func decodeNonce(s string) ([]byte, error) {
	nonce, err := nonces.DecodeString(s)
	if err != nil || strings.ContainsAny(s, "\r\n") {
		return nil, fmt.Errorf("eat_nonce: %.96q is not base64url with padding", s)
	}
	return nonce, nil
}

func (r *Result) setEvidence(value json.RawMessage) error {
	if r.Profile != Profile2023 {
		r.Evidence = value
		return checkRecord(value)
	}
	s, err := strictjson.String(value)
	if err != nil {
		return err
	}
	r.Evidence, err = base64.RawURLEncoding.Strict().DecodeString(s)
	return err
}

func parseAppraisal(data []byte, d dialect, profile string) (Appraisal, error) {
	set := read(data)
	var a Appraisal
	if value, ok := set.members[d.status]; !ok {
		set.fail(d.status, errMissing)
	} else if err := a.Status.parse(value); err != nil {
		set.fail(d.status, err)
	}
	if value, ok := set.members[d.vector]; ok {
		if err := a.Vector.parse(value); err != nil {
			set.fail(d.vector, err)
		}
	}
	if profile == Profile2023 {
		if id := set.text(d.policy, false); id != "" {
			a.Policies = []string{id}
		}
		return a, set.err
	}
	if value, ok := set.members[d.policy]; ok {
		list, err := strictjson.Array(value)
		if err == nil && len(list) == 0 {
			err = errors.New("an empty list")
		}
		for _, element := range list {
			id, e := strictjson.String(element)
			err = errors.Join(err, e)
			a.Policies = append(a.Policies, id)
		}
		if err != nil {
			set.fail(d.policy, err)
		}
	}
	return a, set.err
}

// parse reads a tier by its name, or by its number as some write it.
func (t *Tier) parse(value json.RawMessage) error {
	for tier, name := range tierNames {
		if string(value) == strconv.Quote(name) || string(value) == strconv.Itoa(int(tier)) {
			*t = tier
			return nil
		}
	}
	return fmt.Errorf("%.32q, must be none, affirming, warning or contraindicated", value)
}

func (v *Vector) parse(data []byte) error {
	list, err := strictjson.Object(data)
	if err != nil {
		return err
	}
next:
	for _, m := range list {
		for _, e := range v.elements() {
			if e.name != m.Name {
				continue
			}
			n, err := strconv.ParseInt(string(m.Value), 10, 8)
			if err != nil {
				return fmt.Errorf("%s: %.32q, must be a whole number from -128 to 127", m.Name, m.Value)
			}
			*e.claim = Claim(n)
			continue next
		}
		return fmt.Errorf("the aspect %.64q is not known", m.Name)
	}
	return nil
}
