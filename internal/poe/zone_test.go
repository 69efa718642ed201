package core_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/store"
)

// A clock that was ahead by its time zone, as one of hardware is that runs in local time: what was accepted meanwhile is done when it is right, and not ten hours later.
func TestPutOffByATimeZone(t *testing.T) {
	const zone = 10 * time.Hour
	disk := vfs.NewMem()
	first := newBench(t, func(c *core.Config) { c.Store = openPebble(t, disk, c.Clock) })
	if res := first.do("POST", first.mint("/orders"), "apples"); res.StatusCode != 201 {
		t.Fatal(res.StatusCode)
	}
	if err := first.store.Close(); err != nil {
		t.Fatal(err)
	}
	first.advance(zone)
	b := newBench(t, func(c *core.Config) {
		c.Store, c.Keys, c.Clock = openPebble(t, disk, first.clock), first.keys, first.clock
	})
	b.of = first
	b.deferred()
	i := b.issue("/orders")
	monitor(t, b.do("POST", i.URI, "apples", later))
	first.advance(10*time.Minute - zone) // set right
	for range 30 {
		first.advance(time.Minute)
		core.Sweeping(t.Context(), b.gate)
		b.work()
	}
	if r := b.lookup(i.ID); r.State != store.Done {
		t.Errorf("half an hour after the clock was set right it is %s, due in %s", r.State, r.Due.Sub(b.clock()))
	}
}

// HTTP/1.0 has requests without a Host. What such a client was answered is repeated to it, where the application says that it may be.
func TestAuthorizeWithoutHost(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Authorizer = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
		c.Routes = []core.Route{{Name: "orders", Match: "POST /orders", Authorize: "/auth"}}
	})
	for n := range 2 {
		r := httptest.NewRequest("POST", "/orders", strings.NewReader("apples"))
		r.Host, r.Proto, r.ProtoMinor = "", "HTTP/1.0", 0
		r.Header.Set("Idempotency-Key", "k")
		if res := b.send(r); res.StatusCode != 201 {
			t.Errorf("%d: %d %s", n, res.StatusCode, text(t, res))
		}
	}
}
