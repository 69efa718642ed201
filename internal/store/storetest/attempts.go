package storetest

import (
	"testing"

	"github.com/postonce/poe/internal/store"
)

func attemptCases() []testCase {
	return []testCase{
		{"an attempt is named by its claim as long as it goes on", attemptNamed},
		{"what was accepted is named by each of its marks", attemptAccepted},
		{"what an operator gave up goes on under its number, and nothing else does", attemptDoubted},
		{"what has no digest of its door's is the same by what it asks for", attemptUndigested},
		{"what nobody gave up leaves no doubt", attemptFoundOut},
		{"an answer ends the doubt", attemptAnswered},
		{"a doubt about the last of all numbers stays", attemptLast},
	}
}

// reads asserts that the ledger has r, and remembers the attempt.
func (k *kit) reads(r store.Record) {
	k.t.Helper()
	got, err := k.Lookup(k.t.Context(), store.ByID(r.ID))
	if err != nil || got.Attempted() != r.Attempted() || got.Doubt != r.Doubt {
		k.t.Errorf("it has %x, %v, %v; want %x, %v", got.Attempted(), got.Doubt, err, r.Attempted(), r.Doubt)
	}
}

func attemptNamed(t *testing.T, k *kit) {
	claim := k.claim(store.Running)
	claim.Way = store.Marked
	r := k.mustClaim(claim)
	for _, to := range []store.State{store.Running, store.Sent, store.Sent, store.Unknown, store.Unknown} {
		if r = k.mustMove(r, to); r.Attempted() != claim.Term || r.Term == claim.Term {
			t.Errorf("as %s it is the attempt %x, want %x", to, r.Attempted(), claim.Term)
		}
		k.reads(r)
	}
	r = k.mustMove(r, store.Unused)
	if r.Attempted() == claim.Term {
		t.Error("unused, it is still that attempt")
	}
	again := claim
	again.Term = term()
	if r = k.mustClaim(again); r.Attempted() != again.Term {
		t.Errorf("claimed again it is the attempt %x, want %x", r.Attempted(), again.Term)
	}
	if r = k.mustMove(r, store.Unknown); r.Attempted() != again.Term {
		t.Errorf("unknown again it is the attempt %x, want %x", r.Attempted(), again.Term)
	}
	k.reads(r)
}

func attemptAccepted(t *testing.T, k *kit) {
	claim := k.claim(store.Queued)
	claim.Way = store.Accepted
	r := k.mustClaim(claim)
	for range 2 {
		r = k.mustMove(k.mustMove(r, store.Queued), store.Sent)
		mark := r.Term
		if r = k.mustMove(r, store.Unknown); r.Attempted() != mark {
			t.Errorf("unknown it is the attempt %x, want %x", r.Attempted(), mark)
		}
		k.reads(r)
		r = k.mustMove(r, store.Queued)
	}
}

// gaveUp is an unused action, of whose last attempt an operator said that it was not done.
func (k *kit) gaveUp(r store.Record) store.Record {
	k.t.Helper()
	r = k.mustMove(r, store.Unknown)
	next := k.next(r, store.Unused)
	next.Note(store.Event{At: k.clock(), From: store.Unknown, To: store.Unused, Who: "operator:ann", Why: "it is not there"})
	return k.mustAdvance(r.Term, next, store.Also{})
}

// asking is a claim of the same action that asks for something.
func (k *kit) asking(claim store.Record, what byte) store.Record {
	claim.Term = term()
	claim.Request.Digest, claim.Digest = [32]byte{what}, [32]byte{what, 1}
	return claim
}

// unsent claims an action, as the attempt of that number, and gives it back: nothing was sent.
func (k *kit) unsent(claim store.Record, number uint16) store.Record {
	k.t.Helper()
	r := k.mustClaim(claim)
	if r.Attempt != number {
		k.t.Errorf("%s with %x is attempt %d, want %d", r.Target, r.Request.Digest[:1], r.Attempt, number)
	}
	return k.mustMove(r, store.Unused)
}

func attemptDoubted(t *testing.T, k *kit) {
	claim := k.asking(k.claim(store.Running), 'a')
	r := k.gaveUp(k.mustClaim(claim))
	k.reads(r)
	// Nothing of these is sent, so each is unused again, and the doubt stays.
	for _, step := range []struct {
		what   byte
		number uint16
	}{{'a', 0}, {'b', 1}, {'a', 0}, {'c', 1}, {'b', 1}} {
		k.reads(k.unsent(k.asking(claim, step.what), step.number))
	}
	same := k.asking(claim, 'd')
	same.Digest = claim.Digest // to its door it is the same, in another spelling
	k.unsent(same, 0)
	plain := k.asking(claim, 'a')
	plain.Digest = [32]byte{} // to a door that compares otherwise it is the same, to the letter
	k.unsent(plain, 0)
	other := k.asking(claim, 'a')
	other.Target, other.Digest = "/orders?x=2", [32]byte{'a', 2} // in which the target is
	k.unsent(other, 1)
	// Now b is in doubt as well.
	k.gaveUp(k.mustClaim(k.asking(claim, 'b')))
	for _, step := range []struct {
		what   byte
		number uint16
	}{{'b', 1}, {'a', 2}, {'c', 2}} {
		k.unsent(k.asking(claim, step.what), step.number)
	}
}

func attemptUndigested(_ *testing.T, k *kit) {
	asking := func(claim store.Record, what byte) store.Record {
		claim = k.asking(claim, what)
		claim.Digest = [32]byte{}
		return claim
	}
	claim := asking(k.claim(store.Running), 'a')
	k.gaveUp(k.mustClaim(claim))
	k.unsent(asking(claim, 'b'), 1)
	k.unsent(asking(claim, 'a'), 0)
}

func attemptFoundOut(t *testing.T, k *kit) {
	r := k.stand(store.Unknown)
	next := k.next(r, store.Unused)
	next.Note(store.Event{At: k.clock(), From: store.Unknown, To: store.Unused, Who: "recovery", Why: "the application does not have it"})
	if r = k.mustAdvance(r.Term, next, store.Also{}); r.Doubt != (store.Doubt{}) {
		t.Errorf("found out to be unused it is in doubt: %v", r.Doubt)
	}
	accepted := k.standBy(store.Accepted, store.Unknown)
	next = k.next(accepted, store.Queued)
	next.Note(store.Event{At: k.clock(), From: store.Unknown, To: store.Queued, Who: "operator:ann", Why: "it is not there"})
	if r = k.mustAdvance(accepted.Term, next, store.Also{}); r.Doubt != (store.Doubt{}) {
		t.Errorf("back in its queue it is in doubt: %v", r.Doubt)
	}
}

func attemptAnswered(t *testing.T, k *kit) {
	claim := k.asking(k.claim(store.Running), 'a')
	k.gaveUp(k.mustClaim(claim))
	r := k.mustClaim(k.asking(claim, 'b'))
	next := k.next(r, store.Unused)
	next.Attempt++ // answered: not done
	r = k.mustAdvance(r.Term, next, store.Also{})
	if r.Doubt != (store.Doubt{}) {
		t.Errorf("there is still a doubt: %v", r.Doubt)
	}
	k.reads(r)
	if r = k.mustClaim(k.asking(claim, 'a')); r.Attempt != 2 {
		t.Errorf("attempt %d, want 2", r.Attempt)
	}
}

func attemptLast(t *testing.T, k *kit) {
	claim := k.asking(k.claim(store.Running), 'a')
	claim.Attempt = 1<<16 - 1
	k.gaveUp(k.mustClaim(claim))
	if r := k.mustClaim(k.asking(claim, 'b')); r.Attempt != 1<<16-1 {
		t.Errorf("attempt %d", r.Attempt)
	}
}
