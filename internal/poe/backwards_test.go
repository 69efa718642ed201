package core_test

import (
	"crypto/rand"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/uuid"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/pebblestore"
	"github.com/postonce/poe/internal/tokens"
)

// openPebble opens the ledger on a disk in memory.
func openPebble(t *testing.T, disk vfs.FS, clock func() time.Time) *pebblestore.Store {
	t.Helper()
	s, err := pebblestore.Open(t.Context(), pebblestore.Config{Dir: "/data/poe", FS: disk, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // a test may have done it
	return s
}

// heldBody is a body that comes when it is let.
type heldBody struct {
	io.Reader
	began, open chan struct{}
	once        bool
}

func (h *heldBody) Read(p []byte) (int, error) {
	if !h.once {
		h.once = true
		close(h.began)
		<-h.open
	}
	return h.Reader.Read(p)
}

// A client is told that its URI was never used and will not be, and sends its request with a new one. The clock is set back by three seconds. The old one
// must not be executed then: neither a request that was there before, nor one that comes now.
func TestNeverUsedStays(t *testing.T) {
	for name, setBack := range map[string]func(t *testing.T, b *bench, uri string){
		"a request is on its way": func(t *testing.T, b *bench, uri string) {
			t.Helper()
			body := &heldBody{Reader: strings.NewReader("apples"), began: make(chan struct{}), open: make(chan struct{})}
			r := httptest.NewRequest(http.MethodPost, uri, body)
			r.ContentLength = 6
			answered := make(chan struct{})
			go func() {
				defer close(answered)
				b.send(r)
			}()
			<-body.began
			b.advance(6 * time.Second)
			wantProblem(t, b.do("GET", uri, ""), 410, "never-used")
			b.advance(-3 * time.Second)
			close(body.open)
			<-answered
		},
		"a request comes": func(t *testing.T, b *bench, uri string) {
			t.Helper()
			b.advance(6 * time.Second)
			wantProblem(t, b.do("POST", uri, "apples"), 410, "never-used")
			before := b.executed.Load()
			if res := b.do("POST", b.mint("/orders"), "apples"); res.StatusCode != 201 { // somebody writes meanwhile
				t.Fatal(res.StatusCode)
			}
			b.executed.Store(before)
			b.advance(-3 * time.Second)
			wantProblem(t, b.do("POST", uri, "apples"), 410, "never-used")
		},
	} {
		for trial, off := range map[string]time.Duration{"": 0, ", with the clock on trial": 2 * time.Hour} {
			t.Run(name+trial, func(t *testing.T) {
				disk := vfs.NewMem()
				var s *pebblestore.Store
				first := newBench(t, func(c *core.Config) {
					s = openPebble(t, disk, c.Clock)
					c.Store = s
				})
				if res := first.do("POST", first.mint("/orders"), "apples"); res.StatusCode != 201 {
					t.Fatal(res.StatusCode)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				first.advance(off)
				b := newBench(t, func(c *core.Config) {
					c.Store, c.Keys, c.Clock = openPebble(t, disk, first.clock), first.keys, first.clock
				})
				b.of = first
				i, err := b.gate.Mint(t.Context(), core.MintRequest{Target: "/orders", TTL: 10 * time.Minute}) // less than a trial
				if err != nil {
					t.Fatal(err)
				}
				b.advance(i.Expires.Sub(b.clock()))
				setBack(t, b, i.URI)
				if n := b.executed.Load(); n != 0 {
					t.Errorf("executed %d times", n)
				}
			})
		}
	}
}

// A server starts with a clock that is two minutes ahead, and executes. Then the clock is set right. Who repeats a POST is told what became of it: that
// there is no such link would have it ordered a second time. What was made and not used meanwhile is not good yet, and nothing is executed by it.
func TestWhatAClockAheadHasExecuted(t *testing.T) {
	disk := vfs.NewMem()
	var s *pebblestore.Store
	first := newBench(t, func(c *core.Config) {
		s = openPebble(t, disk, c.Clock)
		c.Store = s
	})
	if res := first.do("POST", first.mint("/orders"), "apples"); res.StatusCode != 201 { // so that the ledger has a time
		t.Fatal(res.StatusCode)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	first.advance(3 * time.Hour) // it was off
	b := newBench(t, func(c *core.Config) {
		c.Store, c.Keys, c.Clock = openPebble(t, disk, first.clock), first.keys, first.clock
	})
	b.of = first
	used, again, unused := b.issue("/orders"), b.issue("/orders"), b.issue("/orders")
	if res := b.do("POST", used.URI, "apples"); res.StatusCode != 201 {
		t.Fatal(res.StatusCode)
	}
	b.app = answering(429)
	if res := b.do("POST", again.URI, "pears"); res.StatusCode != 429 {
		t.Fatal(res.StatusCode)
	}
	b.app = nil
	before := b.executed.Load()
	b.advance(-2 * time.Minute)
	wantProblem(t, b.do("POST", used.URI, "apples"), 405, "consumed")
	if got := text(t, b.do("GET", used.URI, "")); got != "order 1: apples" {
		t.Errorf("the outcome is %q", got)
	}
	for _, method := range []string{"GET", "POST", "DELETE", "OPTIONS"} {
		wantProblem(t, b.do(method, unused.URI, "apples"), 404, "not-found")
	}
	if n := b.executed.Load() - before; n != 0 {
		t.Errorf("executed %d times", n)
	}
	if res := b.do("POST", again.URI, "pears"); res.StatusCode != 201 {
		t.Errorf("what was not done, and is repeated: %d", res.StatusCode)
	}
	b.advance(2 * time.Minute)
	if res := b.do("POST", unused.URI, "apples"); res.StatusCode != 201 {
		t.Errorf("when its time has come: %d", res.StatusCode)
	}
}

// Where the ledger does not answer, a token from the future is not called unknown, also where a page asks.
func TestEarlyAndTheLedgerIsAway(t *testing.T) {
	b, ledger := newTampered(t, one(core.Route{Origins: []string{"https://shop.example"}}))
	at := b.clock().Add(time.Minute)
	id, err := store.NewID(at, 31, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	token, err := b.keys.Mint(tokens.Claims{ID: uuid.UUID(id), Issued: at, Expires: at.Add(time.Hour), Method: "POST", Target: "/orders"})
	if err != nil {
		t.Fatal(err)
	}
	wantProblem(t, b.do("POST", "/orders?poe="+token, "apples"), 404, "not-found")
	ledger.lookup = func() error { return store.ErrUnavailable }
	res := b.do("POST", "/orders?poe="+token, "apples", "Origin: https://shop.example")
	wantProblem(t, res, 503, "ledger-unavailable")
	if got := res.Header.Get("Access-Control-Allow-Origin"); got != "https://shop.example" {
		t.Errorf("it can be read by %q", got)
	}
}
