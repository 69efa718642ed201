package h1_test

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http/httpguts"

	"github.com/postonce/poe/internal/h1"
)

// What is taken for a plain request is the same request to net/http, of the same length.
func FuzzPlain(f *testing.F) {
	for _, pieces := range requests() {
		f.Add([]byte(strings.Join(pieces, "")))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, v := h1.Parse(b)
		if v != h1.Plain {
			return
		}
		in := bufio.NewReader(bytes.NewReader(b))
		want, err := http.ReadRequest(in)
		if err != nil {
			t.Fatalf("%q is plain, and no request: %v", b, err)
		}
		if !httpguts.ValidHostHeader(got.Host) {
			t.Errorf("%q is plain, with the host %q", b, got.Host)
		}
		if got.Method != want.Method || got.Target != want.RequestURI || got.Host != want.Host || want.Proto != "HTTP/1.1" {
			t.Errorf("%q: %q %q of %q, want %q %q of %q", b, got.Method, got.Target, got.Host, want.Method, want.RequestURI, want.Host)
		}
		if d := cmp.Diff(want.URL, got.URL); d != "" {
			t.Errorf("%q: URL (-want +got)\n%s", b, d)
		}
		if d := cmp.Diff(want.Header, got.Header); d != "" {
			t.Errorf("%q: fields (-want +got)\n%s", b, d)
		}
		for name, values := range got.Header {
			for _, v := range values {
				if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(v) {
					t.Errorf("%q is plain, with the field %q: %q", b, name, v)
				}
			}
		}
		if want.Close || want.TransferEncoding != nil || want.Trailer != nil || want.ContentLength != int64(got.Length-got.Head) {
			t.Errorf("%q is plain: close %t, %q, trailer %q, length %d of %d", b, want.Close, want.TransferEncoding, want.Trailer, want.ContentLength, got.Length-got.Head)
		}
		body, err := io.ReadAll(want.Body)
		if err != nil || !bytes.Equal(body, b[got.Head:got.Length]) {
			t.Errorf("%q has the body %q (%v), not %q", b, body, err, b[got.Head:got.Length])
		}
		if rest, err := io.ReadAll(in); err != nil || !bytes.Equal(rest, b[got.Length:]) {
			t.Errorf("%q ends before %q (%v), not before %q", b, rest, err, b[got.Length:])
		}
	})
}

// A request is plain from its last byte on, whatever follows, and incomplete before.
func TestPlainFromItsLastByteOn(t *testing.T) {
	t.Parallel()
	for _, request := range []string{
		get,
		"POST /orders?poe=a.b_c-d HTTP/1.1\r\nhost: [::1]:8080\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: keep-alive\r\nA: 1\r\na: 2\r\n\r\n{}",
		"DELETE /a%20b HTTP/1.1\r\n" + host + "X:\t y \r\nEmpty:\r\n\r\n",
		"PUT / HTTP/1.1\r\n" + host + "Content-Length: 16000\r\n\r\n" + strings.Repeat("x", 16000),
	} {
		for i := range len(request) {
			if i > 300 && i < len(request)-2 {
				continue
			}
			if _, v := h1.Parse([]byte(request[:i])); v != h1.Incomplete {
				t.Errorf("%q: %v", request[:i], v)
			}
		}
		for _, more := range []string{"", "x", "\r\n", get} {
			if p, v := h1.Parse([]byte(request + more)); v != h1.Plain || p.Length != len(request) {
				t.Errorf("%q behind %q: %v, %d bytes", more, request, v, p.Length)
			}
		}
	}
}

// What might be read in two ways is net/http's, even where it is not.
func TestNotPlain(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"GET //a HTTP/1.1", "GET http://a/ HTTP/1.1", "GET * HTTP/1.1", "CONNECT /a HTTP/1.1", "get / HTTP/1.1", "GET / HTTP/1.0", "GET /a#b HTTP/1.1", `GET /a\b HTTP/1.1`, "GET /\xe4 HTTP/1.1", "GET  / HTTP/1.1"} {
		if _, v := h1.Parse([]byte(line + "\r\n" + host + "\r\n")); v != h1.Other {
			t.Errorf("%q: %v", line, v)
		}
	}
	for _, fields := range []string{
		"", host + host, "Host: \r\n", "Host: a b\r\n", "Host: a@b\r\n", host + "Connection: close\r\n", host + "Transfer-Encoding: chunked\r\n", host + "Upgrade: x\r\n", host + "Expect: 100-continue\r\n",
		host + "Trailer: X\r\n", host + "Pragma: no-cache\r\n", host + "Content-Length: 0\r\nContent-Length: 0\r\n", host + "Content-Length: 00\r\n", host + "A : b\r\n", host + "A: \xe4\r\n", host + " a\r\n",
	} {
		if _, v := h1.Parse([]byte("POST / HTTP/1.1\r\n" + fields + "\r\n")); v != h1.Other {
			t.Errorf("%q: %v", fields, v)
		}
	}
}

// What is longer than there is room for is net/http's.
func TestTooLongToBePlain(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", h1.MostBytes)
	for _, b := range []string{long, "GET /" + long, "GET / HTTP/1.1\r\nA: " + long, "POST / HTTP/1.1\r\n" + host + "Content-Length: 16384\r\n\r\n", "POST / HTTP/1.1\r\n" + host + "Content-Length: 9223372036854775807\r\n\r\n"} {
		if _, v := h1.Parse([]byte(b)); v != h1.Other {
			t.Errorf("%.60q…: %v", b, v)
		}
	}
	if _, v := h1.Parse([]byte("X" + long[2:])); v != h1.Incomplete {
		t.Errorf("a byte less: %v", v)
	}
}
