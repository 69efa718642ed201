// Package content tells what a request says at a place that somebody has named, such as a member of its body, and whether two
// requests have the same body.
//
// Both questions are asked of input that is hostile. What is read is bounded; what two applications could read differently, such as a
// member that is there twice, is an error and never a guess.
package content

import (
	"io"
	"net/http"
)

// A Source is a request that is here as a whole.
type Source struct {
	Header http.Header
	Host   string            // the host that was asked for, in one spelling: what a place header:Host means
	Vars   map[string]string // the variables of its path, by the route's template; may be nil
	Body   func() io.Reader  // the body from its beginning, each time
	Size   int64             // of the body, in bytes
	Digest [32]byte          // SHA-256 of the body
}

// limit is the largest body, decoded, that is looked into, in bytes.
const limit = 1 << 20
