package tokens

import (
	"crypto/hmac"
	"crypto/sha256"
	"hash"
	"sync"

	"github.com/golang-jwt/jwt/v5"
)

// hs256 is jwt.SigningMethodHS256 for one key whose schedule is made once. The library makes it for every token, which costs as much as
// hashing the token.
type hs256 struct{ macs sync.Pool }

var _ jwt.SigningMethod = (*hs256)(nil)

// keyed is a keyed hash with room for what goes in and out.
type keyed struct {
	hash.Hash
	in  []byte
	out [sha256.Size]byte
}

func newHS256(secret []byte) *hs256 {
	return &hs256{macs: sync.Pool{New: func() any { return &keyed{Hash: hmac.New(sha256.New, secret)} }}}
}

// Alg returns "HS256".
func (m *hs256) Alg() string { return jwt.SigningMethodHS256.Alg() }

// Sign returns the signature of text. The key was given when m was made. It never fails.
func (m *hs256) Sign(text string, _ any) ([]byte, error) {
	sum := m.sum(text)
	return sum[:], nil
}

// Verify returns jwt.ErrSignatureInvalid unless signature is that of text, which it compares in constant time.
func (m *hs256) Verify(text string, signature []byte, _ any) error {
	if !m.matches(text, signature) {
		return jwt.ErrSignatureInvalid
	}
	return nil
}

func (m *hs256) matches(text string, signature []byte) bool {
	sum := m.sum(text)
	return hmac.Equal(signature, sum[:])
}

func (m *hs256) sum(text string) [sha256.Size]byte {
	k, ok := m.macs.Get().(*keyed)
	if !ok {
		panic("a pool of hashes gave something else")
	}
	defer m.macs.Put(k)
	k.Reset()
	k.in = append(k.in[:0], text...)
	k.Write(k.in)
	k.Sum(k.out[:0])
	return k.out
}
