package prove_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/memstore"
)

// errNobodyKnows is an error of which nothing follows.
var errNobodyKnows = errors.New("the connection to the ledger broke")

// A doubtful ledger fails some of its writes, and does not say whether it has done them.
type doubtful struct {
	store.Store
	from, to int  // which writes fail, counted from 1
	kept     bool // they are done all the same

	mu     sync.Mutex
	writes int
}

func (d *doubtful) fails() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.writes++
	return d.writes >= d.from && d.writes <= d.to
}

func (d *doubtful) write(r *store.Record, do func(*store.Record) (*store.Record, error)) (*store.Record, error) {
	if !d.fails() {
		return do(r)
	}
	if d.kept {
		lost := *r
		_, _ = do(&lost) // nobody hears of it
	}
	return nil, errNobodyKnows
}

func (d *doubtful) Claim(ctx context.Context, r *store.Record) (*store.Record, error) {
	return d.write(r, func(r *store.Record) (*store.Record, error) { return d.Store.Claim(ctx, r) })
}

func (d *doubtful) Advance(ctx context.Context, was store.Term, r *store.Record, also store.Also) (*store.Record, error) {
	return d.write(r, func(r *store.Record) (*store.Record, error) { return d.Store.Advance(ctx, was, r, also) })
}

// Each write of the ledger fails in a pair: failed and lost, failed but kept; once, so that its repeat helps, and as often as it is repeated. The
// client is told the truth of what it can be told, and nothing is executed twice, then or by a later process.
func TestFailuresInPairs(t *testing.T) {
	began := time.Now()
	runs, clean := 0, false
	for n := 1; !clean; n++ {
		for _, times := range []int{1, 3} {
			for _, kept := range []bool{false, true} {
				d := &doubtful{from: n, to: n + times - 1, kept: kept}
				clean = d.run(t, fmt.Sprintf("write %d, %d times, kept: %t", n, times, kept))
				runs++
			}
		}
	}
	if runs < 20 {
		t.Errorf("only %d runs: too thin to say anything", runs)
	}
	publish(t, began, figure{
		Proof:  "failures of the ledger in pairs",
		Sample: fmt.Sprintf("%d runs: each write failed and lost, failed but kept; once, and for good", runs),
		Result: "0 executed twice, 0 acknowledged outcomes lost",
	})
}

// run is one run. Clean: no write failed.
func (d *doubtful) run(t *testing.T, name string) (clean bool) {
	t.Helper()
	st, err := memstore.New(memstore.Config{})
	if err != nil {
		t.Fatal(err)
	}
	d.Store = st
	keys, j, known := newKeyring(), newJudge(), map[string]wish{}
	j.quick = true
	h := &house{store: d, dead: make(chan struct{})}
	if err := keys.settle(t, h, j); err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		w, _ := h.mint(i)
		known[w.want] = *w
		a, _ := h.post(w)
		switch n := j.of(w.want); {
		case n > 1:
			t.Errorf("%s: %s was executed %d times", name, w.want, n)
		case a.code == 201 && a.state == "done":
			w.acked = a.body
			known[w.want] = *w
		case a.state == "unused" && n != 0, a.state == "done" && n != 1:
			t.Errorf("%s: %s is said to be %s, and was executed %d times", name, w.want, a.state, n)
		case a.state != "unused" && a.state != "unknown" && a.state != "running" && a.code != 503:
			t.Errorf("%s: %s is answered %d %q: %.200q", name, w.want, a.code, a.state, a.body)
		}
		if now := h.wrong(map[string]wish{w.want: known[w.want]}, j); len(now) > 0 {
			t.Errorf("%s: %s", name, strings.Join(now, "\n\t"))
		}
	}
	later := &house{store: st, dead: make(chan struct{})}
	if err := keys.settle(t, later, j); err != nil {
		t.Fatal(err)
	}
	if wrong := later.wrong(known, j); len(wrong) > 0 {
		t.Errorf("%s, later: %s", name, strings.Join(wrong, "\n\t"))
	}
	return d.writes < d.from
}
