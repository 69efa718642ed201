package core

import (
	"context"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/postonce/poe/internal/store"
)

// Clients say where they are called back, and a receiver that hangs holds a delivery for all the time that it may take. So no worker delivers: there
// are slots for that alone, few of them for one host, and what finds none waits in memory for the next that is free.
const (
	callsAtOnce  = 64     // deliveries under way
	callsPerHost = 8      // of them to one host
	callsWaiting = 10_000 // for a slot; what comes after them is put off in the ledger
)

// An outbox says which callbacks are delivered when.
type outbox struct {
	room    int // for those that wait
	mu      sync.Mutex
	under   map[store.ID]struct{} // deliveries under way
	calling map[string]int        // how many they are, by host
	queues  map[string][]store.ID // what waits, by host
	waiting map[store.ID]struct{} // the same
}

func newOutbox() *outbox {
	return &outbox{room: callsWaiting, under: map[store.ID]struct{}{}, calling: map[string]int{}, queues: map[string][]store.ID{}, waiting: map[store.ID]struct{}{}}
}

// free tells whether a delivery to host may begin, with the lock held.
func (o *outbox) free(host string) bool {
	return len(o.under) < callsAtOnce && o.calling[host] < callsPerHost
}

// full tells whether a callback to host can neither be delivered now nor wait. To one host no more wait than there is room left, so that one that hangs leaves
// half of it to the others.
func (o *outbox) full(host string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.free(host) && len(o.queues[host]) >= o.room-len(o.waiting)
}

// admit tells whether a callback has a slot: then whoever asks delivers it, and calls next afterwards. Otherwise it waits.
func (o *outbox) admit(id store.ID, host string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.free(host) {
		o.queues[host] = append(o.queues[host], id)
		o.waiting[id] = struct{}{}
		return false
	}
	o.under[id] = struct{}{}
	o.calling[host]++
	return true
}

// next gives the slot of that delivery to host to one that waits, if any may have it.
func (o *outbox) next(ended store.ID, host string) (id store.ID, to string, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.under, ended)
	if o.calling[host]--; o.calling[host] == 0 {
		delete(o.calling, host)
	}
	for to, queue := range o.queues { // in no order: no host is always the last
		if !o.free(to) {
			continue
		}
		id, queue = queue[0], queue[1:]
		if o.queues[to] = queue; len(queue) == 0 {
			delete(o.queues, to)
		}
		delete(o.waiting, id)
		o.under[id] = struct{}{}
		o.calling[to]++
		return id, to, true
	}
	return store.ID{}, "", false
}

// has tells whether a callback has a slot, or waits for one.
func (o *outbox) has(id store.ID) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, under := o.under[id]
	_, waits := o.waiting[id]
	return under || waits
}

// receiver is whom a callback is for: a host, whatever the port.
func receiver(r *store.Record) string {
	host := hostOf(r.Target)
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(host)
}

// send delivers a callback, if it is still due, and no other worker is at it.
func (g *Gate) send(ctx context.Context, id store.ID) {
	fl, first := g.flights.begin(id)
	if !first {
		return
	}
	defer g.flights.end(id, fl)
	if r, ok := g.due(ctx, id); ok && r.State == store.Queued {
		g.flights.decide(fl)
		g.deliver(ctx, fl, r)
	}
}

// putOff leaves a callback for later, the longer the older it is, if it is still due.
func (g *Gate) putOff(ctx context.Context, id store.ID) {
	fl, first := g.flights.begin(id)
	if !first {
		return
	}
	defer g.flights.end(id, fl)
	r, ok := g.due(ctx, id)
	if !ok || r.State != store.Queued {
		return
	}
	next := r
	now := g.now()
	next.Term, next.Due = g.newTerm(), now.Add(min(max(now.Sub(r.Claimed)/2, time.Minute), time.Hour))
	noteTry(&next, store.Event{At: now, From: r.State, To: r.State, Who: "callback", Why: "not sent: too many wait for their turn"})
	if _, err := g.writeAdvance(ctx, &r, &next, store.Also{}); err != nil {
		g.quarrel(err, &r, "putting off a callback")
	}
}
