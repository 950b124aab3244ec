package policyfile

// Schema is the keys that each table may have.
func Schema() map[string][]string { return newReader(nil).schema() }
