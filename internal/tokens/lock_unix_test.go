//go:build unix

package tokens_test

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/postonce/poe/internal/tokens"
)

// While somebody has the lock nothing is changed; what a process that died has left keeps nobody out.
func TestLock(t *testing.T) {
	t.Parallel()
	path := keyFile(t, keySet(jwkHS(signs)))
	before := read(t, path)
	held, err := os.OpenFile(path+".lock", os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := held.WriteString(`{"keys":[half a file`); err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(held.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if _, err := tokens.RotateFile(path, tokens.NewKey{}); !errors.Is(err, tokens.ErrBusy) || hint(err) == "" {
		t.Errorf("while somebody has it: %v, hint %q", err, hint(err))
	}
	if got := read(t, path); got != before {
		t.Errorf("the keys are now %s", got)
	}
	if _, err := os.Stat(path + ".lock"); err != nil {
		t.Errorf("somebody else's lock was removed: %v", err)
	}
	if err := held.Close(); err != nil { // as if its process had died
		t.Fatal(err)
	}
	if _, err := tokens.RotateFile(path, tokens.NewKey{}); err != nil {
		t.Errorf("after that: %v", err)
	}
	all, err := tokens.ListFile(path)
	if err != nil || len(all) != 2 {
		t.Errorf("%v, %v", all, err)
	}
	alone(t, path)
}
