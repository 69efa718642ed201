package gateway

import "encoding/binary"

// recordHead is the length of a TLS record's head: type, version, length (RFC 8446 section 5.1).
const recordHead = 5

// records follows the records of a TLS stream, only to tell whether the last one is complete.
type records struct {
	head [recordHead]byte
	have int // bytes of the head seen
	left int // bytes of the fragment to come
}

func (r *records) follow(p []byte) {
	for len(p) > 0 {
		if r.left > 0 {
			n := min(r.left, len(p))
			r.left -= n
			p = p[n:]
			continue
		}
		n := copy(r.head[r.have:], p)
		r.have += n
		p = p[n:]
		if r.have == recordHead {
			r.have, r.left = 0, int(binary.BigEndian.Uint16(r.head[recordHead-2:]))
		}
	}
}

func (r *records) whole() bool { return r.have == 0 && r.left == 0 }
