package replay_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postonce/poe/internal/replay"
)

// repeated is what a client gets of s, after before has put its own fields. It is the same where the content is in memory.
func repeated(t *testing.T, proto string, req *http.Request, s replay.Stored, before http.Header) response {
	t.Helper()
	got := repeatedOnce(t, proto, req, s, before)
	if _, whole := s.Content.(*bytes.Reader); whole {
		if _, err := s.Content.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		here, err := io.ReadAll(s.Content)
		if err != nil {
			t.Fatal(err)
		}
		s.Content, s.Here = nil, here
		if diff := cmp.Diff(got, repeatedOnce(t, proto, req, s, before)); diff != "" {
			t.Errorf("from a reader (-) and from memory (+):\n%s", short(diff))
		}
	}
	return got
}

func repeatedOnce(t *testing.T, proto string, req *http.Request, s replay.Stored, before http.Header) response {
	t.Helper()
	return fetch(t, proto, req, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, values := range before {
			w.Header()[name] = values
		}
		if err := replay.Repeat(w, r, s); err != nil {
			t.Errorf("Repeat: %v", err)
		}
	}))
}

func stored(status int, h http.Header, content []byte) replay.Stored {
	return replay.Stored{Status: status, Header: h, Content: bytes.NewReader(content), Size: int64(len(content)), Target: "/shop/orders?x=1"}
}

func TestRepeat(t *testing.T) {
	const nosniff = "X-Content-Type-Options"
	binary := pattern(200 << 10)
	tests := []struct {
		name   string
		method string // "": GET
		stored replay.Stored
		before http.Header
		want   response
	}{
		{
			name:   "content",
			stored: stored(200, http.Header{"Content-Type": {"text/plain"}, "Etag": {`"v1"`}}, []byte("hello")),
			want:   response{Status: 200, Header: http.Header{"Content-Type": {"text/plain"}, "Etag": {`"v1"`}, "Content-Length": {"5"}, nosniff: {"nosniff"}}, Length: 5, Body: "hello"},
		},
		{
			name:   "binary content, no type",
			stored: stored(200, nil, binary),
			want:   response{Status: 200, Header: http.Header{"Content-Length": {"204800"}, nosniff: {"nosniff"}}, Length: 204800, Body: string(binary)},
		},
		{
			name:   "a type is not guessed",
			stored: stored(500, nil, []byte("<html>")),
			want:   response{Status: 500, Header: http.Header{"Content-Length": {"6"}, nosniff: {"nosniff"}}, Length: 6, Body: "<html>"},
		},
		{
			name:   "nothing",
			stored: replay.Stored{Status: 200},
			want:   response{Status: 200, Header: http.Header{"Content-Length": {"0"}, nosniff: {"nosniff"}}},
		},
		{
			name:   "HEAD",
			method: http.MethodHead,
			stored: stored(200, http.Header{"Content-Type": {"text/plain"}}, []byte("hello")),
			want:   response{Status: 200, Header: http.Header{"Content-Type": {"text/plain"}, "Content-Length": {"5"}, nosniff: {"nosniff"}}, Length: 5},
		},
		{
			name:   "204",
			stored: stored(204, http.Header{"Etag": {`"v1"`}}, nil),
			want:   response{Status: 204, Header: http.Header{"Etag": {`"v1"`}, nosniff: {"nosniff"}}},
		},
		{
			name:   "304",
			stored: stored(304, http.Header{"Etag": {`"v1"`}}, nil),
			want:   response{Status: 304, Header: http.Header{"Etag": {`"v1"`}, nosniff: {"nosniff"}}},
		},
		{
			name:   "repeated fields in order",
			stored: stored(200, http.Header{"X-Part": {"3", "1", "2"}}, nil),
			want:   response{Status: 200, Header: http.Header{"X-Part": {"3", "1", "2"}, "Content-Length": {"0"}, nosniff: {"nosniff"}}},
		},
		{
			name:   "ranges are not promised",
			stored: stored(200, http.Header{"Accept-Ranges": {"bytes"}}, []byte("x")),
			want:   response{Status: 200, Header: http.Header{"Content-Length": {"1"}, nosniff: {"nosniff"}}, Length: 1, Body: "x"},
		},
		{
			name:   "what is not for others is not repeated, even if it was stored",
			stored: stored(200, http.Header{"Set-Cookie": {"a=1"}, "Www-Authenticate": {"Basic"}, "Connection": {"X-Hop"}, "X-Hop": {"1"}, "Content-Length": {"9"}, "Poe-State": {"forged"}}, []byte("x")),
			want:   response{Status: 200, Header: http.Header{"Content-Length": {"1"}, nosniff: {"nosniff"}}, Length: 1, Body: "x"},
		},
		{
			name:   "the caller's fields win",
			stored: stored(200, http.Header{"Cache-Control": {"public"}, "Referrer-Policy": {"no-referrer"}, "Content-Type": {"text/plain"}, nosniff: {"sniff"}}, []byte("x")),
			before: http.Header{"Cache-Control": {"no-store"}, "Referrer-Policy": {"same-origin"}, "Poe-State": {"done"}, "Content-Length": {"77"}},
			want: response{Status: 200, Header: http.Header{"Cache-Control": {"no-store"}, "Referrer-Policy": {"same-origin"}, "Poe-State": {"done"},
				"Content-Type": {"text/plain"}, "Content-Length": {"1"}, nosniff: {"nosniff"}}, Length: 1, Body: "x"},
		},
		{
			name:   "of links and Vary both are sent",
			stored: stored(200, http.Header{"Link": {"<b>; rel=next"}, "Vary": {"Accept"}}, nil),
			before: http.Header{"Link": {"</poe/a>; rel=status"}, "Vary": {"POE"}},
			want: response{Status: 200, Header: http.Header{"Link": {"</poe/a>; rel=status", "</shop/b>; rel=next"}, "Vary": {"POE", "Accept"},
				"Content-Length": {"0"}, nosniff: {"nosniff"}}},
		},
		{
			name:   "trailers",
			stored: replay.Stored{Status: 200, Header: http.Header{"X-Sum": {"head"}}, Trailer: http.Header{"X-Sum": {"2", "1"}, "X-Two": {"x"}}, Content: strings.NewReader("hello"), Size: 5},
			before: http.Header{"Content-Length": {"77"}, "Trailer": {"X-Forged"}},
			want: response{Status: 200, Header: http.Header{"X-Sum": {"head"}, nosniff: {"nosniff"}}, Length: -1, Body: "hello",
				Trailer: http.Header{"X-Sum": {"2", "1"}, "X-Two": {"x"}}},
		},
		{
			name:   "what is no trailer is not sent as one, even if it was stored",
			stored: replay.Stored{Status: 200, Header: http.Header{"Etag": {`"v1"`}}, Trailer: http.Header{"X-Sum": {"1"}, "Content-Type": {"text/html"}, "Cache-Control": {"public"}}, Content: strings.NewReader("hello"), Size: 5},
			want: response{Status: 200, Header: http.Header{"Etag": {`"v1"`}, nosniff: {"nosniff"}}, Length: -1, Body: "hello",
				Trailer: http.Header{"X-Sum": {"1"}}},
		},
		{
			name:   "trailers, no content",
			stored: replay.Stored{Status: 200, Trailer: http.Header{"X-Sum": {"1"}}},
			want:   response{Status: 200, Header: http.Header{nosniff: {"nosniff"}}, Length: -1, Trailer: http.Header{"X-Sum": {"1"}}},
		},
		{
			name:   "trailers, HEAD",
			method: http.MethodHead,
			stored: replay.Stored{Status: 200, Trailer: http.Header{"X-Sum": {"1"}}, Content: strings.NewReader("hello"), Size: 5},
			want:   response{Status: 200, Header: http.Header{"Content-Length": {"5"}, nosniff: {"nosniff"}}, Length: 5},
		},
		{
			name:   "trailers, 204",
			stored: replay.Stored{Status: 204, Trailer: http.Header{"X-Sum": {"1"}}},
			want:   response{Status: 204, Header: http.Header{nosniff: {"nosniff"}}},
		},
	}
	for _, tt := range tests {
		for _, proto := range protocols {
			t.Run(tt.name+" "+proto, func(t *testing.T) {
				if tt.method == "" {
					tt.method = http.MethodGet
				}
				got := repeated(t, proto, request(tt.method), tt.stored, tt.before.Clone())
				if got.Trailer != nil {
					got.Length = -1 // HTTP/2 has room for both
					got.Header.Del("Content-Length")
				}
				want := tt.want
				if got.Body != want.Body {
					t.Errorf("content %q, want %q", short(got.Body), short(want.Body))
				}
				got.Body, want.Body = "", ""
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestRepeatChangesNothingStored(t *testing.T) {
	roomy := func(v string) []string { return append(make([]string, 0, 8), v) }
	h := http.Header{"Link": roomy("<b>"), "Vary": roomy("Accept"), "X-Part": roomy("1"), "Etag": {`"v"`}, "Content-Encoding": {"gzip"}}
	want := h.Clone()
	ours := roomy("</poe/a>; rel=status") // as one slice that many requests share
	for range 2 {
		w := httptest.NewRecorder()
		w.Header()["Link"] = ours
		r := request(http.MethodGet)
		r.Header.Set("Accept-Encoding", "identity")
		if err := replay.Repeat(w, r, stored(200, h, compressed(t, "gzip", []byte("x")))); err != nil {
			t.Fatal(err)
		}
		for name := range w.Header() {
			w.Header().Add(name, "more")
		}
		if diff := cmp.Diff(want, h); diff != "" {
			t.Errorf("stored fields changed:\n%s", diff)
		}
		if ours[:2][1] != "" {
			t.Errorf("wrote behind the caller's fields: %q", ours[:2][1])
		}
		for _, name := range []string{"Link", "Vary", "X-Part"} {
			if more := h[name][:2][1]; more != "" {
				t.Errorf("wrote behind the stored %s: %q", name, more)
			}
		}
	}
}

// Go's handlers can set a field under any spelling of its name: what is done to it is done then, too, and it does not stand beside the caller's own.
func TestRepeatRespells(t *testing.T) {
	s := stored(200, http.Header{
		"location": {"42"}, "content-LOCATION": {"43"}, "link": {"<44>; rel=x"}, "refresh": {"0; url=45"}, "vary": {"Accept"}, "ALLOW": {"POST"},
		"accept-ranges": {"bytes"}, "digest": {"sha-256=x"}, "content-encoding": {"gzip"}, "x-Own": {"1"},
	}, compressed(t, "gzip", []byte("hello")))
	r, w := request(http.MethodGet), httptest.NewRecorder()
	r.Header.Set("Accept-Encoding", "identity")
	w.Header()["Link"], w.Header()["Vary"], w.Header()["Allow"] = []string{"</poe/a>; rel=status"}, []string{"POE"}, []string{"GET"}
	if err := replay.Repeat(w, r, s); err != nil {
		t.Fatal(err)
	}
	want := http.Header{
		"Location": {"/shop/42"}, "Content-Location": {"/shop/43"}, "Link": {"</poe/a>; rel=status", "</shop/44>; rel=x"}, "Refresh": {"0; url=/shop/45"},
		"Vary": {"POE", "Accept", "Accept-Encoding"}, "Allow": {"GET"}, "x-Own": {"1"}, "Content-Type": nil, "X-Content-Type-Options": {"nosniff"},
	}
	if diff := cmp.Diff(want, w.Header()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRepeatRefusesShortContent(t *testing.T) {
	for name, s := range map[string]replay.Stored{
		"none":            {Status: 200, Size: 5},
		"shorter":         {Status: 200, Size: 5, Content: strings.NewReader("hell")},
		"longer":          {Status: 200, Size: 5, Content: strings.NewReader("hello!")},
		"less of it here": {Status: 200, Size: 5, Here: []byte("hell")},
		"more of it here": {Status: 200, Size: 5, Here: []byte("hello!")},
	} {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			w.Code = 0
			if err := replay.Repeat(w, request(http.MethodGet), s); !errors.Is(err, replay.ErrIncomplete) {
				t.Errorf("Repeat: %v, want ErrIncomplete", err)
			}
			if w.Code != 0 || w.Body.Len() != 0 || len(w.Header()) != 0 {
				t.Errorf("something was written: %d %v", w.Code, w.Header())
			}
		})
	}
}

// stuck cannot be moved any more after so many times.
type stuck struct {
	io.ReadSeeker
	left int
}

func (s *stuck) Seek(offset int64, whence int) (int64, error) {
	if s.left--; s.left < 0 {
		return 0, errors.New("disk failure")
	}
	return s.ReadSeeker.Seek(offset, whence)
}

// Where it cannot be told whether the content is whole, or not be read from its beginning, nothing is sent of it.
func TestRepeatRefusesUnreadableContent(t *testing.T) {
	for moves, name := range []string{"measured", "rewound", "rewound when it could not be decoded"} {
		t.Run(name, func(t *testing.T) {
			r, w := request(http.MethodGet), httptest.NewRecorder()
			if moves == 2 {
				r.Header.Set("Accept-Encoding", "identity")
			}
			w.Code = 0
			s := replay.Stored{Status: 200, Header: http.Header{"Content-Encoding": {"gzip"}}, Size: 5, Content: &stuck{strings.NewReader("hello"), moves}}
			if err := replay.Repeat(w, r, s); !errors.Is(err, replay.ErrUnreadable) {
				t.Errorf("Repeat: %v, want ErrUnreadable", err)
			}
			if w.Code != 0 || w.Body.Len() != 0 || len(w.Header()) != 0 {
				t.Errorf("something was written: %d %v", w.Code, w.Header())
			}
		})
	}
}

// lying has a length, but does not give all of it.
type lying struct {
	io.ReadSeeker
	left int
	err  error
}

func (l *lying) Read(p []byte) (int, error) {
	n, err := l.ReadSeeker.Read(p[:min(l.left, len(p))])
	l.left -= n
	if err == nil && l.left == 0 {
		err = l.err
	}
	return n, err
}

func TestRepeatIsNeverTakenForWhole(t *testing.T) {
	content := pattern(100 << 10)
	packed := compressed(t, "gzip", content)
	failure := errors.New("disk failure")
	tests := []struct {
		name   string
		stored func() replay.Stored
	}{
		{name: "disk failure", stored: func() replay.Stored {
			return replay.Stored{Status: 200, Size: int64(len(content)), Content: &lying{bytes.NewReader(content), 50 << 10, failure}}
		}},
		{name: "disk failure, with trailers", stored: func() replay.Stored {
			return replay.Stored{Status: 200, Size: int64(len(content)), Content: &lying{bytes.NewReader(content), 50 << 10, failure}, Trailer: http.Header{"X-Sum": {"1"}}}
		}},
		{name: "early end", stored: func() replay.Stored {
			return replay.Stored{Status: 200, Size: int64(len(content)), Content: &lying{bytes.NewReader(content), 50 << 10, io.EOF}, Trailer: http.Header{"X-Sum": {"1"}}}
		}},
		{name: "coded content that is cut off", stored: func() replay.Stored {
			return stored(200, http.Header{"Content-Encoding": {"gzip"}}, packed[:len(packed)-10])
		}},
	}
	for _, tt := range tests {
		for _, proto := range protocols {
			t.Run(tt.name+" "+proto, func(t *testing.T) {
				r := request(http.MethodGet)
				r.Header.Set("Accept-Encoding", "identity")
				if got := repeated(t, proto, r, tt.stored(), nil); !got.Broken {
					t.Errorf("the client takes %d bytes for a whole answer", len(got.Body))
				}
			})
		}
	}
}

func TestClientThatLeaves(t *testing.T) {
	gone := errors.New("gone")
	w := failing{httptest.NewRecorder(), gone}
	if err := replay.Repeat(w, request(http.MethodGet), stored(200, nil, []byte("hello"))); !errors.Is(err, gone) {
		t.Errorf("Repeat: %v", err)
	}
}

// TestRepeatGivesAwayItsOwn shows that whoever changes the fields of an answer that was repeated to him changes nothing for the next one, decoded or not.
func TestRepeatGivesAwayItsOwn(t *testing.T) {
	content := compressed(t, "gzip", []byte("hello"))
	s := replay.Stored{
		Status: 200, Header: http.Header{"X-Order": {"1", "2"}, "Content-Encoding": {"gzip"}, "Etag": {`"a"`}}, Trailer: http.Header{"Content-Digest": {"sha-256=:AAAA:"}}, Content: bytes.NewReader(content), Size: int64(len(content)),
	}.Prepared()
	trailer := s.Trailer.Clone()
	for _, accept := range []string{"gzip", "identity"} {
		t.Run(accept, func(t *testing.T) {
			r := request(http.MethodGet)
			r.Header.Set("Accept-Encoding", accept)
			var first http.Header
			for range 2 {
				w := httptest.NewRecorder()
				if err := replay.Repeat(w, r, s); err != nil {
					t.Fatal(err)
				}
				if first == nil {
					first = w.Header().Clone()
				}
				if diff := cmp.Diff(first, w.Header()); diff != "" {
					t.Error(diff)
				}
				for _, values := range w.Header() {
					for i := range values {
						values[i] = "changed"
					}
				}
				if diff := cmp.Diff(trailer, s.Trailer); diff != "" {
					t.Errorf("trailers that others get too (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// TestTrailersNeedHTTP11 shows that an answer to HTTP/1.0 has a length instead of trailers.
func TestTrailersNeedHTTP11(t *testing.T) {
	r := request(http.MethodGet)
	r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.0", 1, 0
	w := httptest.NewRecorder()
	if err := replay.Repeat(w, r, replay.Stored{Status: 200, Trailer: http.Header{"X-Sum": {"1"}}, Content: bytes.NewReader(pattern(3000)), Size: 3000}); err != nil {
		t.Fatal(err)
	}
	want := http.Header{"Content-Length": {"3000"}, "X-Content-Type-Options": {"nosniff"}}
	res := w.Result()
	delete(res.Header, "Content-Type")
	if diff := cmp.Diff(want, res.Header); diff != "" || len(res.Trailer) != 0 {
		t.Errorf("%s%v", diff, res.Trailer)
	}
}

func TestOutcomeStatus(t *testing.T) {
	become200 := map[int]bool{201: true, 202: true, 203: true, 205: true, 206: true, 304: true, 401: true, 405: true, 407: true, 416: true}
	for status := 200; status < 600; status++ {
		want := status
		if become200[status] {
			want = 200
		}
		if got := replay.OutcomeStatus(status); got != want {
			t.Errorf("OutcomeStatus(%d) = %d, want %d", status, got, want)
		}
	}
}
