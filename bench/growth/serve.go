package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"github.com/postonce/poe/bench/internal/proc"
)

// A subject is a ledger of one size, and what was measured on it.
type subject struct {
	size   int
	dir    string  // that holds it
	filled float64 // actions a second that it was filled with

	server *server

	started, restarted time.Duration // after a clean stop; after a kill under load
	posts, outcomes    []figures     // one for each round
	consumed           int           // by POSTs, beside size
	peak, end          int64         // bytes of resident memory
	files              int
	asIs, compact      int64 // bytes on disk, for an action, without the answer's body
}

func (s *subject) ledger() string { return ledgerIn(s.dir) }

// A server is poe serve on a ledger.
type server struct {
	*proc.Process
	host  string
	admin string
}

// startLimit is how long a start may take before the run is given up.
const startLimit = time.Minute

// start starts poe with its default settings, and returns when it is ready, and how long that took.
func (p *plan) start(ctx context.Context, s *subject, upstream string) (*server, time.Duration, error) {
	port, err1 := proc.FreePort()
	admin, err2 := proc.FreePort()
	if err := errors.Join(err1, err2); err != nil {
		return nil, 0, err
	}
	srv := &server{host: "127.0.0.1:" + strconv.Itoa(port), admin: "http://127.0.0.1:" + strconv.Itoa(admin)}
	began := p.clock()
	var err error
	srv.Process, err = proc.Start(proc.Spec{
		Name: fmt.Sprintf("poe on %d actions", s.size), Path: p.binary,
		Args: []string{"serve", "--upstream", upstream, "--store", "pebble:" + s.ledger(), "--listen", srv.host, "--admin", srv.admin[len("http://"):]},
	})
	if err != nil {
		return nil, 0, err
	}
	if err := p.ready(ctx, srv); err != nil {
		return nil, 0, errors.Join(err, srv.Stop())
	}
	return srv, p.clock().Sub(began), nil
}

// ready waits until the server can take requests.
func (p *plan) ready(ctx context.Context, srv *server) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for {
		status, err := get(ctx, srv.admin+"/readyz")
		if err == nil && status == http.StatusOK {
			return nil
		}
		if err := srv.Alive(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for poe to be ready: %w", errors.Join(ctx.Err(), err))
		case <-again.C:
		}
	}
}

func get(ctx context.Context, url string) (int, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	res, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, errors.Join(err, res.Body.Close())
}

// kill ends the server as a crash would, and starts it anew.
func (p *plan) kill(ctx context.Context, s *subject, upstream string) (err error) {
	if err := syscall.Kill(s.server.PID(), syscall.SIGKILL); err != nil {
		return fmt.Errorf("killing poe: %w", err)
	}
	_ = s.server.Stop() // waits for it, and says that it has ended, which it was to
	s.server, s.restarted, err = p.start(ctx, s, upstream)
	return err
}

// application begins the application behind poe. It answers each order with noise of its own.
func application(ctx context.Context) (url string, stop func(), err error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("starting the application: %w", err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(answerOrder), ReadHeaderTimeout: time.Minute}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = srv.Serve(l) // until stop closes it; a failure before fails the load
	}()
	return "http://" + l.Addr().String(), func() { _ = srv.Close(); <-ended }, nil
}

func answerOrder(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		http.Error(w, "unreadable", http.StatusBadRequest)
		return
	}
	var body [bodySize]byte
	_, _ = rand.Read(body[:]) // never fails
	for name, values := range head("1") {
		w.Header()[name] = values
	}
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write(body[:]) // poe has gone: it sees that itself
}
