package main

import (
	"os"
	"runtime"
	"runtime/debug"

	"github.com/postonce/poe/internal/serve"
)

// tuneRuntime sets Go's runtime up for a server. What the environment says wins.
//
// There is one processor more than the machine has for it: the runtime takes a while to notice that a processor waits for the disk in a sync, and nothing
// runs on it meanwhile.
//
// Garbage is collected sooner where memory would grow beyond what is budgeted. Without that the heap doubles between collections, the ledger's cache and
// tables, of which there is nothing to collect, included.
func tuneRuntime(cfg serve.Config) {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(cfg.MemoryLimit())
	}
}
