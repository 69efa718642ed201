package gateway_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/postonce/poe/internal/replay"
)

// One small POST and its answer: over the protected hop, recorded; and through net/http's own proxy.
func BenchmarkPost(b *testing.B) {
	const body = `{"item":"tea","quantity":1}`
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"id":1}`)
	}))
	defer app.Close()
	header := http.Header{"Content-Type": {"application/json"}, "Accept": {"*/*"}, "User-Agent": {"bench"}}

	b.Run("Execute", func(b *testing.B) {
		g := newGateway(b, app.Listener.Addr().String())
		req := post(b, body, func(r *replay.Request) { r.Header = header })
		spool := newSpool(b)
		b.ReportAllocs()
		for b.Loop() {
			rec := replay.NewRecorder(replay.RecorderConfig{Spool: spool})
			if proof, err := g.Execute(b.Context(), req, rec); proof != replay.Complete {
				b.Fatal(err)
			}
			rec.Release()
		}
	})
	b.Run("ReverseProxy", func(b *testing.B) {
		target, err := url.Parse(app.URL)
		if err != nil {
			b.Fatal(err)
		}
		p := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.SetXForwarded() }}
		b.ReportAllocs()
		for b.Loop() {
			r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/orders", strings.NewReader(body))
			r.Header = header.Clone()
			w := httptest.NewRecorder()
			p.ServeHTTP(w, r)
			if w.Code != http.StatusCreated {
				b.Fatal(w.Code)
			}
		}
	})
}
