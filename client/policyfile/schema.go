package policyfile

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/cca"
	"github.com/redoubt-tee/redoubt/attest/dcap"
	"github.com/redoubt-tee/redoubt/attest/snp"
	"github.com/redoubt-tee/redoubt/attest/tpm"
)

// pins reads what all technologies have.
func (t *table) pins(p *attest.Pins, measurement, machine form) {
	t.orAny("measurements", measurement, &p.Measurements, &p.AnyMeasurement)
	t.orAny("machines", machine, &p.Machines, &p.AnyMachine)
}

// Advice for keys that have no "any".
const (
	leaveOutForZero = "leave the key out to accept zero alone, or list values"
	leaveOutForAny  = "leave the key out to accept all, or list values"
)

func sha384(what string) form { return form{what: what, sizes: []int{48}} }

func (t *table) snp(p *attest.SNPPolicy) {
	t.pins(&p.Pins, sha384("a launch digest"), form{what: "a chip ID (8 bytes on Turin)", sizes: []int{64, 8}})
	t.minimumTCB(p)
	p.Providers = t.words("providers", "a cloud provider's CSP ID", nil, nil)
	p.VMPL = uint32(t.integer("vmpl", 3))
	p.AllowMigrateMA = t.bool("allow_migrate_ma")
	p.AllowSMT = t.bool("allow_smt")
	p.AllowNoAliasCheck = t.bool("allow_no_alias_check")
	t.orAny("host_data", form{what: "host data", sizes: []int{32}}, &p.HostData, &p.AnyHostData)
	p.IDKeys = t.references("id_keys", sha384("an ID key's digest"), leaveOutForAny)
	t.notEmpty("id_keys", "no ID block is asked for")
	p.AuthorKeys = t.references("author_keys", sha384("an author key's digest"), leaveOutForAny)
	t.notEmpty("author_keys", "no author key is asked for")
	p.MinGuestSVN = uint32(t.integer("minimum_guest_svn", 1<<32-1))
	t.minimumABI(p)
	t.mitigations(p)
}

// products are the keys of minimum_tcb.
var products = []struct {
	key     string
	product snp.Product
}{{"milan", snp.Milan}, {"genoa", snp.Genoa}, {"turin", snp.Turin}}

func (t *table) minimumTCB(p *attest.SNPPolicy) {
	const name = "minimum_tcb"
	if v := t.v.fields[name]; v != nil && v.kind != tableKind {
		t.get(name)
		p.AnyTCB = v.isAny()
		if !p.AnyTCB {
			t.r.fail(v.offset, v.key, ErrType, `expected a table for each product, such as [snp.minimum_tcb.milan], or the word "any", found %s`, v.describe())
		}
		return
	}
	read := func(minimum *table, _ *struct{}) {
		for _, product := range products {
			tcb := sub(minimum, product.key, func(t *table, tcb *snp.TCB) { t.tcb(product.product, tcb) })
			if tcb == nil {
				continue
			}
			if p.MinTCB == nil {
				p.MinTCB = map[snp.Product]snp.TCB{}
			}
			p.MinTCB[product.product] = *tcb
		}
	}
	sub(t, name, read)
}

func (t *table) tcb(product snp.Product, tcb *snp.TCB) {
	if product == snp.Turin {
		tcb.FMC = uint8(t.integer("fmc", 255))
	}
	tcb.Bootloader = uint8(t.integer("bootloader", 255))
	tcb.TEE = uint8(t.integer("tee", 255))
	tcb.SNP = uint8(t.integer("snp", 255))
	tcb.Microcode = uint8(t.integer("microcode", 255))
}

func (t *table) minimumABI(p *attest.SNPPolicy) {
	v := t.get("minimum_abi")
	if v == nil {
		return
	}
	const expected = `major and minor version in quotes, such as "1.55"`
	text, ok := t.r.text(v, maxText, expected)
	if !ok {
		return
	}
	major, minor, _ := strings.Cut(text, ".")
	for i, part := range []string{major, minor} {
		n, err := strconv.ParseUint(part, 10, 8)
		if err != nil {
			t.r.fail(v.offset, v.key, ErrValue, "expected %s, found %s", expected, quote(text))
			return
		}
		p.MinABI[i] = uint8(n)
	}
}

func (t *table) mitigations(p *attest.SNPPolicy) {
	for _, v := range t.list("mitigations", "a list of bit numbers of the mitigation vector, such as [0, 3]") {
		before := len(t.r.errs)
		bit := uint64(1) << t.r.integer(v, 63)
		switch {
		case len(t.r.errs) > before:
		case p.Mitigations&bit != 0:
			t.r.fail(v.offset, v.key, ErrValue, "%s is there twice: give it once", v.text)
		default:
			p.Mitigations |= bit
		}
	}
}

// statuses are those that a policy may accept; those for trust domains follow.
var (
	statuses = []string{
		string(dcap.UpToDate), string(dcap.SWHardeningNeeded), string(dcap.ConfigurationNeeded), string(dcap.ConfigurationAndSWHardeningNeeded),
		string(dcap.OutOfDate), string(dcap.OutOfDateConfigurationNeeded),
	}
	relaunchStatuses = []string{string(dcap.TDRelaunchAdvised), string(dcap.TDRelaunchAdvisedConfigurationNeeded)}
	advisoryName     = regexp.MustCompile(`^INTEL-SA-[0-9]{5}$`)
)

var ppid = form{what: "a PPID", sizes: []int{16}}

func (t *table) dcap(p *attest.DCAPPolicy, statuses []string) {
	for _, status := range t.words("tcb_status", "a TCB status (Revoked can't be accepted)", statuses, nil) {
		p.Statuses = append(p.Statuses, dcap.Status(status))
	}
	if v := t.v.fields["advisories"]; v != nil && v.isAny() {
		t.get("advisories")
		p.AnyAdvisory = true
	} else {
		p.Advisories = t.words("advisories", `an advisory's name, such as "INTEL-SA-00615"`, nil, advisoryName.MatchString)
	}
	p.MinTCBDate = t.date("minimum_tcb_date")
	p.MinEvaluation = uint32(t.integer("minimum_evaluation", 1<<32-1))
}

func (t *table) tdx(p *attest.TDXPolicy) {
	t.pins(&p.Pins, sha384("an MRTD"), ppid)
	t.dcap(&p.DCAPPolicy, append(statuses[:len(statuses):len(statuses)], relaunchStatuses...))
	for i := range p.RTMRs {
		name := fmt.Sprintf("rtmr%d", i)
		t.orAny(name, sha384("an "+strings.ToUpper(name)), &p.RTMRs[i], &p.AnyRTMR[i])
	}
	t.orAny("modules", sha384("a TDX module's MRSEAM"), &p.Modules, &p.AnyModule)
	t.orAny("config_ids", sha384("an MRCONFIGID"), &p.ConfigIDs, &p.AnyConfigID)
	t.orAny("owners", sha384("an MROWNER"), &p.Owners, &p.AnyOwner)
	t.orAny("owner_configs", sha384("an MROWNERCONFIG"), &p.OwnerConfigs, &p.AnyOwnerConfig)
	p.Services = t.references("services", sha384("an MRSERVICETD"), leaveOutForZero)
	p.AllowSeptVE = t.bool("allow_sept_ve")
	p.AllowAttributes = t.words("allow_attributes", "an attribute of a TD", attest.TDAttributes(), nil)
}

func (t *table) sgx(p *attest.SGXPolicy) {
	t.pins(&p.Pins, form{what: "an MRENCLAVE", sizes: []int{32}}, ppid)
	t.dcap(&p.DCAPPolicy, statuses)
	for _, v := range t.list("signer", "a list of tables: [[sgx.signer]] for each") {
		if !t.r.is(v, tableKind, "a table: digest, product_id, minimum_svn") {
			continue
		}
		one := t.r.table(v, "sgx.signer[*]")
		signer := attest.SGXSigner{Signer: one.named(form{what: "an MRSIGNER", sizes: []int{32}}, false)}
		signer.ProductID, signer.MinSVN = one.uint16("product_id"), one.uint16("minimum_svn")
		one.done()
		p.Signers = append(p.Signers, signer)
	}
	t.notEmpty("signer", "no signer is asked for")
	t.orAny("config_ids", form{what: "a CONFIGID", sizes: []int{64}}, &p.ConfigIDs, &p.AnyConfigID)
	p.AllowProvisionKey = t.bool("allow_provision_key")
}

func (t *table) uint16(name string) uint16 {
	if v := t.need(name, "an integer from 0 to 65535"); v != nil {
		return uint16(t.r.integer(v, 1<<16-1))
	}
	return 0
}

// hashed are the lengths of the hashes that a CCA platform may use.
func hashed(what string) form { return form{what: what, sizes: []int{32, 48, 64}} }

func (t *table) cca(p *attest.CCAPolicy) {
	t.pins(&p.Pins, hashed("a realm's initial measurement (RIM)"), form{what: "an instance ID", sizes: []int{33}})
	for i := range p.REMs {
		name := fmt.Sprintf("rem%d", i)
		t.orAny(name, hashed("a REM"), &p.REMs[i], &p.AnyREM[i])
	}
	p.Personalizations = t.references("personalizations", form{what: "a realm personalization value", sizes: []int{64}}, leaveOutForZero)
	t.orAny("components", hashed("a platform component's measurement"), &p.Components, &p.AnyComponent)
	p.AllowUnsecured = t.bool("allow_unsecured")
	p.Keys = t.rootKeys("a platform's key: PEM, or a JWK", func(key []byte) error { _, err := cca.ParseRoot(key); return err })
}

// maxKey is the size of a key or certificate, in bytes.
const maxKey = 8 << 10

// rootKeys reads the list keys, each of which valid accepts.
func (t *table) rootKeys(what string, valid func([]byte) error) []string {
	var keys []string
	for _, v := range t.list("keys", "a list, each item "+what) {
		if !t.r.is(v, unstable.String, what) {
			continue
		}
		if len(v.text) > maxKey {
			t.r.fail(v.offset, v.key, ErrValue, "expected %s of at most %d bytes, found %d", what, maxKey, len(v.text))
		} else if err := valid([]byte(v.text)); err != nil {
			t.r.fail(v.offset, v.key, ErrValue, "expected %s: %v", what, err)
		}
		keys = append(keys, v.text)
	}
	return keys
}

var moduleID = regexp.MustCompile(`^i-[0-9a-f]{8,32}-enc[0-9a-f]{8,32}$`)

func (t *table) nitro(p *attest.NitroPolicy) {
	t.pins(&p.Pins, sha384("a PCR0"), form{what: `a module ID, such as "i-0123456789abcdef0-enc0123456789abcdef"`, valid: moduleID.MatchString})
	read := func(pcrs *table, _ *struct{}) {
		for i := range 32 {
			if refs, ok := pcrs.pcr(i, sha384(fmt.Sprintf("a PCR%d", i))); ok {
				if p.PCRs == nil {
					p.PCRs = map[int][]attest.Reference{}
				}
				p.PCRs[i] = refs
			}
		}
	}
	sub(t, "pcrs", read)
}

func (t *table) pcr(i int, f form) ([]attest.Reference, bool) {
	name := strconv.Itoa(i)
	return t.references(name, f, leaveOutForAny), t.v.fields[name] != nil
}

// banks are a TPM's, with the size of their hash in bytes.
var banks = []struct {
	name string
	size int
}{{"sha1", 20}, {"sha256", 32}, {"sha384", 48}, {"sha512", 64}}

func (t *table) tpm(p *attest.TPMPolicy) {
	t.pins(&p.Pins, form{what: "a digest over PCRs", sizes: []int{32, 48}}, form{what: "the SHA-256 of an attestation key", sizes: []int{32}})
	read := func(all *table, _ *struct{}) {
		for _, bank := range banks {
			sub(all, bank.name, func(pcrs *table, _ *struct{}) {
				for i := range 24 {
					if refs, ok := pcrs.pcr(i, form{what: fmt.Sprintf("a PCR%d of %s", i, bank.name), sizes: []int{bank.size}}); ok {
						if p.PCRs == nil {
							p.PCRs = map[attest.PCR][]attest.Reference{}
						}
						p.PCRs[attest.PCR{Bank: bank.name, Index: i}] = refs
					}
				}
			})
		}
	}
	sub(t, "pcrs", read)
	p.Keys = t.rootKeys("an attestation key or an authority's certificate: PEM", func(key []byte) error { _, err := tpm.ParseRoot(key); return err })
}
