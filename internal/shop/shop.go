// Package shop is a small shop to try things out on: an ordinary web application that knows nothing of poe.
//
// It does what real applications do to their clients. It can be slow, it can fail, and it can take an order and
// lose the connection before it says so, after which an ordinary client either orders twice or not at all.
package shop

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// Config is what a Shop is made of. A zero field has the default in its comment.
type Config struct {
	Limit int              // orders that are remembered, the latest; 1000
	Clock func() time.Time // time.Now

	Hooks string // address of its own POST /hooks, for who wants to be called back there

	// Mint returns a single-use address for a form that POSTs to target, as a server-side page of any application
	// would get it from the gateway in front. Nil: the page has the plain form only.
	Mint func(ctx context.Context, target string) (string, error)
}

// Order is one order that was taken.
type Order struct {
	ID       int       `json:"id"`
	Item     string    `json:"item"`
	Quantity int       `json:"quantity"`
	Taken    time.Time `json:"taken"`
}

// Shop takes orders and keeps them in memory. It is an http.Handler, safe for concurrent use:
//
//	GET  /            a page with order forms
//	GET  /orders      all orders that are remembered, the latest first
//	GET  /orders/N    one order
//	POST /orders      takes an order: a form or JSON with item and quantity
//
//	POST /orders/N/payment        takes the money for it, each time
//	POST /gifts/REF               sends a gift that the client has numbered, each time
//	GET, PUT, DELETE /notes/NAME  notes with version tags
//	POST, GET /hooks              hears events, and tells which
//
//	POST /bookings/HOW             books a room, once for a POE-Id
//	GET /bookings                  all bookings
//	GET /bookings/by-action/ID     the booking of an action
//	POST /bookings/cancel/ID       takes it back
//
// A POST may be made difficult: ?delay=3s takes that long (30 s at most), ?fail=503 fails with that status and takes
// nothing, and ?fail=reset takes the order and then cuts the connection instead of an answer.
// Answers are JSON, or pages where the client prefers HTML.
type Shop struct {
	cfg Config
	mux *http.ServeMux

	mu     sync.Mutex // guards what follows
	orders []Order    // the latest Limit orders, oldest first
	taken  int        // orders ever taken

	paid, gifts, written int // how often
	notes                map[string]note
	heard                []heard // the latest events, oldest first
	bookings             []booking
}

// New returns an empty Shop.
func New(cfg Config) *Shop {
	if cfg.Limit == 0 {
		cfg.Limit = 1000
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	s := &Shop{cfg: cfg, mux: http.NewServeMux(), notes: map[string]note{}}
	s.mux.HandleFunc("GET /{$}", s.front)
	s.mux.HandleFunc("GET /orders", s.list)
	s.mux.HandleFunc("GET /orders/{id}", s.show)
	s.mux.HandleFunc("POST /orders", s.order)
	s.patterns()
	s.bookingsOf()
	return s
}

// ServeHTTP serves the shop.
func (s *Shop) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// take remembers an order and forgets the oldest beyond the limit.
func (s *Shop) take(f form) Order {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken++
	o := Order{ID: s.taken, Item: f.Item, Quantity: f.Quantity, Taken: s.cfg.Clock().UTC().Truncate(time.Second)}
	s.orders = append(s.orders, o)
	if len(s.orders) > s.cfg.Limit {
		s.orders = append(s.orders[:0], s.orders[1:]...)
	}
	return o
}

// latest returns what is remembered, the latest first.
func (s *Shop) latest() []Order {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Order, 0, len(s.orders))
	for i := len(s.orders) - 1; i >= 0; i-- {
		all = append(all, s.orders[i])
	}
	return all
}

// find returns the order with that number.
func (s *Shop) find(id int) (Order, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.orders {
		if o.ID == id {
			return o, true
		}
	}
	return Order{}, false
}
