package collateral

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// cachedOrNew returns what the cache has, if that is still good; otherwise it
// asks the service, and if that fails, falls back on what the cache has.
func (f *Fetcher) cachedOrNew(ctx context.Context, req request) (entry, error) {
	// Who stops the program wants no answer. Who is short of time does, if there is
	// one in the cache.
	if err := ctx.Err(); errors.Is(err, context.Canceled) {
		return entry{}, fmt.Errorf("%w: %s: %w", ErrFetch, req.url, err)
	}
	now := f.now()
	kept, ok := f.load(req)
	if ok && f.fresh(&kept, now) {
		return kept, nil
	}
	if f.Offline {
		if !ok {
			return entry{}, fmt.Errorf("%w: %s: %s; fetch it once with a network, or give it as a file", ErrOffline, req.what, req.url)
		}
		kept.note(req, now, "and no network is to be used")
		return kept, nil
	}
	c, err := f.download(ctx, req)
	if err != nil {
		if !ok || errors.Is(ctx.Err(), context.Canceled) {
			return entry{}, err
		}
		kept.note(req, now, "and no newer could be had: "+err.Error())
		return kept, nil
	}
	e, err := newEntry(req, c, now)
	if err != nil {
		return entry{}, fmt.Errorf("%w: %s: %w: %w", ErrFetch, req.url, ErrAnswer, err) // download has checked it
	}
	if ok && e.dated && e.expires.Before(kept.expires) {
		kept.note(req, now, "and the service answered with an older one")
		return kept, nil
	}
	e.note(req, now, "and is what the service answered")
	e.cacheErr = f.store(&e)
	return e, nil
}

// fresh reports whether e may be used without asking the service.
func (f *Fetcher) fresh(e *entry, now time.Time) bool {
	if e.fetched.After(now) || e.expired(now) {
		return false
	}
	return !e.dated || now.Sub(e.fetched) < or(f.MaxAge, DefaultMaxAge)
}

// note says why e is used, if it has expired.
func (e *entry) note(req request, now time.Time, why string) {
	if e.expired(now) {
		e.stale = fmt.Sprintf("%s (%s) expired at %s, %s", req.what, req.url, e.expires.UTC().Format(time.RFC3339), why)
	}
}

// file is where the cache keeps the answer of a URL: a bundle of its own.
func (f *Fetcher) file(url string) string {
	return filepath.Join(f.Cache, fmt.Sprintf("%x.cbor", sha256.Sum256([]byte(url))))
}

// load returns what the cache has for req. A file that is damaged, or has
// something else, is as good as none: it will be written anew.
func (f *Fetcher) load(req request) (entry, bool) {
	if f.Cache == "" {
		return entry{}, false
	}
	data, err := readSmall(f.file(req.url))
	if err != nil {
		return entry{}, false
	}
	b, err := DecodeBundle(data)
	if err != nil || len(b.Sources) == 0 {
		return entry{}, false
	}
	for _, s := range b.Sources {
		if s.URL != req.url || !s.Fetched.Equal(b.Sources[0].Fetched) {
			return entry{}, false
		}
	}
	e, err := newEntry(req, b.Collateral, b.Sources[0].Fetched)
	return e, err == nil
}

func readSmall(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() > MaxFile {
		return nil, fmt.Errorf("%s: must be a file of at most %d bytes", name, MaxFile)
	}
	return io.ReadAll(io.LimitReader(file, MaxFile+1))
}

// store writes e to the cache, completely or not at all.
func (f *Fetcher) store(e *entry) error {
	if f.Cache == "" {
		return nil
	}
	data, err := EncodeBundle(Bundle{Collateral: e.c, Sources: e.sources()})
	if err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	if err := os.MkdirAll(f.Cache, 0o700); err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	temp, err := os.CreateTemp(f.Cache, ".new-*") // mode 0600
	if err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	_, err = temp.Write(data)
	if err = errors.Join(err, temp.Close()); err == nil {
		err = os.Rename(temp.Name(), f.file(e.url))
	}
	if err != nil {
		os.Remove(temp.Name())
		return fmt.Errorf("cache: %w", err)
	}
	return nil
}
