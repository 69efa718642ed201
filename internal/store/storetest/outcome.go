package storetest

import (
	"testing"
	"time"

	"github.com/postonce/poe/internal/store"
)

// outcomeCases are about what may become of a record that is done, or burned.
func outcomeCases() []testCase {
	all := []testCase{
		{"purged", outcomePurged},
		{"noted", outcomeNoted},
		{"burned and noted", outcomeOfBurned},
	}
	for name, spoil := range map[string]func(*store.Record){
		"another status":  func(r *store.Record) { r.Status = 500 },
		"another end":     func(r *store.Record) { r.Finished = r.Finished.Add(time.Second) },
		"another digest":  func(r *store.Record) { r.Response.Digest[0]++ },
		"another content": func(r *store.Record) { r.Response = inline("another one") },
		"content moved":   func(r *store.Record) { r.Response.Content, r.Response.Where = nil, store.Streamed },
		"content that it had not had": func(r *store.Record) {
			r.Response.Part.Term, r.Response.Content, r.Response.Where = term(), nil, store.Beside
		},
	} {
		all = append(all, testCase{name + " is refused", func(t *testing.T, k *kit) { outcomeKept(t, k, spoil) }})
	}
	return all
}

func outcomePurged(_ *testing.T, k *kit) {
	done := k.stand(store.Done)
	purged := k.next(done, store.Done)
	purged.Response.Head, purged.Response.Content, purged.Response.Where = nil, nil, store.Purged
	k.wants(k.mustAdvance(done.Term, purged, store.Also{}))
}

func outcomeNoted(_ *testing.T, k *kit) {
	done := k.stand(store.Done)
	noted := k.next(done, store.Done)
	noted.Note(store.Event{At: k.clock(), From: store.Done, To: store.Done, Who: "operator:ada", Why: "looked at"})
	k.wants(k.mustAdvance(done.Term, noted, store.Also{}))
}

// Nothing is done after all that was burned: a line of history is all that it gets.
func outcomeOfBurned(t *testing.T, k *kit) {
	burned := k.stand(store.Burned)
	noted := k.next(burned, store.Burned)
	noted.Note(store.Event{At: k.clock(), From: store.Burned, To: store.Burned, Who: "engine", Why: "a late answer", Status: 201})
	k.wants(k.mustAdvance(burned.Term, noted, store.Also{}))
	for _, spoil := range []func(*store.Record){
		func(r *store.Record) { r.Status = 201 },
		func(r *store.Record) { r.Finished = k.after(time.Second) },
		func(r *store.Record) { r.Response = inline("created") },
	} {
		next := k.next(noted, store.Burned)
		spoil(&next)
		_, err := k.Advance(t.Context(), noted.Term, next, store.Also{})
		refused(t, err, store.ErrInvalid)
	}
	k.wants(noted)
}

func outcomeKept(t *testing.T, k *kit, spoil func(*store.Record)) {
	done := k.stand(store.Done)
	next := k.next(done, store.Done)
	spoil(&next)
	_, err := k.Advance(t.Context(), done.Term, next, store.Also{})
	refused(t, err, store.ErrInvalid)
	k.wants(done)
}
