package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/pebblestore"
)

// forgotten is what a sweep took.
type forgotten struct {
	records       int
	took, longest time.Duration // all of it; its longest step
	steps         int
	before, among time.Duration // the p99 of claims with nothing beside them, and beside the sweep
}

// What is claimed while a sweep runs: so many a second, each whether or not those before it have ended.
const (
	claimsPerSecond = 1000
	quiet           = 2 * time.Second // how long that is measured without a sweep
)

// sweep opens the ledger when its first shelf is past, and forgets that, while claims go on. It leaves the ledger in the future.
func (p *plan) sweep(ctx context.Context, dir string, all actions) (f forgotten, err error) {
	later := all.first.Add((daysKept+1)*store.Day + time.Hour).Sub(p.clock())
	clock := func() time.Time { return p.clock().Add(later) }
	s, err := pebblestore.Open(ctx, pebblestore.Config{Dir: dir, Clock: clock})
	if err != nil {
		return f, fmt.Errorf("opening the ledger for a sweep: %w", err)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	s.ConfirmClock() // it is weeks ahead of the ledger, and means it
	fresh := newActions(clock(), 1, 1)
	fresh.series, fresh.first, fresh.apart = 1, clock(), time.Second/claimsPerSecond
	pause, cancel := context.WithTimeout(ctx, quiet)
	defer cancel()
	n := 0
	if f.before, n, err = p.claims(pause, s, fresh, n); err != nil {
		return f, err
	}
	during, end := context.WithCancel(ctx)
	defer end()
	var beside sync.WaitGroup
	var failed error
	beside.Go(func() { f.among, _, failed = p.claims(during, s, fresh, n) })
	err = p.steps(ctx, s, clock, &f)
	end()
	beside.Wait()
	return f, errors.Join(err, failed)
}

// steps takes the steps of a sweep until there is no more to do.
func (p *plan) steps(ctx context.Context, s store.Upkeep, clock func() time.Time, f *forgotten) error {
	for more := true; more; {
		began := p.clock()
		did, err := s.Sweep(ctx, clock())
		if err != nil {
			return err
		}
		took := p.clock().Sub(began)
		more, f.steps, f.records = did.More, f.steps+1, f.records+did.Records
		f.took, f.longest = f.took+took, max(f.longest, took)
	}
	return nil
}

// claims claims and settles at a fixed pace until ctx ends, from the n-th action on, and returns the p99 of the claims and the next action.
func (p *plan) claims(ctx context.Context, s store.Ledger, all actions, n int) (time.Duration, int, error) {
	tick := time.NewTicker(time.Second / claimsPerSecond)
	defer tick.Stop()
	var (
		mu    sync.Mutex // guards what follows
		times []time.Duration
		errs  []error
	)
	var under sync.WaitGroup
	for ; ctx.Err() == nil; n++ {
		i, due := n, <-tick.C
		under.Go(func() {
			r, err := all.claim(i)
			if err == nil {
				_, err = s.Claim(context.WithoutCancel(ctx), &r)
			}
			took := p.clock().Sub(due)
			if err == nil {
				_, err = s.Advance(context.WithoutCancel(ctx), r.Term, new(settled(r, i)), store.Also{})
			}
			mu.Lock()
			defer mu.Unlock()
			times, errs = append(times, took), append(errs, err)
		})
	}
	under.Wait()
	slices.Sort(times)
	return times[len(times)*99/100], n, errors.Join(errs...)
}
