package tokens_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postonce/poe/internal/tokens"
)

// A key file that was used for one ledger is refused for every other one, until it is released.
func TestBindFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	if _, err := tokens.CreateFile(path, tokens.NewKey{}); err != nil {
		t.Fatal(err)
	}
	names := func(want string) {
		t.Helper()
		if got, err := tokens.LedgerOf(path); got != want || err != nil {
			t.Errorf("it names %q, %v, want %q", got, err, want)
		}
	}
	names("")
	f, err := tokens.OpenFile(path, tokens.Config{Audience: "a"})
	if err != nil || f.Ledger() != "" {
		t.Fatalf("%v, it names %q", err, f.Ledger())
	}
	for range 2 {
		if err := tokens.BindFile(path, "a"); err != nil {
			t.Fatal(err)
		}
		names("a")
	}
	if err := f.Reload(); err != nil || f.Ledger() != "a" {
		t.Errorf("a file that is open does not take it up: %v, %q", err, f.Ledger())
	}
	if err := tokens.BindFile(path, "b"); !errors.Is(err, tokens.ErrOtherLedger) {
		t.Errorf("binding it again: %v", err)
	}
	names("a")
	_, err = tokens.OpenFile(path, tokens.Config{Audience: "b"})
	var hint *tokens.HintError
	if !errors.Is(err, tokens.ErrOtherLedger) || !errors.As(err, &hint) || !strings.HasPrefix(hint.Hint(), "poe keys release "+path) || !strings.Contains(err.Error(), path) {
		t.Errorf("for another ledger: %v", err)
	}

	// Nothing else that is done to the file changes it.
	if _, err := tokens.RotateFile(path, tokens.NewKey{}); err != nil {
		t.Fatal(err)
	}
	names("a")
	keys, err := tokens.ListFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := tokens.RetireFile(path, keys[1].ID); err != nil {
		t.Fatal(err)
	}
	names("a")
	for _, want := range []string{"a", ""} {
		if got, err := tokens.ReleaseFile(path); got != want || err != nil {
			t.Errorf("released from %q, %v, want %q", got, err, want)
		}
		names("")
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := tokens.ReleaseFile(path); got != "" || err == nil {
		t.Errorf("released a damaged file from %q, %v", got, err)
	}
	if got, err := tokens.LedgerOf(path); got != "" || err == nil {
		t.Errorf("a damaged file names %q, %v", got, err)
	}
}

// A file that is open is not taken away from its ledger by a change that names another.
func TestReloadKeepsItsLedger(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	if _, err := tokens.CreateFile(path, tokens.NewKey{}); err != nil {
		t.Fatal(err)
	}
	f, err := tokens.OpenFile(path, tokens.Config{Audience: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if err := tokens.BindFile(path, "b"); err != nil {
		t.Fatal(err)
	}
	if err := f.Reload(); !errors.Is(err, tokens.ErrOtherLedger) {
		t.Errorf("got %v", err)
	}
}

// What may only be read may be replaced all the same where its folder can be written to, and stays what may only be read.
func TestBindKeepsTheMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	if _, err := tokens.CreateFile(path, tokens.NewKey{}); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	if err := tokens.BindFile(path, "a"); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o400 {
		t.Errorf("its mode is %v, %v", info.Mode(), err)
	}
}
