package bearer_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
	"github.com/rs/zerolog"

	"github.com/postonce/poe/internal/bearer"
)

var now = time.Unix(1_750_000_000, 0)

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// jwk is the public part of a key, with what change says of it.
func jwk(private crypto.Signer, change map[string]any) map[string]any {
	k := must(jwkset.NewJWKFromKey(private.Public(), jwkset.JWKOptions{}))
	var m map[string]any
	if err := json.Unmarshal(must(json.Marshal(k.Marshal())), &m); err != nil {
		panic(err)
	}
	maps.Copy(m, change)
	return m
}

func write(t *testing.T, file string, keys ...map[string]any) string {
	t.Helper()
	if file == "" {
		file = filepath.Join(t.TempDir(), "jwks.json")
	}
	if err := os.WriteFile(file, must(json.Marshal(map[string]any{"keys": keys})), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func open(t *testing.T, keys ...map[string]any) *bearer.Verifier {
	t.Helper()
	v, err := bearer.Open(bearer.Config{File: write(t, "", keys...), Clock: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func good() map[string]any {
	return map[string]any{"iss": "https://id.example.com", "sub": "ann", "exp": now.Unix() + 60, "iat": now.Unix(), "org": "acme", "n": 42}
}

func b64(v any) string { return base64.RawURLEncoding.EncodeToString(must(json.Marshal(v))) }

// sign makes a token out of a head and claims as they are, even where no library would.
func sign(method jwt.SigningMethod, key any, head, claims string) string {
	text := head + "." + claims
	sig := must(method.Sign(text, key))
	return "Bearer " + text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func TestClaims(t *testing.T) {
	ec := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	v := open(t, jwk(rsaKey(), map[string]any{"kid": "r", "use": "sig", "alg": "PS256"}), jwk(ec, map[string]any{"kid": "e"}), jwk(ed, map[string]any{"kid": "d"}))
	for _, tc := range []struct {
		kid    string
		method jwt.SigningMethod
		key    any
	}{{"r", jwt.SigningMethodPS256, rsaKey()}, {"e", jwt.SigningMethodES256, ec}, {"d", jwt.SigningMethodEdDSA, ed}} {
		for _, scheme := range []string{"Bearer ", "bearer ", "BEARER "} {
			token := sign(tc.method, tc.key, b64(map[string]any{"alg": tc.method.Alg(), "kid": tc.kid, "typ": "JWT"}), b64(good()))
			c, err := v.Claims(scheme + strings.TrimPrefix(token, "Bearer "))
			if err != nil || c.Issuer != "https://id.example.com" || c.Subject != "ann" {
				t.Errorf("%s: %+v, %v", tc.kid, c, err)
			}
			for name, want := range map[string]string{"org": "acme", "n": "42", "ORG": "", "none": "", "exp": "1750000060"} {
				if got, ok := c.Text(name); got != want || ok != (want != "") {
					t.Errorf("%s: %q, %v", name, got, ok)
				}
			}
		}
	}
	v = open(t, jwk(rsaKey(), nil)) // one key, and nobody names it
	if _, err := v.Claims(sign(jwt.SigningMethodRS256, rsaKey(), b64(map[string]any{"alg": "RS256"}), b64(good()))); err != nil {
		t.Error(err)
	}
}

// A token that its issuer made for another service says nothing here.
func TestAudience(t *testing.T) {
	v, err := bearer.Open(bearer.Config{File: write(t, "", jwk(rsaKey(), nil)), Audience: "https://api.example.com", Clock: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		aud any
		ok  bool
	}{
		"ours":          {"https://api.example.com", true},
		"ours, a list":  {[]string{"https://else.example.com", "https://api.example.com"}, true},
		"another's":     {"https://else.example.com", false},
		"begins alike":  {"https://api.example.com/", false},
		"no audience":   {nil, false},
		"an empty list": {[]string{}, false},
		"not a text":    {7, false},
	} {
		claims := good()
		if tc.aud != nil {
			claims["aud"] = tc.aud
		}
		_, err := v.Claims(sign(jwt.SigningMethodRS256, rsaKey(), b64(map[string]any{"alg": "RS256"}), b64(claims)))
		if (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A token of the wrong time is not to be believed, and tells all the same whose it is: as long as nothing else is wrong with it.
func TestUntimely(t *testing.T) {
	v, err := bearer.Open(bearer.Config{File: write(t, "", jwk(rsaKey(), nil)), Audience: "us", Clock: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]map[string]any{
		"expired":              {"exp": now.Unix() - 6},
		"long ago":             {"exp": 1},
		"not yet":              {"nbf": now.Unix() + 60},
		"issued in the future": {"iat": now.Unix() + 60},
		"all of it":            {"exp": now.Unix() - 6, "nbf": now.Unix() + 60, "iat": now.Unix() + 60},
	} {
		for aud, ours := range map[string]bool{"us": true, "them": false} {
			claims := good()
			claims["aud"] = aud
			maps.Copy(claims, change)
			c, err := v.Claims(sign(jwt.SigningMethodRS256, rsaKey(), b64(map[string]any{"alg": "RS256"}), b64(claims)))
			if !errors.Is(err, bearer.ErrUnverified) || errors.Is(err, bearer.ErrUntimely) != ours || (c.Subject == "ann") != ours {
				t.Errorf("%s, for %s: %+v, %v", name, aud, c, err)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	key, rs := rsaKey(), jwt.SigningMethodRS256
	ec := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	v := open(t, jwk(key, map[string]any{"kid": "r", "alg": "RS256"}), jwk(ec, map[string]any{"kid": "e"}),
		jwk(must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), map[string]any{"kid": "enc", "use": "enc"}))
	head := func(change map[string]any) string {
		h := map[string]any{"alg": "RS256", "kid": "r"}
		maps.Copy(h, change)
		return b64(h)
	}
	with := func(change map[string]any) string {
		c := good()
		maps.Copy(c, change)
		for name, value := range c {
			if value == nil {
				delete(c, name)
			}
		}
		return b64(c)
	}
	raw := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	fine := sign(rs, key, head(nil), with(nil))
	if _, err := v.Claims(fine); err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(key.Public()))})
	parts := strings.Split(strings.TrimPrefix(fine, "Bearer "), ".")
	const members = `"iss":"https://id.example.com","exp":1750000060`
	for name, token := range map[string]string{
		"nothing":                   "",
		"basic":                     "Basic YTpi",
		"no token":                  "Bearer",
		"garbage":                   "Bearer x.y.z",
		"two parts":                 "Bearer " + parts[0] + "." + parts[1],
		"four parts":                fine + ".x",
		"encrypted":                 "Bearer a.b.c.d.e",
		"HS256 with the public key": sign(jwt.SigningMethodHS256, public, head(map[string]any{"alg": "HS256"}), with(nil)),
		"none":                      sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, head(map[string]any{"alg": "none"}), with(nil)),
		"None":                      "Bearer " + head(map[string]any{"alg": "None"}) + "." + with(nil) + ".",
		"another algorithm":         sign(jwt.SigningMethodPS256, key, head(map[string]any{"alg": "PS256"}), with(nil)),
		"another key":               sign(jwt.SigningMethodES256, must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), head(map[string]any{"alg": "ES256", "kid": "e"}), with(nil)),
		"another key's kid":         sign(rs, key, head(map[string]any{"kid": "e"}), with(nil)),
		"an unknown kid":            sign(rs, key, head(map[string]any{"kid": "x"}), with(nil)),
		"an encryption key":         sign(rs, key, head(map[string]any{"kid": "enc"}), with(nil)),
		"no kid, several keys":      sign(rs, key, b64(map[string]any{"alg": "RS256"}), with(nil)),
		"kid is a number":           sign(rs, key, head(map[string]any{"kid": 1}), with(nil)),
		"crit":                      sign(rs, key, head(map[string]any{"crit": []string{"x"}}), with(nil)),
		"crit empty":                sign(rs, key, head(map[string]any{"crit": nil}), with(nil)),
		"no exp":                    sign(rs, key, head(nil), with(map[string]any{"exp": nil})),
		"exp is a text":             sign(rs, key, head(nil), with(map[string]any{"exp": "1750000060"})),
		"no exp, and not yet":       sign(rs, key, head(nil), with(map[string]any{"exp": nil, "nbf": now.Unix() + 60})),
		"expired, iat is a text":    sign(rs, key, head(nil), with(map[string]any{"exp": now.Unix() - 6, "iat": "x"})),
		"expired, no sub":           sign(rs, key, head(nil), with(map[string]any{"exp": now.Unix() - 6, "sub": nil})),
		"expired, sub twice":        sign(rs, key, head(nil), raw(`{"iss":"https://id.example.com","exp":1,"sub":"bob","sub":"ann"}`)),
		"expired, tampered":         "Bearer " + parts[0] + "." + with(map[string]any{"exp": now.Unix() - 6}) + "." + parts[2],
		"no sub":                    sign(rs, key, head(nil), with(map[string]any{"sub": nil})),
		"empty sub":                 sign(rs, key, head(nil), with(map[string]any{"sub": ""})),
		"sub is a number":           sign(rs, key, head(nil), with(map[string]any{"sub": 1})),
		"a line in sub":             sign(rs, key, head(nil), with(map[string]any{"sub": "a\nb"})),
		"no iss":                    sign(rs, key, head(nil), with(map[string]any{"iss": nil})),
		"empty iss":                 sign(rs, key, head(nil), with(map[string]any{"iss": ""})),
		"only SUB":                  sign(rs, key, head(nil), raw(`{`+members+`,"SUB":"ann"}`)),
		"sub twice":                 sign(rs, key, head(nil), raw(`{`+members+`,"sub":"bob","sub":"ann"}`)),
		"alg twice":                 sign(rs, key, raw(`{"alg":"none","alg":"RS256","kid":"r"}`), with(nil)),
		"too long":                  sign(rs, key, head(nil), with(map[string]any{"x": strings.Repeat("x", 16<<10)})),
		"padded":                    fine + "=",
		"a space behind":            fine + " ",
		"tampered claims":           "Bearer " + parts[0] + "." + with(map[string]any{"sub": "bob"}) + "." + parts[2],
		"tampered signature":        "Bearer " + parts[0] + "." + parts[1] + "." + strings.ToUpper(parts[2]),
	} {
		c, err := v.Claims(token)
		if !errors.Is(err, bearer.ErrUnverified) || errors.Is(err, bearer.ErrUntimely) || c.Subject != "" {
			t.Errorf("%s: %+v, %v", name, c, err)
		} else if len(parts) == 3 && strings.Contains(err.Error(), parts[1][:12]) {
			t.Errorf("%s: the error tells the token: %v", name, err)
		}
	}
}

func TestSets(t *testing.T) {
	small := must(rsa.GenerateKey(rand.Reader, 1024))
	private := must(jwkset.NewJWKFromKey(rsaKey(), jwkset.JWKOptions{Marshal: jwkset.JWKMarshalOptions{Private: true}}))
	var secret map[string]any
	if err := json.Unmarshal(must(json.Marshal(private.Marshal())), &secret); err != nil {
		t.Fatal(err)
	}
	for name, keys := range map[string][]map[string]any{
		"none":         {},
		"encryption":   {jwk(rsaKey(), map[string]any{"use": "enc"})},
		"symmetric":    {{"kty": "oct", "k": "AAAA"}},
		"private":      {secret},
		"short":        {jwk(small, nil)},
		"one kid":      {jwk(rsaKey(), map[string]any{"kid": "a"}), jwk(rsaKey(), map[string]any{"kid": "a"})},
		"another alg":  {jwk(rsaKey(), map[string]any{"alg": "RSA-OAEP"})},
		"a broken one": {{"kty": "RSA", "n": "!", "e": "AQAB"}},
		"unknown":      {{"kty": "XX"}},
		"no type":      {{"n": "AQAB", "e": "AQAB"}, jwk(rsaKey(), nil)},
		"a secret too": {{"kty": "oct", "k": "AAAA"}, jwk(rsaKey(), nil)},
		"a new secret": {{"kty": "XX", "d": 7}, jwk(rsaKey(), nil)},
		"a secret use": {{"kty": "XX", "use": "sgi", "d": "AAAA"}, jwk(rsaKey(), nil)},
		"half broken":  {{"kty": "RSA", "n": "!", "e": "AQAB"}, jwk(rsaKey(), map[string]any{"kid": "a"})},
	} {
		_, err := bearer.Open(bearer.Config{File: write(t, "", keys...)})
		if err == nil || len(err.Error()) < 30 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := bearer.Open(bearer.Config{File: filepath.Join(t.TempDir(), "none")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// An issuer may have keys that are not for us, of kinds that did not exist when this was written (RFC 7517, section 5). They are passed over, and the log says so.
func TestUnknownKeysArePassedOver(t *testing.T) {
	ec := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	for name, strange := range map[string]map[string]any{
		"type":            {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA", "kid": "x"},
		"its own members": {"kty": "NEW", "x": []int{1}, "e": map[string]any{"a": 1}, "kid": "x"},
		"algorithm":       jwk(rsaKey(), map[string]any{"alg": "RSA-OAEP", "kid": "x"}),
		"curve":           {"kty": "EC", "crv": "secp256k1", "x": "AAAA", "y": "AAAA", "kid": "x"},
		"agreement":       {"kty": "OKP", "crv": "X25519", "x": "hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmo", "kid": "x"},
		"Ed448":           {"kty": "OKP", "crv": "Ed448", "x": "AAAA", "kid": "x"},
		"use":             jwk(rsaKey(), map[string]any{"use": "sgi", "kid": "x"}),
		"the same kid":    {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA", "kid": "r"},
	} {
		var log bytes.Buffer
		file := write(t, "", strange, jwk(rsaKey(), map[string]any{"kid": "r"}))
		v, err := bearer.Open(bearer.Config{File: file, Clock: func() time.Time { return now }, Log: zerolog.New(&log)})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, err := v.Claims(sign(jwt.SigningMethodRS256, rsaKey(), b64(map[string]any{"alg": "RS256", "kid": "r"}), b64(good()))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := v.Claims(sign(jwt.SigningMethodES256, ec, b64(map[string]any{"alg": "ES256", "kid": "x"}), b64(good()))); err == nil {
			t.Errorf("%s: a token of it is believed", name)
		}
		if strings.Count(log.String(), "passed over") != 1 || !strings.Contains(log.String(), `"key":1,`) || !strings.Contains(log.String(), "its tokens are not verified: it is ") {
			t.Errorf("%s: the log says %s", name, &log)
		}
	}
}

// A key that is in use does not become a stranger by a slip of a pen: whoever it spoke for would be another, and what he had done be done again.
func TestReloadPassesOverNoKeyInUse(t *testing.T) {
	ec := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	for name, id := range map[string]map[string]any{"with a kid": {"kid": "r"}, "without one": {}} {
		in := func(alg string) map[string]any {
			change := maps.Clone(id)
			change["alg"] = alg
			return jwk(rsaKey(), change)
		}
		file := write(t, "", in("RS256"))
		v, err := bearer.Open(bearer.Config{File: file, Clock: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		write(t, file, in("RS-256"), jwk(ec, map[string]any{"kid": "e"}))
		if err := v.Reload(); err == nil || !strings.Contains(err.Error(), `key 1, which is in use, is for the algorithm "RS-256"`) {
			t.Errorf("%s: %v", name, err)
		}
		head := maps.Clone(id)
		head["alg"] = "RS256"
		if _, err := v.Claims(sign(jwt.SigningMethodRS256, rsaKey(), b64(head), b64(good()))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Nor by a use that is another one. Of a key that was never in use, and is to encrypt, the log says nothing: many issuers have one.
func TestReloadKeepsTheUse(t *testing.T) {
	ec := jwk(must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), map[string]any{"kid": "e"})
	var log bytes.Buffer
	file := write(t, "", jwk(rsaKey(), map[string]any{"kid": "r", "use": "sig"}), jwk(rsaKey(), map[string]any{"kid": "x", "use": "enc"}))
	v, err := bearer.Open(bearer.Config{File: file, Clock: func() time.Time { return now }, Log: zerolog.New(&log)})
	if err != nil || log.Len() > 0 {
		t.Fatalf("%v: the log says %s", err, &log)
	}
	for _, use := range []string{"enc", "sgi"} {
		write(t, file, jwk(rsaKey(), map[string]any{"kid": "r", "use": use}), ec)
		if err := v.Reload(); err == nil || !strings.Contains(err.Error(), `key 1, which is in use, is for the use "`+use+`"`) {
			t.Errorf("%s: %v", use, err)
		}
		if _, err := v.Claims(sign(jwt.SigningMethodRS256, rsaKey(), b64(map[string]any{"alg": "RS256", "kid": "r"}), b64(good()))); err != nil {
			t.Errorf("%s: %v", use, err)
		}
	}
}

// A key that others have may bear the kid of one of ours (RFC 7517, section 4.5). A set that was taken at the start is taken again, and so is a rotation of it.
func TestReloadWithAStrangerOfTheSameKid(t *testing.T) {
	strange := map[string]any{"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA", "kid": "r"}
	file := write(t, "", strange, jwk(rsaKey(), map[string]any{"kid": "r"}))
	v, err := bearer.Open(bearer.Config{File: file, Clock: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Reload(); err != nil {
		t.Errorf("as it was: %v", err)
	}
	ec := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	write(t, file, strange, jwk(rsaKey(), map[string]any{"kid": "r"}), jwk(ec, map[string]any{"kid": "e"}))
	if err := v.Reload(); err != nil {
		t.Errorf("with one more: %v", err)
	}
	if _, err := v.Claims(sign(jwt.SigningMethodES256, ec, b64(map[string]any{"alg": "ES256", "kid": "e"}), b64(good()))); err != nil {
		t.Error(err)
	}
}

// After a rotation new tokens are believed and old ones are not; a broken file changes nothing.
func TestReload(t *testing.T) {
	other := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	file := write(t, "", jwk(rsaKey(), map[string]any{"kid": "old"}))
	v, err := bearer.Open(bearer.Config{File: file, Clock: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	before := sign(jwt.SigningMethodRS256, rsaKey(), b64(map[string]any{"alg": "RS256", "kid": "old"}), b64(good()))
	after := sign(jwt.SigningMethodES256, other, b64(map[string]any{"alg": "ES256", "kid": "new"}), b64(good()))
	believed := func(token string) bool {
		_, err := v.Claims(token)
		return err == nil
	}
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if v.Reload() == nil || !believed(before) || believed(after) {
		t.Error("a broken file has changed something")
	}
	write(t, file, jwk(other, map[string]any{"kid": "new"}))
	if err := v.Reload(); err != nil || believed(before) || !believed(after) {
		t.Errorf("after the rotation: %v", err)
	}
}
