package storetest

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/postonce/poe/internal/store"
)

// drawing is the drawing of package store, drawn again, for what is neither marked nor accepted.
var drawing = map[store.State][]store.State{
	store.Unused:  {store.Unused, store.Burned},
	store.Queued:  {store.Queued, store.Sent, store.Burned},
	store.Running: {store.Running, store.Done, store.Unknown, store.Unused},
	store.Sent:    {store.Sent, store.Done, store.Unknown, store.Queued},
	store.Done:    {store.Done},
	store.Unknown: {store.Unknown, store.Done, store.Unused, store.Burned},
	store.Burned:  {store.Burned},
}

// A move is one from a state to another.
type move struct{ from, to store.State }

// ways says what a Way adds to the drawing (true) and takes from it (false).
var ways = map[store.Way]map[move]bool{
	store.Direct:   {},
	store.Marked:   {{store.Running, store.Sent}: true, {store.Sent, store.Unused}: true, {store.Sent, store.Queued}: false},
	store.Accepted: {{store.Unknown, store.Queued}: true},
}

// legal tells whether a record that was claimed that way may move so.
func legal(w store.Way, m move) bool {
	if allowed, differs := ways[w][m]; differs {
		return allowed
	}
	return slices.Contains(drawing[m.from], m.to)
}

func advanceCases() []testCase {
	all := []testCase{
		{"stale", advanceStale},
		{"stale: a lost owner's late answer", advanceLate},
		{"a late answer after somebody's word", advanceAfterAll},
		{"repeat of an advance", advanceRepeat},
		{"repeat of an advance that another followed", advanceRepeatSuperseded},
		{"absent", advanceAbsent},
		{"renewed", advanceRenew},
		{"to its own term", advanceOwnTerm},
		{"from no term", advanceNoTerm},
		{"into another action", advanceOther},
		{"fewer attempts", advanceAttempts},
		{"fewer repeats", advanceResent},
		{"taken back by another child", advanceUndo},
		{"nobody due", advanceNobodyDue},
		{"long history", advanceHistory},
		{"context over", advanceContext},
		{"expired", advanceExpired},
		{"on a past shelf", advancePastShelf},
	}
	states := []store.State{store.Unused, store.Queued, store.Running, store.Sent, store.Done, store.Unknown, store.Burned}
	for _, from := range states {
		for _, to := range states {
			all = append(all, advanceCase(store.Direct, move{from, to}))
		}
	}
	for _, m := range []move{
		{store.Running, store.Sent}, {store.Sent, store.Unused}, {store.Sent, store.Queued}, {store.Unknown, store.Burned}, {store.Unknown, store.Unused},
	} {
		all = append(all, advanceCase(store.Marked, m), advanceCase(store.Accepted, m))
	}
	return all
}

func advanceCase(w store.Way, m move) testCase {
	name := map[store.Way]string{store.Direct: "", store.Marked: "marked: ", store.Accepted: "accepted: "}[w] + m.from.String() + " to " + m.to.String()
	if !legal(w, m) {
		name += " is refused"
	}
	return testCase{name, func(t *testing.T, k *kit) { advanceFromTo(t, k, w, m) }}
}

func advanceFromTo(t *testing.T, k *kit, w store.Way, m move) {
	to := m.to
	r := k.standBy(w, m.from, names(1)...)
	next := k.next(r, to)
	got, err := k.Advance(t.Context(), r.Term, next, store.Also{})
	if !legal(w, m) {
		refused(t, err, store.ErrInvalid)
		k.wants(r)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	same(t, "the result", got, next)
	k.wants(next)
	k.holds(r.Names[0], r.ID)
	if to.Open() {
		k.onAgenda(r.ID)
	} else {
		k.onAgenda()
	}
}

func advanceStale(t *testing.T, k *kit) {
	r := k.mustClaim(k.claim(store.Running))
	got, err := k.Advance(t.Context(), term(), k.next(r, store.Done), store.Also{})
	refused(t, err, store.ErrStale)
	same(t, "what stands", got, r)
	k.wants(r)
}

func advanceLate(t *testing.T, k *kit) {
	owner := k.mustClaim(k.claim(store.Running))
	k.forward(time.Minute)
	lost := k.mustMove(owner, store.Unknown)
	got, err := k.Advance(t.Context(), owner.Term, k.next(owner, store.Done), store.Also{})
	refused(t, err, store.ErrStale)
	same(t, "what stands", got, lost)
	k.wants(lost)

	late := k.next(lost, store.Done)
	late.Note(store.Event{At: k.clock(), From: store.Unknown, To: store.Done, Who: "engine", Why: "late answer", Status: 201})
	k.wants(k.mustAdvance(lost.Term, late, store.Also{}))
}

// What somebody said to be not done may turn out to be done; what was never in doubt may not.
func advanceAfterAll(t *testing.T, k *kit) {
	for way, s := range map[store.Way]store.State{store.Direct: store.Unused, store.Accepted: store.Queued} {
		r := k.standBy(way, store.Unknown)
		word := k.next(r, s)
		word.Note(store.Event{At: k.clock(), From: store.Unknown, To: s, Who: "operator:ada", Why: "looked"})
		word = k.mustAdvance(r.Term, word, store.Also{})
		for _, to := range []store.State{store.Running, store.Unknown} { // it runs again by a claim, or by its mark
			_, err := k.Advance(t.Context(), word.Term, k.next(word, to), store.Also{})
			refused(t, err, store.ErrInvalid)
		}
		k.wants(k.mustMove(word, store.Done))

		sure := k.standBy(way, s)
		next := k.next(sure, store.Done)
		next.Note(store.Event{At: k.clock(), From: store.Unknown, To: s, Who: "operator:ada", Why: "too late"})
		_, err := k.Advance(t.Context(), sure.Term, next, store.Also{})
		refused(t, err, store.ErrInvalid)
		k.wants(sure)
	}
	r := k.stand(store.Unknown)
	voided := k.next(r, store.Burned)
	voided.Note(store.Event{At: k.clock(), From: store.Unknown, To: store.Burned, Who: "operator:ada", Why: "looked"})
	voided = k.mustAdvance(r.Term, voided, store.Also{})
	_, err := k.Advance(t.Context(), voided.Term, k.next(voided, store.Done), store.Also{})
	refused(t, err, store.ErrInvalid)
	k.wants(voided)
}

func advanceRepeat(t *testing.T, k *kit) {
	r := k.mustClaim(k.claim(store.Running))
	next := k.next(r, store.Done)
	k.mustAdvance(r.Term, next, store.Also{})
	again := next
	again.Status = 500 // what the repeat says beside its term does not count
	same(t, "the repeat's result", k.mustAdvance(r.Term, again, store.Also{}), next)
	k.wants(next)
}

func advanceRepeatSuperseded(t *testing.T, k *kit) {
	r := k.mustClaim(k.claim(store.Running))
	first := k.next(r, store.Running)
	k.mustAdvance(r.Term, first, store.Also{})
	second := k.mustMove(first, store.Done)
	got, err := k.Advance(t.Context(), r.Term, first, store.Also{})
	refused(t, err, store.ErrStale)
	same(t, "what stands", got, second)
}

func advanceAbsent(t *testing.T, k *kit) {
	r := k.claim(store.Running, names(1)...)
	got, err := k.Advance(t.Context(), term(), r, store.Also{})
	refused(t, err, store.ErrStale)
	same(t, "what stands", got, store.Record{})
	k.absent(store.ByID(r.ID))
	k.absent(store.ByName(r.Names[0]))
	k.onAgenda()
}

func advanceRenew(_ *testing.T, k *kit) {
	r := k.mustClaim(k.claim(store.Running))
	for range 5 {
		k.forward(time.Second)
		r = k.mustMove(r, store.Running)
		k.onAgenda(r.ID)
	}
	same5 := k.next(r, store.Running) // the same Due again
	same5.Due = r.Due
	k.mustAdvance(r.Term, same5, store.Also{})
	k.onAgenda(r.ID)
	k.mustMove(same5, store.Done)
	k.onAgenda()
}

func advanceOwnTerm(t *testing.T, k *kit) {
	r := k.mustClaim(k.claim(store.Running))
	next := k.next(r, store.Done)
	next.Term = r.Term
	_, err := k.Advance(t.Context(), r.Term, next, store.Also{})
	refused(t, err, store.ErrInvalid)
	k.wants(r)
}

func advanceNoTerm(t *testing.T, k *kit) {
	r := k.mustClaim(k.claim(store.Running))
	_, err := k.Advance(t.Context(), store.Term{}, k.next(r, store.Done), store.Also{})
	refused(t, err, store.ErrInvalid)
	next := k.next(r, store.Done)
	next.Term = store.Term{}
	_, err = k.Advance(t.Context(), r.Term, next, store.Also{})
	refused(t, err, store.ErrInvalid)
	k.wants(r)
}

func advanceOther(t *testing.T, k *kit) {
	r := k.mustClaim(k.claim(store.Running))
	for name, spoil := range map[string]func(*store.Record){
		"kind":      func(r *store.Record) { r.Kind = store.Callback },
		"way":       func(r *store.Record) { r.Way = store.Marked },
		"parent":    func(r *store.Record) { r.Parent = k.id(1) },
		"door":      func(r *store.Record) { r.Door = "key" },
		"route":     func(r *store.Record) { r.Route = "other" },
		"method":    func(r *store.Record) { r.Method = "PUT" },
		"target":    func(r *store.Record) { r.Target = "/other" },
		"principal": func(r *store.Record) { r.Principal[0]++ },
	} {
		t.Run(name, func(t *testing.T) {
			next := k.next(r, store.Done)
			spoil(&next)
			_, err := k.Advance(t.Context(), r.Term, next, store.Also{})
			refused(t, err, store.ErrInvalid)
			k.wants(r)
		})
	}
}

func advanceAttempts(t *testing.T, k *kit) {
	r := k.claim(store.Running)
	r.Attempt = 2
	k.mustClaim(r)
	less := k.next(r, store.Unused)
	less.Attempt = 1
	_, err := k.Advance(t.Context(), r.Term, less, store.Also{})
	refused(t, err, store.ErrInvalid)
	less.Attempt = 3
	k.wants(k.mustAdvance(r.Term, less, store.Also{}))
}

func advanceResent(t *testing.T, k *kit) {
	r := k.stand(store.Unknown)
	next := k.next(r, store.Unknown)
	next.Resent = 2
	r = k.mustAdvance(r.Term, next, store.Also{})
	k.wants(next)
	less := k.next(r, store.Done)
	less.Resent = 1
	_, err := k.Advance(t.Context(), r.Term, less, store.Also{})
	refused(t, err, store.ErrInvalid)
	k.wants(r)
	k.mustMove(r, store.Unused)
	again := k.claim(store.Running)
	again.ID = r.ID // another attempt, of which nothing was sent again
	k.wants(k.mustClaim(again))
}

func advanceUndo(t *testing.T, k *kit) {
	r := k.stand(store.Running)
	c := k.child(r)
	c.Kind = store.Compensation
	next := k.next(r, store.Unknown)
	next.Undo = c.ID
	r = k.mustAdvance(r.Term, next, store.Also{Spawn: []store.Record{c}})
	k.wants(next)
	k.wants(c)
	for _, undo := range []store.ID{{}, k.id(1)} {
		other := k.next(r, store.Done)
		other.Undo = undo
		_, err := k.Advance(t.Context(), r.Term, other, store.Also{})
		refused(t, err, store.ErrInvalid)
	}
	k.wants(r)
	k.mustMove(r, store.Unused)
	again := k.claim(store.Running)
	again.ID = r.ID
	k.wants(k.mustClaim(again))
	advanceUndoAccepted(t, k)
}

// What goes back to its queue is another attempt, and nothing takes that back yet.
func advanceUndoAccepted(t *testing.T, k *kit) {
	r := k.standBy(store.Accepted, store.Sent)
	c := k.child(r)
	c.Kind = store.Compensation
	next := k.next(r, store.Unknown)
	next.Undo = c.ID
	r = k.mustAdvance(r.Term, next, store.Also{Spawn: []store.Record{c}})
	for to, undo := range map[store.State]store.ID{store.Queued: k.id(1), store.Unknown: {}} {
		other := k.next(r, to)
		other.Undo = undo
		_, err := k.Advance(t.Context(), r.Term, other, store.Also{})
		refused(t, err, store.ErrInvalid)
	}
	k.wants(r)
	again := k.next(r, store.Queued)
	again.Undo = store.ID{}
	k.wants(k.mustAdvance(r.Term, again, store.Also{}))
}

func advanceNobodyDue(t *testing.T, k *kit) {
	r := k.mustClaim(k.claim(store.Running))
	next := k.next(r, store.Unknown)
	next.Due = time.Time{}
	_, err := k.Advance(t.Context(), r.Term, next, store.Also{})
	refused(t, err, store.ErrInvalid)
	next.Due = store.Person
	k.wants(k.mustAdvance(r.Term, next, store.Also{}))
	k.onAgenda(r.ID)
}

func advanceHistory(t *testing.T, k *kit) {
	r := k.mustClaim(k.claim(store.Running))
	next := k.next(r, store.Running)
	next.History = make([]store.Event, store.MaxHistory+1)
	_, err := k.Advance(t.Context(), r.Term, next, store.Also{})
	refused(t, err, store.ErrInvalid)
	next.History = next.History[1:]
	for i := range next.History {
		next.History[i] = store.Event{At: k.clock(), Who: "recovery", Status: i}
	}
	k.wants(k.mustAdvance(r.Term, next, store.Also{}))
}

func advanceContext(t *testing.T, k *kit) {
	r := k.mustClaim(k.claim(store.Running))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := k.Advance(ctx, r.Term, k.next(r, store.Done), store.Also{})
	refused(t, err, store.ErrUnavailable)
	k.wants(r)
}

// An execution that outlives its URI is recorded all the same.
func advanceExpired(_ *testing.T, k *kit) {
	r := k.mustClaim(k.claim(store.Running))
	k.forward(3 * time.Hour)
	k.wants(k.mustMove(r, store.Done))
}

func advancePastShelf(_ *testing.T, k *kit) {
	r := k.claim(store.Running)
	r.ID = k.id(1)
	k.mustClaim(r)
	k.forward(72 * time.Hour)
	k.wants(k.mustMove(r, store.Done))
}
