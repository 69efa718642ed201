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

// A lock that leads to the key file itself, as it does to who opened it just before it was renamed, is not emptied.
func TestLockThatIsTheKeyFile(t *testing.T) {
	t.Parallel()
	path := keyFile(t, keySet(jwkHS(signs)))
	before := read(t, path)
	if err := os.Symlink(path, path+".lock"); err != nil {
		t.Fatal(err)
	}
	if _, err := tokens.RotateFile(path, tokens.NewKey{}); !errors.Is(err, tokens.ErrBusy) {
		t.Errorf("got %v, want ErrBusy", err)
	}
	if got := read(t, path); got != before {
		t.Errorf("the keys are now %q", got)
	}
}

// Keys that do not fit on the disk leave the old ones as they are. No test runs beside it: the limit is of the whole process.
func TestNoRoomForKeys(t *testing.T) {
	path := keyFile(t, keySet(jwkHS(signs)))
	before := read(t, path)
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 64, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	_, err := tokens.RotateFile(path, tokens.NewKey{})
	if e := unix.Setrlimit(unix.RLIMIT_FSIZE, &was); e != nil || !errors.Is(err, unix.EFBIG) {
		t.Errorf("without room: %v, %v", err, e)
	}
	if got := read(t, path); got != before {
		t.Errorf("the keys are now %q", got)
	}
	alone(t, path)
}
