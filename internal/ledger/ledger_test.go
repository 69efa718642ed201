package ledger_test

import (
	"context"
	"crypto/rand"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postonce/poe/internal/ledger"
	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/storetest"
)

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, tt := range []struct{ name, url string }{
		{"absolute", "pebble:" + filepath.Join(dir, "absolute")},
		{"relative", "pebble:relative"},
		{"relative with a dot", "pebble:./dot/and/below"},
		{"memory", "memory:"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := ledger.Open(t.Context(), tt.url, ledger.Config{})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Ready(t.Context()); err != nil {
				t.Errorf("not ready: %v", err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, url := range []string{"", "poe-data", "pebble", "pebble:", "memory", "memory:x", "postgres://user:hunter2@host/db", ":", "PEBBLE:x"} {
		t.Run(url, func(t *testing.T) {
			s, err := ledger.Open(t.Context(), url, ledger.Config{})
			if s != nil || !errors.Is(err, ledger.ErrURL) {
				t.Fatalf("got %v, %v", s, err)
			}
			for _, word := range []string{"pebble:DIR", "memory:"} {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%q does not name %s", err, word)
				}
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%q repeats a password", err)
			}
		})
	}
}

func TestOpenTwice(t *testing.T) {
	url := "pebble:" + t.TempDir()
	s, err := ledger.Open(t.Context(), url, ledger.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if again, err := ledger.Open(t.Context(), url, ledger.Config{}); again != nil || !errors.Is(err, store.ErrLocked) {
		t.Errorf("the second opening got %v, %v", again, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err = ledger.Open(t.Context(), url, ledger.Config{})
	if err != nil {
		t.Fatalf("after closing: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestConfigReachesTheLedger(t *testing.T) {
	at := time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC)
	cfg := ledger.Config{Clock: func() time.Time { return at }, Random: strings.NewReader(strings.Repeat("r", 40))}
	for _, url := range []string{"memory:", "pebble:" + t.TempDir()} {
		cfg.Random = strings.NewReader(strings.Repeat("r", 40))
		s, err := ledger.Open(t.Context(), url, cfg)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Identity().Minted(); !got.Equal(at) {
			t.Errorf("%s: made at %s, not by the clock that was handed in", url, got)
		}
		if got := s.Secret(); string(got[:]) != strings.Repeat("r", 32) {
			t.Errorf("%s: the secret is not from the randomness that was handed in", url)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A restore that is broken off leaves no folder in which a server begins anew, with nothing of what was done.
func TestRestoreThatIsBrokenOff(t *testing.T) {
	dir := t.TempDir()
	url, backup := "pebble:"+dir+"/a", dir+"/backup"
	s, err := ledger.Open(t.Context(), url, ledger.Config{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = ledger.OpenKeys(ledger.KeysConfig{URL: url, Store: s})
	now := time.Now()
	id, err2 := store.NewID(now, 31, rand.Reader)
	r := store.Record{ID: id, State: store.Running, Term: store.Term{1}, Door: "key", Route: "default", Method: "POST", Target: "/orders", Claimed: now, Due: now.Add(time.Minute)}
	r.Request = store.Blob{Where: store.Beside, Part: store.Part{Term: r.Term}, Size: 100_000}
	_, err3 := s.Put(t.Context(), id, r.Request.Part, strings.NewReader(strings.Repeat("x", 100_000)))
	_, err4 := storetest.Claim(t.Context(), s, r)
	_, err5 := ledger.Backup(t.Context(), s, backup, nil)
	if err := errors.Join(err, err2, err3, err4, err5, s.Close()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	at := "pebble:" + dir + "/another/machine"
	_, err = ledger.Restore(ctx, at, ledger.Config{}, store.Restore{From: backup, Progress: func(store.Progress) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("broken off after its first file: %v", err)
	}
	if s, err := ledger.Open(t.Context(), at, ledger.Config{}); !errors.Is(err, store.ErrRolledBack) {
		t.Errorf("served after that: %v", err)
		_ = s.Close()
	}
	if _, err := ledger.Restore(t.Context(), at, ledger.Config{}, store.Restore{From: backup}); err != nil {
		t.Errorf("restored again: %v", err)
	}
}
