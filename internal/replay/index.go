package replay

import (
	"hash/maphash"
	"math/bits"
	"unsafe"
)

// An index leads from keys to values, neither with pointers. It is a map that says to the byte how much memory it takes, and that gives it back: one of Go's is
// never smaller than it was, and grows while as much is added as leaves. It is not safe for concurrent use.
//
// It is in parts, each of which grows and shrinks by itself, so that nobody waits for long. In a part a key lies in the first free slot from its own on; what
// leaves lets those behind it move up (Knuth, The Art of Computer Programming, section 6.4, algorithm R), so that nothing is left of it.
type index[K comparable, V any] struct {
	seed  maphash.Seed
	parts []part[K, V]
	n     int
	bytes int64
}

type part[K comparable, V any] struct {
	marks []uint8 // of the slots: 0 where one is free, or else bits of the key's hash, which spare most comparisons
	slots []slot[K, V]
	n     int
}

type slot[K comparable, V any] struct {
	key   K
	value V
}

// fewest is how many slots a part has at least that is not empty.
const fewest = 8

func newIndex[K comparable, V any](parts int) *index[K, V] {
	return &index[K, V]{seed: maphash.MakeSeed(), parts: make([]part[K, V], parts)}
}

// of returns the key's hash, and its part.
func (x *index[K, V]) of(key K) (uint64, *part[K, V]) {
	h := maphash.Comparable(x.seed, key)
	return h, &x.parts[h%uint64(len(x.parts))]
}

func (x *index[K, V]) get(key K) (V, bool) {
	h, p := x.of(key)
	if i, ok := p.find(h, key); ok {
		return p.slots[i].value, true
	}
	var none V
	return none, false
}

func (x *index[K, V]) set(key K, value V) {
	h, p := x.of(key)
	i, ok := p.find(h, key)
	if ok {
		p.slots[i].value = value
		return
	}
	if size := len(p.slots); 4*(p.n+1) > 3*size {
		x.resize(p, max(fewest, size+size/4))
		i, _ = p.find(h, key)
	}
	p.marks[i], p.slots[i] = mark(h), slot[K, V]{key, value}
	p.n++
	x.n++
}

func (x *index[K, V]) delete(key K) {
	h, p := x.of(key)
	i, ok := p.find(h, key)
	if !ok {
		return
	}
	for j := p.next(i); p.marks[j] != 0; j = p.next(j) {
		own := p.own(maphash.Comparable(x.seed, p.slots[j].key))
		if p.behind(own, j) >= p.behind(i, j) {
			p.marks[i], p.slots[i] = p.marks[j], p.slots[j]
			i = j
		}
	}
	p.marks[i], p.slots[i] = 0, slot[K, V]{}
	p.n--
	x.n--
	if size := len(p.slots); p.n == 0 || size > 2*fewest && 4*p.n < size {
		x.resize(p, size/2)
	}
}

// resize gives a part so many slots, or none if it is empty.
func (x *index[K, V]) resize(p *part[K, V], size int) {
	old := *p
	if p.marks, p.slots = nil, nil; old.n > 0 || len(old.slots) == 0 {
		p.marks, p.slots = make([]uint8, size), make([]slot[K, V], size)
	}
	for i, m := range old.marks {
		if m != 0 {
			s := &old.slots[i]
			to, _ := p.find(maphash.Comparable(x.seed, s.key), s.key)
			p.marks[to], p.slots[to] = m, *s
		}
	}
	x.bytes += int64(len(p.slots)-len(old.slots)) * int64(1+unsafe.Sizeof(slot[K, V]{})) //nolint:gosec // some bytes
}

// find returns where the key is, or the free slot that it would get. One is always free, if there is any.
func (p *part[K, V]) find(h uint64, key K) (int, bool) {
	if len(p.slots) == 0 {
		return 0, false
	}
	m := mark(h)
	i := p.own(h)
	for ; p.marks[i] != 0; i = p.next(i) {
		if p.marks[i] == m && p.slots[i].key == key {
			return i, true
		}
	}
	return i, false
}

// own is the slot that a key with that hash gets if it is free.
func (p *part[K, V]) own(h uint64) int {
	i, _ := bits.Mul64(h, uint64(len(p.slots)))
	return int(i) //nolint:gosec // less than a length
}

func (p *part[K, V]) next(i int) int {
	if i++; i < len(p.slots) {
		return i
	}
	return 0
}

// behind is how many slots j is behind i.
func (p *part[K, V]) behind(i, j int) int {
	if j >= i {
		return j - i
	}
	return j - i + len(p.slots)
}

// mark is never 0.
func mark(h uint64) uint8 { return uint8(h>>16) | 1 } //nolint:gosec // eight of its bits
