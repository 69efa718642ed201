package serve_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/postonce/poe/internal/serve"
)

// A client that meets a refusal, and the end of the stream that it still sends on, in one piece may forget the answer, as curl does. After a success it would wait
// for ever if the stream were not reset at once; and whoever has sent all does not wait.
func TestEndAfterTheAnswer(t *testing.T) {
	for name, tc := range map[string]struct {
		length string // "": not announced
		sent   int
		all    bool // what was sent is all
		read   int  // by the application; -1: to the end
		status int
		after  time.Duration
	}{
		"none of it was sent":    {length: "5000000", status: 413, after: 100 * time.Millisecond},
		"of unknown length":      {sent: 10, read: 5, status: 413, after: 100 * time.Millisecond},
		"half of it was read":    {length: "10", sent: 5, read: 5, status: 413, after: 100 * time.Millisecond},
		"it was read to its end": {length: "10", sent: 10, all: true, read: -1, status: 413},
		"a success":              {length: "5000000", status: 200},
		"there is none":          {all: true, read: -1, status: 413},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := serve.Public(serve.Patient(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if tc.read < 0 {
						_, _ = io.Copy(io.Discard, r.Body)
					} else if _, err := io.ReadFull(r.Body, make([]byte, tc.read)); err != nil {
						t.Error(err)
					}
					http.Error(w, "no", tc.status)
				})))
				l := one{make(chan net.Conn, 1), make(chan struct{})}
				client, server := net.Pipe()
				l.conns <- server
				go func() { _ = srv.Serve(l) }()
				go func() {
					_, _ = io.WriteString(client, http2.ClientPreface)
					f := http2.NewFramer(client, nil)
					_ = f.WriteSettings()
					_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: postHead(tc.length), EndHeaders: true, EndStream: tc.all && tc.sent == 0})
					if tc.sent > 0 {
						_ = f.WriteData(1, tc.all, make([]byte, tc.sent))
					}
				}()
				var answered time.Time
				f, content := http2.NewFramer(nil, client), ""
				for ended := false; !ended; {
					frame, err := f.ReadFrame()
					if err != nil {
						t.Fatal(err)
					}
					if answered.IsZero() && frame.Header().StreamID == 1 {
						answered = time.Now()
					}
					if data, is := frame.(*http2.DataFrame); is {
						content += string(data.Data())
						ended = data.StreamEnded()
					}
				}
				if waited := time.Since(answered); waited != tc.after || !strings.Contains(content, "no") {
					t.Errorf("%q, and its end after %v, want after %v", content, waited, tc.after)
				}
				_ = client.Close()
				_ = srv.Close()
			})
		})
	}
}

// postHead is the head of a POST.
func postHead(length string) []byte {
	var head bytes.Buffer
	enc := hpack.NewEncoder(&head)
	for _, h := range []hpack.HeaderField{
		{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "http"}, {Name: ":authority", Value: "a"}, {Name: ":path", Value: "/"}, {Name: "content-length", Value: length},
	} {
		if h.Value != "" {
			_ = enc.WriteField(h) // into memory
		}
	}
	return head.Bytes()
}
