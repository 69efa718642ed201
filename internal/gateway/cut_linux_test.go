package gateway_test

import (
	"net"
	"strings"
	"testing"

	"github.com/postonce/poe/internal/replay"
)

// An answer that ends with its connection is whole where that has ended in order, and not where it was reset: while the request is still being written the write
// may be told of the reset, and the read of an end then.
func TestResetEndsNoAnswer(t *testing.T) {
	const half = "HTTP/1.1 201 Created\r\nConnection: close\r\n\r\n[1,2,"
	body := strings.Repeat("x", 20<<20)
	for name, tt := range map[string]struct {
		end   func(p *peer)
		proof replay.Proof
	}{
		"reset":            {(*peer).reset, replay.Broken},
		"ended, and reset": {func(p *peer) { _ = p.Conn.(*net.TCPConn).CloseWrite(); p.reset() }, replay.Complete},
	} {
		t.Run(name, func(t *testing.T) {
			u := listen(t, func(p *peer, _ int) {
				p.head()
				p.say(half)
				tt.end(p)
			})
			g := newGateway(t, u.address)
			for range 15 {
				if got := execute(t, within(t, patience), g, post(t, body)); got.Proof != tt.proof {
					t.Fatalf("proof %v (%v), want %v; the answer is %q", got.Proof, got.Err, tt.proof, got.Body)
				}
			}
		})
	}
}
