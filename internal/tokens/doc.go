// Package tokens says what a POE URI says: which action it names, what it may execute, for whom and until when.
//
// A token is a JWT (RFC 7519) in JWS compact form that one Ring mints and the rings of the same ledger verify:
//
//	base64url({"alg":"HS256","kid":"…","typ":"poe+jwt"}) . base64url(claims) . base64url(signature)
//
// Verify takes nothing on trust that it has not checked, in this order, so that a forger's input costs
// little and never reaches a parser that it could confuse:
//
//  1. at most MaxLength octets, all of them base64url, exactly two dots;
//  2. the header: these three members, once each, nothing else, typ "poe+jwt" (RFC 8725, section 3.11);
//  3. the key, by kid alone. A key has one algorithm, and alg must be that one (RFC 8725, section 3.1);
//  4. the signature, over the octets as received;
//  5. only then the claims: known names, once each, each of its one type, in its one spelling;
//  6. what they say: issuer, audience, id, method, target, times.
//
// Whatever fails, the error is ErrInvalid; its text says by which guard, which is never for the client.
// That a token has expired is no failure here: what became of its action decides first. One that is from the future is none of ours to execute, but
// its claims are told, for the same reason (ErrEarly).
//
// golang-jwt makes and checks the signatures. Its parser was turned down: it reads the claims before it verifies them,
// takes duplicate and case-variant names, and looks at neither typ nor crit.
//
// The package is pure except for the key file: time and randomness are arguments.
package tokens
