package tokens

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	lru "github.com/hashicorp/golang-lru/v2"
)

// Config is what a Ring is made of. Audience is required; a zero field has the default in its comment.
type Config struct {
	Audience    string        // the ledger's identity: aud of every token that is minted and of every one that passes
	MaxLifetime time.Duration // longest time from iat to exp; 400 days
	Cache       int           // how many verified tokens are remembered, of at most MaxLength octets each; 4096; negative: none

	// Reloaded hears of every change of a key file that nobody asked for by Reload: nil when its keys are in use, or why
	// they are not, once for each reason. It is called by Run, and by Verify, and must return soon. Nil: nobody.
	Reloaded func(error)
}

// A Ring mints tokens and verifies them, with a set of keys that can be replaced while it is in use.
// It is safe for concurrent use.
type Ring struct {
	audience    string
	maxLifetime time.Duration
	cache       int
	keys        atomic.Pointer[loaded]
	lookAgain   func() // called when a key is unknown; may replace keys; nil: there is nowhere to look
}

// loaded is a set of keys together with what was verified by it: whoever replaces the one drops the other.
type loaded struct {
	Keys
	verified *lru.Cache[string, Claims] // nil: nothing is remembered
	met      doorkeeper
}

// A doorkeeper lets a token into the cache the second time that it is met: most are used once, and remembering
// those would cost more than it saves. It forgets; then a token is let in a little later.
type doorkeeper struct {
	seed   maphash.Seed
	prints [1 << 13]atomic.Uint32
}

// again tells whether token was met before, as far as it is remembered.
func (d *doorkeeper) again(token string) bool {
	sum := maphash.String(d.seed, token)
	return d.prints[sum%uint64(len(d.prints))].Swap(uint32(sum>>32)|1) == uint32(sum>>32)|1
}

// NewRing returns a ring of these keys. It fails if cfg has no Audience or a negative MaxLifetime, or if there are no keys.
func NewRing(cfg Config, keys Keys) (*Ring, error) {
	r := &Ring{audience: cfg.Audience, maxLifetime: cfg.MaxLifetime, cache: cfg.Cache}
	if r.maxLifetime == 0 {
		r.maxLifetime = 400 * 24 * time.Hour
	}
	if r.cache == 0 {
		r.cache = 4096
	}
	var errs []error
	if r.audience == "" {
		errs = append(errs, errors.New("no audience"))
	}
	if r.maxLifetime < 0 {
		errs = append(errs, fmt.Errorf("longest lifetime %s is negative", r.maxLifetime))
	}
	if len(keys.byID) == 0 {
		errs = append(errs, errors.New("no keys"))
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("making a key ring: %w", errors.Join(errs...))
	}
	return r, r.use(keys)
}

// Ephemeral returns a ring with one new HS256 key out of random, which nobody else has and nothing keeps: for tests, and
// for a ledger that does not outlive its process.
func Ephemeral(cfg Config, random io.Reader) (*Ring, error) {
	k, err := newJWK(HS256, time.Time{}, random)
	if err != nil {
		return nil, err
	}
	keys, err := (&jwkSet{Keys: []jwk{k}}).parse()
	if err != nil {
		return nil, err
	}
	return NewRing(cfg, keys)
}

// use makes r work with keys from now on, and forget what it verified by others.
func (r *Ring) use(keys Keys) error {
	next := &loaded{Keys: keys, met: doorkeeper{seed: maphash.MakeSeed()}}
	if r.cache > 0 {
		var err error
		if next.verified, err = lru.New[string, Claims](r.cache); err != nil {
			return fmt.Errorf("making a cache of %d tokens: %w", r.cache, err)
		}
	}
	r.keys.Store(next)
	return nil
}

// Signs tells whether the ring can mint.
func (r *Ring) Signs() bool { return r.keys.Load().signing != nil }

// Mint signs c. Times are carried in whole seconds, rounded down; a zero NotBefore becomes Issued.
//
// Claims that Verify would refuse, and those that are too long for a token, are ErrClaims; a ring that cannot sign
// returns ErrNoSigningKey. Whether c lies in the past or the future is not looked at.
func (r *Ring) Mint(c Claims) (string, error) {
	k := r.keys.Load().signing
	if k == nil {
		return "", fmt.Errorf("minting: %w", ErrNoSigningKey)
	}
	c = c.wholeSeconds()
	if why := c.check(r.maxLifetime); why != "" {
		return "", fmt.Errorf("minting: %w: %s", ErrClaims, string(why))
	}
	body, err := c.encode(r.audience)
	if err != nil {
		return "", fmt.Errorf("minting: %w: %w", ErrClaims, err)
	}
	var b strings.Builder
	b.Grow(len(k.header) + base64.RawURLEncoding.EncodedLen(len(body)) + 90)
	b.WriteString(k.header)
	b.WriteByte('.')
	b.WriteString(base64.RawURLEncoding.EncodeToString(body))
	signature, err := k.method.Sign(b.String(), k.private)
	if err != nil {
		return "", fmt.Errorf("minting with key %q: %w", k.id, err)
	}
	b.WriteByte('.')
	b.WriteString(base64.RawURLEncoding.EncodeToString(signature))
	if b.Len() > MaxLength {
		return "", fmt.Errorf("minting: %w: %d octets, %d at most", ErrClaims, b.Len(), MaxLength)
	}
	return b.String(), nil
}

// Verify returns what token says, if it was minted for this ring's audience with a key of this ring and is, at now,
// not from the future. Every error is ErrInvalid, with empty Claims save where it is ErrEarly; Reason tells them apart.
//
// An expired token is not an error: see Claims.Expired. Verify keeps no reference to token.
func (r *Ring) Verify(token string, now time.Time) (Claims, error) {
	c, _, err := r.Meet(token, now)
	return c, err
}

// Meet is Verify, and tells whether this ring may have verified the token before. It forgets, with a reload of its keys and with time:
// false proves nothing. A ring that remembers nothing says true.
func (r *Ring) Meet(token string, now time.Time) (c Claims, before bool, err error) {
	if token == "" || len(token) > MaxLength {
		return Claims{}, false, badLength
	}
	keys := r.keys.Load()
	c, before, err = r.verify(keys, token)
	if err == error(unknownKey) && r.lookAgain != nil { //nolint:errorlint // our own constant, never wrapped
		r.lookAgain()
		if latest := r.keys.Load(); latest != keys {
			c, before, err = r.verify(latest, token)
		}
	}
	if err != nil {
		return Claims{}, false, err
	}
	// The only check whose result changes with time, so it is made for remembered tokens too.
	if why := c.early(now); why != "" {
		return c, before, why
	}
	return c, before, nil
}

// verify does all that does not depend on the time.
func (r *Ring) verify(keys *loaded, token string) (c Claims, before bool, err error) {
	if keys.verified == nil {
		c, err = r.open(keys.Keys, token)
		return c, true, err
	}
	if c, ok := keys.verified.Get(token); ok {
		return c, true, nil
	}
	if c, err = r.open(keys.Keys, token); err != nil {
		return c, false, err
	}
	if before = keys.met.again(token); before {
		// A clone: the token is a piece of a request's line, which the cache would keep as a whole.
		keys.verified.Add(strings.Clone(token), c)
	}
	return c, before, nil
}

// open checks a token from its outside to its inside.
func (r *Ring) open(keys Keys, token string) (Claims, error) {
	head, rest, _ := strings.Cut(token, ".")
	body, tail, _ := strings.Cut(rest, ".")
	if !base64url(head) || !base64url(body) || !base64url(tail) {
		return Claims{}, badSyntax
	}
	k, err := keys.find(head)
	if err != nil {
		return Claims{}, err
	}
	var room [sha256.Size]byte
	signature, err := strictBase64.AppendDecode(room[:0], []byte(tail))
	if err != nil {
		return Claims{}, badEncoding
	}
	if !k.signed(token[:len(head)+1+len(body)], signature) {
		return Claims{}, badSignature
	}
	var space [512]byte // most fit
	plain, err := strictBase64.AppendDecode(space[:0], []byte(body))
	if err != nil {
		return Claims{}, badEncoding
	}
	c, err := decodeClaims(plain, r.audience)
	if err != nil {
		return Claims{}, err
	}
	if why := c.check(r.maxLifetime); why != "" {
		return Claims{}, why
	}
	return c, nil
}

// find returns the key that a token's header names, if the header is one of ours in every respect.
func (s Keys) find(head string) (*key, error) {
	if k := s.byHeader[head]; k != nil {
		return k, nil // to the letter as we write it: there is nothing to read in it
	}
	plain, ok := decodePart(head)
	if !ok {
		return nil, badEncoding
	}
	var h header
	if err := json.Unmarshal(plain, &h); err != nil {
		return nil, reasonOf(err, badHeader)
	}
	if h.Type != Type {
		return nil, badType
	}
	k := s.byID[h.KeyID]
	if k == nil {
		return nil, unknownKey
	}
	if h.Algorithm != k.method.Alg() {
		return nil, badAlgorithm
	}
	return k, nil
}

// base64url tells whether s has only the letters of RFC 4648, section 5, and some.
func base64url(s string) bool {
	for i := range len(s) {
		if !lettersOfBase64url[s[i]] {
			return false
		}
	}
	return s != ""
}

var lettersOfBase64url = func() (is [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
		is[c] = true
	}
	return is
}()
