package pebblestore

import (
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// An ordered disk has every entry of a folder durable before a marker appears in it.
//
// Pebble makes a new MANIFEST, then a marker that names it, and then syncs the folder once. A disk that keeps
// the marker of a power cut and not the MANIFEST, which POSIX allows, leaves a database that does not open.
// Journalling file systems keep that order; this makes it nobody's duty.
type ordered struct{ vfs.FS }

// Create implements vfs.FS.
func (o ordered) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasPrefix(o.PathBase(name), "marker.") {
		if err := syncDir(o.FS, o.PathDir(name)); err != nil {
			return nil, err
		}
	}
	return o.FS.Create(name, category)
}

// Unwrap implements vfs.FS.
func (o ordered) Unwrap() vfs.FS { return o.FS }
