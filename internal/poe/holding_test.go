package core_test

import (
	"io"
	"net/http"
	"testing"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/replay"
)

// An answer that is passed through, and may never end, does not keep the request's body once it was read or closed. What was not read can be read to its end.
func TestStreamLetsGoOfTheBody(t *testing.T) {
	stream := func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: 1\n\n")
	}
	for name, app := range map[string]func(t *testing.T, w http.ResponseWriter, r *http.Request){
		"read before": func(t *testing.T, w http.ResponseWriter, r *http.Request) {
			readLarge(t, r)
			stream(w)
		},
		"read meanwhile": func(t *testing.T, w http.ResponseWriter, r *http.Request) {
			begun := make([]byte, 1000)
			if _, err := io.ReadFull(r.Body, begun); err != nil {
				t.Error(err)
			}
			stream(w)
			if rest, err := io.ReadAll(r.Body); err != nil || string(begun)+string(rest) != large {
				t.Errorf("%d bytes, %v", len(rest), err)
			}
			if n, err := r.Body.Read(begun); n != 0 || err != io.EOF {
				t.Errorf("behind its end: %d, %v", n, err)
			}
			if n, err := io.Copy(io.Discard, r.Body); n != 0 || err != nil {
				t.Errorf("what is left: %d, %v", n, err)
			}
		},
		"copied": func(t *testing.T, w http.ResponseWriter, r *http.Request) {
			stream(w)
			if n, err := io.Copy(io.Discard, r.Body); err != nil || int(n) != len(large) {
				t.Errorf("%d bytes, %v", n, err)
			}
		},
		"closed": func(t *testing.T, w http.ResponseWriter, r *http.Request) {
			if err := r.Body.Close(); err != nil {
				t.Error(err)
			}
			stream(w)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var spool *replay.Spool
			b := newBench(t, func(c *core.Config) { spool = c.Spool })
			b.app = func(w http.ResponseWriter, r *http.Request) {
				app(t, w, r)
				if mem, disk := spool.Usage(); mem != 0 || disk != 0 {
					t.Errorf("%d bytes of memory, and %d of the disk, are held", mem, disk)
				}
			}
			uri := b.mint("/orders")
			if res := b.do("POST", uri, large); text(t, res) != "data: 1\n\n" {
				t.Error(res.StatusCode)
			}
			if got := text(t, b.do("GET", uri, "")); got == "" {
				t.Error("nothing is said of it")
			}
		})
	}
}

func readLarge(t *testing.T, r *http.Request) {
	t.Helper()
	if got, err := io.ReadAll(r.Body); err != nil || string(got) != large {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
