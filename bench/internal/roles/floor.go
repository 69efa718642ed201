package roles

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postonce/poe/internal/gateway"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/pebblestore"
)

// A floor is what is left of poe when all is taken away that makes a POST happen once. It reads a request, makes a durable write, has the request
// executed, makes another durable write, and answers. There is no token, no duplicate, no outcome and no check. What reads requests as poe does and waits for the disk twice can
// hardly cost less, so floors tell what a goal leaves for the rest.

// A notary makes the two writes of a request. Both are durable when they return.
type notary interface {
	before() (after func(answer []byte) error, err error)
}

// floorLog has a log of its own, and a hop that does no more than it must.
func floorLog(ctx context.Context, cfg Config) error {
	l, err := openLog(cfg.Behind)
	if err != nil {
		return err
	}
	if cfg.Upstream == "" {
		return floor(ctx, cfg, l, inProcess)
	}
	h := &plainHop{host: strings.TrimPrefix(cfg.Upstream, "http://"), idle: make(chan *plainConn, 512)}
	return floor(ctx, cfg, l, h.exchange)
}

// floorLedger has poe's ledger, and poe's hop.
func floorLedger(ctx context.Context, cfg Config) (err error) {
	s, err := pebblestore.Open(ctx, pebblestore.Config{Dir: cfg.Behind})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if cfg.Upstream == "" {
		return floor(ctx, cfg, ledger{s}, inProcess)
	}
	u, err := url.Parse(cfg.Upstream)
	if err != nil {
		return fmt.Errorf("reading the address of the application: %w", err)
	}
	h := new(ownHop)
	if h.gateway, err = gateway.New(gateway.Config{Upstream: u}); err != nil {
		return err
	}
	if h.spool, err = replay.NewSpool(replay.SpoolConfig{Dir: cfg.Behind}); err != nil {
		return err
	}
	return floor(ctx, cfg, ledger{s}, h.exchange)
}

// An exchange executes a request between its two writes, and answers it.
type exchange func(w http.ResponseWriter, r *http.Request, n notary) error

func floor(ctx context.Context, cfg Config, n notary, x exchange) error {
	tune()
	return serveByPoe(ctx, cfg.Listen, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := x(w, r, n); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}))
}

// OrderBody is the body of the requests of a measurement.
const OrderBody = `{"item":"apple","quantity":3,"note":"a body of about a hundred bytes, as small orders have"}`

// floorAnswer is the floor of an outcome: it says to everybody what poe says of one, and looks for nothing.
func floorAnswer(ctx context.Context, cfg Config) error {
	tune()
	fields := http.Header{
		"Cache-Control": {"no-store"}, "Content-Security-Policy": {"sandbox"}, "Content-Type": {"application/json"},
		"Link":     {`</poe/outcomes/AaIo0tkDcB-ujgnkJ7f8n8cq581TGjLZw_mZcPZvaj4>; rel="status"; anchor=""`},
		"Location": {"/orders/1"}, "Referrer-Policy": {"same-origin"}, "X-Content-Type-Options": {"nosniff"},
		"Poe-State": {`done;id="01a228d2-d903-701f-ae8e-09e427b7fc9f";status=201;at=@1795981236;replayed`},
	}
	content := []byte(OrderBody)
	return serveByPoe(ctx, cfg.Listen, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		maps.Copy(w.Header(), fields)
		_, _ = w.Write(content) // a client that is gone is counted by the load generator
	}))
}

// inProcess is the exchange with a handler, whose answer must not be sent before it is durable.
func inProcess(w http.ResponseWriter, r *http.Request, n notary) error {
	after, err := n.before()
	if err != nil {
		return err
	}
	a := held{ResponseWriter: w}
	order(&a, r)
	if err := after(a.body); err != nil {
		return err
	}
	w.WriteHeader(a.status)
	_, err = w.Write(a.body)
	return err
}

// held is an answer that is held back.
type held struct {
	http.ResponseWriter
	status int
	body   []byte
}

func (h *held) WriteHeader(status int)      { h.status = status }
func (h *held) Write(p []byte) (int, error) { h.body = append(h.body, p...); return len(p), nil }

// plainHop sends requests to the application, and forgets to look whether that is still there.
type plainHop struct {
	host string
	idle chan *plainConn
}

type plainConn struct {
	net.Conn
	reader *bufio.Reader
	block  []byte
}

func (h *plainHop) take() (*plainConn, error) {
	select {
	case c := <-h.idle:
		return c, nil
	default:
	}
	c, err := net.Dial("tcp", h.host) //nolint:noctx // loopback
	if err != nil {
		return nil, err
	}
	return &plainConn{Conn: c, reader: bufio.NewReader(c)}, nil
}

func (h *plainHop) exchange(w http.ResponseWriter, r *http.Request, n notary) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	after, err := n.before()
	if err != nil {
		return err
	}
	c, err := h.take()
	if err != nil {
		return err
	}
	c.block = append(c.block[:0], "POST /orders HTTP/1.1\r\nHost: "+h.host+"\r\nContent-Type: application/json\r\nContent-Length: "...)
	c.block = append(append(strconv.AppendInt(c.block, int64(len(body)), 10), "\r\n\r\n"...), body...)
	if _, err := c.Write(c.block); err != nil {
		return err
	}
	res, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return err
	}
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	h.idle <- c
	if err := after(answer); err != nil {
		return err
	}
	for name, values := range res.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(res.StatusCode)
	_, err = w.Write(answer)
	return err
}

// ownHop is poe's.
type ownHop struct {
	gateway *gateway.Gateway
	spool   *replay.Spool
}

func (h *ownHop) exchange(w http.ResponseWriter, r *http.Request, n notary) error {
	q := &replay.Request{
		Method: r.Method, Target: "/orders", Host: r.Host, Header: r.Header, Body: h.spool.New(), RemoteAddr: r.RemoteAddr,
		Via: replay.Via(r),
	}
	defer q.Body.Release()
	if _, err := io.Copy(q.Body, r.Body); err != nil {
		return err
	}
	after, err := n.before()
	if err != nil {
		return err
	}
	rec := replay.NewRecorder(replay.RecorderConfig{Spool: h.spool})
	defer rec.Release()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), time.Minute)
	defer cancel()
	if _, err := h.gateway.Execute(ctx, q, rec); err != nil {
		return err
	}
	a, err := rec.Finish()
	if err != nil {
		return err
	}
	answer, _ := a.Body.Bytes()
	if err := after(answer); err != nil {
		return err
	}
	return replay.Send(w, r, a)
}

// ledger is poe's.
type ledger struct{ store store.Store }

func (l ledger) before() (func([]byte) error, error) {
	now := time.Now() //nolint:forbidigo // the machine's
	id, err := store.NewID(now, 0, rand.Reader)
	if err != nil {
		return nil, err
	}
	r := &store.Record{
		ID: id, State: store.Running, Term: term(), Door: "poe", Route: "default", Method: http.MethodPost, Target: "/orders",
		Claimed: now, Expires: now.Add(time.Hour), Due: now.Add(time.Minute), Request: store.Blob{Size: 100, Digest: [32]byte{1}},
	}
	if _, err := l.store.Claim(context.Background(), r); err != nil {
		return nil, err
	}
	return func(answer []byte) error {
		claimed := r.Term
		r.State, r.Term, r.Status, r.Finished, r.Due = store.Done, term(), http.StatusCreated, time.Now(), time.Time{} //nolint:forbidigo // the machine's
		r.Response = store.Blob{Content: answer, Where: store.Inline, Size: int64(len(answer)), Digest: [32]byte{2}, Head: make([]byte, 60)}
		_, err := l.store.Advance(context.Background(), claimed, r, store.Also{})
		return err
	}, nil
}

func term() (t store.Term) {
	_, _ = rand.Read(t[:]) // it does not fail
	return t
}

// walSize is how long the log is: written beforehand, so that a sync need not change the file's length, and again from its start when it is full.
const walSize = 64 << 20

// wal is a file to which many write, and which is synced for all of them together.
type wal struct {
	file *os.File

	mu    sync.Mutex
	next  *together
	awake chan struct{} // something is to be written
}

// together is what is written and synced at once.
type together struct {
	bytes []byte
	done  chan struct{}
	err   error
}

func openLog(folder string) (*wal, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	f, err := os.Create(filepath.Join(folder, "log")) //nolint:gosec // in a folder of ours
	if err != nil {
		return nil, err
	}
	if _, err := f.Write(make([]byte, walSize)); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	l := &wal{file: f, next: &together{done: make(chan struct{})}, awake: make(chan struct{}, 1)}
	go l.run()
	return l, nil
}

func (l *wal) before() (func([]byte) error, error) {
	if err := l.append(nil); err != nil {
		return nil, err
	}
	return l.append, nil
}

// append writes a record of the size that poe's have, and content.
func (l *wal) append(content []byte) error {
	const record = 150
	l.mu.Lock()
	g := l.next
	g.bytes = append(append(g.bytes, make([]byte, record)...), content...)
	l.mu.Unlock()
	select {
	case l.awake <- struct{}{}:
	default:
	}
	<-g.done
	return g.err
}

// run writes, one group after the other, for as long as the process lives.
func (l *wal) run() {
	end := int64(0)
	for range l.awake {
		g := l.joined()
		if end+int64(len(g.bytes)) > walSize {
			end = 0
		}
		if _, g.err = l.file.WriteAt(g.bytes, end); g.err == nil {
			g.err = unix.Fdatasync(int(l.file.Fd()))
		}
		end += int64(len(g.bytes))
		close(g.done)
	}
}

// joined waits for as long as others join, and returns what is to be written.
func (l *wal) joined() *together {
	for had := -1; ; runtime.Gosched() {
		l.mu.Lock()
		g := l.next
		if len(g.bytes) == had {
			l.next = &together{done: make(chan struct{})}
			l.mu.Unlock()
			return g
		}
		had = len(g.bytes)
		l.mu.Unlock()
	}
}
