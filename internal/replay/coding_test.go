package replay_test

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/postonce/poe/internal/replay"
)

func compressed(t *testing.T, coding string, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch coding {
	case "gzip", "x-gzip":
		w = gzip.NewWriter(&b)
	case "deflate":
		w = zlib.NewWriter(&b)
	case "bare deflate":
		w, err = flate.NewWriter(&b, flate.DefaultCompression)
	case "br":
		w = brotli.NewWriter(&b)
	case "zstd":
		w, err = zstd.NewWriter(&b)
	default:
		return content
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRepeatDecodes(t *testing.T) {
	plain := bytes.Repeat([]byte("exactly once "), 10_000)
	tests := []struct {
		coding  string // of the content
		field   string // Content-Encoding; "": as coding
		accept  string // "-": no field
		decoded bool
	}{
		{coding: "gzip", accept: "-"},
		{coding: "gzip", accept: "gzip"},
		{coding: "gzip", accept: "br, GZIP;q=0.5"},
		{coding: "gzip", accept: "x-gzip"},
		{coding: "gzip", accept: "*"},
		{coding: "gzip", accept: "br;q=1, *;q=0.1"},
		{coding: "gzip", accept: "", decoded: true},
		{coding: "gzip", accept: "identity", decoded: true},
		{coding: "gzip", accept: "br", decoded: true},
		{coding: "gzip", accept: "gzip;q=0", decoded: true},
		{coding: "gzip", accept: "gzip;q=0.000, *", decoded: true},
		{coding: "gzip", accept: "*;q=0", decoded: true},
		{coding: "gzip", accept: "gzip;q=many", decoded: true},
		{coding: "gzip", accept: "gzip;q=1e999", decoded: true},
		{coding: "gzip", accept: "gzip; Q=0", decoded: true},
		{coding: "gzip", accept: "gzip ; x=1 ; q=0, *", decoded: true},
		{coding: "x-gzip", accept: "gzip"},
		{coding: "x-gzip", accept: "br", decoded: true},
		{coding: "gzip", field: "GZip", accept: "br", decoded: true},
		{coding: "gzip", field: "identity, gzip", accept: "br", decoded: true},
		{coding: "deflate", accept: "gzip", decoded: true},
		{coding: "bare deflate", field: "deflate", accept: "gzip", decoded: true},
		{coding: "br", accept: "br"},
		{coding: "br", accept: "gzip", decoded: true},
		{coding: "zstd", accept: "zstd"},
		{coding: "zstd", accept: "gzip", decoded: true},
		{coding: "none", field: "dcb", accept: "gzip"},      // not known: as it is
		{coding: "none", field: "gzip", accept: "br"},       // not what it says: as it is
		{coding: "none", field: "deflate", accept: "br"},    //
		{coding: "none", field: "br", accept: "gzip"},       //
		{coding: "none", field: "zstd", accept: "br"},       //
		{coding: "gzip", field: "dcb, gzip", accept: "br"},  // not known below: as it is
		{coding: "gzip", field: "gzip, gzip", accept: "br"}, // not what it says below: as it is
		{coding: "none", field: "identity", accept: "br"},
	}
	for _, tt := range tests {
		t.Run(tt.coding+" "+tt.field+" for "+tt.accept, func(t *testing.T) {
			if tt.field == "" {
				tt.field = tt.coding
			}
			content := compressed(t, tt.coding, plain)
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				for _, proto := range protocols {
					req := request(method)
					if tt.accept != "-" {
						req.Header.Set("Accept-Encoding", tt.accept)
					}
					s := stored(200, http.Header{"Content-Encoding": {tt.field}, "Etag": {`"v1"`}, "Content-Digest": {"sha-256=:x:"}, "Vary": {"Accept"}}, content)
					got := repeated(t, proto, req, s, nil)
					want := response{Status: 200, Length: int64(len(content)), Body: string(content), Header: http.Header{
						"Content-Encoding": {tt.field}, "Etag": {`"v1"`}, "Content-Digest": {"sha-256=:x:"}, "Vary": {"Accept"},
						"Content-Length": got.Header["Content-Length"], "X-Content-Type-Options": {"nosniff"},
					}}
					if tt.decoded {
						want = response{Status: 200, Length: -1, Body: string(plain), Header: http.Header{
							"Etag": {`W/"v1"`}, "Vary": {"Accept", "Accept-Encoding"}, "X-Content-Type-Options": {"nosniff"},
						}}
					}
					if method == http.MethodHead {
						want.Body = ""
					}
					if got.Body != want.Body {
						t.Errorf("%s %s: content %q, want %q", method, proto, short(got.Body), short(want.Body))
					}
					got.Body, want.Body = "", ""
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("%s %s (-want +got):\n%s", method, proto, diff)
					}
				}
			}
		})
	}
}

func TestCodedTwice(t *testing.T) {
	r := request(http.MethodGet)
	r.Header.Set("Accept-Encoding", "gzip")
	content := compressed(t, "br", compressed(t, "gzip", []byte("hello")))
	got := repeated(t, protocols[0], r, stored(200, http.Header{"Content-Encoding": {"gzip", "br"}}, content), nil)
	if got.Body != "hello" || got.Header.Get("Content-Encoding") != "" {
		t.Errorf("%+v", got)
	}
}

// What was coded may be nothing.
func TestCodedNothing(t *testing.T) {
	r := request(http.MethodGet)
	r.Header.Set("Accept-Encoding", "identity")
	for _, coding := range []string{"gzip", "deflate", "br", "zstd"} {
		got := repeated(t, protocols[0], r, stored(200, http.Header{"Content-Encoding": {coding}}, compressed(t, coding, nil)), nil)
		if got.Body != "" || got.Header.Get("Content-Encoding") != "" || got.Broken {
			t.Errorf("%s: %+v", coding, got)
		}
	}
}

func TestCodedTooOften(t *testing.T) {
	r := request(http.MethodGet)
	r.Header.Set("Accept-Encoding", "identity")
	content := compressed(t, "gzip", compressed(t, "gzip", compressed(t, "gzip", []byte("hello"))))
	got := repeated(t, protocols[0], r, stored(200, http.Header{"Content-Encoding": {"gzip, gzip", "gzip"}}, content), nil)
	if got.Body != string(content) || len(got.Header["Content-Encoding"]) != 2 {
		t.Errorf("%+v", got)
	}
}

// A window that is wider than RFC 9659 allows would cost as much memory as whoever wrote it likes: the content is sent as it is.
func TestWideWindow(t *testing.T) {
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, zstd.WithWindowSize(16<<20))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // not known to be short when its head is written
		if _, err := w.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r := request(http.MethodGet)
	r.Header.Set("Accept-Encoding", "identity")
	got := repeated(t, protocols[0], r, stored(200, http.Header{"Content-Encoding": {"zstd"}}, b.Bytes()), nil)
	if got.Body != b.String() || got.Header.Get("Content-Encoding") != "zstd" {
		t.Errorf("%+v", got)
	}
}

func TestWeakTagStaysWeak(t *testing.T) {
	r := request(http.MethodGet)
	r.Header.Set("Accept-Encoding", "identity")
	got := repeated(t, protocols[0], r, stored(200, http.Header{"Content-Encoding": {"gzip"}, "Etag": {`W/"v1"`}}, compressed(t, "gzip", []byte("x"))), nil)
	if diff := cmp.Diff([]string{`W/"v1"`}, got.Header["Etag"]); diff != "" {
		t.Error(diff)
	}
}

// TestDecodingCostsLittleMemory repeats answers that become many times larger.
func TestDecodingCostsLittleMemory(t *testing.T) {
	const size, most = 16 << 20, 12 << 20
	for _, coding := range []string{"gzip", "br", "zstd"} {
		t.Run(coding, func(t *testing.T) {
			content := compressed(t, coding, make([]byte, size))
			r := request(http.MethodGet)
			r.Header.Set("Accept-Encoding", "identity")
			runtime.GC()
			var before, now runtime.MemStats
			runtime.ReadMemStats(&before)
			peak, got := before.HeapAlloc, 0
			sample := every(1<<20, writerFunc(func(p []byte) (int, error) {
				runtime.ReadMemStats(&now)
				peak = max(peak, now.HeapAlloc)
				return len(p), nil
			}))
			w := counting{httptest.NewRecorder(), writerFunc(func(p []byte) (int, error) { got += len(p); return sample.Write(p) })}
			if err := replay.Repeat(w, r, stored(200, http.Header{"Content-Encoding": {coding}}, content)); err != nil {
				t.Fatal(err)
			}
			if got != size || peak-before.HeapAlloc > most {
				t.Errorf("%d bytes, with %d of heap; want at most %d", got, peak-before.HeapAlloc, most)
			}
		})
	}
}

// counting is a client whose content goes elsewhere.
type counting struct {
	http.ResponseWriter
	to io.Writer
}

func (c counting) Write(p []byte) (int, error) { return c.to.Write(p) }
