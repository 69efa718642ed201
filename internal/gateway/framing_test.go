package gateway_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/postonce/poe/internal/replay"
)

// A trailer that cannot be sent on, of which net/http lets some through, is left out: it must not show when half of the request is sent.
func TestTrailerThatIsNone(t *testing.T) {
	for name, size := range map[string]int{"short": 10, "long": 100 << 10} {
		for field, trailer := range map[string]http.Header{"value": {"X-Sum": {"a\x01b"}}, "name": {"X Sum": {"ab"}}, "ends of lines": {"A": {"x\r\n\r\nPOST /"}}, "colon": {"A:": {"x"}}} {
			t.Run(name+" "+field, func(t *testing.T) {
				came := make(chan http.Header, 1)
				up := listen(t, func(p *peer, _ int) {
					if r := p.request(); r != nil {
						came <- r.Trailer
						p.say(ok)
					}
				})
				g := newGateway(t, up.address)
				res := execute(t, within(t, patience), g, post(t, strings.Repeat("x", size), func(r *replay.Request) { r.Trailer = trailer }))
				if res.Proof != replay.Complete {
					t.Fatalf("%v (%v)", res.Proof, res.Err)
				}
				if got := wait(t, came); len(got) != 0 {
					t.Errorf("it came with %v", got)
				}
			})
		}
	}
}

// An answer that has no content but announces some is followed by it: what comes later on the connection is no answer to the next request.
func TestNoContentWithContent(t *testing.T) {
	for name, head := range map[string]string{
		"a length":      "HTTP/1.1 204 No Content\r\nContent-Length: 56\r\n\r\n",
		"chunks":        "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
		"chunks of 304": "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			up := listen(t, func(p *peer, nth int) {
				if nth > 0 {
					always(ok)(p, nth)
					return
				}
				if p.request() == nil {
					return
				}
				p.say(head)
				p.head() // the content is late: the next request is there before
				p.say("HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\nsomebody else's")
			})
			g := newGateway(t, up.address)
			first := execute(t, within(t, patience), g, post(t, "a"))
			if first.Proof != replay.Complete || first.Answer.Status != 204 && first.Answer.Status != 304 {
				t.Fatal(first.Proof, first.Err)
			}
			second := execute(t, within(t, 2*time.Second), g, post(t, "b"))
			if second.Body != "ok" {
				t.Errorf("%v %v %q: the content of an answer that has none became the answer to another request", second.Proof, second.Err, second.Body)
			}
		})
	}
}

// A head of HTTP/1.0 that is longer than the reader's buffer gets a larger one, and what lies between the two would be of the next answer.
func TestNoOtherRequestBehindALongOldHead(t *testing.T) {
	u := listen(t, func(p *peer, _ int) {
		for p.request() != nil {
			p.say("HTTP/1.0 103 Early Hints\r\nX-Pad: " + strings.Repeat("x", 5000) + "\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	g := newGateway(t, u.address)
	for n := range int64(3) {
		if res := execute(t, within(t, patience), g, post(t, "x")); res.Proof != replay.Complete {
			t.Fatalf("proof %v: %v", res.Proof, res.Err)
		}
		if made := u.conns.Load(); made != n+1 {
			t.Fatalf("%d connections for %d requests", made, n+1)
		}
	}
}

// Where an answer of HTTP/1.0 ends is not known if it has a Transfer-Encoding, wherever in its head, and however that is written. Nor is that of a newer one with blanks before the colon.
func TestFramedTwice(t *testing.T) {
	for name, head := range map[string]string{
		"far behind":   "HTTP/1.0 200 OK\r\nX-Pad: " + strings.Repeat("x", 5000) + "\r\nTransfer-Encoding: chunked\r\n\r\n",
		"blank":        "HTTP/1.0 200 OK\r\nTransfer-Encoding : chunked\r\n\r\n",
		"blank in 1.1": "HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\n\r\n",
		"a length":     "HTTP/1.1 200 OK\r\nContent-Length : 99\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			up := listen(t, once(func(p *peer) { p.say(head + "5\r\nhello\r\n") })) // and breaks off: there is no last chunk
			res := execute(t, within(t, patience), newGateway(t, up.address), post(t, "a"))
			if res.Proof == replay.Complete {
				t.Errorf("half an answer is complete: %q", res.Body)
			}
		})
	}
	t.Run("ends of lines are mixed", func(t *testing.T) {
		up := listen(t, once(func(p *peer) { p.say("HTTP/1.0 201 Created\r\nContent-Length: 2\n\r\nok") }))
		res := execute(t, within(t, patience), newGateway(t, up.address), post(t, "a"))
		if res.Proof != replay.Complete || res.Body != "ok" {
			t.Errorf("%v (%v) %q: the answer is whole", res.Proof, res.Err, res.Body)
		}
	})
}

// An application says 202 as soon as it knows the head, keeps the connection open, and reads the body after that. It gets all of it.
func TestAnsweredFirstReadLater(t *testing.T) {
	const size = 20 << 20
	got := make(chan int, 1)
	up := listen(t, func(p *peer, _ int) {
		if !p.head() {
			return
		}
		p.say("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
		<-time.After(200 * time.Millisecond) // opens its file
		n, _ := io.CopyN(io.Discard, p.reader, size)
		got <- int(n)
	})
	res := execute(t, within(t, patience), newGateway(t, up.address), post(t, strings.Repeat("x", size)))
	if n := wait(t, got); res.Proof == replay.Complete && n != size {
		t.Errorf("%v, %d: the application got %d of %d bytes, and the action is done", res.Proof, res.Answer.Status, n, size)
	}
}
