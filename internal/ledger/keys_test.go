package ledger_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/postonce/poe/internal/ledger"
	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/tokens"
)

// serve opens a ledger and its keys as a server does, and closes the ledger.
func serve(t *testing.T, url, keys string, log zerolog.Logger) error {
	t.Helper()
	s, err := ledger.Open(t.Context(), url, ledger.Config{Keys: keys})
	if err != nil {
		return err
	}
	_, err = ledger.OpenKeys(ledger.KeysConfig{URL: url, File: keys, Store: s, Log: log})
	return errors.Join(err, s.Close())
}

// Keys that are kept elsewhere belong to the ledger that they were first used for: an emptied folder is noticed by them alone, and so
// is another ledger.
func TestKeysKnowTheirLedger(t *testing.T) {
	dir := t.TempDir()
	keys := filepath.Join(dir, "keys.json")
	if _, err := tokens.CreateFile(keys, tokens.NewKey{}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := serve(t, "pebble:"+dir+"/a", keys, zerolog.Nop()); err != nil {
			t.Fatal(err)
		}
	}
	if err := serve(t, "pebble:"+dir+"/b", "", zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
	if err := serve(t, "pebble:"+dir+"/b", keys, zerolog.Nop()); !errors.Is(err, store.ErrAnother) {
		t.Errorf("with another ledger: %v", err)
	}
	if err := serve(t, "pebble:"+dir+"/c", keys, zerolog.Nop()); !errors.Is(err, store.ErrRolledBack) {
		t.Errorf("with an empty folder: %v", err)
	}
	if _, err := os.Stat(dir + "/c"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something was made there: %v", err)
	}
	if err := serve(t, "memory:", keys, zerolog.Nop()); !errors.Is(err, tokens.ErrOtherLedger) {
		t.Errorf("with a ledger that forgets: %v", err)
	}
	if _, err := tokens.ReleaseFile(keys); err != nil {
		t.Fatal(err)
	}
	for range 2 { // which takes them for no longer than it lives
		if err := serve(t, "memory:", keys, zerolog.Nop()); err != nil {
			t.Errorf("released, with a ledger that forgets: %v", err)
		}
	}
}

// The ledger's own key file knows it too: where only the ledger is thrown out of the folder, its keys are left.
func TestKeysInsideKnowTheirLedger(t *testing.T) {
	dir := t.TempDir()
	url := "pebble:" + dir + "/a"
	if err := serve(t, url, "", zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.RemoveAll(dir+"/a/ledger"), os.Remove(dir+"/a.high-water")); err != nil {
		t.Fatal(err)
	}
	if err := serve(t, url, "", zerolog.Nop()); !errors.Is(err, store.ErrRolledBack) {
		t.Errorf("got %v", err)
	}
}

// That a new ledger's keys learn whose they are is not told as a change of the file.
func TestBindingIsNoChange(t *testing.T) {
	var log bytes.Buffer
	url := "pebble:" + filepath.Join(t.TempDir(), "new")
	s, err := ledger.Open(t.Context(), url, ledger.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	synctest.Test(t, func(t *testing.T) {
		keys, err := ledger.OpenKeys(ledger.KeysConfig{URL: url, Store: s, Log: zerolog.New(&log)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		keys.Run(ctx)
	})
	if log.Len() > 0 {
		t.Errorf("said: %s", log.String())
	}
}

// A key file that cannot be written to is used, and that is said.
func TestKeysThatCannotBeBound(t *testing.T) {
	dir := t.TempDir()
	keys := filepath.Join(dir, "keys.json")
	if _, err := tokens.CreateFile(keys, tokens.NewKey{}); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(keys+".lock", 0o700); err != nil { // where the new file would be written; root is refused no file by its mode
		t.Fatal(err)
	}
	var log bytes.Buffer
	if err := serve(t, "pebble:"+dir+"/a", keys, zerolog.New(&log)); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "does not name its ledger") {
		t.Errorf("the log says %q", log.String())
	}
}

// Keys that only verify are used, and that nothing can be minted with them is said.
func TestKeysThatSignNothing(t *testing.T) {
	dir := t.TempDir()
	keys := filepath.Join(dir, "keys.json")
	if _, err := tokens.CreateFile(keys, tokens.NewKey{}); err != nil {
		t.Fatal(err)
	}
	for _, signs := range []bool{true, false} {
		var log bytes.Buffer
		if err := serve(t, "pebble:"+dir+"/a", keys, zerolog.New(&log)); err != nil {
			t.Fatal(err)
		}
		if signs == strings.Contains(log.String(), "no key of the file signs") {
			t.Errorf("keys that sign: %v; the log says %q", signs, log.String())
		}
		text, err := os.ReadFile(keys)
		if err == nil {
			err = os.WriteFile(keys, bytes.Replace(text, []byte(`"sign",`), nil, 1), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// So it is where they change so while they are used, whether somebody asks for that or not.
func TestKeysThatSignNothingAnyMore(t *testing.T) {
	for name, takeUp := range map[string]func(*testing.T, *ledger.Keys){
		"asked for": func(t *testing.T, k *ledger.Keys) {
			if err := k.Reload(); err != nil {
				t.Error(err)
			}
		},
		"found": func(t *testing.T, k *ledger.Keys) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				k.Run(ctx)
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			dir := t.TempDir()
			s, err := ledger.Open(t.Context(), "pebble:"+dir, ledger.Config{})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			k, err := ledger.OpenKeys(ledger.KeysConfig{URL: "pebble:" + dir, Store: s, Log: zerolog.New(&log)})
			if err != nil {
				t.Fatal(err)
			}
			keys := filepath.Join(dir, "keys.json")
			text, err := os.ReadFile(keys)
			if err == nil {
				err = os.WriteFile(keys, bytes.Replace(text, []byte(`"sign",`), nil, 1), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			takeUp(t, k)
			if n := strings.Count(log.String(), "no key of the file signs"); n != 1 {
				t.Errorf("said %d times: %s", n, log.String())
			}
		})
	}
}

// A ledger from before whose keys are gone, or are elsewhere and were not named, gets a new file, and that is said: its POE URIs are worth nothing by it. Of a
// new one, and of one that has its keys, nothing is said.
func TestKeysThatWereMadeAgain(t *testing.T) {
	dir := t.TempDir()
	url := "pebble:" + dir + "/a"
	at := time.Now()
	start := func() string {
		t.Helper()
		var log bytes.Buffer
		clock := func() time.Time { return at }
		s, err := ledger.Open(t.Context(), url, ledger.Config{Clock: clock})
		if err != nil {
			t.Fatal(err)
		}
		_, err = ledger.OpenKeys(ledger.KeysConfig{URL: url, Store: s, Log: zerolog.New(&log), Clock: clock})
		if err := errors.Join(err, s.Close()); err != nil {
			t.Fatal(err)
		}
		return log.String()
	}
	for range 2 {
		if said := start(); said != "" {
			t.Errorf("it has its keys, and the log says %q", said)
		}
		at = at.Add(time.Hour)
	}
	if err := os.Remove(dir + "/a/keys.json"); err != nil {
		t.Fatal(err)
	}
	if said := start(); !strings.Contains(said, `"warn"`) || !strings.Contains(said, "had no key file") || !strings.Contains(said, dir+"/a/keys.json") {
		t.Errorf("the log says %q", said)
	}
}
