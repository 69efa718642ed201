package replay

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/bits"
	"os"
	"sync"

	"github.com/postonce/poe/internal/store"
)

// A Body is one message's content on its way through a Spool. It is written once, front to back, by one
// goroutine; what is written can be read any number of times, concurrently, until Release.
//
// Up to store.InlineLimit bytes lie in memory. What is longer, or finds the memory budget used up, lies in an
// unlinked temporary file. A write either succeeds whole or leaves the body as it was.
//
// A nil Body is empty and cannot be written. After Release a Body keeps its Size; reading or writing it
// is ErrReleased. All methods may be called concurrently with Release.
type Body struct {
	spool *Spool

	mu       sync.RWMutex
	buf      []byte    // the content while file is nil; never changed below its length, never reused
	file     *os.File  // unlinked
	hash     hash.Hash // of the file's content
	size     int64
	memory   int64 // held of the spool's budgets
	disk     int64
	released bool
	sealed   bool // nothing more is written
	out      bool // who was to read it last has
	letGo    bool // nobody else reads it any more
}

// smallest is the first allocation of a body that does not know its length, in bytes.
const smallest = 128

// Write appends p. It returns len(p), or 0 and ErrSpoolFull, ErrReleased or the disk's error.
func (b *Body) Write(p []byte) (int, error) {
	if b == nil {
		return 0, ErrReleased
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.released || b.sealed {
		return 0, ErrReleased
	}
	if b.file == nil {
		if b.room(len(b.buf) + len(p)) {
			b.buf = append(b.buf, p...)
			b.size = int64(len(b.buf))
			return len(p), nil
		}
		if err := b.spill(); err != nil {
			return 0, err
		}
	}
	if err := b.extend(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Seal says that nothing more is written: a Write from now on is ErrReleased. It waits for one that is under way.
func (b *Body) Seal() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sealed = true
}

// Expect prepares for a content of n bytes, if that is known beforehand. It is a hint and never fails.
func (b *Body) Expect(n int64) {
	if b == nil || n <= 0 || n > store.InlineLimit {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.buf == nil && b.file == nil && !b.released && b.spool.memory.take(n) {
		b.buf, b.memory = make([]byte, 0, n), n
	}
}

// room makes the memory buffer large enough for need bytes, within the budget, and tells whether it is.
func (b *Body) room(need int) bool {
	if need <= cap(b.buf) {
		return true
	}
	if need > store.InlineLimit {
		return false
	}
	size := min(max(smallest, 1<<bits.Len(uint(need-1))), store.InlineLimit)
	if !b.spool.memory.take(int64(size) - b.memory) {
		return false
	}
	b.buf = append(make([]byte, 0, size), b.buf...)
	b.memory = int64(size)
	return true
}

// spill moves the body from memory into a file.
func (b *Body) spill() error {
	if !b.spool.files.take(1) {
		return fmt.Errorf("%w: quota of %d files", ErrSpoolFull, b.spool.files.limit)
	}
	f, err := b.spool.tempFile()
	if err != nil {
		b.spool.files.give(1)
		b.spool.failed(err)
		return fmt.Errorf("%w: %w", ErrSpoolFull, err)
	}
	old, size := b.buf, b.size
	b.file, b.hash, b.size = f, sha256.New(), 0
	if err := b.extend(old); err != nil {
		b.file, b.hash, b.size = nil, nil, size
		b.spool.files.give(1)
		return errors.Join(err, f.Close())
	}
	b.spool.memory.give(b.memory)
	b.buf, b.memory = nil, 0
	return nil
}

// extend appends p to the file. The place is taken from the quota before the disk is touched, and writing at
// an offset makes a half-written p invisible.
func (b *Body) extend(p []byte) error {
	n := int64(len(p))
	if !b.spool.disk.take(n) {
		return fmt.Errorf("%w: disk quota of %d bytes", ErrSpoolFull, b.spool.disk.limit)
	}
	if _, err := b.file.WriteAt(p, b.size); err != nil {
		b.spool.disk.give(n)
		b.spool.failed(err)
		return fmt.Errorf("%w: %w", ErrSpoolFull, err)
	}
	b.spool.took()
	b.hash.Write(p) // hash.Hash never returns an error
	b.size += n
	b.disk += n
	return nil
}

// Size returns how many bytes were written.
func (b *Body) Size() int64 {
	if b == nil {
		return 0
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.size
}

// Digest returns the SHA-256 of all that was written so far; after Release it is zero.
func (b *Body) Digest() (sum [32]byte) {
	if b == nil {
		return sha256.Sum256(nil)
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	switch {
	case b.released:
		return sum
	case b.file == nil:
		return sha256.Sum256(b.buf)
	default:
		return [32]byte(b.hash.Sum(nil))
	}
}

// Bytes returns the content and true if it is in memory. The slice must not be changed; it stays readable
// for as long as somebody holds it, Release or not.
func (b *Body) Bytes() ([]byte, bool) {
	if b == nil {
		return nil, true
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.buf[:len(b.buf):len(b.buf)], b.file == nil && !b.released
}

// ReadAll returns the whole content in memory, wherever it is. The slice must not be changed.
func (b *Body) ReadAll() ([]byte, error) {
	if p, ok := b.Bytes(); ok {
		return p, nil
	}
	p := make([]byte, b.Size())
	if _, err := io.ReadFull(b.Reader(), p); err != nil {
		return nil, fmt.Errorf("reading a spooled body: %w", err)
	}
	return p, nil
}

// LetGo says that nobody needs the content any more but who has a LastReader: it is released as soon as that one has come to its end, or has closed it.
func (b *Body) LetGo() { b.doneWith(false) }

// readOut says that who was to read it last needs no more of it.
func (b *Body) readOut() { b.doneWith(true) }

// doneWith notes that its last reader, or that everybody else, needs no more of it.
func (b *Body) doneWith(last bool) {
	if b == nil {
		return
	}
	b.mu.Lock()
	b.out, b.letGo = b.out || last, b.letGo || !last
	over := b.out && b.letGo
	b.mu.Unlock()
	if over {
		b.Release()
	}
}

// Release gives back all that the body holds: its memory, its file, its share of the budgets. It may be called
// more than once, and while others read or write.
func (b *Body) Release() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.released {
		return
	}
	b.released = true
	if b.file != nil {
		_ = b.file.Close() // the file has no name and nobody needs its content any more
		b.spool.files.give(1)
	}
	b.spool.memory.give(b.memory)
	b.spool.disk.give(b.disk)
	b.buf, b.memory, b.disk = nil, 0, 0
}
