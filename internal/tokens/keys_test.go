package tokens_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postonce/poe/internal/tokens"
)

type keyMistake struct {
	name, file, says string
}

func keyMistakes() []keyMistake {
	one := func(old, text string) string {
		if !strings.Contains(jwkHS(signs), old) {
			panic("no " + old)
		}
		return string(keySet(strings.Replace(jwkHS(signs), old, text, 1)))
	}
	ed := func(old, text string) string {
		if !strings.Contains(jwkEd(signs), old) {
			panic("no " + old)
		}
		return string(keySet(strings.Replace(jwkEd(signs), old, text, 1)))
	}
	k, seed, x := b64(secret()), b64(private().Seed()), b64(private()[32:])
	return []keyMistake{
		{"empty", "", "not JSON"},
		{"not JSON", "keys: []", "not JSON"},
		{"cut off", `{"keys":[` + jwkHS(signs), "not JSON"},
		{"two documents", string(keySet(jwkHS(signs))) + "{}", "not JSON"},
		{"not UTF-8", "{\"keys\":[],\"a\":\"\xff\"}", "not JSON"},
		{"an array", "[]", "not a JWK Set"},
		{"a key that is no object", `{"keys":[1]}`, "not a JWK Set"},
		{"iat a string", one(`"kid"`, `"iat":"now","kid"`), "not a JWK Set"},
		{"iat a fraction", one(`"kid"`, `"iat":1.5,"kid"`), "not a JWK Set"},
		{"k a number", one(`"`+k+`"`, `12345678901234567890123456789012`), "not a JWK Set"},
		{"keys twice", `{"keys":[],"keys":[` + jwkHS(signs) + `]}`, "same name"},
		{"k twice", one(`"kid"`, `"k":"AAAA","kid"`), "same name"},
		{"an unknown member twice", one(`"kid"`, `"n":1,"n":2,"kid"`), "same name"},
		{"no keys", `{"keys":[]}`, "there are none"},
		{"keys null", `{"keys":null}`, "there are none"},
		{"keys absent", `{}`, "there are none"},
		{"keys in capitals", `{"KEYS":[` + jwkHS(signs) + `]}`, "there are none"},
		{"no kid", one(`"kid":"hs",`, ``), "kid must be"},
		{"kid in capitals", one(`"kid"`, `"KID"`), "kid must be"},
		{"kid with a quote", one(`"hs"`, `"h\"s"`), "kid must be"},
		{"kid too long", one(`"hs"`, `"`+strings.Repeat("h", 65)+`"`), "kid must be"},
		{"kid twice", string(keySet(jwkHS(signs), strings.Replace(jwkEd(verifies), `"ed"`, `"hs"`, 1))), "same kid"},
		{"two keys that sign", string(keySet(jwkHS(signs), jwkEd(signs))), `key "hs" signs already`},
		{"use enc", one(`"kid"`, `"use":"enc","kid"`), `use must be "sig"`},
		{"iat negative", one(`"kid"`, `"iat":-1,"kid"`), "iat must be"},
		{"no key_ops", one(`"key_ops":`+signs+`,`, ``), "key_ops must be"},
		{"key_ops empty", one(signs, `[]`), "key_ops must be"},
		{"key_ops only sign", one(signs, `["sign"]`), "key_ops must be"},
		{"key_ops repeated", one(signs, `["verify","verify"]`), "key_ops must be"},
		{"key_ops of encryption", one(signs, `["sign","verify","encrypt"]`), "key_ops must be"},
		{"no alg", one(`"alg":"HS256",`, ``), "alg must be"},
		{"alg none", one("HS256", "none"), "alg must be"},
		{"alg HS512", one("HS256", "HS512"), "alg must be"},
		{"alg RS256", one("HS256", "RS256"), "alg must be"},
		{"secret called EdDSA", one("HS256", "EdDSA"), `kty "OKP"`},
		{"HS256 of another kty", one(`"oct"`, `"RSA"`), `kty "oct"`},
		{"HS256 with x", one(`"kid"`, `"x":"`+x+`","kid"`), `kty "oct"`},
		{"no k", one(`,"k":"`+k+`"`, ``), "at least 32 bytes, not 0"},
		{"short k", one(k, b64(secret()[:31])), "at least 32 bytes, not 31"},
		{"padded k", one(k, k+"="), "k must be base64url"},
		{"k in plain base64", one(k, "+/"+k[2:]), "k must be base64url"},
		{"k with a line end", one(k, k[:4]+`\n`+k[4:]), "k must be base64url"},
		{"k with loose bits", one(k, lastChanged(k)), "k must be base64url"},
		{"Ed25519 called HS256", ed("EdDSA", "HS256"), `kty "oct"`},
		{"EdDSA of another kty", ed(`"OKP"`, `"EC"`), `kty "OKP"`},
		{"EdDSA with k", ed(`"kid"`, `"k":"`+k+`","kid"`), `kty "OKP"`},
		{"another curve", ed("Ed25519", "Ed448"), `crv "Ed25519"`},
		{"no curve", ed(`"crv":"Ed25519",`, ``), `crv "Ed25519"`},
		{"no x", ed(`"x":"`+x+`",`, ``), "x must be 32 bytes"},
		{"short x", ed(x, x[:40]), "x must be 32 bytes"},
		{"d absent in a key that signs", ed(`,"d":"`+seed+`"`, ``), "d must be there"},
		{"short d", ed(seed, seed[:40]), "d must be 32 bytes"},
		{"d of another key", ed(seed, b64(secret())), "not the private half"},
		{"d of another key, verifying", strings.Replace(ed(seed, b64(secret())), signs, verifies, 1), "not the private half"},
	}
}

func TestParseKeysRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range keyMistakes() {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			keys, err := tokens.ParseKeys([]byte(tt.file))
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Fatalf("err = %v, want it to say %q", err, tt.says)
			}
			if len(keys.List()) != 0 {
				t.Errorf("keys come with the error: %v", keys.List())
			}
			for _, part := range []string{b64(secret())[:8], b64(private().Seed())[:8], "12345678"} {
				if strings.Contains(err.Error(), part) {
					t.Errorf("the error tells a secret: %v", err)
				}
			}
		})
	}
}

func TestParseKeysReportsEveryMistake(t *testing.T) {
	t.Parallel()
	_, err := tokens.ParseKeys(keySet(strings.Replace(jwkHS(signs), "HS256", "none", 1), jwkEd(signs), `{"kid":"third"}`))
	if err == nil || !strings.Contains(err.Error(), `kid "hs"`) || !strings.Contains(err.Error(), `kid "third"`) {
		t.Errorf("err = %v, want both mistakes", err)
	}
}

func TestParseKeysIgnoresWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	file := `{"ledger":"` + audience + `","keys":[` +
		strings.Replace(jwkHS(`["verify","sign"]`), `"kid"`, `"iat":1795300000,"use":"sig","x5t":"AAAA","note":{"by":["me"]},"kid"`, 1) + `,` +
		jwkEd(verifies) + `]}`
	keys, err := tokens.ParseKeys([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	want := []tokens.KeyInfo{
		{ID: "hs", Alg: tokens.HS256, Signing: true, Created: now()},
		{ID: "ed", Alg: tokens.EdDSA, Created: time.Time{}},
	}
	if diff := cmp.Diff(want, keys.List()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
