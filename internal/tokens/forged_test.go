package tokens_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/postonce/poe/internal/tokens"
)

// A forgery is a string that is no token, and the guard that has to say so.
type forgery struct {
	name, token, reason string
}

// lastChanged returns s with a last character that decodes to the same bytes where decoding is lenient.
func lastChanged(s string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return s[:len(s)-1] + string(alphabet[strings.IndexByte(alphabet, s[len(s)-1])^1])
}

// rs256 signs the good claims with an RSA key that nobody knows.
func rs256(tb testing.TB) string {
	tb.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		tb.Fatal(err)
	}
	parts := b64([]byte(header("HS256", "RS256"))) + "." + b64([]byte(goodBody))
	signature, err := jwt.SigningMethodRS256.Sign(parts, key)
	if err != nil {
		tb.Fatal(err)
	}
	return parts + "." + b64(signature)
}

func forgeries(tb testing.TB) []forgery {
	tb.Helper()
	good := sign(goodHeader, goodBody)
	parts := strings.Split(good, ".")
	edHeader := `{"alg":"EdDSA","kid":"ed","typ":"poe+jwt"}`
	public := private().Public().(ed25519.PublicKey)
	spki, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		tb.Fatal(err)
	}
	nested := strings.Repeat(`[`, 1200) + strings.Repeat(`]`, 1200)
	forged := func(h, b string) string { return signWith([]byte("another secret of thirty-two byte"), h, b) }
	padded := base64.URLEncoding.EncodeToString([]byte(goodHeader + " "))

	return []forgery{
		// The outside.
		{"empty", "", "length"},
		{"one octet too long", good + strings.Repeat("A", tokens.MaxLength+1-len(good)), "length"},
		{"21 MiB", strings.Repeat("A", 21<<20), "length"},
		{"signed and too long", sign(goodHeader, body("x=1", strings.Repeat("x", 4096))), "length"},
		{"no dot", "garbage", "syntax"},
		{"one dot", parts[0] + "." + parts[1], "syntax"},
		{"three dots", good + ".", "syntax"},
		{"five parts, as encryption has", good + ".AAAA.AAAA", "syntax"},
		{"only dots", "..", "syntax"},
		{"4096 dots", strings.Repeat(".", 4096), "syntax"},
		{"empty signature", parts[0] + "." + parts[1] + ".", "syntax"},
		{"empty header", signRaw(secret(), "."+parts[1]), "syntax"},
		{"empty claims", signRaw(secret(), parts[0]+"."), "syntax"},
		{"padding", good + "=", "syntax"},
		{"padding in the header", signRaw(secret(), padded+"."+parts[1]), "syntax"},
		{"space before", " " + good, "syntax"},
		{"space after", good + " ", "syntax"},
		{"line end after", good + "\n", "syntax"},
		{"CRLF within the signature", good[:len(good)-9] + "\r\n" + good[len(good)-9:], "syntax"},
		{"LF within signed claims", signRaw(secret(), parts[0]+"."+parts[1][:8]+"\n"+parts[1][8:]), "syntax"},
		{"NUL", good + "\x00", "syntax"},
		{"the alphabet of plain base64", strings.Replace(good, parts[2], "+/+/", 1), "syntax"},
		{"not ASCII", good + "é", "syntax"},
		{"as a bearer", "Bearer " + good, "syntax"},
		{"JSON serialization", `{"protected":"` + parts[0] + `","payload":"` + parts[1] + `","signature":"` + parts[2] + `"}`, "syntax"},

		// The header.
		{"header of impossible length", signRaw(secret(), "A."+parts[1]), "encoding"},
		{"header with loose bits", signRaw(secret(), lastChanged(b64([]byte(goodHeader+" ")))+"."+parts[1]), "encoding"},
		{"header not JSON", sign("alg=HS256", goodBody), "header"},
		{"header an array", sign(`["HS256","hs","poe+jwt"]`, goodBody), "header"},
		{"header a string", sign(`"HS256"`, goodBody), "header"},
		{"header null", sign(`null`, goodBody), "header"},
		{"header cut off", sign(goodHeader[:len(goodHeader)-1], goodBody), "header"},
		{"header with more behind", sign(goodHeader+goodHeader, goodBody), "header"},
		{"header not UTF-8", sign(header("hs", "hs\xff"), goodBody), "header"},
		{"header with a lone surrogate", sign(header("hs", `\ud800`), goodBody), "header"},
		{"alg a number", sign(header(`"HS256"`, `256`), goodBody), "header"},
		{"alg null", sign(header(`"HS256"`, `null`), goodBody), "header"},
		{"kid an array", sign(header(`"hs"`, `["hs"]`), goodBody), "header"},
		{"kid nested deep", sign(header(`"hs"`, nested), goodBody), "header"},
		{"alg twice", sign(header(`"alg":"HS256"`, `"alg":"none","alg":"HS256"`), goodBody), "duplicate"},
		{"kid twice, one escaped", sign(header(`"kid":"hs"`, `"kid":"hs","\u006bid":"hs"`), goodBody), "duplicate"},
		{"alg in capitals", sign(header(`"alg"`, `"ALG"`), goodBody), "field"},
		{"alg in both cases", sign(header(`"alg":"HS256"`, `"alg":"HS256","Alg":"none"`), goodBody), "field"},
		{"jku", sign(header(`"kid"`, `"jku":"https://evil.example/keys","kid"`), goodBody), "field"},
		{"x5u", sign(header(`"kid"`, `"x5u":"https://evil.example/cert","kid"`), goodBody), "field"},
		{"jwk", forged(header(`"kid"`, `"jwk":{"kty":"oct","k":"AAAA"},"kid"`), goodBody), "field"},
		{"b64", sign(header(`"kid"`, `"b64":false,"kid"`), goodBody), "field"},
		{"zip", sign(header(`"kid"`, `"zip":"DEF","kid"`), goodBody), "field"},
		{"crit", sign(header(`"kid"`, `"crit":["exp"],"kid"`), goodBody), "crit"},
		{"crit empty", sign(header(`"kid"`, `"crit":[],"kid"`), goodBody), "crit"},
		{"no typ", sign(`{"alg":"HS256","kid":"hs"}`, goodBody), "typ"},
		{"typ JWT", sign(header("poe+jwt", "JWT"), goodBody), "typ"},
		{"typ in capitals", sign(header("poe+jwt", "POE+JWT"), goodBody), "typ"},
		{"typ as a media type", sign(header("poe+jwt", "application/poe+jwt"), goodBody), "typ"},
		{"no kid", sign(`{"alg":"HS256","typ":"poe+jwt"}`, goodBody), "kid"},
		{"kid empty", sign(header(`"hs"`, `""`), goodBody), "kid"},
		{"kid of nobody", sign(header("hs", "xx"), goodBody), "kid"},
		{"kid a path", sign(header("hs", "../../../dev/null"), goodBody), "kid"},
		{"kid SQL", sign(header("hs", "' OR 1=1 --"), goodBody), "kid"},
		{"kid in capitals", sign(header("hs", "HS"), goodBody), "kid"},
		{"no alg", sign(`{"kid":"hs","typ":"poe+jwt"}`, goodBody), "alg"},
		{"none", b64([]byte(header("HS256", "none"))) + "." + parts[1] + ".AA", "alg"},
		{"none in mixed case", b64([]byte(header("HS256", "nOnE"))) + "." + parts[1] + ".AA", "alg"},
		{"HS512", sign(header("HS256", "HS512"), goodBody), "alg"},
		{"hs256", sign(header("HS256", "hs256"), goodBody), "alg"},
		{"RS256", rs256(tb), "alg"},
		{"public key as secret", signWith(public, header("hs", "ed"), goodBody), "alg"},
		{"public key as secret, in DER", signWith(spki, header("hs", "ed"), goodBody), "alg"},
		{"public key as secret, called EdDSA", signWith(public, edHeader, goodBody), "signature"},
		{"secret as seed, called HS256", edSign(ed25519.NewKeyFromSeed(secret()), goodHeader), "signature"},
		{"EdDSA for the HS256 key", edSign(private(), header("HS256", "EdDSA")), "alg"},

		// The signature.
		{"signed by another", forged(goodHeader, goodBody), "signature"},
		{"signed with nothing", signWith(nil, goodHeader, goodBody), "signature"},
		{"EdDSA signed by another", edSign(ed25519.NewKeyFromSeed(secret()), edHeader), "signature"},
		{"claims changed", strings.Replace(good, parts[1], b64([]byte(body("/orders", "/refunds"))), 1), "signature"},
		{"claims of another token", parts[0] + "." + b64([]byte(also(`"cb":"https://evil.example"`))) + "." + parts[2], "signature"},
		{"last character of the signature changed", lastChanged(good), "encoding"},
		{"signature of impossible length", good[:len(good)-2], "encoding"},
		{"signature short", good[:len(good)-3], "signature"},
		{"signature of one byte", parts[0] + "." + parts[1] + ".AA", "signature"},
		{"signature long", good + "AAAA", "signature"},
		{"forged claims are not parsed", forged(goodHeader, nested), "signature"},

		// The form of the claims, signed with our own key from here on.
		{"claims of impossible length", signRaw(secret(), parts[0]+"."+"A"), "encoding"},
		{"claims with loose bits", signRaw(secret(), parts[0]+"."+lastChanged(b64([]byte(goodBody+spaces())))), "encoding"},
		{"claims not JSON", sign(goodHeader, "hello"), "claims"},
		{"claims an array", sign(goodHeader, "["+goodBody+"]"), "claims"},
		{"claims null", sign(goodHeader, "null"), "claims"},
		{"claims nested deep", sign(goodHeader, nested), "claims"},
		{"claims cut off", sign(goodHeader, goodBody[:len(goodBody)-1]), "claims"},
		{"JSON behind the claims", sign(goodHeader, goodBody+`{"exp":1}`), "claims"},
		{"garbage behind the claims", sign(goodHeader, goodBody+"x"), "claims"},
		{"byte order mark", sign(goodHeader, "\ufeff"+goodBody), "claims"},
		{"claims with a comment", sign(goodHeader, "/**/"+goodBody), "claims"},
		{"claims not UTF-8", sign(goodHeader, body("/orders", "/\xff")), "claims"},
		{"target with a lone surrogate", sign(goodHeader, body("/orders", `/\ud800`)), "claims"},
		{"jti twice", sign(goodHeader, also(`"jti":"019a1b2c-3d4e-7f60-8a1b-2c3d4e5f6072"`)), "duplicate"},
		{"exp twice, the same", sign(goodHeader, also(`"exp":1795303600`)), "duplicate"},
		{"jti twice, one escaped", sign(goodHeader, also(`"\u006ati":"019a1b2c-3d4e-7f60-8a1b-2c3d4e5f6072"`)), "duplicate"},
		{"JTI beside jti", sign(goodHeader, also(`"JTI":"019a1b2c-3d4e-7f60-8a1b-2c3d4e5f6072"`)), "claim"},
		{"Jti for jti", sign(goodHeader, body(`"jti"`, `"Jti"`)), "claim"},
		{"EXP beside exp", sign(goodHeader, also(`"EXP":9999999999`)), "claim"},
		{"a claim of another program", sign(goodHeader, also(`"scope":"admin"`)), "claim"},
		{"an empty name", sign(goodHeader, also(`"":1`)), "claim"},

		// What must be there.
		{"nothing claimed", sign(goodHeader, "{}"), "missing"},
		{"no iss", sign(goodHeader, body(`"iss":"poe",`, ``)), "missing"},
		{"no aud", sign(goodHeader, body(`"aud":"`+audience+`",`, ``)), "missing"},
		{"no jti", sign(goodHeader, body(`"jti":"`+id().String()+`",`, ``)), "missing"},
		{"no iat", sign(goodHeader, body(`"iat":1795300000,`, ``)), "missing"},
		{"no nbf", sign(goodHeader, body(`"nbf":1795300000,`, ``)), "missing"},
		{"no exp", sign(goodHeader, body(`"exp":1795303600,`, ``)), "missing"},
		{"no htm", sign(goodHeader, body(`"htm":"POST",`, ``)), "missing"},
		{"no htu", sign(goodHeader, body(`,"htu":"/orders?x=1"`, ``)), "missing"},

		// What it must say.
		{"iss of another", sign(goodHeader, body(`"poe"`, `"POE"`)), "iss"},
		{"iss empty", sign(goodHeader, body(`"poe"`, `""`)), "iss"},
		{"iss a number", sign(goodHeader, body(`"poe"`, `1`)), "iss"},
		{"aud of another ledger", sign(goodHeader, body(audience, "018f4c1e-7a2b-7c3d-8e4f-5a6b7c8d9e10")), "aud"},
		{"aud in an array", sign(goodHeader, body(`"`+audience+`"`, `["`+audience+`"]`)), "aud"},
		{"aud in capitals", sign(goodHeader, body(audience, strings.ToUpper(audience))), "aud"},
		{"aud null", sign(goodHeader, body(`"`+audience+`"`, `null`)), "aud"},
		{"jti a UUIDv4", sign(goodHeader, body("-7f60-", "-4f60-")), "jti"},
		{"jti of another variant", sign(goodHeader, body("-8a1b-", "-ca1b-")), "jti"},
		{"jti in capitals", sign(goodHeader, body(id().String(), strings.ToUpper(id().String()))), "jti"},
		{"jti in braces", sign(goodHeader, body(id().String(), "{"+id().String()+"}")), "jti"},
		{"jti as a URN", sign(goodHeader, body(id().String(), "urn:uuid:"+id().String())), "jti"},
		{"jti without hyphens", sign(goodHeader, body(id().String(), strings.ReplaceAll(id().String(), "-", ""))), "jti"},
		{"jti with a space", sign(goodHeader, body(id().String(), id().String()+" ")), "jti"},
		{"jti empty", sign(goodHeader, body(id().String(), "")), "jti"},
		{"jti null", sign(goodHeader, body(`"`+id().String()+`"`, "null")), "jti"},
		{"htm GET", sign(goodHeader, body("POST", "GET")), "htm"},
		{"htm CONNECT", sign(goodHeader, body("POST", "CONNECT")), "htm"},
		{"htm in lower case", sign(goodHeader, body("POST", "post")), "htm"},
		{"htm empty", sign(goodHeader, body("POST", "")), "htm"},
		{"htm a list", sign(goodHeader, body(`"POST"`, `["POST","PUT"]`)), "htm"},
		{"htu empty", sign(goodHeader, body("/orders?x=1", "")), "htu"},
		{"htu relative", sign(goodHeader, body("/orders?x=1", "orders")), "htu"},
		{"htu another host", sign(goodHeader, body("/orders?x=1", "//evil.example/")), "htu"},
		{"htu another host to a browser", sign(goodHeader, body("/orders?x=1", `/\\evil.example/`)), "htu"},
		{"htu absolute", sign(goodHeader, body("/orders?x=1", "https://evil.example/")), "htu"},
		{"htu with CRLF", sign(goodHeader, body("x=1", `x=1\r\nHost: evil.example`)), "htu"},
		{"htu with NUL", sign(goodHeader, body("x=1", `x\u0000`)), "htu"},
		{"htu with DEL", sign(goodHeader, body("x=1", `x\u007f`)), "htu"},
		{"htu with a C1 control", sign(goodHeader, body("x=1", `x\u0085`)), "htu"},
		{"htu with a space", sign(goodHeader, body("x=1", `x HTTP/1.1`)), "htu"},
		{"htu with a fragment", sign(goodHeader, body("x=1", `x#y`)), "htu"},
		{"htu null", sign(goodHeader, body(`"/orders?x=1"`, "null")), "htu"},

		// Times.
		{"exp huge", sign(goodHeader, body("1795303600", "9000000000000000")), "time"},
		{"exp huge, with an exponent", sign(goodHeader, body("1795303600", "9e15")), "time"},
		{"exp after the year 9999", sign(goodHeader, body("1795303600", "253402300800")), "time"},
		{"exp over 64 bits", sign(goodHeader, body("1795303600", "18446744075504855216")), "time"},
		{"exp negative", sign(goodHeader, body("1795303600", "-1795303600")), "time"},
		{"exp a fraction", sign(goodHeader, body("1795303600", "1795303600.5")), "time"},
		{"exp a whole fraction", sign(goodHeader, body("1795303600", "1795303600.0")), "time"},
		{"exp a string", sign(goodHeader, body("1795303600", `"1795303600"`)), "time"},
		{"exp null", sign(goodHeader, body("1795303600", "null")), "time"},
		{"exp true", sign(goodHeader, body("1795303600", "true")), "time"},
		{"iat negative", sign(goodHeader, body(`"iat":1795300000`, `"iat":-1`)), "time"},
		{"nbf a string", sign(goodHeader, body(`"nbf":1795300000`, `"nbf":"0"`)), "time"},
		{"exp with a leading zero", sign(goodHeader, body("1795303600", "01795303600")), "claims"},
		{"exp not a number", sign(goodHeader, body("1795303600", "NaN")), "claims"},
		{"exp zero", sign(goodHeader, body("1795303600", "0")), "lifetime"},
		{"exp at iat", sign(goodHeader, body("1795303600", "1795300000")), "lifetime"},
		{"exp at iat, nbf before", sign(goodHeader, body(`1795300000,"nbf":1795300000`, `1795303600,"nbf":1795300000`)), "lifetime"},
		{"exp at nbf", sign(goodHeader, body(`"nbf":1795300000`, `"nbf":1795303600`)), "lifetime"},
		{"a second over the longest lifetime", sign(goodHeader, body("1795303600", "1829860001")), "lifetime"},
		{"iat 1970", sign(goodHeader, body(`"iat":1795300000`, `"iat":0`)), "lifetime"},
		{"nbf in the future", sign(goodHeader, body(`"nbf":1795300000`, `"nbf":1795300006`)), "nbf"},
		{"iat in the future", sign(goodHeader, body(`"iat":1795300000`, `"iat":1795300006`)), "iat"},

		// What may be there.
		{"sub empty", sign(goodHeader, also(`"sub":""`)), "sub"},
		{"sub null", sign(goodHeader, also(`"sub":null`)), "sub"},
		{"sub of nobody", sign(goodHeader, also(`"sub":"`+b64(make([]byte, 32))+`"`)), "sub"},
		{"sub short", sign(goodHeader, also(`"sub":"`+b64(secret()[:31])+`"`)), "sub"},
		{"sub long", sign(goodHeader, also(`"sub":"`+b64([]byte(strings.Repeat("x", 33)))+`"`)), "sub"},
		{"sub padded", sign(goodHeader, also(`"sub":"`+b64(secret())+`="`)), "sub"},
		{"sub with loose bits", sign(goodHeader, also(`"sub":"`+lastChanged(b64(secret()))+`"`)), "sub"},
		{"sub with a line end", sign(goodHeader, also(`"sub":"`+b64(secret())+`\n"`)), "sub"},
		{"bdg empty", sign(goodHeader, also(`"bdg":""`)), "bdg"},
		{"bdg short", sign(goodHeader, also(`"bdg":"`+b64(secret()[:31])+`"`)), "bdg"},
		{"bdg a number", sign(goodHeader, also(`"bdg":1`)), "bdg"},
		{"cb empty", sign(goodHeader, also(`"cb":""`)), "cb"},
		{"cb null", sign(goodHeader, also(`"cb":null`)), "cb"},
		{"cb with a line end", sign(goodHeader, also(`"cb":"https://a.example/\n"`)), "cb"},
	}
}

// spaces makes the good claims' length leave loose bits in the last character of their base64.
func spaces() string { return strings.Repeat(" ", (4-len(goodBody)%3)%3) }

// edSign signs the good claims.
func edSign(key ed25519.PrivateKey, h string) string {
	parts := b64([]byte(h)) + "." + b64([]byte(goodBody))
	return parts + "." + b64(ed25519.Sign(key, []byte(parts)))
}

// Whatever is wrong with a token, the answer is the same; the reason proves that each forgery meets its own guard.
func TestForgeriesAreRefused(t *testing.T) {
	t.Parallel()
	ring := ringOf(t, tokens.Config{}, jwkHS(signs), jwkEd(verifies))
	all := forgeries(t)
	if len(all) < 30 {
		t.Fatalf("only %d forgeries", len(all))
	}
	for _, f := range all {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			for range 2 { // a refusal is not remembered as anything else
				got, err := ring.Verify(f.token, now())
				if !errors.Is(err, tokens.ErrInvalid) {
					t.Fatalf("err = %v, want ErrInvalid", err)
				}
				if diff := cmp.Diff(tokens.Claims{}, got); diff != "" && !errors.Is(err, tokens.ErrEarly) {
					t.Errorf("claims of a refused token (-want +got):\n%s", diff)
				}
				if got := tokens.Reason(err); got != f.reason {
					t.Errorf("reason = %q, want %q", got, f.reason)
				}
				if want := "invalid token: " + f.reason; err.Error() != want {
					t.Errorf("the error says %q, want %q", err, want)
				}
			}
		})
	}
}

// The counterpart: what the forgeries were made from is good, so that each is refused for its one difference only.
func TestWhatForgeriesAreMadeFromIsGood(t *testing.T) {
	t.Parallel()
	ring := ringOf(t, tokens.Config{}, jwkHS(signs), jwkEd(verifies))
	tests := []struct{ name, token string }{
		{"as minted", sign(goodHeader, goodBody)},
		{"members in another order", sign(`{"typ":"poe+jwt","kid":"hs","alg":"HS256"}`, goodBody)},
		{"EdDSA", edSign(private(), `{"alg":"EdDSA","kid":"ed","typ":"poe+jwt"}`)},
		{"space in the header", sign(goodHeader+" ", goodBody)},
		{"space behind the claims", sign(goodHeader, goodBody+spaces())},
		{"escaped name", sign(goodHeader, body(`"jti"`, `"\u006ati"`))},
		{"the longest lifetime", sign(goodHeader, body("1795303600", "1829860000"))},
		{"nbf ahead by the skew", sign(goodHeader, body(`"nbf":1795300000`, `"nbf":1795300005`))},
		{"iat ahead by the skew", sign(goodHeader, body(`"iat":1795300000`, `"iat":1795300005`))},
		{"sub", sign(goodHeader, also(`"sub":"`+b64(secret())+`"`))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := ring.Verify(tt.token, now())
			if err != nil {
				t.Fatal(err)
			}
			if got.ID != id() || got.Target != "/orders?x=1" {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// Every guard has a forgery that meets it: a reason nobody asserts would be a guard nobody tests.
func TestEveryReasonHasAForgery(t *testing.T) {
	t.Parallel()
	met := map[string]bool{}
	for _, f := range forgeries(t) {
		met[f.reason] = true
	}
	for _, want := range []string{
		"length", "syntax", "encoding", "header", "duplicate", "field", "crit", "typ", "kid", "alg", "signature", "claims", "claim",
		"missing", "iss", "aud", "jti", "htm", "htu", "time", "lifetime", "sub", "bdg", "cb", "nbf", "iat",
	} {
		if !met[want] {
			t.Errorf("no forgery is refused for %q", want)
		}
		delete(met, want)
	}
	for left := range met {
		t.Errorf("reason %q is not listed", left)
	}
	if got := tokens.Reason(errors.New("other")); got != "" {
		t.Errorf("reason of a foreign error = %q", got)
	}
}
