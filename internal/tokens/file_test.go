package tokens_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postonce/poe/internal/tokens"
)

func keyFile(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys.json")
	write(t, path, content)
	return path
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func openFile(t *testing.T, path string, reloaded func(error)) *tokens.File {
	t.Helper()
	f, err := tokens.OpenFile(path, tokens.Config{Audience: audience, Reloaded: reloaded})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func rotate(t *testing.T, path string) tokens.KeyInfo {
	t.Helper()
	k, err := tokens.RotateFile(path, tokens.NewKey{Now: now()})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// hint returns the command that err says would mend it.
func hint(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}

func TestOpenFileRefuses(t *testing.T) {
	t.Parallel()
	good := keySet(jwkHS(signs))
	mode := func(m fs.FileMode) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			t.Helper()
			write(t, path, good)
			if err := os.Chmod(path, m); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := []struct {
		name, file string
		make       func(*testing.T, string)
		says, hint string
	}{
		{"no file", "keys.json", func(*testing.T, string) {}, "no key file", "poe keys new DIR/keys.json"},
		{"group reads", "keys.json", mode(0o640), "has mode 0640", "chmod 600 DIR/keys.json"},
		{"others read", "keys.json", mode(0o604), "has mode 0604", "chmod 600 DIR/keys.json"},
		{"group writes", "keys.json", mode(0o620), "has mode 0620", "chmod 600 DIR/keys.json"},
		{"others execute", "keys.json", mode(0o601), "has mode 0601", "chmod 600 DIR/keys.json"},
		{"a name for the shell", "it's a key; x", mode(0o644), "has mode 0644", `chmod 600 'DIR/it'\''s a key; x'`},
		{"a folder", "keys.json", func(t *testing.T, path string) {
			t.Helper()
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, "not a regular file", ""},
		{"too large", "keys.json", func(t *testing.T, path string) {
			t.Helper()
			write(t, path, append(good, make([]byte, 1<<20)...))
		}, "more than 1048576 bytes", ""},
		{"no keys", "keys.json", func(t *testing.T, path string) { t.Helper(); write(t, path, []byte("{}")) }, "there are none",
			"put back the file as it was; only if it is lost for good, move it away: mv DIR/keys.json DIR/keys.json.damaged"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, tt.file)
			tt.make(t, path)
			for what, open := range map[string]func() error{
				"OpenFile":   func() error { _, err := tokens.OpenFile(path, tokens.Config{Audience: audience}); return err },
				"ListFile":   func() error { _, err := tokens.ListFile(path); return err },
				"RotateFile": func() error { _, err := tokens.RotateFile(path, tokens.NewKey{}); return err },
			} {
				err := open()
				if err == nil || !strings.Contains(err.Error(), tt.says) {
					t.Fatalf("%s: err = %v, want it to say %q", what, err, tt.says)
				}
				if want := strings.ReplaceAll(tt.hint, "DIR", dir); hint(err) != want {
					t.Errorf("%s: hint = %q, want %q", what, hint(err), want)
				}
				if missing := tt.name == "no file"; errors.Is(err, fs.ErrNotExist) != missing {
					t.Errorf("%s: errors.Is(%v, fs.ErrNotExist) is not %t", what, err, missing)
				}
			}
		})
	}
}

func TestOpenFileChecksItsConfig(t *testing.T) {
	t.Parallel()
	if _, err := tokens.OpenFile(keyFile(t, keySet(jwkHS(signs))), tokens.Config{}); err == nil {
		t.Error("a ring without an audience was opened")
	}
}

// A key signs, then verifies, then is unknown; what was remembered of it goes with it.
func TestReloadFollowsTheLifeOfAKey(t *testing.T) {
	t.Parallel()
	path := keyFile(t, keySet(jwkHS(signs)))
	f := openFile(t, path, nil)
	ring := f.Ring()
	old := mint(t, ring, claims())
	reload := func() {
		t.Helper()
		if err := f.Reload(); err != nil {
			t.Fatal(err)
		}
	}

	rotate(t, path)
	if token := mint(t, ring, claims()); token != old {
		t.Error("the file was read before anybody asked")
	}
	reload()
	if token := mint(t, ring, claims()); token == old {
		t.Error("the former key still signs")
	}
	if _, err := ring.Verify(old, now()); err != nil {
		t.Errorf("the former key does not verify: %v", err)
	}

	if err := tokens.RetireFile(path, "hs"); err != nil {
		t.Fatal(err)
	}
	reload()
	if _, err := ring.Verify(old, now()); tokens.Reason(err) != "kid" {
		t.Errorf("a token of a retired key: %v", err)
	}
	if f.Ring() != ring {
		t.Error("the ring is another one")
	}
}

func TestFailedReloadKeepsTheKeys(t *testing.T) {
	t.Parallel()
	good := keySet(jwkHS(signs))
	for name, spoil := range map[string]func(string) error{
		"garbage":  func(path string) error { return os.WriteFile(path, []byte(`{"keys":[`), 0o600) },
		"emptied":  func(path string) error { return os.Truncate(path, 0) },
		"readable": func(path string) error { return os.Chmod(path, 0o644) },
		"removed":  os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := keyFile(t, good)
			f := openFile(t, path, nil)
			token := mint(t, f.Ring(), claims())
			if err := spoil(path); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := f.Reload(); err == nil {
					t.Fatal("no error")
				}
				if _, err := f.Ring().Verify(token, now()); err != nil {
					t.Errorf("the keys are lost: %v", err)
				}
				if again := mint(t, f.Ring(), claims()); again != token {
					t.Error("the signing key changed")
				}
			}
			write(t, path, good)
			if err := os.Chmod(path, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := f.Reload(); err != nil {
				t.Errorf("mended: %v", err)
			}
		})
	}
}

// heard collects what Reloaded is told.
type heard struct {
	mu  sync.Mutex
	all []error
}

func (h *heard) add(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, err)
}

func (h *heard) take() []error {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.all
	h.all = nil
	return all
}

func TestRunFollowsTheFile(t *testing.T) {
	t.Parallel()
	path := keyFile(t, keySet(jwkHS(signs)))
	synctest.Test(t, func(t *testing.T) {
		var h heard
		f := openFile(t, path, h.add)
		old := mint(t, f.Ring(), claims())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); f.Run(ctx) }()
		pass := func(d time.Duration) []error {
			t.Helper()
			<-time.After(d)
			synctest.Wait()
			return h.take()
		}

		if got := pass(10 * time.Second); len(got) != 0 {
			t.Errorf("nothing changed, and it reported %v", got)
		}
		rotate(t, path)
		if got := pass(1100 * time.Millisecond); len(got) != 1 || got[0] != nil {
			t.Errorf("after a rotation it reported %v, want one success", got)
		}
		if mint(t, f.Ring(), claims()) == old {
			t.Error("the former key still signs a second after the rotation")
		}
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		write(t, path, []byte("{"))
		if got := pass(time.Minute); len(got) != 1 || got[0] == nil {
			t.Errorf("a broken file was reported as %v, want one error", got)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if got := pass(time.Minute); len(got) != 1 || hint(got[0]) == "" {
			t.Errorf("a removed file was reported as %v, want one error with a hint", got)
		}
		write(t, path, good)
		if got := pass(time.Minute); len(got) != 1 || got[0] != nil {
			t.Errorf("the mended file was reported as %v, want one success", got)
		}
		if _, err := f.Ring().Verify(old, now()); err != nil {
			t.Errorf("after all of it: %v", err)
		}
		cancel()
		<-done
	})
}

// The node that hears of a rotation last does not refuse what the first one mints.
func TestVerifyLooksAgainForAnUnknownKey(t *testing.T) {
	t.Parallel()
	path := keyFile(t, keySet(jwkHS(signs)))
	var h heard
	first, last := openFile(t, path, nil), openFile(t, path, h.add)
	rotate(t, path)
	if err := first.Reload(); err != nil {
		t.Fatal(err)
	}
	token := mint(t, first.Ring(), claims())
	if _, err := last.Ring().Verify(token, now()); err != nil {
		t.Errorf("a token of the new key: %v", err)
	}
	if got := h.take(); len(got) != 1 || got[0] != nil {
		t.Errorf("it reported %v, want one success", got)
	}

	forged := sign(header("hs", "nobody"), goodBody)
	for range 100 {
		if _, err := last.Ring().Verify(forged, now()); tokens.Reason(err) != "kid" {
			t.Fatalf("forged: %v", err)
		}
	}
	write(t, path, []byte("{}"))
	for range 100 {
		if _, err := last.Ring().Verify(forged, now()); tokens.Reason(err) != "kid" {
			t.Fatalf("forged: %v", err)
		}
	}
	if got := h.take(); len(got) != 1 || got[0] == nil {
		t.Errorf("a broken file was reported as %v, want one error", got)
	}
	if _, err := last.Ring().Verify(token, now()); err != nil {
		t.Errorf("the keys are lost: %v", err)
	}
	if _, err := first.Ring().Verify(forged, now()); tokens.Reason(err) != "kid" { // where nobody is told
		t.Errorf("forged: %v", err)
	}

	write(t, path, keySet(jwkHS(signs)))
	if err := last.Reload(); err != nil {
		t.Fatal(err)
	}
	write(t, path, []byte("{}"))
	if _, err := last.Ring().Verify(forged, now()); tokens.Reason(err) != "kid" {
		t.Fatalf("forged: %v", err)
	}
	if got := h.take(); len(got) != 1 || got[0] == nil {
		t.Errorf("a file that was mended and is broken again was reported as %v, want one error", got)
	}
}

// Forged tokens cost a stat each, not a reading; Reload and Run read, since stat does not show every change.
func TestOnlyReloadSeesWhatStatDoesNot(t *testing.T) {
	t.Parallel()
	other := strings.Replace(string(keySet(jwkHS(signs))), `"hs"`, `"h2"`, 1)
	path := keyFile(t, keySet(jwkHS(signs)))
	f := openFile(t, path, nil)
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, []byte(other))
	if err := os.Chtimes(path, before.ModTime(), before.ModTime()); err != nil {
		t.Fatal(err)
	}
	token := sign(header("hs", "h2"), goodBody)
	if _, err := f.Ring().Verify(token, now()); tokens.Reason(err) != "kid" {
		t.Errorf("the file was read again though stat shows no change: %v", err)
	}
	if err := f.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Ring().Verify(token, now()); err != nil {
		t.Errorf("after Reload: %v", err)
	}
}

// Whoever mints and verifies while keys change never meets a half-changed ring. Meant for the race detector.
func TestMintAndVerifyWhileKeysRotate(t *testing.T) {
	t.Parallel()
	path := keyFile(t, keySet(jwkHS(signs)))
	f := openFile(t, path, nil)
	first := mint(t, f.Ring(), claims())
	stop := make(chan struct{})
	var users sync.WaitGroup
	for range 4 {
		users.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				token, err := f.Ring().Mint(claims())
				if err != nil {
					t.Errorf("minting: %v", err)
					return
				}
				for _, token := range []string{token, first} {
					if c, err := f.Ring().Verify(token, now()); err != nil || c.ID != id() {
						t.Errorf("verifying: %s, %v", c.ID, err)
						return
					}
				}
			}
		})
	}
	for range 20 {
		rotate(t, path)
		if err := f.Reload(); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	users.Wait()
}
