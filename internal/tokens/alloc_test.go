//go:build !race

package tokens_test

import (
	"testing"

	"github.com/postonce/poe/internal/alloctest"
	"github.com/postonce/poe/internal/tokens"
)

func TestAllocations(t *testing.T) {
	cold, warm := ringOf(t, tokens.Config{Cache: -1}, jwkHS(signs)), ringOf(t, tokens.Config{}, jwkHS(signs))
	token, other, c := mint(t, cold, claims()), mint(t, warm, claims()), claims()
	verify := func(ring *tokens.Ring, token string) func() {
		return func() {
			if _, err := ring.Verify(token, now()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, tt := range map[string]struct {
		limit alloctest.Limit
		do    func()
	}{
		"minting": {alloctest.Limit{Allocs: 12, Bytes: 1800}, func() {
			if _, err := cold.Mint(c); err != nil {
				t.Fatal(err)
			}
		}},
		"verifying for the first time": {alloctest.Limit{Allocs: 2, Bytes: 80}, verify(cold, token)},
		"verifying again":              {alloctest.Limit{}, verify(warm, other)},
	} {
		t.Run(name, func(t *testing.T) { alloctest.Check(t, 2000, tt.limit, tt.do) })
	}
}
