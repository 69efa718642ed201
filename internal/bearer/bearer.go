// Package bearer tells who a bearer token speaks for (RFC 6750, RFC 7519), by the public keys of a JWK Set file (RFC 7517). A token that was
// refreshed is another string and the same person.
//
// What the token says is believed only where its signature, by an asymmetric key of the file, and its times are right, and where no two
// readers could read it differently: no claim is there twice, and names are compared octet for octet.
package bearer

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
	"github.com/rs/zerolog"

	"github.com/postonce/poe/internal/content"
)

// Config is what a Verifier is told. A zero field has the default in its comment.
type Config struct {
	File     string           // the JWK Set; required
	Audience string           // whom a token must be made for (RFC 7519, section 4.1.3); "": any
	Clock    func() time.Time // time.Now
	Log      zerolog.Logger   // hears of keys that are passed over; the zero value discards
}

// ErrUnverified means that a token is not to be believed. The reason comes with it, and nothing of the token.
var ErrUnverified = errors.New("not a token of an issuer that is known here")

// ErrUntimely means that a token was signed by a known issuer, and is too old, or too new. It tells whose it is, and gives nobody a right to see
// anything: what its bearer asks for is the same person's request as before. Such an error is ErrUnverified, too.
var ErrUntimely = errors.New("not a token of this time")

// leeway is how far clocks may be apart.
const leeway = 5 * time.Second

// maxToken is the longest token that is looked at, in bytes.
const maxToken = 16 << 10

// A Verifier verifies tokens. It is safe for concurrent use.
type Verifier struct {
	cfg    Config
	parser *jwt.Parser    // looks at the signature
	valid  *jwt.Validator // looks at the claims
	keys   atomic.Pointer[[]key]
}

// A key is a public key and what the file says of it.
type key struct {
	id, alg string // "": any
	public  any
}

// methods are the algorithms that are believed: asymmetric ones.
var methods = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// Open reads the file. A set that cannot verify anything, or that has a secret in it, is an error which says what is wrong. Keys of a kind that is not known here are
// passed over (RFC 7517, section 5): an issuer may have some for others.
func Open(cfg Config) (*Verifier, error) {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	options := []jwt.ParserOption{
		jwt.WithValidMethods(methods), jwt.WithStrictDecoding(), jwt.WithExpirationRequired(), jwt.WithIssuedAt(),
		jwt.WithLeeway(leeway), jwt.WithTimeFunc(cfg.Clock), jwt.WithJSONNumber(),
	}
	if cfg.Audience != "" {
		options = append(options, jwt.WithAudience(cfg.Audience))
	}
	v := &Verifier{cfg: cfg, parser: jwt.NewParser(append(options, jwt.WithoutClaimsValidation())...), valid: jwt.NewValidator(options...)}
	return v, v.Reload()
}

// Reload reads the file again. After an error the keys stay what they were.
func (v *Verifier) Reload() error {
	text, err := os.ReadFile(v.cfg.File)
	if err != nil {
		return fmt.Errorf("reading the JWK Set: %w", err)
	}
	keys, strange, err := parseSet(text)
	if err == nil {
		err = v.stillKnown(keys, strange)
	}
	if err != nil {
		return fmt.Errorf("reading the JWK Set %s: %w", v.cfg.File, err)
	}
	for _, k := range strange {
		if k.use == jwkset.UseEnc { // as its issuer has it
			continue
		}
		v.cfg.Log.Warn().Str("file", v.cfg.File).Int("key", k.place).Str("kid", k.id).Msg("a key of the JWK Set is passed over, and its tokens are not verified: it " + k.why)
	}
	v.keys.Store(&keys)
	return nil
}

// stillKnown refuses to pass over a key that has verified tokens until now: whom they name would be a stranger from then on, and what he had done be done again.
// A stranger may bear the kid of a key that is still there (RFC 7517, section 4.5).
func (v *Verifier) stillKnown(keys []key, strange []stranger) error {
	before := v.keys.Load()
	if before == nil {
		return nil
	}
	for _, s := range strange {
		is := func(k key) bool { return k.id == s.id }
		if slices.ContainsFunc(*before, is) && !slices.ContainsFunc(keys, is) {
			return fmt.Errorf("key %d, which is in use, %s", s.place, s.why)
		}
	}
	return nil
}

// A stranger is a key of a kind that is not known here.
type stranger struct {
	place   int // in the set, from 1 on
	id, why string
	use     jwkset.USE
}

func parseSet(text []byte) (keys []key, strange []stranger, err error) {
	var set struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, nil, errors.New("is not JSON")
	}
	var why []string
	for i, member := range set.Keys {
		var is kind
		if err := json.Unmarshal(member, &is); err != nil {
			return nil, nil, fmt.Errorf("key %d: is no JSON Web Key", i+1)
		}
		if is.Use != jwkset.UseEnc && (is.K != nil || is.D != nil) {
			return nil, nil, fmt.Errorf("key %d: is secret; a set to verify with has public keys only", i+1)
		}
		if what := is.unknown(); what != "" {
			strange = append(strange, stranger{i + 1, is.Kid, what, is.Use})
			why = append(why, fmt.Sprintf("key %d %s", i+1, what))
			continue
		}
		k, err := parseKey(member)
		if err != nil {
			return nil, nil, fmt.Errorf("key %d: %w", i+1, err)
		}
		if slices.ContainsFunc(keys, func(other key) bool { return other.id == k.id }) {
			return nil, nil, fmt.Errorf("key %d: another one has its kid", i+1)
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, nil, errors.New(strings.Join(append([]string{"has no key that verifies signatures"}, why...), "; "))
	}
	return keys, strange, nil
}

// A kind is what says of a key whether it is one for us. The other members of one that is not may be anything.
type kind struct {
	Kty jwkset.KTY
	Use jwkset.USE
	Alg jwkset.ALG
	Crv jwkset.CRV
	Kid string
	K   any // of a secret
	D   any // of a private half
}

// unknown says why nothing can be verified by such a key here; "" where something can.
func (k *kind) unknown() string {
	curves := map[jwkset.KTY][]jwkset.CRV{jwkset.KtyRSA: nil, jwkset.KtyEC: {jwkset.CrvP256, jwkset.CrvP384, jwkset.CrvP521}, jwkset.KtyOKP: {jwkset.CrvEd25519}}
	on, known := curves[k.Kty]
	switch {
	case k.Use != "" && k.Use != jwkset.UseSig:
		return fmt.Sprintf("is for the use %q, and not to verify", k.Use)
	case k.Kty != "" && !known:
		return fmt.Sprintf("is of type %q, which verifies nothing here", k.Kty)
	case k.Alg != "" && !slices.Contains(methods, k.Alg.String()):
		return fmt.Sprintf("is for the algorithm %q, which verifies nothing here", k.Alg)
	case k.Crv != "" && on != nil && !slices.Contains(on, k.Crv):
		return fmt.Sprintf("is on the curve %q, which verifies nothing here", k.Crv)
	default:
		return ""
	}
}

// parseKey reads a key of a kind that is known. One that is damaged is an error, since somebody means it to be used.
func parseKey(text []byte) (key, error) {
	var m jwkset.JWKMarshal
	if err := json.Unmarshal(text, &m); err != nil {
		return key{}, errors.New("is not a public key: a member is of another type")
	}
	m.X5U, m.X5C, m.X5T, m.X5TS256 = "", nil, "", "" // nothing is fetched, and the key itself is trusted
	j, err := jwkset.NewJWKFromMarshal(m, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	if err != nil {
		return key{}, fmt.Errorf("is not a public key: %w", err)
	}
	switch public := j.Key().(type) {
	case *rsa.PublicKey:
		if public.N.BitLen() < 2048 {
			return key{}, fmt.Errorf("has %d bits; RSA keys have 2048 at least", public.N.BitLen())
		}
	case *ecdsa.PublicKey, ed25519.PublicKey:
	default:
		return key{}, fmt.Errorf("is of type %q, which verifies nothing here", m.KTY)
	}
	return key{id: m.KID, alg: m.ALG.String(), public: j.Key()}, nil
}

// Claims are what a verified token says.
type Claims struct {
	Issuer, Subject string // not empty
	all             map[string]any
}

// Text returns a claim that is a text or a number; false for all others, and for the empty text.
func (c Claims) Text(name string) (string, bool) {
	switch v := c.all[name].(type) {
	case string:
		return v, v != ""
	case json.Number:
		return v.String(), true
	default:
		return "", false
	}
}

func unverified(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrUnverified, fmt.Sprintf(format, args...))
}

// Claims verifies the token in the value of an Authorization field. Its errors wrap ErrUnverified. With ErrUntimely come the claims.
func (v *Verifier) Claims(authorization string) (Claims, error) {
	scheme, token, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return Claims{}, unverified("no bearer token")
	}
	if len(token) > maxToken {
		return Claims{}, unverified("it is too long")
	}
	claims := jwt.MapClaims{}
	t, err := v.parser.ParseWithClaims(token, claims, v.keyFor)
	if err != nil || !t.Valid {
		return Claims{}, unverified("%s", reason(err))
	}
	late := v.valid.Validate(claims)
	if late != nil && !untimely(late) {
		return Claims{}, unverified("%s", reason(late))
	}
	if err := onceEach(v.parser, token); err != nil {
		return Claims{}, err
	}
	c := Claims{all: claims}
	var ok bool
	if c.Issuer, ok = plain(claims["iss"]); !ok {
		return Claims{}, unverified("it names no issuer")
	}
	if c.Subject, ok = plain(claims["sub"]); !ok {
		return Claims{}, unverified("it names no subject")
	}
	if late != nil {
		return c, fmt.Errorf("%w: %w: %s", ErrUnverified, ErrUntimely, reason(late))
	}
	return c, nil
}

// untimely tells whether nothing is wrong with claims but their times.
func untimely(err error) bool {
	is := func(one error) bool { return errors.Is(err, one) }
	return slices.ContainsFunc([]error{jwt.ErrTokenExpired, jwt.ErrTokenNotValidYet, jwt.ErrTokenUsedBeforeIssued}, is) &&
		!slices.ContainsFunc([]error{jwt.ErrTokenInvalidAudience, jwt.ErrTokenRequiredClaimMissing, jwt.ErrInvalidType}, is)
}

// keyFor finds the key that a token names. One that names none is verified by the only key, if there is only one.
func (v *Verifier) keyFor(t *jwt.Token) (any, error) {
	if _, critical := t.Header["crit"]; critical {
		return nil, unverified("it demands an extension (crit)")
	}
	keys := *v.keys.Load()
	id, named := t.Header["kid"].(string)
	for _, k := range keys {
		if (named && k.id == id || !named && len(keys) == 1) && (k.alg == "" || k.alg == t.Method.Alg()) {
			return k.public, nil
		}
	}
	return nil, unverified("no key for it")
}

// onceEach tells whether no member of head and claims is there twice: the parser takes the last one, and others the first.
func onceEach(p *jwt.Parser, token string) error {
	for _, segment := range strings.Split(token, ".")[:2] {
		b, err := p.DecodeSegment(segment)
		if err == nil {
			_, err = content.ParseJSON(b)
		}
		if err != nil {
			return unverified("a member is there twice, or it is not JSON")
		}
	}
	return nil
}

// plain returns a claim that is a text without control characters, and not empty.
func plain(claim any) (string, bool) {
	s, ok := claim.(string)
	return s, ok && s != "" && strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) < 0
}

// reason says why the parser refused, in its own short words, which have nothing of the token in them.
func reason(err error) string {
	for _, known := range []error{
		jwt.ErrTokenExpired, jwt.ErrTokenNotValidYet, jwt.ErrTokenUsedBeforeIssued, jwt.ErrTokenRequiredClaimMissing,
		jwt.ErrTokenSignatureInvalid, jwt.ErrTokenMalformed, jwt.ErrTokenUnverifiable,
	} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return "it is not valid"
}
