package store

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
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
	last := protowire.Number(0)
	for b = b[1:]; len(b) > 0 && last < fRoute; {
		var v value
		size, err := v.read(b, last)
		if err == nil {
			err = t.field(v)
		}
		if err != nil {
			return Trace{}, fmt.Errorf("%w: record %s: %w", ErrCorrupt, id, err)
		}
		if t.State.Open() {
			break
		}
		b, last = b[size:], v.n
	}
	if t.State == Absent {
		return t, fmt.Errorf("%w: record %s has no state", ErrCorrupt, id)
	}
	return t, nil
}

func (t *Trace) field(v value) (err error) {
	switch v.n {
	case fState:
		var i uint64
		i, err = v.small(uint64(Burned))
		t.State = State(i) //nolint:gosec // limited above
	case fDoor:
		t.Door = v.b
	case fRoute:
		t.Route = v.b
	case fClaimed:
		t.Claimed, err = v.time()
	default:
	}
	return err
}
