package core_test

import (
	"fmt"
	"testing"
)

// Digest (RFC 7616), Negotiate, and whatever signs each request, has other credentials each time, the retry's too. By default (principal: authorization) that retry was another principal's under a
// short key, and executed again. What it names tells people apart all the same.
func TestCredentialsThatChange(t *testing.T) {
	for _, scheme := range []string{
		`Digest username="%[1]s", realm="shop", nonce="n", uri="/orders", qop=auth, nc=%08[2]x, cnonce="c%[2]d", response="%032[2]x"`,
		"AWS4-HMAC-SHA256 Credential=%s/2026030%d/eu/x/aws4_request, SignedHeaders=host, Signature=%[2]d",
		`Hawk id="%s", ts="1", nonce="%d", mac="m"`,
		`OAuth oauth_consumer_key="%s", oauth_nonce="%d"`,
		`Signature keyId="%s",algorithm="hs2019",signature="%d"`,
	} {
		b := newBench(t, nil)
		for n := 1; n <= 2; n++ {
			b.do("POST", "/orders", "x", "Idempotency-Key: order-17", "Authorization: "+fmt.Sprintf(scheme, "ann", n))
		}
		if n := b.executed.Load(); n != 1 {
			t.Errorf("%s: executed %d times", scheme, n)
		}
		wantProblem(t, b.do("POST", "/orders", "x", "Idempotency-Key: order-17", "Authorization: "+fmt.Sprintf(scheme, "ann", 3)), 409, "principal-changed")
		if res := b.do("POST", "/orders", "x", "Idempotency-Key: order-17", "Authorization: "+fmt.Sprintf(scheme, "bob", 4)); res.StatusCode != 201 {
			t.Errorf("%s: bob has the same key: %d", scheme, res.StatusCode)
		}
	}
	b := newBench(t, nil)
	for n := 1; n <= 2; n++ { // that says nothing of whom it is of
		b.do("POST", "/orders", "x", "Idempotency-Key: order-17", fmt.Sprintf("Authorization: Negotiate YII%d", n))
	}
	if n := b.executed.Load(); n != 1 {
		t.Errorf("Negotiate: executed %d times", n)
	}
}
