package core_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/store"
)

const uuidKey = `Idempotency-Key: "8e03978e-40d5-43e8-bc93-6894a57f9324"`

func TestKeySituations(t *testing.T) {
	for _, x := range []situation{
		{
			door: "short", fields: []string{"Idempotency-Key: k1"},
			running: refusedAs(409, "running"), done: replayed, unknown: refusedAs(409, "outcome-unknown"),
			otherBody: refusedAs(422, "key-reused"), otherBodyRunning: refusedAs(422, "key-reused"),
			otherPrincipal: anew, otherRoute: anew,
		},
		{
			door: "uuid", fields: []string{uuidKey},
			running: refusedAs(409, "running"), done: replayed, unknown: refusedAs(409, "outcome-unknown"),
			otherBody: refusedAs(422, "key-reused"), otherBodyRunning: refusedAs(422, "key-reused"),
			otherPrincipal: refusedAs(409, "principal-changed"), otherRoute: anew,
		},
		{
			door: "DELETE", method: "DELETE", target: "/orders/1", fields: []string{"Idempotency-Key: k1"},
			running: refusedAs(409, "running"), done: replayed, unknown: refusedAs(409, "outcome-unknown"),
			otherBody: refusedAs(422, "key-reused"), otherBodyRunning: refusedAs(422, "key-reused"),
			otherPrincipal: anew, otherRoute: anew,
		},
		{
			door: "PUT", method: "PUT", target: "/orders/1", fields: []string{"Idempotency-Key: k1"},
			running: refusedAs(409, "running"), done: replayed, unknown: refusedAs(409, "outcome-unknown"),
			otherBody: refusedAs(422, "key-reused"), otherBodyRunning: refusedAs(422, "key-reused"),
			otherPrincipal: anew, otherRoute: anew,
		},
		{
			door: "PATCH", method: "PATCH", target: "/orders/1", fields: []string{"Idempotency-Key: k1"},
			running: refusedAs(409, "running"), done: replayed, unknown: refusedAs(409, "outcome-unknown"),
			otherBody: refusedAs(422, "key-reused"), otherBodyRunning: refusedAs(422, "key-reused"),
			otherPrincipal: anew, otherRoute: anew,
		},
	} {
		x.change = doors("key")
		t.Run(x.door, x.run)
	}
}

// A repeat gets the first answer, whole, with the marks; so it does when the front has forgotten it.
func TestKeyReplays(t *testing.T) {
	for name, front := range map[string]int64{"from the front": 0, "from the ledger": 1} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(c *core.Config) { c.Front = front })
			first := b.do("POST", "/orders?x=1", "apples", `Idempotency-Key: "k"`)
			want := read(t, first)
			until := b.clock().Add(720 * time.Hour).Format(http.TimeFormat)
			if want.Code != 201 || want.Body != "order 1: apples" || want.Fields.Get("Idempotency-Expires") != until || want.Fields.Get("Idempotent-Replayed") != "" {
				t.Fatalf("the first: %v", want)
			}
			b.advance(time.Hour)
			for _, spelled := range []string{`Idempotency-Key: "k"`, "Idempotency-Key: k"} {
				got := read(t, b.do("POST", "/orders?x=1", "apples", spelled))
				if got.Code != 201 || got.Body != want.Body || got.Fields.Get("Location") != "/orders/1" || got.ID != want.ID || got.State != want.State+";replayed" ||
					got.Fields.Get("Idempotent-Replayed") != "true" || got.Fields.Get("Idempotency-Expires") != until || got.Fields.Get("Cache-Control") != "no-store" {
					t.Errorf("again: %v, want %v", got, want)
				}
				outcome := outcomeLink.FindStringSubmatch(got.Fields.Get("Link"))
				if outcome == nil {
					t.Errorf("Link: %v", got.Fields["Link"])
				} else if res := b.do("GET", outcome[1], ""); res.StatusCode != 200 || text(t, res) != "order 1: apples" {
					t.Errorf("the outcome: %d", res.StatusCode)
				}
			}
			if n := b.executed.Load(); n != 1 {
				t.Errorf("executed %d times", n)
			}
			if r := b.lookup(want.ID); r.Door != "key" || r.State != store.Done || len(r.Names) != 1 {
				t.Errorf("recorded: %v", r)
			}
		})
	}
}

// A hundred at one time: one is executed.
func TestKeyAtOneTime(t *testing.T) {
	b := newBench(t, nil)
	for round := range 20 {
		before := b.executed.Load()
		var all sync.WaitGroup
		var mu sync.Mutex
		codes := map[int]int{}
		for range 50 {
			all.Go(func() {
				code := b.do("POST", "/orders", "apples", fmt.Sprintf("Idempotency-Key: round-%d", round)).StatusCode
				mu.Lock()
				defer mu.Unlock()
				codes[code]++
			})
		}
		all.Wait()
		if n := b.executed.Load() - before; n != 1 || codes[201]+codes[409] != 50 {
			t.Fatalf("executed %d times: %v", n, codes)
		}
	}
}

// What cannot be a key is refused, and nothing is executed or written.
func TestKeyRefused(t *testing.T) {
	b, ledger := newTampered(t, func(c *core.Config) {
		c.Routes = []core.Route{{Name: "orders", Match: "POST /orders", KeyHeaders: []string{"Idempotency-Key", "Tracking-Id"}, Require: true, Doors: []string{"key"}}}
	})
	for name, fields := range map[string][]string{
		"empty":              {"Idempotency-Key: "},
		"an empty string":    {`Idempotency-Key: ""`},
		"256 bytes":          {"Idempotency-Key: " + strings.Repeat("k", 256)},
		"a string of 256":    {`Idempotency-Key: "` + strings.Repeat("k", 256) + `"`},
		"10 KB":              {"Idempotency-Key: " + strings.Repeat("k", 10<<10)},
		"10 KB of backslash": {`Idempotency-Key: "` + strings.Repeat(`\\`, 5<<10) + `"`},
		"non-ASCII":          {"Idempotency-Key: Schlüssel"},
		"non-ASCII quoted":   {`Idempotency-Key: "Schlüssel"`},
		"a space":            {"Idempotency-Key: a b"},
		"a control":          {"Idempotency-Key: a\x01b"},
		"DEL":                {"Idempotency-Key: a\x7fb"},
		"a list":             {"Idempotency-Key: a, b"},
		"a list of strings":  {`Idempotency-Key: "a", "b"`},
		"half a string":      {`Idempotency-Key: "a`},
		"a quote inside":     {`Idempotency-Key: a"b`},
		"two lines":          {"Idempotency-Key: a", "Idempotency-Key: a"},
		"two fields":         {"Idempotency-Key: a", "Tracking-Id: b"},
		"one of two bad":     {"Idempotency-Key: a", "Tracking-Id: "},
	} {
		t.Run(name, func(t *testing.T) {
			p := wantProblem(t, b.do("POST", "/orders", "apples", fields...), 400, "key-invalid")
			if p["parameter"] == "" || p["detail"] == "" || strings.Contains(fmt.Sprint(p), "kkk") {
				t.Errorf("%v", p)
			}
		})
	}
	p := wantProblem(t, b.do("POST", "/orders", "apples"), 400, "key-required")
	if p["retry"] != "never" {
		t.Errorf("%v", p)
	}
	if n := ledger.calls.Load(); n != 0 || b.executed.Load() != 0 {
		t.Errorf("the ledger was asked %d times, executed %d times", n, b.executed.Load())
	}
	for _, fields := range [][]string{
		{"Idempotency-Key: " + strings.Repeat("k", 255)}, {`Idempotency-Key: "` + strings.Repeat("q", 255) + `"`}, {`Idempotency-Key: "a b"`},
		{"Tracking-Id: t-1"}, {"Idempotency-Key: same", `Tracking-Id: "same"`}, {"Idempotency-Key: a/b+c=="},
	} {
		if res := b.do("POST", "/orders", "apples", fields...); res.StatusCode != 201 || res.Header.Get("POE-State") == "" {
			t.Errorf("%v: %d", fields, res.StatusCode)
		}
	}
	if res := b.do("POST", "/orders", "apples", "Tracking-Id: same"); res.Header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("one key in another field: %d %v", res.StatusCode, res.Header)
	}
}

// One key, but another method or target: 422.
func TestKeyReused(t *testing.T) {
	b := newBench(t, doors("key"))
	b.do("POST", "/orders/1", "apples", "Idempotency-Key: k", "Content-Type: text/plain")
	for name, res := range map[string]*http.Response{
		"method": b.do("PUT", "/orders/1", "apples", "Idempotency-Key: k", "Content-Type: text/plain"),
		"target": b.do("POST", "/orders/2", "apples", "Idempotency-Key: k", "Content-Type: text/plain"),
		"query":  b.do("POST", "/orders/1?x", "apples", "Idempotency-Key: k", "Content-Type: text/plain"),
		"type":   b.do("POST", "/orders/1", "apples", "Idempotency-Key: k", "Content-Type: text/csv"),
		"body":   b.do("POST", "/orders/1", "apple", "Idempotency-Key: k", "Content-Type: text/plain"),
		"none":   b.do("POST", "/orders/1", "", "Idempotency-Key: k", "Content-Type: text/plain"),
	} {
		p := wantProblem(t, res, 422, "key-reused")
		if p["retry"] != "new" || p["outcome"] != nil || res.Header.Get("Link") != "" || res.Header.Get("POE-State") != "" {
			t.Errorf("%s: %v %v", name, p, res.Header) // whoever guesses a key is led nowhere
		}
	}
	if n := b.executed.Load(); n != 1 {
		t.Errorf("executed %d times", n)
	}
	r := httptest.NewRequest("POST", "/orders/1", strings.NewReader("apples"))
	r.Host = "other.example"
	r.Header.Set("Idempotency-Key", "k")
	if res := b.send(r); res.Header.Get("Idempotent-Replayed") != "" || res.StatusCode != 201 {
		t.Errorf("another host: %d %v", res.StatusCode, res.Header)
	}
}

// A key repeats until it has expired, is refused for one more retention, and then names something new.
func TestKeyExpires(t *testing.T) {
	b := newBench(t, func(c *core.Config) { c.Retention = 48 * time.Hour })
	send := func() *http.Response { return b.do("POST", "/orders", "apples", "Idempotency-Key: k") }
	send()
	b.advance(48*time.Hour - time.Millisecond)
	if res := send(); res.Header.Get("Idempotent-Replayed") != "true" {
		t.Fatalf("before: %d %v", res.StatusCode, res.Header)
	}
	b.advance(time.Millisecond)
	for range 2 {
		p := wantProblem(t, send(), 409, "key-expired")
		if p["retry"] != "never" {
			t.Errorf("%v", p)
		}
		b.advance(48*time.Hour - 2*time.Millisecond)
	}
	for b.clock().Before(time.Date(2026, 3, 8, 0, 0, 0, 0, time.UTC)) {
		if b.executed.Load() != 1 {
			t.Fatalf("executed again at %s", b.clock())
		}
		b.advance(time.Hour)
		core.Sweeping(t.Context(), b.gate)
	}
	if res := send(); res.StatusCode != 201 || res.Header.Get("Idempotent-Replayed") != "" || b.executed.Load() != 2 {
		t.Errorf("after all: %d %v", res.StatusCode, res.Header)
	}
}

// An answer that means "not done" leaves the key to the next try, whatever its body, and the attempts are counted.
func TestKeyReleased(t *testing.T) {
	b := newBench(t, nil)
	b.app = answering(429)
	first := b.do("POST", "/orders", "apples", "Idempotency-Key: k", alice)
	id, _ := readState(t, first.Header)
	b.app = answering(201)
	got := b.do("POST", "/orders", "pears", "Idempotency-Key: k", alice)
	again, _ := readState(t, got.Header)
	if got.StatusCode != 201 || again != id {
		t.Fatalf("%d, %s and then %s", got.StatusCode, id, again)
	}
	if r := b.lookup(id); r.Attempts() != 2 || len(r.Names) != 1 {
		t.Errorf("%v", r)
	}
	wantProblem(t, b.do("POST", "/orders", "apples", "Idempotency-Key: k", alice), 422, "key-reused")
	if res := b.do("POST", "/orders", "pears", "Idempotency-Key: k", alice); res.StatusCode != 201 {
		t.Errorf("the same: %d", res.StatusCode)
	}
}

// A key that was sent along with a POE URI names the same action from then on, however the URI is used after that.
func TestKeyAlongWithURI(t *testing.T) {
	b := newBench(t, nil)
	i := b.issue("/orders")
	b.app = answering(429)
	b.do("POST", i.URI, "apples", "Idempotency-Key: k")
	b.app = nil
	if res := b.do("POST", i.URI, "apples"); res.StatusCode != 201 { // without it, this time
		t.Fatalf("%d", res.StatusCode)
	}
	res := b.do("POST", "/orders", "apples", "Idempotency-Key: k")
	if id, _ := readState(t, res.Header); id != i.ID || res.StatusCode != 201 || res.Header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("by the key: %d %v", res.StatusCode, res.Header)
	}
	wantProblem(t, b.do("POST", i.URI, "apples", "Idempotency-Key: k"), 405, "consumed")
	wantProblem(t, b.do("POST", i.URI, "apples", "Idempotency-Key: ???, no"), 405, "consumed")
	for name, other := range map[string]string{"done by a URI": "k", "done by a key": "k2"} {
		b.do("POST", "/orders", "apples", "Idempotency-Key: k2")
		before := b.executed.Load()
		next := b.issue("/orders")
		res := b.do("POST", next.URI, "apples", "Idempotency-Key: "+other)
		if id, state := readState(t, res.Header); id != next.ID || state != "unused" { // its own; a client gives up without one
			t.Errorf("%s: said to be %s, of %s", name, state, id)
		}
		wantProblem(t, res, 422, "key-reused")
		wantProblem(t, b.do("POST", next.URI, "apples", "Idempotency-Key: a, b"), 400, "key-invalid")
		if b.executed.Load() != before {
			t.Errorf("%s: executed", name)
		}
		if res := b.do("POST", next.URI, "apples"); res.StatusCode != 201 {
			t.Errorf("%s: the URI is used up: %d", name, res.StatusCode)
		}
	}
}

// One that comes only when the action is under way or has ended is not bound to it, as docs/protocol.md says: nothing is written for a request that is not tried.
func TestKeyAlongWithURIThatIsUsed(t *testing.T) {
	for status, refused := range map[int]int{201: 405, 502: 409} {
		b := newBench(t, nil)
		i := b.issue("/orders")
		b.app = answering(status)
		b.do("POST", i.URI, "apples")
		b.app = nil
		if res := b.do("POST", i.URI, "apples", "Idempotency-Key: k"); res.StatusCode != refused {
			t.Errorf("after %d: %d", status, res.StatusCode)
		}
		res := b.do("POST", "/orders", "apples", "Idempotency-Key: k")
		if id, _ := readState(t, res.Header); id == i.ID || b.executed.Load() != 2 {
			t.Errorf("after %d the key alone is %d of %s, executed %d times", status, res.StatusCode, id, b.executed.Load())
		}
	}
}

// A replay of a recent answer asks the ledger for nothing, and a first request costs it two writes and no reads.
func TestKeyCosts(t *testing.T) {
	b, ledger := newTampered(t, nil)
	b.do("POST", "/orders", "apples", uuidKey)
	if n := ledger.calls.Load(); n != 2 {
		t.Errorf("the first request: %d calls to the ledger", n)
	}
	for range 10 {
		if res := b.do("POST", "/orders", "apples", uuidKey); res.Header.Get("Idempotent-Replayed") != "true" {
			t.Fatalf("%d %v", res.StatusCode, res.Header)
		}
	}
	if n := ledger.calls.Load(); n != 2 {
		t.Errorf("replays: %d calls to the ledger", n-2)
	}
}

// The ledger is away: nothing is executed.
func TestKeyWithoutLedger(t *testing.T) {
	b, ledger := newTampered(t, nil)
	ledger.claim = func(store.Record) error { return store.ErrUnavailable }
	wantProblem(t, b.do("POST", "/orders", "apples", "Idempotency-Key: k"), 503, "ledger-unavailable")
	ledger.lookup = func() error { return store.ErrUnavailable }
	wantProblem(t, b.do("POST", "/orders", "apples", "Idempotency-Key: k", "Expect: 100-continue"), 503, "ledger-unavailable")
	if n := b.executed.Load(); n != 0 {
		t.Errorf("executed %d times", n)
	}
}

// The ledger's clock decides: a name that it takes for expired is, and nobody waits for ours.
func TestKeyExpiredByTheLedger(t *testing.T) {
	b, ledger := newTampered(t, nil)
	b.app = answering(429)
	b.do("POST", "/orders", "apples", "Idempotency-Key: k")
	ledger.claim = func(store.Record) error { return store.ErrExpired }
	wantProblem(t, b.do("POST", "/orders", "apples", "Idempotency-Key: k"), 409, "key-expired")
	wantProblem(t, b.do("POST", "/orders", "apples", "Idempotency-Key: new"), 503, "ledger-unavailable") // a clock that is years ahead
	if n := b.executed.Load(); n != 1 {
		t.Errorf("executed %d times", n)
	}
}
