package core_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/store"
)

// A term that two writes have is a write that takes another's for its own, so nothing that was drawn may be drawn again.
func TestReservoirGivesNothingTwice(t *testing.T) {
	const workers, each = 8, 3000
	r := core.NewReservoir(rand.Reader)
	all := make([][]store.Term, workers)
	var drawn sync.WaitGroup
	for w := range workers {
		drawn.Go(func() {
			for range each {
				var term store.Term
				var id [10]byte
				for _, p := range [][]byte{term[:], id[:]} {
					if n, err := r.Read(p); n != len(p) || err != nil {
						t.Error(n, err)
					}
				}
				all[w] = append(all[w], term, store.Term(id[:8]))
			}
		})
	}
	drawn.Wait()
	seen := map[store.Term]bool{}
	for _, terms := range all {
		for _, term := range terms {
			if seen[term] || term == (store.Term{}) {
				t.Fatalf("%v was drawn twice, or is nothing", term)
			}
			seen[term] = true
		}
	}
}

func TestReservoirReads(t *testing.T) {
	var source bytes.Buffer
	for i := range 4096 {
		source.WriteByte(byte(i % 251))
	}
	want := bytes.Clone(source.Bytes())
	r := core.NewReservoir(iotest.HalfReader(&source))
	var got []byte
	for _, n := range []int{0, 1, 7, 500, 10, 1000} { // 1518 of the 1536 that are asked for
		p := make([]byte, n)
		if m, err := r.Read(p); m != n || err != nil {
			t.Fatalf("reading %d: %d, %v", n, m, err)
		}
		got = append(got, p...)
	}
	if !bytes.Equal(got, want[:len(got)]) {
		t.Fatal("what was read is not what the source has, in its order")
	}
}

func TestReservoirFails(t *testing.T) {
	broken := errors.New("no randomness")
	r := core.NewReservoir(io.MultiReader(strings.NewReader(strings.Repeat("r", 512+100)), iotest.ErrReader(broken)))
	if _, err := r.Read(make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	for range 512/8 - 1 { // and 4 bytes are left
		if _, err := r.Read(make([]byte, 8)); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []int{4, 0, 0} { // what came of what was asked for then is not given out
		if n, err := r.Read(make([]byte, 8)); n != want || !errors.Is(err, broken) {
			t.Fatalf("%d bytes without randomness, not %d: %v", n, want, err)
		}
	}
}
