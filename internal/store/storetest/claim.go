package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/postonce/poe/internal/store"
)

func claimCases() []testCase {
	all := []testCase{
		{"fresh, running", func(t *testing.T, k *kit) { claimFresh(t, k, store.Running) }},
		{"fresh, queued", func(t *testing.T, k *kit) { claimFresh(t, k, store.Queued) }},
		{"fresh, burned", func(t *testing.T, k *kit) { claimFresh(t, k, store.Burned) }},
		{"with everything in it", claimFull},
		{"times to the millisecond", claimRounds},
		{"repeat of a claim", claimRepeat},
		{"repeat of a claim after it expired", claimRepeatLate},
		{"repeat of an earlier claim", claimRepeatSuperseded},
		{"again after release", claimReleased},
		{"burned after release", claimBurnsReleased},
		{"expired", claimExpired},
		{"expired, but never", claimNeverExpires},
		{"released and expired", claimReleasedExpired},
		{"just before skew ends", claimSkew},
		{"by the floor after the clock was set back", claimFloor},
		{"past shelf", claimPastShelf},
		{"past shelf, still held", claimPastHeld},
		{"forever shelf", claimForever},
		{"context over", claimContext},
		{"caller changes its slices afterwards", claimAliasing},
	}
	for _, s := range []store.State{store.Queued, store.Running, store.Sent, store.Done, store.Unknown, store.Burned} {
		all = append(all, testCase{"taken by one that is " + s.String(), func(t *testing.T, k *kit) { claimTaken(t, k, s) }})
	}
	for name, spoil := range invalidClaims() {
		all = append(all, testCase{"invalid: " + name, func(t *testing.T, k *kit) { claimInvalid(t, k, spoil) }})
	}
	return all
}

func claimFresh(t *testing.T, k *kit, s store.State) {
	r := k.claim(s, names(2)...)
	same(t, "the claim's result", k.mustClaim(r), r)
	k.wants(r)
	for _, n := range r.Names {
		k.holds(n, r.ID)
	}
	if s.Open() {
		k.onAgenda(r.ID)
	} else {
		k.onAgenda()
	}
}

func claimFull(t *testing.T, k *kit) {
	r := k.claim(store.Running, names(3)...)
	r.Parent, r.Kind, r.Attempt, r.Status = k.id(1), store.Compensation, 7, 504
	r.Principal, r.Digest = [32]byte{1: 1}, [32]byte{31: 2}
	r.Request = inline("request")
	r.Response = store.Blob{Where: store.Beside, Part: store.Part{Term: term(), N: 1}, Size: 1 << 40, Digest: [32]byte{9}}
	r.Finished = k.after(time.Second)
	for range store.MaxHistory {
		r.Note(store.Event{At: k.clock(), From: store.Running, To: store.Unknown, Who: "recovery", Why: "lost its owner", Status: 502})
	}
	same(t, "the claim's result", k.mustClaim(r), r)
	k.wants(r)
}

func claimRounds(t *testing.T, k *kit) {
	r := k.claim(store.Running)
	exact := r
	r.Claimed = r.Claimed.Add(999 * time.Microsecond).In(time.FixedZone("elsewhere", 3600))
	r.Due = r.Due.Add(999 * time.Microsecond)
	same(t, "the claim's result", k.mustClaim(r), exact)
	k.wants(exact)
	k.onAgenda(r.ID)
	k.mustMove(exact, store.Done)
	k.onAgenda()
}

func claimRepeat(t *testing.T, k *kit) {
	r := k.claim(store.Running, names(1)...)
	k.mustClaim(r)
	again := r
	again.Target = "what the repeat says beside its term does not count"
	same(t, "the repeat's result", k.mustClaim(again), r)
	k.wants(r)
	k.onAgenda(r.ID)
}

func claimRepeatLate(t *testing.T, k *kit) {
	r := k.mustClaim(k.claim(store.Running))
	k.forward(90 * 24 * time.Hour)
	same(t, "the repeat's result", k.mustClaim(r), r)
}

func claimRepeatSuperseded(t *testing.T, k *kit) {
	first := k.mustClaim(k.claim(store.Running))
	done := k.mustMove(first, store.Done)
	got, err := k.Claim(t.Context(), first)
	refused(t, err, store.ErrTaken)
	same(t, "the holder", got, done)
}

func claimTaken(t *testing.T, k *kit, s store.State) {
	held := k.stand(s, names(1)...)
	r := k.claim(store.Running, names(1)...)
	r.ID = held.ID
	k.forward(2 * time.Hour) // taken is said of an expired action, too
	got, err := k.Claim(t.Context(), r)
	refused(t, err, store.ErrTaken)
	same(t, "the holder", got, held)
	k.wants(held)
	k.absent(store.ByName(r.Names[0]))
}

func claimReleased(t *testing.T, k *kit) {
	r := k.mustClaim(k.claim(store.Running))
	back := k.next(r, store.Unused)
	back.Attempt = 3
	back.Note(store.Event{At: k.clock(), From: store.Running, To: store.Unused, Who: "engine", Why: "503", Status: 503})
	back = k.mustAdvance(r.Term, back, store.Also{})
	k.onAgenda()

	again := k.claim(store.Running)
	again.ID, again.Attempt, again.Target = r.ID, 0, "/elsewhere"
	want := again
	want.Attempt, want.History = back.Attempt, back.History
	same(t, "the second claim's result", k.mustClaim(again), want)
	k.wants(want)
	k.onAgenda(r.ID)
	if got := want.Attempts(); got != 4 {
		t.Errorf("%d attempts, want 4", got)
	}
}

func claimBurnsReleased(t *testing.T, k *kit) {
	back := k.stand(store.Unused)
	burn := k.claim(store.Burned)
	burn.ID = back.ID
	k.wants(k.mustClaim(burn))
	got, err := k.Claim(t.Context(), k.next(back, store.Running))
	refused(t, err, store.ErrTaken)
	same(t, "the holder", got, burn)
}

func claimExpired(t *testing.T, k *kit) {
	for _, s := range []store.State{store.Running, store.Queued, store.Burned} {
		r := k.claim(s, names(1)...)
		r.Expires = k.clock().Add(-store.Skew)
		_, err := k.Claim(t.Context(), r)
		refused(t, err, store.ErrExpired)
		k.absent(store.ByID(r.ID))
		k.absent(store.ByName(r.Names[0]))
	}
	k.onAgenda()
}

func claimNeverExpires(_ *testing.T, k *kit) {
	r := k.claim(store.Running)
	r.Expires = time.Time{}
	k.forward(20 * 24 * time.Hour)
	k.wants(k.mustClaim(r))
}

func claimReleasedExpired(t *testing.T, k *kit) {
	back := k.stand(store.Unused, names(2)...)
	k.forward(time.Hour + store.Skew)
	again := k.next(back, store.Running)
	for _, brought := range [][]store.Name{back.Names, nil, names(1)} { // it comes back with those that it came with
		again.Names = brought
		_, err := k.Claim(t.Context(), again)
		refused(t, err, store.ErrExpired)
		k.wants(back)
	}
}

func claimSkew(_ *testing.T, k *kit) {
	r := k.claim(store.Running)
	r.Expires = k.clock().Add(time.Millisecond - store.Skew)
	k.wants(k.mustClaim(r))
}

func claimFloor(t *testing.T, k *kit) {
	old := k.claim(store.Running)
	k.forward(time.Hour + store.Skew)
	k.mustClaim(k.claim(store.Running)) // the ledger has seen this time
	k.forward(-time.Hour)
	_, err := k.Claim(t.Context(), old)
	refused(t, err, store.ErrExpired)
}

func claimPastShelf(t *testing.T, k *kit) {
	r := k.claim(store.Running, names(1)...)
	r.ID, r.Expires = k.id(1), time.Time{}
	last := k.claim(store.Running)
	last.ID, last.Expires = k.id(1), time.Time{}
	k.forward(24*time.Hour + 59*time.Minute) // the last minute of the shelf's last day
	k.mustClaim(last)
	k.forward(time.Minute)
	_, err := k.Claim(t.Context(), r)
	refused(t, err, store.ErrExpired)
	k.absent(store.ByID(r.ID))
	k.absent(store.ByName(r.Names[0]))
}

func claimPastHeld(t *testing.T, k *kit) {
	r := k.claim(store.Running)
	r.ID = k.id(1)
	done := k.mustMove(k.mustClaim(r), store.Done)
	k.forward(72 * time.Hour)
	got, err := k.Claim(t.Context(), k.next(r, store.Running))
	refused(t, err, store.ErrTaken)
	same(t, "the holder", got, done)
}

func claimForever(_ *testing.T, k *kit) {
	r := k.claim(store.Running)
	r.ID, r.Expires = k.id(0), time.Time{}
	k.forward(50 * 365 * 24 * time.Hour)
	k.wants(k.mustClaim(r))
}

func claimContext(t *testing.T, k *kit) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := k.claim(store.Running)
	_, err := k.Claim(ctx, r)
	refused(t, err, store.ErrUnavailable)
	k.absent(store.ByID(r.ID))
}

func claimAliasing(_ *testing.T, k *kit) {
	r := k.claim(store.Running, names(2)...)
	r.Request, r.Response = inline("request"), inline("response")
	r.Note(store.Event{At: k.clock(), Who: "engine"})
	want := deep(r)
	k.mustClaim(r)
	spoilSlices(&r)
	k.wants(want)

	settled := k.next(want, store.Done)
	settled.Response = inline("answer")
	want = deep(settled)
	k.mustAdvance(r.Term, settled, store.Also{})
	spoilSlices(&settled)
	k.wants(want)
}
