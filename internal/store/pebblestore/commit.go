package pebblestore

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postonce/poe/internal/killpoint"
	"github.com/postonce/poe/internal/store"
)

// groupSize is the number of bytes at which a group is full and the next one begins. Batches far larger
// take another, slower way through Pebble.
const groupSize = 1 << 20

// A committer makes writes durable, many with one sync. One goroutine commits, so that the next group goes to the disk as soon as
// it is free: handing the work on from writer to writer leaves the disk idle until the next one is scheduled.
type committer struct {
	s    *Store
	work chan struct{} // holds one token when there is a group to commit; closed by end
	over chan struct{} // closed when the goroutine has ended

	durable atomic.Uint64 // the sequence of the latest group that is synced

	mu       sync.Mutex
	queue    []*group // the groups that wait, in the order of their writes; only the last one takes more
	sequence uint64   // of the latest group
}

// A group is the writes that share a sync.
type group struct {
	batch *pebble.Batch
	done  chan struct{} // closed when err says how it ended
	err   error

	writes   killpoint.Writes // first, so that it needs no room where there are no kill points
	members  int              // how many writes it is
	sequence uint64           // once it is off the queue
}

func (c *committer) begin(s *Store) {
	c.s = s
	c.sequence = s.meta.sequence
	c.durable.Store(c.sequence)
	c.work, c.over = make(chan struct{}, 1), make(chan struct{})
	go c.run()
}

// end waits for the goroutine. Nothing may be submitted any more. It does nothing where begin was not called.
func (c *committer) end() {
	if c.work != nil {
		close(c.work)
		<-c.over
	}
}

// A filler puts a write into a batch.
type filler interface{ fill(b *pebble.Batch) error }

// fillFunc is a filler.
type fillFunc func(b *pebble.Batch) error

func (f fillFunc) fill(b *pebble.Batch) error { return f(b) }

// submit returns when what w puts into the batch is durable. After any error nobody knows whether it is. state is what the
// write makes of a record, and Absent for upkeep; it names the moment for those who kill the process at it.
// Its callers hold the locks of whatever w touches, so the order of the writes in a group does not matter.
func (c *committer) submit(state store.State, w filler) error {
	c.mu.Lock()
	g := c.open()
	g.members++
	if g.err == nil {
		g.err = w.fill(g.batch)
	}
	g.writes.Add(state)
	c.mu.Unlock()
	killpoint.Queued(state)
	select {
	case c.work <- struct{}{}:
	default: // it has been told
	}
	<-g.done
	return g.err
}

// open returns the group that takes writes. It is called under mu.
func (c *committer) open() *group {
	if n := len(c.queue); n > 0 && c.queue[n-1].batch.Len() < groupSize {
		return c.queue[n-1]
	}
	g := &group{batch: c.s.db.NewBatch(), done: make(chan struct{})}
	c.queue = append(c.queue, g)
	return g
}

// yields is how often the others run before a group is committed: who is about to write may join. On two busy cores that makes
// larger groups, fewer syncs, and a fifth more actions; on an idle machine it costs nothing.
const yields = 4

// timeSlice is how long Go's scheduler lets a goroutine run before others have their turn. A turn that takes longer is of who computes, and not of who is about to write.
const timeSlice = 10 * time.Millisecond

// letJoin has the others run, by yield.
func letJoin(yield func()) {
	begun := time.Now() //nolint:forbidigo // the machine's
	for range yields {
		yield()
		if time.Since(begun) >= timeSlice { //nolint:forbidigo // the machine's
			return
		}
	}
}

func (c *committer) run() {
	defer close(c.over)
	for range c.work {
		for {
			letJoin(runtime.Gosched)
			g := c.next()
			if g == nil {
				break
			}
			c.commit(g)
		}
	}
}

// next takes the first group off the queue, with the stamp that every batch carries; nil if there is none.
func (c *committer) next() *group {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 {
		return nil
	}
	g := c.queue[0]
	c.queue = c.queue[1:]
	c.sequence++
	g.sequence = c.sequence
	if g.err == nil {
		g.err = g.batch.Set(metaKey(metaClock), clockValue(c.sequence, c.s.clock.Raise()), nil)
	}
	return g
}

func (c *committer) commit(g *group) {
	g.writes.Commit()
	if g.err == nil {
		g.err = c.sync(g.batch) // from here on the group is durable
	}
	if g.err == nil {
		c.durable.Store(g.sequence)
	}
	if err := g.batch.Close(); err != nil && g.err == nil {
		g.err = err
	}
	close(g.done)
}

// sync commits b. Pebble reports a failed commit as fatal and does not return from it. Should it panic, or return
// an error all the same, its pipeline is not to be trusted either, and a server that recovers panics would go on with it.
func (c *committer) sync(b *pebble.Batch) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.s.c.fatal(fmt.Sprintf("committing: %v", p))
		}
	}()
	if err := b.Commit(pebble.Sync); err != nil {
		c.s.c.fatal(fmt.Sprintf("committing: %v", err))
	}
	return nil
}
