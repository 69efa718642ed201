package replay_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/postonce/poe/internal/replay"
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

func checkBody(t *testing.T, b *replay.Body, want []byte) {
	t.Helper()
	got, err := io.ReadAll(b.Reader())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("read %d bytes that differ from the %d written", len(got), len(want))
	}
	var w bytes.Buffer
	if n, err := io.Copy(&w, b.Reader()); err != nil || n != int64(len(want)) || !bytes.Equal(w.Bytes(), want) {
		t.Errorf("WriteTo gave %d bytes, %v; want %d", n, err, len(want))
	}
	all, err := b.ReadAll()
	if err != nil || !bytes.Equal(all, want) {
		t.Errorf("ReadAll gave %d bytes, %v; want %d", len(all), err, len(want))
	}
	if b.Size() != int64(len(want)) {
		t.Errorf("Size = %d, want %d", b.Size(), len(want))
	}
	if b.Digest() != sha256.Sum256(want) {
		t.Errorf("Digest is not that of the content")
	}
}

func TestBodyHolds(t *testing.T) {
	const k = 1 << 10
	tests := []struct {
		name         string
		memory, disk int64
		expect       int64
		writes       []int
		wantMemory   int64
		wantDisk     int64
	}{
		{name: "nothing", memory: k, disk: -1},
		{name: "one byte", memory: k, disk: -1, writes: []int{1}, wantMemory: 512},
		{name: "grows", memory: 4 * k, disk: -1, writes: []int{500, 500, 500}, wantMemory: 2 * k},
		{name: "expected exactly", memory: 700, disk: -1, expect: 700, writes: []int{300, 400}, wantMemory: 700},
		{name: "expected less than came", memory: 4 * k, disk: -1, expect: 10, writes: []int{300, 400}, wantMemory: k},
		{name: "largest in memory", memory: 64 * k, disk: -1, writes: []int{64*k - 1, 1}, wantMemory: 64 * k},
		{name: "one byte more", memory: 64 * k, disk: 65 * k, writes: []int{64 * k, 1}, wantDisk: 64*k + 1},
		{name: "large at once", memory: 64 * k, disk: 300 * k, writes: []int{200 * k, 100 * k}, wantDisk: 300 * k},
		{name: "no memory", memory: -1, disk: k, writes: []int{1, 2, 3}, wantDisk: 6},
		{name: "memory used up later", memory: k, disk: 2 * k, writes: []int{k, k}, wantDisk: 2 * k},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := spoolOf(t, tt.memory, tt.disk)
			b := s.New()
			defer b.Release()
			b.Expect(tt.expect)
			var want []byte
			for i, n := range tt.writes {
				p := pattern(n + i)[i:]
				if m, err := b.Write(p); m != n || err != nil {
					t.Fatalf("Write = %d, %v; want %d", m, err, n)
				}
				want = append(want, p...)
			}
			checkBody(t, b, want)
			if m, d := s.Usage(); m != tt.wantMemory || d != tt.wantDisk {
				t.Errorf("holds %d bytes of memory, %d of disk; want %d, %d", m, d, tt.wantMemory, tt.wantDisk)
			}
			if _, ok := b.Bytes(); ok != (tt.wantDisk == 0) {
				t.Errorf("in memory: %t", ok)
			}
		})
	}
}

func TestSpoolFull(t *testing.T) {
	tests := []struct {
		name         string
		memory, disk int64
		first        int
		second       int
	}{
		{name: "nothing left at all", memory: -1, disk: -1, second: 1},
		{name: "memory for the first write only", memory: 512, disk: -1, first: 512, second: 1},
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
		if _, err := replay.NewSpool(replay.SpoolConfig{Dir: dir}); err == nil {
			t.Errorf("NewSpool(%q) succeeded", dir)
		}
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

func TestReaders(t *testing.T) {
	want := pattern(200 << 10)
	for name, memory := range map[string]int64{"memory": 1 << 20, "file": -1} {
		t.Run(name, func(t *testing.T) {
			b := spoolOf(t, memory, 1<<20).New()
			defer b.Release()
			content := want[:60<<10]
			if _, err := b.Write(content); err != nil {
				t.Fatal(err)
			}
			if err := iotest.TestReader(b.Reader(), content); err != nil {
				t.Error(err)
			}
			r := b.Reader()
			if _, err := r.Seek(-5, io.SeekEnd); err != nil {
				t.Fatal(err)
			}
			var tail bytes.Buffer
			if n, err := r.WriteTo(&tail); n != 5 || err != nil || !bytes.Equal(tail.Bytes(), content[len(content)-5:]) {
				t.Errorf("WriteTo after Seek = %d, %v", n, err)
			}
			if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF { //nolint:errorlint // io.Reader says EOF itself
				t.Errorf("Read after WriteTo = %d, %v; want EOF", n, err)
			}
			var wg sync.WaitGroup
			for i := range 16 {
				wg.Go(func() {
					r := io.NewSectionReader(b, int64(i), int64(len(content)-i))
					if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, content[i:]) {
						t.Errorf("reader %d: %d bytes, %v", i, len(got), err)
					}
				})
			}
			wg.Wait()
		})
	}
	t.Run("beside a writer", func(t *testing.T) {
		b := spoolOf(t, 1<<20, 1<<20).New()
		defer b.Release()
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := b.ReadFrom(iotest.HalfReader(bytes.NewReader(want))); err != nil {
				t.Error(err)
			}
		})
		for b.Size() < int64(len(want)) && !t.Failed() {
			got, err := io.ReadAll(b.Reader())
			if err != nil || !bytes.Equal(got, want[:len(got)]) {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
		}
		wg.Wait()
	})
}

func TestBytesCannotReachWhatFollows(t *testing.T) {
	b := spoolOf(t, 0, 0).New()
	defer b.Release()
	if _, err := b.Write([]byte("one")); err != nil {
		t.Fatal(err)
	}
	early, _ := b.Bytes()
	if _, err := b.Write([]byte(" two")); err != nil {
		t.Fatal(err)
	}
	_ = append(early, " bad"...) // the point is where it writes
	checkBody(t, b, []byte("one two"))
}

func TestReleasedBody(t *testing.T) {
	for name, memory := range map[string]int64{"memory": 1 << 20, "file": -1} {
		t.Run(name, func(t *testing.T) {
			b := spoolOf(t, memory, 1<<20).New()
			if _, err := b.Write([]byte("content")); err != nil {
				t.Fatal(err)
			}
			kept, inMemory := b.Bytes()
			early := b.Reader()
			b.Release()
			b.Release()
			if _, err := b.Write([]byte("x")); !errors.Is(err, replay.ErrReleased) {
				t.Errorf("Write: %v", err)
			}
			for name, r := range map[string]*replay.Reader{"earlier": early, "later": b.Reader()} {
				if n, err := r.Read(make([]byte, 10)); n != 0 || !errors.Is(err, replay.ErrReleased) {
					t.Errorf("%s reader: %d, %v", name, n, err)
				}
				if n, err := r.WriteTo(io.Discard); n != 0 || !errors.Is(err, replay.ErrReleased) {
					t.Errorf("%s reader, WriteTo: %d, %v", name, n, err)
				}
			}
			if _, err := b.ReadAll(); !errors.Is(err, replay.ErrReleased) {
				t.Errorf("ReadAll: %v", err)
			}
			if _, ok := b.Bytes(); ok || b.Size() != 7 || b.Digest() != [32]byte{} {
				t.Errorf("Bytes %t, Size %d, Digest %x", ok, b.Size(), b.Digest())
			}
			if inMemory && string(kept) != "content" {
				t.Errorf("bytes handed out before became %q", kept)
			}
			b.Expect(10)
		})
	}
}

// TestDiskFails takes the file away under a body, as a broken disk would.
func TestDiskFails(t *testing.T) {
	s := spoolOf(t, -1, 1<<20)
	b := s.New()
	defer b.Release()
	if _, err := b.Write([]byte("content")); err != nil {
		t.Fatal(err)
	}
	if err := replay.CloseFile(b); err != nil {
		t.Fatal(err)
	}
	if n, err := b.Write([]byte("more")); n != 0 || !errors.Is(err, replay.ErrSpoolFull) {
		t.Errorf("Write = %d, %v; want ErrSpoolFull", n, err)
	}
	if _, disk := s.Usage(); disk != 7 || b.Size() != 7 {
		t.Errorf("after a write that failed the body has %d bytes and holds %d of disk; want 7", b.Size(), disk)
	}
	for name, read := range map[string]func() error{
		"ReadAll": func() error { _, err := b.ReadAll(); return err },
		"WriteTo": func() error { _, err := b.Reader().WriteTo(io.Discard); return err },
	} {
		// What Release does while a reader is between its two steps.
		if err := read(); !errors.Is(err, replay.ErrReleased) {
			t.Errorf("%s: %v, want ErrReleased", name, err)
		}
	}
}

func TestReleaseWhileInUse(t *testing.T) {
	s := spoolOf(t, 64<<10, 8<<20)
	for range 50 {
		b := s.New()
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				if _, err := b.Write(make([]byte, 10<<10)); err != nil {
					return
				}
			}
		})
		wg.Go(func() {
			for {
				if _, err := b.Reader().WriteTo(io.Discard); err != nil {
					if !errors.Is(err, replay.ErrReleased) {
						t.Error(err)
					}
					return
				}
			}
		})
		wg.Go(b.Release)
		wg.Wait()
	}
}

func TestNilBody(t *testing.T) {
	var b *replay.Body
	checkBody(t, b, nil)
	if _, err := b.Write([]byte("x")); !errors.Is(err, replay.ErrReleased) {
		t.Errorf("Write: %v", err)
	}
	if _, err := b.ReadFrom(bytes.NewReader(nil)); !errors.Is(err, replay.ErrReleased) {
		t.Errorf("ReadFrom: %v", err)
	}
	if p, ok := b.Bytes(); len(p) != 0 || !ok {
		t.Errorf("Bytes = %q, %t", p, ok)
	}
	b.Expect(1)
	b.Release()
}

// TestBodyCostsLittleMemory pins the promise that the size of a body is the disk's matter.
func TestBodyCostsLittleMemory(t *testing.T) {
	const size, most = 100 << 20, 8 << 20
	b := spoolOf(t, 0, 0).New()
	defer b.Release()
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	runtime.GC()
	before, peak := heap(), uint64(0)
	watch := writerFunc(func(p []byte) (int, error) {
		peak = max(peak, heap())
		return len(p), nil
	})
	zeros := io.LimitReader(readerFunc(func(p []byte) (int, error) { return len(p), nil }), size)
	n, err := b.ReadFrom(io.TeeReader(zeros, every(1<<20, watch)))
	if n != size || err != nil {
		t.Fatalf("ReadFrom = %d, %v", n, err)
	}
	if n, err := io.Copy(every(1<<20, watch), b.Reader()); n != size || err != nil {
		t.Fatalf("Copy = %d, %v", n, err)
	}
	if cost := int64(peak) - int64(before); cost > most {
		t.Errorf("a body of %d bytes cost %d bytes of heap, want at most %d", size, cost, most)
	}
	if diff := cmp.Diff(int64(size), b.Size()); diff != "" {
		t.Error(diff)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// every calls w once for each n bytes that are written.
func every(n int, w io.Writer) io.Writer {
	seen := 0
	return writerFunc(func(p []byte) (int, error) {
		if seen += len(p); seen >= n {
			seen = 0
			return w.Write(p)
		}
		return len(p), nil
	})
}
