package pebblestore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postonce/poe/internal/store"
)

// format is what the folder says of itself. A ledger that says anything else is not opened.
const format = "poe-ledger/1"

const (
	metaFormat   = "format"
	metaIdentity = "identity"
	metaSecret   = "secret"
	metaClock    = "clock" // sequence(8) and time(8, Unix milliseconds) of the latest write

	// Those that a ledger may lack.
	metaMarked   = "high-water" // nothing: there is a high-water file
	metaRestored = "restored"   // time(8) of the latest restore
	metaAccepted = "lost-keys"  // time(8) of the restore whose lost keys somebody has accepted
	metaLeft     = "sweep-left" // nothing: names and the agenda may lead to what a sweep has forgotten
	metaForgot   = "forgotten/" // and door/route: time(8) when the latest of them that a sweep has forgotten was claimed
)

// meta is what a ledger knows of itself.
type meta struct {
	identity store.ID
	secret   [32]byte
	sequence uint64
	floor    time.Time
	marked   bool      // a high-water file was made for it
	left     bool      // names and the agenda may lead to what is forgotten
	restored time.Time // zero: never
	accepted time.Time // equal to restored: what was done under names before it is known to be forgotten
	// forgotten is when the latest that a sweep has forgotten was claimed. There are as many as doors and routes were ever configured.
	forgotten map[origin]time.Time // guarded by Store.gate
}

// An origin is where an action came from. No door has a slash in its name.
type origin struct{ door, route string }

func forgotKey(o origin) []byte { return metaKey(metaForgot + o.door + "/" + o.route) }

// lost tells whether what was done under names may be forgotten, and nobody has said that it may be done again.
func (m *meta) lost() bool { return !m.restored.IsZero() && !m.accepted.Equal(m.restored) }

// acceptLost writes down that somebody has said so, for this restore and no later one.
func (s *Store) acceptLost() error {
	if !s.c.AcceptLost || !s.meta.lost() {
		return nil
	}
	if err := s.db.Set(metaKey(metaAccepted), timeValue(s.meta.restored), pebble.Sync); err != nil {
		return fmt.Errorf("accepting lost keys: %w", err)
	}
	s.meta.accepted = s.meta.restored
	s.c.Log.Warn().Time("restored", s.meta.restored).Msg("what was done under keys before the restore is forgotten, and may be done again: somebody has accepted that")
	return nil
}

func clockValue(sequence uint64, t time.Time) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 16), sequence)
	return binary.BigEndian.AppendUint64(b, uint64(t.UnixMilli()))
}

// readMeta reads what the ledger knows of itself. What is not of our format is ErrForeign.
func readMeta(db *pebble.DB) (m meta, err error) {
	have, err := getMeta(db, metaFormat)
	if errors.Is(err, pebble.ErrNotFound) {
		return meta{}, fmt.Errorf("%w: it says no format", ErrForeign)
	}
	if err != nil {
		return meta{}, fmt.Errorf("reading the ledger's format: %w", err)
	}
	if string(have) != format {
		return meta{}, fmt.Errorf("%w: its format is %q, and this program knows %q", ErrForeign, have, format)
	}
	var clock [16]byte
	for _, field := range []struct {
		word string
		dst  []byte
	}{{metaIdentity, m.identity[:]}, {metaSecret, m.secret[:]}, {metaClock, clock[:]}} {
		b, err := getMeta(db, field.word)
		if err != nil {
			return meta{}, fmt.Errorf("%w: reading the ledger's %s: %w", store.ErrCorrupt, field.word, err)
		}
		if len(b) != len(field.dst) {
			return meta{}, fmt.Errorf("%w: the ledger's %s has %d bytes", store.ErrCorrupt, field.word, len(b))
		}
		copy(field.dst, b)
	}
	m.sequence = binary.BigEndian.Uint64(clock[:8])
	m.floor = time.UnixMilli(int64(binary.BigEndian.Uint64(clock[8:]))).UTC() //nolint:gosec // written by clockValue
	return m, m.readOptional(db)
}

func (m *meta) readOptional(db *pebble.DB) error {
	for word, dst := range map[string]*bool{metaMarked: &m.marked, metaLeft: &m.left} {
		_, err := getMeta(db, word)
		if *dst = err == nil; err != nil && !errors.Is(err, pebble.ErrNotFound) {
			return fmt.Errorf("reading the ledger's %s: %w", word, err)
		}
	}
	for word, dst := range map[string]*time.Time{metaRestored: &m.restored, metaAccepted: &m.accepted} {
		b, err := getMeta(db, word)
		switch {
		case errors.Is(err, pebble.ErrNotFound):
		case err != nil:
			return fmt.Errorf("reading the ledger's %s: %w", word, err)
		case len(b) != 8:
			return fmt.Errorf("%w: the ledger's %s has %d bytes", store.ErrCorrupt, word, len(b))
		default:
			*dst = readTime(b)
		}
	}
	return m.readForgotten(db)
}

func (m *meta) readForgotten(db *pebble.DB) (err error) {
	m.forgotten = map[origin]time.Time{}
	prefix := metaKey(metaForgot)
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: append(bytes.Clone(prefix), 0xff)})
	if err != nil {
		return readError(err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return readError(err)
		}
		door, route, found := strings.Cut(string(it.Key()[len(prefix):]), "/")
		if !found || len(value) != 8 {
			return fmt.Errorf("%w: what the ledger has forgotten is under a key of %d bytes with %d", store.ErrCorrupt, len(it.Key()), len(value))
		}
		m.forgotten[origin{door, route}] = readTime(value)
	}
	return nil
}

// readTime reads what timeValue wrote.
func readTime(b []byte) time.Time {
	return time.UnixMilli(int64(binary.BigEndian.Uint64(b))).UTC() //nolint:gosec // written by timeValue
}

func timeValue(t time.Time) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(t.UnixMilli()))
}

// writeMeta makes an empty database a new ledger. It flushes: Pebble writes the first log of a new database in
// an old encoding in which one flipped bit ends the log silently; the flush moves on to a log that notices. Opening the ledger
// again, as create does, moves on too; each suffices.
func writeMeta(db *pebble.DB, c *Config) error {
	now := c.Clock()
	identity, err := store.NewID(now, 0, c.Random)
	if err != nil {
		return fmt.Errorf("drawing its identity: %w", err)
	}
	var secret [32]byte
	if _, err := io.ReadFull(c.Random, secret[:]); err != nil {
		return fmt.Errorf("drawing its secret: %w", err)
	}
	b := db.NewBatch()
	err = errors.Join(
		b.Set(metaKey(metaFormat), []byte(format), nil),
		b.Set(metaKey(metaIdentity), identity[:], nil),
		b.Set(metaKey(metaSecret), secret[:], nil),
		b.Set(metaKey(metaClock), clockValue(0, now), nil),
		b.Set(metaKey(metaMarked), nil, nil),
	)
	if err == nil {
		err = b.Commit(pebble.Sync)
	}
	if err = errors.Join(err, b.Close()); err == nil {
		err = db.Flush()
	}
	return err
}

func getMeta(db *pebble.DB, word string) ([]byte, error) {
	v, closer, err := db.Get(metaKey(word))
	if err != nil {
		return nil, err
	}
	b := append([]byte(nil), v...)
	return b, closer.Close()
}
