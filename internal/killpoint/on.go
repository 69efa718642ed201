//go:build killpoints

package killpoint

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postonce/poe/internal/store"
)

// aim is read once: the moment, and how often it passes before it kills. These globals are in no build that anybody runs.
var (
	aim = sync.OnceValues(func() (string, int64) {
		point, count, _ := strings.Cut(os.Getenv("POE_KILL"), ":")
		n, err := strconv.ParseInt(count, 10, 64)
		if err != nil && point != "" {
			panic("POE_KILL is a moment and a number, as in claimed:1")
		}
		return point, n
	})
	hits    atomic.Int64
	current atomic.Pointer[Writes]
)

// Hit is a moment of that name: the process may end here.
func Hit(point string) {
	if at, n := aim(); at != point || hits.Add(1) != n {
		return
	}
	fmt.Fprintf(os.Stderr, "killed at %s\n", point)
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // nothing may happen after it
}

// Queued is the moment at which a write has joined a group.
func Queued(state store.State) { Hit(word(state) + "-queued") }

// Writes are the writes of one group.
type Writes struct{ states []store.State }

// Add notes a write that makes a record what state says; Absent is upkeep.
func (w *Writes) Add(state store.State) { w.states = append(w.states, state) }

// Commit says that these writes go to the log now.
func (w *Writes) Commit() { current.Store(w) }

func word(state store.State) string {
	switch state {
	case store.Absent:
		return "upkeep"
	case store.Unused:
		return "release"
	case store.Queued:
		return "accept"
	case store.Running:
		return "claim"
	case store.Sent:
		return "mark"
	case store.Unknown:
		return "abandon"
	case store.Burned:
		return "burn"
	default:
		return "settle"
	}
}

// Disk returns the disk on which the moments before a sync are met.
func Disk(d vfs.FS) vfs.FS { return disk{d} }

type disk struct{ vfs.FS }

func (d disk) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, category)
	return watched(name, f), err
}

func (d disk) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.ReuseForWrite(from, to, category)
	return watched(to, f), err
}

func (d disk) Unwrap() vfs.FS { return d.FS }

func watched(name string, f vfs.File) vfs.File {
	if f == nil || !strings.HasSuffix(name, ".log") {
		return f
	}
	return log{f}
}

// A log is a file that is written ahead.
type log struct{ vfs.File }

func (l log) Sync() error {
	unsynced()
	return l.File.Sync()
}

func (l log) SyncData() error {
	unsynced()
	return l.File.SyncData()
}

// unsynced is the moment at which the current group is in the file.
func unsynced() {
	if w := current.Swap(nil); w != nil {
		for _, state := range w.states {
			Hit(word(state) + "-unsynced")
		}
	}
}

// Clock returns the clock that the process is to have; nil: its own.
func Clock() func() time.Time {
	ahead, err := time.ParseDuration(os.Getenv("POE_CLOCK_AHEAD"))
	if err != nil {
		return nil
	}
	return func() time.Time { return time.Now().Add(ahead) }
}
