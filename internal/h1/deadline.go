package h1

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Deadlines are those of a connection. To set one is a call into the runtime with a timer in it, three for each request, so what is set to what it is already stays.
type deadlines struct {
	of net.Conn

	read    time.Time   // what the loop has set; the zero time is none
	touched atomic.Bool // somebody else has set another one

	mu    sync.Mutex
	write time.Time
	left  bool // by a request that is answered: the next one has none
}

// limitRead sets the deadline for reading, as the loop has it.
func (d *deadlines) limitRead(t time.Time) {
	if d.touched.Swap(false) || !t.Equal(d.read) {
		d.read = t
		_ = d.of.SetReadDeadline(t) // an error could only mean that it is closed
	}
}

// limitWrite sets the deadline for writing of the request that is there.
func (d *deadlines) limitWrite(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left = false
	if t.Equal(d.write) {
		return nil
	}
	d.write = t
	return d.of.SetWriteDeadline(t) //nolint:wrapcheck // as it came
}

// leave says that the request is answered.
func (d *deadlines) leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left = true
}

// forget lifts what an earlier request has left, before anything is written for another.
func (d *deadlines) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.left && !d.write.IsZero() {
		d.write = time.Time{}
		_ = d.of.SetWriteDeadline(d.write) // an error could only mean that it is closed
	}
	d.left = false
}

// grain is the part of a limit by which it may last longer, so that it is not another one for each request.
const grain = 64

// in returns the moment in d from now, or a little later.
func (s *Server) in(d time.Duration) time.Time {
	now := time.Since(s.began) //nolint:forbidigo // as the connection has it
	if g := d / grain; g > 0 {
		now = now.Truncate(g) + g
	}
	return s.began.Add(now + d)
}
