package core_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	core "github.com/postonce/poe/internal/poe"
)

// A client id of 30 or 31 characters is no long one, and belongs to its principal; one of 255 bytes can be used.
func TestClientIDIsMeasuredWithoutItsKind(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{{Name: "orders", Match: "POST /orders/{id}", Doors: []string{}, ClientID: "path:id"}}
	})
	id := strings.Repeat("a", 31)
	b.do("POST", "/orders/"+id, "apples", alice)
	if res := b.do("POST", "/orders/"+id, "pears", "Authorization: Bearer somebody-else"); res.StatusCode != 201 {
		t.Errorf("another principal's id of 31 characters: %d %s", res.StatusCode, text(t, res))
	}
	if res := b.do("POST", "/orders/"+strings.Repeat("b", 255), "apples", alice); res.StatusCode != 201 {
		t.Errorf("255 bytes: %d %s", res.StatusCode, text(t, res))
	}
}

// End to end, one victim's key used twice.
func TestCodedFormEvadesUnique(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{{Name: "users", Match: "POST /users", Doors: []string{}, Unique: []string{"form:email"}}}
	})
	var made []string
	b.app = func(w http.ResponseWriter, r *http.Request) { // as most applications, it does not know Content-Encoding of requests
		made = append(made, r.PostFormValue("email"))
		w.WriteHeader(201)
	}
	const form = "Content-Type: application/x-www-form-urlencoded"
	b.do("POST", "/users", "email=victim", form, alice)
	for _, decoy := range []string{"decoy1", "decoy2"} {
		text := "email=" + decoy
		n := byte(len(text))
		b.do("POST", "/users", "\x01"+string([]byte{n, 0, ^n, 0xff})+text+"&email=victim&x=", form, "Content-Encoding: deflate", alice)
	}
	if len(made) != 1 {
		t.Errorf("executed for %q", made)
	}
}

// Where a member stands in the query as well, applications differ in which one they take (Servlet: the query's).
func TestMemberInQueryToo(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{{Name: "users", Match: "POST /users", Doors: []string{}, Unique: []string{"form:email"}}}
	})
	const form = "Content-Type: application/x-www-form-urlencoded"
	for _, query := range []string{"email=victim", "a=b&EMAIL=victim", "a=b;email=victim", "e%6Dail=victim"} {
		if res := b.do("POST", "/users?"+query, "email=decoy", form, alice); res.StatusCode != 400 {
			t.Errorf("%s: %d", query, res.StatusCode)
		}
	}
	if n := b.executed.Load(); n != 0 {
		t.Errorf("executed %d times for a member of the query", n)
	}
}

// Of what a person burns because nobody will ever know, the order may have been paid: its business key is not free by itself (docs/doors.md lists what gives it back).
func TestBurnInDoubtKeepsTheBusinessKey(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{{Name: "payments", Match: "POST /orders/{id}/payment", Unique: []string{"path:id"}}}
	})
	b.app = answering(502)
	i := b.issue("/orders/7/payment")
	b.do("POST", i.URI, "x")
	b.app = nil
	b.decide(decision(i.ID, core.AsBurned))
	if p := wantProblem(t, b.do("POST", i.URI, "x"), 410, "burned"); p["retry"] != "never" {
		t.Errorf("%v", p)
	}
	if res := b.do("POST", b.mint("/orders/7/payment"), "x"); res.StatusCode == 201 {
		t.Errorf("order 7 was paid, perhaps for the second time: executed %d times", b.executed.Load())
	}
}

// A name is refused from the moment on that its doors promise, and not 5 s later.
func TestKeyIsRefusedFromItsExpiry(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{{Name: "orders", Match: "POST /orders", Retention: time.Hour}}
	})
	b.app = answering(429)
	b.do("POST", "/orders", "x", "Idempotency-Key: k")
	b.app = nil
	b.advance(time.Hour + 2*time.Second)
	res := b.do("POST", "/orders", "x", "Idempotency-Key: k")
	if res.StatusCode == 201 {
		t.Errorf("executed at %s, Idempotency-Expires %s", b.clock().Format(http.TimeFormat), res.Header.Get("Idempotency-Expires"))
		t.Errorf("and its repeat gets %d %s", res.StatusCode, text(t, b.do("POST", "/orders", "x", "Idempotency-Key: k")))
	}
}

// Two visitors without credentials saw the same page, and both order one. The tag is good for one POST; the other visitor did not order, and is not shown what the first one got.
func TestTagOfAnotherVisitor(t *testing.T) {
	b := newBench(t, doors("if-match"))
	n := 0
	b.app = func(w http.ResponseWriter, r *http.Request) {
		n++
		w.Header().Set("Location", "/orders/1")
		w.WriteHeader(201)
		_, _ = w.Write([]byte("your ticket is 4711"))
	}
	b.do("POST", "/orders", "quantity=1", `If-Match: "page-5"`, "Cookie: session=ann")
	res := b.do("POST", "/orders", "quantity=1", `If-Match: "page-5"`, "Cookie: session=bob")
	if got := text(t, res); res.StatusCode == 201 {
		t.Errorf("bob is told that he has ordered (%d, executed %d times): %s", res.StatusCode, n, got)
	}
	res = b.do("POST", "/orders", "quantity=2", `If-Match: "page-5"`, "Cookie: session=bob")
	if p := problemOf(t, res); p["outcome"] != nil {
		t.Errorf("bob is led to what ann got: %s", text(t, b.do("GET", p["outcome"].(string), "")))
	}
}
