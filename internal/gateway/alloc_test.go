//go:build !race

package gateway_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/postonce/poe/internal/alloctest"
	"github.com/postonce/poe/internal/replay"
)

// The guarded hop, to an upstream that allocates next to nothing.
func TestAllocations(t *testing.T) {
	const body = `{"item":"tea","quantity":1}`
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // loopback
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		in := bufio.NewReader(c)
		for {
			line, err := in.ReadSlice('\n')
			if err != nil {
				return
			}
			if len(line) > 2 {
				continue
			}
			if _, err := in.Discard(len(body)); err != nil {
				return
			}
			if _, err := io.WriteString(c, "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n{\"id\":1}"); err != nil {
				return
			}
		}
	}()
	g := newGateway(t, l.Addr().String())
	spool := newSpool(t)
	req := post(t, body, func(r *replay.Request) {
		r.Header = http.Header{"Content-Type": {"application/json"}, "Accept": {"*/*"}, "User-Agent": {"bench"}}
	})
	alloctest.Check(t, 2000, alloctest.Limit{Allocs: 12, Bytes: 1700}, func() {
		rec := replay.NewRecorder(replay.RecorderConfig{Spool: spool})
		defer rec.Release()
		if proof, err := g.Execute(t.Context(), req, rec); proof != replay.Complete {
			t.Fatal(err)
		}
	})
}
