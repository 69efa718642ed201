package replay_test

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postonce/poe/internal/replay"
)

// Digests of the coded content are gone where it is decoded, in the trailers as in the head: there they mostly stand (RFC 9530, appendix B).
func TestDecodedHasNoDigestInItsTrailer(t *testing.T) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte("hello"))
	_ = z.Close()
	s := replay.Stored{
		Status: 200, Header: http.Header{"Content-Encoding": {"gzip"}}, Trailer: http.Header{"Content-Digest": {"sha-256=:AAAA:"}, "repr-digest": {"sha-256=:AAAA:"}, "Etag": {`"coded"`}},
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
	if diff := cmp.Diff(http.Header{"Etag": {`W/"coded"`}}, res.Trailer); diff != "" {
		t.Errorf("digests in the trailer are those of other bytes, and a strong tag too (-want +got):\n%s", diff)
	}
}

// No content is the same in every coding, and what is said of it stays.
func TestNothingIsNotDecoded(t *testing.T) {
	r := request(http.MethodGet)
	r.Header.Set("Accept-Encoding", "identity")
	h := http.Header{"Content-Encoding": {"br"}, "Etag": {`"v1"`}}
	for name, s := range map[string]replay.Stored{"from a reader": stored(200, h, nil), "from memory": {Status: 200, Header: h}} {
		got := repeated(t, protocols[0], r, s, nil)
		want := response{Status: 200, Header: http.Header{"Content-Encoding": {"br"}, "Etag": {`"v1"`}, "Content-Length": {"0"}, "X-Content-Type-Options": {"nosniff"}}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// What names the coded bytes does not name the decoded ones, however an application spells its fields: Go's handlers can set them under any name.
func TestDecodedHasNoStrongValidator(t *testing.T) {
	content := compressed(t, "gzip", []byte("hello"))
	for name, tc := range map[string]struct {
		h    http.Header
		want []string // of Etag
	}{
		"as usual":       {h: http.Header{"Content-Encoding": {"gzip"}, "Etag": {`"v1"`}, "Content-Md5": {"x"}, "Digest": {"sha-256=x"}}, want: []string{`W/"v1"`}},
		"in small":       {h: http.Header{"Content-Encoding": {"gzip"}, "etag": {`"v1"`}, "content-md5": {"x"}, "repr-digest": {"sha-256=:x:"}}, want: []string{`W/"v1"`}},
		"as they are":    {h: http.Header{"content-encoding": {"gzip"}, "ETag": {`"v1"`}, "Content-MD5": {"x"}, "content-digest": {"sha-256=:x:"}}, want: []string{`W/"v1"`}},
		"weak before":    {h: http.Header{"Content-Encoding": {"gzip"}, "Etag": {`W/"v1"`, `"v2"`}}, want: []string{`W/"v1"`, `W/"v2"`}},
		"without quotes": {h: http.Header{"Content-Encoding": {"gzip"}, "Etag": {"v1"}}},
		"in two":         {h: http.Header{"Content-Encoding": {"gzip"}, "ETAG": {`"v1"`}, "etag": {`"v2"`}}, want: []string{`W/"v1"`, `W/"v2"`}},
	} {
		t.Run(name, func(t *testing.T) {
			r := request(http.MethodGet)
			r.Header.Set("Accept-Encoding", "identity")
			got := repeated(t, protocols[0], r, stored(200, tc.h, content), nil)
			if got.Body != "hello" {
				t.Errorf("content %q", got.Body)
			}
			got.Header.Del("Content-Length")
			want := http.Header{"Vary": {"Accept-Encoding"}, "X-Content-Type-Options": {"nosniff"}}
			if tc.want != nil {
				want["Etag"] = tc.want
			}
			if diff := cmp.Diff(want, got.Header); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
