//go:build !killpoints

package killpoint

import (
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postonce/poe/internal/store"
)

// Hit is a moment of that name.
func Hit(string) {}

// Queued is the moment at which a write has joined a group.
func Queued(store.State) {}

// Writes are the writes of one group.
type Writes struct{}

// Add notes a write that makes a record what state says; Absent is upkeep.
func (*Writes) Add(store.State) {}

// Commit says that these writes go to the log now.
func (*Writes) Commit() {}

// Disk returns the disk on which the moments before a sync are met.
func Disk(disk vfs.FS) vfs.FS { return disk }

// Clock returns the clock that the process is to have; nil: its own.
func Clock() func() time.Time { return nil }
