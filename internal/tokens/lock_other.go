//go:build !unix

package tokens

import (
	"errors"
	"io/fs"
	"os"
)

// exclusive opens the file at path, empty, for this process alone: ErrBusy where there is one already, which may be what a process has left
// that died.
func exclusive(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the operator names it
	if errors.Is(err, fs.ErrExist) {
		return nil, ErrBusy
	}
	return file, err
}

// leave gives up what exclusive has opened after the last thing was done with it: that it is there is the lock, and not that it is open.
func leave(file *os.File, last func() error) error {
	if err := file.Close(); err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return last()
}

// busyHint is what to do about a file that somebody has.
func busyHint(lock string) string { return "rm " + Quoted(lock) + " # unless a poe command is running" }
