package storetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/postonce/poe/internal/store"
)

func bodyCases() []testCase {
	return []testCase{
		{"put and opened", bodyPut},
		{"empty", bodyEmpty},
		{"large", bodyLarge},
		{"absent", bodyAbsent},
		{"before its record is there", bodyFirst},
		{"put twice", bodyTwice},
		{"source fails, then a second try", bodyBroken},
		{"context over", bodyContext},
		{"read here and there", bodySeek},
		{"many at once", bodyConcurrent},
		{"one place, many writers", bodyContended},
		{"discarded, and nothing else", bodyDiscarded},
		{"what a record refers to is not discarded", bodyNeeded},
		{"discarded while it is read", bodyDiscardedOpen},
		{"discarded while it is put", bodyDiscardedEarly},
		{"discarded among puts", bodyDiscardedAmongPuts},
	}
}

func (k *kit) put(id store.ID, part store.Part, content []byte) {
	k.t.Helper()
	n, err := k.Put(k.t.Context(), id, part, bytes.NewReader(content))
	if err != nil || n != int64(len(content)) {
		k.t.Fatalf("putting: %d, %v", n, err)
	}
}

func (k *kit) body(id store.ID, part store.Part) ([]byte, error) {
	b, err := k.Open(k.t.Context(), id, part)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(b)
	return content, errors.Join(err, b.Close())
}

func (k *kit) hasBody(id store.ID, part store.Part, want []byte) {
	k.t.Helper()
	got, err := k.body(id, part)
	if err != nil || !bytes.Equal(got, want) {
		k.t.Errorf("the body has %d bytes, %v; want %d", len(got), err, len(want))
	}
}

func (k *kit) noBody(id store.ID, part store.Part) {
	k.t.Helper()
	if _, err := k.body(id, part); !errors.Is(err, store.ErrNotFound) {
		k.t.Errorf("opening a body got %v, want nothing", err)
	}
}

func noise(n int) []byte {
	b := make([]byte, n)
	fill(b)
	return b
}

func bodyPut(_ *testing.T, k *kit) {
	id, tm := k.id(31), term()
	k.put(id, store.Part{Term: tm}, []byte("the request"))
	k.put(id, store.Part{Term: tm, N: 1}, []byte("the answer"))
	k.hasBody(id, store.Part{Term: tm}, []byte("the request"))
	k.hasBody(id, store.Part{Term: tm, N: 1}, []byte("the answer"))
	k.hasBody(id, store.Part{Term: tm}, []byte("the request"))
}

func bodyEmpty(_ *testing.T, k *kit) {
	id, part := k.id(31), store.Part{Term: term()}
	k.put(id, part, nil)
	k.hasBody(id, part, nil)
}

func bodyLarge(_ *testing.T, k *kit) {
	for _, size := range []int{64<<10 - 1, 64 << 10, 128 << 10, 128<<10 + 1, 5<<20 + 7} {
		id, part, content := k.id(31), store.Part{Term: term(), N: 1}, noise(size)
		k.put(id, part, content)
		k.hasBody(id, part, content)
	}
}

func bodyAbsent(_ *testing.T, k *kit) {
	id, part := k.id(31), store.Part{Term: term()}
	k.noBody(id, part)
	k.put(id, part, []byte("x"))
	k.noBody(id, store.Part{Term: part.Term, N: 1})
	k.noBody(id, store.Part{Term: term()})
	k.noBody(k.id(31), part)
	k.noBody(k.id(30), part)
}

func bodyFirst(_ *testing.T, k *kit) {
	r := k.claim(store.Running)
	content := noise(70 << 10)
	r.Request = store.Blob{Where: store.Beside, Part: store.Part{Term: r.Term}, Size: int64(len(content))}
	k.put(r.ID, r.Request.Part, content)
	k.absent(store.ByID(r.ID))
	k.mustClaim(r)
	k.hasBody(r.ID, r.Request.Part, content)
}

func bodyTwice(t *testing.T, k *kit) {
	id, part := k.id(31), store.Part{Term: term()}
	k.put(id, part, []byte("the first"))
	_, err := k.Put(t.Context(), id, part, bytes.NewReader([]byte("the second")))
	refused(t, err, store.ErrTaken)
	k.hasBody(id, part, []byte("the first"))
}

func bodyBroken(t *testing.T, k *kit) {
	id, part := k.id(31), store.Part{Term: term()}
	torn := errors.New("torn")
	_, err := k.Put(t.Context(), id, part, io.MultiReader(bytes.NewReader(noise(200<<10)), iotest.ErrReader(torn)))
	if !errors.Is(err, torn) {
		t.Fatalf("got %v", err)
	}
	k.noBody(id, part)
	k.put(id, part, []byte("whole"))
	k.hasBody(id, part, []byte("whole"))
}

func bodyContext(t *testing.T, k *kit) {
	id, part := k.id(31), store.Part{Term: term()}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := k.Put(ctx, id, part, bytes.NewReader([]byte("x"))); !errors.Is(err, context.Canceled) {
		t.Errorf("putting got %v", err)
	}
	k.noBody(id, part)
	k.put(id, part, []byte("x"))
	if _, err := k.Open(ctx, id, part); !errors.Is(err, context.Canceled) {
		t.Errorf("opening got %v", err)
	}
}

func bodySeek(t *testing.T, k *kit) {
	id, part, content := k.id(31), store.Part{Term: term()}, noise(300<<10)
	k.put(id, part, content)
	b, err := k.Open(t.Context(), id, part)
	if err != nil {
		t.Fatal(err)
	}
	if end, err := b.Seek(0, io.SeekEnd); err != nil || end != int64(len(content)) {
		t.Errorf("the end is at %d, %v", end, err)
	}
	if _, err := b.Seek(200<<10, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(b); err != nil || !bytes.Equal(rest, content[200<<10:]) {
		t.Errorf("the rest has %d bytes, %v", len(rest), err)
	}
	if _, err := b.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if err := iotest.TestReader(b, content); err != nil {
		t.Error(err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

func bodyConcurrent(_ *testing.T, k *kit) {
	type kept struct {
		id      store.ID
		part    store.Part
		content []byte
	}
	all := make([]kept, 24)
	var wg sync.WaitGroup
	for i := range all {
		all[i] = kept{k.id(1 + i%3), store.Part{Term: term(), N: uint8(i % 2)}, noise(10_000 * i)}
		wg.Go(func() {
			if n, err := k.Put(k.t.Context(), all[i].id, all[i].part, bytes.NewReader(all[i].content)); err != nil || n != int64(len(all[i].content)) {
				k.t.Errorf("putting: %d, %v", n, err)
			}
		})
	}
	wg.Wait()
	for _, b := range all {
		k.hasBody(b.id, b.part, b.content)
	}
}

func bodyContended(t *testing.T, k *kit) {
	id, part := k.id(31), store.Part{Term: term()}
	contents := [8][]byte{}
	var won [8]bool
	var wg sync.WaitGroup
	for i := range contents {
		contents[i] = noise(200_000 + i)
		wg.Go(func() {
			_, err := k.Put(t.Context(), id, part, bytes.NewReader(contents[i]))
			won[i] = err == nil
			if err != nil && !errors.Is(err, store.ErrTaken) {
				t.Errorf("putting: %v", err)
			}
		})
	}
	wg.Wait()
	winners := 0
	for i, w := range won {
		if w {
			winners++
			k.hasBody(id, part, contents[i])
		}
	}
	if winners != 1 {
		t.Errorf("%d puts succeeded, want 1", winners)
	}
}

func (k *kit) discard(id store.ID, part store.Part) {
	k.t.Helper()
	if err := k.Discard(k.t.Context(), id, part); err != nil {
		k.t.Errorf("discarding: %v", err)
	}
}

func bodyDiscarded(t *testing.T, k *kit) {
	id, part := k.id(31), store.Part{Term: term()}
	k.discard(id, part) // it is not there
	type place struct {
		id   store.ID
		part store.Part
	}
	others := []place{{id, store.Part{Term: part.Term, N: 1}}, {id, store.Part{Term: term()}}, {k.id(31), part}, {k.id(0), part}}
	k.put(id, part, []byte("x"))
	for _, o := range others {
		k.put(o.id, o.part, []byte("another"))
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := k.Discard(over, id, part); !errors.Is(err, context.Canceled) {
		t.Errorf("discarding got %v", err)
	}
	k.hasBody(id, part, []byte("x"))
	k.discard(id, part)
	k.noBody(id, part)
	k.discard(id, part)
	for _, o := range others {
		k.hasBody(o.id, o.part, []byte("another"))
	}
}

// bodyNeeded discards at every step of an action what must stay: whoever is wrong about a write loses room, and never a request.
func bodyNeeded(_ *testing.T, k *kit) {
	r := k.claim(store.Queued)
	r.Way = store.Accepted
	request, answer := noise(70<<10), noise(80<<10)
	r.Request = store.Blob{Where: store.Beside, Part: store.Part{Term: r.Term}, Size: int64(len(request))}
	k.put(r.ID, r.Request.Part, request)
	r = k.mustClaim(r)
	for _, s := range []store.State{store.Sent, store.Unknown, store.Queued, store.Sent} {
		k.discard(r.ID, r.Request.Part)
		k.hasBody(r.ID, r.Request.Part, request)
		r = k.mustMove(r, s)
	}
	next := k.next(r, store.Done)
	next.Request = store.Blob{Size: r.Request.Size}
	next.Response = store.Blob{Where: store.Beside, Part: store.Part{Term: next.Term, N: 1}, Size: int64(len(answer))}
	k.put(r.ID, next.Response.Part, answer)
	k.discard(r.ID, r.Request.Part)
	k.hasBody(r.ID, r.Request.Part, request)
	done := k.mustAdvance(r.Term, next, store.Also{})
	k.discard(r.ID, r.Request.Part)
	k.discard(r.ID, done.Response.Part)
	k.noBody(r.ID, r.Request.Part)
	k.hasBody(r.ID, done.Response.Part, answer)
}

func bodyDiscardedOpen(t *testing.T, k *kit) {
	id, part, content := k.id(31), store.Part{Term: term()}, noise(300<<10)
	k.put(id, part, content)
	b, err := k.Open(t.Context(), id, part)
	if err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 1000)
	if _, err := io.ReadFull(b, head); err != nil {
		t.Fatal(err)
	}
	k.discard(id, part)
	k.noBody(id, part)
	rest, err := io.ReadAll(b)
	if err := errors.Join(err, b.Close()); err != nil || !bytes.Equal(append(head, rest...), content) {
		t.Errorf("what was open has %d bytes, %v; want %d", len(head)+len(rest), err, len(content))
	}
}

// bodyDiscardedEarly discards what is being put: what Put has said to be durable is there.
func bodyDiscardedEarly(_ *testing.T, k *kit) {
	id, part, content := k.id(31), store.Part{Term: term()}, noise(300<<10)
	begun, more := make(chan struct{}), make(chan struct{})
	var put sync.WaitGroup
	put.Go(func() {
		src := io.MultiReader(bytes.NewReader(content[:200<<10]), waits{begun, more}, bytes.NewReader(content[200<<10:]))
		if n, err := k.Put(k.t.Context(), id, part, src); err != nil || n != int64(len(content)) {
			k.t.Errorf("putting: %d, %v", n, err)
		}
	})
	<-begun
	k.discard(id, part)
	close(more)
	put.Wait()
	k.hasBody(id, part, content)
}

// waits is empty, which it says only when it is told to.
type waits struct{ begun, more chan struct{} }

func (w waits) Read([]byte) (int, error) {
	close(w.begun)
	<-w.more
	return 0, io.EOF
}

func bodyDiscardedAmongPuts(_ *testing.T, k *kit) {
	id, content := k.id(31), noise(100_000)
	parts := make([]store.Part, 24)
	for i := range parts {
		parts[i] = store.Part{Term: term(), N: uint8(i % 2)}
		if i < len(parts)/2 {
			k.put(id, parts[i], content)
		}
	}
	var wg sync.WaitGroup
	for i, part := range parts {
		wg.Go(func() {
			if i < len(parts)/2 {
				k.discard(id, part)
			} else if _, err := k.Put(k.t.Context(), id, part, bytes.NewReader(content)); err != nil {
				k.t.Errorf("putting: %v", err)
			}
		})
	}
	wg.Wait()
	for i, part := range parts {
		if i < len(parts)/2 {
			k.noBody(id, part)
		} else {
			k.hasBody(id, part, content)
		}
	}
}
