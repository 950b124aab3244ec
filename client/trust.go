package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/wire"
)

// Trust is what decides whether a Keep's evidence is good enough. The zero
// Trust refuses all.
type Trust struct {
	Policy attest.Policy
	Roots  attest.Roots
	// Collateral is what is there of it beyond what comes with the evidence.
	Collateral attest.Collateral
	// Fetch, if set, gets the collateral that evidence needs from where its
	// manufacturer publishes it.
	Fetch func(context.Context, attest.Evidence) (attest.Collateral, error)
}

// ProcessPolicy is a policy for process Keeps: it accepts simulated evidence of
// these measurements, for all that simulated hardware does not have.
func ProcessPolicy(measurements ...attest.Reference) attest.Policy {
	return attest.Policy{
		AllowSimulated: true,
		AllowUnchecked: true,
		SNP: &attest.SNPPolicy{
			Pins:              attest.Pins{Measurements: measurements, AnyMachine: true},
			AnyTCB:            true,
			AllowSMT:          true,
			AllowNoAliasCheck: true,
		},
	}
}

// appraise verifies evidence of a Keep with this configuration and applies the
// policy.
func (t *Trust) appraise(ctx context.Context, e *wire.Evidence, rd wire.ReportData, profile wire.Profile) (*attest.Claims, attest.Result, error) {
	ev := attest.Evidence{Type: e.Type, Report: e.Report, Auxblob: e.Auxblob}
	collateral := t.Collateral
	if t.Fetch != nil {
		fetched, err := t.Fetch(ctx, ev)
		if err != nil {
			return nil, attest.Result{}, fmt.Errorf("fetch collateral: %w", err)
		}
		collateral = collateral.Merge(fetched)
	}
	claims, err := attest.Verify(ev, collateral, t.Roots, time.Now())
	if err != nil {
		return nil, attest.Result{}, err
	}
	result := t.Policy.Appraise(claims, rd[:])
	result.Rules = append(result.Rules, t.Policy.AppraiseProfile(string(profile)))
	if err := result.Err(); err != nil {
		return nil, result, err
	}
	return claims, result, nil
}

// Attested is what a running Keep proved.
type Attested struct {
	Claims    attest.Claims
	Appraisal attest.Result
	Workload  wire.Digest
	Config    wire.Configuration
}

// Attest has a Keep that holds a workload prove what it runs, with a nonce of
// wire.NonceSize bytes that the caller chose.
func Attest(ctx context.Context, host *Host, id string, nonce []byte, trust *Trust) (*Attested, error) {
	answer, err := Evidence(ctx, host, id, nonce)
	if err != nil {
		return nil, err
	}
	rd, err := WorkloadReportData(nonce, answer)
	if err != nil {
		return nil, err
	}
	claims, result, err := trust.appraise(ctx, &answer.Evidence, rd, answer.Config.Profile)
	if err != nil {
		return nil, err
	}
	return &Attested{Claims: *claims, Appraisal: result, Workload: answer.Workload, Config: answer.Config}, nil
}

// Evidence returns what a Keep that holds a workload answers to a nonce. Nothing
// of it is verified.
func Evidence(ctx context.Context, host *Host, id string, nonce []byte) (*wire.WorkloadAttestation, error) {
	var answer wire.WorkloadAttestation
	if err := host.exchange(ctx, id, &wire.ReattestRequest{Nonce: nonce}, &answer); err != nil {
		return nil, err
	}
	return &answer, nil
}

// WorkloadReportData returns the report data that a Keep's evidence must have if
// it answers nonce and the rest of a is true.
func WorkloadReportData(nonce []byte, a *wire.WorkloadAttestation) (wire.ReportData, error) {
	config, err := a.Config.Digest()
	if err != nil {
		return wire.ReportData{}, err
	}
	return wire.WorkloadReportData(nonce, a.HPKEPublicKey, config, a.Workload), nil
}

// FreshEvidence has host make a Keep, asks it for evidence with this nonce, and
// ends it. It returns the evidence, of which nothing is verified, and the report
// data that it must have.
func FreshEvidence(ctx context.Context, host *Host, kind wire.Kind, memory uint64, nonce []byte) (_ *wire.Evidence, _ wire.ReportData, err error) {
	keep, err := host.Create(ctx, kind, memory)
	if err != nil {
		return nil, wire.ReportData{}, err
	}
	defer func() { err = errors.Join(err, host.Stop(context.WithoutCancel(ctx), keep.ID)) }()
	if _, err := host.Wait(ctx, keep.ID, wire.StateReady); err != nil {
		return nil, wire.ReportData{}, err
	}
	var answer wire.Attestation
	var none wire.Digest // no workload is meant
	if err := host.exchange(ctx, keep.ID, &wire.AttestRequest{Nonce: nonce, Config: none}, &answer); err != nil {
		return nil, wire.ReportData{}, err
	}
	return &answer.Evidence, wire.ProvisionReportData(nonce, answer.HPKEPublicKey, none), nil
}
