//go:build unix

package tokens

import (
	"io/fs"
	"os"
	"syscall"
)

// keepOwner gives file to the owner of the one it will replace: who rotates as root must not lock the server out.
func keepOwner(file *os.File, former fs.FileInfo) error {
	owner, ok := former.Sys().(*syscall.Stat_t)
	if !ok || int(owner.Uid) == os.Geteuid() {
		return nil
	}
	return file.Chown(int(owner.Uid), int(owner.Gid))
}
