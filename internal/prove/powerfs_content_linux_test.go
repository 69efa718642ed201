package prove_test

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// A file of the power cuts holds what plain bytes would, on the disk and off it, whatever shares its pages.
func TestContentOfPowerCuts(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	all := func(c *content) []byte { return c.readAt(make([]byte, c.size+10), 0) }
	resized := func(b []byte, size int) []byte {
		return append(bytes.Clone(b[:min(size, len(b))]), make([]byte, max(0, size-len(b)))...)
	}
	for range 200 {
		n := &node{mode: 0o600}
		var data, disk []byte
		for step := range 60 {
			at, size := random.IntN(5*page), random.IntN(2*page)
			switch random.IntN(4) {
			case 0:
				b := bytes.Repeat([]byte{byte(step + 1)}, size+1)
				n.writeAt(b, at)
				data = resized(data, max(len(data), at+len(b)))
				copy(data[at:], b)
			case 1:
				was := n.data.size
				n.data.resize(at)
				n.touched(min(was, at), max(was, at))
				data = resized(data, at)
			case 2:
				n.sync()
				disk = bytes.Clone(data)
			case 3: // the power goes, and nothing is left but what was synced
				left := &node{mode: 0o600}
				n.leave(nil, left, nil, nil)
				n, data = left, bytes.Clone(disk)
			}
			if got := all(&n.data); !bytes.Equal(got, data) {
				t.Fatalf("step %d: %d bytes, and not the %d that were written", step, len(got), len(data))
			}
			if got := all(&n.disk); !bytes.Equal(got, disk) {
				t.Fatalf("step %d: on the disk are %d bytes, and not the %d that were synced", step, len(got), len(disk))
			}
		}
	}
}
