package pebblestore_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/pebblestore"
	"github.com/postonce/poe/internal/store/storetest"
)

// An action is what one writer does to one record, and how far it is known to be durable.
type action struct {
	tried  []store.Record // the states of the record, in order, as far as they were tried
	acked  int            // how many of them were acknowledged
	body   []byte         // what is kept beside the ledger
	part   store.Part
	stored bool   // the body was acknowledged
	asked  []byte // the request, beside the ledger until the record lets go of it; nil: it is not
}

// A moment is a power cut: what was acknowledged before it, and what it left on the disk.
type moment struct {
	name string
	acts []action
	left vfs.FS
}

// A disk is a MemFS that is not cloned while it reuses a file: there MemFS takes its own lock twice, for reading, and a clone
// that asks for it in between stops everything for ever.
type disk struct {
	*vfs.MemFS
	mu sync.Mutex
}

func (d *disk) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.MemFS.ReuseForWrite(from, to, category)
}

func (d *disk) clone(cfg vfs.CrashCloneCfg) vfs.FS {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.CrashClone(cfg)
}

// A cutter takes the power away before every write that reaches the disk, and lets the run go on.
type cutter struct {
	disk  *disk
	keeps []int // percent of what is not synced
	size  int   // of the smallest content
	mu    sync.Mutex
	idle  bool // nothing is cut yet
	acts  []action
	cuts  []moment
	n     int
}

// MaybeError implements errorfs.Injector.
func (c *cutter) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() == errorfs.OpIsRead || op.Kind == errorfs.OpFileClose {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n++; c.idle {
		return nil
	}
	acts := slices.Clone(c.acts) // before the clone: nothing acknowledged later is asked for
	for _, keep := range c.keeps {
		c.cuts = append(c.cuts, moment{
			name: fmt.Sprintf("before write %d to %s, keeping %d%%", c.n, op.Path, keep),
			acts: acts,
			left: c.disk.clone(vfs.CrashCloneCfg{UnsyncedDataPercent: keep, RNG: rand.New(rand.NewPCG(uint64(c.n), uint64(keep)))}),
		})
	}
	return nil
}

func (c *cutter) String() string { return "(Cutter)" }

// note changes what is known of an action.
func (c *cutter) note(i int, change func(*action)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.acts[i]
	a.tried = slices.Clone(a.tried)
	change(&a)
	c.acts[i] = a
}

const writers, each = 4, 4

func newCutter(keeps ...int) *cutter {
	return &cutter{disk: &disk{MemFS: vfs.NewCrashableMem()}, keeps: keeps, size: 300, acts: make([]action, writers*each)}
}

// run claims and settles on a disk of which wrap decides what it is worth.
func run(t *testing.T, wrap func(vfs.FS) vfs.FS, keeps ...int) *cutter {
	t.Helper()
	c := newCutter(keeps...)
	s, err := open(t, errorfs.Wrap(wrap(c.disk), c))
	if err != nil {
		t.Fatal(err)
	}
	c.work(t, s)
	return c
}

// work claims and settles from several writers at once, and closes the ledger.
func (c *cutter) work(t *testing.T, s *pebblestore.Store) {
	t.Helper()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if err := c.live(t, s, w*each+i); err != nil {
					t.Error(err)
				}
			}
			if err := s.Flush(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// live takes one action from its claim to its end; every third one by way of a release. What every other one has of its request is discarded while its end
// is on its way to the disk, and again when it is there.
func (c *cutter) live(t *testing.T, s *pebblestore.Store, i int) error {
	ctx := t.Context()
	r := claim(t, newName())
	if i%4 == 1 || i%4 == 2 {
		request := noise(70_000)
		r.Request = store.Blob{Where: store.Beside, Part: store.Part{Term: r.Term}, Size: int64(len(request))}
		if _, err := s.Put(ctx, r.ID, r.Request.Part, bytes.NewReader(request)); err != nil {
			return err
		}
		c.note(i, func(a *action) { a.asked = request })
	}
	if err := c.try(i, r, func() error { _, err := storetest.Claim(ctx, s, r); return err }); err != nil {
		return err
	}
	if i%8 == 0 {
		if err := s.Mark(); err != nil {
			return err
		}
	}
	if i%3 == 0 {
		back := r
		back.State, back.Term, back.Due, back.Attempt = store.Unused, newTerm(), store.Record{}.Due, 1
		if err := c.try(i, back, func() error { _, err := storetest.Advance(ctx, s, r.Term, back, store.Also{}); return err }); err != nil {
			return err
		}
		r.Term, r.Attempt = newTerm(), 1
		if err := c.try(i, r, func() error { _, err := storetest.Claim(ctx, s, r); return err }); err != nil {
			return err
		}
	}
	kept := r.Request
	done := settled(r, noise(c.size*(i%4)))
	done.Request = store.Blob{Size: kept.Size}
	if i%2 == 0 {
		body := noise(150_000)
		done.Response = store.Blob{Where: store.Beside, Part: store.Part{Term: done.Term, N: 1}, Size: int64(len(body))}
		if _, err := s.Put(ctx, r.ID, done.Response.Part, bytes.NewReader(body)); err != nil {
			return err
		}
		c.note(i, func(a *action) { a.body, a.part, a.stored = body, done.Response.Part, true })
	}
	if done.Response.Size == 0 {
		done.Response.Content = nil
	}
	if kept.Where != store.Beside {
		return c.try(i, done, func() error { _, err := storetest.Advance(ctx, s, r.Term, done, store.Also{}); return err })
	}
	early := make(chan error, 1)
	go func() {
		var err error
		for n := 0; n < 8 && err == nil; n++ {
			err = s.Discard(ctx, r.ID, kept.Part)
		}
		early <- err
	}()
	err := c.try(i, done, func() error { _, err := storetest.Advance(ctx, s, r.Term, done, store.Also{}); return err })
	return errors.Join(err, <-early, s.Discard(ctx, r.ID, kept.Part))
}

func (c *cutter) try(i int, r store.Record, write func() error) error {
	c.note(i, func(a *action) { a.tried = append(a.tried, r) })
	if err := write(); err != nil {
		return err
	}
	c.note(i, func(a *action) { a.acked = len(a.tried) })
	return nil
}

// lost opens what a power cut left and says what is missing or wrong in it.
func (m *moment) lost(t *testing.T) (wrong []string) {
	s, err := open(t, copyOf(t, m.left)) // a disk that can be cut copies a whole file at every sync
	if err != nil {
		return []string{fmt.Sprintf("it does not open: %v", err)}
	}
	defer func() {
		if err := s.Close(); err != nil {
			wrong = append(wrong, err.Error())
		}
	}()
	for i := range m.acts {
		if w := m.acts[i].lost(t, s); w != "" {
			wrong = append(wrong, fmt.Sprintf("action %d, %d tried, %d acknowledged: %s", i, len(m.acts[i].tried), m.acts[i].acked, w))
		}
	}
	fresh := claim(t, newName())
	if _, err := storetest.Claim(t.Context(), s, fresh); err != nil {
		wrong = append(wrong, fmt.Sprintf("a new claim: %v", err))
	}
	return wrong
}

func (a *action) lost(t *testing.T, s *pebblestore.Store) string {
	if len(a.tried) == 0 {
		return ""
	}
	first := a.tried[0]
	r, err := s.Lookup(t.Context(), store.ByID(first.ID))
	if errors.Is(err, store.ErrNotFound) && a.acked == 0 {
		return ""
	}
	if err != nil {
		return err.Error()
	}
	if w := a.known(r); w != "" {
		return w
	}
	if n, err := s.Lookup(t.Context(), store.ByName(first.Names[0])); err != nil || n.ID != r.ID {
		return fmt.Sprintf("its name leads to %s, %v", n.ID, err)
	}
	again := first
	again.Term = newTerm()
	if _, err := storetest.Claim(t.Context(), s, again); r.State != store.Unused && !errors.Is(err, store.ErrTaken) {
		return fmt.Sprintf("it can be claimed a second time: %v", err)
	}
	if r.Request.Where == store.Beside {
		if w := hasBody(t, s, r.ID, r.Request.Part, a.asked); w != "" {
			return "its request: " + w
		}
	}
	if a.stored || r.Response.Where == store.Beside {
		return hasBody(t, s, r.ID, a.part, a.body)
	}
	return ""
}

// known says what is wrong with r as a successor of what was acknowledged.
func (a *action) known(r store.Record) string {
	for i := max(a.acked-1, 0); i < len(a.tried); i++ {
		if a.tried[i].Term == r.Term {
			return cmp.Diff(a.tried[i], r, cmpopts.IgnoreFields(store.Record{}, "Began", "Doubt")) // which the ledger adds
		}
	}
	return fmt.Sprintf("it stands as %s, which is older than what was acknowledged", r.State)
}

func hasBody(t *testing.T, s *pebblestore.Store, id store.ID, part store.Part, want []byte) string {
	b, err := s.Open(t.Context(), id, part)
	if err != nil {
		return fmt.Sprintf("its body: %v", err)
	}
	content, err := io.ReadAll(b)
	if err := errors.Join(err, b.Close()); err != nil || !bytes.Equal(content, want) {
		return fmt.Sprintf("its body has %d bytes of %d, %v", len(content), len(want), err)
	}
	return ""
}

// Whatever a write was acknowledged before the power went is there afterwards, wherever the power goes.
func TestCrashAtEveryWrite(t *testing.T) {
	c := run(t, func(fs vfs.FS) vfs.FS { return fs }, 0, 50, 100)
	t.Logf("%d power cuts", len(c.cuts))
	if len(c.cuts) < 3*100 {
		t.Errorf("only %d power cuts: the run was too thin to say anything", len(c.cuts))
	}
	for i := 0; i < len(c.cuts); i += thinned(1) {
		m := c.cuts[i]
		if wrong := m.lost(t); len(wrong) > 0 {
			t.Errorf("%s: %s", m.name, strings.Join(wrong, "\n\t"))
		}
	}
}

// thinned is how far apart the power cuts are that are looked at, n unless the tests are to be short. Each share that is kept has its turn: there are three.
func thinned(n int) int {
	if testing.Short() {
		return 10 * n
	}
	return n
}

// The same run on disks that do not sync what they are asked to must lose something, or the run above shows nothing.
func TestCrashWithoutSync(t *testing.T) {
	for _, tt := range []struct {
		name string
		lies func(path string, folder bool) bool
		want string
	}{
		{"log", func(path string, _ bool) bool { return strings.HasSuffix(path, ".log") }, "no such record"},
		{"body", func(path string, folder bool) bool { return strings.Contains(path, "/bodies/") && !folder }, "its body has 0 bytes"},
		{"body's folder", func(path string, folder bool) bool { return strings.Contains(path, "/bodies/") && folder }, "its body: "},
		{"folder of the bodies' folders", func(path string, folder bool) bool { return strings.HasSuffix(path, "/bodies") && folder }, "its body: "},
		{"the ledger's folder", func(path string, folder bool) bool { return path == dir && folder }, "it does not open: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := run(t, func(fs vfs.FS) vfs.FS { return liar{fs, tt.lies} }, 0)
			for i, m := range c.cuts {
				if wrong := m.lost(t); strings.Contains(strings.Join(wrong, "\n"), tt.want) {
					t.Logf("power cut %d of %d lost something", i, len(c.cuts))
					return
				}
			}
			t.Errorf("nothing was lost in %d power cuts", len(c.cuts))
		})
	}
}

// A liar is a disk that says it has synced some of its files and folders.
type liar struct {
	vfs.FS
	lies func(path string, folder bool) bool
}

func (l liar) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := l.FS.Create(name, category)
	return l.wrap(f, name, false), err
}

func (l liar) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := l.FS.ReuseForWrite(from, to, category)
	return l.wrap(f, to, false), err
}

func (l liar) OpenDir(name string) (vfs.File, error) {
	f, err := l.FS.OpenDir(name)
	return l.wrap(f, name, true), err
}

func (l liar) wrap(f vfs.File, path string, folder bool) vfs.File {
	if f == nil || !l.lies(path, folder) {
		return f
	}
	return unsynced{f}
}

type unsynced struct{ vfs.File }

func (unsynced) Sync() error                { return nil }
func (unsynced) SyncData() error            { return nil }
func (unsynced) SyncTo(int64) (bool, error) { return false, nil }
