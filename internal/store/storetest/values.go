package storetest

import (
	"context"
	"fmt"
	"reflect"
	"time"

	"github.com/postonce/poe/internal/store"
)

// Claim is l.Claim for tests, with records by value: r stays as it is, and the record as it stands comes back, the zero one where there is none. It panics
// where l does with the record that it is given what a Ledger must not.
func Claim(ctx context.Context, l store.Ledger, r store.Record) (store.Record, error) {
	return write(r, func(r *store.Record) (*store.Record, error) { return l.Claim(ctx, r) })
}

// Advance is to l.Advance what Claim is to l.Claim.
func Advance(ctx context.Context, l store.Ledger, was store.Term, r store.Record, also store.Also) (store.Record, error) {
	return write(r, func(r *store.Record) (*store.Record, error) { return l.Advance(ctx, was, r, also) })
}

func write(came store.Record, by func(*store.Record) (*store.Record, error)) (store.Record, error) {
	r := came
	got, err := by(&r)
	switch {
	case err == nil && got != &r:
		panic("a write that is done returns another record than the one it was given")
	case err != nil && got == &r:
		panic(fmt.Sprintf("what was to be written is in its own way: %v", err))
	case err != nil && !asItCame(r, came):
		panic(fmt.Sprintf("a write that is not done leaves another record behind than it was given: %v\n%+v\n%+v", err, r, came))
	}
	var out store.Record
	if got != nil {
		out = *got
	}
	r = store.Record{ID: came.ID, Term: came.Term, State: store.Done} // the ledger must not have kept it
	return out, err
}

// asItCame compares what a failed write must leave alone.
func asItCame(a, b store.Record) bool {
	for _, r := range []*store.Record{&a, &b} {
		r.Began, r.Attempt, r.History, r.Doubt = store.Term{}, 0, nil, store.Doubt{}
		for _, at := range []*time.Time{&r.Claimed, &r.Finished, &r.Expires, &r.Due} {
			*at = time.Time{}
		}
	}
	return reflect.DeepEqual(a, b)
}

// Claim is the function of that name.
func (k *kit) Claim(ctx context.Context, r store.Record) (store.Record, error) {
	return Claim(ctx, k.Store, r)
}

// Advance is the function of that name.
func (k *kit) Advance(ctx context.Context, was store.Term, r store.Record, also store.Also) (store.Record, error) {
	return Advance(ctx, k.Store, was, r, also)
}
