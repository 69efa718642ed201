package gateway_test

import (
	"bufio"
	"crypto/sha256"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/postonce/poe/internal/replay"
)

// zeros is n bytes that are made while they are read; each MiB it looks at the heap.
type zeros struct {
	left int64
	heap *heap
}

func (z *zeros) Read(p []byte) (int, error) {
	if z.left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), z.left, 64<<10)
	for i := range p[:n] {
		p[i] = byte((z.left - int64(i)) & 0xff)
	}
	if z.left>>20 != (z.left-n)>>20 {
		z.heap.look()
	}
	z.left -= n
	return int(n), nil
}

// heap remembers the largest heap that was seen.
type heap struct{ most atomic.Uint64 }

func (h *heap) look() {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	for {
		old := h.most.Load()
		if m.HeapAlloc <= old || h.most.CompareAndSwap(old, m.HeapAlloc) {
			return
		}
	}
}

// 100 MiB each way cost no more memory than their buffers, and arrive as they are.
func TestLargeBothWays(t *testing.T) {
	const size, extra = 100 << 20, 32 << 20
	var h heap
	digest := sha256.New()
	if _, err := io.Copy(digest, &zeros{size, &h}); err != nil {
		t.Fatal(err)
	}
	want := [32]byte(digest.Sum(nil))

	received := make(chan [32]byte, 1)
	u := listen(t, func(p *peer, _ int) {
		r, err := http.ReadRequest(bufio.NewReader(p.Conn)) // not the peer's own, which remembers all it sees
		if err != nil {
			return
		}
		d := sha256.New()
		if _, err := io.Copy(d, r.Body); err != nil {
			return
		}
		received <- [32]byte(d.Sum(nil))
		p.say("HTTP/1.1 200 OK\r\nContent-Length: " + strconv.Itoa(size) + "\r\n\r\n")
		_, _ = io.Copy(p.Conn, &zeros{size, &h}) // the gateway notices
	})
	g := newGateway(t, u.address)
	req := post(t, "")
	rec := replay.NewRecorder(replay.RecorderConfig{Spool: newSpool(t)})
	defer rec.Release()

	runtime.GC()
	h.most.Store(0)
	h.look()
	before := h.most.Load()
	if _, err := req.Body.ReadFrom(&zeros{size, &h}); err != nil {
		t.Fatal(err)
	}
	proof, err := g.Execute(within(t, patience*3), req, rec)
	if proof != replay.Complete {
		t.Fatalf("proof %v: %v", proof, err)
	}
	h.look()
	if got := wait(t, received); got != want {
		t.Error("the request's body differs")
	}
	a, err := rec.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if a.Size != size || a.Digest != want {
		t.Error("the answer's body differs")
	}
	if most := h.most.Load() - before; most > extra {
		t.Errorf("%d MiB of extra heap", most>>20)
	} else {
		t.Logf("%d KiB of extra heap", most>>10)
	}
}

// A large head is forgotten with its answer, and not with the next one on its connection, which may wait for long.
func TestLargeHeadIsForgotten(t *testing.T) {
	const conns, size = 16, 800 << 10
	answer := "HTTP/1.1 200 OK\r\nX-Long: " + strings.Repeat("x", size) + "\r\nContent-Length: 0\r\n\r\n"
	var all, there sync.WaitGroup
	there.Add(conns)
	u := listen(t, func(p *peer, _ int) {
		p.request()
		there.Done()
		there.Wait()
		p.say(answer)
		p.hang()
	})
	g := newGateway(t, u.address)
	held := func() uint64 {
		runtime.GC()
		runtime.GC() // what a sync.Pool has
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	spool, req := newSpool(t), post(t, "x")
	before := held()
	for range conns {
		all.Go(func() {
			rec := replay.NewRecorder(replay.RecorderConfig{Spool: spool})
			defer rec.Release()
			if proof, err := g.Execute(t.Context(), req, rec); proof != replay.Complete {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if after := held(); after > before+conns*size/4 {
		t.Errorf("%d idle connections hold %d bytes", conns, after-before)
	}
	runtime.KeepAlive(g)
}
