package core

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/mux"
	"github.com/rs/zerolog"

	"github.com/postonce/poe/internal/loglimit"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

// A Gate lets every action through once. It serves its own resources as an http.Handler, and guards others with
// Once. All its methods may be called concurrently.
type Gate struct {
	cfg       Config
	publicURL string
	routes    routes
	store     store.Store
	front     *replay.Front[ready]
	clock     *store.Clock
	restored  time.Time // ids minted before it may have been forgotten
	lost      bool      // and names too
	flights   flights
	running   count   // executions under way
	bodies    *limits // of those on their way
	times     *limits // of executions; apart, so that many bodies that stay away make none of them slow to begin
	waiting   count   // requests that wait for another
	draining  atomic.Bool
	executor  atomic.Pointer[Executor] // of accepted actions; nil: none are accepted
	nudged    chan struct{}            // wakes the workers
	owed      chan struct{}            // wakes the courier
	past      chan struct{}            // tells Run that something may be past
	hastened  time.Time                // the latest that it was since Run has looked for what a clock that was ahead has put off
	ahead     round                    // through that
	orphans   orphans
	trouble   loglimit.Line // that the ledger takes nothing
	unasked   loglimit.Line // of who asks the application (authorize) and hears neither yes nor no
	hostless  loglimit.Line // of who repeats what it cannot be asked about
	unread    loglimit.Line // that a stored answer cannot be read, which whoever asks for it meets each time
	unminted  loglimit.Line // that no POE URI can be made, which whoever asks for one meets each time
	stuck     loglimit.Line // that stored requests cannot be read, since nothing takes them meanwhile
	delayed   loglimit.Line // that what was accepted waits for what is in the way of all of it
	macs      sync.Pool     // of *mac, keyed with the ledger's secret
	random    reservoir
	own       http.Handler
	metrics   *metrics
	log       zerolog.Logger
}

// New checks cfg, every mistake at once, and makes a gate. It reads the ledger's floor and starts nothing: call
// Recover before the first request, and Run for as long as the gate serves.
func New(ctx context.Context, cfg Config) (*Gate, error) {
	cfg = cfg.withDefaults()
	if err := errors.Join(cfg.opened(), cfg.validate()); err != nil {
		return nil, err
	}
	rs, err := newRoutes(&cfg)
	if err != nil {
		return nil, err
	}
	floor, err := cfg.Store.Floor(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the ledger's floor: %w", err)
	}
	g := &Gate{
		cfg:       cfg,
		publicURL: strings.TrimSuffix(cfg.PublicURL, "/"),
		routes:    rs,
		store:     cfg.Store,
		front:     replay.NewFront[ready](cfg.Front),
		clock:     cfg.Store.Clock(),
		restored:  floor.Minted,
		lost:      floor.Lost,
		bodies:    newLimits(),
		times:     newLimits(),
		nudged:    make(chan struct{}, 1),
		owed:      make(chan struct{}, 1),
		past:      make(chan struct{}, 1),
		random:    reservoir{source: cfg.Random},
		log:       cfg.Log,
	}
	secret := cfg.Store.Secret()
	g.macs.New = func() any { return &mac{Hash: hmac.New(sha256.New, secret[:])} }
	if g.metrics, err = newMetrics(g, cfg.Metrics); err != nil {
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	g.own = g.resources()
	if g.lost {
		g.log.Warn().Time("restored", g.restored).
			Msg("the ledger was put back by poe restore: a key that is new to it gets 503, since it may have been used in what is lost, until --accept-lost-keys")
	}
	return g, nil
}

// now returns the time in UTC, to the millisecond, as the ledger keeps it. It does not run backwards: what was
// called expired once is not valid again because a clock was set back.
func (g *Gate) now() time.Time {
	return g.clock.Tick().UTC().Truncate(time.Millisecond)
}

// passed is how long it is since at. Of what was begun before the clock leapt ahead it is as long as can be believed: to give that up cannot be taken back
// when the clock is set right.
func (g *Gate) passed(at time.Time) time.Duration {
	now := g.now()
	if floor := g.clock.Floor(); g.clock.Ahead() > 0 && !floor.Before(at) {
		now = floor
	}
	return now.Sub(at)
}

// A mac is a keyed hash with room for what goes in and out, which would be allocated anew each time.
type mac struct {
	hash.Hash
	in  []byte
	out [sha256.Size]byte
}

// resources routes what lies under the prefix.
func (g *Gate) resources() http.Handler {
	m := mux.NewRouter().SkipClean(true).UseEncodedPath()
	sub := m.PathPrefix(g.cfg.Prefix).Subrouter()
	sub.HandleFunc("/outcomes/{ref}", g.serveAtOutcome)
	sub = sub.NewRoute().Subrouter()
	sub.Use(readOnly)
	sub.HandleFunc("/new", g.serveNew)
	sub.HandleFunc("/routes", g.serveRoutes)
	sub.HandleFunc("/outcomes/{ref}/receipt", g.serveReceipt)
	sub.HandleFunc("/problems/{name}", g.serveProblem)
	m.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.refuse(w, r, g.problem(problemNotFound))
	})
	return m
}

// readOnly refuses all methods but GET and HEAD. The router's own answer to other methods depends on the order of its routes.
func readOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			notAllowed(w, "GET, HEAD")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func notAllowed(w http.ResponseWriter, allow string) {
	w.Header().Set("Allow", allow)
	http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
}

// ServeHTTP serves what lies under the prefix: minting, outcomes, receipts, problem pages.
func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	guarded := noteFront(w)
	guardFront(w.Header())
	if !g.preflight(w, r) {
		g.own.ServeHTTP(guarded, g.asSent(r))
	}
}

// asSent returns r with the path that the client has sent, where that is one of ours and something in front (http.StripPrefix) has taken its beginning away.
func (g *Gate) asSent(r *http.Request) *http.Request {
	if g.Owns(r.URL.Path) {
		return r
	}
	sent, err := url.ParseRequestURI(requestTarget(r))
	if err != nil || !g.Owns(sent.Path) {
		return r
	}
	sent.RawQuery = r.URL.RawQuery
	out := new(http.Request)
	*out = *r
	out.URL = sent
	return out
}

// Owns tells whether the path is one of the gate's own resources.
func (g *Gate) Owns(path string) bool { return strings.HasPrefix(path, g.cfg.Prefix) }

// Once guards what exec executes: a request that comes through a door of its route is executed once, everything else goes to pass,
// which is the same application without a guard.
func (g *Gate) Once(exec Executor, pass http.Handler) http.Handler {
	at := new(entrance)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if otherCase(r.Method) {
			http.Error(w, "methods are written in capitals", http.StatusNotImplemented)
			return
		}
		switch g.arrives(r, at) {
		case itself:
			defer noteForm(r, r.MultipartForm)
			pass.ServeHTTP(w, r)
			return
		case twice:
			g.log.Error().Str("method", r.Method).Msg("the request that is executed came to the same Once again: it is refused, as its handler must have it one time")
			http.Error(w, "the request that is executed was here before", http.StatusInternalServerError)
			return
		case another:
		}
		if r.Method == http.MethodDelete && g.routes.watchDeletions() {
			d := g.deletion(w, r)
			g.let(d, r, at, exec, pass)
			if r.Context().Err() == nil {
				d.head(http.StatusOK) // a handler that wrote nothing; one that panicked, or gave up, has deleted nothing that we know of
			}
			return
		}
		g.let(w, r, at, exec, pass)
	})
}

// let is Once without its exceptions.
func (g *Gate) let(w http.ResponseWriter, r *http.Request, at *entrance, exec Executor, pass http.Handler) {
	if g.guards(w, r, at, exec, pass) {
		soak(w, r, g.cfg.Patience)
	}
}

// guards answers a request, and tells whether it did so without its whole body.
func (g *Gate) guards(w http.ResponseWriter, r *http.Request, at *entrance, exec Executor, pass http.Handler) bool {
	target := requestTarget(r)
	rest, token, found, ok := splitToken(target, g.cfg.Param)
	if found {
		g.metrics.viaPOE.Inc()
		c := calls.Get().(*call) //nolint:forcetypeassert // nothing else is in it
		c.g, c.w, c.r, c.target, c.token, c.wellFormed, c.through, c.exec, c.pass = g, noteFront(w), r, rest, token, ok, at, exec, pass
		g.door(c)
		unread := c.body == nil || c.bodyErr != nil
		c.giveBack()
		return unread
	}
	if g.renamed(target) {
		guardFront(w.Header())
		g.refuse(w, r, g.problem(problemNotFound))
		return true
	}
	rt, by := g.routes.protecting(r, target)
	if rt != nil && g.TakesBack(w, r) { // executed for a client it would have an id, as a compensation has
		return true
	}
	if rt != nil {
		c := calls.Get().(*call) //nolint:forcetypeassert // as above
		c.g, c.w, c.r, c.target, c.route, c.at, c.through, c.exec, c.pass = g, noteFront(w), r, target, rt, by, at, exec, pass
		entered := g.enter(c)
		unread := c.body == nil || c.bodyErr != nil
		c.giveBack()
		if entered {
			return unread
		}
	}
	g.metrics.viaNone.Inc()
	if rt != nil && rt.Require {
		g.requireDoor(w, r, rt, target)
		return true
	}
	g.plain(w, r, target, pass)
	return false
}

// arrives tells what a request is to a Once: an accepted action reaches its handler through the program's own routes, and so through Once, and a program
// may have one Once around another. What this gate executes must not be guarded a second time. Whatever else a handler asks the program for, under the
// context that it was given, is a request like any other.
func (g *Gate) arrives(r *http.Request, at *entrance) arrival {
	e, ok := r.Context().Value(executionKey{}).(*execution)
	if !ok || e.gate != g {
		return another
	}
	return e.arrives(r, at)
}

// plain serves a request without a door.
func (g *Gate) plain(w http.ResponseWriter, r *http.Request, target string, pass http.Handler) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodOptions {
		g.passOn(w, r, pass)
		return
	}
	rt := g.routes.page(pathOf(target))
	if rt == nil {
		g.passOn(w, r, pass)
		return
	}
	if r.Method != http.MethodOptions {
		lw := &linkWriter{ResponseWriter: w, add: varyPOE}
		defer lw.head(http.StatusOK) // a handler that wrote nothing
		w = lw
	}
	if poeVersion(r.Header) {
		g.withLinks(w, r, rt, target, pass)
		return
	}
	g.passOn(w, r, pass)
}

// Drain refuses new executions from now on; what runs goes on.
func (g *Gate) Drain() { g.draining.Store(true) }

// Stop ends what still runs: each such action is settled by what is known of it then, mostly unknown.
func (g *Gate) Stop() {
	g.Drain()
	g.flights.stop()
}

// EndStreams ends answers that are passed through, which nobody waits for: their handlers' contexts end.
func (g *Gate) EndStreams() { g.flights.endStreams() }

// Wait returns when nothing is being executed, or with the error of ctx. Drain first, or it may not end.
func (g *Gate) Wait(ctx context.Context) error {
	if err := g.flights.wait(ctx); err != nil {
		return fmt.Errorf("waiting for executions to end: %w", err)
	}
	return nil
}

// Unregister takes the gate's metrics out of Config.Metrics, so that another gate can have them there.
func (g *Gate) Unregister() { g.metrics.unregister() }

// Ready tells whether the gate can take new work, with a reason for operators.
func (g *Gate) Ready(ctx context.Context) error {
	if g.draining.Load() {
		return errDraining
	}
	if err := g.store.Ready(ctx); err != nil {
		return fmt.Errorf("the ledger is not ready: %w", err)
	}
	return nil
}

// Notes are what an operator should know of a gate that is ready all the same; none, mostly.
func (g *Gate) Notes() []string {
	var notes []string
	if ahead := g.store.Health().Ahead; ahead > 0 {
		notes = append(notes, fmt.Sprintf("the clock is %s ahead of the ledger's time: nothing is forgotten until it is corrected or confirmed (poe clock confirm)", ahead.Round(time.Second)))
	}
	if behind := g.clock.Behind(); behind > 0 {
		notes = append(notes, fmt.Sprintf("the clock is %s behind the ledger's time: until it has caught up that goes at half its pace: what expires, or is to be done later, takes twice as long", behind.Round(time.Second)))
	}
	if g.lost {
		notes = append(notes, "the ledger was restored: keys that are new to it get 503 until --accept-lost-keys")
	}
	if err := g.cfg.Spool.Trouble(); err != nil {
		notes = append(notes, fmt.Sprintf("the temporary folder did not take the last large body, so that large requests get 503, and large answers are not kept: %v", err))
	}
	return notes
}

// ConfirmClock has it that the wall clock is right, though it leapt.
func (g *Gate) ConfirmClock() {
	g.store.ConfirmClock()
	select {
	case g.past <- struct{}{}:
	default: // it has been told
	}
}

// keepFor returns the days that an id asks to be kept for.
func keepFor(ttl, retention time.Duration) (int, error) {
	const most = store.MaxDays * store.Day
	if ttl > most || retention > most { // their sum may be more than a time.Duration holds, and come out as a day
		return 0, fmt.Errorf("keeping actions for %s after a ttl of %s: both together can be %d days at most", retention, ttl, store.MaxDays)
	}
	return store.DaysFor(ttl + store.Skew + retention)
}
