package client

import (
	"context"
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"sync"
	"time"

	"github.com/redoubt-tee/redoubt/attest"
	"github.com/redoubt-tee/redoubt/wire"
)

// Deployment is what to deploy, on what conditions. The fields without a
// default must be set.
type Deployment struct {
	Kind   wire.Kind
	Module []byte // the workload
	Args   []string
	Env    []string // KEY=VALUE

	Profile wire.Profile
	Limits  wire.Limits

	Trust // of the Keep

	// Stdin is read until its end, or the workload's. Each is left out of the
	// workload's capabilities if it is nil.
	Stdin          io.Reader
	Stdout, Stderr io.Writer

	// OnStep, if set, is told of each step when it is done.
	OnStep func(Step)
	// StepTimeout bounds each step up to the start of the workload; compiling
	// the workload may take ten times as long. Default one minute.
	StepTimeout time.Duration
}

// A Step is one of the ten steps, done.
type Step struct {
	Number int // 1 to 10
	Text   string
	Took   time.Duration
}

// A Result is what came of a deployment that ran.
type Result struct {
	Outcome wire.Outcome
	Keep    wire.KeepInfo
	// Claims is what the Keep proved, and Appraisal what the policy made of it.
	Claims    attest.Claims
	Appraisal attest.Result
	Workload  wire.Digest
	Config    wire.Digest
}

// A StepError says in which of the ten steps a deployment failed.
type StepError struct {
	Step  int
	Doing string
	Err   error
}

func (e *StepError) Error() string { return fmt.Sprintf("step %d, %s: %v", e.Step, e.Doing, e.Err) }
func (e *StepError) Unwrap() error { return e.Err }

// ErrTimeout is wrapped by the error of a step that took too long.
var ErrTimeout = errors.New("the host or the Keep did not answer in time")

// deploying is a deployment under way.
type deploying struct {
	*Deployment
	host       *Host
	result     Result
	config     wire.Configuration
	invocation wire.Invocation

	mu   sync.Mutex // guards last, and orders OnStep
	last time.Time  // when the last step was done
}

// Deploy goes through the ten steps on host and returns when the workload has
// ended. Nothing secret leaves this side before the policy has accepted the
// Keep's evidence. If ctx ends while the workload runs, it is stopped, and the
// result says so. The Keep is gone when Deploy returns, as far as the host obeys.
//
// An error is a *StepError. It wraps a *wire.Refusal if the host or the Keep
// refused, and an *attest.RefusedError if the policy did.
func Deploy(ctx context.Context, host *Host, d *Deployment) (*Result, error) {
	dep := &deploying{Deployment: d, host: host, last: time.Now()}
	if err := dep.prepare(); err != nil {
		return nil, err
	}
	defer func() {
		if dep.result.Keep.ID == "" {
			return
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dep.timeout())
		defer cancel()
		_ = host.Stop(ctx, dep.result.Keep.ID) // a host that does not obey can't be made to
	}()
	if err := dep.create(ctx); err != nil {
		return nil, err
	}
	key, err := dep.provision(ctx)
	if err != nil {
		return nil, err
	}
	if err := dep.run(ctx, key); err != nil {
		return nil, err
	}
	return &dep.result, nil
}

func (d *deploying) timeout() time.Duration {
	if d.StepTimeout > 0 {
		return d.StepTimeout
	}
	return time.Minute
}

// step does one step's work in bounded time.
func (d *deploying) step(ctx context.Context, number int, doing string, times int, do func(context.Context) (string, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Duration(times)*d.timeout(), ErrTimeout)
	defer cancel()
	text, err := do(ctx)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = fmt.Errorf("%w (%w)", cause, err)
		}
		return &StepError{Step: number, Doing: doing, Err: err}
	}
	d.done(number, text)
	return nil
}

func (d *deploying) done(number int, text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if d.OnStep != nil {
		d.OnStep(Step{Number: number, Text: text, Took: now.Sub(d.last)})
	}
	d.last = now
}

// prepare settles what the Keep is to do.
func (d *deploying) prepare() error {
	if len(d.Module) > wire.MaxWorkload {
		return wire.Refuse(wire.CodeTooLarge, "workload of %d bytes, at most %d allowed", len(d.Module), wire.MaxWorkload)
	}
	d.invocation = wire.Invocation{Args: d.Args, Env: d.Env, Salt: make([]byte, wire.SaltSize)}
	rand.Read(d.invocation.Salt)
	var err error
	d.config = wire.Configuration{Profile: d.Profile, Limits: d.Limits}
	if d.config.Invocation, err = d.invocation.Digest(); err != nil {
		return err
	}
	for what, have := range map[wire.Capability]bool{wire.Stdin: d.Stdin != nil, wire.Stdout: d.Stdout != nil, wire.Stderr: d.Stderr != nil} {
		if have {
			d.config.Capabilities = append(d.config.Capabilities, what)
		}
	}
	slices.Sort(d.config.Capabilities)
	d.result.Config, err = d.config.Digest()
	return err
}

// create is steps 1 and 2.
func (d *deploying) create(ctx context.Context) error {
	err := d.step(ctx, 1, "create a Keep", 1, func(ctx context.Context) (string, error) {
		info, err := d.host.Create(ctx, d.Kind, d.Limits.Memory)
		if err != nil {
			return "", err
		}
		d.result.Keep = *info
		return fmt.Sprintf("%s Keep %s created by keepmgr at %s", info.Kind, info.ID, d.host.Address()), nil
	})
	if err != nil {
		return err
	}
	return d.step(ctx, 2, "start the Keep", 1, func(ctx context.Context) (string, error) {
		info, err := d.host.Wait(ctx, d.result.Keep.ID, wire.StateReady)
		if err != nil {
			return "", err
		}
		if info.State.Final() {
			return "", wire.Refuse(wire.CodeGone, "the Keep has %s: %s", info.State, info.Reason)
		}
		d.result.Keep = *info
		return "keepldr has started it, and holds its sallyport", nil
	})
}

// provision is steps 3 to 6. It returns the Keep's one-use public key.
func (d *deploying) provision(ctx context.Context) (*channelKeys, error) {
	nonce := make([]byte, wire.NonceSize)
	rand.Read(nonce)
	d.done(3, fmt.Sprintf("nonce %x… and configuration %.8s… chosen", nonce[:4], d.result.Config))
	var attested wire.Attestation
	err := d.step(ctx, 4, "attest the Keep", 1, func(ctx context.Context) (string, error) {
		request := &wire.AttestRequest{Nonce: nonce, Config: d.result.Config}
		if err := d.host.exchange(ctx, d.result.Keep.ID, request, &attested); err != nil {
			return "", err
		}
		return fmt.Sprintf("Keep answered with %d bytes of evidence", len(attested.Evidence.Report)+len(attested.Evidence.Auxblob)), nil
	})
	if err != nil {
		return nil, err
	}
	rd := wire.ProvisionReportData(nonce, attested.HPKEPublicKey, d.result.Config)
	var sealed []byte
	var keys *channelKeys
	err = d.step(ctx, 5, "verify the Keep's evidence", 1, func(ctx context.Context) (text string, err error) {
		claims, result, err := d.appraise(ctx, &attested.Evidence, rd, d.Profile)
		if err != nil {
			return "", err
		}
		d.result.Claims, d.result.Appraisal = *claims, result
		if keys, err = newChannelKeys(); err != nil {
			return "", err
		}
		sealed, err = d.seal(keys, attested.HPKEPublicKey, rd)
		return fmt.Sprintf("evidence verified to root %q, policy satisfied; secrets sealed", claims.Root), err
	})
	if err != nil {
		return nil, err
	}
	return keys, d.step(ctx, 6, "provision the Keep", 1, func(ctx context.Context) (string, error) {
		err := d.host.exchange(ctx, d.result.Keep.ID, &wire.ProvisionRequest{Sealed: sealed}, &wire.Provisioned{})
		return "Keep opened them and made its one-use certificate", err
	})
}

// channelKeys are the keys of one deployment channel, both ends.
type channelKeys struct {
	keepSeed []byte // goes to the Keep, sealed, and nowhere else
	keep     ed25519.PublicKey
	client   tls.Certificate
}

func newChannelKeys() (*channelKeys, error) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	k := &channelKeys{keepSeed: private.Seed(), keep: public}
	_, own, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "Redoubt client"},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(1, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, own.Public(), own)
	if err != nil {
		return nil, err
	}
	k.client = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: own}
	return k, nil
}

// seal encrypts to the Keep's attested key what nobody else may have.
func (d *deploying) seal(keys *channelKeys, hpkePublicKey []byte, rd wire.ReportData) ([]byte, error) {
	plain, err := wire.Marshal(&wire.Provision{
		PrivateKey: keys.keepSeed,
		Client:     sha256.Sum256(keys.client.Certificate[0]),
		Config:     d.config,
		Invocation: d.invocation,
		Time:       uint64(time.Now().UnixNano()),
	})
	if err != nil {
		return nil, err
	}
	public, err := hpke.MLKEM768X25519().NewPublicKey(hpkePublicKey)
	if err != nil {
		return nil, fmt.Errorf("the Keep's HPKE key: %w", err)
	}
	return hpke.Seal(public, hpke.HKDFSHA256(), hpke.AES256GCM(), wire.SealInfo(rd), plain)
}
