//go:build unix

package tokens

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// exclusive opens the file at path, empty, for this process alone: ErrBusy where another one that lives has it. The system takes the lock off a
// process that dies, whatever it dies of.
func exclusive(path string) (_ *os.File, err error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600) //nolint:gosec // the operator names it
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close())
		}
	}()
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrBusy
		}
		return nil, &os.PathError{Op: "flock", Path: path, Err: err}
	}
	// Who had it in between may have renamed it: then this is the key file itself.
	mine, err := file.Stat()
	if err != nil {
		return nil, err
	}
	there, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) || err == nil && !os.SameFile(mine, there) {
		return nil, ErrBusy
	}
	if err != nil {
		return nil, err
	}
	if err := errors.Join(file.Truncate(0), file.Chmod(0o600)); err != nil {
		return nil, err
	}
	return file, nil
}

// leave does the last thing with what exclusive has opened and then gives it up. In this order: as soon as it is given up the next one may
// empty it, wherever it was moved to.
func leave(file *os.File, last func() error) error { return errors.Join(last(), file.Close()) }

// busyHint is what to do about a file that somebody has.
func busyHint(string) string { return "try again when the other command has ended" }
