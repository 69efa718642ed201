package replay_test

import (
	"bytes"
	"errors"
	"maps"
	"net/http"
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
		"X-Ratelimit-Remaining": {"1"}, "X-RateLimit-Limit": {"1"}, "X-Rate-Limit-Remaining": {"0"}, "Poe-State": {"done"}, "POE-Links": {`"/x"`}, "poe-id": {"x"}, "set-cookie": {"b=2"},
		// Of one connection.
		"Connection": {"X-Hop, keep-alive", "x-other"}, "X-Hop": {"1"}, "X-Other": {"1"}, "Keep-Alive": {"1"}, "Transfer-Encoding": {"chunked"},
		"Te": {"trailers"}, "Trailer": {"X-Sum"}, "Upgrade": {"h2c"}, "Proxy-Connection": {"x"}, "Content-Length": {"5"},
		// For caches.
		"Cdn-Cache-Control": {"max-age=60"}, "Expires": {"x"},
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

// What only the gate says, and what tells a cache more than Cache-Control does, goes in any spelling, and nothing beside it.
func TestDropped(t *testing.T) {
	for name, tt := range map[string]struct {
		drop       func(http.Header)
		goes, left []string
	}{
		"reserved": {replay.DropReserved, []string{"Poe-State", "POE-State", "poe-links"}, []string{"Poe-Id", "Poe-Stats", "Poe", "Expires"}},
		"caching": {
			replay.DropCaching, []string{"CDN-Cache-Control", "cloudflare-cdn-cache-control", "Surrogate-Control", "expires", "X-Accel-Expires", "Edge-Control"},
			[]string{"Cache-Control", "-Cache-Control", "X-Expires", "Etag", "Poe-State"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			h, want := http.Header{}, http.Header{}
			for _, field := range tt.left {
				h[field], want[field] = []string{"1"}, []string{"1"}
			}
			for _, field := range tt.goes {
				h[field] = []string{"1"}
			}
			tt.drop(h)
			if diff := cmp.Diff(want, h); diff != "" {
				t.Errorf("left (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEndToEnd(t *testing.T) {
	h := http.Header{"Connection": {"close, X-Hop"}, "X-Hop": {"1"}, "Te": {"gzip"}, "Set-Cookie": {"b", "a"}, "Date": {"x"}, "B": {"1"}}
	want := http.Header{"Set-Cookie": {"b", "a"}, "Date": {"x"}, "B": {"1"}}
	if diff := cmp.Diff(want, http.Header(maps.Collect(replay.EndToEnd(h)))); diff != "" {
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
	want := http.Header{"X-Good": {"1", "a  X-Bad: 1", "2", "line", "tab\tis fine", "über", ""}, "X-All-Bad": {""}, "x-lower": {"kept as spelled"}} // as net/http sends it
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
