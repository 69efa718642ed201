package replay

import "unsafe"

// CloseFile closes the file of a body under it, so that tests see what a failing disk does.
func CloseFile(b *Body) error { return b.file.Close() }

// CutFile leaves so many bytes of it.
func CutFile(b *Body, left int64) error { return b.file.Truncate(left) }

// An Index is an index, for tests.
type Index struct{ of *index[uint16, uint32] }

// NewIndex returns one in so many parts.
func NewIndex(parts int) Index { return Index{newIndex[uint16, uint32](parts)} }

// Get, Set and Delete are the index's own.
func (x Index) Get(k uint16) (uint32, bool) { return x.of.get(k) }
func (x Index) Set(k uint16, v uint32)      { x.of.set(k, v) }
func (x Index) Delete(k uint16)             { x.of.delete(k) }

// Usage returns how many keys it has, how many bytes it says that it takes, and how many its slots have.
func (x Index) Usage() (keys int, says, bytes int64) {
	for i := range x.of.parts {
		p := &x.of.parts[i]
		bytes += int64(len(p.marks)) + int64(len(p.slots))*int64(unsafe.Sizeof(slot[uint16, uint32]{}))
	}
	return x.of.n, x.of.bytes, bytes
}

// Size returns how many bytes of content were taken so far.
func (r *Recorder) Size() int64 { return r.size.Load() }

// Usage returns how many records are here, and how many bytes they take.
func (f *Front[A]) Usage() (records int, bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.place.n, f.size()
}
