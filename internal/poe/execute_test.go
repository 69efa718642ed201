package core_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/storetest"
)

// A thousand clients POST to one URI at the same moment, again and again: one execution each time, and everybody else is
// told that it runs or that it is done, with the way to its outcome.
func TestSimultaneousPosts(t *testing.T) {
	const clients = 1000
	rounds := 100
	if testing.Short() {
		rounds = 10
	}
	b := newBench(t, nil)
	for round := range rounds {
		uri := b.mint(fmt.Sprintf("/orders?round=%d", round))
		before := b.executed.Load()
		var created, conflict, consumed atomic.Int64
		var start, all sync.WaitGroup
		start.Add(1)
		for range clients {
			all.Go(func() {
				start.Wait()
				r := httptest.NewRequest("POST", uri, strings.NewReader("x"))
				w := httptest.NewRecorder()
				b.handler.ServeHTTP(w, r)
				linked := strings.Contains(w.Header().Get("Link"), `rel="status"`)
				switch {
				case w.Code == 201:
					created.Add(1)
				case w.Code == 409 && linked:
					conflict.Add(1)
				case w.Code == 405 && linked:
					consumed.Add(1)
				default:
					t.Errorf("an answer of %d, linked: %t", w.Code, linked)
				}
			})
		}
		start.Done()
		all.Wait()
		if n := b.executed.Load() - before; n != 1 || created.Load() != 1 || conflict.Load()+consumed.Load() != clients-1 {
			t.Fatalf("round %d: executed %d times; 201: %d, 409: %d, 405: %d", round, n, created.Load(), conflict.Load(), consumed.Load())
		}
	}
}

// The claim is durable before the application hears of the request, and the outcome before the client does.
func TestOrderOfOneExecution(t *testing.T) {
	var order []string
	b := newBench(t, func(c *core.Config) {
		c.Store = &spyStore{Store: c.Store, say: func(s string) { order = append(order, s) }}
	})
	b.app = func(w http.ResponseWriter, _ *http.Request) { order = append(order, "execute"); w.WriteHeader(201) }
	uri := b.mint("/orders")
	order = nil
	r := httptest.NewRequest("POST", uri, eofSays{strings.NewReader("body"), func() { order = append(order, "body") }})
	r.ContentLength = 4
	w := &wireSays{ResponseRecorder: httptest.NewRecorder(), say: func() { order = append(order, "answer") }}
	b.handler.ServeHTTP(w, r)
	if got, want := strings.Join(order, " "), "body claim claimed execute advance advanced answer"; got != want {
		t.Errorf("order:\n got %s\nwant %s", got, want)
	}
}

// eofSays tells when a body was read to its end.
type eofSays struct {
	io.Reader
	say func()
}

func (e eofSays) Read(p []byte) (int, error) {
	n, err := e.Reader.Read(p)
	if err == io.EOF {
		e.say()
	}
	return n, err
}

// wireSays tells when the head of an answer is written.
type wireSays struct {
	*httptest.ResponseRecorder
	say func()
}

func (w *wireSays) WriteHeader(status int) { w.say(); w.ResponseRecorder.WriteHeader(status) }

// A spyStore tells what is asked of a store, and fails where it is told to.
type spyStore struct {
	store.Store
	say     func(string)
	claim   func(store.Record) error // before the claim is made; nil: not at all
	advance func(store.Record) error // before the advance is made
	lookup  func() error
	after   func(store.Record) error // after the claim was made: it is made, but its caller hears this
	put     func() error
}

func (s *spyStore) tell(what string) {
	if s.say != nil {
		s.say(what)
	}
}

func (s *spyStore) Claim(ctx context.Context, r *store.Record) (*store.Record, error) {
	s.tell("claim")
	if s.claim != nil {
		if err := s.claim(*r); err != nil {
			return nil, err
		}
	}
	came := *r
	got, err := s.Store.Claim(ctx, r)
	s.tell("claimed")
	if s.after != nil && err == nil {
		if err := s.after(came); err != nil {
			*r = came
			return nil, err
		}
	}
	return got, err
}

func (s *spyStore) Advance(ctx context.Context, was store.Term, r *store.Record, also store.Also) (*store.Record, error) {
	s.tell("advance")
	if s.advance != nil {
		if err := s.advance(*r); err != nil {
			return nil, err
		}
	}
	got, err := s.Store.Advance(ctx, was, r, also)
	s.tell("advanced")
	return got, err
}

func (s *spyStore) Lookup(ctx context.Context, k store.Key) (store.Record, error) {
	s.tell("lookup")
	if s.lookup != nil {
		if err := s.lookup(); err != nil {
			return store.Record{}, err
		}
	}
	return s.Store.Lookup(ctx, k)
}

func (s *spyStore) Put(ctx context.Context, id store.ID, p store.Part, src io.Reader) (int64, error) {
	if s.put != nil {
		if err := s.put(); err != nil {
			return 0, err
		}
	}
	return s.Store.Put(ctx, id, p, src)
}

var errDisk = errors.New("the disk is on fire")

// spied returns a bench whose store fails as spy says.
func spied(t *testing.T, spy *spyStore) *bench {
	t.Helper()
	return newBench(t, func(c *core.Config) { spy.Store = c.Store; c.Store = spy })
}

func TestLedgerTrouble(t *testing.T) {
	t.Run("nothing is executed unclaimed", func(t *testing.T) {
		spy := &spyStore{claim: func(store.Record) error { return store.ErrUnavailable }}
		b := spied(t, spy)
		uri := b.mint("/orders")
		wantProblem(t, b.do("POST", uri, "x"), 503, "ledger-unavailable")
		if b.executed.Load() != 0 {
			t.Fatal("executed without a claim")
		}
		spy.claim = nil
		if res := b.do("POST", uri, "x"); res.StatusCode != 201 {
			t.Fatalf("after the trouble: %d", res.StatusCode)
		}
	})
	t.Run("what is known here needs no ledger, though the token is forgotten", func(t *testing.T) {
		spy := &spyStore{}
		b := spied(t, spy)
		uri := b.mint("/orders")
		if res := b.do("POST", uri, "x"); res.StatusCode != 201 {
			t.Fatal(res.StatusCode)
		}
		for range 1 << 16 { // others take its place
			other, err := b.gate.Mint(t.Context(), core.MintRequest{Target: "/orders", Method: "POST"})
			if err != nil {
				t.Fatal(err)
			}
			_, token, _ := strings.Cut(other.URI, "?poe=")
			if _, err := b.keys.Verify(token, b.clock()); err != nil {
				t.Fatal(err)
			}
		}
		spy.claim = func(store.Record) error { return store.ErrUnavailable }
		spy.lookup = func() error { return store.ErrUnavailable }
		wantProblem(t, b.do("POST", uri, "x"), 405, "consumed")
		if b.executed.Load() != 1 {
			t.Errorf("executed %d times", b.executed.Load())
		}
	})
	t.Run("a claim whose result is unknown is not executed twice", func(t *testing.T) {
		fail := 1
		spy := &spyStore{after: func(store.Record) error {
			if fail--; fail >= 0 {
				return errDisk // it was written, but nobody was told
			}
			return nil
		}}
		b := spied(t, spy)
		uri := b.mint("/orders")
		if res := b.do("POST", uri, "x"); res.StatusCode != 201 || b.executed.Load() != 1 {
			t.Fatalf("%d, executed %d times: the repeated claim did not find its own term", res.StatusCode, b.executed.Load())
		}
	})
	t.Run("a claim that nobody confirms is released when the ledger is back", func(t *testing.T) {
		spy := &spyStore{after: func(store.Record) error { return errDisk }}
		b := spied(t, spy)
		uri := b.mint("/orders")
		wantProblem(t, b.do("POST", uri, "x"), 503, "ledger-unavailable")
		if b.executed.Load() != 0 {
			t.Fatal("executed under a claim that nobody confirmed")
		}
		spy.after = nil
		wantProblem(t, b.do("POST", uri, "x"), 409, "running")
		core.Housekeeping(t.Context(), b.gate)
		if res := b.do("POST", uri, "x"); res.StatusCode != 201 || b.executed.Load() != 1 {
			t.Fatalf("released: %d, executed %d times", res.StatusCode, b.executed.Load())
		}
	})
	t.Run("a ledger that goes away says nothing of the claim before", func(t *testing.T) {
		tries := 0
		spy := &spyStore{
			claim: func(store.Record) error {
				if tries++; tries > 1 {
					return store.ErrUnavailable
				}
				return nil
			},
			after: func(store.Record) error { return errDisk }, // the first one was written unheard
		}
		b := spied(t, spy)
		uri := b.mint("/orders")
		wantProblem(t, b.do("POST", uri, "x"), 503, "ledger-unavailable")
		spy.claim, spy.after = nil, nil
		core.Housekeeping(t.Context(), b.gate)
		if res := b.do("POST", uri, "x"); res.StatusCode != 201 || b.executed.Load() != 1 {
			t.Fatalf("the claim was not released: %d, executed %d times", res.StatusCode, b.executed.Load())
		}
	})
	t.Run("an outcome that cannot be stored is delivered as unknown and never repeated", func(t *testing.T) {
		spy := &spyStore{advance: func(store.Record) error { return errDisk }}
		b := spied(t, spy)
		uri := b.mint("/orders")
		res := b.do("POST", uri, "x")
		if got := text(t, res); res.StatusCode != 201 || got != "order 1: x" || !strings.HasPrefix(res.Header.Get("POE-State"), "unknown;") {
			t.Fatalf("%d %q %s", res.StatusCode, got, res.Header.Get("POE-State"))
		}
		spy.advance = nil
		wantProblem(t, b.do("POST", uri, "x"), 409, "running")
		b.advance(2 * time.Minute) // its claim is overdue
		core.Housekeeping(t.Context(), b.gate)
		wantProblem(t, b.do("POST", uri, "x"), 409, "outcome-unknown")
		if b.executed.Load() != 1 {
			t.Fatalf("executed %d times", b.executed.Load())
		}
	})
	t.Run("a settlement that was written unheard is found by its repeat", func(t *testing.T) {
		fail := 1
		spy := &spyStore{}
		b := spied(t, spy)
		inner := spy.Store
		spy.Store = deafAdvance{inner, &fail}
		uri := b.mint("/orders")
		if res := b.do("POST", uri, "x"); res.StatusCode != 201 || !strings.HasPrefix(res.Header.Get("POE-State"), "done;") {
			t.Fatalf("%d %s", res.StatusCode, res.Header.Get("POE-State"))
		}
	})
	t.Run("no look-up, no answer but 503", func(t *testing.T) {
		spy := &spyStore{}
		b := spied(t, spy)
		uri := b.mint("/orders")
		spy.lookup = func() error { return errDisk }
		for _, method := range []string{"GET", "POST", "DELETE"} {
			if p := wantProblem(t, b.do(method, uri, "", "Expect: 100-continue"), 503, "ledger-unavailable"); p["state"] != "unknown" {
				t.Errorf("%s: %v", method, p)
			}
		}
		if b.executed.Load() != 0 {
			t.Fatal("executed blindly")
		}
	})
	t.Run("a large body that cannot be stored is said to be purged", func(t *testing.T) {
		b := spied(t, &spyStore{put: func() error { return errDisk }})
		large := strings.Repeat("x", 100<<10)
		b.app = func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, large) }
		uri := b.mint("/orders")
		if res := b.do("POST", uri, ""); res.StatusCode != 200 || text(t, res) != large {
			t.Fatal("the first client did not get it all")
		}
		wantProblem(t, b.do("GET", uri, ""), 410, "outcome-purged")
		wantProblem(t, b.do("POST", uri, ""), 405, "consumed")
	})
}

// deafAdvance makes the write and says that it failed.
type deafAdvance struct {
	store.Store
	fail *int
}

func (d deafAdvance) Advance(ctx context.Context, was store.Term, r *store.Record, also store.Also) (*store.Record, error) {
	if *d.fail--; *d.fail >= 0 {
		if _, err := storetest.Advance(ctx, d.Store, was, *r, also); err == nil {
			return nil, errDisk
		}
	}
	return d.Store.Advance(ctx, was, r, also)
}

// An executor that does as it is told.
type scripted func(ctx context.Context, req *replay.Request, rec *replay.Recorder) (replay.Proof, error)

func (s scripted) Execute(ctx context.Context, req *replay.Request, rec *replay.Recorder) (replay.Proof, error) {
	return s(ctx, req, rec)
}

func TestProofs(t *testing.T) {
	b := newBench(t, nil)
	var proof replay.Proof
	var failure error
	sent := 0
	b.mount(scripted(func(_ context.Context, _ *replay.Request, rec *replay.Recorder) (replay.Proof, error) {
		sent++
		rec.WriteHeader(200) // half an answer must not count where the proof is broken
		return proof, failure
	}))
	for _, c := range []struct {
		name    string
		proof   replay.Proof
		err     error
		code    int
		problem string
		again   bool // whether a repeat executes
	}{
		{"refused", replay.Unsent, errors.New("refused"), 502, "not-executed", true},
		{"no connection in time", replay.Unsent, context.DeadlineExceeded, 504, "not-executed", true},
		{"no free connection", replay.Unsent, replay.ErrBusy, 503, "not-executed", true},
		{"reset", replay.Broken, errors.New("reset"), 502, "outcome-unknown", false},
		{"timeout", replay.Broken, context.DeadlineExceeded, 504, "outcome-unknown", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			uri := b.mint("/orders")
			proof, failure, sent = c.proof, c.err, 0
			res := b.do("POST", uri, "x")
			p := wantProblem(t, res, c.code, c.problem)
			if res.Header.Get("Retry-After") == "" || p["retry"] != "same" {
				t.Errorf("no way on: %v %v", res.Header, p)
			}
			proof, failure = replay.Complete, nil
			res = b.do("POST", uri, "x")
			if c.again && (res.StatusCode != 200 || sent != 2) {
				t.Errorf("the repeat: %d, sent %d times", res.StatusCode, sent)
			}
			if !c.again {
				wantProblem(t, res, 409, "outcome-unknown")
				if sent != 1 {
					t.Errorf("sent %d times", sent)
				}
			}
		})
	}
}

// What was surely not sent leaves no trace of an attempt; what was answered "not done" does.
func TestNeverUsedMeansNeverSent(t *testing.T) {
	b := newBench(t, nil)
	proof := replay.Unsent
	b.mount(scripted(func(_ context.Context, _ *replay.Request, rec *replay.Recorder) (replay.Proof, error) {
		rec.WriteHeader(429)
		return proof, errors.New("refused")
	}))
	unsent, tried := b.mint("/orders"), b.mint("/orders")
	b.do("POST", unsent, "")
	proof = replay.Complete
	b.do("POST", tried, "")
	b.advance(2 * time.Hour)
	wantProblem(t, b.do("POST", unsent, ""), 410, "never-used")
	if p := wantProblem(t, b.do("POST", tried, ""), 410, "expired"); p["attempts"] != 1.0 || p["last_status"] != 429.0 {
		t.Errorf("%v", p)
	}
}

func TestPanicOfAHandler(t *testing.T) {
	for _, value := range []any{"boom", http.ErrAbortHandler} {
		b := newBench(t, nil)
		b.app = func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "half an ans")
			panic(value)
		}
		uri := b.mint("/orders")
		w := httptest.NewRecorder()
		func() {
			defer func() {
				if p := recover(); p != value {
					t.Errorf("the panic did not go on up: %v", p)
				}
			}()
			b.handler.ServeHTTP(w, httptest.NewRequest("POST", uri, nil))
		}()
		wantProblem(t, w.Result(), 502, "outcome-unknown")
		wantProblem(t, b.do("POST", uri, ""), 409, "outcome-unknown")
		if b.executed.Load() != 1 {
			t.Errorf("executed %d times", b.executed.Load())
		}
	}
}

func panicsDeepInside(http.ResponseWriter, *http.Request) { panic("boom") }

// Who catches a panic sees where it came from, though all was settled and answered before.
func TestStackOfAPanic(t *testing.T) {
	b := newBench(t, nil)
	b.app = panicsDeepInside
	uri := b.mint("/orders")
	w := httptest.NewRecorder()
	var stack string
	func() {
		defer func() {
			_ = recover()
			stack = string(debug.Stack())
		}()
		b.handler.ServeHTTP(w, httptest.NewRequest("POST", uri, nil))
	}()
	if !strings.Contains(stack, "panicsDeepInside") {
		t.Errorf("the handler is not in\n%s", stack)
	}
	wantProblem(t, w.Result(), 502, "outcome-unknown")
}

// Of a panic that no client waits for somebody hears even where the gate has no log.
func TestPanicOfAnAcceptedAction(t *testing.T) {
	var said, logged bytes.Buffer
	log.SetOutput(&said)
	defer log.SetOutput(os.Stderr)
	for _, silent := range []bool{true, false} {
		b := deferring(t, func(c *core.Config) {
			if !silent {
				c.Log = zerolog.New(&logged)
			}
		})
		b.app = panicsDeepInside
		said.Reset()
		at := monitor(t, b.do("POST", "/orders", "x", "Prefer: respond-async"))
		b.work()
		if s := b.do("GET", at, "").Header.Get("POE-State"); word(s) != "unknown" {
			t.Error(s)
		}
		if got := strings.Contains(said.String(), "boom") && strings.Contains(said.String(), "panicsDeepInside"); got != silent {
			t.Errorf("without a log %v: %s", silent, &said)
		}
	}
	if !strings.Contains(logged.String(), "panicsDeepInside") {
		t.Error(logged.String())
	}
}

// A handler that ends its goroutine has not answered.
func TestHandlerThatEndsItsGoroutine(t *testing.T) {
	b := newBench(t, nil)
	b.app = func(http.ResponseWriter, *http.Request) { runtime.Goexit() }
	uri := b.mint("/orders")
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		b.do("POST", uri, "x")
	}()
	<-gone
	wantProblem(t, b.do("POST", uri, "x"), 409, "outcome-unknown")
}

// A handler that takes longer than the server lets it write may ask for more time.
func TestMoreTimeToWrite(t *testing.T) {
	b := newBench(t, nil)
	b.app = func(w http.ResponseWriter, _ *http.Request) {
		if err := http.NewResponseController(w).SetWriteDeadline(time.Time{}); err != nil {
			t.Error(err)
		}
		w.WriteHeader(http.StatusCreated)
	}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { b.handler.ServeHTTP(w, r) }))
	srv.Config.WriteTimeout = time.Nanosecond // has passed before anything begins
	srv.Start()
	defer srv.Close()
	res, err := http.Post(srv.URL+b.mint("/orders"), "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusCreated {
		t.Error(res.StatusCode)
	}
}

// Over a real connection the client of a panicking handler gets the whole problem before the connection ends.
func TestPanicOverAConnection(t *testing.T) {
	b := newBench(t, nil)
	b.app = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { b.handler.ServeHTTP(w, r) }))
	defer srv.Close()
	res, err := http.Post(srv.URL+b.mint("/orders"), "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	wantProblem(t, res, 502, "outcome-unknown")
}

// A client that leaves after the claim changes nothing: the handler's context goes on, and the outcome is kept.
func TestClientLeaves(t *testing.T) {
	b := newBench(t, nil)
	started, left := make(chan struct{}), make(chan struct{})
	b.app = func(w http.ResponseWriter, r *http.Request) {
		close(started)
		<-left
		if err := r.Context().Err(); err != nil {
			t.Errorf("the handler's context ended with the client: %v", err)
		}
		_, _ = io.WriteString(w, "finished all the same")
	}
	uri := b.mint("/orders")
	ctx, leave := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", uri, nil).WithContext(ctx))
	}()
	<-started
	leave()
	close(left)
	<-ended
	if res := b.do("GET", uri, ""); text(t, res) != "finished all the same" {
		t.Errorf("outcome: %d", res.StatusCode)
	}
}

// A client that leaves before its body is complete takes everything along: nothing is claimed.
func TestBodyCutOff(t *testing.T) {
	b := newBench(t, nil)
	uri := b.mint("/orders")
	r := httptest.NewRequest("POST", uri, io.MultiReader(strings.NewReader("half"), brokenReader{}))
	wantProblem(t, b.send(r), 400, "incomplete-body")
	if b.executed.Load() != 0 {
		t.Fatal("executed half a request")
	}
	if res := b.do("POST", uri, "whole"); res.StatusCode != 201 {
		t.Errorf("the URI was used up: %d", res.StatusCode)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestHandlersOfAllKinds(t *testing.T) {
	large := strings.Repeat("0123456789abcdef", 8<<10) // 128 KiB
	for _, c := range []struct {
		name string
		app  http.HandlerFunc
		code int
		body string
	}{
		{"writes nothing", func(http.ResponseWriter, *http.Request) {}, 200, ""},
		{"writes only a status", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, 204, ""},
		{"does not read the body", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }, 200, "ok"},
		{"cannot hijack", func(w http.ResponseWriter, _ *http.Request) {
			if _, _, err := http.NewResponseController(w).Hijack(); !errors.Is(err, http.ErrNotSupported) {
				t.Errorf("hijacking: %v", err)
			}
			w.WriteHeader(202)
		}, 202, ""},
		{"serves a file", func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "a.txt", time.Time{}, strings.NewReader("file"))
		}, 200, "file"},
		{"large, beside the ledger", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.Copy(w, strings.NewReader(large)) }, 200, large},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, nil)
			b.app = c.app
			uri := b.mint("/orders")
			if res := b.do("POST", uri, "some body"); res.StatusCode != c.code || text(t, res) != c.body {
				t.Fatalf("first: %d", res.StatusCode)
			}
			want := c.code
			if want == 202 {
				want = 200
			}
			if res := b.do("GET", uri, ""); res.StatusCode != want || text(t, res) != c.body {
				t.Errorf("outcome: %d", res.StatusCode)
			}
			if b.executed.Load() != 1 {
				t.Errorf("executed %d times", b.executed.Load())
			}
		})
	}
}

// Who is told that what came is not an answer need not look after the network.
func TestNotAnAnswer(t *testing.T) {
	b := newBench(t, nil)
	b.mount(scripted(func(context.Context, *replay.Request, *replay.Recorder) (replay.Proof, error) {
		return replay.Broken, fmt.Errorf("reading the answer's head: %w", replay.ErrNotAnAnswer)
	}))
	p := wantProblem(t, b.do("POST", b.mint("/orders"), "x"), 502, "outcome-unknown")
	if said, _ := p["detail"].(string); !strings.Contains(said, "cannot be read") {
		t.Errorf("%q", said)
	}
}

// Who is told that an answer was not complete is told why: a handler in this process has no connection that could break.
func TestHandlersThatDoNotFinish(t *testing.T) {
	for name, tc := range map[string]struct {
		app  http.HandlerFunc
		says string
	}{
		"less than announced": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "10")
			_, _ = io.WriteString(w, "abc")
		}, "less than its Content-Length"},
		"another protocol": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusSwitchingProtocols) }, "switched protocols"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			b.app = tc.app
			p := wantProblem(t, b.do("POST", b.mint("/orders"), "x"), 502, "outcome-unknown")
			if said, _ := p["detail"].(string); !strings.Contains(said, tc.says) {
				t.Errorf("%q", said)
			}
		})
	}
}

func TestAboveMaxResponse(t *testing.T) {
	b := newBench(t, func(c *core.Config) { c.MaxResponse = 1000 })
	b.app = func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Repeat("x", 1001)) }
	uri := b.mint("/orders")
	if res := b.do("POST", uri, ""); len(text(t, res)) != 1001 {
		t.Error("the first client did not get it all")
	}
	if p := wantProblem(t, b.do("GET", uri, ""), 410, "outcome-purged"); p["outcome_status"] != 200.0 {
		t.Errorf("%v", p)
	}
	wantProblem(t, b.do("POST", uri, ""), 405, "consumed")
}

// An event stream settles at its head, passes through as it is written, and may outlast the time of an execution.
func TestEventStream(t *testing.T) {
	b := newBench(t, func(c *core.Config) { c.Timeout = 50 * time.Millisecond })
	more, gone := make(chan string), make(chan struct{})
	b.app = func(w http.ResponseWriter, r *http.Request) {
		defer close(gone)
		w.Header().Set("Content-Type", "text/event-stream")
		for {
			select {
			case line, ok := <-more:
				if !ok {
					return
				}
				_, _ = io.WriteString(w, line)
				_ = http.NewResponseController(w).Flush()
			case <-r.Context().Done():
				return
			}
		}
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { b.handler.ServeHTTP(w, r) }))
	defer srv.Close()
	uri := b.mint("/orders")
	go func() { more <- "data: 1\n\n" }()
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	req, _ := http.NewRequestWithContext(ctx, "POST", srv.URL+uri, nil)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 9)
	if _, err := io.ReadFull(res.Body, buf); err != nil || string(buf) != "data: 1\n\n" {
		t.Fatalf("%q %v", buf, err)
	}
	if !strings.HasPrefix(res.Header.Get("POE-State"), "done;") {
		t.Errorf("POE-State = %q", res.Header.Get("POE-State"))
	}
	<-time.After(100 * time.Millisecond) // longer than an execution may take
	more <- "data: 2\n\n"
	if _, err := io.ReadFull(res.Body, buf); err != nil || string(buf) != "data: 2\n\n" {
		t.Fatalf("%q %v", buf, err)
	}
	wantProblem(t, b.do("POST", uri, ""), 405, "consumed")
	wantProblem(t, b.do("GET", uri, ""), 410, "outcome-purged")
	leave() // the stream is the client's alone: it ends with it
	<-gone
}

// A handler that panics in the middle of a stream: its action is done, and the panic goes on up.
func TestPanicOfAStream(t *testing.T) {
	b := newBench(t, nil)
	b.app = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: 1\n\n")
		panic("boom")
	}
	uri := b.mint("/orders")
	func() {
		defer func() {
			if p := recover(); p != "boom" {
				t.Errorf("the panic did not go on up: %v", p)
			}
		}()
		b.handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", uri, nil))
	}()
	wantProblem(t, b.do("POST", uri, ""), 405, "consumed")
}

// A handler that overstays its time is not run again while it is at work, and its late answer is recorded.
func TestLateAnswer(t *testing.T) {
	b := newBench(t, func(c *core.Config) { c.Timeout = time.Millisecond })
	started, finish := make(chan struct{}), make(chan struct{})
	b.app = func(w http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		close(started)
		<-finish
		_, _ = io.WriteString(w, "late")
	}
	uri := b.mint("/orders")
	first := make(chan *http.Response, 1)
	go func() { first <- b.do("POST", uri, "") }()
	<-started
	b.advance(10 * time.Minute)
	core.Housekeeping(t.Context(), b.gate) // its claim is overdue, but it is alive
	if r, err := b.store.Lookup(t.Context(), store.ByID(idOf(t, b.do("GET", uri, "")))); err != nil || r.State != store.Running {
		t.Errorf("the ledger says %s, %v", r.State, err)
	}
	wantProblem(t, b.do("POST", uri, ""), 409, "running")
	close(finish)
	if res := <-first; text(t, res) != "late" || !strings.HasPrefix(res.Header.Get("POE-State"), "done;") {
		t.Errorf("%d %s", res.StatusCode, res.Header.Get("POE-State"))
	}
}

// A late answer to an action that somebody else has declared unknown settles it; beside a resolved one it is noted.
func TestAnswerAfterRecovery(t *testing.T) {
	for _, c := range []struct {
		name     string
		resolved bool // by a person, meanwhile
		want     string
	}{{"still unknown", false, "done"}, {"resolved meanwhile", true, "done"}} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, nil)
			b.app = func(w http.ResponseWriter, r *http.Request) {
				id, ok := core.ActionID(r.Context())
				if !ok {
					t.Fatal("no action in the handler's context")
				}
				declareUnknown(t, b, id, c.resolved)
				_, _ = io.WriteString(w, "late")
			}
			uri := b.mint("/orders")
			res := b.do("POST", uri, "")
			if !strings.HasPrefix(res.Header.Get("POE-State"), c.want+";") {
				t.Errorf("POE-State = %q", res.Header.Get("POE-State"))
			}
			got := text(t, b.do("GET", uri, ""))
			if want := map[bool]string{false: "late", true: "resolved"}[c.resolved]; got != want {
				t.Errorf("outcome %q, want %q", got, want)
			}
			id := idOf(t, b.do("GET", uri, ""))
			r, err := b.store.Lookup(t.Context(), store.ByID(id))
			if err != nil || len(r.History) != 2 || r.History[0].Why != "taken for dead" || !strings.Contains(r.History[1].Why, "late answer") {
				t.Errorf("the history does not tell it all: %v %v", r.History, err)
			}
		})
	}
}

// declareUnknown does what another node does that takes the owner for dead, and a person after it.
func declareUnknown(t *testing.T, b *bench, id store.ID, resolve bool) {
	t.Helper()
	r, err := b.store.Lookup(t.Context(), store.ByID(id))
	if err != nil {
		t.Fatal(err)
	}
	was := r.Term
	r.State, r.Term, r.Due, r.Finished = store.Unknown, store.Term{1}, store.Person, b.clock()
	r.Note(store.Event{At: b.clock(), From: store.Running, To: store.Unknown, Who: "recovery", Why: "taken for dead"})
	if _, err := storetest.Advance(t.Context(), b.store, was, r, store.Also{}); err != nil {
		t.Fatal(err)
	}
	if !resolve {
		return
	}
	was = r.Term
	r.State, r.Term, r.Due, r.Status = store.Done, store.Term{2}, time.Time{}, 200
	r.Response = store.Blob{Where: store.Inline, Content: []byte("resolved"), Size: 8}
	if _, err := storetest.Advance(t.Context(), b.store, was, r, store.Also{}); err != nil {
		t.Fatal(err)
	}
}

// idOf reads the action's id out of POE-State.
func idOf(t *testing.T, res *http.Response) store.ID {
	t.Helper()
	_, rest, _ := strings.Cut(res.Header.Get("POE-State"), `id="`)
	s, _, _ := strings.Cut(rest, `"`)
	id, err := store.ParseID(s)
	if err != nil {
		t.Fatalf("POE-State %q: %v", res.Header.Get("POE-State"), err)
	}
	return id
}

// What an earlier process left running is unknown to the next one, and never runs again by itself.
func TestRecovery(t *testing.T) {
	b := newBench(t, nil)
	var uris []string
	for range 3000 { // more than a page of the agenda
		uri := b.mint("/orders")
		uris = append(uris, uri)
		id := idOf(t, b.do("GET", uri, ""))
		_, err := storetest.Claim(t.Context(), b.store, store.Record{
			ID: id, State: store.Running, Term: store.Term{9}, Door: "poe", Route: "default", Method: "POST", Target: "/orders",
			Claimed: b.clock(), Expires: b.clock().Add(time.Hour), Due: b.clock().Add(time.Minute),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	wantProblem(t, b.do("POST", uris[0], ""), 409, "running")
	if err := b.gate.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, uri := range uris {
		wantProblem(t, b.do("POST", uri, ""), 409, "outcome-unknown")
	}
	if b.executed.Load() != 0 {
		t.Errorf("executed %d times", b.executed.Load())
	}
}

func TestDrainAndStop(t *testing.T) {
	b := newBench(t, nil)
	started := make(chan struct{})
	b.app = func(_ http.ResponseWriter, r *http.Request) {
		close(started)
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	}
	running, fresh := b.mint("/orders"), b.mint("/orders")
	first := make(chan *http.Response, 1)
	go func() {
		w := httptest.NewRecorder()
		defer func() { _ = recover(); first <- w.Result() }()
		b.handler.ServeHTTP(w, httptest.NewRequest("POST", running, nil))
	}()
	<-started
	b.gate.Drain()
	if err := b.gate.Ready(t.Context()); err == nil {
		t.Error("ready while it drains")
	}
	wantProblem(t, b.do("POST", fresh, ""), 503, "not-executed")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := b.gate.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for what runs: %v", err)
	}
	b.gate.Stop()
	if err := b.gate.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	wantProblem(t, <-first, 502, "outcome-unknown")
}

func TestLimitOfExecutions(t *testing.T) {
	b := newBench(t, func(c *core.Config) { c.MaxRunning = 1 })
	started, finish := make(chan struct{}), make(chan struct{})
	b.app = func(http.ResponseWriter, *http.Request) { close(started); <-finish }
	first, second := b.mint("/orders"), b.mint("/orders")
	done := make(chan struct{})
	go func() { defer close(done); b.do("POST", first, "") }()
	<-started
	wantProblem(t, b.do("POST", second, ""), 503, "not-executed")
	close(finish)
	<-done
	b.app = nil
	if res := b.do("POST", second, ""); res.StatusCode != 201 {
		t.Errorf("after the crowd: %d", res.StatusCode)
	}
}

// Waiters are bounded: who finds no place is answered at once.
func TestLimitOfWaiters(t *testing.T) {
	b := newBench(t, func(c *core.Config) { c.MaxWaiters = 1 })
	started, finish := make(chan struct{}), make(chan struct{})
	b.app = func(http.ResponseWriter, *http.Request) { close(started); <-finish }
	uri := b.mint("/orders")
	done := make(chan int, 2)
	go func() { done <- b.do("POST", uri, "").StatusCode }()
	<-started
	go func() { done <- b.do("POST", uri, "", "Prefer: wait=20").StatusCode }()
	for core.Waiting(b.gate) == 0 {
		<-time.After(time.Millisecond)
	}
	wantProblem(t, b.do("POST", uri, "", "Prefer: wait=20"), 409, "running")
	close(finish)
	if a, z := <-done, <-done; a+z != 200+405 {
		t.Errorf("%d and %d", a, z)
	}
}

// Nothing leads a repeat of a request without a name, or a guard, to its action: it would be executed again. So who is told that nobody knows its end is not
// told that it may be repeated.
func TestUnknownAndNameless(t *testing.T) {
	for name, tc := range map[string]struct {
		fields []string
		code   int
		retry  string
	}{
		"nothing":                {nil, 502, "never"},
		"a condition of many":    {[]string{`If-Match: W/"1"`}, 502, "never"},
		"accepted, and waited":   {[]string{"Prefer: respond-async, wait=20"}, 409, "never"},
		"a tag":                  {[]string{`If-Match: "1"`}, 502, "same"},
		"a key":                  {[]string{"Idempotency-Key: k"}, 502, "same"},
		"a key, accepted waited": {[]string{"Idempotency-Key: k", "Prefer: respond-async, wait=20"}, 409, "same"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, one(core.Route{Doors: []string{"if-match", "key", "async"}}))
			exec := executing(func(context.Context, *replay.Request, *replay.Recorder) (replay.Proof, error) {
				b.executed.Add(1)
				return replay.Broken, io.ErrUnexpectedEOF
			})
			b.mount(exec)
			b.gate.Defer(exec)
			ctx, stop := context.WithCancel(t.Context())
			var work sync.WaitGroup
			work.Go(func() { b.gate.Work(ctx) })
			defer work.Wait()
			defer stop()
			first := b.do("PUT", "/orders", "apples", tc.fields...)
			p := wantProblem(t, first, tc.code, "outcome-unknown")
			b.do("PUT", "/orders", "apples", tc.fields...)
			again := b.executed.Load() > 1
			if safe := p["retry"] == "same"; p["retry"] != tc.retry || safe == again || safe != (first.Header.Get("Retry-After") != "") || p["outcome"] == nil {
				t.Errorf("a repeat was executed: %t, and %v %v", again, p, first.Header)
			}
			page := text(t, b.do("PUT", "/orders", "apples", append(tc.fields, "Accept: text/html")...))
			if safe := strings.Contains(page, "<strong>Repeating the same request is safe.</strong>"); safe == again || strings.Contains(page, "changes nothing") {
				t.Errorf("a repeat was executed: %t, and %s", again, page)
			}
		})
	}
}

// A slowInterim is a client's connection that an interim answer is on its way to until leave is closed.
type slowInterim struct {
	*httptest.ResponseRecorder
	entered, leave chan struct{}
	under, mixed   atomic.Bool
	interim        atomic.Int32
	final          func() // is called while the final answer is written
}

func (w *slowInterim) WriteHeader(code int) {
	if code >= 200 {
		w.mixed.Store(w.mixed.Load() || w.under.Load())
		w.ResponseRecorder.WriteHeader(code)
		w.final()
		return
	}
	w.interim.Add(1)
	w.under.Store(true)
	close(w.entered)
	<-w.leave
	w.under.Store(false)
}

// A handler may leave a goroutine behind that tells the client how far it is. The answer that the client gets in its place waits for the interim answer that is
// on its way, and no other follows: net/http's writer is for one goroutine, and two in its header end the process.
func TestInterimBeforeTheAnswer(t *testing.T) {
	for name, end := range map[string]func(context.Context){
		"gives up": func(ctx context.Context) { <-ctx.Done() },
		"panics":   func(context.Context) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(c *core.Config) { c.Timeout = 10 * time.Millisecond })
			w := &slowInterim{ResponseRecorder: httptest.NewRecorder(), entered: make(chan struct{}), leave: make(chan struct{})}
			var left sync.WaitGroup
			b.app = func(rec http.ResponseWriter, r *http.Request) {
				left.Go(func() { rec.WriteHeader(http.StatusProcessing) })
				w.final = func() { rec.WriteHeader(http.StatusProcessing) }
				<-w.entered
				left.Go(func() {
					for range 10_000 { // time enough for an answer that does not wait
						runtime.Gosched()
					}
					time.AfterFunc(50*time.Millisecond, func() { close(w.leave) })
				})
				end(r.Context())
			}
			func() {
				defer func() { _ = recover() }()
				b.handler.ServeHTTP(w, httptest.NewRequest("POST", b.mint("/orders"), strings.NewReader("apples")))
			}()
			left.Wait()
			if w.mixed.Load() || w.interim.Load() != 1 || w.Code < 500 {
				t.Errorf("%d, written while an interim answer was: %t; %d interim answers", w.Code, w.mixed.Load(), w.interim.Load())
			}
		})
	}
}
