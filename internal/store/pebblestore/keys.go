package pebblestore

import (
	"encoding/binary"
	"time"

	"github.com/postonce/poe/internal/store"
)

// The first byte of a key says what lies under it.
const (
	recordPrefix = 'a'
	metaPrefix   = 'm'
	namePrefix   = 'n'
	agendaPrefix = 'q'
)

const (
	nameSize   = 1 + 32
	recordSize = 1 + 4 + 16
	agendaSize = 1 + 1 + 8 + 16
)

func recordKey(id store.ID) []byte { return appendRecordKey(make([]byte, 0, recordSize), id) }

func appendRecordKey(b []byte, id store.ID) []byte {
	return append(appendShelfKey(b, id.Shelf()), id[:]...)
}

// shelfKey is before every record of the shelf, and behind all of the shelves before it.
func shelfKey(s store.Shelf) []byte { return appendShelfKey(make([]byte, 0, recordSize), s) }

func appendShelfKey(b []byte, s store.Shelf) []byte {
	return binary.BigEndian.AppendUint32(append(b, recordPrefix), uint32(s))
}

func recordID(key []byte) (id store.ID, ok bool) {
	if len(key) != recordSize || key[0] != recordPrefix {
		return id, false
	}
	return store.ID(key[5:]), true
}

func nameKey(n store.Name) []byte {
	k := make([]byte, 1, nameSize)
	k[0] = namePrefix
	return append(k, n[:]...)
}

func agendaKey(e store.Entry) []byte {
	return appendAgendaKey(make([]byte, 0, agendaSize), e)
}

func appendAgendaKey(b []byte, e store.Entry) []byte {
	return append(appendDueKey(b, e.Queue, e.Due.UnixMilli()), e.ID[:]...)
}

// appendDueKey is before every entry of the queue that is due then or later, and behind those that are due sooner.
func appendDueKey(b []byte, q store.Queue, ms int64) []byte {
	return binary.BigEndian.AppendUint64(append(b, agendaPrefix, byte(q)), uint64(max(ms, 0)))
}

func agendaID(key []byte) (id store.ID, ok bool) {
	if len(key) != agendaSize || key[0] != agendaPrefix {
		return id, false
	}
	return store.ID(key[10:]), true
}

func agendaEntry(key []byte) (e store.Entry, ok bool) {
	if e.ID, ok = agendaID(key); !ok {
		return e, false
	}
	e.Queue = store.Queue(key[1])
	e.Due = time.UnixMilli(int64(binary.BigEndian.Uint64(key[2:10]))).UTC() //nolint:gosec // what appendDueKey wrote
	return e, true
}

func metaKey(word string) []byte {
	return append([]byte{metaPrefix}, word...)
}
