package tokens_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/postonce/poe/internal/tokens"
)

func full() tokens.Claims {
	c := claims()
	c.Principal = [32]byte(secret())
	c.Digest = [32]byte{31: 1}
	c.Callback = "https://hooks.example.com/done?a=1&b=<2>"
	return c
}

func TestWhatIsMintedIsVerified(t *testing.T) {
	t.Parallel()
	later := claims()
	later.NotBefore = now().Add(2 * time.Second)
	put := claims()
	put.Method, put.Target = "PUT", "/"
	odd := claims()
	odd.Target = `/é/"quoted"\%2F%00?a=<b>&c='d'&e=//x`
	tests := map[string]tokens.Claims{
		"least": claims(), "full": full(), "nbf later": later, "PUT": put, "odd target": odd,
		"PATCH":  {ID: id(), Issued: now(), NotBefore: now(), Expires: now().Add(time.Second), Method: "PATCH", Target: "/a"},
		"DELETE": {ID: id(), Issued: now(), NotBefore: now(), Expires: now().Add(400 * 24 * time.Hour), Method: "DELETE", Target: "/a?"},
	}
	rings := map[string]*tokens.Ring{
		"HS256":    ringOf(t, tokens.Config{}, jwkHS(signs), jwkEd(verifies)),
		"EdDSA":    ringOf(t, tokens.Config{}, jwkHS(verifies), jwkEd(signs)),
		"no cache": ringOf(t, tokens.Config{Cache: -1}, jwkHS(signs)),
	}
	for alg, ring := range rings {
		for name, want := range tests {
			t.Run(alg+" "+name, func(t *testing.T) {
				t.Parallel()
				token := mint(t, ring, want)
				for _, way := range []string{"first", "again"} {
					got, err := ring.Verify(token, now())
					if err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("%s (-minted +verified):\n%s", way, diff)
					}
				}
			})
		}
	}
}

func TestMintCarriesWholeSeconds(t *testing.T) {
	t.Parallel()
	ring := ringOf(t, tokens.Config{}, jwkHS(signs))
	zone := time.FixedZone("east", 3600)
	c := claims()
	c.Issued = now().Add(700 * time.Millisecond).In(zone)
	c.NotBefore = time.Time{}
	c.Expires = now().Add(1900 * time.Millisecond)
	got, err := ring.Verify(mint(t, ring, c), now())
	if err != nil {
		t.Fatal(err)
	}
	want := claims()
	want.Expires = now().Add(time.Second)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got.Issued.Location() != time.UTC {
		t.Errorf("Issued is in %s", got.Issued.Location())
	}
}

func TestMintRefusesClaims(t *testing.T) {
	t.Parallel()
	ring := ringOf(t, tokens.Config{MaxLifetime: time.Hour}, jwkHS(signs))
	tests := []struct {
		name   string
		change func(*tokens.Claims)
		says   string
	}{
		{"no id", func(c *tokens.Claims) { c.ID = uuid.UUID{} }, "jti"},
		{"a UUIDv4", func(c *tokens.Claims) { c.ID[6] = 0x40 }, "jti"},
		{"no method", func(c *tokens.Claims) { c.Method = "" }, "htm"},
		{"GET", func(c *tokens.Claims) { c.Method = "GET" }, "htm"},
		{"no target", func(c *tokens.Claims) { c.Target = "" }, "htu"},
		{"another host", func(c *tokens.Claims) { c.Target = "//evil.example" }, "htu"},
		{"another host to a browser", func(c *tokens.Claims) { c.Target = `/\evil.example` }, "htu"},
		{"a line end", func(c *tokens.Claims) { c.Target = "/a\n" }, "htu"},
		{"a target that is not UTF-8", func(c *tokens.Claims) { c.Target = "/\xff" }, "htu"},
		{"a callback that is not UTF-8", func(c *tokens.Claims) { c.Callback = "\xff" }, "cb"},
		{"no times", func(c *tokens.Claims) { c.Issued, c.NotBefore, c.Expires = time.Time{}, time.Time{}, time.Time{} }, "time"},
		{"before 1970", func(c *tokens.Claims) { c.Issued = time.Unix(-1, 0) }, "time"},
		{"after 9999", func(c *tokens.Claims) { c.Expires = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }, "time"},
		{"no end", func(c *tokens.Claims) { c.Expires = time.Time{} }, "time"},
		{"over at once", func(c *tokens.Claims) { c.Expires = c.Issued }, "lifetime"},
		{"over within its second", func(c *tokens.Claims) { c.Expires = c.Issued.Add(999 * time.Millisecond) }, "lifetime"},
		{"over before it begins", func(c *tokens.Claims) { c.NotBefore = c.Expires }, "lifetime"},
		{"too long a life", func(c *tokens.Claims) { c.Expires = c.Issued.Add(time.Hour + time.Second) }, "lifetime"},
		{"too long a target", func(c *tokens.Claims) { c.Target = "/" + strings.Repeat("a", 3000) }, "4096 at most"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := claims()
			tt.change(&c)
			token, err := ring.Mint(c)
			if !errors.Is(err, tokens.ErrClaims) || token != "" {
				t.Fatalf("Mint = %q, %v; want ErrClaims", token, err)
			}
			if !strings.HasSuffix(err.Error(), " "+tt.says) {
				t.Errorf("error %q does not end in %q", err, tt.says)
			}
		})
	}
}

// The longest token that Mint makes is one that Verify reads.
func TestMintAndVerifyAgreeOnTheLongestToken(t *testing.T) {
	t.Parallel()
	ring := ringOf(t, tokens.Config{}, jwkHS(signs))
	c, longest := claims(), 0
	for n := 2500; ; n++ {
		c.Target = "/" + strings.Repeat("a", n)
		token, err := ring.Mint(c)
		if err != nil {
			break
		}
		if _, err := ring.Verify(token, now()); err != nil {
			t.Fatalf("a token of %d octets was minted: %v", len(token), err)
		}
		longest = len(token)
	}
	if longest < tokens.MaxLength-2 {
		t.Errorf("the longest token has %d octets, want about %d", longest, tokens.MaxLength)
	}
}

// That a token has expired is not Verify's to judge.
func TestExpiry(t *testing.T) {
	t.Parallel()
	c := claims()
	ring := ringOf(t, tokens.Config{}, jwkHS(signs))
	token := mint(t, ring, c)
	for _, at := range []time.Time{now(), c.Expires, c.Expires.Add(tokens.Skew), c.Expires.AddDate(20, 0, 0)} {
		if _, err := ring.Verify(token, at); err != nil {
			t.Errorf("at %s: %v", at, err)
		}
	}
}

// A remembered token is still one from the future for a clock that is behind.
func TestRememberedTokenIsCheckedAgainstTheClock(t *testing.T) {
	t.Parallel()
	ring := ringOf(t, tokens.Config{}, jwkHS(signs))
	token := mint(t, ring, claims())
	if _, err := ring.Verify(token, now()); err != nil {
		t.Fatal(err)
	}
	got, err := ring.Verify(token, now().Add(-tokens.Skew-time.Second))
	if tokens.Reason(err) != "nbf" || !errors.Is(err, tokens.ErrInvalid) || !errors.Is(err, tokens.ErrEarly) {
		t.Errorf("err = %v, want nbf", err)
	}
	if got.ID != id() { // who knows the action knows what became of it
		t.Errorf("the claims do not come with it: %v", got)
	}
	if _, err := ring.Verify("forged", now()); errors.Is(err, tokens.ErrEarly) {
		t.Errorf("a forged token is told to be early: %v", err)
	}
}

// More tokens than the cache holds cost time, never truth; and two that share a beginning are two.
func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	ring := ringOf(t, tokens.Config{Cache: 2}, jwkHS(signs))
	all := map[string]uuid.UUID{}
	for i := range byte(20) {
		c := claims()
		c.ID[15] = i
		all[mint(t, ring, c)] = c.ID
	}
	for range 3 {
		for token, want := range all {
			got, err := ring.Verify(token, now())
			if err != nil || got.ID != want {
				t.Fatalf("Verify = %s, %v; want %s", got.ID, err, want)
			}
		}
	}
	for token := range all {
		if _, err := ring.Verify(token+"A", now()); !errors.Is(err, tokens.ErrInvalid) {
			t.Errorf("a longer spelling of a remembered token: %v", err)
		}
	}
}

func TestRingOfAnotherLedgerOrKeyRefuses(t *testing.T) {
	t.Parallel()
	mine := ringOf(t, tokens.Config{}, jwkHS(signs))
	other := ringOf(t, tokens.Config{Audience: "another ledger"}, jwkHS(signs))
	foreign, err := tokens.Ephemeral(tokens.Config{Audience: audience}, strings.NewReader(strings.Repeat("r", 64)))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct {
		ring   *tokens.Ring
		reason string
	}{"ledger": {other, "aud"}, "key": {foreign, "kid"}} {
		if _, err := want.ring.Verify(mint(t, mine, claims()), now()); tokens.Reason(err) != want.reason {
			t.Errorf("another %s: %v, want %s", name, err, want.reason)
		}
	}
	if _, err := foreign.Verify(mint(t, foreign, claims()), now()); err != nil {
		t.Errorf("its own token: %v", err)
	}
}

func TestVerifyOnlyRingDoesNotMint(t *testing.T) {
	t.Parallel()
	signer := ringOf(t, tokens.Config{}, jwkEd(signs))
	for name, verifier := range map[string]*tokens.Ring{
		"public half": ringOf(t, tokens.Config{}, jwkEd(verifies)),
		"both halves": ringOf(t, tokens.Config{}, strings.Replace(jwkEd(signs), signs, verifies, 1)),
	} {
		if _, err := verifier.Mint(claims()); !errors.Is(err, tokens.ErrNoSigningKey) {
			t.Errorf("%s: Mint = %v, want ErrNoSigningKey", name, err)
		}
		if _, err := verifier.Verify(mint(t, signer, claims()), now()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNewRingReportsEveryMistake(t *testing.T) {
	t.Parallel()
	_, err := tokens.NewRing(tokens.Config{MaxLifetime: -1}, tokens.Keys{})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"no audience", "negative", "no keys"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	if _, err := tokens.Ephemeral(tokens.Config{Audience: audience}, strings.NewReader("short")); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("randomness that ends: %v", err)
	}
}

// What we mint is plain JWT: any library that is told what to expect reads it.
func TestInterop(t *testing.T) {
	t.Parallel()
	keys := map[string]struct {
		ring   *tokens.Ring
		key    any
		header map[string]any
	}{
		"HS256": {ringOf(t, tokens.Config{}, jwkHS(signs)), secret(), map[string]any{"alg": "HS256", "kid": "hs", "typ": "poe+jwt"}},
		"EdDSA": {ringOf(t, tokens.Config{}, jwkEd(signs)), private().Public(), map[string]any{"alg": "EdDSA", "kid": "ed", "typ": "poe+jwt"}},
	}
	want := map[string]any{
		"iss": "poe", "aud": audience, "jti": id().String(), "iat": 1795300000.0, "nbf": 1795300000.0, "exp": 1795303600.0,
		"htm": "POST", "htu": "/orders?x=1", "sub": b64(secret()), "bdg": b64(append(make([]byte, 31), 1)),
		"cb": "https://hooks.example.com/done?a=1&b=<2>",
	}
	for alg, k := range keys {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			parser := jwt.NewParser(jwt.WithValidMethods([]string{alg}), jwt.WithIssuer("poe"), jwt.WithAudience(audience), jwt.WithStrictDecoding(),
				jwt.WithExpirationRequired(), jwt.WithNotBeforeRequired(), jwt.WithIssuedAt(), jwt.WithTimeFunc(now))
			got, err := parser.Parse(mint(t, k.ring, full()), func(*jwt.Token) (any, error) { return k.key, nil })
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(k.header, got.Header); diff != "" {
				t.Errorf("header (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(want, maps.Collect(maps.All(got.Claims.(jwt.MapClaims)))); diff != "" {
				t.Errorf("claims (-want +got):\n%s", diff)
			}
		})
	}
}

// The bytes of a token are part of the wire contract: they do not change by themselves.
func TestKnownAnswer(t *testing.T) {
	t.Parallel()
	got := mint(t, ringOf(t, tokens.Config{}, jwkHS(signs)), claims())
	if want := sign(goodHeader, goodBody); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	head, err := base64.RawURLEncoding.DecodeString(got[:strings.IndexByte(got, '.')])
	if err != nil {
		t.Fatal(err)
	}
	var h map[string]string
	if err := json.Unmarshal(head, &h); err != nil || len(h) != 3 {
		t.Errorf("header %s: %v", head, err)
	}
}

// A token that was here before is known as one. That it was not is no proof, and a ring that remembers nothing does not claim it.
func TestMeet(t *testing.T) {
	t.Parallel()
	ring := ringOf(t, tokens.Config{}, jwkHS(signs))
	other := claims()
	other.ID[15]++
	first, second := mint(t, ring, claims()), mint(t, ring, other)
	for i, tt := range []struct {
		token  string
		before bool
	}{{first, false}, {first, true}, {second, false}, {second, true}, {first, true}} {
		if _, before, err := ring.Meet(tt.token, now()); err != nil || before != tt.before {
			t.Errorf("%d: before %v, error %v", i, before, err)
		}
	}
	if _, before, err := ring.Meet(first[:len(first)-2], now()); err == nil || before {
		t.Errorf("forged: before %v, error %v", before, err)
	}
	forgetful := ringOf(t, tokens.Config{Cache: -1}, jwkHS(signs))
	if _, before, err := forgetful.Meet(first, now()); err != nil || !before {
		t.Errorf("a ring that remembers nothing: before %v, error %v", before, err)
	}
}
