package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/postonce/poe/internal/store"
)

var errAgain = errors.New("another try")

// a stripeView asks for another try for each record whose stripe it does not hold, as pebblestore's does.
type stripeView struct {
	records map[store.ID]*store.Record
	names   map[store.Name]store.ID
	held    map[store.ID]bool
	again   func()
}

func (v *stripeView) Record(id store.ID) (*store.Record, error) {
	if !v.held[id] {
		v.held[id] = true
		v.again()
		return nil, errAgain
	}
	if r := v.records[id]; r != nil {
		return r, nil
	}
	return nil, store.ErrNotFound
}

func (v *stripeView) Holder(n store.Name) (store.ID, error) {
	if id, ok := v.names[n]; ok {
		return id, nil
	}
	return store.ID{}, store.ErrNotFound
}

func (*stripeView) Forgotten(string, string) time.Time { return time.Time{} }

// A claim that is decided again has the names of its first try, and not those that it came with.
func TestClaimDecidedAgain(t *testing.T) {
	now := time.Date(2031, 3, 14, 12, 0, 0, 0, time.UTC)
	id := func(b byte) store.ID {
		i, _ := store.NewID(now, 31, readerOf(b))
		return i
	}
	own, fresh := store.Name{1}, store.Name{2}
	a, x, y := id(1), id(2), id(3)
	v := &stripeView{
		records: map[store.ID]*store.Record{a: {ID: a, State: store.Unused, Term: store.Term{1}, Names: []store.Name{own}}},
		names:   map[store.Name]store.ID{own: a, fresh: x}, // x was forgotten: the name is free
		held:    map[store.ID]bool{a: true},
	}
	v.again = func() { // meanwhile, own was taken over (Also.Take), as it may be
		v.records[y] = &store.Record{ID: y, State: store.Done, Term: store.Term{3}, Names: []store.Name{own}}
		v.names[own] = y
		v.held[y] = true
	}
	r := store.Record{ID: a, State: store.Running, Term: store.Term{9}, Names: []store.Name{fresh}, Claimed: now, Expires: now.Add(time.Hour), Due: now.Add(time.Minute)}
	var c store.Change
	_, err := store.DecideClaim(v, &r, now, &c)
	if !errors.Is(err, errAgain) {
		t.Fatal(err)
	}
	if _, err = store.DecideClaim(v, &r, now, &c); err != nil {
		t.Errorf("a claim that brings only a free name is refused: %v", err)
	}
}

type readerOf byte

func (b readerOf) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(b)
	}
	return len(p), nil
}
