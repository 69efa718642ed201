package pebblestore_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/pebblestore"
	"github.com/postonce/poe/internal/store/storetest"
)

const firstZeros, mostZeros = pebblestore.FirstZeros, pebblestore.MostZeros

// A reader of proofs is a disk that looks at what is written to its logs, and where.
type proofreader struct {
	vfs.FS
	room func(l *proofed, off int64, p []byte) error // what a write of zeros meets; nil: nothing
	sync func(l *proofed) error                      // what a sync meets; nil: nothing

	mu    sync.Mutex
	wrong []string

	created, reused     atomic.Int64 // logs
	grown, grownReused  atomic.Int64 // writes of Pebble's that went beyond the end, and those to reused logs
	zeroed, zeroedAgain atomic.Int64 // writes of zeros, and those to reused logs
	bytes               atomic.Int64 // of Pebble's
}

func (d *proofreader) complain(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wrong = append(d.wrong, fmt.Sprintf(format, args...))
}

func (d *proofreader) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, category)
	if err != nil || category != "pebble-wal" {
		return f, err
	}
	d.created.Add(1)
	return &proofed{File: f, d: d, name: name}, nil
}

func (d *proofreader) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.ReuseForWrite(from, to, category)
	if err != nil {
		return f, err
	}
	d.reused.Add(1)
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &proofed{File: f, d: d, name: to, reused: true, size: info.Size()}, nil
}

// A proofed file is a log.
type proofed struct {
	vfs.File
	d       *proofreader
	name    string
	reused  bool
	busy    atomic.Bool
	at      int64 // the end of what Pebble has written
	size    int64
	unclean bool // there are zeros that are not synced
}

func (l *proofed) Write(p []byte) (int, error) {
	if !l.busy.CompareAndSwap(false, true) {
		l.d.complain("%s: two writes at once", l.name)
	}
	defer l.busy.Store(false)
	if l.at == 0 && l.unclean {
		l.d.complain("%s: it is in use before its first zeros are synced", l.name)
	}
	n, err := l.File.Write(p)
	l.at += int64(n)
	l.d.bytes.Add(int64(n))
	if l.at > l.size {
		l.size = l.at
		l.d.grown.Add(1)
		if l.reused {
			l.d.grownReused.Add(1)
		}
	}
	return n, err
}

func (l *proofed) WriteAt(p []byte, off int64) (int, error) {
	if !l.busy.CompareAndSwap(false, true) {
		l.d.complain("%s: zeros are written during another write", l.name)
	}
	defer l.busy.Store(false)
	if len(bytes.TrimLeft(p, "\x00")) > 0 {
		l.d.complain("%s: something else than zeros is written at %d", l.name, off)
	}
	if off < l.size {
		l.d.complain("%s: zeros at %d, and the file goes to %d, written by Pebble to %d", l.name, off, l.size, l.at)
	}
	if l.at < l.size {
		l.d.complain("%s: zeros at %d, and Pebble has only come to %d of %d", l.name, off, l.at, l.size)
	}
	l.d.zeroed.Add(1)
	if l.reused {
		l.d.zeroedAgain.Add(1)
	}
	if l.d.room != nil {
		if err := l.d.room(l, off, p); err != nil {
			n, half := l.File.WriteAt(p[:len(p)/2], off)
			l.size = off + int64(n)
			return n, errors.Join(err, half)
		}
	}
	n, err := l.File.WriteAt(p, off)
	l.size, l.unclean = off+int64(n), true
	return n, err
}

func (l *proofed) Sync() error { return l.synced(l.File.Sync) }

func (l *proofed) SyncData() error { return l.synced(l.File.SyncData) }

func (l *proofed) synced(do func() error) error {
	if l.d.sync != nil {
		if err := l.d.sync(l); err != nil {
			return err
		}
	}
	l.unclean = false
	return do()
}

// act takes an action from its claim to its end, with so much content, and returns what it is then.
func act(t *testing.T, s *pebblestore.Store, content int) store.Record {
	r := claim(t, newName())
	if _, err := storetest.Claim(t.Context(), s, r); err != nil {
		t.Error(err)
	}
	done := settled(r, noise(content))
	if _, err := storetest.Advance(t.Context(), s, r.Term, done, store.Also{}); err != nil {
		t.Error(err)
	}
	return done
}

// stands says whether every action is in the ledger on disk as it was acknowledged.
func stands(t *testing.T, disk vfs.FS, all []store.Record) {
	t.Helper()
	s := mustOpen(t, disk)
	for _, want := range all {
		r, err := s.Lookup(t.Context(), store.ByID(want.ID))
		if err != nil || r.State != want.State || !bytes.Equal(r.Response.Content, want.Response.Content) {
			t.Errorf("%s stands as %s, %v", want.ID, r.State, err)
		}
	}
}

// From the first record on, what is written to a log lies within the file, which becomes longer each time that it is full, and twice as long.
func TestLogIsPrewritten(t *testing.T) {
	disk := &proofreader{FS: vfs.NewMem()}
	s := mustOpen(t, disk)
	for range 100 {
		act(t, s, 250)
	}
	if n := disk.grown.Load(); n != 2 {
		t.Errorf("%d writes made a log longer, want 2 of some two hundred", n)
	}
	log := largest(t, disk, ".log")
	if b := contentOf(t, disk, log); len(b) != 4*firstZeros || len(withoutZeros(b)) <= 2*firstZeros || len(withoutZeros(b)) > 4*firstZeros {
		t.Errorf("the log has %d bytes, of which %d are written", len(b), len(withoutZeros(b)))
	}
}

// Whatever goes on, zeros are written to where nothing is: several write much at once, while one log follows the other, new ones and
// recycled ones, and each is too short for what comes into it.
func TestZerosOnlyBehindTheEnd(t *testing.T) {
	disk := &proofreader{FS: vfs.NewMem()}
	s := mustOpen(t, disk)
	const writers, rounds = 4, 24
	var mu sync.Mutex
	var all []store.Record
	for round := range rounds {
		var wg sync.WaitGroup
		for range writers {
			wg.Go(func() {
				for range 1 + round/4 {
					r := act(t, s, 30_000)
					mu.Lock()
					all = append(all, r)
					mu.Unlock()
				}
			})
		}
		wg.Go(func() { // in the middle of them
			if err := s.Flush(); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d logs, and %d recycled ones; %d bytes, of which %d writes were beyond an end, %d in recycled ones; zeros %d times",
		disk.created.Load(), disk.reused.Load(), disk.bytes.Load(), disk.grown.Load(), disk.grownReused.Load(), disk.zeroed.Load())
	if disk.reused.Load() < rounds/2 || disk.zeroedAgain.Load() == 0 || disk.zeroed.Load() == disk.created.Load() {
		t.Error("too little was going on to say anything")
	}
	doublings := int64(bits.Len(mostZeros/firstZeros)) * (disk.created.Load() + disk.reused.Load())
	if most := disk.bytes.Load()/mostZeros + doublings; disk.grown.Load() > most {
		t.Errorf("%d writes went beyond the end of a log, and %d steps would be enough", disk.grown.Load(), most)
	}
	for _, w := range disk.wrong {
		t.Error(w)
	}
	stands(t, disk.FS, all)
}

// A disk without room for zeros, or one that fails to write them, has logs that grow: nothing else comes of it, and what is kept for a full disk is not given up.
func TestNoRoomForZeros(t *testing.T) {
	for _, tt := range []struct {
		name  string
		room  func(l *proofed, off int64, p []byte) error
		sync  func(l *proofed) error
		plain bool // the logs have no zeros at all
	}{
		{name: "none at all", room: func(*proofed, int64, []byte) error { return syscall.ENOSPC }, plain: true},
		{name: "none behind the first", room: func(_ *proofed, off int64, _ []byte) error {
			if off > 0 {
				return syscall.ENOSPC
			}
			return nil
		}},
		{name: "found missing by the sync", sync: func(l *proofed) error {
			if l.at == 0 {
				return syscall.ENOSPC
			}
			return nil
		}, plain: true},
		{name: "unable", room: func(*proofed, int64, []byte) error { return syscall.EOPNOTSUPP }, plain: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inner := vfs.NewMem()
			inner.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 100 << 20, TotalBytes: 400 << 20})
			disk := &proofreader{FS: inner, room: tt.room, sync: tt.sync}
			s, err := open(t, disk)
			if err != nil {
				t.Fatal(err)
			}
			s.LookAround()
			var all []store.Record
			for range 40 {
				all = append(all, act(t, s, 30_000))
			}
			if logs := disk.created.Load() + disk.reused.Load(); disk.zeroed.Load() > 2*logs {
				t.Errorf("zeros were tried %d times in %d logs", disk.zeroed.Load(), logs)
			}
			if disk.zeroed.Load() < 3 || disk.bytes.Load() < 40*30_000 {
				t.Errorf("zeros were tried %d times: too few to say anything", disk.zeroed.Load())
			}
			if _, err := disk.Stat(dir + "/reserve"); err != nil || s.Health().Low {
				t.Errorf("the reserve was given up: %v", err)
			}
			if tt.plain {
				log := largest(t, disk, ".log")
				if b := contentOf(t, disk, log); len(b)-len(withoutZeros(b)) > 100 {
					t.Errorf("%s has %d bytes, and is written to %d", log, len(b), len(withoutZeros(b)))
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			for _, w := range disk.wrong {
				t.Error(w)
			}
			stands(t, inner, all)
		})
	}
}

// The power goes while a log becomes longer, a new one or a recycled one.
func TestCrashWhileLogGrows(t *testing.T) {
	for _, tt := range []struct {
		name     string
		recycled bool
	}{{"new", false}, {"recycled", true}} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCutter(0, 50, 100)
			c.idle, c.size = true, 2_000
			watched := &proofreader{FS: c.disk}
			s, err := open(t, errorfs.Wrap(watched, c))
			if err != nil {
				t.Fatal(err)
			}
			for watched.reused.Load() == 0 && tt.recycled {
				if err := s.Flush(); err != nil {
					t.Fatal(err)
				}
			}
			for written := watched.bytes.Load(); watched.bytes.Load()-written < mostZeros-8_000; {
				act(t, s, 4_000)
			}
			before, again := watched.zeroed.Load(), watched.zeroedAgain.Load()
			c.mu.Lock()
			c.idle = false
			c.mu.Unlock()
			c.work(t, s)
			t.Logf("%d power cuts; zeros %d times, %d of them in recycled logs", len(c.cuts), watched.zeroed.Load()-before, watched.zeroedAgain.Load()-again)
			if len(c.cuts) < 100 || watched.zeroed.Load() == before || tt.recycled && watched.zeroedAgain.Load() == again {
				t.Error("the run was too thin to say anything")
			}
			for i := 0; i < len(c.cuts); i += thinned(11) {
				m := c.cuts[i]
				if wrong := m.lost(t); len(wrong) > 0 {
					t.Errorf("%s: %s", m.name, strings.Join(wrong, "\n\t"))
				}
			}
		})
	}
}

// The power goes again while what a power cut has left is opened: there are then two logs, the older of which was not closed, and ends in zeros.
func TestCrashWhileOpening(t *testing.T) {
	first := run(t, func(fs vfs.FS) vfs.FS { return fs }, 0, 50)
	cuts := 0
	for i := len(first.cuts) - 1; i > 0; i -= len(first.cuts) / 3 {
		m := first.cuts[i]
		again := &cutter{disk: &disk{MemFS: m.left.(*vfs.MemFS)}, keeps: []int{0, 50, 100}, acts: m.acts}
		s, err := open(t, errorfs.Wrap(again.disk, again))
		if err != nil {
			t.Fatalf("%s: %v", m.name, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		for j := 0; j < len(again.cuts); j += thinned(4) {
			second := again.cuts[j]
			if wrong := second.lost(t); len(wrong) > 0 {
				t.Errorf("%s, and then %s: %s", m.name, second.name, strings.Join(wrong, "\n\t"))
			}
		}
		cuts += len(again.cuts)
	}
	if t.Logf("%d power cuts", cuts); cuts < 100 {
		t.Error("too few to say anything")
	}
}

// A log that ends in the middle of a record, and goes on with zeros, has lost that record only: it was not synced yet.
func TestTornBeforeZeros(t *testing.T) {
	crashable := vfs.NewCrashableMem()
	s := mustOpen(t, crashable)
	var all []store.Record
	for range 40 {
		all = append(all, act(t, s, 2_000))
	}
	last := act(t, s, 8_000)
	left := crashable.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
	log := largest(t, left, ".log")
	b := contentOf(t, left, log)
	for _, cut := range []int{1, 100, 4_096, 7_000} {
		torn := copyOf(t, left)
		short := bytes.Clone(b)
		clear(short[len(withoutZeros(b))-cut:])
		overwrite(t, torn, log, short)
		stands(t, torn, all)
	}
	whole := append(all, last)
	stands(t, left, whole)
}
