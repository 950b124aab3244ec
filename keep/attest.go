//go:build linux

package keep

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/redoubt-tee/redoubt/wire"
	"github.com/redoubt-tee/redoubt/wire/sallyport"
)

// An offer is one attestation that waits for its answer: a key made for it,
// and what the evidence says.
type offer struct {
	key        hpke.PrivateKey
	reportData wire.ReportData
	config     wire.Digest
}

// A tenant is who provisioned this Keep, and with what.
type tenant struct {
	provision   wire.Provision
	config      wire.Digest
	hpkePublic  []byte
	certificate tls.Certificate // the Keep's own, one-use
	provisioned time.Time       // when, by this machine's monotonic clock
}

// now is the tenant's time: what the client said, and what has passed since.
// The host's clock is not asked.
func (t *tenant) now() time.Time {
	return time.Unix(0, int64(t.provision.Time)).Add(time.Since(t.provisioned)) // validated to fit
}

// exchange answers one message of the client or of somebody who attests.
func (k *keep) exchange(s sallyport.Stream) {
	defer s.Close()
	if err := s.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return
	}
	data, err := wire.ReadRawFrame(s)
	if err != nil {
		_ = s.Reset() // the host broke off
		return
	}
	answer, err := k.answer(data)
	if err != nil {
		answer = wire.AsRefusal(err, wire.CodeBadMessage)
	}
	_ = wire.WriteFrame(s, answer) // whoever asked sees the stream end
}

func (k *keep) answer(data []byte) (wire.Message, error) {
	name, err := wire.Name(data)
	if errors.Is(err, wire.ErrVersion) {
		return nil, wire.AsRefusal(err, wire.CodeVersion)
	}
	if err != nil {
		return nil, err
	}
	switch name {
	case "attest-request":
		var m wire.AttestRequest
		if err := wire.Unmarshal(data, &m); err != nil {
			return nil, err
		}
		return k.attest(&m)
	case "provision-request":
		var m wire.ProvisionRequest
		if err := wire.Unmarshal(data, &m); err != nil {
			return nil, err
		}
		return k.provision(&m)
	case "reattest-request":
		var m wire.ReattestRequest
		if err := wire.Unmarshal(data, &m); err != nil {
			return nil, err
		}
		return k.reattest(&m)
	}
	return nil, wire.Refuse(wire.CodeBadMessage, "a Keep does not answer %q", name)
}

// attest is step 5: a fresh key pair, and evidence that covers it.
func (k *keep) attest(m *wire.AttestRequest) (wire.Message, error) {
	k.attesting.Lock()
	defer k.attesting.Unlock()
	if err := k.useNonce([wire.NonceSize]byte(m.Nonce)); err != nil {
		return nil, err
	}
	key, err := hpke.MLKEM768X25519().GenerateKey()
	if err != nil {
		return nil, fmt.Errorf("make an HPKE key: %w", err)
	}
	public := key.PublicKey().Bytes()
	rd := wire.ProvisionReportData(m.Nonce, public, m.Config)
	evidence, err := k.evidence(rd)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.offer = &offer{key: key, reportData: rd, config: m.Config}
	return &wire.Attestation{Evidence: *evidence, HPKEPublicKey: public}, nil
}

func (k *keep) useNonce(nonce [wire.NonceSize]byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.state != wire.StateReady:
		return wire.Refuse(wire.CodeWrongState, "the Keep is %s: it has a tenant already, or is gone", k.state)
	case k.nonces[nonce]:
		return wire.Refuse(wire.CodeReplay, "this nonce was used before")
	case len(k.nonces) >= wire.MaxAttestations:
		return wire.Refuse(wire.CodeLimit, "attested %d times and not provisioned: create another Keep", len(k.nonces))
	}
	k.nonces[nonce] = true
	return nil
}

// provision is step 6: open what the client sealed, once.
func (k *keep) provision(m *wire.ProvisionRequest) (wire.Message, error) {
	k.mu.Lock()
	offer := k.offer
	k.offer = nil // each evidence can be answered once
	state := k.state
	k.mu.Unlock()
	if state != wire.StateReady {
		return nil, wire.Refuse(wire.CodeWrongState, "the Keep is %s: it can't be provisioned again", state)
	}
	if offer == nil {
		return nil, wire.Refuse(wire.CodeWrongState, "the Keep has not been attested, or its evidence has been answered")
	}
	t, err := offer.open(m.Sealed)
	if err != nil {
		return nil, err
	}
	if err := k.advance(wire.StateReady, wire.StateProvisioned, func() { k.tenant = t }); err != nil {
		return nil, err
	}
	return &wire.Provisioned{}, nil
}

// HPKE suite of the sealed provision: MLKEM768-X25519, HKDF-SHA256, AES-256-GCM.
var (
	sealKDF  = hpke.HKDFSHA256()
	sealAEAD = hpke.AES256GCM()
)

func (o *offer) open(sealed []byte) (*tenant, error) {
	plain, err := hpke.Open(o.key, sealKDF, sealAEAD, wire.SealInfo(o.reportData), sealed)
	if err != nil {
		return nil, wire.Refuse(wire.CodeUnsealed, "does not open under the key that was attested last")
	}
	t := &tenant{config: o.config, hpkePublic: o.key.PublicKey().Bytes(), provisioned: time.Now()}
	p := &t.provision
	if err := wire.Unmarshal(plain, p); err != nil {
		// What was sealed is secret, and so is what is wrong with it.
		return nil, wire.Refuse(wire.CodeUnsealed, "what was sealed is not a valid provision")
	}
	config, err := p.Config.Digest()
	if err != nil || subtle.ConstantTimeCompare(config[:], o.config[:]) != 1 {
		return nil, wire.Refuse(wire.CodeWrongConfig, "the configuration is not the one that was attested")
	}
	invocation, err := p.Invocation.Digest()
	if err != nil || invocation != p.Config.Invocation {
		return nil, wire.Refuse(wire.CodeWrongConfig, "the invocation is not the one that the configuration names")
	}
	if t.certificate, err = makeCertificate(p.PrivateKey, t.now()); err != nil {
		return nil, wire.Refuse(wire.CodeInternal, "make the one-use certificate: %v", err)
	}
	return t, nil
}

// makeCertificate makes the Keep's one-use certificate. The client knows the
// key; nothing else in the certificate matters to it.
func makeCertificate(seed []byte, now time.Time) (tls.Certificate, error) {
	key := ed25519.NewKeyFromSeed(seed)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "Redoubt Keep"},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(1, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// reattest proves to anybody what this Keep runs.
func (k *keep) reattest(m *wire.ReattestRequest) (wire.Message, error) {
	k.attesting.Lock()
	defer k.attesting.Unlock()
	k.mu.Lock()
	state, t, work := k.state, k.tenant, k.work
	k.mu.Unlock()
	if state != wire.StateLoaded && state != wire.StateRunning {
		return nil, wire.Refuse(wire.CodeWrongState, "the Keep is %s: it holds no workload to attest", state)
	}
	evidence, err := k.evidence(wire.WorkloadReportData(m.Nonce, t.hpkePublic, t.config, work))
	if err != nil {
		return nil, err
	}
	return &wire.WorkloadAttestation{
		Evidence: *evidence, HPKEPublicKey: t.hpkePublic, Config: t.provision.Config, Workload: work,
	}, nil
}

// evidence has rd signed. A process Keep has no TEE: keepldr simulates one.
func (k *keep) evidence(rd wire.ReportData) (*wire.Evidence, error) {
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	s, err := k.port.Open(ctx, wire.StreamEvidence)
	if err != nil {
		return nil, wire.AsRefusal(err, wire.CodeInternal)
	}
	defer s.Close()
	if err := s.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return nil, wire.AsRefusal(err, wire.CodeInternal)
	}
	if err := wire.WriteFrame(s, &wire.EvidenceRequest{ReportData: bytes.Clone(rd[:])}); err != nil {
		return nil, wire.AsRefusal(err, wire.CodeInternal)
	}
	var e wire.Evidence
	if err := wire.ReadAnswer(s, &e); err != nil {
		return nil, wire.AsRefusal(err, wire.CodeInternal)
	}
	return &e, nil
}
