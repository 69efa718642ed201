package replay_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/postonce/poe/internal/replay"
)

// An index is a map, and says what it takes.
func TestIndexIsAMap(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		x, want := replay.NewIndex(rapid.IntRange(1, 3).Draw(rt, "parts")), map[uint16]uint32{}
		for _, k := range rapid.SliceOfN(rapid.Uint16Range(0, 200), 0, 1000).Draw(rt, "keys") {
			if rapid.IntRange(0, 2).Draw(rt, "what") == 0 {
				x.Delete(k)
				delete(want, k)
			} else {
				v := rapid.Uint32().Draw(rt, "value")
				x.Set(k, v)
				want[k] = v
			}
		}
		for k := range uint16(201) {
			got, ok := x.Get(k)
			if v, there := want[k]; ok != there || got != v {
				rt.Fatalf("%d leads to %d, %t, want %d, %t", k, got, ok, v, there)
			}
		}
		if n, says, bytes := x.Usage(); n != len(want) || says != bytes {
			rt.Errorf("%d keys, says %d bytes, want %d in %d", n, says, len(want), bytes)
		}
		for k := range want {
			x.Delete(k)
		}
		if n, says, bytes := x.Usage(); n != 0 || says != 0 || bytes != 0 {
			rt.Errorf("emptied, it has %d keys in %d bytes, and says %d", n, bytes, says)
		}
	})
}
