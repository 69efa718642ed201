package replay_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"testing"

	"github.com/postonce/poe/internal/replay"
)

// protocols are the versions of HTTP that tests speak over real sockets.
var protocols = []string{"HTTP/1.1", "HTTP/2.0"}

// response is all that a client sees of an answer.
type response struct {
	Status  int
	Header  http.Header // without Date
	Trailer http.Header
	Length  int64 // -1: not said
	Body    string
	Interim []string
	Broken  bool // the answer ended early
}

// serve starts a server that speaks proto, and returns its address and a client that decodes nothing.
func serve(t testing.TB, proto string, h http.Handler) (string, *http.Client) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.EnableHTTP2 = proto == "HTTP/2.0"
	if s.EnableHTTP2 {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	c := s.Client()
	c.Transport.(*http.Transport).DisableCompression = true
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return s.URL, c
}

// fetch asks h over proto and returns the whole answer.
func fetch(t testing.TB, proto string, req *http.Request, h http.Handler) response {
	t.Helper()
	var running sync.WaitGroup // a broken answer may be here before its handler has ended
	base, client := serve(t, proto, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		running.Add(1)
		defer running.Done()
		h.ServeHTTP(w, r)
	}))
	defer running.Wait()
	return do(t, client, base, req)
}

func do(t testing.TB, client *http.Client, base string, req *http.Request) response {
	t.Helper()
	var out response
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		out.Interim = append(out.Interim, fmt.Sprint(code, " ", h))
		return nil
	}}
	out2, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), req.Method, base+req.URL.String(), req.Body)
	if err != nil {
		t.Fatal(err)
	}
	out2.Header = req.Header.Clone()
	res, err := client.Do(out2)
	if err != nil {
		out.Broken = true
		return out
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	out.Broken = err != nil
	res.Header.Del("Date")
	out.Status, out.Header, out.Trailer, out.Length, out.Body = res.StatusCode, res.Header, res.Trailer, res.ContentLength, string(body)
	if len(out.Trailer) == 0 {
		out.Trailer = nil
	}
	return out
}

// request is what tests send when it does not matter.
func request(method string) *http.Request {
	r := httptest.NewRequestWithContext(context.Background(), method, "/orders?x=1", http.NoBody)
	return r
}

// gate is the smallest engine there can be: it records what h answers, and then sends it.
type gate struct {
	spool *replay.Spool
	cfg   replay.RecorderConfig
	h     http.Handler
}

func (g gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	cfg := g.cfg
	cfg.Spool = g.spool
	cfg.Inform = func(status int, h http.Header) {
		clear(w.Header())
		for name, values := range h {
			w.Header()[name] = values
		}
		w.WriteHeader(status)
		clear(w.Header())
	}
	rec := replay.NewRecorder(cfg)
	defer rec.Release()
	g.h.ServeHTTP(rec, r)
	a, err := rec.Finish()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if err := replay.Send(w, r, a); err != nil && !errors.Is(err, replay.ErrIncomplete) {
		panic(err)
	}
}

// short cuts long strings in diffs.
func short(s string) string {
	if len(s) > 200 {
		return fmt.Sprintf("%s… %d bytes", strings.ToValidUTF8(s[:100], "?"), len(s))
	}
	return s
}
