package prove_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A kind of files of a ledger: those in its folder, and its high-water file.
type kind struct{ name, pattern string }

// kinds are the files whose damage is tried. A new kind of file is one more line.
var kinds = []kind{
	{"log", "/poe/ledger/*.log"},
	{"table", "/poe/ledger/*.sst"},
	{"MANIFEST", "/poe/ledger/MANIFEST-*"},
	{"body", "/poe/bodies/*/*"},
	{"high-water file", "/poe.high-water"},
}

// injuries are what is done to a file at a place.
var injuries = []struct {
	name string
	do   func(b []byte, at int, random *rand.Rand)
}{
	{"bit", func(b []byte, at int, random *rand.Rand) { b[at] ^= 1 << random.IntN(8) }},
	{"byte", func(b []byte, at int, random *rand.Rand) { b[at] ^= byte(1 + random.IntN(255)) }},
	{"4 KiB", func(b []byte, at int, _ *rand.Rand) {
		at = at / page * page
		clear(b[at:min(at+page, len(b))])
	}},
}

// page is how much a disk loses at once, in bytes.
const page = 4096

// full makes a ledger with actions in tables, in its log, and beside it.
func full(t *testing.T, keys *keyring, j *judge, actions int) (*memory, map[string]wish) {
	t.Helper()
	disk, d := newMemory(), &diary{page: map[string]wish{}}
	next := 0
	for range 3 { // each opening makes a table of what the last log held
		h, ok, err := keys.inhabit(t, disk, j)
		if !ok || err != nil {
			t.Fatal(ok, err)
		}
		for range actions / 3 {
			w, _ := h.mint(next)
			if next++; next%3 == 0 && next%60 != 0 { // each third is answered at length, and that is much to copy
				next++
			}
			a, _ := h.post(w)
			w.acked, w.purged = a.body, true // a body that is damaged may be said to be so
			d.know(w)
		}
		if err := h.store.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return disk, d.page
}

// files lists the files of a kind that have something in them.
func (k *kind) files(t *testing.T, disk vfs.FS) (found []string) {
	t.Helper()
	var walk func(dir string)
	walk = func(dir string) {
		names, err := disk.List(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			path := disk.PathJoin(dir, n)
			info, err := disk.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			fits, _ := filepath.Match(k.pattern, path)
			switch {
			case info.IsDir():
				walk(path)
			case fits && info.Size() > 0:
				found = append(found, path)
			}
		}
	}
	walk("/")
	return found
}

func contents(t *testing.T, disk vfs.FS, path string) []byte {
	t.Helper()
	f, err := disk.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(f)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// overwrite replaces a file.
func overwrite(t *testing.T, disk vfs.FS, path string, b []byte) {
	t.Helper()
	f, err := disk.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// A bit, a byte, or 4 KiB of a file of the ledger is damaged. Somebody notices, or it does no harm: everything that was executed is sent again, and is not executed.
func TestDamage(t *testing.T) {
	began, random := time.Now(), seeded(t)
	keys, j := newKeyring(), newJudge()
	j.quick = true
	disk, known := full(t, keys, j, form{600, 300, 300}.size())
	places := form{200, 15, 4}.size()
	noticed, harmless := 0, 0
	for _, k := range kinds {
		files := k.files(t, disk)
		if len(files) == 0 {
			t.Fatalf("there is no %s", k.name)
		}
		for range places {
			path := files[random.IntN(len(files))]
			b := contents(t, disk, path)
			at := random.IntN(len(bytes.TrimRight(b, "\x00"))) // a log has zeros ahead of it
			injury := injuries[random.IntN(len(injuries))]
			left := disk.clone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
			injury.do(b, at, random)
			overwrite(t, left, path, b)
			saw, wrong := keys.afterDamage(t, left, known, j.fork())
			_ = left.RemoveAll("/poe") // a process that ended by itself never lets go of its disk
			switch {
			case len(wrong) > 0:
				t.Errorf("%s of %s at %d of %d: %d wrong, such as %s", injury.name, path, at, len(b), len(wrong), wrong[0])
			case saw:
				noticed++
			default:
				harmless++
			}
		}
	}
	if noticed == 0 {
		t.Error("nothing was noticed: the test damages nothing")
	}
	publish(t, began, figure{
		Proof: "damage", Sample: fmt.Sprintf("a bit, a byte or 4 KiB at %d places each of logs, tables, MANIFEST, bodies and high-water file, under %d executed actions", places, len(known)),
		Result: fmt.Sprintf("%d noticed, %d harmless, 0 unnoticed losses, 0 executed twice", noticed, harmless),
	})
}

// afterDamage sends everything again to a process over a damaged ledger. Saw: it did not open, or ended, or said that something is wrong.
func (k *keyring) afterDamage(t *testing.T, left vfs.FS, known map[string]wish, j *judge) (saw bool, wrong []string) {
	t.Helper()
	h, ok, err := k.inhabit(t, left, j)
	defer h.leave()
	if !ok || err != nil {
		return true, nil
	}
	for _, w := range known {
		a, alive := h.post(&w)
		n := j.of(w.want)
		switch {
		case !alive:
			return true, wrong
		case n > 1:
			wrong = append(wrong, fmt.Sprintf("%s was executed %d times", w.want, n))
		case a.code == 503:
			saw = true
		case w.key != "" && a.code == 201 && a.body == w.acked:
		case w.key == "" && a.code == 405:
			if got, alive := h.ask("GET", w.target, ""); !alive || got.code != 201 && got.code != 200 {
				saw = true
			} else if got.body != w.acked {
				wrong = append(wrong, fmt.Sprintf("%s has another answer: %.200q", w.want, got.body))
			}
		case a.code == 410 && strings.Contains(a.body, "outcome-purged"):
			saw = true
		default:
			wrong = append(wrong, fmt.Sprintf("%s is answered %d %s: %.200q", w.want, a.code, a.state, a.body))
		}
	}
	return saw, wrong
}
