package main

import (
	"bytes"
	"context"
	"log"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/postonce/poe/internal/serve"
)

func TestTuneRuntime(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(1 << 40))
	t.Setenv("GOMAXPROCS", "2")
	t.Setenv("GOMEMLIMIT", "1TiB")
	t.Setenv("GOGC", "100")
	cfg := serve.Config{Front: 7 << 20}
	if tuneRuntime(t.Context(), cfg); runtime.GOMAXPROCS(0) != 2 {
		t.Errorf("the environment says 2, and there are %d", runtime.GOMAXPROCS(0))
	}
	if limit := debug.SetMemoryLimit(-1); limit != 1<<40 {
		t.Errorf("the environment says 1 TiB, and the limit is %d", limit)
	}
	for _, name := range []string{"GOMAXPROCS", "GOMEMLIMIT"} {
		if err := os.Unsetenv(name); err != nil { // t puts it back
			t.Fatal(err)
		}
	}
	if tuneRuntime(t.Context(), cfg); runtime.GOMAXPROCS(0) != 3 {
		t.Errorf("%d processors where there are 2", runtime.GOMAXPROCS(0))
	}
	if limit := debug.SetMemoryLimit(-1); limit != cfg.MemoryLimit() || limit < 7<<20 {
		t.Errorf("the limit is %d", limit)
	}
}

// Under a limit that is full of what is in use the runtime would do nothing but collect, so the limit gives way, and comes back.
func TestMemoryLimitGivesWay(t *testing.T) {
	const least, used = 16 << 20, 64 << 20
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(least))
	go (&tuning{limit: least}).follow(t.Context(), time.Millisecond)
	reaches := func(what string, ok func(limit int64) bool) {
		t.Helper()
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for range 5000 {
			<-tick.C
			runtime.GC()
			if ok(debug.SetMemoryLimit(-1)) {
				return
			}
		}
		t.Fatalf("%s, and the limit is %d", what, debug.SetMemoryLimit(-1))
	}
	held := make([]byte, used)
	reaches("64 MiB are in use", func(limit int64) bool { return limit >= used*5/4 })
	runtime.KeepAlive(held) // and no longer
	reaches("they are free again", func(limit int64) bool { return limit < used })
}

// Where little is in use the heap may grow further before it is collected, but no further than a few megabytes allow.
func TestHeapThatIsSmall(t *testing.T) {
	for live, want := range map[uint64]int{
		0: 100, 1 << 20: 800, 7 << 20: 800, 8 << 20: 400, 12 << 20: 400, 13 << 20: 200, 21 << 20: 200, 22 << 20: 100, 200 << 20: 100, 1 << 40: 100,
	} {
		if got := growthFor(live); got != want {
			t.Errorf("%d MiB live: %d%%, not %d%%", live>>20, got, want)
		}
		if grown := live * uint64(100+growthFor(live)) / 100; growthFor(live) > 100 && grown > leastHeap {
			t.Errorf("%d MiB live may grow to %d", live>>20, grown>>20)
		}
	}
	was := debug.SetGCPercent(100)
	defer debug.SetGCPercent(was)
	set := func() int {
		p := debug.SetGCPercent(100)
		debug.SetGCPercent(p)
		return p
	}
	ctx, stop := context.WithCancel(t.Context())
	followed := make(chan struct{})
	go func() {
		(&tuning{grows: true}).follow(ctx, time.Millisecond)
		close(followed)
	}()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range 5000 {
		<-tick.C
		if runtime.GC(); set() > 100 {
			break
		}
	}
	stop()
	<-followed
	if set() <= 100 {
		t.Errorf("%d%% is set while little is in use", set())
	}
}

// What a library says through package log may quote answers: that it has said something is logged, and nothing of it.
func TestStandardLogIsLeftOut(t *testing.T) {
	var out bytes.Buffer
	flags, writer := log.Flags(), log.Writer()
	defer func() { log.SetFlags(flags); log.SetOutput(writer) }()
	quietStandardLog(zerolog.New(&out))
	log.Printf("Unsolicited response received on idle HTTP channel starting with %q", "Set-Cookie: session=secret")
	if said := out.String(); strings.Contains(said, "secret") || !strings.Contains(said, `"level":"warn"`) || strings.Count(said, "\n") != 1 {
		t.Errorf("%q", said)
	}
}
