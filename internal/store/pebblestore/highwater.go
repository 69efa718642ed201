package pebblestore

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postonce/poe/internal/store"
)

// A mark is how far a ledger has come: what it must not fall behind.
type mark struct {
	ledger   store.ID
	sequence uint64    // of a write that is durable
	restored time.Time // when the ledger was put back from a backup; zero: never
	time     time.Time // the floor of the ledger's clock; while the wall clock is behind it, what it is at the next mark
	youngest time.Time // when the youngest id was minted that has a record; the floor may be behind it, while a clock is on trial. What was forgotten since is refused by the day of its id
}

// A highWater is a file outside of the ledger with the ledger's last mark, so that a ledger which has lost writes is noticed: emptied, swapped for another,
// put back from an older copy, or with a log whose end is damaged.
//
// The file has two slots, each a line of text on a page of its own, written in turn and synced, so that a power cut can only take the one that is being written.
// A mark is written after what it marks is durable, and may so be behind it, by no more than a second of writes, and never ahead.
type highWater struct {
	path string
	f    vfs.File // nil: not open
	away bool     // f is not the file at path any more
	n    uint64   // how often it was written
	last mark     // what it says
}

const (
	slotSize   = 4096
	markFormat = "poe-high-water/1"
)

const markCategory vfs.DiskWriteCategory = "poe-high-water"

// The words of a slot, and behind them the checksum of all before it.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (m mark) slot(n uint64) []byte {
	line := fmt.Sprintf("%s %s sequence=%d time=%s restored=%s youngest=%s write=%d ", markFormat, m.ledger, m.sequence, stamp(m.time), stamp(m.restored), stamp(m.youngest), n)
	line += fmt.Sprintf("crc=%08x\n", crc32.Checksum([]byte(line), castagnoli))
	b := bytes.Repeat([]byte{' '}, slotSize)
	copy(b, line)
	b[slotSize-1] = '\n'
	return b
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return strconv.FormatInt(t.UnixMilli(), 10)
}

// parseSlot reads a slot, and how many writes of the file came before it.
func parseSlot(b []byte) (m mark, n uint64, ok bool) {
	line, _, _ := bytes.Cut(b, []byte{'\n'})
	body, sum, found := strings.Cut(string(line), "crc=")
	if !found || sum != fmt.Sprintf("%08x", crc32.Checksum([]byte(body), castagnoli)) {
		return m, 0, false
	}
	var format, id, at, restored, youngest string
	if _, err := fmt.Sscanf(body, "%s %s sequence=%d time=%s restored=%s youngest=%s write=%d", &format, &id, &m.sequence, &at, &restored, &youngest, &n); err != nil {
		return m, 0, false
	}
	var errs [4]error
	m.ledger, errs[0] = store.ParseID(id)
	m.time, errs[1] = parseStamp(at)
	m.restored, errs[2] = parseStamp(restored)
	m.youngest, errs[3] = parseStamp(youngest)
	return m, n, format == markFormat && errors.Join(errs[:]...) == nil
}

func parseStamp(s string) (time.Time, error) {
	if s == "-" {
		return time.Time{}, nil
	}
	ms, err := strconv.ParseInt(s, 10, 64)
	return time.UnixMilli(ms).UTC(), err
}

// readMark returns the newer mark of the file, fs.ErrNotExist where there is none, and store.ErrCorrupt where neither slot is whole.
func readMark(disk vfs.FS, path string) (newest mark, writes uint64, err error) {
	f, err := disk.Open(path)
	if err != nil {
		return mark{}, 0, err
	}
	b, err := io.ReadAll(io.LimitReader(f, 2*slotSize))
	if err := errors.Join(err, f.Close()); err != nil {
		return mark{}, 0, fmt.Errorf("reading %q: %w", path, err)
	}
	found := false
	for len(b) > 0 {
		size := min(len(b), slotSize)
		if m, n, ok := parseSlot(b[:size]); ok && (!found || n > writes) {
			newest, writes, found = m, n, true
		}
		b = b[size:]
	}
	if !found {
		return mark{}, 0, fmt.Errorf("%w: the high-water file %q cannot be read", store.ErrCorrupt, path)
	}
	return newest, writes, nil
}

// create makes the file, whole or not at all. What is there is replaced.
func (h *highWater) create(disk vfs.FS, m mark) error {
	aside := h.path + ".new"
	f, err := disk.Create(aside, markCategory)
	if err != nil {
		return fmt.Errorf("making the high-water file: %w", err)
	}
	_, err = f.Write(append(m.slot(1), m.slot(2)...))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("making the high-water file: %w", errors.Join(err, disk.Remove(aside)))
	}
	if err := disk.Rename(aside, h.path); err != nil {
		return fmt.Errorf("making the high-water file: %w", err)
	}
	h.n, h.last = 2, m
	return syncDir(disk, disk.PathDir(h.path))
}

// open opens the file, which is there, for writing.
func (h *highWater) open(disk vfs.FS) (err error) {
	if h.f, err = disk.OpenReadWrite(h.path, markCategory); err != nil {
		return fmt.Errorf("opening the high-water file: %w", err)
	}
	return nil
}

// A syncError is a sync that failed: nobody knows what is on the disk.
type syncError struct{ err error }

func (e *syncError) Error() string { return e.err.Error() }
func (e *syncError) Unwrap() error { return e.err }

// write puts m into the older slot and returns when that is durable.
func (h *highWater) write(m mark) error {
	n := h.n + 1
	_, err := h.f.WriteAt(m.slot(n), int64((n+1)%2)*slotSize)
	if err != nil {
		return fmt.Errorf("writing the high-water file %q: %w", h.path, err)
	}
	if err := h.f.SyncData(); err != nil {
		return fmt.Errorf("syncing the high-water file %q: %w", h.path, &syncError{err})
	}
	h.n, h.last = n, m
	return nil
}

// keep makes the file again where somebody has taken it away: the next process would refuse the ledger without it.
func (h *highWater) keep(disk vfs.FS, m mark) error {
	if !h.away {
		if _, err := disk.Stat(h.path); !gone(err) {
			return nil // writing says what is wrong with it
		}
		if err := h.create(disk, m); err != nil {
			return err
		}
		h.away = true
	}
	old := h.f
	if err := h.open(disk); err != nil {
		h.f = old
		return err
	}
	h.away = false
	return old.Close()
}

func (h *highWater) close() error {
	if h.f == nil {
		return nil
	}
	return h.f.Close()
}

// gone tells whether an error says that there is no file.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) }
