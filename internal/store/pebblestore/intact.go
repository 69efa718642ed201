package pebblestore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/wal"

	"github.com/postonce/poe/internal/store"
)

// Pebble opens a database whose MANIFEST ends in the middle, and knows nothing of what came after: tables that it then does not
// know of, and logs that it then expects and does not find, are silently gone (pebble issue 4560). After a power cut such an end is
// honest: the one edit that was not synced yet. The two look alike, but not in what they leave. Pebble deletes a log only when the edit
// that makes it unnecessary is synced. So where the end is honest, the logs continue from what the rest of the MANIFEST says without a
// gap; where an edit was damaged that moved records from a log to a table, the log is gone, and there is one.
//
// What this cannot see: damage to the edit after a flush that took so long that the next log was full before it ended; and whatever a power
// cut could have taken as well, the last records of the last log. That is what the high-water file is for.

// intact refuses a database that would open without something that it once had.
func intact(disk vfs.FS, dir string) (torn bool, err error) {
	desc, err := pebble.Peek(dir, disk)
	if err != nil {
		return false, fmt.Errorf("looking for the database: %w", err)
	}
	if !desc.Exists {
		return false, fmt.Errorf("%w: %q names no MANIFEST", store.ErrCorrupt, dir)
	}
	m, err := readManifest(disk, desc.ManifestFilename)
	if err != nil {
		return false, fmt.Errorf("reading %q: %w", desc.ManifestFilename, err)
	}
	logs, err := wal.Scan(wal.Dir{FS: disk, Dirname: dir})
	if err != nil {
		return false, fmt.Errorf("looking for the logs: %w", err)
	}
	next := m.next
	for _, l := range logs {
		if uint64(l.Num) < m.firstLog {
			continue
		}
		if next, err = follow(l, next); err != nil {
			return false, fmt.Errorf("%w; %q may be damaged", err, desc.ManifestFilename)
		}
	}
	return m.torn, nil
}

// A manifest is what Pebble will read from a MANIFEST.
type manifest struct {
	firstLog uint64 // logs with smaller numbers are in tables
	next     uint64 // the sequence number, Pebble's, that the logs go on from at the latest
	torn     bool   // it ends in a record that is not whole
}

func readManifest(disk vfs.FS, path string) (m manifest, err error) {
	f, err := disk.Open(path)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	rest := record.NewReader(f, 0)
	for n := 0; ; n++ {
		edit, err := rest.Next()
		var b []byte
		if err == nil {
			b, err = io.ReadAll(edit)
		}
		switch {
		case errors.Is(err, io.EOF):
		case record.IsInvalidRecord(err): // the test that Pebble makes
			m.torn = true
		case err != nil:
			return m, err
		default:
			m.read(b)
			continue
		}
		if n == 0 { // the first record was synced before the marker that names the file
			return m, fmt.Errorf("%w: it does not even begin", store.ErrCorrupt)
		}
		return m, nil
	}
}

// firstSequence is the sequence number with which Pebble begins; those below it are for its own use.
const firstSequence = 10

// read takes what it needs from an edit. Its numbers stand at the front, each behind a tag; what it does not know
// comes behind them, or is a list of tables, and does not matter here.
func (m *manifest) read(edit []byte) {
	for len(edit) > 0 {
		tag, n := binary.Uvarint(edit)
		value, k := binary.Uvarint(edit[max(n, 0):])
		if n <= 0 || k <= 0 {
			return
		}
		edit = edit[n+k:]
		switch tag {
		case 1: // the comparer's name, and its length before it
			if value > uint64(len(edit)) {
				return
			}
			edit = edit[value:]
		case 2:
			m.firstLog = value
		case 3, 9, 106: // the next file number, an obsolete log, a file that is no longer used
		case 105: // a file and its size
			if _, k = binary.Uvarint(edit); k <= 0 {
				return
			}
			edit = edit[k:]
		case 4:
			m.next = max(value+1, firstSequence)
		default:
			return
		}
	}
}

// batchHeader is how a record of the log begins: Pebble's sequence number (8 bytes) and how many it uses up (4).
const batchHeader = 12

// follow reads a log to the end that it has for Pebble, and returns the sequence number that the next one goes on from. Where it ends
// is Pebble's to judge.
func follow(l wal.LogicalLog, next uint64) (_ uint64, err error) {
	r := l.OpenForRead()
	defer func() { err = errors.Join(err, r.Close()) }()
	for {
		batch, at, err := r.NextRecord()
		if err != nil {
			return next, nil //nolint:nilerr // Pebble meets the same, and tells an end from damage
		}
		var b [batchHeader]byte
		if _, err := io.ReadFull(batch, b[:]); err != nil {
			return next, nil //nolint:nilerr // likewise
		}
		first := binary.LittleEndian.Uint64(b[:8])
		if first > next {
			return next, fmt.Errorf("%w: writes %d to %d are missing before %s", store.ErrCorrupt, next, first-1, at.PhysicalFile)
		}
		next = max(next, first+uint64(binary.LittleEndian.Uint32(b[8:])))
	}
}
