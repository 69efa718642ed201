package pebblestore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/pebblestore"
	"github.com/postonce/poe/internal/store/storetest"
)

// A damage changes the bytes of a file from an offset on.
type damage struct {
	name string
	do   func(b []byte, at int) []byte
}

func (d damage) to(content []byte, at int) []byte { return d.do(slices.Clone(content), at) }

var damages = []damage{
	{"a bit flipped", func(b []byte, at int) []byte { b[at] ^= 0x10; return b }},
	{"a byte changed", func(b []byte, at int) []byte { b[at] = ^b[at]; return b }},
	{"4 KiB zeroed", func(b []byte, at int) []byte { clear(b[at:min(at+4096, len(b))]); return b }},
	{"the rest cut off", func(b []byte, at int) []byte { return b[:at] }},
}

// Whatever is damaged in a ledger that was closed in order is noticed, or does no harm: a claim that was acknowledged never
// disappears silently.
func TestDamage(t *testing.T) {
	samples := 34 // with each of four damages
	if testing.Short() {
		samples = 5
	}
	// Three flushes leave tables that no compaction has touched; more of them are compacted.
	for lives, flushes := range map[int]int{1: 3, 3: 5} {
		disk, all := filled(t, lives, flushes)
		for _, file := range files(t, disk) {
			t.Run(fmt.Sprintf("%d %s", lives, disk.PathBase(file)), func(t *testing.T) {
				content := contentOf(t, disk, file)
				written := len(withoutZeros(content)) // what stands ahead of it in a log is nothing yet
				harmless, tries := 0, 0
				for _, d := range damages {
					for i := range samples {
						broken := copyOf(t, disk)
						at := offset(written, i, samples)
						overwrite(t, broken, file, d.to(content, at))
						missing, noticed := survey(t, broken, all)
						if missing > 0 {
							t.Errorf("%s at %d of %d: it opens, and %d names or ids of %d claims are missing", d.name, at, written, missing, len(all))
						}
						tries++
						if !noticed {
							harmless++
						}
					}
				}
				t.Logf("%d of %d damages did no harm, the others were noticed", harmless, tries)
			})
		}
	}
}

// offset spreads two thirds of the samples evenly, and the others over the end, where most can go wrong.
func offset(size, i, samples int) int {
	if even := samples * 2 / 3; i < even {
		return size * i / even
	}
	return max(size-1-(samples-1-i)*3, 0)
}

// filled makes a ledger with records in its log, in tables, and in a log that was closed by a flush, and closes it.
func filled(t *testing.T, lives, flushes int) (*vfs.MemFS, []store.Record) {
	t.Helper()
	disk := vfs.NewMem()
	var all []store.Record
	for range lives {
		s, err := open(t, disk)
		if err != nil {
			t.Fatal(err)
		}
		for part := range flushes + 1 {
			for range 20 {
				r := claim(t, newName())
				if _, err := storetest.Claim(t.Context(), s, r); err != nil {
					t.Fatal(err)
				}
				all = append(all, r)
			}
			if part < flushes {
				if err := s.Flush(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return disk, all
}

// survey opens a ledger and looks for every record. Noticed is whether it was refused, or ended the process.
func survey(t *testing.T, disk vfs.FS, all []store.Record) (missing int, noticed bool) {
	t.Helper()
	fatal, done := make(chan string, 100), make(chan error, 1)
	ctx := context.WithoutCancel(t.Context())
	go func() { // where it would end the process, this goroutine and the ledger are left as they are
		s, err := pebblestore.Open(ctx, pebblestore.Config{Dir: dir, FS: disk, Clock: func() time.Time { return at }, Fatal: func(reason string) { fatal <- reason }})
		if err != nil {
			done <- err
			return
		}
		for _, r := range all {
			for _, k := range []store.Key{store.ByID(r.ID), store.ByName(r.Names[0])} {
				if _, err := s.Lookup(ctx, k); errors.Is(err, store.ErrNotFound) {
					missing++
				}
			}
		}
		done <- s.Close()
	}()
	select {
	case err := <-done:

		return missing, err != nil
	case <-fatal:
		return 0, true
	}
}

func files(t *testing.T, disk vfs.FS) (all []string) {
	t.Helper()
	for _, folder := range []string{"/data", dir, dir + "/ledger"} {
		names, err := disk.List(folder)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			path := disk.PathJoin(folder, n)
			if info, err := disk.Stat(path); err == nil && !info.IsDir() && info.Size() > 0 {
				all = append(all, path)
			}
		}
	}
	return all
}

func contentOf(t *testing.T, disk vfs.FS, path string) []byte {
	t.Helper()
	f, err := disk.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return b
}

func withoutZeros(content []byte) []byte { return bytes.TrimRight(content, "\x00") }

func overwrite(t *testing.T, disk vfs.FS, path string, content []byte) {
	t.Helper()
	f, err := disk.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// copyOf is another disk with the same on it.
func copyOf(t *testing.T, disk vfs.FS) *vfs.MemFS {
	t.Helper()
	to := vfs.NewMem()
	if ok, err := vfs.Clone(disk, to, "/", "/"); !ok || err != nil {
		t.Fatal(fmt.Errorf("copying the disk: %t, %w", ok, err))
	}
	return to
}
