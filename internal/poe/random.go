package core

import (
	"io"
	"sync"
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

// draw gives out what is left, once, as far as p has room. It is called under mu.
func (r *reservoir) draw(p []byte) int {
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n
}

// refill is called under mu, when nothing is left.
func (r *reservoir) refill() error {
	if _, err := io.ReadFull(r.source, r.room[:]); err != nil {
		return err
	}
	r.left = r.room[:]
	return nil
}
