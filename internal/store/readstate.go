package store

import "fmt"

// ReadState reads nothing but the state of what Append wrote, for the record with the given id: a small part of the work of Decode, where millions of
// records are looked at. It is one of the first fields, and what follows it is not looked at; an error wraps ErrCorrupt.
func ReadState(id ID, b []byte) (State, error) {
	if len(b) == 0 || b[0] != Version {
		return Absent, fmt.Errorf("%w: record %s is not of version %d", ErrCorrupt, id, Version)
	}
	state := Absent
	err := fields(b[1:], func(v value) error {
		if v.n != fState {
			return nil
		}
		i, err := v.small(uint64(Burned))
		if err != nil {
			return err
		}
		state = State(i) //nolint:gosec // limited above
		return errEnough
	})
	if err != nil {
		return Absent, fmt.Errorf("%w: record %s: %w", ErrCorrupt, id, err)
	}
	if state == Absent {
		return Absent, fmt.Errorf("%w: record %s has no state", ErrCorrupt, id)
	}
	return state, nil
}
