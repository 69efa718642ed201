package replay_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/postonce/poe/internal/replay"
)

// An answer whose coding was broken off when it was made is given, decoded, as far as it goes, and its end is an error, as it is to a client that decodes it by itself.
func TestCutOffIsDecodedAsFarAsItGoes(t *testing.T) {
	noise := make([]byte, 200_000)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	plain := bytes.Repeat([]byte("once. "), 50)
	for name, tc := range map[string]struct {
		coding string
		plain  []byte
		cut    int // bytes of what is coded
		least  int // bytes of what is decoded
	}{
		"a short one":        {"gzip", plain, 3, 200},
		"a short one, zlib":  {"deflate", plain, 3, 200},
		"a long one":         {"gzip", noise, 50_000, 140_000},
		"a long one, zstd":   {"zstd", noise, 50_000, 100_000},
		"a long one, brotli": {"br", noise, 50_000, 140_000},
		"without its check":  {"gzip", plain, 8, len(plain)},
		"without much of it": {"gzip", noise, 199_000, 500},
	} {
		t.Run(name, func(t *testing.T) {
			content := compressed(t, tc.coding, tc.plain)
			content = content[:len(content)-tc.cut]
			for _, http2 := range []bool{false, true} {
				s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					_ = replay.Repeat(w, r, stored(201, http.Header{"Content-Encoding": {tc.coding}}, content))
				}))
				s.EnableHTTP2 = http2
				s.StartTLS()
				defer s.Close()
				r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, nil)
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Accept-Encoding", "identity")
				res, err := s.Client().Do(r)
				if err != nil {
					t.Errorf("HTTP/2 %t: %v", http2, err)
					continue
				}
				got, err := io.ReadAll(res.Body)
				if res.StatusCode != 201 || len(got) < tc.least || !bytes.HasPrefix(tc.plain, got) || err == nil {
					t.Errorf("HTTP/2 %t: %d with %d bytes, %v", http2, res.StatusCode, len(got), err)
				}
				_ = res.Body.Close()
			}
		})
	}
}

// HTTP/1.0 tells a cut from an end by the Content-Length alone, which there is none of here.
func TestCutOffIsNoWholeToHTTP10(t *testing.T) {
	content := compressed(t, "gzip", bytes.Repeat([]byte("once. "), 50))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = replay.Repeat(w, r, stored(201, http.Header{"Content-Encoding": {"gzip"}}, content[:len(content)-3]))
	}))
	defer s.Close()
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_, _ = io.WriteString(c, "GET / HTTP/1.0\r\nAccept-Encoding: identity\r\n\r\n")
	got, err := io.ReadAll(c)
	if err == nil && len(got) > 0 {
		t.Errorf("%q", got)
	}
}
