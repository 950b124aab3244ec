package snp_test

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/redoubt-tee/redoubt/attest/snp"
	"github.com/redoubt-tee/redoubt/internal/teelab"
)

// A machine is one of the laboratory's.
type machine struct {
	name    string
	product snp.Product
	id      byte // what chip, or what provider's key
	tcb     byte
	chip    *teelab.SNP
}

// machines is five of each product: two chips, one of them at another TCB too, and
// two keys of providers.
var machines = sync.OnceValue(func() []machine {
	var all []machine
	for _, product := range []snp.Product{snp.Milan, snp.Genoa, snp.Turin} {
		amd, tcb := lab[product](), teelab.DefaultTCB(product)
		newer := tcb
		newer.Microcode++
		all = append(all,
			machine{"chip 1", product, 1, 0, must(amd.NewChip([64]byte{1}, tcb))},
			machine{"chip 1 at another TCB", product, 1, 1, must(amd.NewChip([64]byte{1}, newer))},
			machine{"chip 2", product, 2, 0, must(amd.NewChip([64]byte{2}, tcb))},
			machine{"provider 1", product, 3, 0, must(amd.NewVLEK("CN=one"))},
			machine{"provider 2", product, 4, 0, must(amd.NewVLEK("CN=two"))},
		)
	}
	for i := range all {
		all[i].name = string(all[i].product) + " " + all[i].name
	}
	return all
})

func labRoots() []snp.Root {
	return []snp.Root{lab[snp.Milan]().Root(), lab[snp.Genoa]().Root(), lab[snp.Turin]().Root()}
}

// TestCross verifies the report of each machine with the certificates of each
// other, and all authorities.
func TestCross(t *testing.T) {
	t.Parallel()
	var authorities [][]byte
	for _, m := range machines() {
		authorities = append(authorities, m.chip.ASK.Raw)
	}
	refused := 0
	for _, a := range machines() {
		ev, v2 := must(a.chip.Evidence([64]byte{1}, [48]byte{2})), must(a.chip.Faulty([64]byte{1}, [48]byte{2}, teelab.Version(2)))
		for _, b := range machines() {
			want, reason := error(nil), ""
			vcek := leaf(b.chip) == b.chip.VCEK
			switch {
			case a.name == b.name:
			case (leaf(a.chip) == a.chip.VCEK) != vcek:
				want, reason = snp.ErrSigner, "neither the certificate table"
			case a.product != b.product:
				want, reason = snp.ErrProduct, fmt.Sprintf("a report of a %s with a ", a.product)
			case a.id != b.id && vcek:
				want, reason = snp.ErrChipID, "the VCEK is for"
			case a.tcb != b.tcb:
				want, reason = snp.ErrTCB, "the VCEK is for"
			default: // a VLEK does not say for what chip it is
				want, reason = snp.ErrSignature, "not made by the certified VLEK"
			}
			if want != nil {
				refused++
			}
			t.Run(a.name+" with "+b.name, func(t *testing.T) {
				collateral := snp.Collateral{Certificates: append(slices.Clone(authorities), leaf(b.chip).Raw)}
				c, err := snp.Verify(ev.Report, nil, collateral, labRoots(), nil, now)
				check(t, c, err, want, reason)
				table := must(b.chip.Evidence([64]byte{}, [48]byte{})).Auxblob
				c, err = snp.Verify(ev.Report, table, snp.Collateral{}, labRoots(), nil, now)
				check(t, c, err, want, reason)
				// Version 2 does not name the product: then TCB, chip or key must tell.
				c, err = snp.Verify(v2.Report, nil, collateral, labRoots(), nil, now)
				if (err == nil) != (want == nil) || (c == nil) != (err != nil) {
					t.Errorf("version 2: got %v, want %v", err, want)
				}
			})
		}
	}
	if refused != 15*14 {
		t.Errorf("%d refusals", refused)
	}
}

// TestSwap puts every certificate into every place of a good table.
func TestSwap(t *testing.T) {
	t.Parallel()
	pool := map[string]*x509.Certificate{}
	for _, m := range machines() {
		pool[m.name] = leaf(m.chip)
		pool[m.chip.ASK.Subject.CommonName] = m.chip.ASK
		pool[m.chip.ARK.Subject.CommonName] = m.chip.ARK
	}
	if len(pool) != 15+9 {
		t.Fatalf("%d certificates", len(pool))
	}
	for _, m := range machines() {
		if m.id != 1 && m.id != 3 || m.tcb != 0 {
			continue // the others are alike
		}
		ev := must(m.chip.Evidence([64]byte{}, [48]byte{}))
		for name, cert := range pool {
			for _, place := range []string{"ARK", "ASK", "VCEK", "VLEK"} {
				t.Run(fmt.Sprintf("%s, %s as %s", m.name, name, place), func(t *testing.T) {
					table := snp.CertTable{ARK: m.chip.ARK, ASK: m.chip.ASK, VCEK: m.chip.VCEK, VLEK: m.chip.VLEK}
					var had *x509.Certificate
					var want []error
					switch place {
					case "ARK":
						had, table.ARK, want = table.ARK, cert, []error{snp.ErrRoot}
					case "ASK":
						had, table.ASK, want = table.ASK, cert, []error{snp.ErrRoot}
					case "VCEK":
						had, table.VCEK, want = table.VCEK, cert, []error{snp.ErrSigner, snp.ErrProduct, snp.ErrTCB, snp.ErrChipID}
					case "VLEK":
						had, table.VLEK, want = table.VLEK, cert, []error{snp.ErrSigner, snp.ErrProduct, snp.ErrSignature}
					}
					c, err := snp.Verify(ev.Report, table.Encode(), snp.Collateral{}, labRoots(), nil, now)
					if had == nil || cert.Equal(had) { // a place that nobody looks at, or no change
						if err != nil {
							t.Error(err)
						}
						return
					}
					if c != nil || !slices.ContainsFunc(want, func(w error) bool { return errors.Is(err, w) }) {
						t.Errorf("got %v, want one of %v", err, want)
					}
				})
			}
		}
	}
}

// TestProducts has what products and versions of reports differ in.
func TestProducts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name        string
		product     snp.Product
		productName string
		faults      []teelab.Fault
		want        error // nil if it verifies
		reason      string
	}{
		{"Milan", snp.Milan, "Milan-B0", nil, nil, ""},
		{"Milan, version 2", snp.Milan, "Milan-B0", []teelab.Fault{teelab.Version(2)}, nil, ""},
		{"Milan, version 5", snp.Milan, "Milan", []teelab.Fault{teelab.Version(5)}, nil, ""},
		{"Milan-X", snp.Milan, "Milan", []teelab.Fault{teelab.Processor(0x19, 0x01, 2)}, nil, ""},
		{"Genoa", snp.Genoa, "Genoa", nil, nil, ""},
		{"Genoa, version 5", snp.Genoa, "Genoa", []teelab.Fault{teelab.Version(5)}, nil, ""},
		{"Bergamo", snp.Genoa, "Genoa", []teelab.Fault{teelab.Processor(0x19, 0xA0, 1)}, nil, ""},
		{"Siena", snp.Genoa, "Siena", []teelab.Fault{teelab.Processor(0x19, 0xA0, 2)}, nil, ""},
		{"Bergamo by name", snp.Genoa, "Bergamo-B0", []teelab.Fault{teelab.Processor(0x19, 0xAF, 2)}, nil, ""},
		{"Turin", snp.Turin, "Turin", nil, nil, ""},
		{"Turin, version 2", snp.Turin, "Turin", []teelab.Fault{teelab.Version(2)}, nil, ""},
		{"Turin, version 5", snp.Turin, "Turin", []teelab.Fault{teelab.Version(5)}, nil, ""},
		{"Turin Dense", snp.Turin, "Turin", []teelab.Fault{teelab.Processor(0x1A, 0x11, 0)}, nil, ""},

		{"Siena by name on a Milan", snp.Milan, "Siena", nil, snp.ErrProduct, "a report of a Milan with a VCEK for Siena"},
		{"Milan by name on a Genoa", snp.Genoa, "Milan", nil, snp.ErrProduct, "a report of a Genoa with a VCEK for Milan"},
		{"Milan by name on a Genoa, version 2", snp.Genoa, "Milan", []teelab.Fault{teelab.Version(2)}, snp.ErrProduct, "a VCEK for Milan under the root of Genoa"},
		{"Genoa's processor in a Milan", snp.Milan, "Milan", []teelab.Fault{teelab.Processor(0x19, 0xA0, 2)}, snp.ErrProduct, "a report of a Genoa with a VCEK for Milan"},
		{"Milan's processor in a Turin", snp.Turin, "Turin", []teelab.Fault{teelab.Processor(0x19, 0x01, 1)}, snp.ErrProduct, "a report of a Milan with a VCEK for Turin"},
		{"Venice's processor in a Turin", snp.Turin, "Turin", []teelab.Fault{teelab.Processor(0x1A, 0x50, 0)}, snp.ErrProduct, "family 0x1a model 0x50"},
		{"Ryzen's processor in a Milan", snp.Milan, "Milan", []teelab.Fault{teelab.Processor(0x19, 0x21, 0)}, snp.ErrProduct, "family 0x19 model 0x21"},
		{"Milan's TCB in a Turin, version 2", snp.Turin, "Turin", []teelab.Fault{teelab.Version(2), teelab.TCB(snp.RawTCB{4, 0, 6: 24, 7: 219})}, snp.ErrReport, "reserved bytes of Turin"},
		{"Turin's TCB in a Genoa, version 2", snp.Genoa, "Genoa", []teelab.Fault{teelab.Version(2), teelab.TCB(snp.RawTCB{1, 1, 1, 4, 7: 73})}, snp.ErrReport, "reserved bytes of Genoa"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			amd := lab[tt.product]()
			chip := must(amd.NewChip([64]byte{5}, teelab.DefaultTCB(tt.product)))
			template := amd.VCEK([64]byte{5}, teelab.DefaultTCB(tt.product))
			for i, ext := range template.ExtraExtensions {
				if ext.Id.String() == "1.3.6.1.4.1.3704.1.2" {
					template.ExtraExtensions[i].Value = append([]byte{0x16, byte(len(tt.productName))}, tt.productName...)
				}
			}
			vcek := issue(template, amd.ASK, chip.VCEK.PublicKey, amd.ASKKey)
			ev := must(chip.Faulty([64]byte{}, [48]byte{}, tt.faults...))
			c, err := snp.Verify(ev.Report, nil, snp.Collateral{Certificates: ders(vcek, amd.ASK)}, labRoots(), nil, now)
			check(t, c, err, tt.want, tt.reason)
			if err == nil && (c.Product != tt.product || c.ProductName != tt.productName || c.ReportedTCB != teelab.DefaultTCB(tt.product)) {
				t.Errorf("claims %+v", c)
			}
		})
	}
}

// TestClaims checks that what a policy may ask for gets through.
func TestClaims(t *testing.T) {
	t.Parallel()
	amd := lab[snp.Turin]()
	chip := must(amd.NewChip([64]byte{7}, teelab.DefaultTCB(snp.Turin)))
	older := snp.RawTCB{1, 1, 1, 3, 7: 70}
	var want snp.Report
	ev := must(chip.Faulty([64]byte{1}, [48]byte{2}, teelab.Version(5), teelab.Debug, teelab.MigrateMA, func(r *snp.Report) {
		r.Policy |= 1<<20 | 1<<21 | 1<<22 | 1<<23 | 1<<24 | 1<<25 | 0x0137
		r.PlatformInfo = 0xFF
		r.GuestSVN, r.VMPL, r.AuthorKey = 9, 2, true
		r.FamilyID[0], r.ImageID[0], r.HostData[0], r.IDKeyDigest[0], r.AuthorKeyDigest[0] = 1, 2, 3, 4, 5
		r.CommittedTCB, r.LaunchTCB = older, older
		r.Committed = snp.FirmwareVersion{Major: 1, Minor: 54, Build: 1}
		want = *r
	}))
	c := must(snp.Verify(ev.Report, ev.Auxblob, snp.Collateral{CRLs: chip.Collateral().CRLs}, []snp.Root{amd.Root()}, nil, now))
	got := c.Report
	got.SignatureR, got.SignatureS = want.SignatureR, want.SignatureS
	if got != want {
		t.Errorf("report %+v, want %+v", got, want)
	}
	wantTCB := snp.TCB{FMC: 1, Bootloader: 1, TEE: 1, SNP: 3, Microcode: 70}
	if c.CommittedTCB != wantTCB || c.LaunchTCB != wantTCB || c.CurrentTCB != teelab.DefaultTCB(snp.Turin) || c.ReportedTCB != teelab.DefaultTCB(snp.Turin) {
		t.Errorf("TCBs %+v", c)
	}
	p, info := c.Report.Policy, c.Report.PlatformInfo
	for name, set := range map[string]bool{
		"debug": p.Debug(), "migration": p.MigrateMA(), "SMT": p.SMT(), "one socket": p.SingleSocket(), "CXL": p.CXL(), "XTS": p.AES256XTS(),
		"RAPL": p.RAPLDisabled(), "ciphertext": p.CiphertextHiding(), "page swap": p.PageSwapDisabled(), "ABI": p.ABIMajor() == 1 && p.ABIMinor() == 0x37,
		"SMT on": info.SMT(), "TSME": info.TSME(), "ECC": info.ECC(), "RAPL off": info.RAPLDisabled(), "hiding": info.CiphertextHiding(),
		"alias check": info.AliasCheckComplete(), "TIO": info.TIO(), "IOMMU": info.IOMMUWriteSafe(),
		"ID block": c.Report.IDBlock(), "author key": c.Report.AuthorKey, "mitigations": c.Report.LaunchMitVector == 1 && c.Report.CurrentMitVector == 3,
		"revocation": len(c.Collateral) == 1 && c.Unchecked == nil, "no provider": c.CSPID == "", "signer": c.Signer == snp.VCEK,
		"simulated": c.Dev && c.Root == amd.Root().Name, "chip": len(c.ChipID) == 8 && c.ChipID[0] == 7,
	} {
		if !set {
			t.Errorf("%s is not claimed", name)
		}
	}
	provider := must(amd.NewVLEK("CN=cloud"))
	ev = must(provider.Evidence([64]byte{}, [48]byte{}))
	c = must(snp.Verify(ev.Report, ev.Auxblob, snp.Collateral{}, []snp.Root{amd.Root()}, nil, now))
	if c.Signer != snp.VLEK || c.CSPID != "CN=cloud" || c.ChipID != nil || c.Report.IDBlock() {
		t.Errorf("claims %+v", c)
	}
}
