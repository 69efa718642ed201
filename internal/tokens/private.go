package tokens

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"syscall"
)

// ReadPrivate returns the content of a file that nobody but its owner can read, such as a key file; what says what it is, for the errors.
//
// If others may read or write it, the error is a *HintError with the command that mends it. The mode is not looked at on Windows. A file that
// is not there is fs.ErrNotExist, and one of more than limit bytes is refused. The FileInfo is nil if the file could not be opened, and
// otherwise that of the file which was read, or refused.
func ReadPrivate(what, path string, limit int64) ([]byte, fs.FileInfo, error) {
	// Without waiting: a named pipe would be opened when somebody writes to it, if ever.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) //nolint:gosec // the operator names it
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("no %s: %w", what, err)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("opening the %s: %w", what, err)
	}
	defer file.Close() //nolint:errcheck // only read
	info, err := file.Stat()
	if err != nil {
		return nil, nil, fmt.Errorf("opening the %s: %w", what, err)
	}
	if !info.Mode().IsRegular() {
		return nil, info, fmt.Errorf("%s %s is not a regular file", what, path)
	}
	if others := info.Mode().Perm() & 0o077; others != 0 && runtime.GOOS != "windows" {
		return nil, info, &HintError{
			fmt.Errorf("%s %s has mode %#o: others than its owner may use it", what, path, info.Mode().Perm()),
			"chmod 600 " + Quoted(path),
		}
	}
	content, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, info, fmt.Errorf("reading %s: %w", path, err)
	}
	if int64(len(content)) > limit {
		return nil, info, fmt.Errorf("%s %s has more than %d bytes", what, path, limit)
	}
	return content, info, nil
}
