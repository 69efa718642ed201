package gateway_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postonce/poe/internal/replay"
)

// An application that answers with success first and reads on gets all of the body, also where it ends the connection after that, as HTTP/1.0 always does.
func TestEarlySuccessThatEndsTheConnection(t *testing.T) {
	const size = 1 << 20
	for _, answer := range []string{"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"} {
		synctest.Test(t, func(t *testing.T) {
			var read int64
			g := newGateway(t, "pipe", piped(func(c net.Conn, r *http.Request) {
				read = firstBlock(r)
				if _, err := io.WriteString(c, answer); err != nil {
					return
				}
				for n := int64(1); n > 0; read += n {
					<-time.After(100 * time.Millisecond)
					n, _ = io.CopyN(io.Discard, bufio.NewReader(r.Body), 64<<10)
				}
			}))
			res, took := elapsed(t, t.Context(), g, post(t, strings.Repeat("x", size)))
			<-time.After(time.Minute)
			synctest.Wait()
			if res.Proof != replay.Complete || read < size {
				t.Errorf("%.8s: proof %v after %s, %d bytes read of %d", answer, res.Proof, took, read, size)
			}
		})
	}
}
