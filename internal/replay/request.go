package replay

import (
	"crypto/tls"
	"net/http"
)

// A Request is a complete request: its body is spooled, hashed and within limits, its fields are end-to-end
// fields only. It can be executed, and executed again, without its client.
type Request struct {
	Method  string
	Target  string      // path and query, octet for octet as received, without our parameter
	Host    string      // as the client named it
	Header  http.Header // the executor's from then on; it may change it
	Trailer http.Header // of a chunked request; may be nil
	Body    *Body       // never nil, may be empty; released by the engine
	// Forward holds the fields that tell the application about us, under the exact names to be sent, in their order:
	// Idempotency-Key if the client sent none, and POE-Id.
	Forward []Field

	RemoteAddr string               // of the client, as http.Request has it
	TLS        *tls.ConnectionState // of the client's connection; nil without TLS
	Via        string               // what we add to Via; "": it is a request of our own
}

// Via says that a request came through here, and in which version of HTTP it came, as a gateway must (RFC 9110 section 7.6.3).
// It goes after what the Via of the request says of those before.
func Via(r *http.Request) string {
	switch {
	case r.ProtoMajor == 2:
		return "2.0 poe"
	case r.ProtoMajor == 1 && r.ProtoMinor == 0:
		return "1.0 poe"
	default:
		return "1.1 poe"
	}
}

// A Field is one field line.
type Field struct{ Name, Value string }

// Proof is what an executor can say of an execution after it ended.
type Proof uint8

// The proofs. The zero value claims the least.
const (
	// Broken: some of the request may have left, and no complete answer came back.
	Broken Proof = iota
	// Unsent: surely no byte of the request left.
	Unsent
	// Complete: the recorder holds a complete answer.
	Complete
)

// String names the proof in one word.
func (p Proof) String() string {
	switch p {
	case Unsent:
		return "unsent"
	case Complete:
		return "complete"
	default:
		return "broken"
	}
}
