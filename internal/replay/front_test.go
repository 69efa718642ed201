package replay_test

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pgregory.net/rapid"

	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

func done(id byte, size int) store.Record {
	return store.Record{ID: store.ID{id}, Term: store.Term{1}, State: store.Done, Status: 201, Door: "poe", Target: "/orders",
		Names: []store.Name{{1}}, Response: store.Blob{Head: []byte("head"), Content: pattern(size), Where: store.Inline, Size: int64(size)},
		History: []store.Event{{Who: "engine", Why: "because"}}}
}

func TestFrontKeepsWhatIsFinished(t *testing.T) {
	for s := store.Absent; s <= store.Burned; s++ {
		t.Run(s.String(), func(t *testing.T) {
			f := replay.NewFront[string](1 << 20)
			r := done(1, 100)
			r.State = s
			f.Add(&r)
			got := f.Get(r.ID)
			if want := s == store.Done || s == store.Burned; (got != nil) != want {
				t.Fatalf("Get = %v, want one: %t", got, want)
			}
			if got != nil {
				if diff := cmp.Diff(r, got.Record); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
		})
	}
}

// What was decoded once is told again without being decoded, unless it is large, and never outlives its record.
func TestFrontKeepsDecoded(t *testing.T) {
	f := replay.NewFront[string](1 << 20)
	r := done(1, 100)
	f.Add(&r)
	f.Get(r.ID)
	if n := testing.AllocsPerRun(100, func() { f.Get(r.ID) }); n != 0 {
		t.Errorf("%.0f allocations for a record that was decoded before", n)
	}
	made := "of 201"
	f.Get(r.ID).Aside.Store(&made)
	if got := f.Get(r.ID).Aside.Load(); got != &made {
		t.Error("what was made of the record is not kept beside it")
	}
	r.Status = 202
	f.Add(&r)
	if got := f.Get(r.ID).Aside.Load(); got != nil {
		t.Errorf("a newer record has %q beside it", *got)
	}
	if got := f.Get(r.ID); got == nil || got.Status != 202 {
		t.Errorf("Get = %v after a newer one", got)
	}
	f.Remove(r.ID)
	if f.Get(r.ID) != nil {
		t.Error("it is here after Remove")
	}
	large := done(2, 0)
	large.Response.Head = pattern(8 << 10)
	f.Add(&large)
	f.Get(large.ID)
	if n := testing.AllocsPerRun(100, func() { f.Get(large.ID) }); n == 0 {
		t.Error("a large record is kept decoded, beyond the budget")
	}
}

func TestFrontForgets(t *testing.T) {
	enough := replay.NewFront[string](60 << 10) // so small that each of these records has a page of its own
	for id := range byte(20) {
		enough.Add(new(done(id, 1000)))
	}
	n, budget := enough.Usage()
	if n != 20 || budget < 20*1000 {
		t.Fatalf("%d records of more than 1000 bytes are said to take %d", n, budget)
	}
	budget += 600 // for an index that grows, and no record

	f := replay.NewFront[string](budget)
	for id := range byte(21) {
		f.Add(new(done(id, 1000)))
		f.Get(store.ID{0}) // stays in use
	}
	if n, held := f.Usage(); n != 20 || held > budget {
		t.Errorf("%d records with %d bytes, want 20 with %d", n, held, budget)
	}
	for id, want := range map[byte]bool{0: true, 1: false, 2: true, 20: true} {
		if got := f.Get(store.ID{id}); (got != nil) != want {
			t.Errorf("record %d is here: %v", id, got)
		}
	}

	f.Add(new(done(2, 2000)))
	if n, held := f.Usage(); n != 19 || held > budget {
		t.Errorf("after a larger one took the place of another: %d records with %d bytes", n, held)
	}
	f.Add(new(done(2, int(budget/8)))) // over an eighth
	if f.Get(store.ID{2}) != nil {
		t.Error("a record that may not be kept left an earlier one behind")
	}
	for id := range byte(21) {
		f.Remove(store.ID{id})
		f.Remove(store.ID{id})
	}
	if n, held := f.Usage(); n != 0 || held != 0 {
		t.Errorf("emptied, it holds %d records with %d bytes", n, held)
	}
}

// Small records share pages, and leave together. A page that is used, or being filled, stays.
func TestFrontForgetsPages(t *testing.T) {
	const budget = 1 << 20
	f := replay.NewFront[string](budget)
	id := func(i int) store.ID { return store.ID{byte(i), byte(i >> 8), 1} }
	const records = 20000
	for i := range records {
		r := done(0, 40)
		r.ID = id(i)
		f.Add(&r)
		if f.Get(id(0)) == nil {
			t.Fatalf("the first record, which is used, left after %d", i)
		}
		if f.Get(r.ID) == nil {
			t.Fatalf("record %d is not here", i)
		}
	}
	n, held := f.Usage()
	if held > budget || held < budget*9/10 {
		t.Errorf("holds %d bytes of %d", held, budget)
	}
	here := 0
	for i := range records {
		if f.Get(id(i)) != nil {
			here++
		}
	}
	if here != n || n < 2000 || f.Get(id(1)) == nil || f.Get(id(records/2)) != nil {
		t.Errorf("%d records are here, of %d; its neighbour: %t, one in the middle: %t", here, n, f.Get(id(1)) != nil, f.Get(id(records/2)) != nil)
	}
}

// What somebody has got stays what it was when its page is written again.
func TestFrontLendsNothing(t *testing.T) {
	const budget = 256 << 10 // some twelve records share a page
	f := replay.NewFront[string](budget)
	var got []*replay.Held[string]
	for i := range 6000 {
		r := done(0, 20+i%7)
		r.ID = store.ID{byte(i), byte(i >> 8), 1}
		f.Add(&r)
		h := f.Get(r.ID)
		if h == nil {
			t.Fatalf("record %d is not here", i)
		}
		got = append(got, h)
	}
	if n, _ := f.Usage(); n > len(got)/4 {
		t.Fatalf("%d of %d records are here: no page was written again", n, len(got))
	}
	for i, h := range got {
		want := done(0, 20+i%7)
		want.ID = store.ID{byte(i), byte(i >> 8), 1}
		if diff := cmp.Diff(want, h.Record); diff != "" {
			t.Fatalf("record %d (-want +got):\n%s", i, diff)
		}
	}
}

// A page with room for one record only is lent as it is, and is not written again when it has left.
func TestFrontLendsWholePages(t *testing.T) {
	f := replay.NewFront[string](1 << 20)
	large := done(1, 8<<10)
	f.Add(&large)
	got := f.Get(large.ID)
	f.Remove(large.ID)
	for id := range byte(100) {
		f.Add(new(done(id, 100)))
	}
	if diff := cmp.Diff(large, got.Record); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for id := range byte(100) {
		f.Remove(store.ID{id})
	}
	if n, held := f.Usage(); n != 0 || held != 0 {
		t.Errorf("emptied, it holds %d records with %d bytes", n, held)
	}
}

// The page that is being filled does not leave for being the one that was asked least lately.
func TestFrontKeepsWhatIsBeingAdded(t *testing.T) {
	id := func(i int) store.ID { return store.ID{byte(i), byte(i >> 8), 1} }
	for filled := range 8 { // so many records of the latest page are not used, which is all of them now and then
		f := replay.NewFront[string](64 << 10)
		for i := range 1000 {
			for old := max(0, i-400); old < i-filled; old++ {
				f.Get(id(old))
			}
			r := done(0, 20)
			r.ID, r.Names = id(i), nil
			for n := range i / 125 { // they cost more than the bytes that they take of the page: a later one is more than one that leaves for it
				r.Names = append(r.Names, store.Name{byte(i), byte(i >> 8), byte(n)})
			}
			f.Add(&r)
			if f.Get(r.ID) == nil {
				t.Fatalf("record %d has left as it was added", i)
			}
		}
	}
}

// Keeping one more record costs no memory, once there are enough of them.
func TestFrontAllocatesNothing(t *testing.T) {
	f := replay.NewFront[string](1 << 20)
	i := 0
	r := done(0, 40)
	r.Names = nil
	add := func() {
		i++
		r.ID = store.ID{byte(i), byte(i >> 8), byte(i >> 16)}
		f.Add(&r)
	}
	for range 20000 {
		add()
	}
	if n := testing.AllocsPerRun(2000, add); n > 0 {
		t.Errorf("%.0f allocations", n)
	}
}

func TestFrontWithoutMemory(t *testing.T) {
	for _, bytes := range []int64{-1, 0, 7} {
		f := replay.NewFront[string](bytes)
		f.Add(new(done(1, 0)))
		if n, held := f.Usage(); n != 0 || held != 0 {
			t.Errorf("a front of %d bytes holds %d records with %d bytes", bytes, n, held)
		}
	}
}

func TestFrontKeepsItsOwnContent(t *testing.T) {
	f := replay.NewFront[string](1 << 20)
	r := done(1, 3)
	f.Add(&r)
	r.Response.Content[0]++
	if got := f.Get(r.ID); got.Response.Content[0] != pattern(1)[0] {
		t.Error("the content in the front changed with its source")
	}
}

func TestFrontConcurrently(t *testing.T) {
	for name, budget := range map[string]int64{"own pages": 16 << 10, "shared pages": 128 << 10} {
		t.Run(name, func(t *testing.T) {
			f := replay.NewFront[string](budget)
			var wg sync.WaitGroup
			for g := range byte(8) {
				wg.Go(func() {
					for i := range 4000 {
						id := byte(i)%8*8 + g // nobody else adds it
						r := done(id, i%100)
						f.Add(&r)
						if h := f.Get(r.ID); h != nil && !bytes.Equal(h.Response.Content, r.Response.Content) {
							t.Errorf("record %d came with %x, want %x", id, h.Response.Content, r.Response.Content)
						}
						other := id ^ 1
						if h := f.Get(store.ID{other}); h != nil && (h.ID != store.ID{other} || !bytes.Equal(h.Response.Content, pattern(len(h.Response.Content)))) {
							t.Errorf("record %d came as %s with %x", other, h.ID, h.Response.Content)
						}
						if i%5 == 0 {
							f.Remove(r.ID)
						}
					}
				})
			}
			wg.Wait()
			if _, held := f.Usage(); held > budget || held < 0 {
				t.Errorf("holds %d bytes of %d", held, budget)
			}
		})
	}
}

// While a record is replaced by newer ones, with other names, nobody gets an older one than there was when he asked, nor one by a name that it does not list.
func TestFrontReplacedConcurrently(t *testing.T) {
	f := replay.NewFront[string](1 << 20)
	names := []store.Name{{1}, {2}}
	var latest atomic.Int64
	var over atomic.Bool
	var wg sync.WaitGroup
	for i := range 8 {
		name := names[i%len(names)]
		wg.Go(func() {
			for !over.Load() {
				before := int(latest.Load())
				if h := f.Get(store.ID{1}); h != nil && h.Status < before {
					t.Errorf("the record of turn %d came after that of turn %d", h.Status, before)
				}
				if h := f.Named(name); h != nil && !slices.Contains(h.Names, name) {
					t.Errorf("%x led to a record with the names %x", name[:1], h.Names)
				}
			}
		})
	}
	end := time.Now().Add(time.Second) // on one processor a turn takes long
	for turn := 0; turn < 300 && time.Now().Before(end); turn++ {
		r := done(1, 10)
		r.Status, r.Names = turn, names[turn%2:][:1]
		for range 20 { // decoding it takes its time
			r.History = append(r.History, r.History[0])
		}
		f.Add(&r)
		latest.Store(int64(turn))
		for range 2 {
			runtime.Gosched()
		}
		if turn%16 == 0 {
			f.Remove(r.ID)
		}
	}
	over.Store(true)
	wg.Wait()
}

// TestFrontCountsHonestly compares what it says with what the heap says.
func TestFrontCountsHonestly(t *testing.T) {
	for name, size := range map[string]int{"small": 40, "large": 5000} {
		t.Run(name, func(t *testing.T) {
			f := replay.NewFront[string](1 << 40)
			// Many records, and what earlier tests left behind collected first: pools give up theirs only with the
			// second collection, and what waits for a cleanup only after it.
			const records = 20000
			var before, after runtime.MemStats
			for range 3 {
				runtime.GC()
			}
			runtime.ReadMemStats(&before)
			for i := range records {
				r := done(0, size)
				r.ID = store.ID{byte(i), byte(i >> 8), byte(i >> 16)}
				r.Names = []store.Name{{byte(i), byte(i >> 8)}}
				f.Add(&r)
			}
			for range 3 {
				runtime.GC()
			}
			runtime.ReadMemStats(&after)
			_, said := f.Usage()
			real := int64(after.HeapAlloc) - int64(before.HeapAlloc)
			if said < real*9/10 || said > real*3/2 {
				t.Errorf("says %d bytes, takes %d", said, real)
			}
			t.Logf("says %d bytes a record, takes %d", said/records, real/records)
			runtime.KeepAlive(f)
		})
	}
}

// A name leads to the record that was added last with it, for as long as that is held and lists it.
func TestFrontByName(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const ids, names = 4, 3
		f := replay.NewFront[string](1 << 20)
		held, leads := map[byte][]store.Name{}, map[store.Name]byte{}
		leave := func(id byte) {
			for n, to := range leads {
				if to == id {
					delete(leads, n)
				}
			}
			delete(held, id)
		}
		rt.Repeat(map[string]func(*rapid.T){
			"add": func(rt *rapid.T) {
				id := rapid.ByteRange(1, ids).Draw(rt, "id")
				r := done(id, 10)
				r.Names = nil
				for n := range byte(names) {
					if rapid.Bool().Draw(rt, "named") {
						r.Names = append(r.Names, store.Name{n + 1})
					}
				}
				leave(id)
				if rapid.Bool().Draw(rt, "finished") {
					held[id] = r.Names
					for _, n := range r.Names {
						leads[n] = id
					}
				} else {
					r.State = store.Running
				}
				f.Add(&r)
			},
			"remove": func(rt *rapid.T) {
				id := rapid.ByteRange(1, ids).Draw(rt, "id")
				leave(id)
				f.Remove(store.ID{id})
			},
			"": func(rt *rapid.T) {
				for n := range byte(names) {
					name := store.Name{n + 1}
					got := f.Named(name)
					want, there := leads[name]
					if (got != nil) != there || there && got.ID != (store.ID{want}) {
						rt.Fatalf("name %d leads to %v; want %d, %v", n, got, want, there)
					}
				}
			},
		})
	})
}

// What leaves takes its names along.
func TestFrontForgetsNames(t *testing.T) {
	f := replay.NewFront[string](8 << 10)
	for i := range 1000 {
		r := done(0, 40)
		r.ID = store.ID{byte(i), byte(i >> 8), byte(i >> 16)}
		r.Names = []store.Name{{byte(i), byte(i >> 8), 1}}
		f.Add(&r)
	}
	found := 0
	for i := range 1000 {
		if f.Named(store.Name{byte(i), byte(i >> 8), 1}) != nil {
			found++
		}
	}
	if n, _ := f.Usage(); found != n || n == 0 {
		t.Errorf("%d names of %d records", found, n)
	}
}

// TestFrontStaysWithinItsBudget compares what it says with what the heap says when much more has come and gone than it holds, and of another kind than before.
func TestFrontStaysWithinItsBudget(t *testing.T) {
	const budget = 4 << 20
	heap := func() int64 {
		var m runtime.MemStats
		for range 3 { // as above
			runtime.GC()
		}
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	f := replay.NewFront[string](budget)
	n := uint64(0)
	for _, names := range []int{2, 1, 0, 2} {
		for range 60_000 {
			n++
			r := done(0, 40)
			binary.BigEndian.PutUint64(r.ID[:], n)
			r.Names = make([]store.Name, names)
			for i := range r.Names {
				binary.BigEndian.PutUint64(r.Names[i][i:], n)
			}
			f.Add(&r)
		}
		records, said := f.Usage()
		real := heap() - before
		if said > budget || said < budget*9/10 || real > budget*11/10 || records < 8000 {
			t.Errorf("with %d names: %d records, says %d bytes of %d, takes %d", names, records, said, budget, real)
		}
		t.Logf("with %d names: %d records, says %d bytes, takes %d", names, records, said, real)
	}
	runtime.KeepAlive(f)
}
