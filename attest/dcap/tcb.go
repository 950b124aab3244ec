package dcap

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"
)

// evaluate finds the levels of platform, TDX module and quoting enclave, and
// fills in what Intel says of them (PCS API version 4, "TCB level evaluation";
// QVL, sgxEvaluateTCB and tdxEvaluateTCB). The collateral must have been
// verified.
func (c *Claims) evaluate(info *tcbInfo, identity *qeIdentity) error {
	qe, err := identity.rate(&c.QE)
	if err != nil {
		return err
	}
	c.QEStatus = qe.status
	c.take(qe)
	if c.TEE == SGX {
		platform, err := info.platform(&c.PCK, nil)
		if err != nil {
			return err
		}
		c.PlatformStatus = platform.status
		c.take(platform)
		c.Status = merge(platform.status, qe.status)
		return c.refuseRevoked()
	}

	if err := info.checkModule(c.TD); err != nil {
		return err
	}
	platform, launchModule, err := info.domain(&c.PCK, c.TD.TEETCBSVN)
	if err != nil {
		return err
	}
	c.PlatformStatus, c.ModuleStatus = platform.status, launchModule.status
	c.Status = c.domainStatus(platform, launchModule)
	if c.BodyType == BodyTD15 {
		platform, module, err := info.domain(&c.PCK, c.TD.TEETCBSVN2)
		if err != nil {
			return fmt.Errorf("TEE_TCB_SVN2: %w", err)
		}
		c.CurrentStatus = c.domainStatus(platform, module)
		if launchModule.status == OutOfDate && info.newest(c.TD.TEETCBSVN2) {
			c.Status = relaunch(c.Status, c.CurrentStatus)
		} else {
			c.Status = merge(c.Status, c.CurrentStatus)
		}
	}
	return c.refuseRevoked()
}

// domainStatus merges the ratings of a platform and a TDX module, which may be
// empty, with the quoting enclave's status.
func (c *Claims) domainStatus(platform, module rating) Status {
	c.take(platform)
	status := merge(platform.status, c.QEStatus)
	if module.status == "" {
		return status
	}
	c.take(module)
	return merge(status, module.status)
}

// newest reports whether a TEE_TCB_SVN has the newest TDX module of its major
// version and the newest microcode that there is without a restart.
func (info *tcbInfo) newest(svn [16]uint8) bool {
	top := info.levels[0].tdx
	if svn[1] == 0 {
		return svn[0] >= top[0] && svn[2] >= top[2]
	}
	m, err := info.findModule(svn[1])
	return err == nil && uint16(svn[0]) >= m.levels[0].svn && svn[2] >= top[2]
}

// take adds a part's rating to what is claimed of all.
func (c *Claims) take(r rating) {
	for _, id := range r.advisories {
		if i, found := slices.BinarySearch(c.Advisories, id); !found {
			c.Advisories = slices.Insert(c.Advisories, i, id)
		}
	}
	if c.TCBDate.IsZero() || r.date.Before(c.TCBDate) {
		c.TCBDate = r.date
	}
}

func (c *Claims) refuseRevoked() error {
	if c.Status.parts()&isRevoked == 0 {
		return nil
	}
	return fmt.Errorf("%w: platform %s, TDX module %q, quoting enclave %s, now %q, TCB date %s, advisories %q", ErrRevoked,
		c.PlatformStatus, c.ModuleStatus, c.QEStatus, c.CurrentStatus, c.TCBDate.Format(time.DateOnly), c.Advisories)
}

// platform rates a platform by the first level that it reaches. tdx is nil for
// SGX.
func (info *tcbInfo) platform(pck *PCK, tdx *[16]uint8) (rating, error) {
	for _, l := range info.levels {
		if !reaches(pck.Components[:], l.sgx[:]) || pck.PCESVN < l.pceSVN {
			continue
		}
		if tdx != nil {
			from := 0
			if tdx[1] > 0 {
				from = 2 // the module's own identity rates its version
			}
			if !reaches(tdx[from:], l.tdx[from:]) {
				continue
			}
		}
		return l.rating, nil
	}
	if tdx != nil {
		return rating{}, fmt.Errorf("%w: the platform has components %v, PCESVN %d, TEE_TCB_SVN %v, less than the lowest of %d levels", ErrTCBLevel, pck.Components, pck.PCESVN, *tdx, len(info.levels))
	}
	return rating{}, fmt.Errorf("%w: the platform has components %v, PCESVN %d, less than the lowest of %d levels", ErrTCBLevel, pck.Components, pck.PCESVN, len(info.levels))
}

// reaches reports whether each version is at least the level's.
func reaches(have, level []uint8) bool {
	for i := range level {
		if have[i] < level[i] {
			return false
		}
	}
	return true
}

// domain rates the platform and the TDX module that a trust domain's TEE_TCB_SVN
// names. The module's rating is empty if the platform's covers it.
func (info *tcbInfo) domain(pck *PCK, svn [16]uint8) (platform, module rating, err error) {
	if platform, err = info.platform(pck, &svn); err != nil || svn[1] == 0 {
		return platform, rating{}, err
	}
	m, err := info.findModule(svn[1])
	if err != nil {
		return platform, rating{}, err
	}
	module, ok := rate(m.levels, uint16(svn[0]))
	if !ok {
		return platform, rating{}, fmt.Errorf("%w: TDX module %s has version %d, less than the lowest of %d levels", ErrTCBLevel, m.id, svn[0], len(m.levels))
	}
	return platform, module, nil
}

// findModule returns the identity for a module's major version, which is above
// 0.
func (info *tcbInfo) findModule(major uint8) (*moduleIdentity, error) {
	id := fmt.Sprintf("TDX_%02X", major)
	for i := range info.modules {
		if info.modules[i].id == id {
			return &info.modules[i], nil
		}
	}
	return nil, fmt.Errorf("%w: the TCB info has no identity %s", ErrModule, id)
}

// checkModule checks that the module that launched a trust domain is Intel's.
func (info *tcbInfo) checkModule(td *TDReport) error {
	m := &info.module
	if major := td.TEETCBSVN[1]; major > 0 {
		var err error
		if m, err = info.findModule(major); err != nil {
			return err
		}
	}
	if td.MRSignerSEAM != m.mrSigner {
		return fmt.Errorf("%w: MRSIGNERSEAM is %x, must be %x", ErrModule, td.MRSignerSEAM, m.mrSigner)
	}
	if !masked(td.SEAMAttributes[:], m.attributes[:], m.attributesMask[:]) {
		return fmt.Errorf("%w: SEAMATTRIBUTES are %x, must be %x under the mask %x", ErrModule, td.SEAMAttributes, m.attributes, m.attributesMask)
	}
	return nil
}

// rate returns the rating of the first level that a version reaches.
func rate(levels []svnLevel, svn uint16) (rating, bool) {
	for _, l := range levels {
		if svn >= l.svn {
			return l.rating, true
		}
	}
	return rating{}, false
}

// rate checks that an enclave is the one of the identity, and rates its version.
func (id *qeIdentity) rate(qe *EnclaveReport) (rating, error) {
	misc := binary.LittleEndian.AppendUint32(nil, qe.MiscSelect)
	switch {
	case qe.MRSigner != id.mrSigner:
		return rating{}, fmt.Errorf("%w: MRSIGNER is %x, must be %x", ErrQE, qe.MRSigner, id.mrSigner)
	case qe.ISVProdID != id.isvProdID:
		return rating{}, fmt.Errorf("%w: its product (ISVPRODID) is %d, must be %d", ErrQE, qe.ISVProdID, id.isvProdID)
	case !masked(misc, id.miscSelect[:], id.miscSelectMask[:]):
		return rating{}, fmt.Errorf("%w: MISCSELECT is %x, must be %x under the mask %x", ErrQE, misc, id.miscSelect, id.miscSelectMask)
	case !masked(qe.Attributes[:], id.attributes[:], id.attributesMask[:]):
		return rating{}, fmt.Errorf("%w: ATTRIBUTES are %x, must be %x under the mask %x", ErrQE, qe.Attributes, id.attributes, id.attributesMask)
	}
	r, ok := rate(id.levels, qe.ISVSVN)
	if !ok {
		return rating{}, fmt.Errorf("%w: the quoting enclave has version %d, less than the lowest of %d levels", ErrTCBLevel, qe.ISVSVN, len(id.levels))
	}
	return r, nil
}
