//go:build linux

package main

import (
	"context"
	"crypto/hpke"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/attest/snp"
	"github.com/redoubt-tee/redoubt/internal/teelab"
	"github.com/redoubt-tee/redoubt/wire"
)

// handshakes is how many of each kind a figure is the median of, per run asked
// for: they are short.
const handshakes = 10

// attested compares a plain TLS 1.3 handshake with one that is attested first:
// steps 5 to 8 without host, processes and the making of evidence, which is
// hardware's.
func (b *bench) attested(ctx context.Context) error {
	chip, err := teelab.NewSNP(time.Now())
	if err != nil {
		return err
	}
	handshake, err := newHandshake()
	if err != nil {
		return err
	}
	roots := attest.Roots{SNP: []snp.Root{chip.Root()}}
	known := attest.NewVerifier(roots) // has seen the chain once the first run is over
	pieces := []struct {
		name string
		do   func() error
	}{
		{"plain", func() error { return handshake(ctx) }},
		{"attested, chain not seen before", func() error { return attestedHandshake(ctx, chip, attest.NewVerifier(roots), handshake) }},
		{"attested, chain seen before", func() error { return attestedHandshake(ctx, chip, known, handshake) }},
	}
	took := make(map[string][]time.Duration)
	for range b.runs*handshakes + 1 {
		for _, p := range pieces {
			start := time.Now()
			if err := p.do(); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			took[p.name] = append(took[p.name], time.Since(start))
		}
	}
	t := newTable("TLS 1.3 handshake (mutual, X25519MLKEM768) in one process, SNP evidence", "median", "ratio")
	plain := median(took["plain"][1:])
	for _, p := range pieces {
		m := median(took[p.name][1:]) // the first warmed up
		t.row(p.name, ms(m), fmt.Sprintf("%.2f", float64(m)/float64(plain)))
	}
	return t.end()
}

// attestedHandshake has a simulated Keep attested, seals a key to it, and shakes
// hands.
func attestedHandshake(ctx context.Context, chip *teelab.SNP, verifier *attest.Verifier, handshake func(context.Context) error) error {
	nonce := make([]byte, wire.NonceSize)
	rand.Read(nonce)
	var measurement [48]byte
	key, err := hpke.MLKEM768X25519().GenerateKey()
	if err != nil {
		return err
	}
	rd := wire.ProvisionReportData(nonce, key.PublicKey().Bytes(), wire.Digest{})
	evidence, err := chip.Evidence(rd, measurement)
	if err != nil {
		return err
	}
	claims, err := verifier.Verify(evidence, chip.Collateral(), time.Now())
	if err != nil {
		return err
	}
	if claims.SNP.Report.ReportData != rd {
		return fmt.Errorf("report data %x, expected %x", claims.ReportData, rd)
	}
	public, err := hpke.MLKEM768X25519().NewPublicKey(key.PublicKey().Bytes())
	if err != nil {
		return err
	}
	sealed, err := hpke.Seal(public, hpke.HKDFSHA256(), hpke.AES256GCM(), wire.SealInfo(rd), measurement[:32])
	if err != nil {
		return err
	}
	if _, err := hpke.Open(key, hpke.HKDFSHA256(), hpke.AES256GCM(), wire.SealInfo(rd), sealed); err != nil {
		return err
	}
	return handshake(ctx)
}
