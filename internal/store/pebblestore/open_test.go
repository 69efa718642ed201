package pebblestore_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/rs/zerolog"

	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/pebblestore"
	"github.com/postonce/poe/internal/store/storetest"
)

// helper is the variable that makes this test binary do something else in a second process.
const helper = "POE_PEBBLESTORE_TEST"

func TestMain(m *testing.M) {
	switch folder := os.Getenv(helper + "_DIR"); os.Getenv(helper) {
	case "open":
		os.Exit(tryOpen(folder))
	case "fatal":
		os.Exit(breakLedger(folder))
	case "full":
		os.Exit(makeOnFullDisk(folder))
	case "read":
		os.Exit(tryRead(folder))
	default:
		os.Exit(m.Run())
	}
}

// tryOpen exits with 3 where the ledger is locked.
func tryOpen(folder string) int {
	s, err := pebblestore.Open(context.Background(), pebblestore.Config{Dir: folder})
	switch {
	case errors.Is(err, store.ErrLocked):
		return 3
	case err != nil:
		return 4
	}
	if err := s.Close(); err != nil {
		return 5
	}
	return 0
}

// tryRead reads all records of a ledger that is configured as in production.
func tryRead(folder string) int {
	s, err := pebblestore.Open(context.Background(), pebblestore.Config{Dir: folder})
	if err != nil {
		return 4
	}
	if _, err := s.List(context.Background(), store.ID{}, 1000); err != nil {
		return 5
	}
	return 6
}

// other runs this binary in another process and returns its exit code and what it printed.
func other(t *testing.T, what, folder string) (code int, printed string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), helper+"="+what, helper+"_DIR="+folder)
	out, err := cmd.CombinedOutput()
	if exit := (&exec.ExitError{}); err != nil && !errors.As(err, &exit) {
		t.Fatalf("%v: %s", err, out)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

func TestLocked(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "data", "poe")
	s, err := pebblestore.Open(t.Context(), pebblestore.Config{Dir: folder})
	if err != nil {
		t.Fatal(err)
	}
	if code, _ := other(t, "open", folder); code != 3 {
		t.Errorf("another process exits with %d, want 3: locked", code)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(folder, link); err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Dir(folder))
	for _, spelling := range []string{folder, "poe", "./poe/../poe", link} {
		_, err = pebblestore.Open(t.Context(), pebblestore.Config{Dir: spelling})
		if !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), spelling) {
			t.Errorf("this process, by %q, got %v", spelling, err)
		}
	}
	r := claim(t)
	if _, err := storetest.Claim(t.Context(), s, r); err != nil && !errors.Is(err, store.ErrExpired) {
		t.Errorf("the first one is disturbed: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if code, _ := other(t, "open", folder); code != 0 {
		t.Errorf("after closing, another process exits with %d", code)
	}
}

func TestFolderIsPrivate(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "poe")
	s, err := pebblestore.Open(t.Context(), pebblestore.Config{Dir: folder})
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(folder)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder is %s, %v", info.Mode(), err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// breakLedger lets a sync fail under a ledger that is configured as in production.
func breakLedger(folder string) int {
	disk := &failing{FS: vfs.Default}
	s, err := pebblestore.Open(context.Background(), pebblestore.Config{Dir: folder, FS: disk})
	if err != nil {
		return 4
	}
	disk.broken.Store(true)
	if err := s.Ready(context.Background()); err != nil {
		return 5
	}
	return 6
}

func TestFatalEndsTheProcess(t *testing.T) {
	code, printed := other(t, "fatal", t.TempDir())
	if code != 1 || !strings.Contains(printed, "can no longer be trusted: ") || !strings.Contains(printed, "injected") {
		t.Errorf("exit code %d, want 1; it printed %q", code, printed)
	}
}

// makeOnFullDisk makes a ledger where its list of files has no room.
func makeOnFullDisk(folder string) int {
	disk := errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileWrite && strings.Contains(op.Path, "MANIFEST") {
			return syscall.ENOSPC
		}
		return nil
	}))
	if _, err := pebblestore.Open(context.Background(), pebblestore.Config{Dir: folder, FS: disk}); err != nil {
		return 4
	}
	return 5
}

// Nothing is wrong with a ledger that could not be made, or opened: there is none, or it is as it was.
func TestFatalBeforeItIsOpen(t *testing.T) {
	code, printed := other(t, "full", t.TempDir())
	if code != 1 || !strings.HasPrefix(printed, "poe: the ledger cannot be opened: ") || !strings.Contains(printed, "no space left on device") {
		t.Errorf("exit code %d, want 1; it printed %q", code, printed)
	}
}

func TestForeign(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(*testing.T, vfs.FS)
	}{
		{"another format", func(t *testing.T, fs vfs.FS) { plant(t, fs, dir+"/ledger", "mformat", "poe-ledger/2") }},
		{"data, and no format", func(t *testing.T, fs vfs.FS) { plant(t, fs, dir+"/ledger", "key", "value") }},
		{"another database", func(t *testing.T, fs vfs.FS) { plant(t, fs, dir, "key", "value") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fs := vfs.NewMem()
			tt.make(t, fs)
			for range 2 {
				s, err := open(t, fs)
				if s != nil || !errors.Is(err, pebblestore.ErrForeign) || !strings.Contains(err.Error(), dir) {
					t.Errorf("got %v", err)
				}
			}
		})
	}
}

func plant(t *testing.T, fs vfs.FS, folder, key, value string) {
	t.Helper()
	db, err := pebble.Open(folder, &pebble.Options{FS: fs, FormatMajorVersion: pebble.FormatNewest, Logger: quiet{t}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Set([]byte(key), []byte(value), pebble.Sync), db.Close()); err != nil {
		t.Fatal(err)
	}
}

type quiet struct{ t *testing.T }

func (quiet) Infof(string, ...any)                {}
func (quiet) Errorf(string, ...any)               {}
func (q quiet) Fatalf(format string, args ...any) { q.t.Fatalf(format, args...) }

func TestOpenRefuses(t *testing.T) {
	if _, err := pebblestore.Open(t.Context(), pebblestore.Config{FS: vfs.NewMem()}); err == nil {
		t.Error("it opened a ledger without a folder")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := pebblestore.Open(ctx, pebblestore.Config{Dir: dir, FS: vfs.NewMem()}); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that is over it got %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := pebblestore.Open(t.Context(), pebblestore.Config{Dir: file}); err == nil || errors.Is(err, store.ErrLocked) {
		t.Errorf("with a file for a folder it got %v", err)
	}
	short := pebblestore.Config{Dir: dir, FS: vfs.NewMem(), Random: strings.NewReader("too little")}
	if _, err := pebblestore.Open(t.Context(), short); err == nil {
		t.Error("it opened a ledger without randomness")
	}
}

// One flipped bit in the log of a ledger, the first log of a new one included, is noticed: what was
// acknowledged never goes silently.
func TestFlippedBit(t *testing.T) {
	disk := vfs.NewMem()
	s, err := open(t, disk)
	if err != nil {
		t.Fatal(err)
	}
	var all []store.Record
	for range 500 {
		r := claim(t, newName())
		if _, err := storetest.Claim(t.Context(), s, r); err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	log := largest(t, disk, ".log")
	for _, offset := range []int64{5_000, 20_000, 33_333, 50_000} {
		flip(t, disk, log, offset)
		s, err := open(t, disk)
		if err == nil {
			missing := 0
			for _, r := range all {
				if _, err := s.Lookup(t.Context(), store.ByID(r.ID)); err != nil {
					missing++
				}
			}
			t.Fatalf("a bit flipped at %d: it opens, and %d of %d are missing; closed: %v", offset, missing, len(all), s.Close())
		}
		if !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("a bit flipped at %d: %v", offset, err)
		}
		flip(t, disk, log, offset)
	}
	whole := mustOpen(t, disk)
	for _, r := range all {
		if _, err := whole.Lookup(t.Context(), store.ByID(r.ID)); err != nil {
			t.Fatalf("with all bits back: %v", err)
		}
	}
}

// Damage in what Open reads is an error that says what to do. Damage that shows later ends the process, before anything is concluded from it.
func TestDamagedTable(t *testing.T) {
	for name, tc := range map[string]struct {
		records int
		opens   bool
	}{
		"read by Open": {1, false},
		"read later":   {500, true},
	} {
		t.Run(name, func(t *testing.T) {
			disk := damagedTable(t, tc.records)
			reasons, read := make(chan string, 10), make(chan error, 1)
			ctx := context.WithoutCancel(t.Context())
			go func() { // this goroutine, and the ledger, are left as they are
				s, err := pebblestore.Open(ctx, pebblestore.Config{Dir: dir, FS: disk, Fatal: func(reason string) { reasons <- reason }})
				if err == nil {
					_, err = s.List(ctx, store.ID{}, 1000)
				}
				read <- err
			}()
			select {
			case reason := <-reasons:
				if !tc.opens || !strings.Contains(reason, ".sst is damaged") {
					t.Errorf("the reason is %q", reason)
				}
			case err := <-read:
				if hint := (*store.HintError)(nil); tc.opens || !errors.Is(err, store.ErrCorrupt) || !errors.As(err, &hint) ||
					!strings.Contains(err.Error(), ".sst") || !strings.Contains(hint.Hint(), "poe restore BACKUP --store 'pebble:"+dir+"'") {
					t.Errorf("reading got %v", err)
				}
			}
		})
	}
}

// To start again over damage does not help: the exit code says so to who starts servers, and the last words say what helps.
func TestDamageEndsTheProcess(t *testing.T) {
	folder := inFolder(t, damagedTable(t, 500))
	code, printed := other(t, "read", folder)
	if code != 78 || !strings.Contains(printed, ".sst is damaged") || !strings.Contains(printed, "poe: hint: ") ||
		!strings.Contains(printed, "poe restore BACKUP --store 'pebble:"+folder+"'") {
		t.Errorf("exit code %d, want 78; it printed %q", code, printed)
	}
}

// Who looks at a damaged ledger is told so as often as he does it: nothing of the database stays open.
func TestDamageGivesTheDatabaseBack(t *testing.T) {
	folder := inFolder(t, damagedTable(t, 500))
	c := pebblestore.Config{Dir: folder}
	for range 2 {
		_, err := pebblestore.Check(t.Context(), c, nil)
		if hint := (*store.HintError)(nil); !errors.Is(err, store.ErrCorrupt) || !errors.As(err, &hint) || !strings.Contains(err.Error(), ".sst is damaged") {
			t.Errorf("a check got %v", err)
		}
	}
}

// Damage that restoring meets is an error, too, which says what to do, and not the end of the process.
func TestDamageInWhatIsTakenAsItIs(t *testing.T) {
	for name, disk := range map[string]vfs.FS{"a table that is damaged": damagedTable(t, 1), "a table that is gone": damagedTable(t, 1)} {
		table := largest(t, disk, ".sst")
		if name == "a table that is gone" {
			remove(t, disk, table)
		}
		c := pebblestore.Config{Dir: dir, FS: disk, Fatal: func(reason string) { panic(reason) }}
		_, err := pebblestore.Put(t.Context(), c, store.Restore{})
		if hint := (*store.HintError)(nil); !errors.Is(err, store.ErrCorrupt) || !errors.As(err, &hint) || !strings.Contains(err.Error(), strings.TrimSuffix(path.Base(table), ".sst")) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// inFolder puts a ledger into a folder of the system's.
func inFolder(t *testing.T, disk vfs.FS) (folder string) {
	t.Helper()
	folder = filepath.Join(t.TempDir(), "ledger")
	for _, suffix := range []string{"", ".high-water"} {
		if ok, err := vfs.Clone(disk, vfs.Default, dir+suffix, folder+suffix); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	return folder
}

// damagedTable returns a ledger with so many records, the first of which lie in a block that is damaged.
func damagedTable(t *testing.T, records int) vfs.FS {
	t.Helper()
	disk := vfs.NewMem()
	s, err := open(t, disk)
	if err != nil {
		t.Fatal(err)
	}
	for range records {
		if _, err := storetest.Claim(t.Context(), s, claim(t)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(s.Flush(), s.Close()); err != nil {
		t.Fatal(err)
	}
	flip(t, disk, largest(t, disk, ".sst"), 40)
	return disk
}

// Pebble's own words are kept, for those who ask for them.
func TestLog(t *testing.T) {
	for level, want := range map[zerolog.Level]bool{zerolog.DebugLevel: true, zerolog.InfoLevel: false} {
		var out lockedBuffer
		s, err := pebblestore.Open(t.Context(), pebblestore.Config{Dir: dir, FS: vfs.NewMem(), Log: zerolog.New(&out).Level(level)})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(out.String(), `"from":"pebble"`); got != want {
			t.Errorf("at level %s Pebble was heard: %t, want %t", level, got, want)
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func largest(t *testing.T, fs vfs.FS, suffix string) (path string) {
	t.Helper()
	folder := dir + "/ledger"
	names, err := fs.List(folder)
	if err != nil {
		t.Fatal(err)
	}
	var most int64
	for _, n := range names {
		info, err := fs.Stat(fs.PathJoin(folder, n))
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(n, suffix) && info.Size() > most {
			path, most = fs.PathJoin(folder, n), info.Size()
		}
	}
	return path
}

func flip(t *testing.T, fs vfs.FS, path string, offset int64) {
	t.Helper()
	f, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	if _, err := f.ReadAt(b[:], offset); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x10
	if _, err := f.WriteAt(b[:], offset); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
