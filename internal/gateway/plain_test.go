package gateway_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postonce/poe/internal/gateway"
)

// What is taken for a plain answer is the same answer to net/http, of the same length.
func FuzzPlainAnswer(f *testing.F) {
	for _, head := range append(plainHeads(), oddHeads()...) {
		f.Add([]byte(head + "abcHTTP/1.1 200 OK\r\n\r\n"))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		ours, theirs := arrived(t, b), arrived(t, b)
		got := gateway.PlainAnswer(ours)
		if got == nil {
			if ours.Buffered() != theirs.Buffered() {
				t.Fatalf("%q is not plain, and %d bytes of it were read", b, theirs.Buffered()-ours.Buffered())
			}
			return
		}
		want, err := http.ReadResponse(theirs, nil)
		if err != nil {
			t.Fatalf("%q is plain, and no answer: %v", b, err)
		}
		if got.StatusCode != want.StatusCode || got.ProtoAtLeast(1, 1) != want.ProtoAtLeast(1, 1) || got.ProtoMajor != want.ProtoMajor || got.ContentLength != want.ContentLength {
			t.Errorf("%q: status %d, length %d; want %d, %d", b, got.StatusCode, got.ContentLength, want.StatusCode, want.ContentLength)
		}
		if want.Close || want.Trailer != nil || want.TransferEncoding != nil {
			t.Errorf("%q is plain: close %t, trailer %q, coding %q", b, want.Close, want.Trailer, want.TransferEncoding)
		}
		if d := cmp.Diff(want.Header, got.Header); d != "" {
			t.Errorf("%q: fields (-want +got)\n%s", b, d)
		}
		content, err := io.ReadAll(got.Body)
		wanted, wantErr := io.ReadAll(want.Body)
		if !bytes.Equal(content, wanted) || !errors.Is(err, wantErr) {
			t.Errorf("%q: content %q (%v), want %q (%v)", b, content, err, wanted, wantErr)
		}
		rest, _ := io.ReadAll(ours)
		if wanted, _ := io.ReadAll(theirs); !bytes.Equal(rest, wanted) {
			t.Errorf("%q ends before %q, not before %q", b, rest, wanted)
		}
	})
}

// arrived is a reader that has all of b.
func arrived(tb testing.TB, b []byte) *bufio.Reader {
	tb.Helper()
	in := bufio.NewReaderSize(bytes.NewReader(b), max(16, len(b)))
	_, _ = in.Peek(len(b)) // it is there
	return in
}

// Which answers are plain is known: a server of net/http gives such.
func TestWhichAnswersArePlain(t *testing.T) {
	for _, head := range plainHeads() {
		if gateway.PlainAnswer(arrived(t, []byte(head+"abc"))) == nil {
			t.Errorf("%q is not plain", head)
		}
		for i := range len(head) {
			if gateway.PlainAnswer(arrived(t, []byte(head[:i]))) != nil {
				t.Errorf("%q is plain", head[:i])
			}
		}
	}
	for _, head := range oddHeads() {
		if gateway.PlainAnswer(arrived(t, []byte(head+"abc"))) != nil {
			t.Errorf("%q is plain", head)
		}
	}
}

func plainHeads() []string {
	return []string{
		"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nLocation: /orders/1\r\nDate: Mon, 30 Nov 2026 12:00:00 GMT\r\nContent-Length: 3\r\n\r\n",
		"HTTP/1.1 200 OK\r\ncontent-length:\t3 \r\nSet-Cookie: a=b\r\nset-cookie: c=d\r\nX:\r\n\r\n", "HTTP/1.1 299 \r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 500 a b c\r\nContent-Length: 30\r\n\r\n",
		"HTTP/1.1 404 Not Found\r\n" + strings.Repeat("A: b\r\n", 40) + "Content-Length: 3\r\n\r\n",
	}
}

func oddHeads() []string {
	const length = "Content-Length: 3\r\n"
	odd := []string{"\r\n\r\n", "HTTP/1.1 200 OK\n" + length + "\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 3\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 80) + length + "\r\n"}
	for _, line := range []string{
		"", "HTTP/1.1", "HTTP/1.1 200", "HTTP/1.1  200 OK", "HTTP/1.0 200 OK", "HTTP/2.0 200 OK", "http/1.1 200 OK", "HTTP/1.1 2000 OK", "HTTP/1.1 20 OK", "HTTP/1.1 +20 OK", "HTTP/1.1 20x OK", "HTTP/1.1 100 Continue", "HTTP/1.1 101 x",
		"HTTP/1.1 103 x", "HTTP/1.1 199 x", "HTTP/1.1 204 No Content", "HTTP/1.1 304 Not Modified", "HTTP/1.1 099 x", "HTTP/1.1 200 \x00", "HTTP/1.1 200 \xe4", " HTTP/1.1 200 OK", "HTTP/1.1\t200 OK", "x",
	} {
		odd = append(odd, line+"\r\n"+length+"\r\n")
	}
	for _, fields := range []string{
		length, "content-length: 3\r\n", "Transfer-Encoding: chunked\r\n", "Transfer-Encoding:\r\n", "Connection: close\r\n", "Connection: keep-alive\r\n", "Trailer: A\r\n", "Upgrade: x\r\n", "Pragma: no-cache\r\n", " A: b\r\n", "A: b\r\n c\r\n",
		"A : b\r\n", "Content-Length : 3\r\n", "A\r\n", ": b\r\n", "A: \x01\r\n", "A: \xe4\r\n", "A: b\rc\r\n", "A: b\n", "A;: b\r\n",
	} {
		odd = append(odd, "HTTP/1.1 200 OK\r\n"+length+fields+"\r\n", "HTTP/1.1 200 OK\r\n"+fields+length+"\r\n")
	}
	for _, n := range []string{"", "03", "+3", "-3", "3, 3", "3 3", "0x3", "3.0", "99999999999999999999", "x"} {
		odd = append(odd, "HTTP/1.1 200 OK\r\nContent-Length: "+n+"\r\n\r\n")
	}
	return odd
}
