package h1_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postonce/poe/internal/h1"
)

// dial opens a connection that the test closes.
func dial(tb testing.TB, address string) *net.TCPConn {
	tb.Helper()
	var d net.Dialer
	c, err := d.DialContext(context.Background(), "tcp", address)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c.(*net.TCPConn)
}

// ask sends a request and reads its answer.
func ask(tb testing.TB, c net.Conn, in *bufio.Reader, request string) (*http.Response, string) {
	tb.Helper()
	if _, err := io.WriteString(c, request); err != nil {
		tb.Fatal(err)
	}
	return read(tb, in)
}

func read(tb testing.TB, in *bufio.Reader) (*http.Response, string) {
	tb.Helper()
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		tb.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return res, string(body)
}

// Requests that are plain are answered here, and those behind one that is not by net/http.
func TestWhoAnswers(t *testing.T) {
	t.Parallel()
	address := serve(t, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, h1.Ours(w)) })}, true)
	post := "POST / HTTP/1.1\r\n" + host + "Content-Length: 2\r\nContent-Type: application/json\r\n\r\n{}"
	long := "POST / HTTP/1.1\r\n" + host + "Content-Length: 10000\r\n\r\n" + strings.Repeat("x", 10000) // for which the buffer grows, and shrinks again
	c := dial(t, address)
	in := bufio.NewReader(c)
	for i, tc := range []struct{ request, want string }{
		{get, "true"}, {post, "true"}, {long, "true"}, {get, "true"}, {long, "true"}, {long, "true"}, {post, "true"}, {"\r\n" + post, "true"}, {"GET /a%20b?c HTTP/1.1\r\n" + host + "Connection: keep-alive\r\n\r\n", "true"},
		{"GET / HTTP/1.1\r\n" + host + "Pragma: x\r\n\r\n", "false"}, {get, "false"}, {post, "false"},
	} {
		if _, got := ask(t, c, in, tc.request); got != tc.want {
			t.Errorf("%d: %s, want %s", i, got, tc.want)
		}
	}
}

// A head that is longer than the server allows is net/http's, which refuses it when it is much longer.
func TestHeadsAreLimited(t *testing.T) {
	t.Parallel()
	address := serve(t, &http.Server{MaxHeaderBytes: 1000, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, h1.Ours(w)) })}, true)
	for size, want := range map[int]string{100: "\r\n\r\ntrue", 2000: "\r\n\r\nfalse", 8000: "431 Request Header Fields Too Large"} {
		if got := say(t, address, "GET / HTTP/1.1\r\n"+host+"X: "+strings.Repeat("x", size)+"\r\n\r\n"); !strings.HasSuffix(got, want) {
			t.Errorf("%d bytes: %q", size, got)
		}
	}
}

// A client that goes ends the context of its request; one that sends its next request does not, and nothing of that is lost.
func TestClientGoes(t *testing.T) {
	t.Parallel()
	began, told, goOn := make(chan struct{}), make(chan error, 1), make(chan struct{})
	address := serve(t, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			ctx, cancel := context.WithCancel(r.Context())
			defer cancel()
			close(began)
			select {
			case <-ctx.Done():
				told <- errors.Join(ctx.Err(), r.Context().Err(), context.Cause(ctx))
			case <-goOn:
			}
		}
		_, _ = io.WriteString(w, r.URL.Path)
	})}, true)
	c := dial(t, address)
	in := bufio.NewReader(c)
	wait := "POST /wait HTTP/1.1\r\n" + host + "Content-Length: 2\r\n\r\n{}"
	next := strings.Replace(get, "/", "/next", 1)
	if _, err := io.WriteString(c, wait); err != nil {
		t.Fatal(err)
	}
	<-began
	<-time.After(20 * time.Millisecond) // so that somebody watches
	if _, err := io.WriteString(c, next+next); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-told:
		t.Fatalf("the context of a request ended when the next came: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(goOn)
	for _, want := range []string{"/wait", "/next", "/next"} {
		if _, got := read(t, in); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	if _, got := ask(t, c, in, next); got != "/next" { // when nobody watches any more
		t.Fatalf("got %q", got)
	}
	began, goOn = make(chan struct{}), make(chan struct{})
	if _, err := io.WriteString(c, wait); err != nil {
		t.Fatal(err)
	}
	<-began
	_ = c.Close()
	select {
	case err := <-told:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the context ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("nobody was told that the client has gone")
	}
}

// What a handler leaves behind has nothing of the connection, whose next request goes on: no body, no answer, and a context that has ended.
func TestLeftBehind(t *testing.T) {
	t.Parallel()
	type left struct {
		body io.Reader
		w    http.ResponseWriter
		ctx  context.Context
	}
	had := make(chan left, 2)
	address := serve(t, &http.Server{ErrorLog: quiet, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		had <- left{r.Body, w, r.Context()}
		if r.URL.Path == "/watched" {
			_ = r.Context().Done()
		}
	})}, true)
	c := dial(t, address)
	in := bufio.NewReader(c)
	for _, path := range []string{"/", "/watched"} {
		if res, _ := ask(t, c, in, "POST "+path+" HTTP/1.1\r\n"+host+"Content-Length: 6\r\n\r\nsecret"); res.StatusCode != 200 {
			t.Fatal(res.Status)
		}
		res, _ := ask(t, c, in, get) // its body, if it were still one, would be of this
		l := <-had
		<-had
		if n, err := l.body.Read(make([]byte, 6)); n != 0 || !errors.Is(err, http.ErrBodyReadAfterClose) {
			t.Errorf("%s: %d bytes of a body that is gone, %v", path, n, err)
		}
		l.w.WriteHeader(500)
		if n, err := io.WriteString(l.w, "late"); n != 0 || err == nil {
			t.Errorf("%s: %d bytes were written into nothing, %v", path, n, err)
		}
		rc := http.NewResponseController(l.w)
		if rc.Flush() == nil {
			t.Errorf("%s: what was answered was flushed", path)
		}
		if _, _, err := rc.Hijack(); err == nil {
			t.Errorf("%s: a connection was hijacked that is somebody else's", path)
		}
		if err := l.ctx.Err(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: the context ended with %v", path, err)
		}
		select {
		case <-l.ctx.Done():
		default:
			t.Errorf("%s: the context goes on", path)
		}
		if res.StatusCode != 200 {
			t.Errorf("%s: the next answer is %s", path, res.Status)
		}
	}
}

// Values are found in the context of a request, and in those that are made of it, also in one that outlives it.
func TestContexts(t *testing.T) {
	t.Parallel()
	type key struct{}
	srv := &http.Server{
		BaseContext: func(net.Listener) context.Context { return context.WithValue(context.Background(), key{}, "base") },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, h1.Other, c.RemoteAddr().String())
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			say := func(ctx context.Context) {
				_, _ = fmt.Fprintln(w, ctx.Value(key{}), ctx.Value(h1.Other) == r.RemoteAddr, ctx.Value(http.LocalAddrContextKey) != nil, ctx.Value(http.ServerContextKey) != nil, ctx.Err())
			}
			say(r.Context())
			say(context.WithoutCancel(r.Context()))
			ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
			say(ctx)
			say(r.Context())
			ended := make(chan struct{})
			context.AfterFunc(ctx, func() { close(ended) })
			cancel()
			<-ended
			say(ctx)
			_, until := r.Context().Deadline()
			_, _ = fmt.Fprintln(w, until)
		}),
	}
	c := dial(t, serve(t, srv, true))
	const good, ended = "base true true true <nil>\n", "base true true true context canceled\n"
	if _, got := ask(t, c, bufio.NewReader(c), get); got != good+good+good+good+ended+"false\n" {
		t.Errorf("got %q", got)
	}
}

// A panic ends the connection and says so, but for the one that is meant to; so does a handler that ends its goroutine. Other connections go on.
func TestPanics(t *testing.T) {
	t.Parallel()
	var text lines
	address := serve(t, &http.Server{ErrorLog: log.New(&text, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.Context().Done() // somebody watches
		_, _ = io.WriteString(w, "half")
		switch r.URL.Path {
		case "/panic":
			panic("no")
		case "/abort":
			panic(http.ErrAbortHandler)
		case "/exit":
			runtime.Goexit()
		case "/twice":
			w.WriteHeader(500)
		case "/flushed":
			w.(http.Flusher).Flush() //nolint:forcetypeassert // it is one
			panic(http.ErrAbortHandler)
		}
	})}, true)
	other := dial(t, address)
	in := bufio.NewReader(other)
	for path, want := range map[string]struct{ got, logged string }{
		"/panic": {"", "panic serving 127.0.0.1"}, "/abort": {"", ""}, "/exit": {"", ""}, "/flushed": {"half", ""}, "/twice": {"half", "superfluous"},
	} {
		before := len(text.String())
		got := say(t, address, strings.Replace(get, "/", path, 1))
		if !strings.Contains(got, want.got) || want.got == "" && got != "" || strings.Contains(got, "0\r\n\r\n") {
			t.Errorf("%s was answered with %q", path, got)
		}
		if logged := text.String()[before:]; !strings.Contains(logged, want.logged) || want.logged == "" && logged != "" {
			t.Errorf("%s: logged %q", path, logged)
		}
		if res, _ := ask(t, other, in, get); res.StatusCode != 200 {
			t.Errorf("after %s another connection gets %s", path, res.Status)
		}
	}
}

// lines is a log that many may write to.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Who hijacks a connection has all that was read of it, and it is nobody else's any more.
func TestHijack(t *testing.T) {
	t.Parallel()
	var states lines
	srv := &http.Server{
		ConnState: func(_ net.Conn, s http.ConnState) { _, _ = fmt.Fprintln(&states, s) },
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = r.Body.Read(make([]byte, 1))
			_ = r.Context().Done() // somebody watches
			if r.URL.Path == "/flushed" {
				w.WriteHeader(http.StatusSwitchingProtocols)
			}
			rwc, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			if _, _, err := http.NewResponseController(w).Hijack(); !errors.Is(err, http.ErrHijacked) {
				t.Errorf("hijacked twice: %v", err)
			}
			if _, err := io.WriteString(w, "x"); !errors.Is(err, http.ErrHijacked) {
				t.Errorf("written to what was hijacked: %v", err)
			}
			go func() {
				defer func() { _ = rwc.Close() }()
				got, err := io.ReadAll(rw)
				_, _ = fmt.Fprintf(rw, "%s %v", got, err)
				_ = rw.Flush()
			}()
		}),
	}
	address := serve(t, srv, true)
	post := "POST / HTTP/1.1\r\n" + host + "Content-Length: 3\r\n\r\nabc"
	if got := say(t, address, post+"next", "more"); got != "bcnextmore <nil>" {
		t.Errorf("got %q", got)
	}
	if got, want := states.String(), "new\nactive\nhijacked\n"; got != want {
		t.Errorf("states %q, want %q", got, want)
	}
	if got := say(t, address, strings.Replace(post, "/", "/flushed", 1)); !strings.HasPrefix(got, "HTTP/1.1 101 Switching Protocols\r\n") || !strings.HasSuffix(got, "\r\n\r\nbc <nil>") {
		t.Errorf("got %q", got)
	}
}

// The states of a connection are told as net/http tells them, also of one that was handed over.
func TestStates(t *testing.T) {
	t.Parallel()
	var text lines
	closed := make(chan struct{}, 1)
	srv := &http.Server{Handler: http.HandlerFunc(mirror), ConnState: func(c net.Conn, s http.ConnState) {
		_, _ = fmt.Fprintf(&text, "%v %T\n", s, c)
		if s == http.StateClosed {
			closed <- struct{}{}
		}
	}}
	address := serve(t, srv, true)
	for request, want := range map[string]string{
		get + get:    "new active idle active idle closed ",
		get + "x":    "new active idle active active closed ", // net/http has read what is left
		get[:20]:     "new active active closed ",
		"":           "new closed ",
		get + "\r\n": "new active idle active active closed ",
	} {
		say(t, address, request)
		<-closed
		if got := strings.ReplaceAll(text.String(), " *net.TCPConn\n", " "); got != want {
			t.Errorf("%q: %s, want %s", request, got, want)
		}
		text.mu.Lock()
		text.text.Reset()
		text.mu.Unlock()
	}
}

// A request that comes slowly is answered, by net/http in the end, and nobody may be slower than net/http allows.
func TestSlowRequests(t *testing.T) {
	t.Parallel()
	address := serve(t, &http.Server{
		ReadHeaderTimeout: 300 * time.Millisecond, IdleTimeout: 300 * time.Millisecond,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }),
	}, true)
	post := "POST / HTTP/1.1\r\n" + host + "Content-Length: 3\r\n\r\nabc"
	for _, n := range []int{2, 7, 12} {
		var pieces []string
		for rest := post; rest != ""; {
			k := min(len(rest), len(post)/n+1)
			pieces, rest = append(pieces, rest[:k]), rest[k:]
		}
		if got := say(t, address, pieces...); !strings.HasSuffix(got, "\r\n\r\nabc") {
			t.Errorf("in %d pieces it is answered with %q", n, got)
		}
	}
	patient := serve(t, &http.Server{Handler: http.HandlerFunc(mirror)}, true)
	c := dial(t, patient)
	in := bufio.NewReader(c)
	if _, err := io.WriteString(c, get[:20]); err != nil {
		t.Fatal(err)
	}
	<-time.After(1300 * time.Millisecond) // net/http has it, and waits for as long as it takes
	if res, _ := ask(t, c, in, get[20:]); res.StatusCode != 200 {
		t.Error(res.Status)
	}
	for name, begin := range map[string]string{"none": "", "idle": get, "half a head": get + "GET", "no body": post[:len(post)-1]} {
		c := dial(t, address)
		since := time.Now()
		if _, err := io.WriteString(c, begin); err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(3 * time.Second))
		_, err := io.Copy(io.Discard, c)
		took := time.Since(since)
		if name == "no body" { // which has no limit here
			if err == nil {
				t.Errorf("%s: ended after %v", name, took)
			}
			continue
		}
		if err != nil || took < 250*time.Millisecond || took > 2500*time.Millisecond {
			t.Errorf("%s: ended after %v: %v", name, took, err)
		}
	}
}

// Shutdown ends who waits for nothing, waits for who is being answered, and returns when its time is over.
func TestShutdown(t *testing.T) {
	t.Parallel()
	goOn, began := make(chan struct{}), make(chan struct{}, 8)
	s := h1.New(&http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/flushed" {
			w.(http.Flusher).Flush() //nolint:forcetypeassert // it is one
		}
		if r.Method == http.MethodPost {
			began <- struct{}{}
			<-goOn
		}
		_, _ = fmt.Fprint(w, h1.Ours(w))
	})})
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // loopback
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	idle, silent, busy, theirs, flushed := dial(t, l.Addr().String()), dial(t, l.Addr().String()), dial(t, l.Addr().String()), dial(t, l.Addr().String()), dial(t, l.Addr().String())
	inIdle, inBusy, inTheirs := bufio.NewReader(idle), bufio.NewReader(busy), bufio.NewReader(theirs)
	ask(t, idle, inIdle, get)
	post := "POST / HTTP/1.1\r\n" + host + "Content-Length: 0\r\n\r\n"
	for c, request := range map[net.Conn]string{busy: post + get, flushed: strings.Replace(post, "/", "/flushed", 1), theirs: strings.Replace(post, host, host+"Expect: 100-continue\r\n", 1)} {
		if _, err := io.WriteString(c, request); err != nil {
			t.Fatal(err)
		}
		<-began
	}
	short, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown returned %v while somebody was being answered", err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("Serve returned %v", err)
	}
	for name, in := range map[string]*bufio.Reader{"idle": inIdle, "silent": bufio.NewReader(silent)} {
		if _, err := in.ReadByte(); err == nil {
			t.Errorf("the %s connection goes on", name)
		}
	}
	shut := make(chan error, 1)
	go func() { shut <- s.Shutdown(context.Background()) }()
	select {
	case err := <-shut:
		t.Errorf("Shutdown returned %v while somebody was being answered", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(goOn)
	for want, in := range map[string]*bufio.Reader{"true": inBusy, "false": inTheirs} {
		if res, got := read(t, in); got != want || !res.Close {
			t.Errorf("answered %q, want %q; the last: %t", got, want, res.Close)
		}
		if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("behind the last answer: %v", err)
		}
	}
	if got, err := io.ReadAll(flushed); err != nil || !strings.HasSuffix(string(got), "true\r\n0\r\n\r\n") { // its head could not say that it is the last
		t.Errorf("answered %q, %v", got, err)
	}
	if err := <-shut; err != nil {
		t.Errorf("Shutdown returned %v", err)
	}
	var d net.Dialer
	if c, err := d.DialContext(context.Background(), "tcp", l.Addr().String()); err == nil {
		_ = c.Close()
		t.Error("it still listens")
	}
}

// late is a listener that gives one more connection when it is closed.
type late struct {
	net.Listener
	conn   chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *late) Accept() (net.Conn, error) {
	<-l.closed
	select {
	case c := <-l.conn:
		return c, nil
	default:
		return nil, net.ErrClosed
	}
}

func (l *late) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Who is accepted when the server is down is not waited for.
func TestAcceptedTooLate(t *testing.T) {
	t.Parallel()
	client, conn := net.Pipe()
	l := &late{Listener: &net.TCPListener{}, conn: make(chan net.Conn, 1), closed: make(chan struct{})}
	l.conn <- addressed{conn}
	s := h1.New(&http.Server{Handler: http.HandlerFunc(mirror)})
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	<-time.After(20 * time.Millisecond) // so that it serves
	if err := s.Shutdown(context.Background()); err != nil {
		t.Errorf("Shutdown returned %v", err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("Serve returned %v", err)
	}
	_ = client.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the connection goes on: %v", err)
	}
}

// addressed is a connection that says where it is.
type addressed struct{ net.Conn }

func (addressed) RemoteAddr() net.Addr { return &net.TCPAddr{} }
func (addressed) LocalAddr() net.Addr  { return &net.TCPAddr{} }

// Close ends everybody, and their contexts.
func TestClose(t *testing.T) {
	t.Parallel()
	began, ended := make(chan struct{}), make(chan struct{})
	s := h1.New(&http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
		close(ended)
	})})
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // loopback
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	busy, idle := dial(t, l.Addr().String()), dial(t, l.Addr().String())
	if _, err := io.WriteString(busy, get); err != nil {
		t.Fatal(err)
	}
	<-began
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	<-ended
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("Serve returned %v", err)
	}
	for _, c := range []net.Conn{busy, idle} {
		if n, err := c.Read(make([]byte, 1)); err == nil {
			t.Errorf("%d bytes of a connection that was to end", n)
		}
	}
	if err := s.Shutdown(context.Background()); err != nil {
		t.Errorf("Shutdown after Close returned %v", err)
	}
}

// flaky is a listener that fails now and then as a process does that has too many files open.
type flaky struct {
	net.Listener
	fails atomic.Int32
	final error
}

type tooMany struct{}

func (tooMany) Error() string   { return "too many open files" }
func (tooMany) Timeout() bool   { return false }
func (tooMany) Temporary() bool { return true }

func (f *flaky) Accept() (net.Conn, error) {
	if f.fails.Add(-1) >= 0 {
		return nil, tooMany{}
	}
	if f.final != nil {
		return nil, f.final
	}
	return f.Listener.Accept()
}

// A listener that has failed for a moment is asked again, one that has failed for good ends Serve.
func TestListenerFails(t *testing.T) {
	t.Parallel()
	for _, final := range []error{nil, errors.New("gone")} {
		l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // loopback
		if err != nil {
			t.Fatal(err)
		}
		f := &flaky{Listener: l, final: final}
		f.fails.Store(3)
		s := h1.New(&http.Server{Handler: http.HandlerFunc(mirror), ErrorLog: quiet})
		served := make(chan error, 1)
		go func() { served <- s.Serve(f) }()
		if final == nil {
			c := dial(t, l.Addr().String())
			if res, _ := ask(t, c, bufio.NewReader(c), get); res.StatusCode != 200 {
				t.Error(res.Status)
			}
			final = http.ErrServerClosed
			_ = s.Close()
		}
		if err := <-served; !errors.Is(err, final) {
			t.Errorf("Serve returned %v, want %v", err, final)
		}
	}
}

// What a handler sets for its connection does not outlast its request.
func TestDeadlinesEnd(t *testing.T) {
	t.Parallel()
	address := serve(t, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			rc := http.NewResponseController(w)
			if err := errors.Join(rc.SetReadDeadline(time.Now().Add(50*time.Millisecond)), rc.SetWriteDeadline(time.Now().Add(50*time.Millisecond))); err != nil {
				t.Error(err)
			}
			if _, err := io.ReadAll(r.Body); err != nil {
				t.Error(err)
			}
		}
		_, _ = io.WriteString(w, "x")
	})}, true)
	c := dial(t, address)
	in := bufio.NewReader(c)
	ask(t, c, in, "POST / HTTP/1.1\r\n"+host+"Content-Length: 2\r\n\r\n{}")
	<-time.After(100 * time.Millisecond)
	if _, got := ask(t, c, in, get); got != "x" {
		t.Errorf("got %q", got)
	}
	late := serve(t, &http.Server{WriteTimeout: 50 * time.Millisecond, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		<-time.After(100 * time.Millisecond)
		w.Header().Set("X", "y")
		if _, err := io.WriteString(w, "x"); err != nil {
			t.Error(err)
		}
		if http.NewResponseController(w).Flush() == nil {
			t.Error("it was written when the time was over")
		}
	})}, true)
	if got := say(t, late, get+get); got != "" {
		t.Errorf("got %q", got)
	}
}

// Every client gets its own answers, in their order, whoever comes beside it.
func TestManyClients(t *testing.T) {
	t.Parallel()
	address := serve(t, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("watched") {
			defer context.AfterFunc(r.Context(), func() {})()
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if r.URL.Query().Has("flushed") {
			w.(http.Flusher).Flush() //nolint:forcetypeassert // it is one
		}
		_, _ = fmt.Fprintf(w, "%s %s %s", r.URL.Path, r.Header.Get("X"), body)
	})}, true)
	var clients sync.WaitGroup
	for client := range 16 {
		clients.Go(func() {
			c := dial(t, address)
			in := bufio.NewReader(c)
			for round := range 50 {
				var sent, want []string
				for i := range 1 + round%4 {
					body := strings.Repeat("b", (client*round*37+i)%6000)
					if round%10 == 9 {
						body += strings.Repeat("c", 15<<10) // with which it is not plain
					}
					path := fmt.Sprintf("/%d/%d/%d", client, round, i)
					sent = append(sent, fmt.Sprintf("POST %s?%s HTTP/1.1\r\n%sX: %d\r\nContent-Length: %d\r\n\r\n%s", path, []string{"", "watched", "flushed"}[(round+i)%3], host, i, len(body), body))
					want = append(want, fmt.Sprintf("%s %d %s", path, i, body))
				}
				if round%10 == 9 && client%2 == 0 {
					c = dial(t, address) // the other clients go on with net/http
					in = bufio.NewReader(c)
				}
				if _, err := io.WriteString(c, strings.Join(sent, "")); err != nil {
					t.Error(err)
					return
				}
				for _, one := range want {
					if _, got := read(t, in); got != one {
						t.Errorf("got %.40q, want %.40q", got, one)
						return
					}
				}
			}
		})
	}
	clients.Wait()
}
