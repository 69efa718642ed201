package tokens

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"
)

// Alg is the algorithm of a key, as alg names it (RFC 7518, section 3.1; RFC 8037, section 3.1).
type Alg string

// The algorithms. A key has one for its whole life.
const (
	HS256 Alg = "HS256" // one secret mints and verifies
	EdDSA Alg = "EdDSA" // Ed25519: who has only the public half verifies and cannot mint
)

// minSecret is the shortest HS256 secret, in bytes: as long as the hash (RFC 7518, section 3.2).
const minSecret = 32

// Keys is a set of keys, of which at most one signs. It is immutable. The zero value holds none.
type Keys struct {
	byID     map[string]*key
	byHeader map[string]*key // by the header that each gives its tokens, encoded
	signing  *key
	list     []KeyInfo
	ledger   string
}

// key is one key, in the only form in which its algorithm takes it.
type key struct {
	id      string
	method  jwt.SigningMethod
	public  any    // verifies
	private any    // signs; nil: it only verifies
	header  string // of the tokens that it signs, encoded
}

// signed tells whether signature is that of text.
func (k *key) signed(text string, signature []byte) bool {
	if m, ok := k.method.(*hs256); ok {
		return m.matches(text, signature) // directly, so that the signature need not be on the heap
	}
	return k.method.Verify(text, bytes.Clone(signature), k.public) == nil
}

// KeyInfo is what may be shown of a key.
type KeyInfo struct {
	ID      string // kid
	Alg     Alg
	Signing bool      // whether tokens are minted with it
	Created time.Time // to the second; zero: not known
}

// List returns the keys in the order of their file.
func (s Keys) List() []KeyInfo { return slices.Clone(s.list) }

// Ledger returns the ledger that the keys sign for, as their file names it; "" where it names none.
func (s Keys) Ledger() string { return s.ledger }

// jwkSet is a JWK Set (RFC 7517, section 5).
type jwkSet struct {
	Keys   []jwk          `json:"keys"`
	Ledger string         `json:"ledger,omitzero"` // which the keys sign for; a member of ours
	Other  jsontext.Value `json:",unknown"`        // members of a later version: kept when the set is written again
}

// jwk is one key of a JWK Set (RFC 7517, section 4).
type jwk struct {
	Kid     string         `json:"kid"`
	Kty     string         `json:"kty"`
	Alg     Alg            `json:"alg"`
	Ops     []string       `json:"key_ops"`
	Use     string         `json:"use,omitzero"`
	Created int64          `json:"iat,omitzero"`
	K       string         `json:"k,omitzero"`
	Crv     string         `json:"crv,omitzero"`
	X       string         `json:"x,omitzero"`
	D       string         `json:"d,omitzero"`
	Other   jsontext.Value `json:",unknown"`
}

// ParseKeys reads a JWK Set as a key file holds it:
//
//	{"keys":[{"kid":"k2","kty":"oct","alg":"HS256","key_ops":["sign","verify"],"iat":1795300000,"k":"…"},
//	         {"kid":"k1","kty":"OKP","alg":"EdDSA","key_ops":["verify"],"crv":"Ed25519","x":"…"}]}
//
// Members that it does not know are ignored (RFC 7517, section 4); a name twice, a kid twice, a key without kid, alg or
// key_ops, or one that does not fit its alg is an error, and so is a second key that signs. All mistakes are
// reported at once, and no error holds any part of a key.
func ParseKeys(b []byte) (Keys, error) {
	set, err := decodeSet(b)
	if err != nil {
		return Keys{}, err
	}
	return set.parse()
}

func decodeSet(b []byte) (*jwkSet, error) {
	var set jwkSet
	err := json.Unmarshal(b, &set)
	if err == nil {
		return &set, nil
	}
	// The decoder's own words can quote what they complain about, and here that is a secret.
	var syntactic *jsontext.SyntacticError
	var semantic *json.SemanticError
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return nil, errors.New("parsing keys: a member has the same name as another")
	case errors.As(err, &syntactic):
		return nil, fmt.Errorf("parsing keys: not JSON, at byte %d", syntactic.ByteOffset)
	case errors.As(err, &semantic):
		return nil, fmt.Errorf("parsing keys: not a JWK Set, at byte %d", semantic.ByteOffset)
	}
	return nil, errors.New("parsing keys: not a JWK Set")
}

// parse checks every key of the set.
func (set *jwkSet) parse() (Keys, error) {
	s := Keys{byID: make(map[string]*key, len(set.Keys)), byHeader: make(map[string]*key, len(set.Keys)), ledger: set.Ledger}
	var errs []error
	for i, j := range set.Keys {
		k, err := j.parse()
		if err == nil && s.byID[k.id] != nil {
			err = errors.New("another key has the same kid")
		}
		if err == nil && k.private != nil && s.signing != nil {
			err = fmt.Errorf("key %q signs already, and only one can", s.signing.id)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("key %d, kid %.40q: %w", i+1, j.Kid, err))
			continue
		}
		s.byID[k.id], s.byHeader[k.header] = k, k
		if k.private != nil {
			s.signing = k
		}
		s.list = append(s.list, j.info())
	}
	if len(set.Keys) == 0 {
		errs = append(errs, errors.New("there are none"))
	}
	if len(errs) > 0 {
		return Keys{}, fmt.Errorf("parsing keys: %w", errors.Join(errs...))
	}
	return s, nil
}

func (j *jwk) info() KeyInfo {
	i := KeyInfo{ID: j.Kid, Alg: j.Alg, Signing: j.signs()}
	if j.Created != 0 {
		i.Created = time.Unix(j.Created, 0).UTC()
	}
	return i
}

func (j *jwk) signs() bool { return slices.Contains(j.Ops, "sign") }

// parse returns the key, without its private half if it does not sign.
func (j *jwk) parse() (*key, error) {
	switch {
	case !keyID(j.Kid):
		return nil, errors.New(`kid must be 1 to 64 letters, digits, ".", "_" or "-"`)
	case j.Use != "" && j.Use != "sig":
		return nil, fmt.Errorf(`use must be "sig" or absent, not %.40q`, j.Use)
	case j.Created < 0 || j.Created > lastSecond:
		return nil, errors.New("iat must be seconds since 1970")
	}
	switch ops := slices.Sorted(slices.Values(j.Ops)); {
	case slices.Equal(ops, []string{"sign", "verify"}), slices.Equal(ops, []string{"verify"}):
	default:
		return nil, errors.New(`key_ops must be ["sign","verify"] or ["verify"]`)
	}
	k := &key{id: j.Kid}
	var err error
	switch j.Alg {
	case HS256:
		err = j.parseSecret(k)
	case EdDSA:
		err = j.parseEd25519(k)
	default:
		err = fmt.Errorf("alg must be HS256 or EdDSA, not %.40q", string(j.Alg))
	}
	if err != nil {
		return nil, err
	}
	if !j.signs() {
		k.private = nil
	}
	// What json.Marshal makes of {"alg","kid","typ"}, none of which can need an escape.
	k.header = base64.RawURLEncoding.EncodeToString(
		[]byte(`{"alg":"` + string(j.Alg) + `","kid":"` + j.Kid + `","typ":"` + Type + `"}`))
	return k, nil
}

func (j *jwk) parseSecret(k *key) error {
	if j.Kty != "oct" || j.Crv+j.X+j.D != "" {
		return errors.New(`an HS256 key has kty "oct", and k only`)
	}
	secret, ok := decodePart(j.K)
	switch {
	case !ok:
		return errors.New("k must be base64url without padding")
	case len(secret) < minSecret:
		return fmt.Errorf("k must hold at least %d bytes, not %d", minSecret, len(secret))
	}
	k.method, k.public, k.private = newHS256(secret), secret, secret
	return nil
}

func (j *jwk) parseEd25519(k *key) error {
	if j.Kty != "OKP" || j.Crv != "Ed25519" || j.K != "" {
		return errors.New(`an EdDSA key has kty "OKP", crv "Ed25519", and x and d only`)
	}
	x, ok := decodePart(j.X)
	if !ok || len(x) != ed25519.PublicKeySize {
		return fmt.Errorf("x must be %d bytes in base64url without padding", ed25519.PublicKeySize)
	}
	k.method, k.public = jwt.SigningMethodEdDSA, ed25519.PublicKey(x)
	if j.D == "" {
		if j.signs() {
			return errors.New("d must be there in a key that signs")
		}
		return nil
	}
	d, ok := decodePart(j.D)
	if !ok || len(d) != ed25519.SeedSize {
		return fmt.Errorf("d must be %d bytes in base64url without padding", ed25519.SeedSize)
	}
	private := ed25519.NewKeyFromSeed(d)
	if public, ok := private.Public().(ed25519.PublicKey); !ok || !public.Equal(ed25519.PublicKey(x)) {
		return errors.New("d is not the private half of x")
	}
	k.private = private
	return nil
}

// keyID tells whether s can stand in a header, a log and a command line as it is.
func keyID(s string) bool {
	return len(s) <= 64 && base64url(strings.ReplaceAll(s, ".", "_"))
}
