package store

import (
	"fmt"
	"time"
)

// ReadKind reads nothing but the kind of what Append wrote, for the record with the given id: a small part of the work of Decode, where many records are looked
// at. It is one of the first fields, and what follows it is not looked at; an error wraps ErrCorrupt.
func ReadKind(id ID, b []byte) (Kind, error) {
	if len(b) == 0 || b[0] != Version {
		return 0, fmt.Errorf("%w: record %s is not of version %d", ErrCorrupt, id, Version)
	}
	kind := Request
	err := fields(b[1:], func(v value) error {
		if v.n < fKind {
			return nil
		}
		if v.n == fKind {
			i, err := v.small(Kinds - 1)
			if err != nil {
				return err
			}
			kind = Kind(i) //nolint:gosec // limited above
		}
		return errEnough
	})
	if err != nil {
		return 0, fmt.Errorf("%w: record %s: %w", ErrCorrupt, id, err)
	}
	return kind, nil
}

// A Trace is what a ledger that is about to forget a record wants to know of it.
type Trace struct {
	State       State
	Door, Route []byte    // which are those of the encoding
	Claimed     time.Time // what is remembered of it, by door and route; see View.Forgotten
}

// ReadTrace is ReadKind for that. Of an open record, which is not forgotten, it reads the state alone.
func ReadTrace(id ID, b []byte) (t Trace, err error) {
	if len(b) == 0 || b[0] != Version {
		return t, fmt.Errorf("%w: record %s is not of version %d", ErrCorrupt, id, Version)
	}
	err = fields(b[1:], func(v value) error {
		switch {
		case v.n == fState:
			i, err := v.small(uint64(Burned))
			if err != nil {
				return err
			}
			if t.State = State(i); t.State.Open() { //nolint:gosec // limited above
				return errEnough
			}
		case v.n == fDoor:
			t.Door = v.b
		case v.n == fRoute:
			t.Route = v.b
		case v.n == fClaimed:
			t.Claimed, err = v.time()
			return err
		case v.n > fClaimed:
			return errEnough
		}
		return nil
	})
	if err != nil {
		return t, fmt.Errorf("%w: record %s: %w", ErrCorrupt, id, err)
	}
	if t.State == Absent {
		return t, fmt.Errorf("%w: record %s has no state", ErrCorrupt, id)
	}
	return t, nil
}
