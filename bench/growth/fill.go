package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/pebblestore"
)

const (
	writers    = 256
	keyedShare = 10 // one action in so many has a name
	daysKept   = 31 // what the default ttl and retention come to
	bodySize   = 32 // of an answer: noise, which takes as much room on a disk as it is long
)

// actions says what the i-th action of the store is, without keeping it.
type actions struct {
	series  uint64    // tells them from other actions
	first   time.Time // a midnight: the first ones are minted then
	apart   time.Duration
	expires time.Time
	keyed   func(i int) bool
}

// newActions are n actions, minted on days that are over.
func newActions(now time.Time, n, perDay int) actions {
	days := (n + perDay - 1) / perDay
	today := now.UTC().Truncate(store.Day)
	return actions{
		first: today.Add(-time.Duration(days) * store.Day), apart: store.Day / time.Duration(perDay), expires: now.Add(24 * time.Hour),
		keyed: func(i int) bool { return i%keyedShare == 0 },
	}
}

// noise is what is random about the i-th action, the same each time.
func (a *actions) noise(i int) *rand.ChaCha8 {
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[:], uint64(i)) //nolint:gosec // not negative
	binary.BigEndian.PutUint64(seed[8:], a.series)
	return rand.NewChaCha8(seed)
}

func (a *actions) id(i int) (store.ID, error) {
	id, err := store.NewID(a.first.Add(time.Duration(i)*a.apart), daysKept, a.noise(i))
	if err != nil {
		return id, fmt.Errorf("naming an action: %w", err)
	}
	return id, nil
}

// claim is what the engine claims for a POST of a small order.
func (a *actions) claim(i int) (store.Record, error) {
	id, err := a.id(i)
	if err != nil {
		return store.Record{}, err
	}
	r := store.Record{
		ID: id, State: store.Running, Door: "poe", Route: "default", Method: http.MethodPost, Target: "/orders",
		Request: store.Blob{Size: int64(len(order))}, Claimed: id.Minted(), Expires: a.expires, Due: a.expires,
	}
	random := a.noise(i)
	fill(random, id[:8], r.Term[:], r.Request.Digest[:]) // as many as the id has taken
	if a.keyed(i) {
		r.Door, r.Expires, r.Names = "key", time.Time{}, make([]store.Name, 1)
		fill(random, r.Names[0][:])
	}
	return r, nil
}

// settled is what the engine makes of it when the application has answered.
func settled(r store.Record, i int) store.Record {
	random := rand.NewChaCha8(r.Request.Digest)
	r.State, r.Status, r.Finished, r.Due = store.Done, http.StatusCreated, r.Claimed.Add(time.Millisecond), time.Time{}
	r.Response = store.Blob{Head: replay.EncodeHead(head(strconv.Itoa(i)), nil), Where: store.Inline, Content: make([]byte, bodySize), Size: bodySize}
	fill(random, r.Term[:], r.Response.Content, r.Response.Digest[:])
	return r
}

// head is what the application says of an order.
func head(number string) http.Header {
	return http.Header{"Content-Type": {"application/octet-stream"}, "Location": {"/orders/" + number}}
}

func fill(random *rand.ChaCha8, parts ...[]byte) {
	for _, b := range parts {
		_, _ = random.Read(b) // never fails
	}
}

// span is some actions: from, and up to but not including to.
type span struct{ from, to int }

// fill claims and settles the actions, as the engine would.
func (p *plan) fill(ctx context.Context, dir string, all actions, some span) (err error) {
	s, err := pebblestore.Open(ctx, pebblestore.Config{Dir: dir, Clock: p.clock})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	var next atomic.Int64
	next.Store(int64(some.from))
	var at [writers]error
	var writing sync.WaitGroup
	for w := range at {
		writing.Go(func() {
			for i := next.Add(1) - 1; i < int64(some.to) && at[w] == nil; i = next.Add(1) - 1 {
				at[w] = consume(ctx, s, all, int(i))
			}
		})
	}
	writing.Wait()
	return errors.Join(at[:]...)
}

func consume(ctx context.Context, s store.Ledger, all actions, i int) error {
	r, err := all.claim(i)
	if err != nil {
		return err
	}
	was := r.Term
	if _, err := s.Claim(ctx, &r); err != nil {
		return fmt.Errorf("claiming: %w", err)
	}
	r = settled(r, i)
	if _, err := s.Advance(ctx, was, &r, store.Also{}); err != nil {
		return fmt.Errorf("settling: %w", err)
	}
	return nil
}
