package policyfile

import (
	"fmt"
	"slices"
	"strings"
)

// everything has each table that a policy may have.
const everything = `
snp.minimum_tcb = { milan = {}, genoa = {}, turin = {} }
snp.measurements = [{}]
tdx.measurements = [{}]
sgx = { measurements = [{}], signer = [{}] }
cca.measurements = [{}]
nitro = { measurements = [{}], pcrs = {} }
tpm = { measurements = [{}], pcrs = { sha1 = {}, sha256 = {}, sha384 = {}, sha512 = {} } }
known = [{}]
`

// schema is the keys that each table may have, by the table's path with * for
// an index.
func (r *reader) schema() map[string][]string {
	if r.all == nil {
		of := newReader([]byte(everything))
		of.all = map[string][]string{}
		of.policy()
		r.all = of.keys
	}
	return r.all
}

// suggest says which key may be meant by one that is not known, and where.
func (r *reader) suggest(path, name string, known []string) string {
	if r.full() {
		return ""
	}
	switch strings.ToLower(name) {
	case "bergamo", "siena":
		return "; it is a genoa to the firmware"
	case "any_report_data":
		return "; what the report data must be, the caller says each time"
	}
	if s := didYouMean(name, known); s != "" {
		return s
	}
	var elsewhere []string
	for table, keys := range r.schema() {
		if table != path && !strings.HasSuffix(table, "[*]") && slices.Contains(keys, name) {
			elsewhere = append(elsewhere, "["+table+"]")
		}
	}
	slices.Sort(elsewhere)
	if i := slices.Index(elsewhere, "[]"); i >= 0 {
		return "; it belongs above the first table"
	}
	if len(elsewhere) > 0 {
		return "; it belongs in " + strings.Join(elsewhere, " or ")
	}
	if len(known) > 12 {
		return "; redoubt policy init prints them all"
	}
	return "; expected one of " + strings.Join(known, ", ")
}

// didYouMean is the nearest of known, if it is near.
func didYouMean(name string, known []string) string {
	best, least := "", 1+min(len(name)/3, 4)
	if len(name) < 4 {
		least = 2
	}
	if len(name) > 64 {
		return ""
	}
	for _, k := range known {
		if d := distance(strings.ToLower(name), strings.ToLower(k)); d < least {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", best)
}

// distance is the least number of bytes to put in, take away, change or swap
// with the next to make b of a (optimal string alignment).
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
		for j := range rows[i] {
			switch {
			case i == 0:
				rows[i][j] = j
			case j > 0:
				change := rows[i-1][j-1]
				if a[i-1] != b[j-1] {
					change++
				}
				rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, change)
				if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
					rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
				}
			}
		}
	}
	return rows[len(a)][len(b)]
}
