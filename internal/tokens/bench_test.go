package tokens_test

import (
	"testing"

	"github.com/postonce/poe/internal/tokens"
)

// byAlg runs a benchmark with a ring of each algorithm.
func byAlg(b *testing.B, cache int, run func(*testing.B, *tokens.Ring)) {
	for alg, key := range map[string]string{"HS256": jwkHS(signs), "EdDSA": jwkEd(signs)} {
		b.Run(alg, func(b *testing.B) {
			ring := ringOf(b, tokens.Config{Cache: cache}, key)
			b.ReportAllocs()
			run(b, ring)
		})
	}
}

func BenchmarkMint(b *testing.B) {
	byAlg(b, -1, func(b *testing.B, ring *tokens.Ring) {
		c := claims()
		for b.Loop() {
			if _, err := ring.Mint(c); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func verify(b *testing.B, ring *tokens.Ring) {
	token, at := mint(b, ring, claims()), now()
	for b.Loop() {
		if _, err := ring.Verify(token, at); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyCold(b *testing.B) { byAlg(b, -1, verify) }

func BenchmarkVerifyCached(b *testing.B) { byAlg(b, 0, verify) }

// BenchmarkVerifyForged is what a flood costs: one octet of the claims is not what was signed.
func BenchmarkVerifyForged(b *testing.B) {
	ring := ringOf(b, tokens.Config{}, jwkHS(signs))
	token := signWith([]byte("another secret of thirty-two byte"), goodHeader, goodBody)
	b.ReportAllocs()
	at := now()
	for b.Loop() {
		if _, err := ring.Verify(token, at); tokens.Reason(err) != "signature" {
			b.Fatal(err)
		}
	}
}
