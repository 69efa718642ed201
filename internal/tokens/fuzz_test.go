package tokens_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/postonce/poe/internal/tokens"
)

// FuzzVerify: no string makes Verify panic, and what passes is, octet for octet, what Mint makes of the same claims.
func FuzzVerify(f *testing.F) {
	hs := ringOf(f, tokens.Config{Cache: -1}, jwkHS(signs), jwkEd(verifies))
	ed := ringOf(f, tokens.Config{Cache: -1}, jwkHS(verifies), jwkEd(signs))
	for _, t := range forgeries(f) {
		if len(t.token) <= 2*tokens.MaxLength {
			f.Add(t.token)
		}
	}
	f.Add(mint(f, hs, full()))
	f.Add(mint(f, ed, full()))
	f.Fuzz(func(t *testing.T, token string) {
		got, err := hs.Verify(token, now())
		if err != nil {
			if got != (tokens.Claims{}) && !errors.Is(err, tokens.ErrEarly) || tokens.Reason(err) == "" {
				t.Fatalf("refused with %+v, %v", got, err)
			}
			return
		}
		if mint(t, hs, got) != token && mint(t, ed, got) != token {
			t.Fatalf("%q was not minted, and passes as %+v", token, got)
		}
	})
}

// FuzzClaims signs what it is given, so that the fuzzer gets behind the signature: no header and no claims make Verify panic,
// and what passes can be minted and means the same again.
func FuzzClaims(f *testing.F) {
	ring := ringOf(f, tokens.Config{Cache: -1}, jwkHS(signs))
	f.Add(goodHeader, goodBody)
	f.Add(goodHeader, also(`"sub":"`+b64(secret())+`","bdg":"`+b64(secret())+`","cb":"https://a.example/"`))
	for _, t := range forgeries(f) {
		parts := strings.Split(t.token, ".")
		if len(parts) == 3 && len(t.token) <= tokens.MaxLength {
			f.Add(unb64(parts[0]), unb64(parts[1]))
		}
	}
	f.Fuzz(func(t *testing.T, header, body string) {
		want, err := ring.Verify(sign(header, body), now())
		if err != nil {
			return
		}
		got, err := ring.Verify(mint(t, ring, want), now())
		if err != nil || got != want {
			t.Fatalf("%s passes as %+v, minted again as %+v, %v", body, want, got, err)
		}
		if life := want.Expires.Sub(want.Issued); life <= 0 || life > 400*24*time.Hour || want.Issued.After(now().Add(tokens.Skew)) {
			t.Fatalf("%s passes with times %+v", body, want)
		}
	})
}

// FuzzSpelling: what a token says does not depend on whether its claims are spelled as they are minted. A space is enough for the decoder to read
// them instead.
func FuzzSpelling(f *testing.F) {
	ring := ringOf(f, tokens.Config{Cache: -1}, jwkHS(signs))
	f.Add(goodBody)
	f.Add(also(`"sub":"` + b64(secret()) + `","bdg":"` + b64(secret()) + `","cb":"https://a.example/"`))
	f.Add(also(`"cb":"https://a.example/","bdg":"` + b64(secret()) + `"`))
	for _, change := range [][2]string{
		{`"iat":1`, `"iat":01`}, {`"iat":1`, `"iat":-1`}, {`"exp":1`, `"exp":10000000000001`}, {`/orders`, `/ord\u0065rs`}, {`/orders`, "/ord\xffers"}, {`/orders`, "/ord\ters"},
		{`POST`, `PO\u0053T`}, {`"htm"`, `"htu"`}, {`}`, `}}`}, {`}`, `,}`}, {`}`, ``}, {`"nbf":1795300000`, `"nbf":`}, {`/orders?x=1"`, ``}, {`}`, `,"cb":""}`},
	} {
		f.Add(strings.Replace(goodBody, change[0], change[1], 1))
	}
	f.Fuzz(func(t *testing.T, body string) {
		if !strings.HasPrefix(body, "{") {
			return
		}
		got, err := ring.Verify(sign(goodHeader, body), now())
		want, wanted := ring.Verify(sign(goodHeader, "{ "+body[1:]), now())
		if got != want || tokens.Reason(err) != tokens.Reason(wanted) {
			t.Fatalf("%q is %+v, %v; with a space %+v, %v", body, got, err, want, wanted)
		}
	})
}

// FuzzKeyFile: no file makes the parser panic, and keys that it takes mint what they verify.
func FuzzKeyFile(f *testing.F) {
	f.Add(keySet(jwkHS(signs), jwkEd(verifies)))
	f.Add(keySet(jwkEd(signs), jwkHS(verifies)))
	for _, m := range keyMistakes() {
		f.Add([]byte(m.file))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		keys, err := tokens.ParseKeys(file)
		if err != nil {
			return
		}
		ring, err := tokens.NewRing(tokens.Config{Audience: audience}, keys)
		if err != nil {
			t.Fatalf("the parser took a set of no keys: %v", err)
		}
		signing, ids := 0, map[string]bool{}
		for _, k := range keys.List() {
			ids[k.ID] = true
			if k.Signing {
				signing++
			}
		}
		if signing > 1 || len(ids) != len(keys.List()) {
			t.Fatalf("keys %+v", keys.List())
		}
		if signing == 1 {
			if got, err := ring.Verify(mint(t, ring, claims()), now()); err != nil || got != claims() {
				t.Fatalf("minted and verified as %+v, %v", got, err)
			}
		}
	})
}
