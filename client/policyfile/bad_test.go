package policyfile_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/redoubt-tee/redoubt/client/policyfile"
)

var (
	hex32 = strings.Repeat("5f", 32)
	hex48 = strings.Repeat("5f", 48)
	hex64 = strings.Repeat("5f", 64)
)

// bad is a file that is wrong in one way, and where and why.
type bad struct {
	name string
	text string // without "version = 1", which is line 1; as it is if it begins with "!"
	line int
	key  string
	want error
	says string
}

var badFiles = []bad{
	// Not TOML, or no policy.
	{"empty", "!", 1, "version", policyfile.ErrMissing, "expected version = 1"},
	{"no version", "![snp]", 1, "version", policyfile.ErrMissing, "expected version = 1"},
	{"another version", "!version = 2", 1, "version", policyfile.ErrValue, "expected 1, found 2"},
	{"version as a string", `!version = "1"`, 1, "version", policyfile.ErrType, `expected 1, the version of this format, found the string "1"`},
	{"version as a number with a point", `!version = 1.0`, 1, "version", policyfile.ErrType, `found the number 1.0`},
	{"version in hexadecimal digits", "!version = 0x1", 1, "version", policyfile.ErrValue, "found 0x1"},
	{"JSON", `!{"version": 1}`, 1, "", policyfile.ErrSyntax, "not TOML"},
	{"a string without end", "\n[snp]\nmeasurements = [\"5f", 4, "", policyfile.ErrSyntax, "not TOML"},
	{"no value", "\ngrace =", 3, "", policyfile.ErrSyntax, "not TOML"},
	{"a word without quotes", "\n[snp]\nmeasurements = any", 4, "", policyfile.ErrSyntax, "not TOML"},
	{"not UTF-8", "\n# \xff", 3, "", policyfile.ErrSyntax, "not TOML"},
	{"a table opened twice", "\n[snp]\nvmpl = 0\n[snp]\n", 5, "", policyfile.ErrSyntax, "not TOML: "},
	{"an inline table added to", "\nsnp = {}\n[snp.minimum_tcb]\n", 4, "", policyfile.ErrSyntax, "not TOML: "},
	{"too deep", "\nknown = [[[[[[[[[[[[]]]]]]]]]]]]", 3, "known[0][0][0][0][0][0][0][0]", policyfile.ErrKey, "at most 8"},
	{"too deep in tables", "\na={a={a={a={a={a={a={a={a={a={}}}}}}}}}}", 3, "a.a.a.a.a.a.a.a.a", policyfile.ErrKey, "at most 8"},

	// Keys.
	{"a typo at the top", "\nallow_simulatd = true", 3, "allow_simulatd", policyfile.ErrKey, "did you mean allow_simulated?"},
	{"a hyphen", "\nallow-debug = true", 3, "allow-debug", policyfile.ErrKey, "did you mean allow_debug?"},
	{"another case", "\nGrace = \"1h\"", 3, "Grace", policyfile.ErrKey, "did you mean grace?"},
	{"a technology with a typo", "\n[spn]\n", 3, "spn", policyfile.ErrKey, "did you mean snp?"},
	{"a typo in a table", "\n[snp]\nmeasurments = []", 4, "snp.measurments", policyfile.ErrKey, "did you mean measurements?"},
	{"a key of a table at the top", "\nmeasurements = []", 3, "measurements", policyfile.ErrKey, "it belongs in [cca] or [nitro] or [sgx] or [snp] or [tdx] or [tpm]"},
	{"a key of the top in a table", "\n[snp]\ngrace = \"1h\"", 4, "snp.grace", policyfile.ErrKey, "it belongs above the first table"},
	{"a key of another technology", "\n[snp]\ntcb_status = [\"UpToDate\"]", 4, "snp.tcb_status", policyfile.ErrKey, "it belongs in [sgx] or [tdx]"},
	{"a key far from any", "\n[tpm]\nwallpaper = 1", 4, "tpm.wallpaper", policyfile.ErrKey, "expected one of measurements, machines, pcrs"},
	{"a root that is no key", "\n[cca]\nkeys = [\"abc\"]", 4, "cca.keys[0]", policyfile.ErrValue, "expected a platform's key: PEM, or a JWK"},
	{"a root that is a number", "\n[tpm]\nkeys = [1]", 4, "tpm.keys[0]", policyfile.ErrType, "an authority's certificate: PEM"},
	{"roots that are no list", "\n[tpm]\nkeys = \"abc\"", 4, "tpm.keys", policyfile.ErrType, "a list"},
	{"a root that is too long", "\n[cca]\nkeys = [\"" + strings.Repeat("a", 9<<10) + "\"]", 4, "cca.keys[0]", policyfile.ErrValue, "at most 8192 bytes"},
	{"a key that quotes need", "\n[tpm]\n\"a b\" = 1", 4, `tpm."a b"`, policyfile.ErrKey, "no such key"},
	{"report data", "\nany_report_data = true", 3, "any_report_data", policyfile.ErrKey, "the caller says each time"},
	{"a key twice", "\ngrace = \"1h\"\n\ngrace = \"2h\"", 5, "grace", policyfile.ErrKey, "is there already, at line 3"},
	{"a key twice in a table", "\n[snp]\nvmpl = 0\nvmpl = 0", 5, "snp.vmpl", policyfile.ErrKey, "is there already, at line 4"},
	{"a key twice in a reference", "\n[snp]\nmeasurements = [{ digest = \"" + hex48 + "\", digest = \"" + hex48 + "\" }]", 4, "snp.measurements[0].digest", policyfile.ErrKey, "is there already"},
	{"any and a list", "\n[snp]\nmachines = \"any\"\nmachines = []", 5, "snp.machines", policyfile.ErrKey, "is there already, at line 4"},
	{"a value and a table", "\n[snp]\nminimum_tcb = \"any\"\n[snp.minimum_tcb.milan]\nsnp = 1", 5, "snp.minimum_tcb", policyfile.ErrKey, "is there already, at line 4"},
	{"a table and a list of tables", "\n[snp]\n[[snp]]", 4, "snp", policyfile.ErrKey, "is there already, at line 3"},
	{"an unknown key of a reference", "\n[snp]\nmeasurements = [{ neme = \"a\", digest = \"" + hex48 + "\" }]", 4, "snp.measurements[0].neme", policyfile.ErrKey, "did you mean name?"},
	{"a reference without digest", "\n[snp]\nmeasurements = [{ name = \"a\" }]", 4, "snp.measurements[0].digest", policyfile.ErrMissing, "96 hexadecimal digits"},
	{"known without name", "\n[[known]]\ndigest = \"" + hex48 + "\"", 3, "known[0].name", policyfile.ErrMissing, "a name for people"},
	{"a product of AMD's that is a genoa", "\n[snp.minimum_tcb.bergamo]\nsnp = 1", 3, "snp.minimum_tcb.bergamo", policyfile.ErrKey, "it is a genoa to the firmware"},
	{"an unknown product", "\n[snp.minimum_tcb.naples]\nsnp = 1", 3, "snp.minimum_tcb.naples", policyfile.ErrKey, "expected one of milan, genoa, turin"},
	{"a part of Turin's TCB on Milan", "\n[snp.minimum_tcb.milan]\nfmc = 1", 4, "snp.minimum_tcb.milan.fmc", policyfile.ErrKey, "[snp.minimum_tcb.turin]"},
	{"an RTMR too many", "\n[tdx]\nrtmr4 = []", 4, "tdx.rtmr4", policyfile.ErrKey, "did you mean rtmr0?"},
	{"a PCR of Nitro too many", "\n[nitro.pcrs]\n32 = []", 4, "nitro.pcrs.32", policyfile.ErrKey, "no such key"},
	{"a PCR of a TPM too many", "\n[tpm.pcrs.sha256]\n24 = []", 4, "tpm.pcrs.sha256.24", policyfile.ErrKey, "no such key"},
	{"a PCR with a leading zero", "\n[tpm.pcrs.sha256]\n07 = []", 4, "tpm.pcrs.sha256.07", policyfile.ErrKey, "no such key"},
	{"an unknown PCR bank", "\n[tpm.pcrs.md5]\n7 = []", 3, "tpm.pcrs.md5", policyfile.ErrKey, "expected one of sha1, sha256, sha384, sha512"},
	{"PCRs without a bank", "\n[tpm.pcrs]\n7 = []", 4, "tpm.pcrs.7", policyfile.ErrKey, "no such key"},
	{"a signer without product", "\n[[sgx.signer]]\ndigest = \"" + hex32 + "\"\nminimum_svn = 0", 3, "sgx.signer[0].product_id", policyfile.ErrMissing, "an integer from 0 to 65535"},
	{"a signer without version", "\n[[sgx.signer]]\ndigest = \"" + hex32 + "\"\nproduct_id = 0", 3, "sgx.signer[0].minimum_svn", policyfile.ErrMissing, "an integer from 0 to 65535"},
	{"an unknown key of a signer", "\n[[sgx.signer]]\ndigest = \"" + hex32 + "\"\nproduct_id = 0\nminimum_svn = 0\nsvn = 1", 7, "sgx.signer[0].svn", policyfile.ErrKey, "no such key"},

	// Types.
	{"a string for true", "\nallow_debug = \"true\"", 3, "allow_debug", policyfile.ErrType, `expected true or false, found the string "true"`},
	{"a number for true", "\nallow_debug = 1", 3, "allow_debug", policyfile.ErrType, "found the integer 1"},
	{"a number for a time", "\ngrace = 72", 3, "grace", policyfile.ErrType, `expected a time such as "72h"`},
	{"a string for a list", "\n[snp]\nmeasurements = \"" + hex48 + "\"", 4, "snp.measurements", policyfile.ErrType, `expected a list, each item a launch digest in 96 hexadecimal digits; or the word "any", found the string`},
	{"all for any", "\n[snp]\nmeasurements = \"all\"", 4, "snp.measurements", policyfile.ErrType, `the word "any"`},
	{"Any for any", "\n[snp]\nmachines = \"Any\"", 4, "snp.machines", policyfile.ErrType, `the word "any"`},
	{"true for any", "\n[snp]\nmachines = true", 4, "snp.machines", policyfile.ErrType, "found true"},
	{"a table for a list", "\n[snp.measurements]\ndigest = \"" + hex48 + "\"", 3, "snp.measurements", policyfile.ErrType, "found a table"},
	{"a number in a list", "\n[snp]\nmeasurements = [\n  5,\n]", 5, "snp.measurements[0]", policyfile.ErrType, "found the integer 5"},
	{"a list in a list", "\n[snp]\nmeasurements = [[]]", 4, "snp.measurements[0]", policyfile.ErrType, "found a list"},
	{"a technology that is no table", "\nsnp = \"any\"", 3, "snp", policyfile.ErrType, "expected a table: [snp]"},
	{"a list of technologies", "\n[[snp]]\n", 3, "snp", policyfile.ErrType, "expected a table: [snp], found a list"},
	{"known that is no list", "\nknown = \"" + hex48 + "\"", 3, "known", policyfile.ErrType, "[[known]] for each"},
	{"a minimum TCB in one number", "\n[snp]\nminimum_tcb = 24", 4, "snp.minimum_tcb", policyfile.ErrType, "[snp.minimum_tcb.milan]"},
	{"a minimum TCB of any product", "\n[snp.minimum_tcb]\nmilan = \"any\"", 4, "snp.minimum_tcb.milan", policyfile.ErrType, "expected a table"},
	{"an ABI as a number", "\n[snp]\nminimum_abi = 1.55", 4, "snp.minimum_abi", policyfile.ErrType, `in quotes, such as "1.55"`},
	{"mitigations as a number", "\n[snp]\nmitigations = 3", 4, "snp.mitigations", policyfile.ErrType, "a list of bit numbers"},
	{"a date in quotes", "\n[tdx]\nminimum_tcb_date = \"2024-03-13\"", 4, "tdx.minimum_tcb_date", policyfile.ErrType, "a date without quotes"},
	{"a date and time without zone", "\n[tdx]\nminimum_tcb_date = 2024-03-13T00:00:00", 4, "tdx.minimum_tcb_date", policyfile.ErrType, "a time with its zone"},
	{"a status that is no list", "\n[tdx]\ntcb_status = \"UpToDate\"", 4, "tdx.tcb_status", policyfile.ErrType, "a list, each item a TCB status"},
	{"a signer that is no table", "\n[sgx]\nsigner = [\"" + hex32 + "\"]", 4, "sgx.signer[0]", policyfile.ErrType, "digest, product_id, minimum_svn"},

	// Values.
	{"a grace of days", "\ngrace = \"3d\"", 3, "grace", policyfile.ErrValue, "a day as 24h"},
	{"a grace without unit", "\ngrace = \"72\"", 3, "grace", policyfile.ErrValue, `such as "72h"`},
	{"a grace above 90 days", "\ngrace = \"2161h\"", 3, "grace", policyfile.ErrValue, "at most 2160h (90 days)"},
	{"a negative grace", "\ngrace = \"-1h\"", 3, "grace", policyfile.ErrValue, "not negative"},
	{"an empty grace", "\ngrace = \"\"", 3, "grace", policyfile.ErrValue, "the empty string"},
	{"an unknown profile", "\nlog_profiles = [\"prodution\"]", 3, "log_profiles[0]", policyfile.ErrValue, "did you mean production?"},
	{"no profile", "\nlog_profiles = []", 3, "log_profiles", policyfile.ErrValue, "leave the key out"},
	{"a profile twice", "\nlog_profiles = [\"staging\", \"staging\"]", 3, "log_profiles[1]", policyfile.ErrValue, "twice"},
	{"a measurement cut off", "\n[snp]\nmeasurements = [\"" + hex48[2:] + "\"]", 4, "snp.measurements[0]", policyfile.ErrValue, "expected a launch digest in 96 hexadecimal digits, found 94; is it cut off?"},
	{"an odd measurement", "\n[snp]\nmeasurements = [\"" + hex48[1:] + "\"]", 4, "snp.measurements[0]", policyfile.ErrValue, "found 95"},
	{"a measurement too long", "\n[snp]\nmeasurements = [\"" + hex48 + "00\"]", 4, "snp.measurements[0]", policyfile.ErrValue, "found 98"},
	{"a measurement of SGX for SNP", "\n[snp]\nmeasurements = [\"" + hex32 + "\"]", 4, "snp.measurements[0]", policyfile.ErrValue, "found 64"},
	{"a measurement of SNP for SGX", "\n[sgx]\nmeasurements = [\"" + hex48 + "\"]", 4, "sgx.measurements[0]", policyfile.ErrValue, "expected an MRENCLAVE in 64 hexadecimal digits, found 96"},
	{"a measurement with a prefix", "\n[snp]\nmeasurements = [\"sha384:" + hex48 + "\"]", 4, "snp.measurements[0]", policyfile.ErrValue, "leave out prefixes"},
	{"a measurement in base64", "\n[snp]\nmeasurements = [\"X19fX19fX19fX19fX19fX19fX19fX19fX19fX19fX19fX19fX19fX19fX19fX19f\"]", 4, "snp.measurements[0]", policyfile.ErrValue, "if it is base64"},
	{"an empty measurement", "\n[snp]\nmeasurements = [\"\"]", 4, "snp.measurements[0]", policyfile.ErrValue, "the empty string; fill it in"},
	{"any in a list", "\n[snp]\nmeasurements = [\"any\"]", 4, "snp.measurements[0]", policyfile.ErrValue, "stands in its place"},
	{"any beside others", "\n[snp]\nmachines = [\"" + hex64 + "\", \"any\"]", 4, "snp.machines[1]", policyfile.ErrValue, "stands in its place"},
	{"a measurement twice", "\n[snp]\nmeasurements = [\"" + hex48 + "\",\n\"" + strings.ToUpper(hex48) + "\"]", 5, "snp.measurements[1]", policyfile.ErrValue, "twice"},
	{"an empty name", "\n[snp]\nmeasurements = [{ name = \"\", digest = \"" + hex48 + "\" }]", 4, "snp.measurements[0].name", policyfile.ErrValue, "the empty string"},
	{"a name that plays with terminals", "\n[snp]\nmeasurements = [{ name = \"\\u001b[2J\", digest = \"" + hex48 + "\" }]", 4, "snp.measurements[0].name", policyfile.ErrValue, "characters that print"},
	{"a name that turns the line around", "\n[[known]]\nname = \"a\u202eb\"\ndigest = \"" + hex48 + "\"", 4, "known[0].name", policyfile.ErrValue, "characters that print"},
	{"a name too long", "\n[[known]]\nname = \"" + strings.Repeat("a", 201) + "\"\ndigest = \"" + hex48 + "\"", 4, "known[0].name", policyfile.ErrValue, "at most 200 bytes"},
	{"a known digest of another length", "\n[[known]]\nname = \"a\"\ndigest = \"5f5f\"", 5, "known[0].digest", policyfile.ErrValue, "64 or 96 or 128"},
	{"a chip ID of another length", "\n[snp]\nmachines = [\"" + hex32 + "\"]", 4, "snp.machines[0]", policyfile.ErrValue, "128 or 16 hexadecimal digits, found 64"},
	{"a PPID of another length", "\n[tdx]\nmachines = [\"" + hex32 + "\"]", 4, "tdx.machines[0]", policyfile.ErrValue, "expected a PPID in 32 hexadecimal digits, found 64"},
	{"an instance ID of another length", "\n[cca]\nmachines = [\"" + hex32 + "\"]", 4, "cca.machines[0]", policyfile.ErrValue, "66 hexadecimal digits, found 64"},
	{"a RIM of another length", "\n[cca]\nmeasurements = [\"5f\"]", 4, "cca.measurements[0]", policyfile.ErrValue, "64 or 96 or 128"},
	{"a personalization of another length", "\n[cca]\npersonalizations = [\"" + hex32 + "\"]", 4, "cca.personalizations[0]", policyfile.ErrValue, "128 hexadecimal digits"},
	{"any personalization", "\n[cca]\npersonalizations = \"any\"", 4, "cca.personalizations", policyfile.ErrValue, "leave the key out to accept zero alone"},
	{"host data of another length", "\n[snp]\nhost_data = [\"" + hex48 + "\"]", 4, "snp.host_data[0]", policyfile.ErrValue, "64 hexadecimal digits, found 96"},
	{"no ID key", "\n[snp]\nid_keys = []", 4, "snp.id_keys", policyfile.ErrValue, "leave the key out, and no ID block is asked for"},
	{"any ID key", "\n[snp]\nid_keys = \"any\"", 4, "snp.id_keys", policyfile.ErrValue, "leave the key out to accept all"},
	{"no author key", "\n[snp]\nauthor_keys = []", 4, "snp.author_keys", policyfile.ErrValue, "leave the key out"},
	{"any provider", "\n[snp]\nproviders = [\"any\"]", 4, "snp.providers[0]", policyfile.ErrValue, "not one of a list"},
	{"an empty provider", "\n[snp]\nproviders = [\"\"]", 4, "snp.providers[0]", policyfile.ErrValue, "the empty string"},
	{"a VMPL above 3", "\n[snp]\nvmpl = 4", 4, "snp.vmpl", policyfile.ErrValue, "from 0 to 3, found 4"},
	{"a negative VMPL", "\n[snp]\nvmpl = -1", 4, "snp.vmpl", policyfile.ErrValue, "from 0 to 3, found -1"},
	{"a TCB version above 255", "\n[snp.minimum_tcb.milan]\nmicrocode = 256", 4, "snp.minimum_tcb.milan.microcode", policyfile.ErrValue, "from 0 to 255, found 256"},
	{"a negative TCB version", "\n[snp.minimum_tcb.milan]\nsnp = -24", 4, "snp.minimum_tcb.milan.snp", policyfile.ErrValue, "from 0 to 255, found -24"},
	{"an SVN above 32 bits", "\n[snp]\nminimum_guest_svn = 4294967296", 4, "snp.minimum_guest_svn", policyfile.ErrValue, "from 0 to 4294967295"},
	{"an ABI without minor", "\n[snp]\nminimum_abi = \"1\"", 4, "snp.minimum_abi", policyfile.ErrValue, `such as "1.55"`},
	{"an ABI above 255", "\n[snp]\nminimum_abi = \"1.256\"", 4, "snp.minimum_abi", policyfile.ErrValue, `such as "1.55"`},
	{"a mitigation above 63", "\n[snp]\nmitigations = [64]", 4, "snp.mitigations[0]", policyfile.ErrValue, "from 0 to 63"},
	{"a mitigation twice", "\n[snp]\nmitigations = [1, 1]", 4, "snp.mitigations[1]", policyfile.ErrValue, "twice"},
	{"an unknown status", "\n[tdx]\ntcb_status = [\"uptodate\"]", 4, "tdx.tcb_status[0]", policyfile.ErrValue, "did you mean UpToDate?"},
	{"a revoked status", "\n[tdx]\ntcb_status = [\"Revoked\"]", 4, "tdx.tcb_status[0]", policyfile.ErrValue, "expected one of UpToDate"},
	{"any status", "\n[tdx]\ntcb_status = [\"any\"]", 4, "tdx.tcb_status[0]", policyfile.ErrValue, "not one of a list"},
	{"a status of TDX for SGX", "\n[sgx]\ntcb_status = [\"TDRelaunchAdvised\"]", 4, "sgx.tcb_status[0]", policyfile.ErrValue, "expected one of UpToDate"},
	{"an advisory of another form", "\n[tdx]\nadvisories = [\"SA-00615\"]", 4, "tdx.advisories[0]", policyfile.ErrValue, `such as "INTEL-SA-00615"`},
	{"any advisory beside others", "\n[tdx]\nadvisories = [\"INTEL-SA-00615\", \"any\"]", 4, "tdx.advisories[1]", policyfile.ErrValue, "not one of a list"},
	{"a date that is none", "\n[tdx]\nminimum_tcb_date = 2024-02-30", 4, "tdx.minimum_tcb_date", policyfile.ErrValue, "found 2024-02-30"},
	{"a date before there was SGX", "\n[tdx]\nminimum_tcb_date = 1970-01-01", 4, "tdx.minimum_tcb_date", policyfile.ErrValue, "of 2015 or later"},
	{"an evaluation number below 0", "\n[tdx]\nminimum_evaluation = -1", 4, "tdx.minimum_evaluation", policyfile.ErrValue, "from 0 to"},
	{"an unknown attribute", "\n[tdx]\nallow_attributes = [\"PERFMO\"]", 4, "tdx.allow_attributes[0]", policyfile.ErrValue, "did you mean PERFMON?"},
	{"an attribute that is none to allow", "\n[tdx]\nallow_attributes = [\"DEBUG\"]", 4, "tdx.allow_attributes[0]", policyfile.ErrValue, "expected one of PKS, KL"},
	{"any service TD", "\n[tdx]\nservices = \"any\"", 4, "tdx.services", policyfile.ErrValue, "leave the key out"},
	{"an RTMR of another length", "\n[tdx]\nrtmr1 = [\"" + hex32 + "\"]", 4, "tdx.rtmr1[0]", policyfile.ErrValue, "an RTMR1 in 96 hexadecimal digits, found 64"},
	{"no signer", "\n[sgx]\nsigner = []", 4, "sgx.signer", policyfile.ErrValue, "leave the key out"},
	{"a product ID above 16 bits", "\n[[sgx.signer]]\ndigest = \"" + hex32 + "\"\nproduct_id = 65536\nminimum_svn = 0", 5, "sgx.signer[0].product_id", policyfile.ErrValue, "from 0 to 65535"},
	{"a CONFIGID of another length", "\n[sgx]\nconfig_ids = [\"" + hex32 + "\"]", 4, "sgx.config_ids[0]", policyfile.ErrValue, "128 hexadecimal digits"},
	{"a module ID in hexadecimal digits", "\n[nitro]\nmachines = [\"" + hex32 + "\"]", 4, "nitro.machines[0]", policyfile.ErrValue, "expected a module ID, such as"},
	{"any PCR", "\n[nitro.pcrs]\n8 = \"any\"", 4, "nitro.pcrs.8", policyfile.ErrValue, "leave the key out to accept all"},
	{"a PCR of another length", "\n[nitro.pcrs]\n8 = [\"" + hex32 + "\"]", 4, "nitro.pcrs.8[0]", policyfile.ErrValue, "96 hexadecimal digits"},
	{"a PCR of another bank's length", "\n[tpm.pcrs.sha1]\n7 = [\"" + hex32 + "\"]", 4, "tpm.pcrs.sha1.7[0]", policyfile.ErrValue, "a PCR7 of sha1 in 40 hexadecimal digits"},
	{"a key's digest of another length", "\n[tpm]\nmachines = [\"" + hex48 + "\"]", 4, "tpm.machines[0]", policyfile.ErrValue, "64 hexadecimal digits, found 96"},
}

func TestBad(t *testing.T) {
	t.Parallel()
	for _, test := range badFiles {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			text, bare := strings.CutPrefix(test.text, "!")
			if !bare {
				text = "version = 1\n" + text
			}
			p, err := policyfile.Parse("dir/p.toml", []byte(text))
			var all policyfile.Errors
			if !errors.As(err, &all) || len(all) != 1 {
				t.Fatalf("errors: %v", err)
			}
			e := all[0]
			if !errors.Is(err, test.want) || e.Line != test.line || e.Key != test.key || !strings.Contains(e.Text, test.says) {
				t.Errorf("error %v\nexpected line %d, key %q, class %q, with %q", e, test.line, test.key, test.want, test.says)
			}
			if !strings.HasPrefix(e.Error(), fmt.Sprintf("dir/p.toml:%d:", test.line)) {
				t.Errorf("error %q does not begin with its place", e)
			}
			if p.SNP != nil || p.TDX != nil || p.AllowDebug {
				t.Error("a policy comes with an error")
			}
		})
	}
}

// TestPlace looks at the columns, which are characters.
func TestPlace(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, text   string
		line, column int
	}{
		{"a key", "version = 1\n  grce = 1", 2, 3},
		{"an item", "version = 1\nlog_profiles = [ 7 ]", 2, 18},
		{"an item behind letters of two bytes", "version = 1\nsnp = { providers = [ \"é\", 7 ] }", 2, 28},
		{"a key in a table in a list", "version = 1\nknown = [ {\n  nam = \"x\", name = \"x\", digest = \"" + hex32 + "\" } ]", 3, 3},
		{"a header", "version = 1\n\n [ spn ]", 3, 4},
		{"a missing key of a table", "version = 1\n\n[[known]]\nname = \"x\"", 3, 3},
		{"lines that end as on Windows", "version = 1\r\n\r\ngrce = 1\r\n", 3, 1},
		{"syntax", "version = 1\ngrace = x", 2, 9},
		{"structure", "version = 1\n[snp]\n[snp]", 3, 2},
	} {
		_, err := policyfile.Parse("p", []byte(test.text))
		var e *policyfile.Error
		if !errors.As(err, &e) || e.Line != test.line || e.Column != test.column {
			t.Errorf("%s: %v, expected line %d, column %d", test.name, err, test.line, test.column)
		}
	}
}

// TestSeveral makes sure that one look at a file is enough.
func TestSeveral(t *testing.T) {
	t.Parallel()
	_, err := policyfile.Parse("p", []byte("grace = \"3d\"\nallow_debg = true\n[snp]\nvmpl = 9\nvmpl = 0\nmeasurements = [ 1, \"x\" ]\n"))
	const want = `p:1:1: version: missing: expected version = 1, the version of this format
p:1:1: grace: expected a time such as "72h" or "90m", found "3d"; give days in hours, a day as 24h
p:2:1: allow_debg: no such key; did you mean allow_debug?
p:4:1: snp.vmpl: expected an integer from 0 to 3, found 9
p:5:1: snp.vmpl: is there already, at line 4: give each key once
p:6:18: snp.measurements[0]: expected a launch digest in 96 hexadecimal digits, or { name = "...", digest = "..." }, found the integer 1
p:6:21: snp.measurements[1]: expected a launch digest in 96 hexadecimal digits, found "x"; if it is base64, convert it to hexadecimal`
	if err == nil || err.Error() != want {
		t.Errorf("errors:\n%v\nexpected:\n%s", err, want)
	}
	for _, class := range []error{policyfile.ErrMissing, policyfile.ErrKey, policyfile.ErrType, policyfile.ErrValue} {
		if !errors.Is(err, class) {
			t.Errorf("the errors do not wrap %q", class)
		}
	}

	_, err = policyfile.Parse("p", []byte("version = 1\n"+strings.Repeat("[[known]]\n", 3000)))
	var all policyfile.Errors
	if !errors.As(err, &all) || len(all) != policyfile.MaxErrors || !strings.HasSuffix(err.Error(), "(and 5980 more errors)") {
		t.Errorf("%d errors, expected %d: %v", len(all), policyfile.MaxErrors, err)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	largest := "version = 1\n# " + strings.Repeat("x", policyfile.MaxSize-14)
	if _, err := policyfile.Parse("p", []byte(largest)); err != nil {
		t.Errorf("%d bytes: %v", len(largest), err)
	}
	for name, text := range map[string]string{
		"bytes":  largest + "x",
		"values": "version = 1\nknown = [" + strings.Repeat("1,", 70000) + "]",
		"keys":   "version = 1\n" + strings.Repeat("[[known]]\nx=1\n", 40000),
	} {
		_, err := policyfile.Parse("p", []byte(text))
		if !errors.Is(err, policyfile.ErrSize) || !strings.HasPrefix(err.Error(), "p:1:1: expected at most ") {
			t.Errorf("too many %s: %.200v", name, err)
		}
	}
}
