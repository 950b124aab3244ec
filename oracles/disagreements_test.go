package oracles

// The oracles.
const (
	goSEVGuest  = "go-sev-guest"
	goTDXGuest  = "go-tdx-guest"
	oasisPCS    = "oasis-core pcs"
	ccaToken    = "ccatoken"
	nitriteName = "nitrite"
	goTPM       = "go-tpm"
)

// disagreements is all that Redoubt and an oracle disagree about. What is not
// here, they agree about, or both have no notion of.
var disagreements = []disagreement{
	{goSEVGuest, redoubt, "captured ars-genoa-v5, then", "could not be verified by any trusted roots", "The library knows one model of Genoa, and looks Zen4c up as a product that has no roots. Under \"helped\" it gets Genoa's, and agrees."},
	{goSEVGuest, redoubt, "table ars-genoa-v5", "could not be verified by any trusted roots", "As above: no roots for Zen4c."},
	{goSEVGuest, redoubt, "simulated Turin: *", "1.3.6.1.4.1.3704.1.3.9", "The library does not know the TCB extension FMC that Turin's VCEKs have."},
	{goSEVGuest, redoubt, "table veraison-tsm, as captured", "malformed certificate", "Its verification reads certificates in PEM, as configfs-tsm may hand them out; its validation does not. In DER it agrees."},
	{goSEVGuest, oracle, "changed *, stepping", "report signature wrong", "It verifies the signature over a report that it has encoded anew, and loses the upper half of the stepping: that can be changed in a signed report."},
	{goSEVGuest, oracle, "changed *, report: * at 0x18a", "report signature wrong", "As above: the stepping."},
	{goSEVGuest, oracle, "changed *, table: *", "none of the 3 given", "It passes over an ARK in the table. Redoubt refuses evidence that names another root than a pinned one."},
	{goSEVGuest, oracle, "changed *, table: *", "malformed certificate table: A", "It passes over ARK and ASK in the table, and so over malformed ones."},
	{goSEVGuest, redoubt, "simulated Milan: c* TCB *", "COMMITTED_TCB", "Whether the committed TCB may be above the current one is for Redoubt's policy: both are claims."},
	{goSEVGuest, redoubt, "simulated Milan: committed firmware newer", "committed build number", "As above: the committed firmware."},
	{goSEVGuest, claims, "simulated *: no chip", "chip:", "The report's chip ID is masked. Redoubt names the chip that the VCEK is certified for."},
	{goSEVGuest, oracle, "simulated Milan: VMPL 4", "VMPL 4", "It does not bound the VMPL; the specification has 0 to 3."},
	{goSEVGuest, oracle, "simulated Milan: TCB reserved byte", "reserved bytes", "It does not look at bytes of a TCB version that the product reserves."},
	{goSEVGuest, oracle, "simulated Milan: platform information bit 9", "bits above 7", "It looks at reserved bits of the platform information only if a policy is set."},
	{goSEVGuest, oracle, "simulated Milan: MASK_CHIP_KEY", "MASK_CHIP_KEY", "It takes a report that says that the firmware does not sign reports, if it is signed all the same."},
	{goSEVGuest, oracle, "simulated Milan: list of the future", "revocation list not usable", "It does not look at when a revocation list was made."},

	{goTDXGuest, redoubt, "*", "quote format not supported", "It reads no quotes of version 5."},
	{goTDXGuest, redoubt, "*", `TCB Status is not "UpToDate"`, "It has its policy built in: all but UpToDate is refused. To Redoubt the statuses are claims, and they agree."},
	{goTDXGuest, redoubt, "*", "tcbInfo has expired", "It refuses expired collateral. Redoubt reports its dates, for the policy's grace period."},
	{goTDXGuest, redoubt, "simulated TDX v4: lists expired", "CRL has expired", "As above: revocation lists."},
	{goTDXGuest, redoubt, "*", "FMSPC from PCK Certificate", "It compares the FMSPC with case. Intel publishes it in capitals and in small letters."},
	{goTDXGuest, claims, "simulated TDX v4: levels in another order", "platform status", "Redoubt takes the highest level that fits, as Intel's own library sorts them; it takes the first in the file. Intel's files are sorted."},
	{goTDXGuest, redoubt, "changed *, CRLs ?: *", "CRL", "Redoubt passes over a revocation list of another issuer's name or key, and says that the certificates were not checked: the policy decides."},
	{goTDXGuest, redoubt, "simulated TDX v4: lists of a stranger", "CRL", "As above: a list by another key."},
	{goTDXGuest, redoubt, "simulated TDX v4: certified by the Processor CA", "Intel SGX PCK Platform CA", "It knows the Platform CA only."},
	{goTDXGuest, oracle, "longer *", "bytes behind its end", "It passes over anything behind a quote. Redoubt passes over zeros alone, which quoting stacks pad with."},
	{goTDXGuest, oracle, "changed *, quote: *", "bytes behind its end", "As above: in the padding."},
	{goTDXGuest, oracle, "simulated TDX v4: foreign QE vendor", "QE vendor ID", "It does not look at the QE's vendor."},
	{goTDXGuest, oracle, "simulated TDX v4: lists of the future", "revocation list not usable", "It does not look at when a revocation list was made."},
	{goTDXGuest, oracle, "simulated TDX v4: collateral of the future", "revocation list not usable", "As above, for all collateral."},
	{goTDXGuest, oracle, "simulated TDX v4: TCB info of the future", "not valid at this time", "It does not look at when TCB info was issued."},
	{goTDXGuest, oracle, "simulated TDX v4: a member *", "TCB info not usable", "Go's JSON takes a member twice, and in other letters than specified; Redoubt does not."},
	{goTDXGuest, oracle, "simulated TDX v4: reserved attribute", "reserved bits", "It leaves TD attributes to its policy, reserved ones too."},
	{goTDXGuest, redoubt, "simulated TDX v4: chain without root", "incomplete PCK Certificate chain", "It wants the root in the quote. Redoubt has it pinned."},

	{oasisPCS, redoubt, "*", "unsupported quote version 5", "It reads no quotes of version 5."},
	{oasisPCS, redoubt, "*", "TCB is not up to date", "It has its policy built in: UpToDate and SWHardeningNeeded alone. To Redoubt the statuses are claims, and those of the platform agree."},
	{oasisPCS, redoubt, "*", "disallowed debug/production", "It refuses what is being debugged, before it looks at anything else. Under \"debug allowed\" it agrees."},
	{oasisPCS, claims, "simulated *: levels in another order", "platform status", "Redoubt takes the highest level that fits, as Intel's own library sorts them; it takes the first in the file. Intel's files are sorted."},
	{oasisPCS, redoubt, "simulated *: chain without root", "unexpected certificate chain length: 2", "It wants the root in the quote. Redoubt has it pinned."},
	{oasisPCS, oracle, "changed *, CRLs ?: *", "revocation list not usable", "It has no notion of revocation lists."},
	{oasisPCS, oracle, "simulated *: * revoked", "certificate revoked", "As above: what is revoked is accepted."},
	{oasisPCS, oracle, "simulated *: lists of the future", "revocation list not usable", "As above: revocation lists."},
	{oasisPCS, oracle, "*longer *", "bytes behind its end", "Read so that padding is allowed, it passes over anything behind a quote. Redoubt passes over zeros alone, which quoting stacks pad with."},
	{oasisPCS, oracle, "changed *, quote: *", "bytes behind its end", "As above: in the padding."},
	{oasisPCS, oracle, "changed *, QE identity ?: *", "beside \"enclaveIdentity\"", "Go's JSON takes a member in other letters than specified; Redoubt does not."},
	{oasisPCS, oracle, "simulated *: a member *", "TCB info not usable", "As above; and a member twice."},
	{oasisPCS, oracle, "simulated *: TCB info for another PCE", "PCE-ID", "It does not compare the PCE ID."},
	{oasisPCS, oracle, "simulated *: bytes inside of the length", "too many in the signature data", "It does not look behind the certification data, inside of its length."},
	{oasisPCS, oracle, "simulated *: chain and text", "PEM blocks CERTIFICATE and nothing else", "It passes over text behind the PCK chain."},
	{oasisPCS, oracle, "simulated TDX v4: SEAM attribute", "SEAMATTRIBUTES", "It looks at no attributes but DEBUG. Redoubt wants SEAM attributes zero, as Intel's own library does."},
	{oasisPCS, oracle, "simulated SGX *: reserved attribute", "reserved bits", "As above: an enclave's reserved attributes."},
	{oasisPCS, oracle, "simulated SGX *: never initialised", "never initialised", "As above: INIT."},

	{nitriteName, oracle, "unsigned header, *", "header parameters beside the algorithm", "It passes over the unprotected header, which nobody signs. Redoubt wants it empty, as AWS makes it."},

	{goTPM, oracle, "longer signature", "1 bytes behind the end", "Its decoder passes over what is behind a structure."},
	{goTPM, oracle, "changed JSON: *", "hex in lower case", "Hex in capitals is read by what stands around the library here. Redoubt takes one spelling of evidence."},
}
