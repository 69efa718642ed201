//go:build unix

package tokens

import (
	"errors"
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

// giveAway gives a file that root has made to the owner of the folder. Where the system does not let even root do that it stays what it is.
func giveAway(file *os.File, folder string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(folder)
	if err != nil {
		return err
	}
	if err := keepOwner(file, info); err != nil && !errors.Is(err, os.ErrPermission) && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}
