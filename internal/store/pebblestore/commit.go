package pebblestore

import (
	"fmt"
	"runtime"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// groupSize is the number of bytes at which a group is full and the next one begins. Batches far larger
// take another, slower way through Pebble.
const groupSize = 1 << 20

// A committer makes writes durable, many with one sync.
type committer struct {
	s *Store

	mu       sync.Mutex
	queue    []*group // the groups that wait, in the order of their writes; only the last one takes more
	leading  bool     // somebody commits, or has been woken to
	sequence uint64   // of the latest group
}

// A group is the writes that share a sync.
type group struct {
	batch *pebble.Batch
	lead  chan struct{} // holds one token when one of the members is to commit
	done  chan struct{} // closed when err says how it ended
	err   error

	members int // how many writes it is
}

func (c *committer) begin(s *Store) {
	c.s = s
	c.sequence = s.meta.sequence
}

// submit returns when what fill put into the batch is durable. After any error nobody knows whether it is.
// Its callers hold the locks of whatever fill touches, so the order of the writes in a group does not matter.
func (c *committer) submit(fill func(*pebble.Batch) error) error {
	c.mu.Lock()
	g := c.open()
	g.members++
	if g.err == nil {
		g.err = fill(g.batch)
	}
	first := !c.leading
	c.leading = true
	c.mu.Unlock()
	if !first {
		select {
		case <-g.done:
			return g.err
		case <-g.lead:
		}
	}
	c.commit()
	return g.err
}

// open returns the group that takes writes. It is called under mu.
func (c *committer) open() *group {
	if n := len(c.queue); n > 0 && c.queue[n-1].batch.Len() < groupSize {
		return c.queue[n-1]
	}
	g := &group{batch: c.s.db.NewBatch(), lead: make(chan struct{}, 1), done: make(chan struct{})}
	c.queue = append(c.queue, g)
	return g
}

// commit commits the first group, to which the caller belongs, and wakes a member of the next.
func (c *committer) commit() {
	// Who is about to write may join: on two busy cores that makes larger groups, fewer syncs, and 6 % more actions.
	runtime.Gosched()
	c.mu.Lock()
	g := c.queue[0]
	c.queue = c.queue[1:]
	c.sequence++
	if g.err == nil {
		g.err = g.batch.Set(metaKey(metaClock), clockValue(c.sequence, c.s.clock.Raise()), nil)
	}
	c.mu.Unlock()
	if g.err == nil {
		g.err = c.sync(g.batch) // from here on the group is durable
	}
	if err := g.batch.Close(); err != nil && g.err == nil {
		g.err = err
	}
	c.mu.Lock()
	if len(c.queue) > 0 {
		c.queue[0].lead <- struct{}{}
	} else {
		c.leading = false
	}
	c.mu.Unlock()
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
