package pebblestore

import (
	"os"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// An ownDisk calls giveUp, and tries once more, where there is no room for what goes into the ledger's own folder. The reserve is kept for that: a backup that
// fills another disk must not cost it, nor one that fills this one, and a high-water file elsewhere gains nothing by it.
type ownDisk struct {
	vfs.FS        // the one that calls giveUp
	others vfs.FS // the one that does not
	dir    string
}

func newOwnDisk(disk vfs.FS, dir string, giveUp func()) vfs.FS {
	return ownDisk{vfs.OnDiskFull(disk, giveUp), disk, dir}
}

// at is the disk for what lies at a path.
func (d ownDisk) at(path string) vfs.FS {
	if rest, ok := strings.CutPrefix(path, d.dir); ok && (rest == "" || os.IsPathSeparator(rest[0])) {
		return d.FS
	}
	return d.others
}

// Create implements vfs.FS.
func (d ownDisk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.at(name).Create(name, c)
}

// Link implements vfs.FS.
func (d ownDisk) Link(from, to string) error { return d.at(to).Link(from, to) }

// Open implements vfs.FS.
func (d ownDisk) Open(name string, o ...vfs.OpenOption) (vfs.File, error) {
	return d.at(name).Open(name, o...)
}

// OpenReadWrite implements vfs.FS.
func (d ownDisk) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return d.at(name).OpenReadWrite(name, c, o...)
}

// OpenDir implements vfs.FS.
func (d ownDisk) OpenDir(name string) (vfs.File, error) { return d.at(name).OpenDir(name) }

// MkdirAll implements vfs.FS.
func (d ownDisk) MkdirAll(dir string, mode os.FileMode) error { return d.at(dir).MkdirAll(dir, mode) }

// Rename implements vfs.FS.
func (d ownDisk) Rename(from, to string) error { return d.at(to).Rename(from, to) }

// Unwrap implements vfs.FS.
func (d ownDisk) Unwrap() vfs.FS { return d.others }
