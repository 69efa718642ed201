package tokens

import "errors"

var (
	// ErrInvalid: the string is no token of ours, whatever the reason. Every error of Verify is it.
	ErrInvalid = errors.New("invalid token")
	// ErrEarly: the token is ours, and from the future. It is ErrInvalid, too; the claims come with it, for who knows its action already: a clock that
	// was ahead when it was minted has been set back since.
	ErrEarly = errors.New("token from the future")
	// ErrClaims: no token can say that, or not within MaxLength; nothing was minted.
	ErrClaims = errors.New("invalid claims")
	// ErrNoSigningKey: the ring can verify and not mint.
	ErrNoSigningKey = errors.New("no signing key")
)

// A reason is which guard refused a token: one short word, and a constant, so that nothing of the token gets where it is told.
type reason string

// Why a token is refused. The first that applies, in the order of the checks.
const (
	badLength    reason = "length"    // empty, or over MaxLength
	badSyntax    reason = "syntax"    // not three parts of base64url
	badEncoding  reason = "encoding"  // base64url that no encoder writes
	badHeader    reason = "header"    // not a JSON object of strings
	duplicate    reason = "duplicate" // a name twice, in the header or the claims
	unknownField reason = "field"     // a header member of other names, such as jku
	critical     reason = "crit"      // a crit member: there is no extension that we understand
	badType      reason = "typ"       // another kind of JWT
	unknownKey   reason = "kid"       // no key of that name
	badAlgorithm reason = "alg"       // not the key's algorithm
	badSignature reason = "signature" // not signed by that key
	badClaims    reason = "claims"    // not a JSON object, or a value of another type
	unknownClaim reason = "claim"     // a name we did not mint, such as JTI
	missing      reason = "missing"   // a required claim is absent
	badIssuer    reason = "iss"       // not ours
	badAudience  reason = "aud"       // another ledger's
	badID        reason = "jti"       // not a canonical UUIDv7
	badMethod    reason = "htm"       // a method that no token is minted for
	badTarget    reason = "htu"       // not a path on this origin
	badTime      reason = "time"      // not a whole number of seconds from 1970 to 9999
	badLifetime  reason = "lifetime"  // over before it begins, or too long
	badPrincipal reason = "sub"       // not 32 bytes
	badDigest    reason = "bdg"       // not 32 bytes
	badCallback  reason = "cb"        // empty, or with control characters
	tooEarly     reason = "nbf"       // not yet
	fromFuture   reason = "iat"       // minted later than now
)

// Error says no more than that the token is invalid, and the reason's word.
func (r reason) Error() string { return ErrInvalid.Error() + ": " + string(r) }

// Is makes every reason ErrInvalid, and those that pass with time ErrEarly.
func (r reason) Is(target error) bool {
	return target == ErrInvalid || target == ErrEarly && (r == tooEarly || r == fromFuture)
}
