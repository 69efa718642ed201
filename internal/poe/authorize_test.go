package core_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
	"github.com/rs/zerolog"

	"github.com/postonce/poe/internal/bearer"
	core "github.com/postonce/poe/internal/poe"
)

// Whoever lost the right to an answer does not get it from the ledger: the application is asked before each repeat, at every address of it.
func TestAuthorizationBeforeReplay(t *testing.T) {
	var b *bench
	var asked []*http.Request
	verdict := http.StatusOK
	b = newBench(t, func(c *core.Config) {
		c.Authorizer = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked = append(asked, r)
			w.Header().Set("WWW-Authenticate", "Basic")
			w.Header().Set("X-Inside", "secret")
			w.WriteHeader(verdict)
			_, _ = w.Write([]byte("no"))
		})
		c.Routes = []core.Route{{Name: "orders", Match: "POST /orders", Authorize: "/auth?x=1"}}
	})
	i := b.issue("/orders", alice)
	i.findOutcome(t, b.do("POST", i.URI, "apples", alice))
	b.do("POST", "/orders", "apples", alice, "Idempotency-Key: k")
	if len(asked) != 0 {
		t.Fatal("asked about a first answer")
	}
	addresses := func(f func(*http.Response)) {
		t.Helper()
		f(b.do("GET", i.URI, "", alice))
		f(b.do("GET", i.outcome, "", alice))
		f(b.do("POST", "/orders", "apples", alice, "Idempotency-Key: k", "Cookie: c=1"))
	}
	addresses(func(res *http.Response) {
		if got := text(t, res); got != "order 1: apples" {
			t.Errorf("%d %s", res.StatusCode, got)
		}
	})
	if len(asked) != 3 {
		t.Fatalf("asked %d times", len(asked))
	}
	q := asked[2]
	if q.Method != "GET" || q.RequestURI != "/auth?x=1" || q.URL.Path != "/auth" || q.Header.Get("Authorization") == "" || q.Header.Get("Cookie") != "c=1" ||
		q.Header.Get("X-Original-Method") != "POST" || q.Header.Get("X-Original-URI") != "/orders" || q.ContentLength != 0 {
		t.Errorf("asked: %v", q)
	}
	for _, verdict = range []int{401, 403} {
		addresses(func(res *http.Response) {
			if got := text(t, res); res.StatusCode != verdict || got != "no" || res.Header.Get("WWW-Authenticate") != "Basic" || res.Header.Get("X-Inside") != "" ||
				res.Header.Get("POE-State") != "" || res.Header.Get("Location") != "" || res.Header.Get("Link") != "" ||
				res.Header.Get("Idempotent-Replayed") != "" || res.Header.Get("Idempotency-Expires") != "" {
				t.Errorf("%d: %d %v %s", verdict, res.StatusCode, res.Header, got)
			}
		})
	}
	for _, verdict = range []int{302, 404, 500} {
		addresses(func(res *http.Response) {
			wantProblem(t, res, 503, "authorization-unavailable")
			if res.Header.Get("Idempotent-Replayed") != "" || res.Header.Get("Idempotency-Expires") != "" {
				t.Errorf("%d: %v", verdict, res.Header)
			}
		})
	}
	if n := b.executed.Load(); n != 2 {
		t.Errorf("executed %d times", n)
	}
}

// While the application is away each repeat is refused, and the log says so once a minute: whoever knows an outcome's address could fill the disk with a line for each.
func TestLogOfQuestionsThatNobodyAnswers(t *testing.T) {
	var log bytes.Buffer
	b := newBench(t, func(c *core.Config) {
		c.Log = zerolog.New(zerolog.SyncWriter(&log))
		c.Authorizer = answering(502)
		c.Routes = []core.Route{{Name: "orders", Match: "POST /orders", Authorize: "/auth"}}
	})
	lines := func() (all []string) {
		for line := range strings.Lines(log.String()) {
			if strings.Contains(line, "asking the application") {
				all = append(all, line)
			}
		}
		return all
	}
	i := b.issue("/orders")
	i.findOutcome(t, b.do("POST", i.URI, "apples"))
	for range 10 {
		wantProblem(t, b.do("GET", i.outcome, ""), 503, "authorization-unavailable")
	}
	if all := lines(); len(all) != 1 || !strings.Contains(all[0], `"status":502`) {
		t.Errorf("said %q", all)
	}
	b.advance(time.Minute)
	for range 2 {
		wantProblem(t, b.do("GET", i.outcome, ""), 503, "authorization-unavailable")
	}
	if all := lines(); len(all) != 2 || !strings.Contains(all[1], `"left_out":9`) {
		t.Errorf("a minute later it has said %q", all)
	}
	b.advance(time.Minute)
	gone, hangUp := context.WithCancel(t.Context())
	hangUp()
	b.send(httptest.NewRequestWithContext(gone, "GET", i.outcome, nil))
	if all := lines(); len(all) != 2 {
		t.Errorf("of a client that has gone it says %q", all)
	}
}

// The question is about nothing but the right: no condition of the client's, nor a wish of it, makes another answer of it. A refusal arrives as the
// application has written it.
func TestAuthorizationIsUnconditional(t *testing.T) {
	allowed := true
	b := newBench(t, func(c *core.Config) {
		c.Authorizer = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !allowed {
				w.Header().Set("Content-Encoding", "x-rot13")
				w.WriteHeader(http.StatusForbidden)
				_, _ = w.Write([]byte("ab"))
				return
			}
			if r.Header.Get("Prefer") != "" || r.Header.Get("Callback-URL") != "" {
				t.Errorf("asked: %v", r.Header)
			}
			http.ServeContent(w, r, "", time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), strings.NewReader("yes"))
		})
		c.Routes = []core.Route{{Name: "orders", Match: "POST /orders", Authorize: "/auth"}}
	})
	i := b.issue("/orders")
	i.findOutcome(t, b.do("POST", i.URI, "apples"))
	for _, condition := range []string{"If-Modified-Since: Mon, 01 Jun 2026 00:00:00 GMT", "If-Unmodified-Since: Tue, 01 Jan 2019 00:00:00 GMT", `If-None-Match: *`} {
		if res := b.do("GET", i.outcome, "", condition, "Prefer: respond-async", "Callback-URL: https://example.com/"); res.StatusCode == 503 {
			t.Errorf("%s: %s", condition, text(t, res))
		}
	}
	allowed = false
	if res := b.do("GET", i.outcome, ""); res.StatusCode != 403 || text(t, res) != "ab" || res.Header.Get("Content-Encoding") != "x-rot13" {
		t.Errorf("refused: %d %v", res.StatusCode, res.Header)
	}
}

// Some applications take the path of a request, or its method, from a field. An asker who sends one must not choose what is asked.
func TestAuthorizationIsOfNoOtherPath(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Authorizer = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			path, method := r.URL.Path, r.Method
			for _, name := range []string{"X-Original-URL", "X-Rewrite-URL"} {
				if said := r.Header.Get(name); said != "" {
					path = said
				}
			}
			for _, name := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"} {
				if said := r.Header.Get(name); said != "" {
					method = said
				}
			}
			if path == "/auth" && method == http.MethodGet {
				w.WriteHeader(http.StatusForbidden)
			}
		})
		c.Routes = []core.Route{{Name: "orders", Match: "POST /orders", Authorize: "/auth"}}
	})
	i := b.issue("/orders")
	i.findOutcome(t, b.do("POST", i.URI, "apples"))
	for _, field := range []string{
		"X-Original-URL: /public", "X-Rewrite-URL: /public", "X-HTTP-Method-Override: HEAD", "X-HTTP-Method: HEAD", "X-Method-Override: HEAD",
	} {
		if res := b.do("GET", i.outcome, "", field); res.StatusCode != 403 {
			t.Errorf("%s: %d %s", field, res.StatusCode, text(t, res))
		}
	}
}

// The question is put at the host whose answer it is about: at one that the asker names, where he may have rights, the application would speak of something
// else. That holds whatever has led to the end.
func TestAuthorizationAtTheHostOfTheAnswer(t *testing.T) {
	const at = "http://a.example"
	var asked []string
	asking := func(c *core.Config) {
		c.Authorizer = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			asked = append(asked, r.Host+" "+r.Header.Get("X-Original-Host"))
		})
		c.Routes = []core.Route{{Name: "orders", Match: "POST /orders", Authorize: "/auth", Principal: "none"}}
	}
	for name, end := range map[string]func(b *bench) (outcome string){
		"executed": func(b *bench) string {
			i := b.issue("/orders")
			i.findOutcome(t, b.do("POST", at+i.URI, "apples"))
			return i.outcome
		},
		"accepted": func(b *bench) string {
			outcome := monitor(t, b.do("POST", at+"/orders", "apples", "Idempotency-Key: k", "Prefer: respond-async"))
			b.work()
			return outcome
		},
		"decided": func(b *bench) string {
			i := b.issue("/orders")
			b.app = answering(502)
			i.findOutcome(t, b.do("POST", at+i.URI, "apples"))
			b.decide(core.Decision{ID: i.ID, As: core.AsFailed, Reason: "looked"})
			return i.outcome
		},
	} {
		asked = nil
		b := deferring(t, asking)
		outcome := end(b)
		res := b.do("GET", "http://b.example"+outcome, "", "X-Original-Host: b.example")
		if len(asked) != 1 || asked[0] != "a.example a.example" || res.Header.Get("POE-State") == "" {
			t.Errorf("%s: asked %v, answered %d %v", name, asked, res.StatusCode, res.Header)
		}
	}
}

// Of an answer from before its route had authorize nobody knows the host any more. It is not shown, rather than asked for at a host of the asker's choice.
func TestAuthorizationOfAnOlderAnswer(t *testing.T) {
	b := newBench(t, func(c *core.Config) { c.Routes = []core.Route{{Name: "orders", Match: "POST /orders"}} })
	i := b.issue("/orders")
	i.findOutcome(t, b.do("POST", i.URI, "apples"))
	asked := 0
	var log bytes.Buffer
	b = b.configured(func(c *core.Config) {
		c.Log = zerolog.New(zerolog.SyncWriter(&log))
		c.Authorizer = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ })
		c.Routes = []core.Route{{Name: "orders", Match: "POST /orders", Authorize: "/auth"}}
	})
	for _, address := range []string{i.URI, i.outcome} {
		wantProblem(t, b.do("GET", address, ""), 503, "authorization-unavailable")
	}
	if asked != 0 {
		t.Errorf("asked %d times", asked)
	}
	if n := strings.Count(log.String(), "from before its route had authorize"); n != 1 {
		t.Errorf("said %d times in a minute", n)
	}
}

// issuer signs tokens that a gate believes.
type issuer struct {
	key  ed25519.PrivateKey
	file string
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k, err := jwkset.NewJWKFromKey(key.Public(), jwkset.JWKOptions{})
	if err != nil {
		t.Fatal(err)
	}
	set, err := json.Marshal(jwkset.JWKSMarshal{Keys: []jwkset.JWKMarshal{k.Marshal()}})
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{key: key, file: filepath.Join(t.TempDir(), "jwks.json")}
	if err := os.WriteFile(i.file, set, 0o600); err != nil {
		t.Fatal(err)
	}
	return i
}

func (i *issuer) token(t *testing.T, claims jwt.MapClaims) string {
	t.Helper()
	text, err := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims).SignedString(i.key)
	if err != nil {
		t.Fatal(err)
	}
	return "Authorization: Bearer " + text
}

// A refreshed token is the same principal where it can be verified. Where it cannot, the same key under another token never executes twice.
func TestRefreshedToken(t *testing.T) {
	id := newIssuer(t)
	for _, principal := range []string{"authorization", "jwt:sub", "jwt:org"} {
		b := newBench(t, func(c *core.Config) {
			v, err := bearer.Open(bearer.Config{File: id.file, Clock: c.Clock})
			if err != nil {
				t.Fatal(err)
			}
			c.Bearer = v
			c.Routes = []core.Route{{Name: "orders", Match: "POST /orders", Principal: principal}}
		})
		token := func(sub, org string, after time.Duration) string {
			at := b.clock().Add(after)
			return id.token(t, jwt.MapClaims{"iss": "i", "sub": sub, "org": org, "iat": at.Unix(), "exp": at.Add(time.Hour).Unix()})
		}
		send := func(who string) *http.Response { return b.do("POST", "/orders", "apples", who, uuidKey) }
		send(token("ann", "acme", -time.Minute))
		if res := send(token("ann", "acme", 0)); res.StatusCode != 201 || res.Header.Get("Idempotent-Replayed") != "true" {
			t.Errorf("%s, refreshed: %d %v", principal, res.StatusCode, res.Header)
		}
		other := token("bob", "acme", 0)
		if principal == "jwt:org" {
			other = token("ann", "evil", 0)
		}
		for name, who := range map[string]string{
			"another": other, "expired": token("ann", "acme", -2*time.Hour), "unverified": token("ann", "acme", 0) + "x", "nobody": "X: y",
		} {
			if res := send(who); res.StatusCode != 409 {
				t.Errorf("%s, %s: %d", principal, name, res.StatusCode)
			}
		}
		if n := b.executed.Load(); n != 1 {
			t.Errorf("%s: executed %d times", principal, n)
		}
	}
}
