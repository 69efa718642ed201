package core_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/store"
)

// slowHead is a client's writer whose head of a stream takes until leave is closed; it notes whether somebody else uses it meanwhile.
type slowHead struct {
	*httptest.ResponseRecorder
	entered, leave chan struct{}
	under, mixed   atomic.Bool
}

func (w *slowHead) Header() http.Header {
	if w.under.Load() {
		w.mixed.Store(true)
	}
	return w.ResponseRecorder.Header()
}

func (w *slowHead) WriteHeader(status int) {
	w.ResponseRecorder.WriteHeader(status)
	if status == http.StatusOK {
		w.under.Store(true)
		close(w.entered)
		<-w.leave
		w.under.Store(false)
	}
}

// A handler that has given up, or panicked, may leave somebody behind who then begins a stream. It is too late for an answer: what has become of the action is
// settled, and the client is being told so.
func TestStreamAfterTheHandler(t *testing.T) {
	for name, end := range map[string]func(context.Context){
		"gives up": func(ctx context.Context) { <-ctx.Done() },
		"panics":   func(context.Context) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			b, h := hookedBench(t, func(c *core.Config) { c.Timeout = 10 * time.Millisecond })
			w := &slowHead{ResponseRecorder: httptest.NewRecorder(), entered: make(chan struct{}), leave: make(chan struct{})}
			write, wrote := make(chan struct{}), make(chan struct{})
			b.app = func(rec http.ResponseWriter, r *http.Request) {
				go func() {
					defer close(wrote)
					<-write
					rec.Header().Set("Content-Type", "text/event-stream")
					rec.WriteHeader(http.StatusOK)
					_, _ = io.WriteString(rec, "data: one\n\n") // it fails
				}()
				end(r.Context())
			}
			h.moved = func(r *store.Record) {
				if r.State != store.Unknown {
					return
				}
				h.moved = nil
				close(write)
				select {
				case <-w.entered:
				case <-wrote: // as it should be: nothing came of it
				}
				time.AfterFunc(50*time.Millisecond, func() { close(w.leave) })
			}
			i := b.issue("/orders")
			func() {
				defer func() { _ = recover() }()
				b.handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, i.URI, strings.NewReader("apples")))
			}()
			<-wrote
			if w.mixed.Load() {
				t.Error("two were in the client's writer at once")
			}
			if w.Code < 500 {
				t.Errorf("the client was told %d", w.Code)
			}
			if s := b.lookup(i.ID).State; s != store.Unknown {
				t.Errorf("the action is %v", s)
			}
		})
	}
}

// What stands in front may set a list of its own, the same for all requests and with room behind it. Two requests must not write their links into that.
func TestLinksOfTheFront(t *testing.T) {
	b := newBench(t, nil)
	links := append(make([]string, 0, 4), "</style.css>; rel=preload")
	w := httptest.NewRecorder()
	w.Header()["Link"] = links
	b.handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, b.mint("/orders"), strings.NewReader("x")))
	if got := w.Result().Header["Link"]; len(got) != 2 {
		t.Errorf("links: %q", got)
	}
	if more := links[:2][1]; more != "" {
		t.Errorf("%s was written behind the front's own", more)
	}
}

// A page's handler may do the same, and so may a front with Vary: a URI for one client that stood there for a moment could go out to another.
func TestListsOfOthers(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{{Match: "POST /orders", Origins: []string{"https://shop.example"}}}
	})
	links, vary := append(make([]string, 0, 4), "</style.css>; rel=preload"), append(make([]string, 0, 4), "Cookie")
	b.app = func(w http.ResponseWriter, _ *http.Request) { w.Header()["Link"], w.Header()["Vary"] = links, vary }
	for name, ask := range map[string]func() *http.Response{
		"a page":      func() *http.Response { return b.do("GET", "/orders", "", "POE: 1") },
		"its POST":    func() *http.Response { return b.do("POST", "/orders", "x", "Idempotency-Key: k", "POE: 1") },
		"its POE URI": func() *http.Response { return b.do("POST", b.mint("/orders"), "x", "POE: 1") },
	} {
		h := ask().Header
		if len(h["Link"]) < 2 || len(h["Vary"]) < 2 {
			t.Errorf("%s: %v", name, h)
		}
		if links[:2][1] != "" || vary[:2][1] != "" {
			t.Errorf("%s: written behind the application's own: %q, %q", name, links[:2][1], vary[:2][1])
			clear(links[1:2])
			clear(vary[1:2])
		}
	}
}
