package ledger_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postonce/poe/internal/ledger"
	"github.com/postonce/poe/internal/store"
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
