package serve

import (
	"bytes"
	"fmt"
	"math"

	"github.com/dustin/go-humanize"
)

// Size is a number of bytes, written like "10MiB", "1.5GB" or "4096".
type Size int64

// UnmarshalText reads a Size. The error says what is wanted.
func (s *Size) UnmarshalText(text []byte) error {
	n, err := humanize.ParseBytes(string(text))
	if err != nil || n > math.MaxInt64 || bytes.ContainsRune(text, ',') { // which it leaves out: 1,5GiB would be 15
		return fmt.Errorf("%q is not a size (write 4096, 64KiB, 10MiB, 1GiB)", text)
	}
	*s = Size(n)
	return nil
}

// String returns the size in the largest binary unit, rounded.
func (s Size) String() string {
	if s < 0 {
		return fmt.Sprintf("%d B", int64(s))
	}
	return humanize.IBytes(uint64(s))
}
