package pebblestore_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/pebblestore"
)

// A restore that had no room for all of the keys can be done again, and one into a folder with other keys writes over none.
func TestRestoreOfHalfTheKeys(t *testing.T) {
	const keys, size = "keys.json", 4 << 20
	top := t.TempDir()
	c := pebblestore.Config{Dir: filepath.Join(top, "own")}
	s, err := pebblestore.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.Dir, keys), noise(size), 0o600); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(top, "backup")
	if _, err := s.Backup(t.Context(), pebblestore.Backup{Dir: copied, Also: []string{keys}}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Close(), os.RemoveAll(c.Dir)); err != nil {
		t.Fatal(err)
	}
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: size / 2, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	_, err = pebblestore.Put(t.Context(), c, store.Restore{From: copied})
	if e := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &was); e != nil || !errors.Is(err, syscall.EFBIG) {
		t.Fatalf("with half the room: %v, %v", err, e)
	}
	if _, err := pebblestore.Put(t.Context(), c, store.Restore{From: copied}); err != nil {
		t.Fatalf("with all of it: %v", err)
	}
	if info, err := os.Stat(filepath.Join(c.Dir, keys)); err != nil || info.Size() != size || info.Mode().Perm() != 0o600 {
		t.Errorf("the keys are %+v, %v", info, err)
	}
	c.Dir = filepath.Join(top, "other")
	if err := errors.Join(os.Mkdir(c.Dir, 0o700), os.WriteFile(filepath.Join(c.Dir, keys), []byte("others"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := pebblestore.Put(t.Context(), c, store.Restore{From: copied}); err == nil {
		t.Error("it was restored to other keys")
	}
	if b, err := os.ReadFile(filepath.Join(c.Dir, keys)); err != nil || string(b) != "others" {
		t.Errorf("the others are %d bytes, %v", len(b), err)
	}
}
