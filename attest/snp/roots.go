package snp

import (
	"crypto/sha256"
	"embed"
	"encoding/pem"
	"sync"
)

//go:embed roots/*.pem
var amdFiles embed.FS

// AMDRoots returns the roots that AMD publishes, for Milan, Genoa and Turin, with
// their ASKs and ASVKs. They are compiled in as data, and count only where a
// caller gives them to Verify.
func AMDRoots() []Root {
	var roots []Root
	for _, name := range []string{"milan", "genoa", "turin"} {
		root, err := ParseRoot(amdFile(name))
		if err != nil {
			panic("snp: compiled-in root of " + name + ": " + err.Error()) // a test checks that it doesn't
		}
		roots = append(roots, root)
	}
	return roots
}

func amdFile(name string) []byte {
	data, err := amdFiles.ReadFile("roots/amd-" + name + ".pem")
	if err != nil {
		panic("snp: " + err.Error())
	}
	return data
}

// amdCertificates is the SHA-256 of every certificate that is compiled in.
var amdCertificates = sync.OnceValue(func() map[[sha256.Size]byte]bool {
	known := make(map[[sha256.Size]byte]bool)
	for _, name := range []string{"milan", "genoa", "turin"} {
		for block, rest := pem.Decode(amdFile(name)); block != nil; block, rest = pem.Decode(rest) {
			known[sha256.Sum256(block.Bytes)] = true
		}
	}
	return known
})

// isAMD reports whether r's ARK is one of AMD's, whatever it calls itself.
func (r Root) isAMD() bool { return amdCertificates()[sha256.Sum256(r.ARK.Raw)] }
