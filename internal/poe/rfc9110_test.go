package core_test

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// RFC 9530, section 2 (and RFC 9110, section 6.5): Content-Digest may come as a trailer.
func TestDigestInTrailer(t *testing.T) {
	b := newBench(t, nil)
	at := b.listen()
	sum := sha256.Sum256([]byte("another"))
	{
		uri := b.mint("/orders")
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		_, _ = fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: Content-Digest\r\n\r\n1\r\nx\r\n0\r\nContent-Digest: sha-256=:%s:\r\n\r\n", uri, base64.StdEncoding.EncodeToString(sum[:]))
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != 400 || b.executed.Load() != 0 {
			t.Errorf("%d, executed %d times: the body is not the one that Content-Digest says", res.StatusCode, b.executed.Load())
		}
	}
}

// RFC 9110, section 10.1.1: the expectation of a HTTP/1.0 request must be ignored.
func TestExpect10(t *testing.T) {
	b := newBench(t, nil)
	uri := b.mint("/orders")
	b.do("POST", uri, "x")
	for _, fields := range [][]string{nil, {"Expect: 100-continue"}} {
		r := httptest.NewRequest("POST", uri, strings.NewReader("x"))
		r.Proto, r.ProtoMinor = "HTTP/1.0", 0
		for _, f := range fields {
			name, v, _ := strings.Cut(f, ": ")
			r.Header.Set(name, v)
		}
		res := b.send(r)
		p := wantProblem(t, res, 405, "consumed")
		if p["request_matches"] != true {
			t.Errorf("%v: request_matches %v", fields, p["request_matches"])
		}
	}
}

// RFC 9110, section 15.4.8: after 307 and 308 the request is to be sent elsewhere; nothing was done.
func TestSentElsewhere(t *testing.T) {
	b := newBench(t, nil)
	b.app = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "/orders/")
		w.WriteHeader(http.StatusTemporaryRedirect)
	}
	uri := b.mint("/orders")
	b.do("POST", uri, "x")
	res := b.do("POST", uri, "x")
	if state, _, _ := strings.Cut(res.Header.Get("POE-State"), ";"); res.StatusCode != 307 || state != "unused" {
		t.Errorf("%d %s: %s", res.StatusCode, state, text(t, res))
	}
}

// The application's own policy is lost where its answer is repeated for nobody.
func TestPolicyKept(t *testing.T) {
	b := newBench(t, nil)
	b.app = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'none'")
		w.WriteHeader(201)
	}
	uri := b.mint("/orders")
	b.do("POST", uri, "x")
	res := b.do("GET", uri, "")
	if got := strings.Join(res.Header.Values("Content-Security-Policy"), ", "); !strings.Contains(got, "default-src 'none'") || !strings.Contains(got, "sandbox") {
		t.Errorf("Content-Security-Policy: %s", got)
	}
}
