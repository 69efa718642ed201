// Package content tells what a request says at a place that somebody has named, such as a member of its body, and whether two
// requests have the same body.
//
// Both questions are asked of input that is hostile. What is read is bounded; what two applications could read differently, such as a
// member that is there twice, is an error and never a guess.
package content

import (
	"io"
	"net/http"
	"runtime"

	"github.com/postonce/poe/internal/replay"
)

// A Source is a request that is here as a whole.
type Source struct {
	Header http.Header
	Query  string            // as the application sees it
	Host   string            // the host that was asked for, in one spelling: what a place header:Host means
	Vars   map[string]string // the variables of its path, by the route's template; may be nil
	Body   func() io.Reader  // the body from its beginning, each time
	Size   int64             // of the body, in bytes
	Digest [32]byte          // SHA-256 of the body
}

// limit is the largest body, decoded, that is looked into, in bytes.
const limit = 1 << 20

// looking has room for as many who look into a large body at a time as there is use of: each needs a processor, and memory beyond the body.
var looking = make(chan struct{}, 2*runtime.NumCPU())

// freely is the size up to which a body that is not coded is looked into without waiting for others, in bytes.
const freely = 16 << 10

// look waits for room to look into the body, if it needs much, and returns what gives it back.
func (r *reader) look() (done func()) {
	if r.src.Size <= freely && !replay.Coded(r.src.Header) {
		return func() {}
	}
	looking <- struct{}{}
	return func() { <-looking }
}
