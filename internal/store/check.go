package store

import (
	"fmt"
	"slices"
	"time"
)

// What a record may hold at most, in bytes and pieces. A record beyond is ErrInvalid.
const (
	MaxWord   = 512       // Door, Route, Method, Event.Who
	MaxLine   = 4 << 10   // Event.Why
	MaxTarget = 64 << 10  // Target
	MaxHead   = 1 << 20   // Blob.Head
	MaxSize   = 1<<62 - 1 // Blob.Size
	MaxNames  = 64        // Names, Also.Free
	MaxClaims = 60        // Names of what is claimed, those of earlier attempts included: its end may take more
	MaxSpawn  = 64        // Also.Spawn
)

// Check tells whether a ledger may hold r, whatever it holds already. Its errors wrap ErrInvalid.
func (r *Record) Check() error {
	switch {
	case r.ID.IsZero():
		return invalid("no id")
	case r.Term == Term{}:
		return invalid("no term")
	case r.State == Absent || r.State > Burned:
		return invalid("state %s", r.State)
	case r.Kind > Compensation:
		return invalid("kind %d", r.Kind)
	case r.Way > Accepted:
		return invalid("way %d", r.Way)
	case r.Undo == r.ID:
		return invalid("it would take itself back")
	case r.State.Open() && r.Due.IsZero():
		return invalid("%s, and nobody is due to look at it", r.State)
	case r.Status < 0 || r.Status > 999:
		return invalid("status %d", r.Status)
	case len(r.History) > MaxHistory:
		return invalid("%d events", len(r.History))
	}
	for _, s := range []string{r.Door, r.Route, r.Method} {
		if len(s) > MaxWord {
			return invalid("%d bytes of door, route or method", len(s))
		}
	}
	if len(r.Target) > MaxTarget {
		return invalid("%d bytes of target", len(r.Target))
	}
	for _, t := range []time.Time{r.Claimed, r.Finished, r.Expires, r.Due} {
		if !storable(t) {
			return invalid("time %s", t.Format(time.RFC3339))
		}
	}
	if err := checkNames(r.Names); err != nil {
		return err
	}
	for _, b := range []*Blob{&r.Request, &r.Response} {
		if err := b.check(); err != nil {
			return err
		}
	}
	for i := range r.History {
		if err := r.History[i].check(); err != nil {
			return err
		}
	}
	return nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// storable tells whether the codec brings t back, to the millisecond.
func storable(t time.Time) bool {
	return t.IsZero() || t.UnixMilli() > 0 && !t.After(Person)
}

func checkNames(names []Name) error {
	if len(names) > MaxNames {
		return invalid("%d names", len(names))
	}
	for i, n := range names {
		if n == (Name{}) || slices.Contains(names[:i], n) {
			return invalid("a name that is empty or there twice")
		}
	}
	return nil
}

func (p *Blob) check() error {
	switch {
	case p.Where > Streamed:
		return invalid("content is %s", p.Where)
	case len(p.Head) > MaxHead:
		return invalid("%d bytes of head", len(p.Head))
	case p.Size < 0 || p.Size > MaxSize: // what is written must be read
		return invalid("content of %d bytes", p.Size)
	case p.Where != Inline && len(p.Content) > 0:
		return invalid("content in the record and %s", p.Where)
	case len(p.Content) > InlineLimit:
		return invalid("%d bytes of content in the record", len(p.Content))
	case p.Where == Inline && p.Size != int64(len(p.Content)):
		return invalid("content of %d bytes, %d of them in the record", p.Size, len(p.Content))
	case p.Where == Beside && p.Part.Term == Term{}:
		return invalid("content beside, and no term to find it by")
	case p.Part.N > 1:
		return invalid("part %d", p.Part.N)
	}
	return nil
}

func (e *Event) check() error {
	switch {
	case e.From > Burned || e.To > Burned:
		return invalid("event from %s to %s", e.From, e.To)
	case len(e.Who) > MaxWord || len(e.Why) > MaxLine:
		return invalid("event of %d and %d bytes", len(e.Who), len(e.Why))
	case e.Status < 0 || e.Status > 999:
		return invalid("event with status %d", e.Status)
	case !storable(e.At):
		return invalid("event at %s", e.At.Format(time.RFC3339))
	}
	return nil
}

// round gives r the form in which it comes back from a ledger: times to the millisecond in UTC, nothing instead
// of empty. It changes no array that the caller can see.
func (r *Record) round() {
	for _, t := range []*time.Time{&r.Claimed, &r.Finished, &r.Expires, &r.Due} {
		*t = milli(*t)
	}
	if len(r.Names) == 0 {
		r.Names = nil
	}
	r.Request.round()
	r.Response.round()
	h := make([]Event, len(r.History))
	for i, e := range r.History {
		e.At = milli(e.At)
		h[i] = e
	}
	r.History = h
	if len(h) == 0 {
		r.History = nil
	}
}

func (p *Blob) round() {
	if len(p.Head) == 0 {
		p.Head = nil
	}
	if len(p.Content) == 0 {
		p.Content = nil
	}
}

func milli(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return time.UnixMilli(t.UnixMilli()).UTC()
}
