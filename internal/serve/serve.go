package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/rs/zerolog"

	core "github.com/postonce/poe/internal/poe"

	"github.com/postonce/poe/internal/bearer"
	"github.com/postonce/poe/internal/gateway"
	"github.com/postonce/poe/internal/h1"
	"github.com/postonce/poe/internal/ledger"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/webhook"
)

// Options are what a server is given besides its configuration.
type Options struct {
	Log   zerolog.Logger
	Ready func(Addresses)  // called once, when requests are answered; nil: nobody waits
	Clock func() time.Time // time.Now

	AcceptLostKeys bool // after a restore: what was done under keys since the backup may be done again
}

// Addresses are where a server listens.
type Addresses struct {
	URL   string // of the gateway, as somebody on this machine would open it
	Admin string // of the admin listener; "": there is none
}

// What is kept of the grace: stopMargin for settling what is ended before its time and telling its clients, closeMargin for
// closing connections that do not end by themselves, and the ledger.
const (
	stopMargin  = 2 * time.Second
	closeMargin = 500 * time.Millisecond
)

// A server is everything that Run opens, in the order in which it is closed again.
type server struct {
	cfg    Config
	opt    Options
	store  store.Store
	keys   *ledger.Keys
	gate   *core.Gate
	hop    *gateway.Gateway
	cert   *tls.Certificate // nil: no TLS
	bearer *bearer.Verifier // nil: no token is believed
	token  *adminToken      // nil: the admin listener is on loopback, and needs none
	regs   *prometheus.Registry
	share  share          // of what may be open
	hangup chan os.Signal // SIGHUP: read the keys again
}

// Run serves until ctx ends, and returns nil when everything that was executing then is settled; also where it ends while the server is still starting. An error
// means that the server did not start, or could not go on.
func Run(ctx context.Context, cfg Config, opt Options) (err error) {
	if opt.Clock == nil {
		opt.Clock = time.Now
	}
	s := &server{cfg: cfg, opt: opt, share: shareOut(openFiles(), cfg.MaxConnections), regs: prometheus.NewRegistry(), hangup: make(chan os.Signal, 1)}
	signal.Notify(s.hangup, syscall.SIGHUP) // from the start to the end: unheard, it ends the process
	defer signal.Stop(s.hangup)
	// What is read from files that are named, and ports, come before the ledger: a mistake there must not cost a recovery, nor make a new one.
	if err := s.load(ctx); err != nil {
		return s.started(ctx, err)
	}
	public, admin, err := s.listen(ctx)
	if err != nil {
		return s.started(ctx, err)
	}
	defer func() { _ = public.Close() }() // the server has closed it before, mostly
	if admin != nil {
		defer func() { _ = admin.Close() }()
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.open(ctx); err != nil {
		return s.started(ctx, err)
	}
	return s.serve(ctx, public, admin)
}

// load reads the files that are named, no longer than until ctx ends: one may be a pipe that nobody writes to, or lie on a disk that does not answer.
func (s *server) load(ctx context.Context) error {
	read := make(chan error, 1)
	go func() { read <- errors.Join(s.loadCertificate(), s.loadToken(), s.loadVerifier()) }()
	select {
	case err := <-read:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// started is err, unless the start was only given up because ctx has ended: nothing was executed yet, and nothing is wrong.
func (s *server) started(ctx context.Context, err error) error {
	if ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
		return err
	}
	s.opt.Log.Info().Msg("stopped while it was starting")
	return nil
}

// A FileError is a file that the configuration names and that cannot be used as it is: starting again does not help.
type FileError struct{ Err error }

// Error says which, and why.
func (e *FileError) Error() string { return e.Err.Error() }

// Unwrap returns that.
func (e *FileError) Unwrap() error { return e.Err }

// loadCertificate reads the certificate, where there is to be TLS.
func (s *server) loadCertificate() error {
	if s.cfg.TLSCert == "" {
		return nil
	}
	cert, err := tls.LoadX509KeyPair(s.cfg.TLSCert, s.cfg.TLSKey)
	if err != nil {
		return &FileError{fmt.Errorf("loading the certificate (--tls-cert, --tls-key): %w", err)}
	}
	s.cert = &cert
	return nil
}

// loadVerifier reads the keys that bearer tokens are verified with, where there are to be any.
func (s *server) loadVerifier() (err error) {
	if s.cfg.JWKS == "" {
		return nil
	}
	if s.bearer, err = bearer.Open(bearer.Config{File: s.cfg.JWKS, Audience: s.cfg.JWTAudience, Clock: s.opt.Clock, Log: s.opt.Log}); err != nil {
		return &FileError{fmt.Errorf("--jwks: %w", err)}
	}
	return nil
}

// listen opens the listeners. The second one is nil where none is asked for.
func (s *server) listen(ctx context.Context) (_, _ *bounded, err error) {
	var lc net.ListenConfig
	var public, admin net.Listener
	if public, err = lc.Listen(ctx, "tcp", s.cfg.Listen); err != nil {
		return nil, nil, &ListenError{Address: s.cfg.Listen, Flag: "--listen", Err: err}
	}
	clients := bound(public, s.share.clients, &s.opt)
	if err := s.regs.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "poe", Name: "connections", Help: "Clients that are connected.",
	}, func() float64 { return float64(clients.connected()) })); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("registering metrics: %w", err), public.Close())
	}
	if s.cfg.Admin == "" {
		return clients, nil, nil
	}
	if admin, err = lc.Listen(ctx, "tcp", s.cfg.Admin); err != nil {
		return nil, nil, errors.Join(&ListenError{Address: s.cfg.Admin, Flag: "--admin", Err: err}, public.Close())
	}
	if err := s.reachable(admin); err != nil {
		return nil, nil, errors.Join(err, admin.Close(), public.Close())
	}
	return clients, bound(admin, adminConnections, &s.opt), nil
}

// open opens the ledger, its keys, the spool and the upstream, and settles what an earlier process left.
func (s *server) open(ctx context.Context) (err error) {
	log := s.opt.Log
	if s.store, err = ledger.Open(ctx, s.cfg.Store, ledger.Config{
		Clock: s.opt.Clock, Log: log, Keys: s.cfg.Keys, HighWater: s.cfg.HighWater, MinFree: uint64(max(s.cfg.MinFree, 0)), AcceptLostKeys: s.opt.AcceptLostKeys,
	}); err != nil {
		return err
	}
	if s.keys, err = ledger.OpenKeys(ledger.KeysConfig{URL: s.cfg.Store, File: s.cfg.Keys, Store: s.store, Log: log, Clock: s.opt.Clock}); err != nil {
		return &FileError{err}
	}
	spool, err := replay.NewSpool(replay.SpoolConfig{Disk: int64(s.cfg.Spool), Files: int64(s.share.bodies), Clock: s.opt.Clock, Log: log})
	if err != nil {
		return fmt.Errorf("making the spool: %w", err)
	}
	upstream, err := url.Parse(s.cfg.Upstream)
	if err != nil {
		return fmt.Errorf("reading the upstream's address: %w", err)
	}
	if s.hop, err = gateway.New(gateway.Config{
		Upstream: upstream, MaxConns: s.share.executing, MaxPassing: s.share.passing, Trusted: s.cfg.trusted(), ErrorLog: serverLog(log, s.opt.Clock), Clock: s.opt.Clock,
	}); err != nil {
		return err
	}
	if err := errors.Join(
		s.regs.Register(collectors.NewGoCollector()),
		s.regs.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})),
	); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	cfg := s.coreConfig(spool)
	if err := s.openCallbacks(&cfg); err != nil {
		return err
	}
	if s.gate, err = core.New(ctx, cfg); err != nil {
		return err
	}
	return s.gate.Recover(ctx)
}

// openCallbacks opens what only some routes need: who signs and sends callbacks.
func (s *server) openCallbacks(cfg *core.Config) (err error) {
	if b := s.cfg.Callbacks; len(b.Secrets) > 0 {
		cfg.Callbacks, err = webhook.New(webhook.Config{
			Allow: b.Allow, Secrets: b.Secrets, DangerouslyInsecure: b.DangerouslyInsecure, Clock: s.opt.Clock,
		})
		if err != nil {
			return fmt.Errorf("configuring callbacks: %w", err)
		}
	}
	return nil
}

func (s *server) coreConfig(spool *replay.Spool) core.Config {
	c := s.cfg
	out := core.Config{
		Store: s.store, Keys: s.keys.Ring, Spool: spool, Prefix: c.Prefix, Param: c.Param, PublicURL: c.PublicURL,
		TTL: c.TTL, Retention: c.Retention, Timeout: c.UpstreamTimeout, MaxWait: c.MaxWait,
		MaxBody: int64(c.MaxBody), MaxResponse: int64(c.MaxResponse), MaxRunning: c.MaxRunning, Workers: c.Workers, Front: int64(c.Front),
		Authorizer: s.hop.Asker(), Bearer: s.bearer,
		Clock: s.opt.Clock, Log: s.opt.Log, Metrics: s.regs,
	}
	for _, r := range c.Guarded() {
		out.Routes = append(out.Routes, r.guarded())
	}
	return out
}

// guarded is the route in the engine's words.
func (r Route) guarded() core.Route {
	out := core.Route{
		Name: r.Name, Match: r.Match, Doors: r.Doors, KeyHeaders: r.KeyHeaders, Compare: r.Compare, ClientID: r.ClientID, Unique: r.Unique, FreeOn: r.FreeOn,
		Require: r.Require, TTL: r.TTL, Retention: r.Retention, Release: r.Release, Async: r.Async, RetryFor: r.RetryFor,
		Principal: r.Principal, Authorize: r.Authorize, Origins: r.Origins,
		MarkSent: r.MarkSent, RecoverFor: r.RecoverFor, Probe: r.Probe, ProbeFences: r.ProbeFences, Compensate: r.Compensate,
	}
	switch r.Recovery {
	case core.RecoveryRepeat.String():
		out.Recovery = core.RecoveryRepeat
	case core.RecoveryProbe.String():
		out.Recovery = core.RecoveryProbe
	case core.RecoveryCompensate.String():
		out.Recovery = core.RecoveryCompensate
	}
	if r.Compensated == "unused" {
		out.Compensated = core.CompensatedUnused
	}
	if r.Consume == "any" {
		out.Consume = core.ConsumeAny
	}
	if r.Repeats == "refuse" {
		out.Repeats = core.RepeatsRefused
	}
	return out
}

// handler is the gateway as clients see it.
func (s *server) handler() http.Handler {
	guarded := s.gate.Once(s.hop, patient(s.hop.Proxy()))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refuse(w, r) || s.gate.TakesBack(w, r) {
			return
		}
		if s.gate.Owns(r.URL.Path) {
			s.gate.ServeHTTP(core.NewStreamWriter(w, patience), r)
			return
		}
		guarded.ServeHTTP(w, r)
	})
}

// serve answers requests until ctx ends, and then brings everything to rest.
func (s *server) serve(ctx context.Context, public, admin *bounded) error {
	s.gate.Defer(s.hop)
	errs := make(chan error, 2)
	front := s.front(s.handler(), public)
	go func() { errs <- front.Serve(public) }()
	servers := []stopper{front}
	at := Addresses{URL: openURL(public.Addr(), s.cert != nil)}
	if admin != nil {
		back := s.admin()
		back.ConnState = admin.follow
		servers = append(servers, back)
		at.Admin = openURL(admin.Addr(), false)
		go func() { errs <- back.Serve(admin) }()
	}
	house, stopHouse := context.WithCancel(context.WithoutCancel(ctx))
	var upkeep sync.WaitGroup
	upkeep.Go(func() { _ = s.gate.Run(house) }) // it ends without an error when house does
	upkeep.Go(func() { s.gate.Work(house) })
	upkeep.Go(func() { s.keys.Run(house) })
	go s.reloadOnHangup(house) // not waited for: a file that it reads may be a pipe, or lie on a disk that does not answer
	defer upkeep.Wait()
	defer stopHouse()

	s.opt.Log.Info().Str("url", at.URL).Str("admin", at.Admin).Str("upstream", s.cfg.Upstream).Str("ledger", ledger.Where(s.cfg.Store)).
		Int("max_connections", s.share.clients).Msg("serving")
	if s.share.clients < s.cfg.MaxConnections {
		s.opt.Log.Warn().Int("wanted", s.cfg.MaxConnections).Int("files", openFiles()).Msg("this process may not have enough files open for max_connections: let it have more (LimitNOFILE)")
	}
	if s.opt.Ready != nil {
		s.opt.Ready(at)
	}
	select {
	case err := <-errs:
		return fmt.Errorf("serving: %w", errors.Join(err, s.rest(servers)))
	case <-ctx.Done():
		s.opt.Log.Info().Dur("grace", s.cfg.Grace).Msg("stopping: no new work, what runs is finished")
		return s.rest(servers)
	}
}

// stalled is how long a client of HTTP/2 may take nothing of what is ready for it.
const stalled = 20 * time.Second

// streams is how many requests a client may have under way on one connection of HTTP/2, the fewest that are recommended (RFC 9113, section 6.5.2): each takes
// memory, also when its client takes nothing.
const streams = 100

// A stopper is a server that can be stopped.
type stopper interface {
	Serve(l net.Listener) error
	Shutdown(ctx context.Context) error
	Close() error
}

// A secure server is one with TLS.
type secure struct{ *http.Server }

// Serve serves what comes over TLS.
func (s secure) Serve(l net.Listener) error { return s.ServeTLS(l, "", "") }

// front returns the server of h for the clients that come to l. A body has its time (patient gives one that passes through more), also where nobody reads it; a head has
// less, and an idle connection does not stay for ever.
func (s *server) front(h http.Handler, l *bounded) stopper {
	front := s.public(h)
	front.ConnState = l.follow
	if s.cert == nil {
		return h1.New(front)
	}
	front.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*s.cert}, MinVersion: tls.VersionTLS12}
	return secure{front}
}

func (s *server) public(h http.Handler) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler: flushed(h), Protocols: protocols,
		// Whoever waits for another's execution may find that the body is needed after that.
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: patience + s.cfg.MaxWait, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: serverLog(s.opt.Log, s.opt.Clock),
		// A client that takes nothing holds the streams of its connection, and an execution that passes an interim answer on.
		HTTP2: &http.HTTP2Config{WriteByteTimeout: stalled, MaxConcurrentStreams: streams},
	}
}

// rest stops the servers: no new connection, no new execution; what runs is finished, and what is not finished when
// the grace is nearly over is ended and settled as what is known of it then.
func (s *server) rest(servers []stopper) error {
	s.gate.Drain()
	grace, cancel := context.WithTimeout(context.Background(), s.cfg.Grace)
	defer cancel()
	soft, softCancel := context.WithTimeout(grace, max(s.cfg.Grace-stopMargin, s.cfg.Grace/2))
	defer softCancel()
	hard, hardCancel := context.WithTimeout(grace, max(s.cfg.Grace-closeMargin, s.cfg.Grace*3/4))
	defer hardCancel()
	shut := make(chan struct{})
	go func() {
		defer close(shut)
		for _, one := range servers {
			_ = one.Shutdown(grace) // out of time: closed below
		}
	}()
	if s.gate.Wait(soft) != nil {
		s.opt.Log.Warn().Msg("the grace is over: what still runs is ended, and its outcome is unknown")
		s.gate.Stop()
	}
	err := s.gate.Wait(grace)
	select {
	case <-shut: // every answer is delivered
	case <-hard.Done():
	}
	for _, one := range servers {
		_ = one.Close() // streams and idle clients
	}
	<-shut
	return err
}

// close closes what open opened.
func (s *server) close() error {
	if s.hop != nil {
		s.hop.Close()
	}
	if s.store == nil {
		return nil
	}
	if err := s.store.Close(); err != nil {
		return fmt.Errorf("closing the ledger: %w", err)
	}
	return nil
}

// reloadOnHangup reads the key files, and the token of the admin listener, again at every SIGHUP.
func (s *server) reloadOnHangup(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.hangup:
			err := s.keys.Reload()
			if s.bearer != nil {
				err = errors.Join(err, s.bearer.Reload())
			}
			if s.token != nil {
				err = errors.Join(err, s.token.load())
			}
			if err != nil {
				s.opt.Log.Error().Err(err).Msg("reading the keys again: what could not be read stays what it was")
			}
		}
	}
}

// openURL returns the URL under which a listener is reached from this machine.
func openURL(a net.Addr, secure bool) string {
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	scheme := "http://"
	if secure {
		scheme = "https://"
	}
	return scheme + net.JoinHostPort(host, port)
}
