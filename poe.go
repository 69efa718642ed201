// Package poe makes POST requests happen once, inside a Go program.
//
// A client gets a signed, single-use POST URI, POSTs to it, and may retry for ever: the handler runs at most once, its
// answer is kept, and every retry is led to it. Three lines around an existing handler:
//
//	gate, err := poe.Open(ctx, poe.Config{Store: "pebble:./poe-data"})
//	mux.Handle("/poe/", gate)                // minting, outcomes, problem pages
//	mux.Handle("/orders", gate.Once(orders)) // no "POST " in the pattern: GET on the POE URI must reach it too
//
// A handler behind Once is given a request whose body is complete, under a context that outlives the client. What it
// writes is recorded, made durable, and only then sent. If it panics, nobody knows how far it got: the action is
// unknown, and never runs again unless its route says how it is recovered.
package poe

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	core "github.com/postonce/poe/internal/poe"

	"github.com/postonce/poe/internal/ledger"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

// Config says how a Gate works. The zero value works: it keeps its ledger in ./poe-data and protects every POST. Open keeps none of its slices.
type Config struct {
	// Store is where the ledger is: "pebble:DIR", or "memory:", which forgets all when the process ends and is for
	// tests only. "": "pebble:./poe-data".
	Store string
	// Keys is the file with the keys that sign POE URIs, made by "poe keys new FILE". "": one inside the ledger's
	// folder, made where it is missing.
	Keys string
	// HighWater is the file that says how far the ledger has come, so that one which was emptied, or is an older copy, is refused: best on
	// another disk. "": beside the ledger's folder, its name with ".high-water" behind it.
	HighWater string
	// AcceptLostKeys lets what was done under keys after a backup be done again, where the ledger was restored from it. The ledger remembers that until it is
	// restored again, so it is for one start, and not for a configuration.
	AcceptLostKeys bool
	// Routes says which requests are protected. Empty: every POST that reaches a handler behind Once.
	Routes []Route
	// Prefix is the path under which clients see the Gate itself, also where it is mounted behind http.StripPrefix. "": "/poe/".
	Prefix string
	// Param is the query parameter that carries the token of a POE URI, at every path behind Once: a program that has one of that name itself gives the gate
	// another. A letter, and then letters, digits, - and _; what was minted under another name is no longer known. "": "poe".
	Param string
	// PublicURL is scheme and host under which clients see this program. "": addresses stay relative.
	PublicURL string

	TTL         time.Duration // how long a POE URI may wait for its POST; 1 h
	Retention   time.Duration // how long after that everything about it is remembered; 720 h
	Timeout     time.Duration // of a handler, after which its context ends; 30 s
	MaxWait     time.Duration // limit of Prefer: wait; 30 s
	MaxBody     int64         // of a request, in bytes; above: 413; 10 MiB
	MaxResponse int64         // kept of an answer, in bytes; above: outcome-purged; 32 MiB
	Spool       int64         // of disk for what is on its way, in bytes; full: 503; 1 GiB
	MinFree     int64         // must be left on the ledger's disk, in bytes; below: 503; 1 GiB, or a twentieth of the disk where that is less
	MaxRunning  int           // handlers at one time whose clients wait; above: 503; 1024

	// Callbacks says who may be told of outcomes, for routes with the door "callback". Nil: nobody.
	Callbacks *Callbacks
	// JWKS is a file with the public keys, a JWK Set, that bearer tokens are verified with, so that a refreshed token is the same
	// principal. "": no token is verified.
	JWKS string
	// JWTAudience is whom such a token must be made for (aud); one for somebody else is not verified. "": anybody.
	JWTAudience string
	// App is the program's whole handler, such as its mux, for what has no client of its own: accepted actions (the door "async"), what a
	// policy of recovery sends (Route.Recovery), and the question whether an answer may be repeated (Route.Authorize). Nil: none is accepted. What
	// is accepted reaches the handler behind Once through it, so it must be complete before the first request, and before Resume is called.
	App http.Handler

	Clock   func() time.Time      // time.Now
	Log     zerolog.Logger        // the zero value discards, but for panics that no client waits for: those go to package log
	Metrics prometheus.Registerer // until Close; nil: not registered
}

// ErrUnknownTarget is returned by Mint for a target that no route protects.
var ErrUnknownTarget = core.ErrUnknownTarget

// What Open refuses.
var (
	// ErrLocked: another process has the ledger open, or another Gate of this one.
	ErrLocked = store.ErrLocked
	// ErrCorrupt: what is stored is damaged.
	ErrCorrupt = store.ErrCorrupt
	// ErrRolledBack: the ledger is empty, or older than it was. What it has forgotten would be executed a second time.
	ErrRolledBack = store.ErrRolledBack
	// ErrAnother: the ledger is not the one that its keys, or its high-water file, belong to.
	ErrAnother = store.ErrAnother
)

// A Gate lets each action through once. It is an http.Handler for its own resources. It is safe for concurrent use.
type Gate struct {
	core   *core.Gate
	app    http.Handler
	store  store.Store
	cancel context.CancelFunc
	work   sync.WaitGroup // what Open started
}

// Open opens the ledger and its keys, settles what an earlier process left running, and starts the upkeep, which goes on until
// Close. ctx bounds the opening only. Only one process at a time can open a ledger in a folder.
//
// A ledger that must not be used is ErrCorrupt, ErrRolledBack or ErrAnother; one that another process, or another Gate, has is ErrLocked. Where the error says
// what to do, it has a method Hint() string.
func Open(ctx context.Context, cfg Config) (_ *Gate, err error) {
	if cfg.Store == "" {
		cfg.Store = "pebble:./poe-data"
	}
	conf, err := cfg.core()
	if err != nil {
		return nil, err
	}
	st, err := ledger.Open(ctx, cfg.Store, ledger.Config{Clock: cfg.Clock, Log: cfg.Log, Keys: cfg.Keys, HighWater: cfg.HighWater, MinFree: uint64(max(cfg.MinFree, 0)), AcceptLostKeys: cfg.AcceptLostKeys})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, st.Close())
		}
	}()
	keys, err := ledger.OpenKeys(ledger.KeysConfig{URL: cfg.Store, File: cfg.Keys, Store: st, Log: cfg.Log, Clock: cfg.Clock})
	if err != nil {
		return nil, err
	}
	spool, err := replay.NewSpool(replay.SpoolConfig{Disk: cfg.Spool, Clock: cfg.Clock, Log: cfg.Log})
	if err != nil {
		return nil, fmt.Errorf("making the spool: %w", err)
	}
	conf.Store, conf.Keys, conf.Spool = st, keys.Ring, spool
	g, err := core.New(ctx, conf)
	if err != nil {
		return nil, err
	}
	if err := g.Recover(ctx); err != nil {
		g.Unregister()
		return nil, err
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	gate := &Gate{core: g, app: cfg.App, store: st, cancel: cancel}
	gate.work.Go(func() { g.Work(run) })
	gate.work.Go(func() { _ = g.Run(run) }) // it ends without an error when run does
	gate.work.Go(func() { keys.Run(run) })
	return gate, nil
}

// Resume lets clients ask for asynchronous execution, executes what an earlier process accepted and did not send, and lets policies of recovery
// send what they have to. Call it when Config.App is complete: until then a route with Async answers 503. Without Config.App it does nothing.
func (g *Gate) Resume() {
	if g.app != nil {
		g.core.Defer(core.HandlerExecutor{Handler: g.app})
	}
}

// ServeHTTP serves the Gate's own resources: minting, outcomes, receipts, problem pages. Mount it at Config.Prefix.
func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request) { g.core.ServeHTTP(w, r) }

// Once returns a handler that lets each action through to next once. Requests that come through no door of their route go to next as
// they are, unless the route requires one. Mount it for all methods of a path: GET on a POE URI shows its state. It panics if next is nil.
// A request that comes through Once several times is guarded once; one that a handler makes, under the context that it was given, is guarded like any other.
func (g *Gate) Once(next http.Handler) http.Handler {
	if next == nil {
		panic("poe: nil handler")
	}
	return g.core.Once(core.HandlerExecutor{Handler: next}, next)
}

// Mint signs a POE URI for a method ("": the route's first, POST before others) and a target (path and query, as clients send them), for pages
// that are made on the server. It writes nothing. Whoever has the URI can use it; GET /poe/new binds what it mints to who asks. A target that no route protects is
// ErrUnknownTarget.
func (g *Gate) Mint(ctx context.Context, method, target string) (Minted, error) {
	m, err := g.core.Mint(ctx, core.MintRequest{Method: method, Target: target})
	return Minted(m), err
}

// Ready tells whether the gate takes new actions: not while it closes, nor where the ledger's disk is gone, nearly full, or does not answer. The error says why, and is for
// operators, as in the answer to a health check.
func (g *Gate) Ready(ctx context.Context) error { return g.core.Ready(ctx) }

// Backup copies the ledger, while it is in use, into a folder, which is made or empty, together with its keys where they lie in the ledger's own folder. What was durable when it was
// called is in the copy. poe restore puts it back. A ledger in memory has none.
func (g *Gate) Backup(ctx context.Context, dir string) error {
	_, err := ledger.Backup(ctx, g.store, dir, nil)
	return err
}

// Close refuses new actions, waits until those that run are finished, or ctx ends and they are settled as what is known of them then, and
// closes the ledger. Answers that are passed through (event streams) are not waited for: their handlers' contexts end. Stop the server first, or, where
// there are such, at the same time: http.Server.Shutdown waits for them.
// What is served afterwards is not executed: a new action gets 503, what was done is told as far as it is still in memory, and what is minted is
// good in the next process.
//
// It returns a second after the end of ctx at the latest, save that the ledger finishes what it has begun. A handler, or a Route.Recover, that
// goes on then although its context has ended is left alone: Close says so with an error, and what it does is unknown. One whose answer is
// passed through is left alone without a word, as it is done.
func (g *Gate) Close(ctx context.Context) error {
	g.core.Drain()
	g.core.EndStreams()
	err := g.core.Wait(ctx)
	g.core.Stop()
	if err != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		err = g.core.Wait(ctx)
	}
	g.cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		g.work.Wait()
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
	g.core.Unregister()
	return errors.Join(err, g.store.Close())
}

// ActionID returns the id of the action that the handler under ctx is executing: a UUIDv7, the same for every attempt. "" outside of
// one. It is what POE-Id says too, and what a handler should write beside what it does.
func ActionID(ctx context.Context) string {
	if id, ok := core.ActionID(ctx); ok {
		return id.String()
	}
	return ""
}
