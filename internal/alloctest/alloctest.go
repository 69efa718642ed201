// Package alloctest holds operations to what they may allocate. Allocations are the cost that can be measured to the unit on any machine, and
// on the way of a request they are most of what we can make less or more.
package alloctest

import (
	"runtime"
	"testing"
)

// Limit is what one operation may allocate, in all goroutines that work for it.
type Limit struct {
	Allocs, Bytes float64
}

// slack is how far an operation may stay below its limit before the limit is too wide to notice a loss.
const slack = 0.7

// Rounds is how often Check measures. What somebody else allocates meanwhile, once a second or when a table is full, is not in all of them: so they are short.
const Rounds = 20

// Check runs f, which does one operation with each call, n times, and fails t where it allocates more on average than limit says, or so much less
// that the limit guards nothing any more. The runs are counted in so many rounds, of which the least counts; those of one more round, which fill pools and
// caches, do not count.
func Check(t *testing.T, n int, limit Limit, f func()) {
	t.Helper()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // as testing.AllocsPerRun does: nobody else allocates meanwhile
	n = max(n/Rounds, 1)
	measure(n, f)
	got := measure(n, f)
	for range Rounds - 1 {
		more := measure(n, f)
		got = Limit{min(got.Allocs, more.Allocs), min(got.Bytes, more.Bytes)}
	}
	t.Logf("%.1f allocations, %.0f bytes", got.Allocs, got.Bytes)
	if got.Allocs > limit.Allocs || got.Bytes > limit.Bytes {
		t.Errorf("%.1f allocations of %.0f bytes, at most %.0f of %.0f", got.Allocs, got.Bytes, limit.Allocs, limit.Bytes)
	}
	if got.Allocs < slack*limit.Allocs || got.Bytes < slack*limit.Bytes {
		t.Errorf("%.1f allocations of %.0f bytes: lower the limit of %.0f of %.0f", got.Allocs, got.Bytes, limit.Allocs, limit.Bytes)
	}
}

// measure runs f n times.
func measure(n int, f func()) Limit {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range n {
		f()
	}
	runtime.ReadMemStats(&after)
	return Limit{Allocs: float64(after.Mallocs-before.Mallocs) / float64(n), Bytes: float64(after.TotalAlloc-before.TotalAlloc) / float64(n)}
}
