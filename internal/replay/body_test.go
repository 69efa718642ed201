package replay_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/postonce/poe/internal/replay"
)

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
		{name: "one byte", memory: k, disk: -1, writes: []int{1}, wantMemory: 128},
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
			for off, left := range map[int64]int{-1: 0, 0: 10, 60<<10 - 10: 10, 60<<10 - 9: 9, 60 << 10: 0, 60<<10 + 1: 0} {
				p := make([]byte, 10)
				n, err := b.ReadAt(p, off)
				if n != left || (err == nil) != (n == len(p)) || n > 0 && !bytes.Equal(p[:n], content[off:][:n]) {
					t.Errorf("ReadAt %d gave %x, %v; want %d bytes", off, p[:n], err, left)
				}
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

// A reader gives what was there when it began, and the failure of whom it writes to.
func TestWriteTo(t *testing.T) {
	content, gone := pattern(100), errors.New("gone")
	for name, memory := range map[string]int64{"memory": 1 << 20, "file": -1} {
		t.Run(name, func(t *testing.T) {
			b := spoolOf(t, memory, 1<<20).New()
			defer b.Release()
			if _, err := b.Write(content); err != nil {
				t.Fatal(err)
			}
			r, beyond := b.Reader(), b.Reader()
			if _, err := beyond.Seek(110, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			if _, err := b.Write(content); err != nil {
				t.Fatal(err)
			}
			var w bytes.Buffer
			if n, err := r.WriteTo(&w); n != 100 || err != nil || !bytes.Equal(w.Bytes(), content) {
				t.Errorf("WriteTo = %d, %v, of 100 bytes", n, err)
			}
			nobody := writerFunc(func([]byte) (int, error) { t.Error("nothing is written"); return 0, nil })
			for what, r := range map[string]*replay.Reader{"at its end": r, "beyond it": beyond} {
				if n, err := r.WriteTo(nobody); n != 0 || err != nil {
					t.Errorf("WriteTo %s = %d, %v", what, n, err)
				}
			}
			half := writerFunc(func(p []byte) (int, error) { return len(p) / 2, gone })
			if n, err := b.Reader().WriteTo(half); n != 100 || !errors.Is(err, gone) {
				t.Errorf("to a writer that fails: %d, %v", n, err)
			}
		})
	}
	b := spoolOf(t, 1<<20, -1).New()
	defer b.Release()
	if _, err := b.Write(content); err != nil {
		t.Fatal(err)
	}
	short := writerFunc(func(p []byte) (int, error) { return len(p) - 1, nil })
	if n, err := b.Reader().WriteTo(short); n != 99 || !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("to a writer that does not say that it fails: %d, %v", n, err)
	}
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
	if s.Trouble() == nil {
		t.Error("a write that failed is no trouble")
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

// A file that has become shorter is no content that has: who reads it must not take a part for the whole.
func TestFileIsCut(t *testing.T) {
	for name, left := range map[string]int64{"to nothing": 0, "in the middle": 40 << 10} {
		t.Run(name, func(t *testing.T) {
			b := spoolOf(t, -1, 1<<20).New()
			defer b.Release()
			if _, err := b.Write(pattern(100 << 10)); err != nil {
				t.Fatal(err)
			}
			if err := replay.CutFile(b, left); err != nil {
				t.Fatal(err)
			}
			for how, read := range map[string]func() error{
				"Read":    func() error { _, err := io.ReadAll(struct{ io.Reader }{b.Reader()}); return err },
				"ReadAll": func() error { _, err := b.ReadAll(); return err },
				"WriteTo": func() error { _, err := b.Reader().WriteTo(io.Discard); return err },
			} {
				if err := read(); !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("%s: %v, want ErrUnexpectedEOF", how, err)
				}
			}
		})
	}
}

// A body is released when its last reader has come to its end, and nobody else needs it; not before, and in whichever order.
func TestLetGo(t *testing.T) {
	content := pattern(100)
	for name, last := range map[string]func(r *replay.Reader) error{
		"read":    func(r *replay.Reader) error { _, err := io.CopyN(io.Discard, r, 50); return err },
		"written": func(r *replay.Reader) error { _, err := r.WriteTo(io.Discard); return err },
		"closed":  func(r *replay.Reader) error { return r.Close() },
	} {
		for _, letGoFirst := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, let go first %t", name, letGoFirst), func(t *testing.T) {
				s := spoolOf(t, 1<<20, -1)
				b := s.New()
				defer b.Release()
				holds := func(want bool) {
					t.Helper()
					if memory, _ := s.Usage(); memory > 0 != want {
						t.Errorf("it holds %d bytes", memory)
					}
				}
				if _, err := b.Write(content); err != nil {
					t.Fatal(err)
				}
				other := b.Reader()
				if _, err := other.WriteTo(io.Discard); err != nil { // who is not the last says nothing
					t.Fatal(err)
				}
				if err := other.Close(); err != nil {
					t.Fatal(err)
				}
				r := b.LastReader()
				if letGoFirst {
					b.LetGo()
				}
				if _, err := io.CopyN(io.Discard, r, 50); err != nil {
					t.Fatal(err)
				}
				holds(true)
				if err := last(r); err != nil {
					t.Fatal(err)
				}
				holds(!letGoFirst)
				b.LetGo()
				holds(false)
				if n, err := r.WriteTo(io.Discard); name != "closed" && (n != 0 || err != nil) {
					t.Errorf("at the end of what is released: %d, %v", n, err)
				}
			})
		}
	}
	t.Run("of nothing", func(t *testing.T) {
		b := spoolOf(t, 1<<20, -1).New() // which sees that all is given back
		b.Expect(100)
		b.LetGo()
		if n, err := b.LastReader().WriteTo(io.Discard); n != 0 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	})
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
