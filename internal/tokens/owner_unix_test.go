//go:build unix

package tokens_test

import (
	"os"
	"syscall"
	"testing"
)

// A rotation as root leaves the file to the server's user. Who is not root can only rotate files of their own.
func TestRotationKeepsTheOwner(t *testing.T) {
	t.Parallel()
	path := keyFile(t, keySet(jwkHS(signs)))
	want := os.Getuid()
	if os.Geteuid() == 0 {
		want = 12345
		if err := os.Chown(path, want, want); err != nil {
			t.Fatal(err)
		}
	}
	rotate(t, path)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := int(info.Sys().(*syscall.Stat_t).Uid); got != want {
		t.Errorf("owner %d, want %d", got, want)
	}
}
