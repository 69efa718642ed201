package tokens_test

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/postonce/poe/internal/tokens"
)

// What all tests share: one ledger, one moment, one key of each kind.
const audience = "018f4c1e-7a2b-7c3d-8e4f-5a6b7c8d9e0f"

func now() time.Time { return time.Unix(1795300000, 0).UTC() }

func secret() []byte { return []byte("0123456789abcdef0123456789ABCDEF") }

func private() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte("fedcba9876543210fedcba9876543210"))
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// jwkHS and jwkEd are the two keys as members of a key file.
func jwkHS(ops string) string {
	return `{"kid":"hs","kty":"oct","alg":"HS256","key_ops":` + ops + `,"k":"` + b64(secret()) + `"}`
}

func jwkEd(ops string) string {
	d := ""
	if strings.Contains(ops, "sign") {
		d = `,"d":"` + b64(private().Seed()) + `"`
	}
	x := private().Public().(ed25519.PublicKey)
	return `{"kid":"ed","kty":"OKP","alg":"EdDSA","key_ops":` + ops + `,"crv":"Ed25519","x":"` + b64(x) + `"` + d + `}`
}

const (
	signs    = `["sign","verify"]`
	verifies = `["verify"]`
)

func keySet(keys ...string) []byte { return []byte(`{"keys":[` + strings.Join(keys, ",") + `]}`) }

func ringOf(tb testing.TB, cfg tokens.Config, keys ...string) *tokens.Ring {
	tb.Helper()
	parsed, err := tokens.ParseKeys(keySet(keys...))
	if err != nil {
		tb.Fatal(err)
	}
	if cfg.Audience == "" {
		cfg.Audience = audience
	}
	r, err := tokens.NewRing(cfg, parsed)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func id() uuid.UUID { return uuid.MustParse("019a1b2c-3d4e-7f60-8a1b-2c3d4e5f6071") }

func claims() tokens.Claims {
	return tokens.Claims{
		ID: id(), Issued: now(), NotBefore: now(), Expires: now().Add(time.Hour),
		Method: "POST", Target: "/orders?x=1",
	}
}

func mint(tb testing.TB, r *tokens.Ring, c tokens.Claims) string {
	tb.Helper()
	token, err := r.Mint(c)
	if err != nil {
		tb.Fatal(err)
	}
	return token
}

// The header and the claims that the table of forgeries starts from. Signed as they are, they pass.
const (
	goodHeader = `{"alg":"HS256","kid":"hs","typ":"poe+jwt"}`
	goodBody   = `{"iss":"poe","aud":"` + audience + `","jti":"019a1b2c-3d4e-7f60-8a1b-2c3d4e5f6071",` +
		`"iat":1795300000,"nbf":1795300000,"exp":1795303600,"htm":"POST","htu":"/orders?x=1"}`
)

// sign makes a token of any header and claims, with the ring's own HS256 key unless told another.
func sign(header, body string) string { return signWith(secret(), header, body) }

func signWith(key []byte, header, body string) string {
	return signRaw(key, b64([]byte(header))+"."+b64([]byte(body)))
}

// signRaw signs two parts that are encoded already, well or not.
func signRaw(key []byte, parts string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(parts))
	return parts + "." + b64(mac.Sum(nil))
}

// body returns the good claims with one of them replaced by text.
func body(old, text string) string {
	if !strings.Contains(goodBody, old) {
		panic(fmt.Sprintf("no %s in the claims", old))
	}
	return strings.Replace(goodBody, old, text, 1)
}

// also returns the good claims with more members.
func also(members string) string { return strings.TrimSuffix(goodBody, "}") + "," + members + "}" }

func header(old, text string) string {
	if !strings.Contains(goodHeader, old) {
		panic(fmt.Sprintf("no %s in the header", old))
	}
	return strings.Replace(goodHeader, old, text, 1)
}

// unb64 decodes what it can.
func unb64(s string) string {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return s
	}
	return string(b)
}
