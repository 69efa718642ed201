//go:build unix

package tokens_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postonce/poe/internal/tokens"
)

// A named pipe in the place of the key file is refused at once. Whoever opened it would wait until somebody writes to it, and no signal would end
// that.
func TestPipeIsNoKeyFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys.json")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	refused := make(chan error, 1)
	go func() {
		_, err := tokens.ListFile(path)
		refused <- err
	}()
	select {
	case err := <-refused:
		if err == nil || !strings.Contains(err.Error(), "is not a regular file") {
			t.Errorf("err = %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("it waits for somebody who writes")
		if w, err := os.OpenFile(path, os.O_WRONLY, 0); err == nil { // lets go of it
			_ = w.Close()
		}
	}
}
