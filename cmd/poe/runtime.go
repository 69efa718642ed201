package main

import (
	"os"
	"runtime"
)

// tuneRuntime gives a server one processor more than the machine has for it. The runtime takes a while to notice that a processor waits for the
// disk in a sync, and nothing runs on it meanwhile. What the environment says wins.
func tuneRuntime() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
}
