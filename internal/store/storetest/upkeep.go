package storetest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/postonce/poe/internal/store"
)

func upkeepCases() []testCase {
	return []testCase{
		{"identity", upkeepIdentity},
		{"floor", upkeepFloor},
		{"list in pages", upkeepList},
		{"list from where a record was", upkeepListGap},
		{"ready", upkeepReady},
		{"closed", upkeepClosed},
		{"closed twice", func(t *testing.T, k *kit) {
			if err := errors.Join(k.Close(), k.Close()); err != nil {
				t.Error(err)
			}
		}},
		{"closed among writers", upkeepCloseAmongWriters},
	}
}

func upkeepIdentity(t *testing.T, k *kit) {
	id := k.Identity()
	if _, err := store.ParseID(id.String()); err != nil {
		t.Errorf("the identity %s is no UUIDv7: %v", id, err)
	}
	if s := k.Secret(); s == ([32]byte{}) {
		t.Error("the secret is empty")
	}
	k.mustClaim(k.claim(store.Running))
	if k.Identity() != id {
		t.Error("the identity changed")
	}
	k.lists(k.agenda(9)...)
}

func upkeepFloor(t *testing.T, k *kit) {
	floor := func() time.Time {
		f, err := k.Floor(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !f.Minted.IsZero() {
			t.Errorf("a new ledger was restored at %s", f.Minted)
		}
		return f.Time
	}
	k.mustClaim(k.claim(store.Running))
	if got := floor(); !got.Equal(k.clock()) {
		t.Errorf("the floor is %s after a write at %s", got, k.clock())
	}
	k.forward(time.Hour)
	k.mustClaim(k.claim(store.Running))
	high := k.clock()
	k.forward(-30 * time.Minute)
	k.mustClaim(k.claim(store.Running))
	if got := floor(); !got.Equal(high) {
		t.Errorf("the floor is %s, want %s", got, high)
	}
}

func upkeepList(t *testing.T, k *kit) {
	var want []store.ID
	for i := range 25 {
		r := k.claim(store.Burned)
		r.ID = k.id([]int{3, 0, 1, 2, 1}[i%5])
		want = append(want, k.mustClaim(r).ID)
	}
	slices.SortFunc(want, func(a, b store.ID) int {
		if a.Shelf() != b.Shelf() {
			if a.Shelf() < b.Shelf() {
				return -1
			}
			return 1
		}
		return bytes.Compare(a[:], b[:])
	})
	for _, page := range []int{1, 4, 25, 100} {
		var got []store.ID
		for at := (store.ID{}); ; {
			ids, err := k.List(t.Context(), at, page)
			if err != nil || len(ids) > page {
				t.Fatalf("page of %d: %d ids, %v", page, len(ids), err)
			}
			if len(ids) == 0 {
				break
			}
			got = append(got, ids...)
			at = ids[len(ids)-1]
		}
		if !slices.Equal(got, want) {
			t.Errorf("pages of %d list %d ids, in another order or not all of %d", page, len(got), len(want))
		}
	}
	if ids, err := k.List(t.Context(), store.ID{}, 0); err != nil || len(ids) > 0 {
		t.Errorf("limit 0: %v, %v", ids, err)
	}
}

func upkeepListGap(t *testing.T, k *kit) {
	gap := k.id(2)
	r := k.claim(store.Burned)
	r.ID = k.id(3)
	k.mustClaim(r)
	before := k.claim(store.Burned)
	before.ID = k.id(1)
	k.mustClaim(before)
	got, err := k.List(t.Context(), gap, 10)
	if err != nil || !slices.Equal(got, []store.ID{r.ID}) {
		t.Errorf("got %v, %v", got, err)
	}
}

func upkeepReady(t *testing.T, k *kit) {
	for range 3 {
		if err := k.Ready(t.Context()); err != nil {
			t.Errorf("not ready: %v", err)
		}
	}
	k.lists()
	k.onAgenda()
}

func upkeepClosed(t *testing.T, k *kit) {
	r := k.mustClaim(k.claim(store.Running))
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, part := t.Context(), store.Part{Term: term()}
	calls := map[string]func() error{
		"claim":   func() error { _, err := k.Claim(ctx, k.claim(store.Running)); return err },
		"advance": func() error { _, err := k.Advance(ctx, r.Term, k.next(r, store.Done), store.Also{}); return err },
		"lookup":  func() error { _, err := k.Lookup(ctx, store.ByID(r.ID)); return err },
		"agenda":  func() error { _, err := k.Agenda(ctx, store.Entry{}, store.Person, 1); return err },
		"put":     func() error { _, err := k.Put(ctx, r.ID, part, bytes.NewReader(nil)); return err },
		"open":    func() error { _, err := k.Open(ctx, r.ID, part); return err },
		"discard": func() error { return k.Discard(ctx, r.ID, part) },
		"sweep":   func() error { _, err := k.Sweep(ctx, k.clock()); return err },
		"list":    func() error { _, err := k.List(ctx, store.ID{}, 1); return err },
		"floor":   func() error { _, err := k.Floor(ctx); return err },
		"ready":   func() error { return k.Ready(ctx) },
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s got %v", name, err)
		}
	}
}

// upkeepCloseAmongWriters closes the ledger while it is written to: what succeeded is there afterwards.
func upkeepCloseAmongWriters(t *testing.T, k *kit) {
	const n = 400
	var done [n]store.Record
	begun := make(chan struct{}, n)
	closed := make(chan error, 1)
	go func() {
		for range n / 4 {
			<-begun
		}
		closed <- k.Close()
	}()
	k.flock(n, func(i int) {
		begun <- struct{}{}
		r := k.claim(store.Running)
		switch _, err := k.Claim(context.WithoutCancel(t.Context()), r); {
		case err == nil:
			done[i] = r
		case !errors.Is(err, store.ErrUnavailable):
			t.Errorf("claiming got %v", err)
		}
	})
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	if !k.reopen() {
		return
	}
	for _, r := range done {
		if !r.ID.IsZero() {
			k.wants(r)
		}
	}
}
