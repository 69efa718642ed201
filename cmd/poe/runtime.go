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
// tables, of which there is nothing to collect, included.
func tuneRuntime(ctx context.Context, cfg serve.Config) {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(cfg.MemoryLimit())
		go keepRoom(ctx, cfg.MemoryLimit(), time.Second)
	}
}

// keepRoom raises the memory limit above least, now and then, where more than that is in use, and lowers it again: a limit that is full of what is needed, the
// stacks of very many connections for one, would make the runtime collect without end and find nothing.
func keepRoom(ctx context.Context, least int64, now time.Duration) {
	tick := time.NewTicker(now)
	defer tick.Stop()
	used := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		metrics.Read(used)
		debug.SetMemoryLimit(max(least, roomFor(used[0].Value.Uint64()+used[1].Value.Uint64())))
	}
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
