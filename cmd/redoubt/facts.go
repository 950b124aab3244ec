package main

import (
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/snp"
)

// A fact is something that evidence proves, for people.
type fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// facts returns what c proves, beginning with what all technologies have.
func facts(c *attest.Claims) []fact {
	all := []fact{
		{"technology", c.Technology},
		{"root", c.Root},
		{"measurement", hexOrNone(c.Measurement)},
		{"report data", hexOrNone(c.ReportData)},
		{"machine", hexOrNone(c.Machine)},
	}
	switch {
	case c.SNP != nil:
		all = append(all, snpFacts(c.SNP)...)
	case c.DCAP != nil:
		all = append(all, dcapFacts(c)...)
	case c.CCA != nil:
		all = append(all, ccaFacts(c)...)
	case c.Nitro != nil:
		all = append(all, nitroFacts(c)...)
	case c.TPM != nil:
		all = append(all, tpmFacts(c)...)
	}
	for _, used := range c.Collateral {
		all = append(all, fact{used.Name, fmt.Sprintf("of %s, holds until %s", used.Issued.UTC().Format(time.RFC3339), used.Expires.UTC().Format(time.RFC3339))})
	}
	return slices.DeleteFunc(all, func(f fact) bool { return f.Value == "" })
}

func hexOrNone(b []byte) string {
	if len(b) == 0 {
		return "none"
	}
	return hex.EncodeToString(b)
}

// set returns the names of what is on, of pairs of name and state.
func set(names []string, on ...bool) string {
	var text []string
	for i, name := range names {
		if on[i] {
			text = append(text, name)
		}
	}
	if len(text) == 0 {
		return "none"
	}
	return strings.Join(text, ", ")
}

// nonzero is b in hex, or nothing if it is zero.
func nonzero(b []byte) string {
	if strings.Trim(string(b), "\x00") == "" {
		return ""
	}
	return hex.EncodeToString(b)
}

func snpFacts(c *snp.Claims) []fact {
	r := &c.Report
	p, info := r.Policy, r.PlatformInfo
	return []fact{
		{"report version", fmt.Sprint(r.Version)},
		{"product", string(c.Product)},
		{"signer", strings.TrimSpace(c.Signer.String() + " " + c.CSPID)},
		{"VMPL", fmt.Sprint(r.VMPL)},
		{"reported TCB", c.ReportedTCB.String()},
		{"committed TCB", c.CommittedTCB.String()},
		{"current TCB", c.CurrentTCB.String()},
		{"launch TCB", c.LaunchTCB.String()},
		{"firmware", fmt.Sprintf("%d.%d.%d", r.Current.Major, r.Current.Minor, r.Current.Build)},
		{"guest policy", fmt.Sprintf("ABI %d.%d; allows or demands: %s", p.ABIMajor(), p.ABIMinor(), set(
			[]string{"debug", "migration agent", "SMT", "single socket", "CXL", "AES-256-XTS", "RAPL off", "ciphertext hiding", "page swap off"},
			p.Debug(), p.MigrateMA(), p.SMT(), p.SingleSocket(), p.CXL(), p.AES256XTS(), p.RAPLDisabled(), p.CiphertextHiding(), p.PageSwapDisabled()))},
		{"platform", set([]string{"SMT", "TSME", "ECC", "RAPL off", "ciphertext hiding", "alias check done", "TIO", "IOMMU write safe"},
			info.SMT(), info.TSME(), info.ECC(), info.RAPLDisabled(), info.CiphertextHiding(), info.AliasCheckComplete(), info.TIO(), info.IOMMUWriteSafe())},
		{"guest SVN", fmt.Sprint(r.GuestSVN)},
		{"host data", nonzero(r.HostData[:])},
		{"family ID", nonzero(r.FamilyID[:])},
		{"image ID", nonzero(r.ImageID[:])},
		{"ID key", nonzero(r.IDKeyDigest[:])},
		{"author key", nonzero(r.AuthorKeyDigest[:])},
	}
}

func dcapFacts(c *attest.Claims) []fact {
	d := c.DCAP
	all := []fact{
		{"quote version", fmt.Sprint(d.Version)},
		{"TCB status", string(d.Status)},
		{"platform's status", string(d.PlatformStatus)},
		{"TDX module's status", string(d.ModuleStatus)},
		{"QE's status", string(d.QEStatus)},
		{"advisories", strings.Join(d.Advisories, ", ")},
		{"TCB date", d.TCBDate.UTC().Format(time.DateOnly)},
		{"TCB evaluation data number", fmt.Sprint(d.TCBEvaluationDataNumber)},
		{"FMSPC", hex.EncodeToString(d.PCK.FMSPC[:])},
		{"dynamic platform, cached keys, SMT", fmt.Sprintf("%v, %v, %v", d.PCK.DynamicPlatform, d.PCK.CachedKeys, d.PCK.SMT)},
	}
	if td := d.TD; td != nil {
		all = append(all,
			fact{"MRSEAM", hex.EncodeToString(td.MRSEAM[:])},
			fact{"MRTD", hex.EncodeToString(td.MRTD[:])})
		for i, rtmr := range td.RTMR {
			all = append(all, fact{fmt.Sprintf("RTMR%d", i), hex.EncodeToString(rtmr[:])})
		}
		all = append(all,
			fact{"TD attributes", fmt.Sprintf("%016x", uint64(td.Attributes))},
			fact{"XFAM", fmt.Sprintf("%016x", td.XFAM)},
			fact{"MRCONFIGID", nonzero(td.MRConfigID[:])},
			fact{"MROWNER", nonzero(td.MROwner[:])},
			fact{"MROWNERCONFIG", nonzero(td.MROwnerConfig[:])},
			fact{"MRSERVICETD", nonzero(td.MRServiceTD[:])})
	}
	if e := d.SGX; e != nil {
		all = append(all,
			fact{"MRENCLAVE", hex.EncodeToString(e.MREnclave[:])},
			fact{"MRSIGNER", hex.EncodeToString(e.MRSigner[:])},
			fact{"product and version", fmt.Sprintf("%d, %d", e.ISVProdID, e.ISVSVN)},
			fact{"attributes", hex.EncodeToString(e.Attributes[:])},
			fact{"CONFIGID", nonzero(e.ConfigID[:])})
	}
	return all
}

func ccaFacts(c *attest.Claims) []fact {
	p, r := c.CCA.Platform, c.CCA.Realm
	all := []fact{
		{"platform profile", p.Profile},
		{"implementation ID", hex.EncodeToString(p.ImplementationID)},
		{"life cycle", p.Lifecycle.String()},
	}
	for _, component := range p.Components {
		all = append(all, fact{"component " + component.Type, fmt.Sprintf("measurement %x, version %q, signer %x", component.Measurement, component.Version, component.Signer)})
	}
	all = append(all, fact{"personalization", nonzero(r.Personalization[:])})
	for i, rem := range r.REMs {
		all = append(all, fact{fmt.Sprintf("REM%d", i), hex.EncodeToString(rem)})
	}
	return all
}

func nitroFacts(c *attest.Claims) []fact {
	d := c.Nitro.Document
	all := []fact{
		{"module ID", d.ModuleID},
		{"made", d.Timestamp.UTC().Format(time.RFC3339)},
		{"nonce", hex.EncodeToString(d.Nonce)},
		{"user data", hex.EncodeToString(d.UserData)},
		{"public key", hex.EncodeToString(d.PublicKey)},
	}
	for _, i := range slices.Sorted(maps.Keys(d.PCRs)) {
		all = append(all, fact{fmt.Sprintf("PCR%d", i), nonzero(d.PCRs[i])})
	}
	return all
}

func tpmFacts(c *attest.Claims) []fact {
	q := c.TPM.Quote
	all := []fact{
		{"firmware version", fmt.Sprintf("%016x", q.FirmwareVersion)},
		{"resets and restarts", fmt.Sprintf("%d, %d", q.ResetCount, q.RestartCount)},
	}
	for _, pcr := range c.TPM.PCRs {
		all = append(all, fact{fmt.Sprintf("PCR%d of %v", pcr.Index, pcr.Bank), hex.EncodeToString(pcr.Value)})
	}
	return all
}
