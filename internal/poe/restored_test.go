package core_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/store"
)

// restored is a ledger out of a backup that was put back at some time.
type restored struct {
	store.Store
	minted time.Time
	lost   bool // nobody has accepted that keys are lost
}

func (s restored) Floor(ctx context.Context) (store.Floor, error) {
	f, err := s.Store.Floor(ctx)
	f.Minted, f.Lost = s.minted, s.lost
	return f, err
}

// after is a gate over what b has written, as a backup of it would hold it, put back a minute later.
func (b *bench) after(lost bool, change func(*core.Config)) *bench {
	b.advance(time.Minute)
	next := newBench(b.t, func(c *core.Config) {
		c.Store, c.Keys, c.Clock = restored{b.store, b.clock(), lost}, b.keys, b.clock
		if change != nil {
			change(c)
		}
	})
	next.now = b.now
	return next
}

// After a restore the absence of a record proves nothing of what was minted before, and so leads to no execution.
func TestMintedBeforeARestore(t *testing.T) {
	b := newBench(t, nil)
	i := b.issue("/orders")
	b = b.after(false, nil)
	for _, method := range []string{"POST", "GET", "DELETE"} {
		want := problemReply(410, "gone", "never", members{"state": "gone"})
		want.ID, want.State = i.ID, "gone"
		read(t, b.do(method, i.URI, "apples")).want(t, want)
	}
	if res := b.do("POST", b.mint("/orders"), "apples"); res.StatusCode != 201 || b.executed.Load() != 1 {
		t.Errorf("minted after it: %d, executed %d times", res.StatusCode, b.executed.Load())
	}
}

// What was tried and released before the backup may have been done after it.
func TestReleasedBeforeARestore(t *testing.T) {
	b := newBench(t, nil)
	i := b.issue("/orders")
	b.app = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) }
	if res := b.do("POST", i.URI, "apples"); res.StatusCode != 429 {
		t.Fatalf("not released: %d", res.StatusCode)
	}
	if res := b.do("POST", "/orders", "apples", "Idempotency-Key: k"); res.StatusCode != 429 {
		t.Fatalf("not released: %d", res.StatusCode)
	}
	for _, lost := range []bool{true, false} {
		after := b.after(lost, nil)
		wantProblem(t, after.do("POST", i.URI, "apples"), 410, "gone")
		wantProblem(t, after.do("POST", "/orders", "apples", "Idempotency-Key: k"), 409, "key-expired")
		if n := after.executed.Load(); n != 0 {
			t.Errorf("executed %d times", n)
		}
	}
}

// What was accepted and not sent before the backup may have been sent after it.
func TestAcceptedBeforeARestore(t *testing.T) {
	b := deferring(t, nil)
	i := b.issue("/orders")
	at := monitor(t, b.do("POST", i.URI, "apples", later))
	after := b.after(true, nil)
	after.deferred()
	after.work()
	if n := after.executed.Load(); n != 0 {
		t.Errorf("executed %d times", n)
	}
	wantProblem(t, after.do("POST", i.URI, "apples"), 409, "outcome-unknown")
	if n := len(after.lookup(i.ID).History); n < 2 {
		t.Errorf("its history has %d events", n)
	}
	if res := after.do("GET", at, ""); res.StatusCode != 202 {
		t.Errorf("its outcome: %d", res.StatusCode)
	}
}

// A name of a client's own says nothing of its age. What the backup knows is answered; nothing else is executed until somebody has accepted it.
func TestKeysAfterARestore(t *testing.T) {
	routes := func(c *core.Config) {
		c.Routes = []core.Route{
			{Name: "keyed", Match: "POST /orders", Doors: []string{"poe", "key", "repeatability", "async"}},
			{Name: "unique", Match: "POST /users", Doors: []string{"poe"}, Unique: []string{"form:name"}},
			{Name: "own", Match: "POST /gifts/{ref}", ClientID: "path:ref"},
			{Name: "things", Match: "PUT /things/{id}", Doors: []string{"poe", "if-match", "if-none-match"}},
		}
	}
	form := "Content-Type: application/x-www-form-urlencoded"
	before := newBench(t, routes)
	requests := []struct {
		name, method, target, body string
		fields                     []string
	}{
		{"key", "POST", "/orders", "apples", []string{"Idempotency-Key: k"}},
		{"repeatable", "POST", "/orders", "apples", []string{
			"Repeatability-Request-ID: r", "Repeatability-First-Sent: " + before.clock().Format(http.TimeFormat),
		}},
		{"client id", "POST", "/gifts/1", "apples", nil},
		{"unique", "POST", "URI /users", "name=a", []string{form, alice}},
		{"if-match", "PUT", "/things/1", "apples", []string{`If-Match: "v1"`, alice}},
		{"if-none-match", "PUT", "/things/2", "apples", []string{"If-None-Match: *", alice}},
		{"a key along with a URI", "POST", "URI /orders", "apples", []string{"Idempotency-Key: along"}},
		{"accepted", "POST", "/orders", "apples", []string{"Idempotency-Key: later", later}},
	}
	do := func(b *bench, i int) *http.Response {
		r := requests[i]
		target := r.target
		if path, ok := strings.CutPrefix(target, "URI "); ok {
			target = b.mint(path, r.fields...)
		}
		return b.do(r.method, target, r.body, r.fields...)
	}

	// A backup from before any of it.
	for _, lost := range []bool{true, false} {
		empty := newBench(t, routes).after(lost, routes)
		empty.deferred()
		for i, r := range requests {
			res := do(empty, i)
			if !lost {
				if res.StatusCode/100 != 2 {
					t.Errorf("%s, accepted: %d", r.name, res.StatusCode)
				}
				continue
			}
			if p := wantProblem(t, res, 503, "ledger-unavailable"); !strings.Contains(fmt.Sprint(p["detail"]), "backup") || res.Header.Get("Retry-After") != "300" {
				t.Errorf("%s: %v, Retry-After %s", r.name, p, res.Header.Get("Retry-After"))
			}
		}
		if n := empty.executed.Load(); lost && n != 0 {
			t.Errorf("executed %d times", n)
		}
		if res := empty.do("POST", empty.mint("/orders"), "apples"); res.StatusCode != 201 {
			t.Errorf("a new URI: %d", res.StatusCode)
		}
	}

	// A backup from after it: what it knows is repeated.
	for i, r := range requests {
		if r.name == "accepted" {
			continue
		}
		if res := do(before, i); res.StatusCode/100 != 2 {
			t.Fatalf("%s: %d %s", r.name, res.StatusCode, text(t, res))
		}
	}
	after := before.after(true, routes)
	for i, r := range requests {
		if r.name == "accepted" || strings.HasPrefix(r.target, "URI ") {
			continue
		}
		if res := do(after, i); res.StatusCode/100 != 2 || !strings.HasSuffix(res.Header.Get("Poe-State"), ";replayed") {
			t.Errorf("%s: %d %s", r.name, res.StatusCode, res.Header.Get("Poe-State"))
		}
	}
	if n := after.executed.Load(); n != 0 {
		t.Errorf("executed %d times", n)
	}
}
