package store

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"
)

// MaxDays is the longest an id can ask to be kept, in days: what twelve bits hold.
const MaxDays = 1<<12 - 1

// Day is the length of a shelf. Shelves are counted from the Unix epoch in UTC.
const Day = 24 * time.Hour

// An ID names an action for ever. It is a UUIDv7 (RFC 9562, section 5.7) whose twelve rand_a bits say for how
// many days after its minting the record is kept; 0 means until it is freed. So how long the
// absence of a record proves that the action never ran is fixed by the id alone, and a later
// change of configuration cannot make that proof lie.
type ID [16]byte

// ErrBadID is returned by ParseID for anything that is not a UUIDv7 in its canonical form.
var ErrBadID = errors.New("not a UUIDv7")

// NewID makes an id minted at now and kept for days (0 to MaxDays; 0: until freed), with 62 bits from random.
// It fails if days is out of range, now is before 1970, or random fails.
func NewID(now time.Time, days int, random io.Reader) (ID, error) {
	var id ID
	if days < 0 || days > MaxDays {
		return ID{}, fmt.Errorf("keeping an action for %d days: not within 0 and %d", days, MaxDays)
	}
	ms := now.UnixMilli()
	if ms < 0 || ms >= 1<<48 {
		return ID{}, fmt.Errorf("minting an id at %s: out of range", now.Format(time.RFC3339))
	}
	if _, err := io.ReadFull(random, id[8:]); err != nil {
		return ID{}, fmt.Errorf("reading randomness: %w", err)
	}
	var head [8]byte
	binary.BigEndian.PutUint64(head[:], uint64(ms)<<16|0x7000|uint64(days))
	copy(id[:8], head[:])
	id[8] = id[8]&0x3f | 0x80
	return id, nil
}

// ParseID reads an id in its canonical form: 36 characters, lower case. Everything else is ErrBadID.
func ParseID(s string) (ID, error) {
	u, err := uuid.Parse(s)
	if err != nil || u.Version() != 7 || u.Variant() != uuid.RFC4122 || u.String() != s {
		return ID{}, ErrBadID
	}
	return ID(u), nil
}

// String returns the canonical form.
func (id ID) String() string { return uuid.UUID(id).String() }

// AppendText appends the canonical form to b. It never fails (encoding.TextAppender).
func (id ID) AppendText(b []byte) ([]byte, error) {
	for i, part := range [...][]byte{id[:4], id[4:6], id[6:8], id[8:10], id[10:]} {
		if i > 0 {
			b = append(b, '-')
		}
		b = hex.AppendEncode(b, part)
	}
	return b, nil
}

// IsZero tells whether id is the zero id, which names nothing.
func (id ID) IsZero() bool { return id == ID{} }

// Minted returns when the id was made, to the millisecond.
func (id ID) Minted() time.Time {
	return time.UnixMilli(int64(binary.BigEndian.Uint64(id[:8]) >> 16)).UTC()
}

// Days returns for how many days after its minting the record is kept; 0: until freed.
func (id ID) Days() int { return int(binary.BigEndian.Uint16(id[6:8]) & MaxDays) }

// A Shelf is the day, counted from the Unix epoch in UTC, after whose end a record may be forgotten.
type Shelf uint32

// Forever is the shelf of the actions that are kept until they are freed. It never passes.
const Forever Shelf = 1<<32 - 1

// Shelf returns the id's shelf: the day of its minting plus the days it is kept.
func (id ID) Shelf() Shelf {
	if id.Days() == 0 {
		return Forever
	}
	return ShelfOf(id.Minted()) + Shelf(id.Days()) //nolint:gosec // at most 4095
}

// ShelfOf returns the day that t lies in; the first one for all time before 1970.
func ShelfOf(t time.Time) Shelf {
	return Shelf(max(0, t.Unix()) / int64(Day/time.Second)) //nolint:gosec // days since 1970 fit until the year 11 million
}

// Past tells whether the shelf's last day is over at now, so that what lay on it may have been forgotten.
func (s Shelf) Past(now time.Time) bool { return s != Forever && ShelfOf(now) > s }

// End returns when the shelf is past. Forever has none.
func (s Shelf) End() time.Time { return time.Unix((int64(s)+1)*int64(Day/time.Second), 0).UTC() }

// DaysFor returns the days an id must ask for so that its record outlives d, at least one.
// It fails where d is not positive or too long for an id.
func DaysFor(d time.Duration) (int, error) {
	if d <= 0 || d > MaxDays*Day {
		return 0, fmt.Errorf("keeping actions for %s: must be more than nothing and at most %d days", d, MaxDays)
	}
	return int((d + Day - 1) / Day), nil
}
