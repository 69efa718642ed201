package store

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// A View is what a ledger holds at one moment, as a write sees it under its locks or in its transaction.
type View interface {
	// Record returns the record with that id, or ErrNotFound. It is only to be read, and only as long as the view is good.
	Record(id ID) (*Record, error)
	// Holder returns the id that the name leads to, or ErrNotFound. A record of that id that is missing, or does
	// not list the name, makes the name free all the same.
	Holder(n Name) (ID, error)
	// Forgotten returns when the latest of the actions of that door and route was claimed that may have been forgotten; zero: none was.
	Forgotten(door, route string) time.Time
}

// A Change is what one write does to a ledger, all of it or nothing: Free first, then Bind, then Put.
// The zero Change writes nothing.
type Change struct {
	Free []Name
	Bind []Binding
	Put  []Put
}

// A Binding makes a name lead to an id.
type Binding struct {
	Name Name
	ID   ID
}

// A Put replaces a record. The agenda loses the entry Was and gets Record.Entry, where they are not zero; where they are equal it stays.
type Put struct {
	Was    Entry
	Record *Record
}

// Reset makes c write nothing, and keeps its room.
func (c *Change) Reset() { c.Free, c.Bind, c.Put = c.Free[:0], c.Bind[:0], c.Put[:0] }

// DecideClaim decides what Ledger.Claim does with r at now: it returns the record that the caller gets, which is r, completed, or one of v's,
// and the error; c becomes the change to make durable first, and writes nothing where there is an error. It is the one place where the rules of a
// claim stand, for every ledger. An error of v is returned wrapped, so that a ledger may use its own to ask for another try.
func DecideClaim(v View, r *Record, now time.Time, c *Change) (got *Record, err error) {
	c.Reset()
	brought := r.Names
	defer func() {
		if err != nil { // perhaps for another try, with the names that r came with
			c.Reset()
			r.Names = brought
		}
	}()
	if err := r.Check(); err != nil {
		return nil, err
	}
	if r.State != Running && r.State != Queued && r.State != Burned {
		return nil, invalid("claimed as %s", r.State)
	}
	r.round()
	r.Began, r.Doubt = Term{}, Doubt{}
	var was Entry
	held, err := v.Record(r.ID)
	fresh := errors.Is(err, ErrNotFound)
	switch {
	case fresh:
	case err != nil:
		return nil, err
	case held.Term == r.Term:
		return held, nil
	case held.State != Unused:
		return held, ErrTaken
	default:
		names, err := stillOwn(v, r.Names, held)
		if err != nil {
			return nil, err
		}
		was, r.History, r.Names, r.Doubt = held.Entry(), held.History, names, held.Doubt
		r.Attempt = held.nextAttempt(r)
	}
	if err := claimable(r, now); err != nil {
		return nil, err
	}
	if n := len(r.Names); n > MaxClaims {
		return nil, invalid("claimed with %d names", n)
	}
	c.Put = append(c.Put, Put{Was: was, Record: r})
	if holder, err := c.bind(v, r); err != nil {
		return holder, err
	}
	if fresh && !r.Since.IsZero() && !v.Forgotten(r.Door, r.Route).Before(r.Since) {
		return nil, fmt.Errorf("%w: what may have had its names is forgotten", ErrExpired)
	}
	r.Since = time.Time{}
	return r, nil
}

// nextAttempt is the number of the attempt in which next asks for something of the unused action r. An application that knows keys must not take
// it for the request that is in doubt, unless it is that.
func (r *Record) nextAttempt(next *Record) uint16 {
	d := &r.Doubt
	switch {
	case d.Request == [32]byte{}:
		return r.Attempt
	case d.about(next):
		return d.Attempt
	default:
		return max(r.Attempt, d.Attempt, d.Attempt+1) // the last of all numbers stays
	}
}

// remember completes r, which is about to replace held, with what the ledger keeps of attempts.
func (r *Record) remember(held *Record) {
	r.Began, r.Doubt = Term{}, held.Doubt
	switch {
	case held.State == Queued: // what it becomes is a new attempt, or none
	case r.State == Running, r.State == Sent, r.State == Unknown:
		r.Began = held.Attempted()
	}
	switch {
	case r.Attempt > held.Attempt: // an answer has settled it
		r.Doubt = Doubt{}
	case held.State == Unknown && r.State == Unused && r.lastGivenUp():
		r.Doubt = Doubt{Request: held.asks(), Digest: held.Digest, Attempt: held.Attempt}
	}
}

// stillOwn returns names with those of held that lead to it. One that was taken over is another's now.
func stillOwn(v View, names []Name, held *Record) ([]Name, error) {
	out := slices.Clip(names)
	for _, n := range held.Names {
		if slices.Contains(out, n) {
			continue
		}
		id, err := v.Holder(n)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return nil, err
		}
		if err == nil && id == held.ID {
			out = append(out, n)
		}
	}
	return out, checkNames(out)
}

// union returns a with those of b that are not in it. It writes into neither.
func union(a, b []Name) []Name {
	out := slices.Clip(a)
	for _, n := range b {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// claimable tells whether r may still enter the ledger: absence proves that it never ran, and it has not expired.
func claimable(r *Record, now time.Time) error {
	if r.ID.Shelf().Past(now) {
		return fmt.Errorf("%w: its shelf is past", ErrExpired)
	}
	if !r.Expires.IsZero() && !now.Before(r.Expires.Add(Skew)) {
		return ErrExpired
	}
	return nil
}

// bind makes the names of r lead to r. It fails with the holder and ErrTaken where one leads elsewhere.
func (c *Change) bind(v View, r *Record) (*Record, error) {
	for _, n := range r.Names {
		id, err := v.Holder(n)
		switch {
		case errors.Is(err, ErrNotFound):
		case err != nil:
			return nil, err
		case id == r.ID:
			continue
		case slices.Contains(c.Free, n):
		default:
			holder, err := v.Record(id)
			if err == nil && slices.Contains(holder.Names, n) {
				return holder, fmt.Errorf("%w: one of its names", ErrTaken)
			}
			if err != nil && !errors.Is(err, ErrNotFound) {
				return nil, err
			}
		}
		c.Bind = append(c.Bind, Binding{Name: n, ID: r.ID})
	}
	return nil, nil
}

// free makes n free if it leads to id.
func (c *Change) free(v View, n Name, id ID) error {
	at, err := v.Holder(n)
	if err == nil && at == id {
		c.Free = append(c.Free, n)
	}
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// DecideAdvance is to Ledger.Advance what DecideClaim is to Ledger.Claim.
func DecideAdvance(v View, w *Advance, now time.Time, c *Change) (got *Record, err error) {
	c.Reset()
	defer func() {
		if err != nil {
			c.Reset()
		}
	}()
	if err := w.check(); err != nil {
		return nil, err
	}
	r := w.Record
	r.round()
	held, err := v.Record(r.ID)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, fmt.Errorf("%w: there is no record", ErrStale)
	case err != nil:
		return nil, err
	case held.Term == r.Term:
		return held, nil
	case held.Term != w.Was:
		return held, ErrStale
	}
	if err := follows(held, r); err != nil {
		return nil, err
	}
	r.remember(held)
	names, err := c.leave(v, held, w.Also.Free)
	if err != nil {
		return nil, err
	}
	for _, n := range w.Also.Take {
		c.Bind = append(c.Bind, Binding{Name: n, ID: r.ID})
	}
	names = union(names, w.Also.Take)
	if err := checkNames(names); err != nil {
		return nil, err
	}
	c.Put = append(c.Put, Put{Was: held.Entry(), Record: r})
	if holder, err := c.spawn(v, w.Also.Spawn, now); err != nil {
		return holder, err
	}
	r.Names = names // the last thing: a ledger may ask for another try until here
	return r, nil
}

// An Advance is the arguments of Ledger.Advance. The decision completes Record in place.
type Advance struct {
	Was    Term
	Record *Record
	Also   Also
}

func (w *Advance) check() error {
	if err := w.Record.Check(); err != nil {
		return err
	}
	if w.Was == (Term{}) || w.Was == w.Record.Term {
		return invalid("no term to replace, or the same one again")
	}
	if err := checkNames(w.Also.Free); err != nil {
		return err
	}
	if err := checkNames(w.Also.Take); err != nil {
		return err
	}
	if shared(w.Also.Free, w.Also.Take) {
		return invalid("a name to free and to take")
	}
	if len(w.Also.Spawn) > MaxSpawn {
		return invalid("%d children", len(w.Also.Spawn))
	}
	for i := range w.Also.Spawn {
		c := &w.Also.Spawn[i]
		if err := c.Check(); err != nil {
			return fmt.Errorf("child %d: %w", i, err)
		}
		if c.State != Queued || c.Parent != w.Record.ID || c.ID == w.Record.ID {
			return invalid("child %d is not queued, or not of this parent", i)
		}
		if shared(w.Also.Take, c.Names) {
			return invalid("child %d has a name that its parent takes", i)
		}
		for j := range i {
			if w.Also.Spawn[j].ID == c.ID || shared(w.Also.Spawn[j].Names, c.Names) {
				return invalid("children %d and %d share an id or a name", j, i)
			}
		}
	}
	return nil
}

func shared(a, b []Name) bool {
	return slices.ContainsFunc(a, func(n Name) bool { return slices.Contains(b, n) })
}

// leave frees those names of held and returns the ones that stay.
func (c *Change) leave(v View, held *Record, names []Name) ([]Name, error) {
	if len(names) == 0 {
		return held.Names, nil
	}
	for _, n := range names {
		if !slices.Contains(held.Names, n) {
			return nil, invalid("a name to free that is not the record's")
		}
		if err := c.free(v, n, held.ID); err != nil {
			return nil, err
		}
	}
	var stay []Name
	for _, n := range held.Names {
		if !slices.Contains(names, n) {
			stay = append(stay, n)
		}
	}
	return stay, nil
}

// spawn adds the children, which must be absent. It fails with the holder and ErrTaken where an id or a name is taken.
func (c *Change) spawn(v View, children []Record, now time.Time) (*Record, error) {
	for i := range children {
		child := new(Record)
		*child = children[i]
		child.round()
		holder, err := v.Record(child.ID)
		if err == nil {
			return holder, fmt.Errorf("child %d: %w", i, ErrTaken)
		}
		if !errors.Is(err, ErrNotFound) {
			return nil, err
		}
		if err := claimable(child, now); err != nil {
			return nil, fmt.Errorf("child %d: %w", i, err)
		}
		if holder, err := c.bind(v, child); err != nil {
			return holder, fmt.Errorf("child %d: %w", i, err)
		}
		c.Put = append(c.Put, Put{Record: child})
	}
	return nil, nil
}
