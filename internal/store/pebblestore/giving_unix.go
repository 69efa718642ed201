//go:build unix

package pebblestore

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A givingDisk gives what root makes in the folder of another user to that user. Otherwise the server, which runs as him, could not open its ledger after root has
// looked at it, copied it, or put it back.
//
// Only what was made here is given, by its descriptor, and only where the folder around it is his: what he can put into its place is not.
type givingDisk struct {
	vfs.FS
	uid, gid int
	dir      string // the ledger's folder
	high     string // its high-water file, which may lie in anybody's folder
}

// giving returns the disk on which the owner of a folder owns what is made in the ledger's folder; disk itself where that is who makes it, or is root.
func giving(disk vfs.FS, folder string, c *Config) vfs.FS {
	if disk != vfs.Default || os.Geteuid() != 0 {
		return disk
	}
	info, err := os.Stat(folder)
	if err != nil {
		return disk // there is nobody to give it to
	}
	if uid, gid, ok := ownerOf(info); ok && uid != 0 {
		return &givingDisk{FS: disk, uid: uid, gid: gid, dir: filepath.Clean(c.Dir), high: c.HighWater}
	}
	return disk
}

func ownerOf(info os.FileInfo) (uid, gid int, ok bool) {
	sys, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return int(sys.Uid), int(sys.Gid), true
}

// lies tells the disk where the folder and the file are by their real paths, by which they are used once they are there.
func lies(disk vfs.FS, c *Config) {
	if d, ok := disk.(*givingDisk); ok {
		d.dir, d.high = c.Dir, c.HighWater
	}
}

// his tells whether what is made at path is to be his.
func (d *givingDisk) his(path string) bool {
	if path == d.high || path == d.high+".new" {
		return true
	}
	if !below(d.dir, path) && !below(path, d.dir) {
		return false
	}
	info, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return false
	}
	uid, _, ok := ownerOf(info)
	return ok && uid == d.uid
}

// below tells whether path is dir, or lies in it.
func below(dir, path string) bool {
	rest, ok := strings.CutPrefix(path, dir)
	return ok && (rest == "" || os.IsPathSeparator(rest[0]))
}

// give makes f, which was just made, his. Where the system does not let even root do that it stays what it is.
func (d *givingDisk) give(f *os.File) error { return unlessBarred(f.Chown(d.uid, d.gid)) }

// unlessBarred is err, unless it says that nothing can be given away there, or not to him: a disk may have no owners, and a container that has few users of its own
// sees a folder of any other as nobody's (EINVAL).
func unlessBarred(err error) error {
	if errors.Is(err, os.ErrPermission) || errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EINVAL) {
		return nil
	}
	return err
}

// giveNew gives a file that was made past the disk.
func giveNew(disk vfs.FS, f *os.File) error {
	if d, ok := disk.(*givingDisk); ok && d.his(f.Name()) {
		return d.give(f)
	}
	return nil
}

// Create implements vfs.FS.
func (d *givingDisk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, c)
	if err != nil || !d.his(name) {
		return f, err
	}
	if err := unlessBarred(syscall.Fchown(int(f.Fd()), d.uid, d.gid)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Lock implements vfs.FS. A file that is not there is made first, and by one process alone.
func (d *givingDisk) Lock(name string) (io.Closer, error) {
	if f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err == nil { //nolint:gosec // in the ledger's folder
		if err := errors.Join(giveNew(d, f), f.Close()); err != nil {
			return nil, err
		}
	}
	return d.FS.Lock(name)
}

// MkdirAll implements vfs.FS.
func (d *givingDisk) MkdirAll(dir string, mode os.FileMode) error {
	var made []string
	for at := filepath.Clean(dir); ; at = filepath.Dir(at) {
		if _, err := os.Lstat(at); !gone(err) || at == filepath.Dir(at) {
			break
		}
		made = append(made, at)
	}
	if err := d.FS.MkdirAll(dir, mode); err != nil {
		return err
	}
	for i := len(made) - 1; i >= 0; i-- {
		f, err := os.OpenFile(made[i], os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
		if err != nil {
			return err
		}
		if err := errors.Join(giveNew(d, f), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// Unwrap implements vfs.FS.
func (d *givingDisk) Unwrap() vfs.FS { return d.FS }
