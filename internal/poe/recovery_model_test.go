package core_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

// Recovery against a model: an application that knows what it has done, requests that arrive late or never, a ledger that fails, a process that is killed at
// any write or answer, and people who tell the truth. Whatever happens, an action is executed at most once at a time, nothing is called undone that was done
// or may yet be, a compensation arrives once, and in the end all has come to rest or waits for a person.
func TestRecoveryModel(t *testing.T) {
	runs := uint64(100)
	if testing.Short() {
		runs = 30
	}
	for seed := range runs {
		newWorld(t, seed).run()
		if t.Failed() {
			return
		}
	}
}

// A fact is what the application knows of an action, by the keys of its attempts.
type fact struct {
	done    map[string]bool // executed, and not taken back
	pending map[string]bool // may still arrive
	refused map[string]bool // answered "not done" for good, or fenced off
}

// loose tells whether anything may still arrive and be executed.
func (f *fact) loose() bool {
	for k := range f.pending {
		if !f.refused[k] {
			return true
		}
	}
	return false
}

// A world is one run of the model. It executes what the gate sends.
type world struct {
	t       *testing.T
	seed    uint64
	rnd     *rand.Rand
	quiet   bool // nothing goes wrong any more
	route   core.Route
	first   *bench
	b       *bench // the process that is alive
	proc    *mortal
	ledger  store.Store
	actions []issue

	mu    sync.Mutex
	log   []string
	facts map[string]*fact
	undos map[string]int // compensations by how often they arrived
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, seed: seed, rnd: rand.New(rand.NewPCG(seed, 1)), quiet: true, facts: map[string]*fact{}, undos: map[string]int{}}
	w.route = core.Route{MarkSent: w.rnd.IntN(2) == 0, RecoverFor: 20 * time.Minute}
	switch w.rnd.IntN(5) {
	case 1:
		w.route.Recovery = core.RecoveryRepeat
	case 2:
		w.route.Recovery, w.route.Probe, w.route.ProbeFences = core.RecoveryProbe, "/probe/{id}", w.rnd.IntN(2) == 0
	case 3:
		w.route.Recovery, w.route.Compensate = core.RecoveryCompensate, "/undo/{id}"
	case 4:
		w.route.Recovery, w.route.Compensate, w.route.Compensated = core.RecoveryCompensate, "/undo/{id}", core.CompensatedUnused
	}
	w.start()
	w.first, w.ledger = w.b, w.proc.Store
	for range 2 {
		w.actions = append(w.actions, w.b.issue("/orders"))
	}
	w.quiet = false
	return w
}

// start begins a process on the ledger, the first time on a new one.
func (w *world) start() {
	quiet := w.quiet
	w.quiet = true
	w.b = newBench(w.t, func(c *core.Config) {
		one(w.route)(c)
		if w.first != nil {
			c.Store, c.Clock, c.Keys = w.ledger, w.first.clock, w.first.keys
		}
		w.proc = &mortal{Store: c.Store, w: w}
		c.Store, c.Workers = w.proc, 1
	})
	w.b.of = w.first
	w.b.mount(w)
	w.b.gate.Defer(w)
	w.quiet = quiet
	w.say("started")
}

func (w *world) say(format string, args ...any) { w.log = append(w.log, fmt.Sprintf(format, args...)) }

// chance is n times in of; when it is quiet, never.
func (w *world) chance(n, of int) bool { return !w.quiet && w.rnd.IntN(of) < n }

func (w *world) fact(id string) *fact {
	if w.facts[id] == nil {
		w.facts[id] = &fact{map[string]bool{}, map[string]bool{}, map[string]bool{}}
	}
	return w.facts[id]
}

// A mortal is the ledger of one process: it fails now and then, and always when the process is dead.
type mortal struct {
	store.Store
	w    *world
	dead bool
}

var errPerhaps = errors.New("nobody knows whether it was written")

// write makes the write, or says that it has failed, and leaves the record as it came.
func (m *mortal) write(r *store.Record, write func(*store.Record) (*store.Record, error)) (*store.Record, error) {
	lost := *r
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	switch {
	case m.dead, m.w.chance(2, 100):
		return nil, store.ErrUnavailable
	case m.w.chance(1, 100):
		return nil, errPerhaps
	case m.w.chance(1, 100):
		_, _ = write(&lost)
		return nil, errPerhaps
	case m.w.chance(3, 100):
		m.dead = true
		return nil, errPerhaps
	case m.w.chance(3, 100):
		_, _ = write(&lost)
		m.dead = true
		return nil, errPerhaps
	}
	return write(r)
}

func (m *mortal) Claim(ctx context.Context, r *store.Record) (*store.Record, error) {
	return m.write(r, func(r *store.Record) (*store.Record, error) { return m.Store.Claim(ctx, r) })
}

func (m *mortal) Advance(ctx context.Context, was store.Term, r *store.Record, also store.Also) (*store.Record, error) {
	return m.write(r, func(r *store.Record) (*store.Record, error) {
		got, err := m.Store.Advance(ctx, was, r, also)
		if got != nil {
			m.w.say("%s becomes %s, due %s: %v", r.ID, got.State, got.Due.Format(time.TimeOnly), err)
		}
		return got, err
	})
}

// Execute is the application, and the way to it.
func (w *world) Execute(_ context.Context, q *replay.Request, rec *replay.Recorder) (replay.Proof, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.proc.dead || w.chance(1, 12) {
		return replay.Unsent, errReset
	}
	id, key := forwarded(q, "POE-Id"), forwarded(q, "Idempotency-Key")
	var status int
	switch of, undoes := strings.CutPrefix(q.Target, "/undo/"); {
	case undoes:
		status = w.undo(id, w.fact(of))
	case q.Method == "GET":
		status = w.probe(w.fact(strings.TrimPrefix(q.Target, "/probe/")))
	default:
		status = w.order(w.fact(id), key)
	}
	w.say("%s %s of %s: %d", q.Method, q.Target, key, status)
	if status == 0 {
		return replay.Broken, errReset
	}
	rec.WriteHeader(status)
	_, _ = io.WriteString(rec, key)
	w.proc.dead = w.chance(1, 12) // with the answer in hand
	return replay.Complete, nil
}

// order executes a request, and knows it again by its key. It returns the status, or 0 for an answer that never comes.
func (w *world) order(f *fact, key string) int {
	switch {
	case f.done[key]:
		return 201
	case f.refused[key]:
		return 422
	case w.chance(2, 11):
		f.refused[key] = true
		delete(f.pending, key)
		return 422
	case w.chance(1, 9):
		return 429
	case w.chance(3, 8):
		f.pending[key] = true
		w.proc.dead = w.chance(1, 3)
		return 0
	}
	f.done[key] = true
	delete(f.pending, key)
	switch {
	case w.chance(2, 5):
		return 0
	case w.chance(1, 3):
		return 502
	}
	return 201
}

// probe tells what became of an action, and fences off what has not arrived.
func (w *world) probe(f *fact) int {
	switch {
	case w.chance(1, 4):
		return 0
	case len(f.done) > 0:
		return 200
	}
	for k := range f.pending {
		f.refused[k] = true
	}
	return 404
}

// undo takes an action back, and refuses what arrives of it later.
func (w *world) undo(id string, f *fact) int {
	switch {
	case w.chance(1, 7):
		return 429
	case w.chance(1, 6):
		return 500
	}
	w.undos[id]++
	if w.chance(1, 5) {
		return 0
	}
	for _, keys := range []map[string]bool{f.done, f.pending} {
		for k := range keys {
			f.refused[k] = true
		}
	}
	clear(f.done)
	if w.chance(1, 4) {
		return 0
	}
	return 204
}

// arrive lets what is on its way come, or get lost.
func (w *world) arrive() {
	for id, f := range w.facts {
		for k := range f.pending {
			if w.rnd.IntN(2) == 0 {
				continue
			}
			delete(f.pending, k)
			if !f.refused[k] && w.rnd.IntN(2) == 0 {
				f.done[k] = true
				w.say("%s arrives late as %s", id, k)
			}
		}
	}
}

// decide is a person who knows what the application knows.
func (w *world) decide(i issue) {
	r, err := w.ledger.Lookup(w.t.Context(), parseKey(w.t, i.ID))
	if err != nil || r.State != store.Unknown {
		return
	}
	id, as, f := i.ID, core.AsBurned, w.fact(i.ID)
	switch {
	case !r.Undo.IsZero() && w.rnd.IntN(2) == 0:
		id = r.Undo.String()
	case len(f.done) == 1:
		as = core.AsDone
	case len(f.pending) == 0 && w.rnd.IntN(3) > 0:
		as = core.AsUnused
	}
	_, err = w.b.gate.Decide(w.t.Context(), decision(id, as))
	w.say("a person says %s is %s: %v", id, as, err)
}

// step does one of all that can happen.
func (w *world) step() {
	if w.proc.dead {
		w.start()
	}
	i := w.actions[w.rnd.IntN(len(w.actions))]
	switch w.rnd.IntN(10) {
	case 0, 1:
		w.b.do("POST", i.URI, "apples")
	case 2:
		w.b.do("POST", i.URI, "apples", later)
	case 3, 4:
		w.b.work()
	case 5:
		w.first.advance(time.Duration(w.rnd.IntN(400)) * time.Second)
		_ = core.Overdue(w.t.Context(), w.b.gate) // of a ledger that may fail
	case 6:
		w.arrive()
	case 7:
		w.start() // and what was there is killed
	case 8:
		if w.rnd.IntN(4) == 0 {
			w.b.do("DELETE", i.URI, "")
		}
	case 9:
		w.decide(i)
	}
}

func (w *world) run() {
	for range 40 {
		w.step()
		if w.check(false); w.t.Failed() {
			return
		}
	}
	w.quiet = true
	w.start()
	w.b.pass(time.Hour, time.Minute)
	w.check(true)
}

// check compares what the ledger says with what the application knows.
func (w *world) check(atRest bool) {
	w.t.Helper()
	for _, i := range w.actions {
		f := w.fact(i.ID)
		r, err := w.ledger.Lookup(w.t.Context(), parseKey(w.t, i.ID))
		done, may := len(f.done), len(f.done) > 0 || f.loose()
		wrong := ""
		switch {
		case done > 1:
			wrong = "executed twice"
		case err != nil && may:
			wrong = "sent, and no record of it"
		case err != nil:
		case atRest && r.State.Open() && !r.Due.Equal(store.Person):
			wrong = "not at rest, and nobody is told"
		case (r.State == store.Unused || r.State == store.Queued) && may:
			wrong = "to be executed again"
		case r.State == store.Burned && may && !slices.ContainsFunc(r.History, func(e store.Event) bool { return e.From == store.Unknown && strings.HasPrefix(e.Who, "operator") }):
			wrong = "void"
		case r.State == store.Done && r.Status < 300 && done != 1:
			wrong = "done, and was not"
		case r.State == store.Done && r.Status == 409 && may:
			wrong = "rolled back, and was not"
		}
		if wrong != "" {
			w.t.Errorf("seed %d, %+v: %s: %v; %s, %d, due %s: %v\n%s", w.seed, w.route, wrong, f, r.State, r.Status, r.Due, r.History, strings.Join(w.log, "\n"))
		}
	}
	for id, n := range w.undos {
		if n > 1 {
			w.t.Errorf("seed %d: the compensation %s was sent %d times\n%s", w.seed, id, n, strings.Join(w.log, "\n"))
		}
	}
}

func parseKey(t *testing.T, text string) store.Key {
	t.Helper()
	id, err := store.ParseID(text)
	if err != nil {
		t.Fatal(err)
	}
	return store.ByID(id)
}
