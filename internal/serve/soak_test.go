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

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/serve"
)

// Over HTTP/2 an answer that needs no body comes when that has arrived, and ends the stream in order: not every client shows an answer of a stream that is
// reset after it. A body that stays away, or is long, is not waited for: there the answer comes first, and the end of the stream a moment later.
func TestAnswerBeforeTheBody(t *testing.T) {
	const after = 300 * time.Millisecond
	for name, tc := range map[string]struct {
		length string
		sends  bool
		at     time.Duration
		reset  string
	}{
		"a short one":           {"5", true, after, ""},
		"one that stays away":   {"5", false, time.Second, "1s"},
		"a long one":            {"500000", false, 0, "100ms"},
		"one of unknown length": {"", false, 0, "100ms"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				gate, _ := lone(t, dir)
				app := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("executed") })
				srv := serve.Public(gate.Once(core.HandlerExecutor{Handler: app}, app))
				l := one{make(chan net.Conn, 1), make(chan struct{})}
				client, server := net.Pipe()
				l.conns <- server
				go func() { _ = srv.Serve(l) }()

				said := make(chan string, 10)
				go func() {
					defer close(said)
					f := http2.NewFramer(nil, client)
					f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
					for began := time.Now(); ; {
						frame, err := f.ReadFrame()
						if err != nil {
							return
						}
						switch frame := frame.(type) {
						case *http2.MetaHeadersFrame:
							said <- frame.PseudoValue("status") + " " + time.Since(began).String()
						case *http2.RSTStreamFrame:
							said <- "reset " + time.Since(began).String()
						}
					}
				}()
				if _, err := io.WriteString(client, http2.ClientPreface); err != nil {
					t.Fatal(err)
				}
				f := http2.NewFramer(client, nil)
				if err := f.WriteSettings(); err != nil {
					t.Fatal(err)
				}
				fields := []hpack.HeaderField{{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "http"}, {Name: ":authority", Value: "a"}, {Name: ":path", Value: "/?poe=eyJ0"}}
				if tc.length != "" {
					fields = append(fields, hpack.HeaderField{Name: "content-length", Value: tc.length})
				}
				var head bytes.Buffer
				enc := hpack.NewEncoder(&head)
				for _, h := range fields {
					if err := enc.WriteField(h); err != nil {
						t.Fatal(err)
					}
				}
				if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: head.Bytes(), EndHeaders: true}); err != nil {
					t.Fatal(err)
				}
				<-time.After(after)
				if tc.sends {
					if err := f.WriteData(1, true, []byte("hello")); err != nil {
						t.Fatal(err)
					}
				}
				<-time.After(10 * time.Second)
				_ = client.Close()
				if err := srv.Close(); err != nil {
					t.Error(err)
				}
				var all []string
				for line := range said {
					all = append(all, line)
				}
				want := "404 " + tc.at.String()
				if tc.reset != "" {
					want += ", reset " + tc.reset
				}
				if got := strings.Join(all, ", "); got != want {
					t.Errorf("got %s, want %s", got, want)
				}
			})
		})
	}
}
