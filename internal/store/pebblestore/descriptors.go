package pebblestore

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postonce/poe/internal/loglimit"
)

// A descriptors disk waits where the process, or the machine, has no file descriptor left. They come back when connections end, in a moment mostly, and Pebble does
// not wait: where it cannot make its next log it panics, with a lock unlocked that it unlocks again, so that not even the panic is told.
//
// If none comes back, it is like a log that cannot be written: the process ends, and says why.
type descriptors struct {
	vfs.FS
	c    *Config
	said *loglimit.Line // that it waits
}

// How often, and how long, a descriptor is waited for.
const (
	descriptorPause = 10 * time.Millisecond
	descriptorWait  = 5 * time.Second
)

// none tells whether err says that there is no descriptor left.
func none(err error) bool { return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) }

// waiting does open until there is a descriptor for it, or for as long as it waits.
func waiting[T any](d descriptors, open func() (T, error)) (T, error) {
	got, err := open()
	if !none(err) {
		return got, err
	}
	d.said.Limit(d.c.Log.Error(), d.c.Clock()).Err(err).Msg("no file descriptor is left: the ledger waits for one")
	tick := time.NewTicker(descriptorPause)
	defer tick.Stop()
	for range descriptorWait / descriptorPause {
		<-tick.C
		if got, err = open(); !none(err) {
			return got, err
		}
	}
	return got, err
}

// Create implements vfs.FS.
func (d descriptors) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := waiting(d, func() (vfs.File, error) { return d.FS.Create(name, category) })
	return f, d.unlessLog(err, category)
}

// ReuseForWrite implements vfs.FS.
func (d descriptors) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := waiting(d, func() (vfs.File, error) {
		if _, err := d.Stat(from); gone(err) { // it has its new name: the system's disk renames it before it opens it
			return d.FS.OpenReadWrite(to, category)
		}
		return d.FS.ReuseForWrite(from, to, category)
	})
	return f, d.unlessLog(err, category)
}

// unlessLog returns err, and does not return where it is about a log that Pebble would panic without.
func (d descriptors) unlessLog(err error, category vfs.DiskWriteCategory) error {
	if none(err) && category == walCategory && !d.c.opening.Load() {
		d.c.fatal(fmt.Sprintf("no file descriptor was left for %s, for a log: let the process have more (LimitNOFILE), or fewer connections (max_connections): %v", descriptorWait, err))
	}
	return err
}

// Open implements vfs.FS.
func (d descriptors) Open(name string, o ...vfs.OpenOption) (vfs.File, error) {
	return waiting(d, func() (vfs.File, error) { return d.FS.Open(name, o...) })
}

// OpenReadWrite implements vfs.FS.
func (d descriptors) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return waiting(d, func() (vfs.File, error) { return d.FS.OpenReadWrite(name, c, o...) })
}

// OpenDir implements vfs.FS.
func (d descriptors) OpenDir(name string) (vfs.File, error) {
	return waiting(d, func() (vfs.File, error) { return d.FS.OpenDir(name) })
}

// List implements vfs.FS.
func (d descriptors) List(dir string) ([]string, error) {
	return waiting(d, func() ([]string, error) { return d.FS.List(dir) })
}

// Unwrap implements vfs.FS.
func (d descriptors) Unwrap() vfs.FS { return d.FS }
