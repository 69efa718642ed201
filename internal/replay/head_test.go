package replay_test

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http/httpguts"

	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

func TestStorable(t *testing.T) {
	h := http.Header{
		// A client's own, or about the moment.
		"Set-Cookie": {"a=1"}, "Date": {"x"}, "Age": {"1"}, "Www-Authenticate": {"Basic"}, "WWW-Authenticate": {"Basic"},
		"Proxy-Status": {"x"}, "Proxy-Authenticate": {"Basic"}, "Authentication-Info": {"x"}, "Alt-Svc": {"h3"}, "Clear-Site-Data": {"*"},
		"Access-Control-Allow-Origin": {"*"}, "access-control-expose-headers": {"x"}, "Ratelimit": {"1"}, "RateLimit-Policy": {"1"},
		"X-Ratelimit-Remaining": {"1"}, "X-RateLimit-Limit": {"1"}, "Poe-State": {"done"}, "POE-Links": {`"/x"`}, "poe-id": {"x"}, "set-cookie": {"b=2"},
		// Of one connection.
		"Connection": {"X-Hop, keep-alive", "x-other"}, "X-Hop": {"1"}, "X-Other": {"1"}, "Keep-Alive": {"1"}, "Transfer-Encoding": {"chunked"},
		"Te": {"trailers"}, "Trailer": {"X-Sum"}, "Upgrade": {"h2c"}, "Proxy-Connection": {"x"}, "Content-Length": {"5"},
		// Of the answer.
		"Content-Type": {"text/plain"}, "Etag": {`"v1"`}, "Location": {"/x"}, "Link": {"<a>", "<b>"}, "Retry-After": {"5"}, "X-Poe": {"kept"}, "Idempotency-Key": {"kept"},
	}
	want := http.Header{
		"Content-Type": {"text/plain"}, "Etag": {`"v1"`}, "Location": {"/x"}, "Link": {"<a>", "<b>"}, "Retry-After": {"5"}, "X-Poe": {"kept"}, "Idempotency-Key": {"kept"},
	}
	before := h.Clone()
	if diff := cmp.Diff(want, replay.Storable(h)); diff != "" {
		t.Errorf("Storable (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, h); diff != "" {
		t.Errorf("Storable changed what it was given:\n%s", diff)
	}
	got, trailer, err := replay.DecodeHead(replay.EncodeHead(h, h))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
	delete(want, "Content-Type") // never a trailer (RFC 9110 section 6.5.1)
	if diff := cmp.Diff(want, trailer); diff != "" {
		t.Errorf("stored trailer (-want +got):\n%s", diff)
	}
}

func TestEndToEnd(t *testing.T) {
	h := http.Header{"Connection": {"close, X-Hop"}, "X-Hop": {"1"}, "Te": {"gzip"}, "Set-Cookie": {"b", "a"}, "Date": {"x"}}
	want := http.Header{"Set-Cookie": {"b", "a"}, "Date": {"x"}}
	if diff := cmp.Diff(want, replay.EndToEnd(h)); diff != "" {
		t.Error(diff)
	}
}

func TestHeadKeepsOnlyFields(t *testing.T) {
	h := http.Header{
		"X-Good":         {"1", "a\r\nX-Bad: 1", "2", "nul\x00", "line\n", "tab\tis fine", "über", ""},
		"X Space":        {"1"},
		"X-Colon:":       {"1"},
		"X-Bad\r\nX-Two": {"1"},
		"":               {"1"},
		"X-None":         {},
		"X-Nil":          nil,
		"X-All-Bad":      {"\n"},
		"x-lower":        {"kept as spelled"},
	}
	want := http.Header{"X-Good": {"1", "2", "tab\tis fine", "über", ""}, "x-lower": {"kept as spelled"}}
	got, trailer, err := replay.DecodeHead(replay.EncodeHead(h, h))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, trailer); diff != "" {
		t.Errorf("trailers (-want +got):\n%s", diff)
	}
}

func TestHeadIsDeterministic(t *testing.T) {
	h := http.Header{}
	for c := 'A'; c <= 'Z'; c++ {
		h["X-"+string(c)] = []string{"2", "1"}
	}
	want := replay.EncodeHead(h, h)
	for range 20 {
		if !bytes.Equal(want, replay.EncodeHead(maps.Clone(h), maps.Clone(h))) {
			t.Fatal("equal fields have different encodings")
		}
	}
	if len(replay.EncodeHead(nil, nil)) != 0 || len(replay.EncodeHead(http.Header{"Date": {"x"}}, nil)) != 0 {
		t.Error("nothing stored is not the empty head")
	}
}

func TestDecodeHeadRefuses(t *testing.T) {
	good := replay.EncodeHead(http.Header{"X-A": {"1"}}, nil) // 0a 03 X-A 12 01 1
	tests := map[string][]byte{
		"cut off":             good[:len(good)-1],
		"value without name":  good[5:],
		"line break in value": bytes.Replace(good, []byte("1"), []byte("\n"), 1),
		"space in name":       bytes.Replace(good, []byte("X-A"), []byte("X A"), 1),
		"empty name":          {0x0a, 0x00},
		"number":              {0x08, 0x01},
		"unknown field":       {0x22, 0x01, 'x'},
		"forbidden trailer":   append([]byte{0x1a, 14}, "Content-Length"...),
		"field number zero":   {0x02, 0x00},
	}
	for name, b := range tests {
		t.Run(name, func(t *testing.T) {
			if h, _, err := replay.DecodeHead(b); !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("DecodeHead = %v, %v; want ErrCorrupt", h, err)
			}
		})
	}
}

func FuzzDecodeHead(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(replay.EncodeHead(http.Header{"Content-Type": {"a"}, "Link": {"b", "c"}}, http.Header{"X-Sum": {"d"}}))
	f.Add([]byte{0x0a, 0x03, 'X', '-', 'A', 0x12, 0x01, '\n'})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, trailer, err := replay.DecodeHead(b)
		if err != nil {
			if !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("error %v is not ErrCorrupt", err)
			}
			return
		}
		for _, fields := range []http.Header{h, trailer} {
			for name, values := range fields {
				if !httpguts.ValidHeaderFieldName(name) || slices.ContainsFunc(values, func(v string) bool { return !httpguts.ValidHeaderFieldValue(v) }) {
					t.Errorf("%q: %q is no field", name, values)
				}
			}
		}
		again, againTrailer, err := replay.DecodeHead(replay.EncodeHead(h, trailer))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(replay.Storable(h), again); diff != "" {
			t.Errorf("stored again (-first +second):\n%s", diff)
		}
		if diff := cmp.Diff(replay.Storable(trailer), againTrailer); diff != "" {
			t.Errorf("stored again, trailer (-first +second):\n%s", diff)
		}
	})
}

// FuzzNoInjection stores whatever an upstream said, repeats it over a real connection, and finds nothing there that was not a field.
func FuzzNoInjection(f *testing.F) {
	f.Add("X-Name", "value", "content")
	f.Add("X-Name", "a\r\nSet-Cookie: b", "")
	f.Add("X-Name: a\r\nSet-Cookie", "b", "content")
	f.Add("Location", "x\r\n\r\n<script>", "content")
	f.Add("Link", "<\r\nSet-Cookie: b>", "content")
	f.Add("Connection", "Content-Type", "content")
	f.Add("Trailer", "Set-Cookie", "content")
	f.Add("Content-Encoding", "gzip", "content")
	f.Add("Content-Length", "3", "content")
	var now replay.Stored
	base, client := serve(f, protocols[0], http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := replay.Repeat(w, r, now); err != nil {
			panic(err)
		}
	}))
	allowed := map[string]bool{"Content-Length": true, "Content-Type": true, "X-Content-Type-Options": true, "Trailer": true}
	f.Fuzz(func(t *testing.T, name, value, content string) {
		h, trailer, err := replay.DecodeHead(replay.EncodeHead(http.Header{name: {value}, "Content-Type": {"text/plain"}}, http.Header{name: {value}}))
		if err != nil {
			t.Fatal(err)
		}
		now = replay.Stored{Status: 200, Header: h, Trailer: trailer, Content: strings.NewReader(content), Size: int64(len(content)), Target: "/orders"}
		got := do(t, client, base, request(http.MethodGet))
		if got.Broken || got.Status != 200 || got.Body != content {
			t.Errorf("%+v", got)
		}
		for _, fields := range []http.Header{got.Header, got.Trailer} {
			for k := range fields {
				if !allowed[k] && k != http.CanonicalHeaderKey(name) {
					t.Errorf("a field %q came out of %q: %q", k, name, value)
				}
			}
		}
	})
}

func TestStoredAnswerRepeats(t *testing.T) {
	// The whole way: recorded, stored, decoded, repeated.
	s := spoolOf(t, 0, 0)
	a, err := record(t, replay.RecorderConfig{Spool: s}, func(r *replay.Recorder) {
		r.Header().Set("Content-Type", "application/octet-stream")
		r.Header().Set("Set-Cookie", "a=1")
		r.Header().Set("Location", "42")
		r.Header().Set("Trailer", "X-Sum")
		r.WriteHeader(http.StatusCreated)
		_, _ = r.ReadFrom(bytes.NewReader(pattern(1000))) // Finish tells
		r.Header().Set("X-Sum", "abc")
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := a.Blob()
	if err != nil {
		t.Fatal(err)
	}
	h, trailer, err := replay.DecodeHead(b.Head)
	if err != nil {
		t.Fatal(err)
	}
	for _, proto := range protocols {
		got := fetch(t, proto, request(http.MethodGet), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Poe-State", "done")
			if err := replay.Repeat(w, r, replay.Stored{Status: replay.OutcomeStatus(a.Status), Header: h, Trailer: trailer,
				Content: bytes.NewReader(b.Content), Size: b.Size, Target: "/shop/orders?x=1"}); err != nil {
				t.Error(err)
			}
		}))
		got.Header.Del("Content-Length") // HTTP/2 has room for it beside trailers
		want := response{Status: 200, Length: got.Length, Body: string(pattern(1000)), Trailer: http.Header{"X-Sum": {"abc"}}, Header: http.Header{
			"Content-Type": {"application/octet-stream"}, "Location": {"/shop/42"}, "Poe-State": {"done"}, "X-Content-Type-Options": {"nosniff"},
		}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", proto, diff)
		}
	}
}

func TestSendGivesTheFirstClientAll(t *testing.T) {
	a, err := record(t, replay.RecorderConfig{}, func(r *replay.Recorder) {
		h := r.Header()
		h["Content-Type"] = nil // an upstream that gave none
		h["X-Part"] = []string{"2", "1"}
		h["X-Sum"] = []string{"a field, not the trailer"}
		h["Set-Cookie"] = []string{"a=1", "b=2"}
		h["Www-Authenticate"] = []string{"Basic"}
		h["Connection"] = []string{"X-Hop"}
		h["X-Hop"] = []string{"1"}
		h["Keep-Alive"] = []string{"timeout=5"}
		r.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(r, "<html>") // Finish tells
		h[http.TrailerPrefix+"X-Sum"] = []string{"abc"}
	})
	if err != nil {
		t.Fatal(err)
	}
	want := response{Status: 201, Length: -1, Body: "<html>", Trailer: http.Header{"X-Sum": {"abc"}}, Header: http.Header{
		"X-Part": {"2", "1"}, "X-Sum": {"a field, not the trailer"}, "Set-Cookie": {"a=1", "b=2"}, "Www-Authenticate": {"Basic"}, "Poe-State": {"done"},
	}}
	for range 2 { // an answer can be sent again
		got := fetch(t, protocols[0], request(http.MethodPost), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Poe-State", "done")
			if err := replay.Send(w, r, a); err != nil {
				t.Error(err)
			}
		}))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestInterimAnswers(t *testing.T) {
	var got []http.Header
	rec := replay.NewRecorder(replay.RecorderConfig{Spool: spoolOf(t, 0, 0), Inform: func(status int, h http.Header) {
		h.Set("Status", http.StatusText(status))
		got = append(got, h)
	}})
	defer rec.Release()
	h := rec.Header()
	h.Set("Link", "<a>")
	h.Set("Content-Length", "5")
	rec.WriteHeader(http.StatusEarlyHints)
	h.Del("Link")
	rec.WriteHeader(http.StatusProcessing)
	rec.WriteHeader(http.StatusOK)
	rec.WriteHeader(http.StatusEarlyHints)
	want := []http.Header{{"Link": {"<a>"}, "Status": {"Early Hints"}}, {"Status": {"Processing"}}}
	if diff := cmp.Diff(want, got); diff != "" || len(h) != 1 {
		t.Errorf("interim (-want +got):\n%s", diff)
	}
}

func TestSendIsAbortedWhereContentIsLost(t *testing.T) {
	rec := replay.NewRecorder(replay.RecorderConfig{Spool: spoolOf(t, 0, 0)})
	_, _ = rec.Write([]byte("content")) // Finish tells
	a, err := rec.Finish()
	if err != nil {
		t.Fatal(err)
	}
	rec.Release()
	if v := panics(func() { _ = replay.Send(httptest.NewRecorder(), request(http.MethodPost), a) }); v != http.ErrAbortHandler { //nolint:errorlint // a panic's value
		t.Errorf("panic %v, want ErrAbortHandler", v)
	}
}
