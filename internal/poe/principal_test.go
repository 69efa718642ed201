package core_test

import (
	"strings"
	"testing"

	core "github.com/postonce/poe/internal/poe"
)

// A URI binds to whoever asked for it, as the route tells people apart; what nobody asked for binds nobody.
func TestPrincipals(t *testing.T) {
	const (
		alice    = "Authorization: Basic YWxpY2U6MQ==" // alice:1
		alice2   = "Authorization: Basic YWxpY2U6Mg==" // alice:2
		aliceLow = "Authorization: basic YWxpY2U6MQ=="
		bob      = "Authorization: Basic Ym9iOjE="
		bearer   = "Authorization: Bearer abc"
		bearer2  = "Authorization: Bearer abd"
	)
	for _, tc := range []struct {
		name, principal string
		minter, user    []string
		same            bool
	}{
		{"by default, the same user", "", []string{alice}, []string{alice}, true},
		{"by default, another user", "", []string{alice}, []string{bob}, false},
		{"the same user with another password", "authorization", []string{alice}, []string{alice2}, false},
		{"the scheme in another case", "authorization", []string{alice}, []string{aliceLow}, true},
		{"another user", "authorization", []string{alice}, []string{bob}, false},
		{"nobody uses it", "authorization", []string{alice}, nil, false},
		{"an empty field", "authorization", []string{alice}, []string{"Authorization: "}, false},
		{"two users at once", "authorization", []string{alice}, []string{alice, bob}, false},
		{"minted by nobody", "authorization", nil, []string{alice}, true},
		{"minted by nobody, used by nobody", "authorization", nil, nil, true},
		{"the same bearer", "authorization", []string{bearer}, []string{bearer}, true},
		{"another bearer", "authorization", []string{bearer}, []string{bearer2}, false},
		{"a bearer that says what Basic is hashed from", "authorization", []string{alice}, []string{"Authorization: alice"}, false},
		{"a field", "header:X-User", []string{"X-User: alice"}, []string{"X-User: alice"}, true},
		{"another value", "header:X-User", []string{"X-User: alice"}, []string{"X-User: bob"}, false},
		{"in another case", "header:X-User", []string{"X-User: alice"}, []string{"X-User: Alice"}, false},
		{"no field", "header:X-User", []string{"X-User: alice"}, []string{alice}, false},
		{"two fields are not one", "header:X-User", []string{"X-User: a", "X-User: b"}, []string{"X-User: a, b"}, false},
		{"two fields in the other order", "header:X-User", []string{"X-User: a", "X-User: b"}, []string{"X-User: b", "X-User: a"}, false},
		{"joined differently", "header:X-User", []string{"X-User: ab", "X-User: c"}, []string{"X-User: a", "X-User: bc"}, false},
		{"authorization does not count", "header:X-User", []string{alice, "X-User: alice"}, []string{bob, "X-User: alice"}, true},
		{"a cookie", "cookie:session", []string{"Cookie: session=1; other=2"}, []string{"Cookie: session=1"}, true},
		{"another cookie", "cookie:session", []string{"Cookie: session=1"}, []string{"Cookie: session=2"}, false},
		{"a cookie of another name", "cookie:session", []string{"Cookie: session=1"}, []string{"Cookie: sessions=1"}, false},
		{"an empty cookie is nobody", "cookie:session", []string{"Cookie: session="}, []string{"Cookie: session=1"}, true},
		{"none", "none", []string{alice, "X-User: alice", "Cookie: session=1"}, []string{bob}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, func(c *core.Config) { c.Routes = []core.Route{{Match: "POST /orders", Principal: tc.principal}} })
			i := b.issue("/orders", tc.minter...)
			for _, method := range []string{"GET", "POST"} {
				got := read(t, b.do(method, i.URI, "apples", tc.user...))
				if tc.same {
					if got.State == "" || got.Code >= 300 {
						t.Errorf("%s: %d %s", method, got.Code, got.State)
					}
					continue
				}
				got.want(t, problemReply(403, "other-principal", "never", nil))
			}
			if n := b.executed.Load(); (n == 1) != tc.same {
				t.Errorf("executed %d times", n)
			}
		})
	}
}

// DELETE is for the principal, too.
func TestBurnByAnother(t *testing.T) {
	b := newBench(t, nil)
	i := b.issue("/orders", "Authorization: Bearer a")
	read(t, b.do("DELETE", i.URI, "", "Authorization: Bearer b")).want(t, problemReply(403, "other-principal", "never", nil))
	if got := read(t, b.do("DELETE", i.URI, "", "Authorization: Bearer a")); got.Code != 204 {
		t.Errorf("%d", got.Code)
	}
}

// The same person on another route is told apart by that route, and the ledger holds nobody's name.
func TestPrincipalIsHashed(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{{Match: "POST /orders", Principal: "header:X-User"}, {Match: "POST /bills", Principal: "cookie:user"}}
	})
	i, j := b.issue("/orders", "X-User: alice"), b.issue("/bills", "Cookie: user=alice")
	if res := b.do("POST", i.URI, "", "X-User: alice"); res.StatusCode != 201 {
		t.Fatal(res.StatusCode)
	}
	if res := b.do("POST", j.URI, "", "Cookie: user=alice"); res.StatusCode != 201 {
		t.Fatal(res.StatusCode)
	}
	r, s := b.lookup(i.ID), b.lookup(j.ID)
	if r.Principal == ([32]byte{}) || r.Principal == s.Principal || strings.Contains(string(r.Principal[:]), "alice") {
		t.Errorf("recorded as %x and %x", r.Principal, s.Principal)
	}
}

// A principal that no route can tell is a mistake in the configuration.
func TestPrincipalsThatAreNone(t *testing.T) {
	for _, p := range []string{"nobody", "header", "header:", "header:a b", "cookie", "cookie:", "none:x", "authorization:x", "jwt:sub"} {
		t.Run(p, func(t *testing.T) {
			var cfg core.Config
			newBench(t, func(c *core.Config) { cfg = *c })
			cfg.Metrics, cfg.Routes = nil, []core.Route{{Match: "POST /orders", Principal: p}}
			_, err := core.New(t.Context(), cfg)
			if err == nil || !strings.Contains(err.Error(), "principal") {
				t.Errorf("%v", err)
			}
		})
	}
}
