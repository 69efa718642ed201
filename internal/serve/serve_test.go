package serve_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/postonce/poe/internal/serve"
	"github.com/postonce/poe/internal/store"
)

// A running server, and how it ended.
type running struct {
	at   serve.Addresses
	stop context.CancelFunc
	end  func() error // waits for it
}

// config returns a configuration for a server in front of app.
func config(t *testing.T, app string) serve.Config {
	t.Helper()
	cfg := serve.Defaults()
	cfg.Listen, cfg.Admin, cfg.Upstream, cfg.Store = "127.0.0.1:0", "127.0.0.1:0", app, "pebble:"+filepath.Join(t.TempDir(), "ledger")
	return cfg
}

// run starts a server and waits until it serves.
func run(t *testing.T, cfg serve.Config) *running {
	t.Helper()
	return runWith(t, cfg, serve.Options{Log: zerolog.Nop()})
}

// runWith is run with options.
func runWith(t *testing.T, cfg serve.Config, opt serve.Options) *running {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	end := make(chan error, 1)
	r := &running{stop: stop, end: sync.OnceValue(func() error {
		select {
		case err := <-end:
			return err
		case <-time.After(time.Minute):
			return errors.New("it did not stop")
		}
	})}
	ready := make(chan serve.Addresses, 1)
	opt.Ready = func(a serve.Addresses) { ready <- a }
	go func() { end <- serve.Run(ctx, cfg, opt) }()
	select {
	case r.at = <-ready:
	case err := <-end:
		t.Fatalf("it did not start: %v", err)
	}
	t.Cleanup(func() {
		stop()
		if err := r.end(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func get(t *testing.T, url string, fields ...string) (*http.Response, string) {
	t.Helper()
	return do(t, http.MethodGet, url, "", fields...)
}

func do(t *testing.T, method, url, body string, fields ...string) (*http.Response, string) {
	t.Helper()
	res, got, err := ask(t.Context(), method, url, body, fields...)
	if err != nil {
		t.Fatal(err)
	}
	return res, got
}

// ask is do for goroutines, which must not end the test.
func ask(ctx context.Context, method, url, body string, fields ...string) (*http.Response, string, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return nil, "", err
	}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		r.Header.Add(name, value)
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = res.Body.Close() }()
	got, err := io.ReadAll(res.Body)
	return res, string(got), err
}

func mint(t *testing.T, base, target string) string {
	t.Helper()
	res, body := get(t, base+"/poe/new?for="+target, "Accept: text/plain")
	if res.StatusCode != 200 {
		t.Fatalf("minting: %d %s", res.StatusCode, body)
	}
	return base + strings.TrimSpace(body)
}

func TestGatewayEndToEnd(t *testing.T) {
	var seen []string
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		seen = append(seen, fmt.Sprintf("%s %s host=%s id=%t key=%t %s", r.Method, r.RequestURI, r.Host, r.Header.Get("POE-Id") != "", r.Header.Get("Idempotency-Key") != "", body))
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, "made")
	}))
	defer app.Close()
	s := run(t, config(t, app.URL))
	uri := mint(t, s.at.URL, "/orders%3Fx=%252F")
	if res, body := do(t, "POST", uri, "three"); res.StatusCode != 201 || body != "made" {
		t.Fatalf("%d %s", res.StatusCode, body)
	}
	if res, _ := do(t, "POST", uri, "three"); res.StatusCode != 405 {
		t.Fatalf("the second POST: %d", res.StatusCode)
	}
	if res, body := get(t, uri); res.StatusCode != 200 || body != "made" {
		t.Errorf("the outcome: %d %s", res.StatusCode, body)
	}
	if res, _ := do(t, "POST", s.at.URL+"/orders?x=2", "plain", "POE-Id: forged"); res.StatusCode != 201 {
		t.Errorf("a plain POST: %d", res.StatusCode)
	}
	res, _ := get(t, s.at.URL+"/orders", "POE: 1")
	if links := res.Header.Get("POE-Links"); !strings.HasPrefix(links, `"/orders?poe=`) || res.Header.Get("Vary") != "POE" {
		t.Errorf("POE-Links %q, Vary %q", links, res.Header.Get("Vary"))
	}
	host := strings.TrimPrefix(s.at.URL, "http://")
	want := []string{
		"POST /orders?x=%2F host=" + host + " id=true key=true three",
		"POST /orders?x=2 host=" + host + " id=false key=false plain",
		"GET /orders host=" + host + " id=false key=false ",
	}
	if strings.Join(seen, "\n") != strings.Join(want, "\n") {
		t.Errorf("the application saw\n%s\nwant\n%s", strings.Join(seen, "\n"), strings.Join(want, "\n"))
	}
}

func TestAdmin(t *testing.T) {
	app := httptest.NewServer(http.NotFoundHandler())
	defer app.Close()
	s := run(t, config(t, app.URL))
	uri := mint(t, s.at.URL, "/orders")
	do(t, "POST", uri, "")
	for path, want := range map[string]string{
		"/healthz": "ok\n", "/readyz": "ready\n", "/metrics": "poe_claims_total{result=\"won\"} 1\n",
	} {
		if res, body := get(t, s.at.Admin+path); res.StatusCode != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, res.StatusCode, body)
		}
		if _, body := get(t, s.at.Admin+path); strings.Contains(body, uri[strings.Index(uri, "poe=")+4:]) {
			t.Errorf("%s shows a token", path)
		}
	}
	if res, _ := get(t, s.at.URL+"/metrics"); res.StatusCode != 404 {
		t.Errorf("clients can read metrics: %d", res.StatusCode)
	}
}

// What runs when the server is told to stop is finished and delivered; nothing new begins.
func TestStopFinishesWhatRuns(t *testing.T) {
	started, finish := make(chan struct{}), make(chan struct{})
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(started)
		<-finish
		_, _ = io.WriteString(w, "finished")
	}))
	defer app.Close()
	cfg := config(t, app.URL)
	s := run(t, cfg)
	uri := mint(t, s.at.URL, "/orders")
	first := make(chan string, 1)
	go func() {
		_, body, err := ask(context.Background(), "POST", uri, "")
		first <- fmt.Sprint(body, err)
	}()
	<-started
	s.stop()
	for { // until nobody listens any more
		c, err := net.Dial("tcp", strings.TrimPrefix(s.at.URL, "http://"))
		if err != nil {
			break
		}
		_ = c.Close()
	}
	close(finish)
	if got := <-first; got != "finished<nil>" {
		t.Errorf("the client got %s", got)
	}
	if err := s.end(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// What does not finish within the grace is ended and recorded as unknown, and the next process knows it.
func TestGraceIsOver(t *testing.T) {
	started, forever := make(chan struct{}), make(chan struct{})
	app := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { close(started); <-forever }))
	defer app.Close()
	defer close(forever)
	cfg := config(t, app.URL)
	cfg.Grace = time.Second
	s := run(t, cfg)
	uri := mint(t, s.at.URL, "/orders")
	path := strings.TrimPrefix(uri, s.at.URL)
	ended := make(chan int, 1)
	go func() {
		res, _, err := ask(context.Background(), "POST", uri, "")
		if err != nil {
			t.Error(err)
			close(ended)
			return
		}
		ended <- res.StatusCode
	}()
	<-started
	began := time.Now()
	s.stop()
	if err := s.end(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	if code := <-ended; code != 502 {
		t.Errorf("the client was told %d", code)
	}
	again := run(t, cfg)
	if res, body := do(t, "POST", again.at.URL+path, ""); res.StatusCode != 409 || !strings.Contains(body, "outcome-unknown") {
		t.Errorf("after the restart: %d %s", res.StatusCode, body)
	}
}

func TestMistakesAtTheStart(t *testing.T) {
	app := httptest.NewServer(http.NotFoundHandler())
	defer app.Close()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	open := config(t, app.URL)
	run(t, open)
	for _, c := range []struct {
		name   string
		change func(*serve.Config)
		is     error
	}{
		{"port taken", func(c *serve.Config) { c.Listen = taken.Addr().String() }, syscall.EADDRINUSE},
		{"admin port taken", func(c *serve.Config) { c.Admin = taken.Addr().String() }, syscall.EADDRINUSE},
		{"ledger open elsewhere", func(c *serve.Config) { c.Store = open.Store }, store.ErrLocked},
		{"no key file", func(c *serve.Config) { c.Keys = filepath.Join(t.TempDir(), "keys.json") }, os.ErrNotExist},
		{"no certificate", func(c *serve.Config) { c.TLSCert, c.TLSKey = "nowhere.pem", "nowhere.pem" }, os.ErrNotExist},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := config(t, app.URL)
			c.change(&cfg)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if err := serve.Run(ctx, cfg, serve.Options{Log: zerolog.Nop()}); !errors.Is(err, c.is) {
				t.Errorf("got %v, want %v", err, c.is)
			}
		})
	}
}

// certificate writes a certificate for 127.0.0.1 and returns its files and a pool that trusts it.
func certificate(t *testing.T) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "poe"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	pemCert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for path, text := range map[string][]byte{cert: pemCert, key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(pemCert)
	return cert, key, pool
}

// Over TLS and HTTP/2, guarded and unguarded, with trailers.
func TestTLSAndHTTP2(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, r.Header.Get("X-Forwarded-Proto"))
		w.Header().Set("X-Sum", "42")
	}))
	defer app.Close()
	cfg := config(t, app.URL)
	var pool *x509.CertPool
	cfg.TLSCert, cfg.TLSKey, pool = certificate(t)
	s := run(t, cfg)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true}
	defer tr.CloseIdleConnections()
	client := &http.Client{Transport: tr}
	ask := func(method, url string) (*http.Response, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", "text/plain")
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		if res.ProtoMajor != 2 {
			t.Errorf("HTTP/%d", res.ProtoMajor)
		}
		return res, strings.TrimSpace(string(body))
	}
	_, path := ask("GET", s.at.URL+"/poe/new?for=/orders")
	for _, c := range []struct {
		method, url string
		status      int
	}{{"POST", s.at.URL + path, 200}, {"POST", s.at.URL + "/orders", 200}, {"GET", s.at.URL + path, 200}} {
		res, body := ask(c.method, c.url)
		if res.StatusCode != c.status || body != "https" || res.Trailer.Get("X-Sum") != "42" {
			t.Errorf("%s: %d %q, trailer %v", c.method, res.StatusCode, body, res.Trailer)
		}
	}
}

// What is not protected passes as it is: an upgrade, also where POE-Links are asked for, and events as they happen.
func TestPassThrough(t *testing.T) {
	more := make(chan string)
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			w.Header().Set("Content-Type", "text/event-stream")
			for line := range more {
				_, _ = io.WriteString(w, line)
				_ = http.NewResponseController(w).Flush()
			}
			return
		}
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = c.Close() }()
		_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_ = rw.Flush()
		line, _ := rw.ReadString('\n')
		_, _ = rw.WriteString("echo " + line)
		_ = rw.Flush()
	}))
	defer app.Close()
	s := run(t, config(t, app.URL))
	for _, field := range []string{"", "POE: 1\r\n"} {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.at.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, "GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+field+"\r\n")
		in := bufio.NewReader(c)
		res, err := http.ReadResponse(in, nil)
		if err != nil || res.StatusCode != 101 || (res.Header.Get("POE-Links") != "") != (field != "") {
			t.Fatalf("upgrading: %v %v", res, err)
		}
		_, _ = io.WriteString(c, "hello\n")
		if line, err := in.ReadString('\n'); line != "echo hello\n" {
			t.Errorf("%q %v", line, err)
		}
		_ = c.Close()
	}
	go func() { more <- "data: 1\n\n" }()
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, s.at.URL+"/events", nil)
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	buf := make([]byte, 9)
	for i := 1; i <= 2; i++ {
		if _, err := io.ReadFull(res.Body, buf); err != nil || string(buf) != fmt.Sprintf("data: %d\n\n", i) {
			t.Fatalf("%q %v", buf, err)
		}
		if i == 1 {
			more <- "data: 2\n\n"
		}
	}
	close(more)
}

// Early hints to a guarded POST reach its client and are not part of what is kept.
func TestEarlyHints(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		_, _ = io.WriteString(w, "done")
	}))
	defer app.Close()
	s := run(t, config(t, app.URL))
	uri := mint(t, s.at.URL, "/orders")
	var hints []string
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		hints = append(hints, fmt.Sprint(code, h["Link"], h["Poe-State"]))
		return nil
	}})
	res, body, err := ask(ctx, "POST", uri, "x")
	if err != nil || res.StatusCode != 200 || body != "done" {
		t.Fatalf("%v %q %v", res, body, err)
	}
	if want := "103 [</a.css>; rel=preload] []"; len(hints) != 1 || hints[0] != want {
		t.Errorf("hints %q, want one %q", hints, want)
	}
	for _, when := range []string{"first answer", "outcome"} {
		if links := res.Header.Values("Link"); len(links) != 1 || !strings.Contains(links[0], `rel="status"`) || !strings.HasPrefix(res.Header.Get("POE-State"), "done;") {
			t.Errorf("%s: %v", when, res.Header)
		}
		res, body = get(t, uri)
		if body != "done" {
			t.Errorf("outcome %q", body)
		}
	}
}
