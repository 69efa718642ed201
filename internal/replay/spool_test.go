package replay_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/rs/zerolog"

	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

// spoolOf returns a spool with these budgets, in bytes, and checks at the test's end that all was given back
// and that no file was left.
func spoolOf(t testing.TB, memory, disk int64) *replay.Spool {
	t.Helper()
	dir := t.TempDir()
	s, err := replay.NewSpool(replay.SpoolConfig{Dir: dir, Memory: memory, Disk: disk})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if m, d := s.Usage(); m != 0 || d != 0 {
			t.Errorf("the spool still holds %d bytes of memory and %d of disk", m, d)
		}
		if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
			t.Errorf("the spool left files: %v, %v", files, err)
		}
	})
	return s
}

// pattern returns n bytes of all values.
func pattern(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i*7 + i>>8)
	}
	return p
}

func TestSpoolFull(t *testing.T) {
	tests := []struct {
		name         string
		memory, disk int64
		first        int
		second       int
	}{
		{name: "nothing left at all", memory: -1, disk: -1, second: 1},
		{name: "memory for the first write only", memory: 128, disk: -1, first: 128, second: 1},
		{name: "disk does not take the part in memory", memory: 1024, disk: 1000, first: 1024, second: 1},
		{name: "disk takes the first write only", memory: -1, disk: 100 << 10, first: 100 << 10, second: 1},
		{name: "disk takes half of a write", memory: -1, disk: 100 << 10, first: 70 << 10, second: 31 << 10},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := spoolOf(t, tt.memory, tt.disk)
			b := s.New()
			defer b.Release()
			want := pattern(tt.first)
			if _, err := b.Write(want); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if n, err := b.Write(make([]byte, tt.second)); n != 0 || !errors.Is(err, replay.ErrSpoolFull) {
					t.Errorf("Write = %d, %v; want ErrSpoolFull", n, err)
				}
			}
			checkBody(t, b, want)

			b.Release()
			again := s.New()
			defer again.Release()
			if _, err := again.Write(want); err != nil {
				t.Errorf("what was released is not there again: %v", err)
			}
		})
	}
}

func TestSpoolUnderPressure(t *testing.T) {
	s := spoolOf(t, 256<<10, 4<<20)
	want := pattern(100 << 10)
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			b := s.New()
			defer b.Release()
			part := want[:len(want)*(i%4+1)/4]
			_, err := b.ReadFrom(iotest.HalfReader(bytes.NewReader(part)))
			switch {
			case errors.Is(err, replay.ErrSpoolFull): // what budgets are for
			case err != nil:
				t.Error(err)
			default:
				if got, err := b.ReadAll(); err != nil || !bytes.Equal(got, part) {
					t.Errorf("read %d bytes, %v; want %d", len(got), err, len(part))
				}
			}
			if m, d := s.Usage(); m > 256<<10 || d > 4<<20 {
				t.Errorf("over budget: %d bytes of memory, %d of disk", m, d)
			}
		})
	}
	wg.Wait()
}

func TestSpoolFilesHaveNoName(t *testing.T) {
	dir := t.TempDir()
	s, err := replay.NewSpool(replay.SpoolConfig{Dir: dir, Memory: -1})
	if err != nil {
		t.Fatal(err)
	}
	b := s.New()
	defer b.Release()
	if _, err := b.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
		t.Errorf("files while a body is on disk: %v, %v", files, err)
	}
}

func TestNewSpoolChecksItsFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below"), filepath.Join(t.TempDir(), "absent")} {
		var why *fs.PathError
		if _, err := replay.NewSpool(replay.SpoolConfig{Dir: dir}); !errors.As(err, &why) {
			t.Errorf("NewSpool(%q): %v; want what the system says", dir, err)
		}
	}
}

func TestSum(t *testing.T) {
	s := spoolOf(t, 1<<20, -1)
	long := bytes.Repeat([]byte("x"), 100_000)
	for _, want := range [][]byte{nil, []byte("abc"), long} {
		sum, n, err := s.Sum(iotest.OneByteReader(bytes.NewReader(want)), math.MaxInt64)
		if sum != sha256.Sum256(want) || n != int64(len(want)) || err != nil {
			t.Errorf("%d bytes: %x of %d bytes, %v", len(want), sum, n, err)
		}
	}
	broken := errors.New("broken")
	if sum, n, err := s.Sum(io.MultiReader(bytes.NewReader(long), iotest.ErrReader(broken)), math.MaxInt64); !errors.Is(err, broken) || sum != [32]byte{} || n != int64(len(long)) {
		t.Errorf("what breaks off: %x of %d bytes, %v", sum, n, err)
	}
	if sum, n, err := s.Sum(iotest.TimeoutReader(iotest.OneByteReader(bytes.NewReader(long))), math.MaxInt64); !errors.Is(err, iotest.ErrTimeout) || sum != [32]byte{} || n != 1 {
		t.Errorf("what breaks off at once, and goes on: %x of %d bytes, %v", sum, n, err)
	}
	if _, n, err := s.Sum(iotest.DataErrReader(io.MultiReader(bytes.NewReader(long[:3]), iotest.ErrReader(broken))), 3); !errors.Is(err, broken) || n != 3 {
		t.Errorf("what breaks off with its last byte: %d bytes, %v", n, err)
	}
	for _, most := range []int64{0, 3, 70_000} {
		src := bytes.NewReader(long)
		if sum, n, err := s.Sum(src, most); sum != sha256.Sum256(long[:most]) || n != most || err != nil || src.Len() != len(long)-int(most) {
			t.Errorf("at most %d: %x of %d bytes, %v; %d are left", most, sum, n, err, src.Len())
		}
	}
	if memory, disk := s.Usage(); memory != 0 || disk != 0 {
		t.Errorf("%d bytes of memory and %d of disk are kept", memory, disk)
	}
}

func TestCopyLimited(t *testing.T) {
	broken := errors.New("broken")
	tests := []struct {
		name  string
		src   io.Reader
		limit int64
		want  string
		err   error
	}{
		{name: "empty", src: bytes.NewReader(nil), limit: 3},
		{name: "below", src: bytes.NewReader([]byte("ab")), limit: 3, want: "ab"},
		{name: "at the limit", src: bytes.NewReader([]byte("abc")), limit: 3, want: "abc"},
		{name: "above", src: bytes.NewReader([]byte("abcd")), limit: 3, want: "abc", err: replay.ErrTooLarge},
		{name: "nothing allowed, nothing there", src: bytes.NewReader(nil), limit: 0},
		{name: "nothing allowed", src: bytes.NewReader([]byte("a")), limit: 0, err: replay.ErrTooLarge},
		{name: "end and data at once", src: iotest.DataErrReader(bytes.NewReader([]byte("abc"))), limit: 3, want: "abc"},
		{name: "breaks off", src: io.MultiReader(bytes.NewReader([]byte("ab")), iotest.ErrReader(broken)), limit: 3, want: "ab", err: broken},
		{name: "breaks off at the limit", src: io.MultiReader(bytes.NewReader([]byte("abc")), iotest.ErrReader(broken)), limit: 3, want: "abc", err: broken},
		{name: "a wrapped end is a failure", src: iotest.ErrReader(fmt.Errorf("reading: %w", io.EOF)), limit: 3, err: io.EOF},
		{name: "unexpected end", src: iotest.ErrReader(io.ErrUnexpectedEOF), limit: 3, err: io.ErrUnexpectedEOF},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := spoolOf(t, 1<<20, -1).New()
			defer b.Release()
			n, err := b.CopyLimited(tt.src, tt.limit)
			if !errors.Is(err, tt.err) || (tt.err == nil) != (err == nil) {
				t.Errorf("error %v, want %v", err, tt.err)
			}
			got, _ := b.Bytes()
			if string(got) != tt.want || n != int64(len(tt.want)) {
				t.Errorf("took %d bytes %q, want %q", n, got, tt.want)
			}
		})
	}
	t.Run("spool full", func(t *testing.T) {
		b := spoolOf(t, -1, 10).New()
		defer b.Release()
		if _, err := b.CopyLimited(bytes.NewReader(make([]byte, 11)), 20); !errors.Is(err, replay.ErrSpoolFull) {
			t.Errorf("error %v, want ErrSpoolFull", err)
		}
	})
}

// A temporary folder that is full, or gone, looks to clients like a spool with too much in it. So operators are told what the system says, and not for every body; and
// it can be asked whether that is over.
func TestSpoolFolderFails(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tmp")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	now := time.Unix(1_700_000_000, 0)
	s, err := replay.NewSpool(replay.SpoolConfig{Dir: dir, Files: 1, Clock: func() time.Time { return now }, Log: zerolog.New(&log)})
	if err != nil {
		t.Fatal(err)
	}
	write := func() error {
		b := s.New()
		defer b.Release()
		_, err := b.Write(make([]byte, store.InlineLimit+1))
		return err
	}
	if err := errors.Join(write(), s.Trouble(), os.Remove(dir)); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		after time.Duration
		lines int
	}{{0, 1}, {59 * time.Second, 1}, {time.Second, 2}} {
		now = now.Add(tc.after)
		if err := write(); !errors.Is(err, replay.ErrSpoolFull) || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Write: %v", err)
		}
		if n := bytes.Count(log.Bytes(), []byte("no such file or directory")); n != tc.lines {
			t.Errorf("%s later there are %d lines, want %d:\n%s", tc.after, n, tc.lines, &log)
		}
	}
	if err := s.Trouble(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Trouble: %v", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(write(), s.Trouble()); err != nil {
		t.Errorf("the folder is there again: %v", err)
	}
}

// What did not fit on the disk holds no file any more.
func TestSpoolFileOfWhatDidNotFit(t *testing.T) {
	s, err := replay.NewSpool(replay.SpoolConfig{Dir: t.TempDir(), Files: 1, Memory: store.InlineLimit, Disk: store.InlineLimit - 1})
	if err != nil {
		t.Fatal(err)
	}
	for what, size := range map[string]int{"at once": store.InlineLimit + 2, "from memory": store.InlineLimit} {
		b := s.New()
		_, err := b.Write(make([]byte, size))
		if err == nil {
			_, err = b.Write([]byte("xx"))
		}
		if !errors.Is(err, replay.ErrSpoolFull) {
			t.Errorf("%s: %v", what, err)
		}
		b.Release()
		if !s.HoldFile() {
			t.Fatalf("%s: the file is held", what)
		}
		s.GiveFile()
	}
}

// A body in a file holds one of the files that a process may have open, of which its ledger needs some: so they are counted too.
func TestSpoolFiles(t *testing.T) {
	var log bytes.Buffer
	s, err := replay.NewSpool(replay.SpoolConfig{Dir: t.TempDir(), Files: 2, Log: zerolog.New(&log)})
	if err != nil {
		t.Fatal(err)
	}
	large := make([]byte, store.InlineLimit+1)
	a, b, c, small := s.New(), s.New(), s.New(), s.New()
	defer func() { b.Release(); c.Release(); small.Release() }()
	for _, body := range []*replay.Body{a, b} {
		if _, err := body.Write(large); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Write(large); !errors.Is(err, replay.ErrSpoolFull) {
		t.Errorf("the third: %v", err)
	}
	if _, err := small.Write(large[:100]); err != nil {
		t.Errorf("one that needs no file: %v", err)
	}
	a.Release()
	a.Release() // which gives back no other's
	if _, err := c.Write(large); err != nil {
		t.Errorf("after one was released: %v", err)
	}
	if s.HoldFile() {
		t.Error("there is another one")
	}
	c.Release()
	for range 3 {
		if !s.HoldFile() {
			t.Error("what was given back is not there")
		}
		if s.HoldFile() {
			t.Error("more was given back than was held")
		}
		s.GiveFile()
	}
	if err := s.Trouble(); err != nil || log.Len() > 0 {
		t.Errorf("a quota that is used up is no trouble of the system: %v\n%s", err, &log)
	}
}

// A quota that is negative is none at all.
func TestSpoolWithoutFiles(t *testing.T) {
	s, err := replay.NewSpool(replay.SpoolConfig{Dir: t.TempDir(), Files: -1})
	if err != nil {
		t.Fatal(err)
	}
	b := s.New()
	defer b.Release()
	if _, err := b.Write(make([]byte, store.InlineLimit+1)); !errors.Is(err, replay.ErrSpoolFull) {
		t.Errorf("Write: %v, want ErrSpoolFull", err)
	}
}
