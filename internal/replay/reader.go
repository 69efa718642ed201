package replay

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
)

// ReadAt reads from what is written so far, as io.ReaderAt.
func (b *Body) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("reading a body at a negative offset")
	}
	mem, file, n, err := b.window(off, int64(len(p)))
	if err != nil {
		return 0, err
	}
	if file == nil {
		copy(p, mem)
	} else if _, err := file.ReadAt(p[:n], off); err != nil {
		if errors.Is(err, os.ErrClosed) {
			err = ErrReleased
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // all of p[:n] was written
		}
		return 0, err
	}
	if n < int64(len(p)) {
		return int(n), io.EOF
	}
	return int(n), nil
}

// window finds at most n bytes from off on: in memory, or else in the file that has them. It returns how many there are; beyond
// that a file may hold the remains of a write that failed.
func (b *Body) window(off, n int64) ([]byte, *os.File, int64, error) {
	if b == nil {
		return nil, nil, 0, nil
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.released {
		return nil, nil, 0, ErrReleased
	}
	off = min(off, b.size)
	n = min(n, b.size-off)
	if b.file != nil {
		return nil, b.file, n, nil
	}
	return b.buf[off : off+n], nil, n, nil
}

// Reader returns a new reader over the content as written so far, independent of all others and valid until
// Release. After that it is at no end but at ErrReleased, so that nobody takes a part for the whole.
func (b *Body) Reader() *Reader {
	return &Reader{SectionReader: *io.NewSectionReader(b, 0, b.Size()), body: b}
}

// LastReader is Reader for who reads the content from front to end, once. See LetGo.
func (b *Body) LastReader() *Reader {
	r := b.Reader()
	r.last = true
	return r
}

// A Reader reads a Body. It is for one goroutine.
type Reader struct {
	io.SectionReader
	body *Body
	last bool
}

// Read reads on, as io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	n, err := r.SectionReader.Read(p)
	r.ends()
	return n, err //nolint:wrapcheck // as an io.Reader's
}

// ends notes the end of the content, where that is wanted.
func (r *Reader) ends() {
	if !r.last {
		return
	}
	if off, err := r.Seek(0, io.SeekCurrent); err == nil && off >= r.Size() {
		r.body.readOut()
	}
}

// Close says of a LastReader that nothing more is read. It returns nil.
func (r *Reader) Close() error {
	if r.last {
		r.body.readOut()
	}
	return nil
}

// WriteTo writes the rest of the content to w. It spares a copy where the content is in memory.
func (r *Reader) WriteTo(w io.Writer) (int64, error) {
	off, err := r.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, err
	}
	rest := max(r.Size()-off, 0)
	if rest == 0 && r.last { // it may be released by then, as Read does not tell either
		r.body.readOut()
		return 0, nil
	}
	mem, file, _, err := r.body.window(off, rest)
	if err != nil || rest == 0 {
		return 0, err
	}
	var n int64
	if file == nil {
		var m int
		m, err = w.Write(mem)
		n = int64(m)
		if err == nil && n < rest {
			err = io.ErrShortWrite
		}
	} else {
		n, err = r.body.copyOut(w, off, rest)
	}
	_, seekErr := r.Seek(off+n, io.SeekStart)
	r.ends()
	return n, errors.Join(err, seekErr)
}

// copyOut writes n bytes of the file from off on to w.
func (b *Body) copyOut(w io.Writer, off, n int64) (int64, error) {
	buf := b.spool.scratch.Get().(*[chunk]byte)
	defer b.spool.scratch.Put(buf)
	var done int64
	for done < n {
		m, err := b.ReadAt(buf[:min(n-done, chunk)], off+done)
		if err != nil {
			return done, err
		}
		m, err = w.Write(buf[:m])
		done += int64(m)
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// ReadFrom appends all of src, as io.ReaderFrom. An error may come from src or from Write; what was written stays.
func (b *Body) ReadFrom(src io.Reader) (int64, error) { return b.readFrom(src, math.MaxInt64) }

func (b *Body) readFrom(src io.Reader, most int64) (int64, error) {
	if b == nil {
		return 0, ErrReleased
	}
	return b.spool.copyIn(b.Write, src, most)
}

// copyIn hands src to write, one chunk at a time, until src ends, or most bytes of it were read.
func (s *Spool) copyIn(write func([]byte) (int, error), src io.Reader, most int64) (int64, error) {
	buf := s.scratch.Get().(*[chunk]byte)
	defer s.scratch.Put(buf)
	var total int64
	for {
		n, err := 0, io.EOF
		if total < most {
			n, err = src.Read(buf[:min(chunk, most-total)])
		}
		if n > 0 {
			m, werr := write(buf[:n])
			total += int64(m)
			if werr != nil {
				return total, werr
			}
		}
		if err == io.EOF { // a wrapped one is a failure
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// Sum reads at most so many bytes of src and returns the SHA-256 of what it was, and how many bytes. None of it is kept.
func (s *Spool) Sum(src io.Reader, most int64) (sum [32]byte, size int64, err error) {
	buf := s.scratch.Get().(*[chunk]byte)
	defer s.scratch.Put(buf)
	first := buf[:min(chunk, most)]
	n := 0
	for n < len(first) && err == nil { // mostly that is all
		var m int
		m, err = src.Read(first[n:])
		n += m
	}
	switch {
	case err == io.EOF || err == nil && int64(n) == most: //nolint:errorlint // a wrapped one is a failure
		return sha256.Sum256(first[:n]), int64(n), nil
	case err != nil:
		return sum, int64(n), fmt.Errorf("reading a body: %w", err)
	}
	h := sha256.New()
	h.Write(first)
	size, err = s.copyIn(h.Write, src, most-int64(n))
	size += int64(n)
	if err != nil {
		return sum, size, fmt.Errorf("reading a body: %w", err)
	}
	h.Sum(sum[:0])
	return sum, size, nil
}

// CopyLimited appends all of src, which may have at most limit bytes: one more is ErrTooLarge, and no further byte is
// read. An error of src is wrapped; ErrSpoolFull is the spool's.
func (b *Body) CopyLimited(src io.Reader, limit int64) (int64, error) {
	n, err := b.readFrom(src, limit)
	if err != nil {
		return n, fmt.Errorf("spooling a body: %w", err)
	}
	if n < limit {
		return n, nil
	}
	var probe [1]byte
	_, err = io.ReadFull(src, probe[:])
	switch {
	case err == nil:
		return n, fmt.Errorf("spooling a body: %w: over %d bytes", ErrTooLarge, limit)
	case errors.Is(err, io.EOF):
		return n, nil
	default:
		return n, fmt.Errorf("spooling a body: %w", err)
	}
}
