package gateway_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postonce/poe/internal/gateway"
	"github.com/postonce/poe/internal/replay"
)

// What an answer becomes in the recorder.
func TestAnswer(t *testing.T) {
	type answer struct {
		Status  int
		Header  http.Header
		Trailer http.Header
		Body    string
		Inform  []string
	}
	tests := []struct {
		name string
		say  string
		want answer
	}{
		{name: "fields in order, bodies as they are", say: "HTTP/1.1 201 Made\r\nLink: <b>\r\nLink: <a>\r\nlocation: /o/1\r\nContent-Encoding: gzip\r\n" +
			"Content-Type: x/y\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x00",
			want: answer{Status: 201, Header: http.Header{"Link": {"<b>", "<a>"}, "Location": {"/o/1"},
				"Content-Encoding": {"gzip"}, "Content-Type": {"x/y"}}, Body: "\x1f\x8b\x00"}},
		{name: "no type is not guessed", say: "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
			want: answer{Status: 200, Header: http.Header{}, Body: "<html>"}},
		{name: "fields of the connection", say: "HTTP/1.1 200 OK\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n" +
			"Proxy-Connection: x\r\nUpgrade: h2c\r\nContent-Length: 0\r\nContent-Type: x/y\r\n\r\n",
			want: answer{Status: 200, Header: http.Header{"Content-Type": {"x/y"}}}},
		{name: "100, 102 and 103 first", say: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" +
			"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nX-Hint: 1\r\nConnection: X-Hint\r\n\r\n" +
			"HTTP/1.1 103 Early Hints\r\nLink: </b.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + ok,
			want: answer{Status: 200, Header: http.Header{"Content-Type": {"text/plain"}}, Body: "ok",
				Inform: []string{"Continue ", "Processing ", "Early Hints </a.css>", "Early Hints </b.css>", "Processing "}}},
		{name: "102 for as long as it takes", say: strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 1000) + ok,
			want: answer{Status: 200, Header: http.Header{"Content-Type": {"text/plain"}}, Body: "ok", Inform: slices.Repeat([]string{"Processing "}, 1000)}},
		{name: "chunks and trailers, declared and not", say: "HTTP/1.1 200 OK\r\nContent-Type: x/y\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n" +
			"2;ext=1\r\nab\r\n1\r\nc\r\n0\r\nX-Sum: 6\r\nX-Late: 1\r\nX-Late: 2\r\n\r\n",
			want: answer{Status: 200, Header: http.Header{"Content-Type": {"x/y"}},
				Trailer: http.Header{"X-Sum": {"6"}, "X-Late": {"1", "2"}}, Body: "abc"}},
		{name: "204 has no length", say: "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nContent-Type: x/y\r\n\r\n",
			want: answer{Status: 204, Header: http.Header{"Content-Type": {"x/y"}}}},
		{name: "304 with the length of what it stands for", say: "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nContent-Type: x/y\r\n\r\n",
			want: answer{Status: 304, Header: http.Header{"Content-Type": {"x/y"}}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u := listen(t, always(tt.say))
			g := newGateway(t, u.address)
			for range 2 { // nothing may be left on the connection
				res := execute(t, within(t, patience), g, post(t, ""))
				if res.Proof != replay.Complete {
					t.Fatalf("proof %v: %v", res.Proof, res.Err)
				}
				got := answer{Status: res.Answer.Status, Header: res.Answer.Header, Body: res.Body, Inform: res.Inform}
				for name, v := range got.Header {
					if v == nil { // says: none, and none is to be guessed
						delete(got.Header, name)
					}
				}
				if len(res.Answer.Trailer) > 0 {
					got.Trailer = res.Answer.Trailer
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("answer (-want +got):\n%s", diff)
				}
			}
			if n := u.conns.Load(); n != 1 {
				t.Errorf("%d connections, want 1", n)
			}
		})
	}
}

// Fields that Connection names beside "close" are those of the connection too, wherever the head is cut on its way and however long it is. They are not the
// client's, and above all they are not stored for others.
func TestFieldsOfTheLastAnswer(t *testing.T) {
	const interim = "HTTP/1.1 103 Early Hints\r\nConnection: close, X-Hint\r\nX-Hint: 1\r\nLink: </a.css>\r\n\r\n"
	for name, answer := range map[string]string{
		"on one line":     "HTTP/1.1 200 OK\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nX-Kept: 1\r\nContent-Length: 2\r\n\r\nok",
		"on two":          "HTTP/1.1 200 OK\r\nX-Hop: 1\r\nconnection: X-Hop\r\nX-Kept: 1\r\nConnection: Close\r\nContent-Length: 2\r\n\r\nok",
		"on a folded one": "HTTP/1.1 200 OK\r\nConnection: close,\r\n\tx-hop\r\nX-Hop: 1\r\nX-Kept: 1\r\nContent-Length: 2\r\n\r\nok",
		"in a long head":  "HTTP/1.1 200 OK\r\nX-Long: " + strings.Repeat("x", 9000) + "\r\nConnection: X-Hop, close, X-Long\r\nX-Hop: 1\r\nX-Kept: 1\r\nContent-Length: 2\r\n\r\nok",
		"after others":    strings.Repeat(interim, 3) + "HTTP/1.1 200 OK\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nX-Kept: 1\r\nContent-Length: 2\r\n\r\nok",
		"up to its end":   "HTTP/1.1 200 OK\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nX-Kept: 1\r\n\r\nConnection: X-Kept\r\n\r\nok",
	} {
		for _, cut := range []int{len(answer), 1, 40} {
			t.Run(fmt.Sprintf("%s, cut at %d", name, cut), func(t *testing.T) {
				u := listen(t, func(p *peer, _ int) {
					p.request()
					for piece := range slices.Chunk([]byte(answer), cut) {
						p.say(string(piece))
					}
				})
				var hints []http.Header
				rec := replay.NewRecorder(replay.RecorderConfig{Spool: newSpool(t), Inform: func(_ int, h http.Header) { hints = append(hints, h) }})
				defer rec.Release()
				if proof, err := newGateway(t, u.address).Execute(within(t, patience), post(t, "x"), rec); proof != replay.Complete {
					t.Fatal(proof, err)
				}
				a, err := rec.Finish()
				if err != nil {
					t.Fatal(err)
				}
				delete(a.Header, "Content-Type")
				if want := (http.Header{"X-Kept": {"1"}}); !maps.EqualFunc(a.Header, want, slices.Equal) {
					t.Errorf("%.200v, want %v", a.Header, want)
				}
				for _, h := range hints {
					if want := (http.Header{"Link": {"</a.css>"}}); !maps.EqualFunc(h, want, slices.Equal) {
						t.Errorf("%v before it, want %v", h, want)
					}
				}
			})
		}
	}
}

// What the recorder cannot take is still read to its end: whether the application answered is not for the spool to say.
func TestRecorderInTrouble(t *testing.T) {
	u := listen(t, always("HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n"+strings.Repeat("x", 200000)))
	g := newGateway(t, u.address)
	spool, err := replay.NewSpool(replay.SpoolConfig{Dir: t.TempDir(), Memory: 1000, Disk: 50000})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		rec := replay.NewRecorder(replay.RecorderConfig{Spool: spool})
		proof, err := g.Execute(t.Context(), post(t, "x"), rec)
		if proof != replay.Complete || err != nil {
			t.Errorf("proof %v, error %v", proof, err)
		}
		if _, err := rec.Finish(); err == nil {
			t.Error("the recorder is content, so this test shows nothing")
		}
		rec.Release()
	}
	if n := u.conns.Load(); n != 1 {
		t.Errorf("%d connections, want 1: the answer was not read to its end", n)
	}
}

// What stands in front of the gateway has its fields with the answer, also where an interim one came first.
func TestFieldsOfTheFront(t *testing.T) {
	u := listen(t, always("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"+ok))
	front := http.Header{"X-Front": {"1"}}
	rec := replay.NewRecorder(replay.RecorderConfig{Spool: newSpool(t), Before: front})
	defer rec.Release()
	if proof, err := newGateway(t, u.address).Execute(within(t, patience), post(t, "x"), rec); proof != replay.Complete {
		t.Fatal(proof, err)
	}
	a, err := rec.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if want := (http.Header{"X-Front": {"1"}, "Content-Type": {"text/plain"}}); !maps.EqualFunc(a.Header, want, slices.Equal) {
		t.Errorf("%v, want %v", a.Header, want)
	}
}

// An answer that is here as a whole is complete, though the time is up meanwhile.
func TestCancelledWhenTheAnswerIsHere(t *testing.T) {
	u := listen(t, always("HTTP/1.1 103 Early Hints\r\n\r\n"+ok))
	ctx, cancel := context.WithCancel(t.Context())
	rec := replay.NewRecorder(replay.RecorderConfig{Spool: newSpool(t), Inform: func(int, http.Header) { cancel() }})
	defer rec.Release()
	if proof, err := newGateway(t, u.address).Execute(ctx, post(t, "x"), rec); proof != replay.Complete || err != nil {
		t.Errorf("proof %v, error %v", proof, err)
	}
}

// A panic in a callback of the recorder costs the connection, not the place in the pool.
func TestPanicInRecorder(t *testing.T) {
	u := listen(t, func(p *peer, nth int) {
		if nth > 0 {
			always(ok)(p, nth)
			return
		}
		p.head()
		p.say("HTTP/1.1 103 Early Hints\r\n\r\n")
		p.deaf()
	})
	g := newGateway(t, u.address, func(c *gateway.Config) { c.MaxConns = 1 })
	func() {
		defer func() {
			if v := recover(); v != "boom" {
				t.Errorf("recovered %v", v)
			}
		}()
		rec := replay.NewRecorder(replay.RecorderConfig{Spool: newSpool(t), Inform: func(int, http.Header) { panic("boom") }})
		defer rec.Release()
		proof, err := g.Execute(t.Context(), post(t, strings.Repeat("x", 20<<20)), rec)
		t.Errorf("came back with %v, %v", proof, err)
	}()
	noWriters(t)
	if res := execute(t, within(t, patience), g, post(t, "x")); res.Proof != replay.Complete {
		t.Errorf("afterwards: proof %v: %v", res.Proof, res.Err)
	}
}
