package prove_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

const wishes = 12

// A diary is what clients know, at any moment.
type diary struct {
	mu   sync.Mutex
	page map[string]wish
}

func (d *diary) know(w *wish) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.page[w.want] = *w
}

func (d *diary) copy() map[string]wish {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := map[string]wish{}
	for k, w := range d.page {
		out[k] = w
	}
	return out
}

// after opens what a power cut has left, with keep percent of what was not synced, and says what is wrong with it.
func (k *keyring) after(t *testing.T, left *vfs.MemFS, known map[string]wish, j *judge) []string {
	t.Helper()
	h, ok, err := k.inhabit(t, left, j)
	defer h.leave()
	if !ok || err != nil {
		return []string{fmt.Sprintf("it does not open: %v", err)}
	}
	return h.wrong(known, j)
}

// The power goes before every write of the engine over its ledger, with none, half or all kept of what is not synced: nothing that was acknowledged is lost,
// and nothing is executed again.
func TestPowerCutsOfTheEngine(t *testing.T) {
	began, random := time.Now(), seeded(t)
	keys, d, j := newKeyring(), &diary{page: map[string]wish{}}, newJudge()
	j.quick = true
	disk := newMemory()
	type cut struct {
		name  string
		known map[string]wish
		judge *judge
		left  *vfs.MemFS
	}
	var mu sync.Mutex
	var cuts []cut
	n, every := 0, form{1, 4, 16}.size()
	from := random.IntN(every)
	h, ok, err := keys.inhabit(t, errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsRead || op.Kind == errorfs.OpFileClose {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		if n++; n%every != from {
			return nil
		}
		known, judge := d.copy(), j.fork() // before the clone: nothing that is acknowledged or executed later is asked for
		for _, keep := range []int{0, 50, 100} {
			cuts = append(cuts, cut{
				name: fmt.Sprintf("before write %d to %s, keeping %d%%", n, op.Path, keep), known: known, judge: judge.fork(),
				left: disk.clone(vfs.CrashCloneCfg{UnsyncedDataPercent: keep, RNG: rand.New(rand.NewPCG(random.Uint64(), uint64(keep)))}),
			})
		}
		return nil
	})), j)
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	h.live(wishes, d.know)
	if err := h.store.Close(); err != nil {
		t.Fatal(err)
	}
	if len(d.page) != wishes || d.page["wish-0"].acked == "" {
		t.Fatalf("the run itself did not work: %v", d.page)
	}
	for _, c := range cuts {
		if wrong := keys.after(t, c.left, c.known, c.judge); len(wrong) > 0 {
			t.Errorf("%s: %s", c.name, strings.Join(wrong, "\n\t"))
		}
	}
	if len(cuts)*every < 3*100 {
		t.Errorf("only %d power cuts: the run was too thin to say anything", len(cuts))
	}
	publish(t, began, figure{
		Proof:  "power cuts in memory",
		Sample: fmt.Sprintf("%d power cuts: the engine, at %d of %d writes, with 0, 50 and 100 %% kept of what was not synced", len(cuts), len(cuts)/3, n),
		Result: "0 executed twice, 0 acknowledged outcomes lost",
	})
}

// A trouble is what one operation of a disk meets.
type trouble struct {
	name string
	err  error
	torn bool // half of a write is done
}

// A failing disk meets its trouble once, at its nth operation.
type failing struct {
	vfs.FS
	trouble
	at   int64
	die  func()      // ends the process, and never returns
	open atomic.Bool // the ledger is open
	ops  atomic.Int64
	met  atomic.Pointer[string] // by which operation
}

// wrap has every operation counted; of torn writes only writes are.
func (f *failing) wrap() vfs.FS {
	if f.torn {
		return torn{f.FS, f}
	}
	return errorfs.Wrap(f.FS, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileClose || op.Kind == errorfs.OpGetDiskUsage {
			return nil
		}
		return f.due(fmt.Sprintf("kind %d on %s", op.Kind, op.Path), op.Path)
	}))
}

// due is asked by each operation whether it fails. Where Pebble goes on to another log or MANIFEST, which it does while a ledger is made, it meets a failure with a panic that
// nobody can catch: there the process ends by our hand.
func (f *failing) due(what, path string) error {
	if f.ops.Add(1) != f.at {
		return nil
	}
	f.met.Store(&what)
	stack := string(debug.Stack())
	if !f.open.Load() && strings.HasSuffix(path, ".log") || strings.Contains(stack, ".rotateWAL(") || strings.Contains(stack, "(*Marker).Move(") {
		f.die()
	}
	return f.err
}

// torn is a disk on which a write may be done by half.
type torn struct {
	vfs.FS
	f *failing
}

func (d torn) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, category)
	return d.wrap(f, name), err
}

func (d torn) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.ReuseForWrite(from, to, category)
	return d.wrap(f, to), err
}

func (d torn) wrap(f vfs.File, name string) vfs.File {
	if f == nil {
		return nil
	}
	return tornFile{f, d.f, name}
}

type tornFile struct {
	vfs.File
	f    *failing
	name string
}

func (f tornFile) Write(p []byte) (int, error) {
	err := f.f.due("a write to "+f.name, f.name)
	if err == nil {
		return f.File.Write(p)
	}
	n, half := f.File.Write(p[:len(p)/2])
	return n, errors.Join(err, half)
}

// Every operation of the disk fails once: the 1st of a run, the 2nd of another, until a run meets no failure. Whatever fails, nothing is executed twice, then or
// after a restart, and what was acknowledged is there; or the process has ended.
func TestEveryOperationFails(t *testing.T) {
	began, random := time.Now(), seeded(t)
	every := form{1, 9, 60}.size()
	runs, ended := 0, 0
	for _, tr := range []trouble{{"EIO", syscall.EIO, false}, {"ENOSPC", syscall.ENOSPC, false}, {"torn write", syscall.EIO, true}} {
		clean := false
		for n := int64(1 + random.IntN(every)); !clean; n += int64(every) {
			var dead bool
			clean, dead = failOnce(t, tr, n, random)
			runs++
			if dead {
				ended++
			}
			if t.Failed() || runs > 20_000 {
				t.Fatalf("at %s, operation %d", tr.name, n)
			}
		}
	}
	if runs*every < 300 || ended == 0 {
		t.Errorf("%d runs, %d of which ended the process: too thin to say anything", runs, ended)
	}
	publish(t, began, figure{
		Proof:  "every operation of the disk fails",
		Sample: fmt.Sprintf("%d runs, in each of which one operation met EIO, ENOSPC or a torn write, and then 3 power cuts; %d ended the process", runs, ended),
		Result: "0 executed twice, 0 acknowledged outcomes lost",
	})
}

// failOnce is one run. Clean: it met no failure.
func failOnce(t *testing.T, tr trouble, n int64, random *rand.Rand) (clean, dead bool) {
	t.Helper()
	keys, d, j := newKeyring(), &diary{page: map[string]wish{}}, newJudge()
	j.quick = true
	disk := newMemory()
	f := &failing{FS: disk, trouble: tr, at: n}
	h, ok, err := keys.inhabit(t, f.wrap(), j, &f.die)
	f.open.Store(true)
	if ok && err == nil {
		h.live(wishes, d.know)
	}
	select {
	case <-h.dead:
		dead = true
	default:
	}
	known := d.copy()
	for name, w := range known { // what the disk refused is not kept of an answer, and everybody is told so
		w.purged = true
		known[name] = w
	}
	for _, keep := range []int{0, 50, 100} {
		left := disk.clone(vfs.CrashCloneCfg{UnsyncedDataPercent: keep, RNG: rand.New(rand.NewPCG(random.Uint64(), 0))})
		if wrong := keys.after(t, left, known, j.fork()); len(wrong) > 0 {
			met := "none"
			if p := f.met.Load(); p != nil {
				met = *p
			}
			t.Errorf("%s at operation %d (%s), keeping %d%%: %s", tr.name, n, met, keep, strings.Join(slices.Compact(wrong), "\n\t"))
		}
	}
	h.leave()
	return f.met.Load() == nil, dead
}
