package pebblestore_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/rs/zerolog"

	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/pebblestore"
	"github.com/postonce/poe/internal/store/storetest"
)

const backup = "/backup"

// live claims and settles an action, with a content beside the ledger, and returns how it stands.
func live(t *testing.T, s *pebblestore.Store) (store.Record, error) {
	t.Helper()
	r := claim(t, newName())
	r.Request = store.Blob{Size: 3, Digest: sha256.Sum256([]byte("abc"))}
	if _, err := storetest.Claim(t.Context(), s, r); err != nil {
		return r, err
	}
	body := noise(70_000)
	done := settled(r, nil)
	done.Response = store.Blob{Where: store.Beside, Part: store.Part{Term: done.Term, N: 1}, Size: int64(len(body)), Digest: sha256.Sum256(body)}
	if _, err := s.Put(t.Context(), r.ID, done.Response.Part, bytes.NewReader(body)); err != nil {
		return r, err
	}
	return storetest.Advance(t.Context(), s, r.Term, done, store.Also{})
}

// backedUp makes a ledger on disk, does in it what live does, and copies it to backup. It is closed then.
func backedUp(t *testing.T, disk vfs.FS) store.Record {
	t.Helper()
	s, err := open(t, disk)
	if err != nil {
		t.Fatal(err)
	}
	r, err := live(t, s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Backup(t.Context(), pebblestore.Backup{Dir: backup}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return r
}

func config(fs vfs.FS) pebblestore.Config {
	return pebblestore.Config{Dir: dir, FS: fs, Clock: func() time.Time { return at.Add(time.Hour) }}
}

// holds wants every record, and every content that it names.
func holds(t *testing.T, s *pebblestore.Store, all []store.Record) {
	t.Helper()
	for _, r := range all {
		got, err := s.Lookup(t.Context(), store.ByName(r.Names[0]))
		if err != nil || got.Term != r.Term {
			t.Fatalf("%s: %s, %v", r.ID, got.State, err)
		}
		f, err := s.Open(t.Context(), r.ID, r.Response.Part)
		if err != nil {
			t.Fatalf("its content: %v", err)
		}
		b, err := io.ReadAll(f)
		if err := errors.Join(err, f.Close()); err != nil || sha256.Sum256(b) != r.Response.Digest {
			t.Fatalf("its content has %d bytes, %v", len(b), err)
		}
	}
}

func sound(t *testing.T, c pebblestore.Config, records int) store.Findings {
	t.Helper()
	found, err := pebblestore.Check(t.Context(), c, nil)
	if err != nil || found.Faults != 0 || found.Records < int64(records) {
		t.Errorf("a check found %+v, %v", found, err)
	}
	return found
}

// A backup that is made while everybody writes holds what was acknowledged before it began, and no record in it names a content that it lacks.
// Restored, it forgets nothing silently: ids from before are worth nothing, names are in doubt, and the ledger that was lost is refused.
func TestBackupAndRestore(t *testing.T) {
	disk := vfs.NewMem()
	s, err := open(t, disk)
	if err != nil {
		t.Fatal(err)
	}
	var before []store.Record
	for i := range 20 {
		r, err := live(t, s)
		if err != nil {
			t.Fatal(err)
		}
		before = append(before, r)
		if i == 10 {
			if err := s.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	var stop atomic.Bool
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for !stop.Load() {
				if _, err := live(t, s); err != nil {
					t.Error(err)
				}
			}
		})
	}
	did, err := s.Backup(t.Context(), pebblestore.Backup{Dir: backup})
	stop.Store(true)
	writers.Wait()
	if err != nil || did.Records < 20 || did.Bodies < 20 || did.Ledger != s.Identity() {
		t.Fatalf("%+v, %v", did, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	in := config(disk)
	in.Dir = backup
	sound(t, in, 20)
	sound(t, config(disk), 20)

	lost := copyOf(t, disk)
	remove(t, disk, dir)
	refused(t, disk, store.ErrRolledBack, "there is none in it")
	put, err := pebblestore.Put(t.Context(), config(disk), store.Restore{From: backup})
	if err != nil || put.Records != did.Records {
		t.Fatalf("%+v, %v", put, err)
	}
	again := mustOpen(t, disk)
	holds(t, again, before)
	f, err := again.Floor(t.Context())
	if err != nil || !f.Minted.After(at.Add(time.Hour)) || !f.Lost || f.Time.Before(f.Minted) {
		t.Errorf("the floor is %+v, %v", f, err)
	}
	if _, err := storetest.Claim(t.Context(), again, claim(t)); !errors.Is(err, store.ErrExpired) {
		t.Errorf("what was minted before can be claimed: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	replaceFolder(t, disk, lost)
	refused(t, disk, store.ErrRolledBack, "it is older than it was")
}

// A backup in its ledger's own folder is lost with it. None is made there, nor around it, by whichever name.
func TestBackupLiesApartFromItsLedger(t *testing.T) {
	home := t.TempDir()
	own := filepath.Join(home, "ledger")
	s, err := pebblestore.Open(t.Context(), pebblestore.Config{Dir: own})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if err := errors.Join(
		os.Mkdir(filepath.Join(own, "empty"), 0o700), os.Symlink(own, filepath.Join(home, "link")), os.Symlink(filepath.Join(own, "ledger"), filepath.Join(home, "deep")),
		os.Symlink(home, filepath.Join(home, "around")),
	); err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{own, own + "/backup", own + "/empty", own + "/ledger.restore", own + "/ledger/a/b", home + "/link", home + "/link/backup", home + "/deep/backup", home, home + "/around"} {
		_, err := s.Backup(t.Context(), pebblestore.Backup{Dir: at})
		var hint *store.HintError
		if !errors.As(err, &hint) || !strings.Contains(err.Error(), own) {
			t.Errorf("%s: %v", at, err)
		}
	}
	if _, err := os.Stat(own + "/backup"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what was refused has left something: %v", err)
	}
	for _, at := range []string{home + "/ledger-1", home + "/around/2/3"} {
		if did, err := s.Backup(t.Context(), pebblestore.Backup{Dir: at}); err != nil {
			t.Errorf("%s: %+v, %v", at, did, err)
		}
	}
	// What ".." leads to behind a link depends on who follows it. The copy lies where it was looked whether it may.
	if did, err := s.Backup(t.Context(), pebblestore.Backup{Dir: home + "/deep/../parent"}); err != nil {
		t.Errorf("%+v, %v", did, err)
	}
	if _, err := os.Stat(own + "/parent"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it lies in the ledger's folder: %v", err)
	}
	disk := vfs.NewMem()
	in, err := open(t, disk)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	if _, err := in.Backup(t.Context(), pebblestore.Backup{Dir: dir + "/backup"}); !errors.As(err, new(*store.HintError)) {
		t.Errorf("in memory: %v", err)
	}
}

// A name that was first used before the restore may be among what was lost, whatever somebody accepts: one that says its age is not claimed again.
func TestNamesThatSayTheirAgeAfterARestore(t *testing.T) {
	disk := vfs.NewMem()
	used(t, disk, 3)
	if _, err := pebblestore.Put(t.Context(), config(disk), store.Restore{Lost: true}); err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, disk)
	f, err := s.Floor(t.Context())
	if err != nil || f.Lost {
		t.Fatalf("%+v, %v", f, err)
	}
	fresh := func(since time.Time) error {
		r := claim(t, newName())
		if r.ID, err = store.NewID(f.Minted, 31, rand.Reader); err != nil {
			t.Fatal(err)
		}
		r.Expires, r.Since = f.Minted.Add(time.Hour), since
		_, err := storetest.Claim(t.Context(), s, r)
		return err
	}
	if err := fresh(f.Minted); !errors.Is(err, store.ErrExpired) {
		t.Errorf("first used before it: %v", err)
	}
	if err := fresh(f.Minted.Add(time.Millisecond)); err != nil {
		t.Errorf("first used after it: %v", err)
	}
	if err := fresh(time.Time{}); err != nil {
		t.Errorf("first used nobody knows when: %v", err)
	}
}

// What somebody has accepted is remembered, and counts for that restore alone.
func TestLostNamesAreAccepted(t *testing.T) {
	disk := vfs.NewMem()
	used(t, disk, 3)
	lost := func(c pebblestore.Config) bool {
		t.Helper()
		s, err := pebblestore.Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		f, err := s.Floor(t.Context())
		if err := errors.Join(err, s.Close()); err != nil {
			t.Fatal(err)
		}
		return f.Lost
	}
	put := func(r store.Restore) {
		t.Helper()
		if _, err := pebblestore.Put(t.Context(), config(disk), r); err != nil {
			t.Fatal(err)
		}
	}
	c := config(disk)
	accepts := c
	accepts.AcceptLost = true
	steps := []struct {
		what string
		do   func() bool
		want bool
	}{
		{"a new ledger", func() bool { return lost(c) }, false},
		{"accepted before there is anything", func() bool { return lost(accepts) }, false},
		{"restored", func() bool { put(store.Restore{}); return lost(c) }, true},
		{"accepted", func() bool { return lost(accepts) }, false},
		{"opened again", func() bool { return lost(c) }, false},
		{"restored again", func() bool { put(store.Restore{}); return lost(c) }, true},
		{"restored, and accepted with it", func() bool { put(store.Restore{Lost: true}); return lost(c) }, false},
	}
	for _, step := range steps {
		if got := step.do(); got != step.want {
			t.Errorf("%s: in doubt is %t, want %t", step.what, got, step.want)
		}
	}
}

// An older ledger, one without its high-water file, and one whose file is damaged can be accepted as they are, with a floor.
func TestRestoreAsItIs(t *testing.T) {
	for name, change := range map[string]func(disk, older *vfs.MemFS){
		"older":                       func(disk, older *vfs.MemFS) { replaceFolder(t, disk, older) },
		"without its high-water file": func(disk, _ *vfs.MemFS) { remove(t, disk, highWater) },
		"with a damaged one":          func(disk, _ *vfs.MemFS) { overwrite(t, disk, highWater, []byte("?")) },
	} {
		t.Run(name, func(t *testing.T) {
			disk := vfs.NewMem()
			used(t, disk, 5)
			older := copyOf(t, disk)
			used(t, disk, 5)
			change(disk, older)
			if _, err := open(t, disk); err == nil {
				t.Fatal("it opens as it is")
			}
			if _, err := pebblestore.Put(t.Context(), config(disk), store.Restore{}); err != nil {
				t.Fatal(err)
			}
			s := mustOpen(t, disk)
			if f, err := s.Floor(t.Context()); err != nil || f.Minted.IsZero() || !f.Lost {
				t.Errorf("the floor is %+v, %v", f, err)
			}
		})
	}
	disk := vfs.NewMem()
	if _, err := pebblestore.Put(t.Context(), config(disk), store.Restore{}); err == nil {
		t.Error("there is nothing to accept, and it was accepted")
	}
	if names, err := disk.List("/"); err != nil || len(names) > 0 {
		t.Errorf("something was made: %q, %v", names, err)
	}
}

// A clock that is behind the one by which ids were minted does not let them through.
func TestRestoreWithAClockBehind(t *testing.T) {
	disk := vfs.NewMem()
	s, err := open(t, disk)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := storetest.Claim(t.Context(), s, claim(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Backup(t.Context(), pebblestore.Backup{Dir: backup}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	remove(t, disk, dir)
	c := config(disk)
	c.Clock = func() time.Time { return at.AddDate(-1, 0, 0) }
	if _, err := pebblestore.Put(t.Context(), c, store.Restore{From: backup}); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, disk)
	if f, err := s.Floor(t.Context()); err != nil || !f.Minted.After(at) {
		t.Errorf("the floor is %+v, %v", f, err)
	}
}

func TestBackupRefuses(t *testing.T) {
	disk := vfs.NewMem()
	s := mustOpen(t, disk)
	if _, err := live(t, s); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Backup(t.Context(), pebblestore.Backup{Dir: dir}); err == nil {
		t.Error("it wrote into a folder with something in it")
	}
	// Under way, it holds up what it needs, and nothing else.
	var second error
	var swept store.Swept
	_, err := s.Backup(t.Context(), pebblestore.Backup{Dir: backup, Progress: func(store.Progress) {
		_, second = s.Backup(t.Context(), pebblestore.Backup{Dir: "/second"})
		swept, _ = s.Sweep(t.Context(), at.AddDate(1, 0, 0))
		if _, err := live(t, s); err != nil {
			t.Error(err)
		}
	}})
	if err != nil || second == nil || swept != (store.Swept{}) {
		t.Errorf("%v; a second backup got %v, a sweep %+v", err, second, swept)
	}
}

// A content that the disk has lost is no reason to have no backup: all else is in it, and it says how many are not.
func TestBackupWithoutALostContent(t *testing.T) {
	disk := vfs.NewMem()
	s := mustOpen(t, disk)
	var all []store.Record
	for range 3 {
		r, err := live(t, s)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	remove(t, disk, bodyOf(all[0]))
	did, err := s.Backup(t.Context(), pebblestore.Backup{Dir: backup})
	if err != nil || did.Records != 3 || did.Bodies != 2 || did.Missing != 1 {
		t.Fatalf("%+v, %v", did, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	in := config(disk)
	in.Dir = backup
	found, err := pebblestore.Check(t.Context(), in, nil)
	if err != nil || found.Faults != 1 || !strings.Contains(found.Wrong[0], all[0].ID.String()) {
		t.Errorf("a check of it found %+v, %v", found, err)
	}
	remove(t, disk, dir)
	put, err := pebblestore.Put(t.Context(), config(disk), store.Restore{From: backup})
	if err != nil || put.Missing != 1 {
		t.Fatalf("%+v, %v", put, err)
	}
	holds(t, mustOpen(t, disk), all[1:])
}

// One that is there and cannot be read is: the disk may give it back.
func TestBackupWantsWhatIsThere(t *testing.T) {
	failing := errors.New("I/O error")
	var fail atomic.Bool
	disk := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if fail.Load() && (op.Kind == errorfs.OpLink || op.Kind == errorfs.OpOpen) && strings.HasPrefix(op.Path, dir+"/bodies/") {
			return failing
		}
		return nil
	}))
	s := mustOpen(t, disk)
	if _, err := live(t, s); err != nil {
		t.Fatal(err)
	}
	fail.Store(true)
	if did, err := s.Backup(t.Context(), pebblestore.Backup{Dir: backup}); !errors.Is(err, failing) {
		t.Errorf("%+v, %v", did, err)
	}
}

// bodyOf is the file of the record's answer.
func bodyOf(r store.Record) string {
	return fmt.Sprintf("%s/bodies/%010d/%s.%x.1", dir, r.ID.Shelf(), r.ID, r.Response.Part.Term)
}

// A backup that is not whole, or not what it was, is not restored, and leaves nothing that could be taken for a ledger.
func TestRestoreRefuses(t *testing.T) {
	whole := vfs.NewMem()
	backedUp(t, whole)
	occupied := copyOf(t, whole)
	if _, err := pebblestore.Put(t.Context(), config(occupied), store.Restore{From: backup}); err == nil || !strings.Contains(err.Error(), "there is a ledger already") {
		t.Errorf("over a ledger: %v", err)
	}
	remove(t, whole, dir)
	var parts []string
	for _, folder := range []string{backup, backup + "/ledger"} {
		names, err := whole.List(folder)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			path := whole.PathJoin(folder, n)
			if info, err := whole.Stat(path); err == nil && !info.IsDir() && info.Size() > 0 {
				parts = append(parts, path)
			}
		}
	}
	c := config(whole)
	c.Dir, c.HighWater = backup, ""
	if _, err := pebblestore.Open(t.Context(), c); !errors.Is(err, pebblestore.ErrForeign) {
		t.Errorf("a backup is opened: %v", err)
	}
	if _, err := pebblestore.Put(t.Context(), c, store.Restore{}); !errors.Is(err, pebblestore.ErrForeign) {
		t.Errorf("a backup is taken as it is: %v", err)
	}
	if found, err := pebblestore.Check(t.Context(), c, nil); err != nil || found.Faults > 0 {
		t.Errorf("it is not sound: %v %v", found, err)
	}
	if !slices.Contains(parts, backup+"/backup.json") || len(parts) < 4 {
		t.Fatalf("the backup has only %q", parts)
	}
	for _, path := range parts {
		for what, change := range map[string]func(*vfs.MemFS){
			"gone": func(disk *vfs.MemFS) { remove(t, disk, path) },
			"damaged": func(disk *vfs.MemFS) {
				b := contentOf(t, disk, path)
				b[len(b)/2] ^= 1
				overwrite(t, disk, path, b)
			},
		} {
			disk := copyOf(t, whole)
			change(disk)
			if path != backup+"/backup.json" {
				c := config(disk)
				c.Dir, c.HighWater = backup, ""
				if found, err := pebblestore.Check(t.Context(), c, nil); err == nil && found.Faults == 0 {
					t.Errorf("%s %s: sound", path, what)
				}
			}
			if _, err := pebblestore.Put(t.Context(), config(disk), store.Restore{From: backup}); err == nil && path != backup+"/backup.json" {
				t.Errorf("%s %s: restored", path, what)
			}
			if s, err := open(t, disk); err == nil {
				f, err := s.Floor(t.Context())
				if err := errors.Join(err, s.Close()); err != nil || f.Minted.IsZero() {
					t.Errorf("%s %s: it opens without a floor, %v", path, what, err)
				}
			}
		}
	}
}

// Wherever a restore is interrupted, what it leaves is refused, or has a floor; and it can be done again.
func TestRestoreIsInterrupted(t *testing.T) {
	whole := vfs.NewMem()
	backedUp(t, whole)
	older := copyOf(t, whole)
	used(t, whole, 3)
	for name, tt := range map[string]struct {
		store.Restore
		elsewhere bool // on a machine that has no high-water file
	}{"from a backup": {store.Restore{From: backup}, false}, "from a backup, elsewhere": {store.Restore{From: backup}, true}, "as it is": {}} {
		t.Run(name, func(t *testing.T) {
			start, r := copyOf(t, whole), tt.Restore
			if remove(t, start, dir); r.From == "" {
				replaceFolder(t, start, older)
			}
			if tt.elsewhere {
				remove(t, start, highWater)
			}
			at := &disk{MemFS: vfs.NewCrashableMem()}
			if ok, err := vfs.Clone(start, at.MemFS, "/", "/", vfs.CloneSync); !ok || err != nil {
				t.Fatalf("copying the disk: %t, %v", ok, err)
			}
			cuts := &cutter{disk: at, keeps: []int{0, 50, 100}}
			if err := again(t, errorfs.Wrap(at, cuts), r); err != nil {
				t.Fatal(err)
			}
			for _, m := range cuts.cuts {
				left := copyOf(t, m.left)
				if names, err := left.List(dir); tt.elsewhere && (err != nil || !slices.ContainsFunc(names, isCopied)) {
					continue // it had not begun
				}
				if s, err := open(t, left); err == nil {
					f, err := s.Floor(t.Context())
					if err := errors.Join(err, s.Close()); err != nil || f.Minted.IsZero() {
						t.Errorf("%s: it opens without a floor, %v", m.name, err)
					}
				} else if err := again(t, copyOf(t, m.left), r); err != nil {
					t.Errorf("%s: it is refused, and cannot be restored again: %v", m.name, err)
				}
			}
			if len(cuts.cuts) < 100 {
				t.Errorf("only %d power cuts: the run was too thin to say anything", len(cuts.cuts))
			}
		})
	}
}

// A folder of its own may be the top of a disk, with a lost+found that only root may read.
func TestRestoreBesideWhatIsNotOurs(t *testing.T) {
	disk := vfs.NewMem()
	r := backedUp(t, disk)
	remove(t, disk, dir)
	roots := dir + "/lost+found"
	if err := disk.MkdirAll(roots, 0o700); err != nil {
		t.Fatal(err)
	}
	fs := errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if strings.HasPrefix(op.Path, roots) && op.Kind != errorfs.OpStat {
			return os.ErrPermission
		}
		return nil
	}))
	if err := again(t, fs, store.Restore{From: backup}); err != nil {
		t.Fatal(err)
	}
	holds(t, mustOpen(t, fs), []store.Record{r})
}

// isCopied tells whether a name in the ledger's folder is that of something that a restore has made.
func isCopied(name string) bool { return strings.TrimSuffix(name, "/") != "LOCK" }

func again(t *testing.T, disk vfs.FS, r store.Restore) error {
	_, err := pebblestore.Put(t.Context(), config(disk), r)
	return err
}

// Whatever is wrong with a ledger that opens, a check finds it.
func TestCheckFinds(t *testing.T) {
	whole := vfs.NewMem()
	s, err := open(t, whole)
	if err != nil {
		t.Fatal(err)
	}
	r, err := live(t, s)
	if err != nil {
		t.Fatal(err)
	}
	open := claim(t, newName())
	if _, err := storetest.Claim(t.Context(), s, open); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if found := sound(t, config(whole), 2); found.Names != 2 || found.Agenda != 1 || found.Bodies != 1 || found.Bytes != 70_000 {
		t.Errorf("it has read %+v", found)
	}
	body := bodyOf(r)
	edit := func(t *testing.T, disk vfs.FS, do func(*pebble.DB) error) {
		t.Helper()
		db, err := pebble.Open(dir+"/ledger", &pebble.Options{FS: disk, FormatMajorVersion: pebble.FormatNewest, Logger: quiet{t}})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(do(db), db.Close()); err != nil {
			t.Fatal(err)
		}
	}
	rest := func(prefix byte) []byte { return []byte{prefix} }
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, disk vfs.FS)
		want   string
	}{
		{"a content that is gone", func(t *testing.T, disk vfs.FS) { remove(t, disk, body) }, "the answer of " + r.ID.String() + ": its file is not there"},
		{"a content that is short", func(t *testing.T, disk vfs.FS) { overwrite(t, disk, body, []byte("?")) }, "1 bytes of 70000"},
		{"another content", func(t *testing.T, disk vfs.FS) { overwrite(t, disk, body, noise(70_000)) }, "its digest is another one"},
		{"no names", func(t *testing.T, disk vfs.FS) {
			edit(t, disk, func(db *pebble.DB) error { return db.DeleteRange(rest('n'), rest('o'), pebble.Sync) })
		}, "a name that leads nowhere"},
		{"a name that leads to another action", func(t *testing.T, disk vfs.FS) {
			edit(t, disk, func(db *pebble.DB) error { return db.Set(append(rest('n'), r.Names[0][:]...), open.ID[:], pebble.Sync) })
		}, r.ID.String() + " has a name that leads to " + open.ID.String()},
		{"no agenda", func(t *testing.T, disk vfs.FS) {
			edit(t, disk, func(db *pebble.DB) error { return db.DeleteRange(rest('q'), rest('r'), pebble.Sync) })
		}, open.ID.String() + " is due, and not on the agenda"},
		{"no records", func(t *testing.T, disk vfs.FS) {
			edit(t, disk, func(db *pebble.DB) error { return db.DeleteRange(rest('a'), rest('b'), pebble.Sync) })
		}, "a name leads to no record"},
		{"a record that cannot be read", func(t *testing.T, disk vfs.FS) {
			edit(t, disk, func(db *pebble.DB) error {
				k := append([]byte{'a', 0, 0, 0, 0}, r.ID[:]...)
				return db.Set(k, []byte("?"), pebble.Sync)
			})
		}, "the record of " + r.ID.String() + ": "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			disk := copyOf(t, whole)
			tt.change(t, disk)
			found, err := pebblestore.Check(t.Context(), config(disk), nil)
			if err != nil || found.Faults == 0 || !strings.Contains(strings.Join(found.Wrong, "\n"), tt.want) {
				t.Errorf("got %+v, %v", found, err)
			}
		})
	}
	t.Run("what does not open", func(t *testing.T) {
		disk := copyOf(t, whole)
		remove(t, disk, dir)
		if _, err := pebblestore.Check(t.Context(), config(disk), nil); !errors.Is(err, store.ErrRolledBack) {
			t.Errorf("got %v", err)
		}
		disk = copyOf(t, whole)
		remove(t, disk, highWater)
		if _, err := pebblestore.Check(t.Context(), config(disk), nil); !errors.Is(err, store.ErrRolledBack) {
			t.Errorf("got %v", err)
		}
		if _, err := pebblestore.Check(t.Context(), config(vfs.NewMem()), nil); err == nil {
			t.Error("nothing was checked, and found to be sound")
		}
	})
}

// A name that passes from one action to another may lead nowhere while an earlier one lists it still: that is no damage. Of any other it is.
func TestCheckKnowsWhatPasses(t *testing.T) {
	fs := vfs.NewMem()
	s, err := open(t, fs)
	if err != nil {
		t.Fatal(err)
	}
	must := func(r store.Record, err error) store.Record {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	n := newName()
	earlier := must(storetest.Claim(t.Context(), s, claim(t, n)))
	later := must(storetest.Claim(t.Context(), s, claim(t)))
	for _, also := range []store.Also{{Take: []store.Name{n}}, {Free: []store.Name{n}}} {
		next := later
		next.Term = newTerm()
		later = must(storetest.Advance(t.Context(), s, later.Term, next, also))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	c := config(fs)
	found, err := pebblestore.Check(t.Context(), c, nil)
	if err != nil || found.Faults != 1 || found.Wrong[0] != earlier.ID.String()+" has a name that leads nowhere" {
		t.Errorf("a name that does not pass: %+v, %v", found, err)
	}
	c.Passes = func(name store.Name) bool { return name == n }
	sound(t, c, 2)
}

// A backup holds stored answers and kept credentials. Nobody else gets into its folder, also where that was made for it beforehand.
func TestBackupIsPrivate(t *testing.T) {
	top := t.TempDir()
	made := filepath.Join(top, "made")
	if err := os.Mkdir(made, 0o755); err != nil {
		t.Fatal(err)
	}
	s, err := pebblestore.Open(t.Context(), pebblestore.Config{Dir: filepath.Join(top, "own")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }() // read only
	for _, dir := range []string{made, filepath.Join(top, "new")} {
		if _, err := s.Backup(t.Context(), pebblestore.Backup{Dir: dir}); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(dir)
		if err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %s, %v", dir, info.Mode(), err)
		}
	}
}

// overtaken is a disk on which write is called when somebody who copies a log has read up to its records' end.
type overtaken struct {
	vfs.FS
	write func()
}

func (o *overtaken) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := o.FS.Open(name, opts...)
	if err == nil && strings.HasSuffix(name, ".log") && !strings.HasPrefix(name, backup) && o.write != nil {
		return &overtakenFile{File: f, o: o}, nil
	}
	return f, err
}

type overtakenFile struct {
	vfs.File
	o    *overtaken
	once sync.Once
}

func (f *overtakenFile) Read(p []byte) (int, error) {
	n, err := f.File.Read(p)
	if n > 64 && bytes.Equal(p[n-64:n], make([]byte, 64)) { // zeros: the records end in what was read
		f.once.Do(f.o.write)
	}
	return n, err
}

// A backup is made although the writers are quicker than it at the end of the log.
func TestBackupIsOvertaken(t *testing.T) {
	disk := &overtaken{FS: vfs.NewMem()}
	s := mustOpen(t, disk)
	write := func() {
		for range 60 {
			r := claim(t)
			r.Request.Head = noise(2000)
			got, err := storetest.Claim(t.Context(), s, r)
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := storetest.Advance(t.Context(), s, got.Term, settled(got, noise(1000)), store.Also{}); err != nil {
				t.Error(err)
			}
		}
	}
	write()
	disk.write = write
	if did, err := s.Backup(t.Context(), pebblestore.Backup{Dir: backup}); err != nil {
		t.Errorf("%+v, %v", did, err)
	}
}

// What was minted and executed while the clock was ahead, on trial, is not executed again on a ledger that is restored when the clock is right.
func TestRestoreAfterAClockOnTrial(t *testing.T) {
	disk := vfs.NewMem()
	s, err := open(t, disk)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := storetest.Claim(t.Context(), s, claim(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Backup(t.Context(), pebblestore.Backup{Dir: backup}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	clock := newHand()
	clock.set(at.Add(3 * time.Hour)) // the machine starts with a clock that is ahead, as one that takes local time for UTC
	c := pebblestore.Config{Dir: dir, FS: disk, Clock: clock.now}
	if s, err = pebblestore.Open(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	r := claim(t)
	if r.ID, err = store.NewID(clock.now(), 31, rand.Reader); err != nil {
		t.Fatal(err)
	}
	r.Expires = clock.now().Add(time.Hour)
	got, err := storetest.Claim(t.Context(), s, r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := storetest.Advance(t.Context(), s, got.Term, settled(got, []byte("done")), store.Also{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Mark(); err != nil {
		t.Fatal(err)
	}
	clock.set(at.Add(time.Minute)) // NTP
	if err := s.Mark(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	remove(t, disk, dir) // the disk is gone; the high-water file is not
	clock.set(at.Add(10 * time.Minute))
	if _, err := pebblestore.Put(t.Context(), c, store.Restore{From: backup}); err != nil {
		t.Fatal(err)
	}
	if s, err = pebblestore.Open(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	again := r
	again.Term = newTerm()
	if _, err := storetest.Claim(t.Context(), s, again); !errors.Is(err, store.ErrExpired) {
		t.Errorf("an id that was minted and executed before the restore is claimed again: %v", err)
	}
}

// A machine started with a clock that was years ahead, for a minute. A restore must not stop the ledger's time for years, nor forget by it.
func TestRestoreAfterAClockFarAhead(t *testing.T) {
	disk := vfs.NewMem()
	clock := newHand()
	c := pebblestore.Config{Dir: dir, FS: disk, Clock: clock.now}
	s, err := pebblestore.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	do := func() store.Record {
		r := claim(t)
		if r.ID, err = store.NewID(clock.now(), 31, rand.Reader); err != nil {
			t.Fatal(err)
		}
		r.Expires = clock.now().Add(time.Hour)
		got, err := storetest.Claim(t.Context(), s, r)
		if err != nil {
			t.Fatal(err)
		}
		if got, err = storetest.Advance(t.Context(), s, got.Term, settled(got, []byte("done")), store.Also{}); err != nil {
			t.Fatal(err)
		}
		return got
	}
	kept := do()
	if _, err := s.Backup(t.Context(), pebblestore.Backup{Dir: backup}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	right := at
	clock.set(right.Add(10 * 365 * 24 * time.Hour)) // the machine starts with a wrong clock
	if s, err = pebblestore.Open(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	do()
	clock.set(right.Add(time.Minute)) // NTP
	do()
	if err := s.Mark(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	remove(t, disk, dir)
	clock.set(right.Add(24 * time.Hour))
	if _, err := pebblestore.Put(t.Context(), c, store.Restore{From: backup}); err != nil {
		t.Fatal(err)
	}
	if s, err = pebblestore.Open(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	a := s.Clock().Now()
	clock.set(right.Add(48 * time.Hour))
	s.ConfirmClock()
	b := s.Clock().Now()
	if !b.After(a) {
		t.Errorf("a day has passed and was confirmed, the ledger's time was %s and is %s", a, b)
	}
	if _, err := s.Sweep(t.Context(), s.Clock().Now()); err != nil {
		t.Error(err)
	}
	if _, err := s.Lookup(t.Context(), store.ByID(kept.ID)); err != nil {
		t.Errorf("the record that is to be kept for 31 days: after two days %v", err)
	}
}

// What was executed in the last second of a ledger that had been idle before is not executed again after a restore on a machine whose clock is behind.
func TestRestoreOfAnIdleLedgerWithAClockBehind(t *testing.T) {
	disk, clock := vfs.NewCrashableMem(), newHand()
	c := pebblestore.Config{Dir: dir, FS: disk, Clock: clock.now}
	s, err := pebblestore.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := live(t, s); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Backup(t.Context(), pebblestore.Backup{Dir: backup}); err != nil {
		t.Fatal(err)
	}
	clock.set(at.Add(30 * time.Minute)) // nobody came
	if err := s.Mark(); err != nil {
		t.Fatal(err)
	}
	clock.set(at.Add(30*time.Minute + 9*time.Second))
	if err := s.Mark(); err != nil {
		t.Fatal(err)
	}
	last := claim(t)
	if last.ID, err = store.NewID(clock.now(), 31, rand.Reader); err != nil {
		t.Fatal(err)
	}
	if _, err := storetest.Claim(t.Context(), s, last); err != nil {
		t.Fatal(err)
	}
	lost := disk.CrashClone(vfs.CrashCloneCfg{}) // before the next mark
	_ = s.Close()
	remove(t, lost, dir)
	c.FS = lost
	behind := c
	behind.Clock = func() time.Time { return at.Add(10 * time.Minute) }
	if _, err := pebblestore.Put(t.Context(), behind, store.Restore{From: backup}); err != nil {
		t.Fatal(err)
	}
	s, err = pebblestore.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	last.Term = newTerm()
	if _, err := storetest.Claim(t.Context(), s, last); !errors.Is(err, store.ErrExpired) {
		t.Errorf("SECOND EXECUTION: %v", err)
	}
}

// A restore with a clock that is a year ahead leaves a ledger whose time goes at half its pace, and its log says so. With the clock set right it can be made again.
func TestRestoredByAClockThatIsAhead(t *testing.T) {
	disk := vfs.NewMem()
	used(t, disk, 3)
	s := mustOpen(t, disk)
	if _, err := s.Backup(t.Context(), pebblestore.Backup{Dir: backup}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	remove(t, disk, dir)
	c := config(disk)
	c.Clock = func() time.Time { return at.Add(365 * 24 * time.Hour) }
	if _, err := pebblestore.Put(t.Context(), c, store.Restore{From: backup}); err != nil {
		t.Fatal(err)
	}
	said := &lines{}
	c = config(disk)
	c.Log = zerolog.New(said)
	s, err := pebblestore.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if <-time.After(100 * time.Millisecond); strings.Contains(said.String(), "behind") {
			break
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(said.String(), "the clock is behind the ledger's time"); n != 1 {
		t.Errorf("it is said %d times: %s", n, said)
	}
	remove(t, disk, dir)
	remove(t, disk, highWater)
	if did, err := pebblestore.Put(t.Context(), config(disk), store.Restore{From: backup}); err != nil || did.Time.After(at.Add(2*time.Hour)) {
		t.Errorf("restored again, it is %s, %v", did.Time, err)
	}
}

// lines is a log that may be read while it is written.
type lines struct {
	mu  sync.Mutex
	all strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}
