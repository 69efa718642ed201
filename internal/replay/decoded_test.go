package replay_test

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/postonce/poe/internal/replay"
)

// Digests of the coded content are gone where it is decoded, in the trailers as in the head: there they mostly stand (RFC 9530, appendix B).
func TestDecodedHasNoDigestInItsTrailer(t *testing.T) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte("hello"))
	_ = z.Close()
	s := replay.Stored{
		Status: 200, Header: http.Header{"Content-Encoding": {"gzip"}}, Trailer: http.Header{"Content-Digest": {"sha-256=:AAAA:"}, "Etag": {`"coded"`}},
		Content: bytes.NewReader(b.Bytes()), Size: int64(b.Len()), Target: "/orders",
	}
	r := httptest.NewRequest(http.MethodGet, "/poe/outcomes/x", nil)
	r.Header.Set("Accept-Encoding", "identity")
	w := httptest.NewRecorder()
	if err := replay.Repeat(w, r, s); err != nil {
		t.Fatal(err)
	}
	res := w.Result()
	if w.Body.String() != "hello" || res.Header.Get("Content-Encoding") != "" {
		t.Fatal(w.Body.String(), res.Header)
	}
	if d := res.Trailer.Get("Content-Digest"); d != "" {
		t.Errorf("Content-Digest %q in the trailer is that of other bytes", d)
	}
	if d := res.Trailer.Get("Etag"); d == `"coded"` {
		t.Errorf("Etag %s in the trailer is strong", d)
	}
}
