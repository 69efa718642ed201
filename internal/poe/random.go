package core

import (
	"io"
	"sync"

	"github.com/postonce/poe/internal/store"
)

// A reservoir draws randomness for many ids and terms with one question to its source, which is a system call. It is safe for concurrent use.
type reservoir struct {
	source io.Reader

	mu   sync.Mutex
	room [512]byte
	left []byte // of room
}

// Read fills p, or fails as the source does.
func (r *reservoir) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for n := 0; ; {
		n += r.draw(p[n:])
		if n == len(p) {
			return n, nil
		}
		if err := r.refill(); err != nil {
			return n, err
		}
	}
}

// term is the next 8 bytes.
func (r *reservoir) term() (t store.Term, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.left) < len(t) {
		if err := r.refill(); err != nil {
			return t, err
		}
	}
	r.draw(t[:])
	return t, nil
}

// draw moves what is left into p. It is called under mu.
func (r *reservoir) draw(p []byte) int {
	n := copy(p, r.left)
	clear(r.left[:n]) // nothing is given out twice
	r.left = r.left[n:]
	return n
}

// refill is called under mu. Where the source fails nothing is left.
func (r *reservoir) refill() error {
	r.left = nil
	if _, err := io.ReadFull(r.source, r.room[:]); err != nil {
		return err
	}
	r.left = r.room[:]
	return nil
}
