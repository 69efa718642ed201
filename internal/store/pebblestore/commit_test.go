package pebblestore_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/postonce/poe/internal/store/pebblestore"
)

// A write gives others four turns to join it, and one where they compute: they would take four times their time from it, and join nothing.
func TestLetJoin(t *testing.T) {
	for name, test := range map[string]struct {
		turn time.Duration
		want int
	}{
		"who is about to write runs":       {100 * time.Microsecond, 4},
		"a crowd is about to write":        {2 * time.Millisecond, 4},
		"somebody computes":                {10 * time.Millisecond, 1},
		"many compute, on every processor": {time.Second, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				turns := 0
				pebblestore.LetJoin(func() {
					turns++
					<-time.After(test.turn)
				})
				if turns != test.want {
					t.Errorf("%d turns, want %d", turns, test.want)
				}
			})
		})
	}
}
