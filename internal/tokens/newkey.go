package tokens

import (
	"crypto/ed25519"
	"encoding/base32"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"time"
)

// newJWK returns a new key of the algorithm that signs, made at created (zero: not said).
func newJWK(alg Alg, created time.Time, random io.Reader) (jwk, error) {
	// 32 bytes are an HS256 secret or an Ed25519 seed; 5 more are eight letters of a name that need no quotes.
	var b [32 + 5]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return jwk{}, fmt.Errorf("making a key: %w", err)
	}
	j := jwk{Kid: strings.ToLower(base32.StdEncoding.EncodeToString(b[32:])), Alg: alg, Ops: []string{"sign", "verify"}}
	if !created.IsZero() {
		j.Created = created.Unix()
	}
	secret := base64.RawURLEncoding.EncodeToString(b[:32])
	switch alg {
	case HS256:
		j.Kty, j.K = "oct", secret
	case EdDSA:
		private := ed25519.NewKeyFromSeed(b[:32]) // the seed, then the public half (RFC 8032, section 5.1.5)
		j.Kty, j.Crv, j.D = "OKP", "Ed25519", secret
		j.X = base64.RawURLEncoding.EncodeToString(private[ed25519.SeedSize:])
	default:
		return jwk{}, fmt.Errorf("making a key: alg must be HS256 or EdDSA, not %q", string(alg))
	}
	return j, nil
}
