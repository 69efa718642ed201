package core_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/postonce/poe/internal/bearer"
	core "github.com/postonce/poe/internal/poe"
)

// believing makes a gate believe the issuer's tokens.
func believing(t *testing.T, id *issuer, routes ...core.Route) func(*core.Config) {
	return func(c *core.Config) {
		v, err := bearer.Open(bearer.Config{File: id.file, Clock: c.Clock})
		if err != nil {
			t.Fatal(err)
		}
		c.Bearer, c.Routes = v, routes
	}
}

// A principal is named by what does not change with the hour and the password, or the same request would be another one, and be executed again.
// Who is not the one that he says he is, as far as anybody can tell here, is shown nothing: neither an answer nor where one is. That holds at every door.
func TestNamedAlikeAndShownNothing(t *testing.T) {
	id := newIssuer(t)
	const path = "/users/u1"
	all := core.Route{Name: "users", Match: "POST,PUT /users/{id}", Doors: []string{"poe", "key", "repeatability", "if-match", "if-none-match", "async"}, Recovery: core.RecoveryHold}
	with := func(change func(*core.Route)) core.Route {
		r := all
		change(&r)
		return r
	}
	const first = "Repeatability-First-Sent: Thu, 01 Jan 2026 00:00:00 GMT" // replaced by the bench's time
	for _, tc := range []struct {
		name, method, field string
		route               core.Route
		problem             string
		status              int
	}{
		{"a short key", "POST", "Idempotency-Key: order-1", all, "principal-changed", 409},
		{"a long key", "POST", "Idempotency-Key: 0b5dcb2b-5b4e-4c0a-9a3c-3a5b9a3f9c11", all, "principal-changed", 409},
		{"a repeatable request", "POST", first, all, "principal-changed", 409},
		{"a client id", "POST", "", with(func(r *core.Route) { r.ClientID = "path:id" }), "principal-changed", 409},
		{"a client id that refuses a second", "POST", "", with(func(r *core.Route) { r.ClientID, r.Repeats = "path:id", core.RepeatsRefused }), "principal-changed", 409},
		{"a business key", "POST", "", with(func(r *core.Route) { r.Unique = []string{"path:id"} }), "duplicate", 409},
		{"a version tag", "POST", `If-Match: "v1"`, all, "precondition-failed", 412},
		{"a creation", "PUT", "If-None-Match: *", all, "precondition-failed", 412},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for who, claims := range map[string]func(at time.Time) (mine, other string){
				"an expired token": func(at time.Time) (string, string) {
					return id.token(t, jwt.MapClaims{"iss": "i", "sub": "ann", "exp": at.Add(time.Hour).Unix()}),
						id.token(t, jwt.MapClaims{"iss": "i", "sub": "ann", "exp": at.Add(-10 * time.Second).Unix()})
				},
				"a token that is not good yet": func(at time.Time) (string, string) {
					return id.token(t, jwt.MapClaims{"iss": "i", "sub": "ann", "exp": at.Add(time.Hour).Unix()}),
						id.token(t, jwt.MapClaims{"iss": "i", "sub": "ann", "exp": at.Add(time.Hour).Unix(), "nbf": at.Add(10 * time.Second).Unix()})
				},
				"a token that is issued in the future": func(at time.Time) (string, string) {
					return id.token(t, jwt.MapClaims{"iss": "i", "sub": "ann", "exp": at.Add(time.Hour).Unix()}),
						id.token(t, jwt.MapClaims{"iss": "i", "sub": "ann", "exp": at.Add(time.Hour).Unix(), "iat": at.Add(10 * time.Second).Unix()})
				},
				"another password": func(time.Time) (string, string) {
					return "Authorization: Basic YWxpY2U6cmlnaHQ=", "Authorization: Basic YWxpY2U6d3Jvbmc=" // alice:right, alice:wrong
				},
			} {
				b := newBench(t, believing(t, id, tc.route))
				mine, other := claims(b.clock())
				fields := func(token string) []string {
					if tc.field == first {
						return []string{token, "Repeatability-Request-ID: r-1", "Repeatability-First-Sent: " + b.clock().UTC().Format(http.TimeFormat)}
					}
					if tc.field == "" {
						return []string{token}
					}
					return []string{token, tc.field}
				}
				answer := b.do(tc.method, path, "apples", fields(mine)...)
				if answer.StatusCode != 201 {
					t.Fatalf("%s: %d %s", who, answer.StatusCode, text(t, answer))
				}
				outcome, _, _ := strings.Cut(strings.TrimPrefix(answer.Header.Get("Link"), "<"), ">")
				for _, body := range []string{"apples", "pears"} {
					res := b.do(tc.method, path, body, fields(other)...)
					p := problemOf(t, res)
					if res.StatusCode != tc.status || p["type"] != "/poe/problems/"+tc.problem || p["outcome"] != nil || res.Header.Get("Link") != "" || res.Header.Get("POE-State") != "" {
						t.Errorf("%s, %s: %d %v %v", who, body, res.StatusCode, p, res.Header)
					}
				}
				for _, method := range []string{"GET", "DELETE"} {
					wantProblem(t, b.do(method, outcome, "", other), 403, "other-principal")
				}
				wantProblem(t, b.do("GET", outcome+"/receipt", "", other), 403, "other-principal")
				if res := b.do("GET", outcome, "", mine); res.StatusCode != 200 || text(t, res) != "order 1: apples" {
					t.Errorf("%s: its own principal is shown %d", who, res.StatusCode)
				}
				if n := b.executed.Load(); n != 1 {
					t.Errorf("%s: executed %d times", who, n)
				}
			}
		})
	}
}

// What has a name that is free goes to the application, which knows for how long it takes a token and which password is right. What was executed then
// belongs to the principal of the token: a refreshed one is shown it.
func TestUntimelyIsForTheApplication(t *testing.T) {
	id := newIssuer(t)
	b := newBench(t, believing(t, id, core.Route{Name: "orders", Match: "POST /orders"}))
	late := id.token(t, jwt.MapClaims{"iss": "i", "sub": "ann", "exp": b.clock().Add(-10 * time.Second).Unix()})
	fresh := id.token(t, jwt.MapClaims{"iss": "i", "sub": "ann", "exp": b.clock().Add(time.Hour).Unix()})
	if res := b.do("POST", "/orders", "apples", late, "Idempotency-Key: order-1"); res.StatusCode != 201 {
		t.Fatalf("executed: %d %s", res.StatusCode, text(t, res))
	}
	wantProblem(t, b.do("POST", "/orders", "apples", late, "Idempotency-Key: order-1"), 409, "principal-changed")
	if res := b.do("POST", "/orders", "apples", fresh, "Idempotency-Key: order-1"); res.StatusCode != 201 || text(t, res) != "order 1: apples" {
		t.Errorf("with a refreshed token: %d", res.StatusCode)
	}
	if n := b.executed.Load(); n != 1 {
		t.Errorf("executed %d times", n)
	}
}

// Octet for octet the same request is one, though its token expires between the two: applications allow for more than five seconds.
func TestSameRequestAfterItsTokenExpired(t *testing.T) {
	id := newIssuer(t)
	for _, principal := range []string{"authorization", "jwt:sub"} {
		b := newBench(t, believing(t, id, core.Route{Name: "orders", Match: "POST /orders", Principal: principal}))
		token := id.token(t, jwt.MapClaims{"iss": "i", "sub": "ann", "iat": b.clock().Unix(), "exp": b.clock().Add(time.Minute).Unix()})
		b.do("POST", "/orders", "apples", token, "Idempotency-Key: order-1")
		b.advance(70 * time.Second)
		wantProblem(t, b.do("POST", "/orders", "apples", token, "Idempotency-Key: order-1"), 409, "principal-changed")
		if n := b.executed.Load(); n != 1 {
			t.Errorf("%s: executed %d times", principal, n)
		}
	}
}

// An issuer's clock may be ahead of ours. A token that is not good yet names its principal already, so that what it mints is good for the same token later.
func TestSameRequestBeforeItsToken(t *testing.T) {
	id := newIssuer(t)
	for _, claim := range []string{"iat", "nbf"} {
		b := newBench(t, believing(t, id, core.Route{Name: "orders", Match: "POST /orders"}))
		token := id.token(t, jwt.MapClaims{"iss": "i", "sub": "ann", claim: b.clock().Add(10 * time.Second).Unix(), "exp": b.clock().Add(time.Hour).Unix()})
		b.do("POST", "/orders", "apples", token, "Idempotency-Key: order-1")
		uri := b.mint("/orders", token)
		wantProblem(t, b.do("POST", uri, "apples", token), 403, "other-principal")
		b.advance(6 * time.Second)
		if res := b.do("POST", "/orders", "apples", token, "Idempotency-Key: order-1"); res.StatusCode != 201 || text(t, res) != "order 1: apples" {
			t.Errorf("%s: repeated: %d", claim, res.StatusCode)
		}
		if n := b.executed.Load(); n != 1 {
			t.Errorf("%s: executed %d times", claim, n)
		}
		if res := b.do("POST", uri, "apples", token); res.StatusCode != 201 {
			t.Errorf("%s: the POE URI: %d %s", claim, res.StatusCode, text(t, res))
		}
	}
}

// Whoever comes first with a name and a wrong password gets the application's no, which leaves the key to its owner.
func TestWrongPasswordKeepsNoKey(t *testing.T) {
	const right, wrong = "Authorization: Basic YWxpY2U6cmlnaHQ=", "Authorization: Basic YWxpY2U6d3Jvbmc=" // alice:right, alice:wrong
	b := newBench(t, func(c *core.Config) { c.Routes = []core.Route{{Name: "orders", Match: "POST /orders"}} })
	b.app = func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != "right" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write([]byte("alice's"))
	}
	for _, tc := range []struct {
		user string
		want int
	}{{wrong, 401}, {right, 201}, {right, 201}, {wrong, 409}} {
		if res := b.do("POST", "/orders", "apples", tc.user, "Idempotency-Key: order-1"); res.StatusCode != tc.want {
			t.Errorf("%s: %d %s", tc.user, res.StatusCode, text(t, res))
		}
	}
}
