package main

import (
	"context"
	"log"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/rs/zerolog"

	"github.com/postonce/poe/internal/serve"
)

// tuneRuntime sets Go's runtime up for a server that runs until ctx ends. What the environment says wins.
//
// There is one processor more than the machine has for it: the runtime takes a while to notice that a processor waits for the disk in a sync, and nothing
// runs on it meanwhile.
//
// Garbage is collected sooner where memory would grow beyond what is budgeted. Without that the heap doubles between collections, the ledger's cache and
// tables, of which there is nothing to collect, included. And it is collected later where there is little: a heap that doubles from a few megabytes is full twenty times a second.
func tuneRuntime(ctx context.Context, cfg serve.Config) {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
	var t tuning
	if os.Getenv("GOMEMLIMIT") == "" {
		t.limit = cfg.MemoryLimit()
		debug.SetMemoryLimit(t.limit)
	}
	t.grows = os.Getenv("GOGC") == ""
	go t.follow(ctx, time.Second)
}

// tuning is what follows how much memory is in use.
type tuning struct {
	limit   int64 // the least memory limit; 0: it is not ours to set
	grows   bool  // how far the heap grows between collections is ours to set
	percent int   // what is set; 0: nothing
}

// follow adjusts the runtime, now and then, until ctx ends.
//
// It raises the memory limit where more than that is in use, and lowers it again: a limit that is full of what is needed, the
// stacks of very many connections for one, would make the runtime collect without end and find nothing.
func (t *tuning) follow(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	used := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		metrics.Read(used)
		live := used[0].Value.Uint64()
		if t.limit > 0 {
			debug.SetMemoryLimit(max(t.limit, roomFor(live+used[1].Value.Uint64())))
		}
		if p := growthFor(live); t.grows && p != t.percent { // which stops the world for a moment
			t.percent = p
			debug.SetGCPercent(p)
		}
	}
}

// leastHeap is up to where a heap may grow in any case, in bytes: a quarter of what is budgeted.
const leastHeap = 64 << 20

// growthFor is by how many percent the heap may grow beyond what is live, in steps that a change of a few megabytes does not take.
func growthFor(live uint64) int {
	for _, more := range []uint64{8, 4, 2} {
		if live > 0 && live <= leastHeap/(1+more) {
			return int(100 * more) //nolint:gosec // one of these
		}
	}
	return 100
}

// roomFor is the least limit under which collections stay seldom: they begin anew when a fourth of what is in use was allocated.
func roomFor(used uint64) int64 { return int64(used + used/4) } //nolint:gosec // what fits into memory

// quietStandardLog takes what libraries write to package log out of standard error: net/http quotes there what an application sends unasked, with its
// cookies. That there was something is logged.
func quietStandardLog(to zerolog.Logger) {
	log.SetFlags(0)
	log.SetOutput(unquoted{to})
}

type unquoted struct{ log zerolog.Logger }

// Write logs that p was said, and not p.
func (u unquoted) Write(p []byte) (int, error) {
	u.log.Warn().Int("bytes", len(p)).Msg("a library had something to say, which is left out: it may quote messages")
	return len(p), nil
}
