package prove_test

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// long tells whether the whole of a proof is asked for (make prove), and not its short form (make test).
func long() bool { return os.Getenv("POE_PROVE") == "long" }

// A form is how much of a proof is run: in the whole of it, in make test, and under the race detector.
type form struct{ whole, short, least int }

func (f form) size() int {
	switch {
	case long():
		return f.whole
	case testing.Short():
		return f.least
	default:
		return f.short
	}
}

// minutes is the size as a time limit.
func (f form) minutes() time.Duration { return time.Duration(f.size()) * time.Minute }

// seeded returns randomness whose seed is printed, and can be given again as POE_SEED. What clients and the kernel do at the same time is
// not repeated by it; where and when something is killed, cut off or damaged is.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed, err := strconv.ParseUint(os.Getenv("POE_SEED"), 10, 64)
	if err != nil {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("POE_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// A figure is one line of docs/reliability.md.
type figure struct {
	Proof   string `json:"proof"`
	Sample  string `json:"sample"`  // what was done, and how often
	Result  string `json:"result"`  // what came of it
	Seconds int    `json:"seconds"` // how long it took
}

// publish leaves the figure of a test that has passed where make prove collects them.
func publish(t *testing.T, began time.Time, f figure) {
	t.Helper()
	f.Seconds = int(time.Since(began).Seconds())
	t.Logf("%s: %s. %s. %d s", f.Proof, f.Sample, f.Result, f.Seconds)
	dir := os.Getenv("POE_FIGURES")
	if dir == "" || t.Failed() {
		return
	}
	b, err := json.Marshal(f)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, strings.ReplaceAll(t.Name(), "/", "-")+".json"), b, 0o600)
	}
	if err != nil {
		t.Error(err)
	}
}
