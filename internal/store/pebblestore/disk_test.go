package pebblestore_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/rs/zerolog"

	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/pebblestore"
	"github.com/postonce/poe/internal/store/storetest"
)

// A valve holds up the syncs of the log while it is shut.
type valve struct {
	shut    atomic.Bool
	held    chan struct{} // gets a token when a sync is held up
	release chan struct{}
	once    sync.Once
	syncs   atomic.Int64
}

// newLedger opens a ledger whose log syncs through a valve, which is open, and will be when the test ends.
func newLedger(t *testing.T) (*pebblestore.Store, *valve) {
	t.Helper()
	v := &valve{held: make(chan struct{}, 1000), release: make(chan struct{})}
	s := mustOpen(t, errorfs.Wrap(vfs.NewMem(), v))
	t.Cleanup(v.open)
	return s, v
}

func (v *valve) String() string { return "(Valve)" }

// MaybeError implements errorfs.Injector.
func (v *valve) MaybeError(op errorfs.Op) error {
	if !syncsLog(op) {
		return nil
	}
	v.syncs.Add(1)
	if v.shut.Load() {
		v.held <- struct{}{}
		<-v.release
	}
	return nil
}

func (v *valve) open() {
	v.shut.Store(false)
	v.once.Do(func() { close(v.release) })
}

func syncsLog(op errorfs.Op) bool {
	return strings.HasSuffix(op.Path, ".log") && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData)
}

// stalled opens a ledger, shuts the valve, and starts a claim of r that waits for the disk.
func stalled(t *testing.T, r store.Record) (*pebblestore.Store, *valve, chan error) {
	t.Helper()
	s, v := newLedger(t)
	v.shut.Store(true)
	claimed := make(chan error, 1)
	go func() {
		_, err := storetest.Claim(t.Context(), s, r)
		claimed <- err
	}()
	<-v.held
	return s, v, claimed
}

// The claim is in Pebble, where any reader of Pebble sees it; but its sync has not ended, so no reader of the ledger may.
func TestLookupWaitsForSync(t *testing.T) {
	r := claim(t, newName())
	s, v, claimed := stalled(t, r)
	var opened atomic.Bool
	var wg sync.WaitGroup
	for _, key := range []store.Key{store.ByID(r.ID), store.ByName(r.Names[0])} {
		begun := make(chan struct{})
		wg.Go(func() {
			close(begun)
			got, err := s.Lookup(t.Context(), key)
			if !opened.Load() {
				t.Errorf("it was read as %s, %v, before it was durable", got.State, err)
			}
			if err != nil || got.Term != r.Term {
				t.Errorf("after the sync it reads %s, %v", got.State, err)
			}
		})
		<-begun
	}
	for range 300 { // others are not held up, and the two have every chance to go wrong
		runtime.Gosched()
		if _, err := s.Lookup(t.Context(), store.ByID(apart(t, r))); !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("another record got %v", err)
		}
	}
	<-time.After(50 * time.Millisecond) // also where the machine has much else to do
	opened.Store(true)
	v.open()
	wg.Wait()
	if err := <-claimed; err != nil {
		t.Error(err)
	}
}

// apart is an id that shares no stripe with r.
func apart(t *testing.T, r store.Record) store.ID {
	t.Helper()
	id := newID(t)
	id[15] = r.ID[15] + 1
	for id[15] == r.Names[0][31] || id[15] == r.ID[15] {
		id[15]++
	}
	return id
}

// A claim that waits for the disk is not given up when its client goes: its locks guard what is not durable yet.
func TestCancelWhileSyncing(t *testing.T) {
	s, v := newLedger(t)
	v.shut.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	r := claim(t)
	claimed, behind := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := storetest.Claim(ctx, s, r)
		claimed <- err
	}()
	<-v.held
	go func() { // waits for the stripe of the first
		again := r
		again.Term = newTerm()
		_, err := storetest.Claim(ctx, s, again)
		behind <- err
	}()
	cancel()
	for range 300 {
		runtime.Gosched()
		select {
		case err := <-claimed:
			t.Fatalf("the claim returned %v before its sync", err)
		default:
		}
	}
	v.open()
	if err := <-claimed; err != nil {
		t.Errorf("the claim got %v", err)
	}
	// It had not written anything when its client went: either it saw the winner before, or it gave up.
	if err := <-behind; !store.Refused(err) {
		t.Errorf("the claim behind it got %v", err)
	}
}

// However many wait, one sync serves them all.
func TestOneSyncForMany(t *testing.T) {
	const writers = 50
	s, v, claimed := stalled(t, spread(claim(t, newName()), writers))
	before := v.syncs.Load()
	var wg sync.WaitGroup
	for i := range writers {
		r := spread(claim(t, newName()), i)
		wg.Go(func() {
			if _, err := storetest.Claim(t.Context(), s, r); err != nil {
				t.Error(err)
			}
		})
	}
	await(t, s, writers)
	v.open()
	wg.Wait()
	if err := <-claimed; err != nil {
		t.Error(err)
	}
	if n := v.syncs.Load() - before; n != 1 {
		t.Errorf("%d writers took %d syncs", writers, n)
	}
}

// spread gives the i-th of a few hundred records stripes of its own.
func spread(r store.Record, i int) store.Record {
	binary.BigEndian.PutUint16(r.ID[14:], uint16(i))
	binary.BigEndian.PutUint16(r.Names[0][30:], uint16(1000+i))
	return r
}

// await returns when n writes wait in groups.
func await(t *testing.T, s *pebblestore.Store, n int) {
	t.Helper()
	for range 10_000_000 {
		if s.Waiting() >= n {
			return
		}
		runtime.Gosched()
	}
	t.Fatalf("%d writes wait, want %d", s.Waiting(), n)
}

func TestNotReadyWhileTheDiskHangs(t *testing.T) {
	s, v, claimed := stalled(t, claim(t))
	ctx, cancel := context.WithCancel(t.Context())
	ready := make(chan error, 1)
	go func() { ready <- s.Ready(ctx) }()
	await(t, s, 1)
	cancel()
	if err := <-ready; !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	v.open()
	if err := <-claimed; err != nil {
		t.Error(err)
	}
	if err := s.Ready(t.Context()); err != nil {
		t.Errorf("after the disk came back: %v", err)
	}
}

func TestNotReadyWhenTheDiskIsFull(t *testing.T) {
	full := fullDisk{vfs.NewMem(), 10 << 20}
	s, err := pebblestore.Open(t.Context(), pebblestore.Config{Dir: dir, FS: full, MinFree: 11 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Ready(t.Context()); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "10 MiB") {
		t.Errorf("got %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

type fullDisk struct {
	vfs.FS
	left uint64
}

func (d fullDisk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: d.left}, nil
}

// A sync that fails ends the process: Fatal is called, and nobody is told that his write is done, then or later.
func TestSyncFails(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fails func(errorfs.Op) bool
		write func(context.Context, *pebblestore.Store) error
	}{
		{"log", syncsLog, func(ctx context.Context, s *pebblestore.Store) error {
			_, err := storetest.Claim(ctx, s, claim(t))
			return err
		}},
		{"body", func(op errorfs.Op) bool {
			return strings.Contains(op.Path, "/bodies/") && strings.HasSuffix(op.Path, ".1") && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData)
		}, putSome(t)},
		{"body's folder", func(op errorfs.Op) bool {
			return strings.Contains(op.Path, "/bodies/") && !strings.HasSuffix(op.Path, ".1") && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData)
		}, putSome(t)},
		{"folder of the bodies' folders", func(op errorfs.Op) bool {
			return strings.HasSuffix(op.Path, "/bodies") && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData)
		}, putSome(t)},
		{"high-water file", func(op errorfs.Op) bool {
			return strings.HasSuffix(op.Path, ".high-water") && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData)
		}, func(ctx context.Context, s *pebblestore.Store) error {
			_, err := storetest.Claim(ctx, s, claim(t))
			return errors.Join(err, s.Mark())
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var broken atomic.Bool
			inject := errorfs.InjectorFunc(func(op errorfs.Op) error {
				if broken.Load() && tt.fails(op) {
					return errorfs.ErrInjected
				}
				return nil
			})
			reasons := make(chan string, 10)
			s, err := pebblestore.Open(t.Context(), pebblestore.Config{
				Dir: dir, FS: errorfs.Wrap(vfs.NewMem(), inject), Clock: func() time.Time { return at },
				Fatal: func(reason string) { reasons <- reason },
			})
			if err != nil {
				t.Fatal(err)
			}
			broken.Store(true)
			written := make(chan error, 1)
			ctx := context.WithoutCancel(t.Context())
			go func() { written <- tt.write(ctx, s) }() // this goroutine, and the ledger, are left as they are
			if reason := <-reasons; !strings.Contains(reason, "injected") {
				t.Errorf("the reason is %q", reason)
			}
			broken.Store(false)
			for range 300 {
				runtime.Gosched()
				select {
				case err := <-written:
					t.Fatalf("the write returned %v", err)
				default:
				}
			}
		})
	}
}

func putSome(t *testing.T) func(context.Context, *pebblestore.Store) error {
	return func(ctx context.Context, s *pebblestore.Store) error {
		_, err := s.Put(ctx, newID(t), store.Part{Term: newTerm(), N: 1}, bytes.NewReader(noise(1000)))
		return err
	}
}

// A failing disk syncs nothing once it is broken.
type failing struct {
	vfs.FS
	broken atomic.Bool
}

func (d *failing) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, category)
	if err != nil {
		return nil, err
	}
	return failingFile{f, d}, nil
}

type failingFile struct {
	vfs.File
	d *failing
}

func (f failingFile) SyncData() error {
	if f.d.broken.Load() {
		return errorfs.ErrInjected
	}
	return f.File.SyncData()
}

func (f failingFile) Sync() error {
	if f.d.broken.Load() {
		return errorfs.ErrInjected
	}
	return f.File.Sync()
}

// A disk that takes no tables ends what waits for one: a restore, and a ledger that is made.
func TestDiskFailsWhileOpening(t *testing.T) {
	whole := vfs.NewMem()
	backedUp(t, whole)
	remove(t, whole, dir)
	remove(t, whole, highWater)
	tables, err := whole.List(backup + "/ledger")
	if err != nil {
		t.Fatal(err)
	}
	for name, do := range map[string]func(pebblestore.Config) error{
		"restored": func(c pebblestore.Config) error {
			_, err := pebblestore.Put(t.Context(), c, store.Restore{From: backup})
			return err
		},
		"made": func(c pebblestore.Config) error {
			_, err := pebblestore.Open(t.Context(), c)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := config(errorfs.Wrap(copyOf(t, whole), errorfs.InjectorFunc(func(op errorfs.Op) error {
				isCopy := name == "restored" && slices.Contains(tables, whole.PathBase(op.Path))
				if op.Kind == errorfs.OpFileWrite && strings.HasSuffix(op.Path, ".sst") && !isCopy {
					return syscall.EDQUOT
				}
				return nil
			})))
			ended := make(chan string, 1)
			c.Fatal = func(reason string) { ended <- reason }
			go func() { ended <- fmt.Sprint("it has ended: ", do(c)) }()
			select {
			case reason := <-ended:
				if want := "its disk fails: "; !strings.HasPrefix(reason, want) {
					t.Errorf("it said %q, want %q", reason, want)
				}
			case <-time.After(20 * time.Second):
				t.Error("it waits for ever")
			}
		})
	}
}

// While the disk takes no tables the log has one line a minute: it may lie on that disk.
func TestUpkeepThatFailsIsOneLineAMinute(t *testing.T) {
	var full atomic.Bool
	var later atomic.Int64
	disk := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full.Load() && op.Kind == errorfs.OpFileWrite && strings.HasSuffix(op.Path, ".sst") {
			return syscall.EDQUOT
		}
		return nil
	}))
	var said lockedBuffer
	c := config(disk)
	c.Clock = func() time.Time { return at.Add(time.Duration(later.Load())) }
	c.Log = zerolog.New(&said).Level(zerolog.WarnLevel)
	s, err := pebblestore.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := storetest.Claim(t.Context(), s, claim(t)); err != nil {
		t.Fatal(err)
	}
	full.Store(true)
	flushed := make(chan error, 1)
	go func() { flushed <- s.Flush() }()
	<-time.After(2500 * time.Millisecond)
	later.Store(int64(time.Minute))
	<-time.After(500 * time.Millisecond)
	full.Store(false)
	if err := errors.Join(<-flushed, s.Close()); err != nil {
		t.Error(err)
	}
	lines := strings.Split(strings.TrimSpace(said.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "upkeep failed") || !strings.Contains(lines[1], `"left_out":`) {
		t.Errorf("it has said %d lines: %.2000s", len(lines), said.String())
	}
}
